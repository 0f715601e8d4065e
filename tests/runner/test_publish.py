"""Publishing: what is copied, what stays when a study beside the run was not run, what never gets in."""

from __future__ import annotations

import json

import pytest

from polypersona_lib import paths
from polypersona_lib.config import RunConfig
from polypersona_lib.runner import publish
from polypersona_lib.studies.ablations import findings

RUN = RunConfig(profile="nano")


def write(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project with a complete nano run and an older publication."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    run = [f"results/nano/{folder}/a.txt" for folder in publish.FOLDERS]
    write(tmp_path, *run, "results/nano/summary.json", "results/nano/adapters/x-base/big.bin", "results/nano/runs/.hidden", "figures/nano/fig1.png")
    write(tmp_path, "results/shipped/preds/gone.jsonl", "results/shipped/ablations.json", "results/shipped/tables/ablation_gains.csv")
    write(tmp_path, "results/shipped/phi-2--paper--qlora.json", "figures/shipped/ablation_gains.png", "figures/shipped/gone.png")
    return tmp_path


def shipped(root):
    found = (p for base in ("results", "figures") for p in (root / base / "shipped").rglob("*") if p.is_file())
    return {p.relative_to(root).as_posix() for p in found}


def test_a_run_replaces_its_own_copies_and_leaves_the_other_studies(root):
    publish.copy_results(RUN)
    found = shipped(root)
    assert {"results/shipped/preds/a.txt", "figures/shipped/fig1.png"} <= found
    assert {"results/shipped/ablations.json", "results/shipped/tables/ablation_gains.csv", "figures/shipped/ablation_gains.png"} <= found
    assert "results/shipped/phi-2--paper--qlora.json" in found
    assert not any("gone" in name or "hidden" in name for name in found)


def test_studies_that_were_run_are_published_too(root):
    write(root, "results/ablations/ablations.json", "results/ablations/arms/one.parquet", "results/ablations/tables/ablation_gains.csv")
    write(root, "figures/ablations/ablation_memory.png", "results/full_size/phi-2--paper--full.json", "results/full_size/phi-2--nano--full.json")
    write(root, "results/sessions/consistency.json", "results/sessions/conditions/phi-2--again.parquet", "results/sessions/scores/conditions.csv")
    write(root, "results/sessions/tables/consistency_icc.csv", "results/sessions/tables/table2_overall.csv", "figures/sessions/consistency_cards.png")
    publish.copy_results(RUN)
    found = shipped(root)
    assert {"consistency.json", "scores/conditions.csv", "tables/consistency_icc.csv"} <= {n.removeprefix("results/shipped/") for n in found}
    assert "figures/shipped/consistency_cards.png" in found and not any("conditions/" in n or "table2" in n for n in found), "answers are not published"
    assert (root / "results/shipped/ablations.json").read_text() == "results/ablations/ablations.json"
    assert "figures/shipped/ablation_memory.png" in found and "figures/shipped/ablation_gains.png" not in found, "figures of another run are not mixed in"
    assert "results/shipped/phi-2--paper--full.json" in found and "results/shipped/phi-2--paper--qlora.json" not in found
    assert not any("arms" in name or "--nano--" in name for name in found)


def test_an_incomplete_run_is_refused_and_nothing_is_lost(root):
    (root / "results/nano/summary.json").unlink()
    before = shipped(root)
    with pytest.raises(FileNotFoundError, match="no summary.json; run ./run_all.sh nano first"):
        publish.copy_results(RUN)
    assert shipped(root) == before


def test_full_size_records_come_from_here_or_from_the_publication(root):
    for name, record in (
        ("shipped/a--paper--full", {"model": "a"}),
        ("full_size/b--paper--full", {"model": "b"}),
        ("full_size/b--paper--lora", {"error": "x"}),
    ):
        path = root / "results" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(record))
    (root / "results/shipped/phi-2--paper--qlora.json").unlink()
    assert findings.full_size_records() == [{"model": "b"}]
    for path in (root / "results" / "full_size").glob("*"):
        path.unlink()
    assert findings.full_size_records() == [{"model": "a"}]


def test_the_readme_counts_what_was_built_to_match_apart_from_what_was_measured(tmp_path):
    judged = [("reproduced", "measured"), *[("built to match", "by construction")] * 2, ("not reproduced", "measured")]
    lines = "".join(f"{verdict},{basis}\n" for verdict, basis in judged)
    (tmp_path / "claims.csv").write_text("verdict,basis\n" + lines, encoding="utf-8")
    table = publish.readme_table(tmp_path)
    cells = {row.split("|")[1].strip(): row.split("|")[2].strip() for row in table.splitlines()}
    assert cells["reproduced"] == "1" and cells["built to match"] == "2" and cells["not reproduced"] == "1" and "the paper's 4 claims" in cells
    text = publish.renew_readme("a\n<!-- results: start -->old<!-- results: end -->\nb", table)
    assert "old" not in text and table in text and text.startswith("a\n") and text.endswith("\nb")
    with pytest.raises(ValueError, match="marks"):
        publish.renew_readme("no marks", table)
