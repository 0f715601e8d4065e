"""Ablations: the arms differ in one thing, the subset is fixed, an arm can be run, and the figures that are quoted come out of known numbers."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest

from polypersona_lib import paths
from polypersona_lib.config import PROFILES, RunConfig
from polypersona_lib.figures.ablation_figures import plot_gains, plot_left_out, plot_memory
from polypersona_lib.figures.style import save
from polypersona_lib.registry import ABLATION_MODEL
from polypersona_lib.studies.ablations import arms, findings
from polypersona_lib.world import dataset

RECIPE = PROFILES["nano"].train


@pytest.fixture(scope="module")
def parts():
    return {part: dataset.read_split(paths.DATASET / "paper", part) for part in dataset.SPLITS}


def test_every_arm_differs_from_the_reference_in_one_thing(parts):
    found = arms.arms(RECIPE, sorted(parts["train"]["domain"].unique()))
    assert len({arm.name for arm in found}) == len(found) == 2 + 3 * 6 + 3 + 10
    allowed = {
        "reference": set(),
        "rank": {"r", "alpha"},
        "precision": {"four_bit"},
        "epochs": {"epochs"},
        "full": {"learning_rate", "four_bit"},
        "left out": set(),
        "untuned": {"four_bit"},
    }
    for arm in found:
        own = asdict(replace(RECIPE, seed=arm.recipe.seed))
        assert {k for k, v in asdict(arm.recipe).items() if v != own[k]} <= allowed.get(arm.study, set()), arm.name
        assert arm.method == {"full": "full", "untuned": "none"}.get(arm.study, "lora") and bool(arm.left_out) == (arm.study == "left out")


def test_the_subset_is_fixed_spread_and_never_has_the_domain_left_out(parts):
    arm = arms.Arm("reference", "", RECIPE)
    rows = arms.train_rows(arm, parts["train"])
    assert len(rows) == arms.ROWS and rows["id"].is_unique and rows["id"].equals(arms.train_rows(replace(arm, study="rank"), parts["train"])["id"])
    share = pd.concat([frame["domain"].value_counts(normalize=True) for frame in (rows, parts["train"])], axis=1)
    assert (share.iloc[:, 0] - share.iloc[:, 1]).abs().max() < 0.01
    without = arms.train_rows(replace(arm, left_out="finance"), parts["train"])
    assert len(without) == arms.ROWS and "finance" not in set(without["domain"])


@pytest.mark.parametrize("full", [False, True], ids=["LoRA", "full"])
def test_an_arm_lowers_the_loss_and_is_kept(full, parts, tmp_path):
    few = {"train": parts["train"].head(128), "validation": parts["validation"].head(12), "test": parts["test"].head(12)}
    run = RunConfig(profile="ablations", out=str(tmp_path))
    recipe = replace(RECIPE, epochs=1, four_bit=not full, learning_rate=3e-4 if full else RECIPE.learning_rate)
    both = [arms.Arm("untuned", "", recipe, "none"), arms.Arm("full" if full else "reference", "x", recipe, "full" if full else "lora")]
    for each in both:
        arms.run_arm(run, each, few, ABLATION_MODEL)
    results = arms.run_arms(run, few, both, ABLATION_MODEL)  # both are there: nothing is run
    assert len(results) == 2 * 24 and results["loss"].between(0.1, 8).all() and results.query("part == 'test'")["rouge1"].notna().all()
    table = findings.gains(results).set_index("study")
    assert np.isnan(table.loc["untuned", "gain"]) and table["gain"].iloc[1] > 0
    assert table["gain"].iloc[1] == pytest.approx(table["loss"].iloc[0] - table["loss"].iloc[1])


def fake(gain: dict[tuple[str, str], float], seeds=arms.SEEDS) -> pd.DataFrame:
    """Results in which every arm lowers every record's loss by a known amount, but for noise of the seed; 4 bits cost every base .3."""
    rng, rows = np.random.default_rng(0), []
    for (study, setting), value in {("untuned", "4 bits"): 0.0, ("untuned", "not quantized"): 0.0, **gain}.items():
        four_bit = study not in ("full", "precision") and setting != "not quantized"
        labels = {"domain": "finance", "study": study, "setting": setting, "four_bit": four_bit, "bleu": 0.1, "rouge1": 0.2}
        for seed in seeds if study != "untuned" else seeds[:1]:
            for i in range(60):
                loss = 2.0 + 0.3 * four_bit - value + (0.001 * rng.normal() if value else 0)
                rows += [{"id": f"r{i}", "persona_id": f"p{i // 2}", "seed": seed, "part": part, "loss": loss, **labels} for part in ("validation", "test")]
    return pd.DataFrame(rows)


