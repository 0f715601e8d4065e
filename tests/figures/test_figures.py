"""The figures: every one draws small data, bars start at zero, files are byte-stable, unknown names list the valid ones, rcParams come back."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from PIL import Image

from polypersona_lib import paths
from polypersona_lib.figures import score_figures, style
from polypersona_lib.figures.data_figures import plot_cramers_v, plot_domain_counts, plot_lengths, plot_persona_clusters, plot_question_types, plot_reuse
from polypersona_lib.figures.fidelity_figures import plot_attributes, plot_card_use, plot_fidelity
from polypersona_lib.figures.lesson_figures import plot_directions, plot_income, plot_item_curves, plot_levels, plot_mask, plot_two_cards
from polypersona_lib.figures.lora_diagram import plot_lora_diagram
from polypersona_lib.figures.pipeline_map import plot_map
from polypersona_lib.figures.score_figures import plot_bleu, plot_calibration, plot_ladder, plot_training
from polypersona_lib.figures.style import run_note, save
from polypersona_lib.registry import MODELS
from polypersona_lib.systems import system_label, untuned, untuned_and_tuned
from polypersona_lib.world.paper import DOMAIN_RECORDS
from polypersona_lib.world.questions import DOMAINS

pytestmark = pytest.mark.filterwarnings("error")  # a figure that warns prints its warning into the notebook
NOTE = "nano twins · paper split · seed 42"
METRICS = {"rouge1": "ROUGE-1", "bleu": "BLEU"}
NAMES = {key: f"twin of {spec.family} ({spec.nano_millions} M)" for key, spec in MODELS.items()}
MODEL = next(iter(MODELS))
SYSTEMS = ("uniform", "majority", "persona_blind", "nearest_train", untuned(MODEL), MODEL, "resample", "oracle_card", "oracle_latent")
TYPES = pd.Series({"agreement": 7.3, "open": 42.7, "yesno": 18.3, "likert": 31.7})


def lengths():
    return pd.DataFrame({"domain": list(DOMAINS) * 3, "length_chars": range(60, 90)})


def score_rows(metric="bleu"):
    values = np.linspace(0.01, 0.2, len(SYSTEMS))
    return pd.DataFrame({"system": SYSTEMS, "label": SYSTEMS, "metric": metric, "value": values, "lo": values - 0.01, "hi": values + 0.01, "paper": 0.09})


def run_record(model=MODEL):
    curve = [{"step": s, "loss": 3 / s} for s in range(1, 30)]
    return {"model": model, "loss_curve": curve, "epochs": [{"epoch": e, "val_loss": 2 / e} for e in (1, 2, 3)], "best_epoch": 3}


def personas():
    return pd.DataFrame({"x": np.arange(12.0), "y": np.arange(12.0) % 5, "cluster": [0, 1, 2] * 4, "category": ["student", "service"] * 6})


def association():
    names = ["age", "gender", "education", "income_bracket"]
    return pd.DataFrame(np.full((4, 4), 0.3) + np.eye(4) * 0.7, names, names)


def calibration():
    systems = [MODEL] * 3 + [untuned(MODEL)] * 3
    return pd.DataFrame({"system": systems, "confidence": [0.3, 0.5, 0.8] * 2, "accuracy": [0.2, 0.5, 0.7] * 2, "n": [5, 9, 2] * 2})


def fidelity_rows():
    names = {"stance_acc": "chooses the respondent's option", "card_auc": "answer resembles its person's card (the paper's measure)"}
    values = {system: 0.1 * (i // 2) for i, system in enumerate(untuned_and_tuned(MODELS))} | {"resample": 0.9}
    rows = [{"metric": m, "label": name, "system": s, "told": m != "card_auc", "value": v, "lo": v - 0.1, "hi": v + 0.1, "floor": 0.35, "ceiling": 0.59}
            for m, name in names.items() for s, v in values.items()]  # fmt: skip
    return pd.DataFrame(rows).assign(value=lambda t: t["value"].where(t["told"]))


def attribute_rows():
    rows = [{"detail": d, "system": s, "value": 0.6, "p_holm": p} for d in ("age", "traits", "all") for s, p in (("truth", 0.01), (MODEL, 0.4))]
    return pd.DataFrame(rows)


def card_use_rows():
    worth = [{"system": s, "card": c, "nats": 0.01, "lo": -0.01, "hi": 0.02} for s in (untuned(MODEL), MODEL) for c in ("stranger", "nobody")]
    layers = [{"system": s, "layer": n, "at_card": 0.9, "at_answer": 0.54, "chance": 0.53, "card": 0.2 if n else np.nan, "even": 0.5 if n else np.nan}
              for s in (untuned(MODEL), MODEL) for n in range(5)]  # fmt: skip
    return pd.DataFrame(worth), pd.DataFrame(layers)


INCOME = pd.DataFrame({"low": [60.0, 3.0], "middle": [35.0, 40.0], "high": [5.0, 57.0]}, index=["school", "degree"])

DRAW = {
    "domain_counts": lambda: plot_domain_counts(pd.Series(DOMAIN_RECORDS), paper={"finance": 368}, note=NOTE),
    "question_types": lambda: plot_question_types(TYPES, paper=TYPES.to_dict(), note=NOTE),
    "lora": lambda: plot_lora_diagram(),
    "bleu": lambda: plot_bleu(score_rows(), note=NOTE),
    "lengths": lambda: plot_lengths(lengths(), note=NOTE),
    "lengths_pair": lambda: plot_lengths(lengths(), reference=lengths(), note=NOTE),
    "training": lambda: plot_training([run_record(m) for m in MODELS], labels=NAMES, note=NOTE),
    "ladder": lambda: plot_ladder(pd.concat([score_rows("bleu"), score_rows("rouge1")]), metrics=METRICS, note=NOTE),
    "clusters": lambda: plot_persona_clusters(personas(), keywords={0: ["a", "b"], 1: "c, d", 2: ["e"]}, note=NOTE),
    "cramers_v": lambda: plot_cramers_v(association(), note=NOTE),
    "reuse": lambda: plot_reuse(pd.Series({1: 309, 2: 124}), paper={1: 71.4, 2: 28.6}, note=NOTE),
    "calibration": lambda: plot_calibration(calibration(), note=NOTE),
    "fidelity": lambda: plot_fidelity(fidelity_rows(), note=NOTE, groups={"chosen options": ["stance_acc"], "words": ["card_auc"]}),
    "map": lambda: plot_map("04", note=NOTE),
    "mask": lambda: plot_mask([f"token{i} " for i in range(90)], [-100] * 60 + [1] * 30, note=NOTE),
    "levels": lambda: plot_levels(np.sin(np.arange(128.0)).reshape(2, 64), np.round(np.sin(np.arange(128.0)), 1).reshape(2, 64), [-1, 0, 1], note=NOTE),
    "directions": lambda: plot_directions({f"module {i}": np.linspace(1, 0.1, 16) ** i for i in range(7)}, note=NOTE),
    "two_cards": lambda: plot_two_cards({"untuned": [np.array([0.2, 0.8]), np.array([0.6, 0.4])]}, ("No", "Yes"), ("calm", "blunt"), note=NOTE),
    "item_curves": lambda: plot_item_curves(np.array([-1.0, 0, 1]), np.array([[0.7, 0.3], [0.5, 0.5], [0.2, 0.8]]), ("No", "Yes"), note=NOTE),
    "income": lambda: plot_income(INCOME, people={"school": 20, "degree": 9}, note=NOTE),
    "attributes": lambda: plot_attributes(attribute_rows(), note=NOTE),
    "card_use": lambda: plot_card_use(*card_use_rows(), note=NOTE),
}


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", DRAW)
def test_every_figure_draws(name):
    plt.figure()  # resolves the backend, which no rc context restores
    before = dict(mpl.rcParams)
    fig, axes = DRAW[name]()
    assert isinstance(fig, Figure)
    assert all(isinstance(ax, Axes) for ax in np.atleast_1d(axes))
    assert dict(mpl.rcParams) == before
    assert round(fig.get_figwidth(), 2) in (3.5, 7.16)
    assert not any(ax.get_title() for ax in fig.axes), "one title line for the whole figure"
    assert fig.get_suptitle(), "a figure says what to see"


@pytest.mark.parametrize("name", DRAW)
def test_nothing_leaves_the_page_and_the_note_is_there(name):
    fig, _ = DRAW[name]()
    assert fig.get_supxlabel() == ("diagram, redrawn after the paper's Fig. 3" if name == "lora" else NOTE)
    box = fig.get_tightbbox(FigureCanvasAgg(fig).get_renderer())
    assert box.x0 > -0.01 and box.y0 > -0.01
    assert box.x1 < fig.get_figwidth() + 0.01 and box.y1 < fig.get_figheight() + 0.01
    title = fig._suptitle.get_window_extent()
    assert title.x1 <= fig.bbox.x1 and title.y1 <= fig.bbox.y1
    assert not any(legend.get_window_extent().overlaps(title) for legend in fig.legends)
    sizes = {FontProperties(size=t.get_fontsize()).get_size_in_points() for t in fig.findobj(mpl.text.Text) if t.get_text().strip() and t.get_visible()}
    assert min(sizes) >= 6 and max(sizes) <= 9


@pytest.mark.parametrize("name", ["domain_counts", "question_types", "reuse"])
def test_bars_start_at_zero(name):
    _, ax = DRAW[name]()
    assert ax.get_xlim()[0] == 0
    assert [bar.get_x() for bar in ax.patches] == [0] * len(ax.patches) and len(ax.patches) > 1


def test_lengths_and_bleu_start_at_zero():
    assert DRAW["lengths"]()[1].get_xlim()[0] == 0
    assert DRAW["bleu"]()[1].get_xlim()[0] == 0


def test_question_types_wear_the_markers_of_the_papers_caption():
    markers = {key: look.marker for key, look in style.QUESTION_TYPES.items()}
    assert markers == {"open": "D", "likert": "o", "yesno": "^", "agreement": "s"}
    fig, ax = DRAW["question_types"]()
    assert [t.get_text() for t in ax.get_yticklabels()] == ["Open-ended", "Likert scale", "Yes / no", "Agreement"]
    assert [bar.get_width() for bar in ax.patches] == [42.7, 31.7, 18.3, 7.3]


def test_never_colour_alone():
    for looks in (style.QUESTION_TYPES.values(), style.LOOKS.values(), map(style.model_look, MODELS)):
        drawn = [(look.marker, look.filled) for look in looks]
        assert len(set(drawn)) == len(drawn)


def test_ladder_rows_are_in_a_fixed_order_and_all_models_of_a_kind_share_one():
    frame = pd.concat([score_rows("bleu"), score_rows("rouge1")]).sample(frac=1, random_state=0)
    _, axes = plot_ladder(frame, metrics=METRICS, note=NOTE)
    assert [t.get_text() for t in axes[0].get_yticklabels()] == list(SYSTEMS)
    more = pd.concat([frame, frame[frame["system"] == MODEL].assign(system="phi-2" if MODEL != "phi-2" else "mistral-7b", value=0.5, lo=0.4)])
    fig, axes = plot_ladder(more, metrics=METRICS, note=NOTE)
    assert [t.get_text() for t in axes[0].get_yticklabels()][5] == "2 tuned models:\nmean (dots: each)" and len(axes[0].get_yticklabels()) == len(SYSTEMS)
    assert fig.get_suptitle().replace("\n", " ") == "2 of 2 tuned models: whole interval above a copied answer that ignores the person (dashed line)"


def test_fig4_ranks_the_tuned_models_and_puts_a_model_in_one_row():
    values = dict(zip(list(MODELS)[:3], (0.1, 0.3, 0.2), strict=True))
    rows = [{"system": s, "label": str(v), "value": v} for k, v in values.items() for s in (untuned(k), k)]
    _, ax = plot_bleu(pd.DataFrame(rows).assign(lo=0, hi=1, paper=np.nan), note=NOTE)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["0.3", "0.2", "0.1"]


def test_a_colour_means_one_thing():
    kinds = {look.color for look in style.LOOKS.values()}
    assert len(kinds) == len(style.LOOKS) and not kinds & set(style.MODEL_COLOURS)


@pytest.mark.parametrize("draw", [DRAW["bleu"], DRAW["lengths_pair"], DRAW["clusters"], DRAW["question_types"], DRAW["lora"]])
def test_saving_twice_gives_the_same_bytes(draw, tmp_path):
    first = [sha256(p) for p in save(draw()[0], tmp_path / "a" / "fig")]
    time.sleep(1.1)  # a date would differ
    fig, _ = draw()
    assert first == [sha256(p) for p in save(fig, tmp_path / "b" / "fig")]
    assert first == [sha256(p) for p in save(fig, tmp_path / "c" / "fig")]


def test_files_are_the_same_under_another_hash_seed(tmp_path):
    code = "import sys; sys.path.insert(0, 'tests/figures'); from test_figures import DRAW, save; save(DRAW['bleu']()[0], sys.argv[2] + '/' + sys.argv[1])"
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "MPLBACKEND": "agg"}
        subprocess.run([sys.executable, "-c", code, seed, str(tmp_path)], cwd=paths.ROOT, env=environment, check=True, timeout=120)
    for kind in ("png", "pdf"):
        assert sha256(tmp_path / f"1.{kind}") == sha256(tmp_path / f"2.{kind}")


def test_save_writes_a_large_png_and_an_embedded_pdf_and_closes(tmp_path):
    before = dict(mpl.rcParams)
    fig, _ = DRAW["reuse"]()
    png, pdf = save(fig, tmp_path / "fig_tinyllama-1.1b")
    assert (png.name, pdf.name) == ("fig_tinyllama-1.1b.png", "fig_tinyllama-1.1b.pdf")
    with Image.open(png) as picture:
        assert picture.size[0] == pytest.approx(fig.get_figwidth() * 300, abs=2) and picture.size[0] >= 3.5 * 200
    content = pdf.read_bytes()
    assert b"CreationDate" not in content and b"/Type3" not in content and b"/FontFile2" in content
    assert not plt.fignum_exists(fig.number) and sorted(p.name for p in tmp_path.iterdir()) == [pdf.name, png.name]
    assert dict(mpl.rcParams) == before


def test_a_figure_without_a_note_is_refused():
    with pytest.raises(ValueError, match="note that names profile, split and seed"):
        plot_reuse(pd.Series({1: 1}), paper={}, note=" ")


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plot_domain_counts(pd.Series({"helthcare": 3}), paper={}, note=NOTE), "unknown domain 'helthcare'; choose from demographics, "),
        (lambda: plot_lengths(pd.DataFrame({"domain": ["space"], "length_chars": [3]}), note=NOTE), "unknown domain 'space'; choose from demographics"),
        (lambda: plot_question_types(pd.Series({"scale": 100}), paper={}, note=NOTE), "unknown question type 'scale'; choose from open, likert"),
        (lambda: plot_question_types(TYPES / 100, paper={}, note=NOTE), "must be per cent and sum to 100, not 1"),
        (lambda: plot_bleu(score_rows().assign(system="gpt"), note=NOTE), f"unknown system 'gpt'; choose from uniform, .*oracle.*{untuned(MODEL)}"),
        (lambda: plot_bleu(score_rows().drop(columns="lo"), note=NOTE), r"plot_bleu: column\(s\) lo missing; found system"),
        (lambda: plot_ladder(score_rows(), metrics={"rouge": "ROUGE"}, note=NOTE), "unknown metric 'rouge'; choose from bleu"),
        (lambda: plot_ladder(pd.concat([score_rows(), score_rows()]), metrics=METRICS, note=NOTE), "more than one row for the same system and metric"),
        (lambda: plot_ladder(score_rows().head(0), metrics=METRICS, note=NOTE), "no rows to draw"),
        (lambda: plot_training([run_record("gpt")], labels=NAMES, note=NOTE), "unknown system 'gpt'"),
        (lambda: plot_training([], labels=NAMES, note=NOTE), "no run records"),
        (lambda: plot_persona_clusters(personas(), keywords={0: "a"}, note=NOTE), "unknown cluster '1'; choose from 0"),
        (lambda: plot_cramers_v(association().iloc[:2], note=NOTE), "same attributes in the same order"),
        (lambda: plot_calibration(calibration().assign(accuracy=40), note=NOTE), "must lie in 0-1"),
    ],
)
def test_bad_input_is_refused_with_the_valid_choices(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


def test_foreign_domains_bring_their_own_names():
    fig, ax = plot_domain_counts(pd.Series({"space": 3}), paper={}, labels={"space": "Space"}, note=NOTE)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["Space"]


def test_missing_values_are_said_not_invented():
    frame = score_rows()
    frame.loc[frame["system"] == MODEL, ["value", "lo", "hi", "paper"]] = np.nan
    frame.loc[frame["system"] == "uniform", ["lo", "hi"]] = np.nan
    _, ax = plot_bleu(frame, note=NOTE)
    assert [t.get_text() for t in ax.texts].count("no value") == 1


def test_the_note_tells_a_twin_from_a_hub_model():
    def note(profile, scale, split="paper", seed=42, data=""):
        return run_note(SimpleNamespace(profile=profile, settings=SimpleNamespace(scale=scale), split=split, seed=seed, data=data))

    assert note("nano", "nano") == NOTE
    assert note("paper", "paper", "grouped", 7) == "hub models · grouped split · seed 7"
    assert note("smoke", "nano", data="some/replication") == "nano twins · smoke profile · data replication · paper split · seed 42"


def test_income_bars_name_every_share_that_has_room_and_refuse_what_is_no_share():
    _, ax = plot_income(INCOME, people={"school": 20, "degree": 9}, note=NOTE)
    assert [t.get_text() for t in ax.texts] == ["60", "35", "40", "57"] and [t.get_text() for t in ax.get_yticklabels()] == ["school (20)", "degree (9)"]
    with pytest.raises(ValueError, match="must sum to 100"):
        plot_income(INCOME / 100, people={}, note=NOTE)


def test_item_curves_are_named_at_their_tops_and_must_be_probabilities():
    attitudes, curves = np.linspace(-3, 3, 7), np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.5, 0.5], [0.4, 0.6], [0.2, 0.8], [0.05, 0.95]])
    _, ax = plot_item_curves(attitudes, curves, ("No", "Yes"), note=NOTE)
    assert {t.get_text(): t.xy for t in ax.texts} == {"No": (-3.0, 0.9), "Yes": (3.0, 0.95)}
    for wrong in (curves[:3], curves * 2):
        with pytest.raises(ValueError, match="are not the probabilities of 2 options at 7 attitudes"):
            plot_item_curves(attitudes, wrong, ("No", "Yes"), note=NOTE)


def test_a_notebook_shows_the_whole_title():
    """JupyterLab's inline pictures are cut to the tight bounding box, which leaves out what is not in the layout."""
    fig, ax = plt.subplots(figsize=(3.5, 1), layout="constrained")
    ax.plot([0, 1])
    style.finish(fig, "note", title="A title of one line")
    title = next(text for text in fig.texts if text.get_text() == "A title of one line")
    box, place = fig.get_tightbbox(), title.get_window_extent().transformed(fig.dpi_scale_trans.inverted())
    assert box.y1 >= place.y1 - 1e-6 and box.x0 <= place.x0 + 1e-6


def test_a_real_model_stands_above_the_twins_and_its_variants_have_rows_of_their_own():
    names = {
        "phi-2": 0.05,
        "smollm2-135m": 0.02,
        "smollm2-135m--base": 0.01,
        "smollm2-135m--few-shot": 0.015,
        "smollm2-135m--filtered": 0.03,
        "persona_blind": 0.04,
    }
    scores = pd.DataFrame([{"system": s, "label": system_label(s, "nano"), "value": v, "lo": v - 0.002, "hi": v + 0.002} for s, v in names.items()])
    fig, ax = plot_bleu(scores.assign(paper=float("nan")), note="a note")
    rows = [text.get_text().replace("\n", " ") for text in ax.get_yticklabels()]
    assert (
        rows[0].startswith("SmolLM2 135M, filtered") and rows[1] == "SmolLM2 135M" and rows[2].startswith("twin of Phi-2") and rows[-1] == "persona-blind copy"
    )
    assert any("with examples" in row for row in rows) and len(rows) == 5


@pytest.mark.parametrize(
    ("kind", "systems", "label"),
    [
        ("untuned", ["phi-2--base", "llama-2-7b--base"], "2 untuned bases"),
        ("untuned", ["smollm2-135m--base", "smollm2-135m--few-shot"], "untuned base, asked in 2 ways"),
        ("untuned", ["smollm2-135m--base", "smollm2-135m--few-shot", "phi-2--base"], "2 untuned bases, 3 systems"),
    ],
)
def test_one_model_asked_in_two_ways_is_one_model(kind, systems, label):
    assert score_figures._counted(kind, systems) == label