def test_gains_and_the_retained_share_of_known_losses():
    results = fake({("reference", "a"): 0.38, ("precision", "b"): 0.3, ("full", "learning rate 0.0001"): 0.2, ("full", "learning rate 0.0003"): 0.4})
    table = findings.gains(results).set_index("setting")
    assert table.loc["a", "gain"] == pytest.approx(0.38, abs=1e-3) and table.loc["a", "lo"] < 0.381 and table.loc["a", "seeds"] == 3
    assert arms.best_full(results) == "learning rate 0.0003"
    assert {arm.recipe.learning_rate for arm in arms.full_arms(RECIPE, results)} == {3e-4}
    kept, quantized = findings.retained(results), findings.retained(results, "reference")
    assert kept["share"] == pytest.approx(0.75, abs=0.005) and kept["lo"] < kept["share"] < kept["hi"] and kept["n"] == 60
    assert quantized["share"] == pytest.approx(0.95, abs=0.005), "each gain is counted from the base of its own precision"


def test_a_domain_left_out_keeps_what_is_left_of_the_gain():
    results = fake({("reference", "a"): 0.4, ("left out", "finance"): 0.1})
    line = findings.left_out(results).iloc[0]
    assert line["kept"] == pytest.approx(0.25, abs=0.01) and 0.29 < line["lo"] < line["hi"] < 0.31


def test_the_share_of_memory_saved_is_counted_with_and_without_activations():
    parts = pd.DataFrame({"method": ["full fine-tuning", "LoRA"], "weights": [4, 4], "gradients": [4, 1], "optimizer": [8, 3], "activations": [4, 12]})
    assert findings.share_saved(parts).loc["LoRA"].tolist() == [0.5, 0.0] and (findings.share_saved(parts).loc["full fine-tuning"] == 0).all()


def test_a_claim_is_compared_with_the_whole_interval():
    shares = [{"lo": lo, "hi": hi} for lo, hi in ((0.96, 1.2), (0.5, 0.9), (0.9, 1.0))]
    assert [findings.verdict_on_share(share, 0.95) for share in shares][:2] == ["holds here", "does not hold here"]
    assert findings.verdict_on_share(shares[2], 0.95).startswith("neither confirmed nor refuted") and "95%" in findings.verdict_on_share(shares[2], 0.95)


def test_only_findings_of_arms_trained_here_are_recorded(tmp_path, capsys):
    run, budget = RunConfig(out=str(tmp_path)), pd.DataFrame({"LoRA saves": [0.7, 0.8], "QLoRA saves": [0.8, 0.9]})
    found = findings.ablation_study(run, {}, ABLATION_MODEL, train=False, note="toy")  # as published: no arm is trained
    summary = findings.record_findings(run, found, saved={"LoRA": 0.66}, budget=budget)
    assert "published" in capsys.readouterr().out and not list(tmp_path.rglob("*.json"))
    assert summary["budget"] == {"LoRA": [0.7, 0.8], "QLoRA": [0.8, 0.9]} and summary["retained"] == found.retained
    findings.record_findings(run, replace(found, trained_here=True), saved={"LoRA": 0.66}, budget=budget)
    assert json.loads((run.paths.results / "ablations.json").read_text()) == summary


def test_memory_is_ordered_as_it_must_be():
    found = {m: arms.measured_memory(ABLATION_MODEL, m, rows=2) for m in ("full", "lora", "qlora")}
    assert found["qlora"]["weights"] < found["lora"]["weights"] and found["full"]["gradients"] == found["full"]["weights"]
    assert found["lora"]["optimizer"] == found["qlora"]["optimizer"] < found["full"]["optimizer"] and min(f["activations"] for f in found.values()) > 0


def test_the_figures_are_drawn(tmp_path):
    results = fake({("reference", "a"): 0.38, ("rank", "8"): 0.3, ("left out", "finance"): 0.1})
    gains = findings.gains(results[results["study"] != "left out"]).dropna(subset=["gain"]).assign(label=["a", "b"])
    domains = findings.left_out(results).assign(label="Finance")
    memory = pd.DataFrame([{"label": "x", "method": "LoRA", "weights": 2.0, "gradients": 1.0, "optimizer": 0.5, "activations": 3.0}])
    drawn = (
        plot_gains(gains, note="n", reference="reference"),
        plot_left_out(domains, note="n"),
        plot_memory(memory, note="n", unit="MB"),
    )
    for number, (fig, _) in enumerate(drawn):
        assert all(path.stat().st_size > 5000 for path in save(fig, tmp_path / str(number)))
