"""Every measure has systems whose value is known: what ignores the person gets 0 (or chance), the reference itself gets the best value, and other names of the
people, another order of the rows and options listed the other way round change nothing. On answers that quote their card, and on answers that do not."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from polypersona_lib import resampling
from polypersona_lib.resampling import quadratic_kappa
from polypersona_lib.score import file_scores
from polypersona_lib.scoring import administration, metrics, swap
from polypersona_lib.studies.fidelity import sheet_scores
from polypersona_lib.studies.fidelity.candidates import Candidates
from polypersona_lib.studies.sessions import consistency
from polypersona_lib.survey import distributions, reliability, subgroups
from polypersona_lib.survey.sheet import Sheet, sheet_of
from polypersona_lib.world.personas import fresh_personas

DRAWS = 200
OPTIONS = ["Strongly disagree", "Disagree", "Neither agree nor disagree", "Agree", "Strongly agree"]
JOBS, TOWNS, VALUES = (text.split() for text in ("nurse farmer teacher pilot cook baker", "Akron Toledo Dayton Canton", "thrift family freedom order faith"))
WORDS = "it costs too much|we waited for hours|my bus never came|they listen to people|nothing has changed|the new rules help|prices went up".split("|")
PHRASES = ("I'd say", "mind you")
GAPS = [f"swap_gap_{score}" for score in ("rouge1", "rouge1_masked", "rouge1_content", "semantic", "option")]
WINS = [gap.replace("gap", "auc") for gap in GAPS]


class Letters:
    """An encoder in no time: a text is the counts of its words by hash."""

    signature = "counts of words"

    def embed(self, texts):
        counts = np.array([np.bincount([sum(map(ord, word)) % 61 for word in text.lower().split()], minlength=61) for text in texts], dtype=float)
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-12)

    def bertscore_f1(self, predictions, references):
        return np.clip((self.embed(predictions) * self.embed(references)).sum(1), 0, 1)


def answers(*, quotes, people=14, questions=4, waves=1, seed=0):
    """What people answer to closed questions: an option that follows from them, a reason, perhaps words of their card, a turn of phrase of their own."""
    rng, rows = np.random.default_rng(seed), []
    for i in range(people):
        job, town, value, habit = (rng.choice(words) for words in (JOBS, TOWNS, VALUES, PHRASES))
        for q in range(questions):
            for wave in range(waves):
                option = int(np.clip(i % 5 + rng.integers(-1, 2), 0, 4))
                own = f"As a {job} from {town} I think {value} matters" if quotes else f"{habit}, {rng.choice(WORDS)}"
                text = f"{OPTIONS[option]}. {own}, {rng.choice(WORDS)}."
                rows.append({"id": f"{seed}-{i}-{q}-{wave}", "persona_id": f"p{seed}-{i}", "question_id": f"q{q}",
                             "persona": f"A {job} from {town} who values {value}, 3{i} years old.", "question": f"Statement {q} holds.",
                             "question_type": "likert", "options": OPTIONS, "status": "ok",
                             "reference": text, "target": option})  # fmt: skip
    return pd.DataFrame(rows)


DATA = {"quoting": answers(quotes=True), "plain": answers(quotes=False), "two waves": answers(quotes=True, people=9, questions=3, waves=2)}


def swapped(frame, *, semantic=True):
    """metric -> mean of a file of answers with `prediction` and `chosen`: the swap control."""
    scores = swap.swap_scores(frame, phrases=PHRASES, encoder=Letters(), semantic=semantic)
    return scores[[c for c in GAPS + WINS if c in scores]].mean().to_dict()


def measured(frame):
    """The same with kappa, accuracy and the distributions of options, as the score command has them."""
    both = file_scores._options_of_both(file_scores.with_options_read(frame))
    lines = file_scores.item_lines(frame, both)[0] + file_scores._kappa_line(frame, both, None, 1)
    return swapped(frame) | {"accuracy": (both["said"] == both["truth"]).mean()} | {line["metric"]: line["value"] for line in lines}


def said(frame, texts, options):
    return frame.assign(prediction=list(texts), chosen=np.asarray(options, dtype=float))


def constant(frame):
    return said(frame, ["Agree. I'd say it costs too much for a nurse from Akron."] * len(frame), [3] * len(frame))


def one_persons(frame):
    """The answer of one person of the file, for everybody who was asked the same."""
    first = frame.drop_duplicates("question_id").set_index("question_id")
    return said(frame, frame["question_id"].map(first["reference"]), frame["question_id"].map(first["target"]))


def reference(frame):
    return said(frame, frame["reference"], frame["target"])


# --- files of answers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("system", [constant, one_persons])
def test_the_same_answer_for_everybody_is_at_zero(name, system, monkeypatch):
    monkeypatch.setattr(file_scores, "ITEM_ANSWERS", 5)
    found = measured(system(DATA[name]))
    assert {g: found[g] for g in [*GAPS, "stance_qwk"]} == pytest.approx(dict.fromkeys([*GAPS, "stance_qwk"], 0), abs=1e-9)
    assert {w: found[w] for w in WINS} == pytest.approx(dict.fromkeys(WINS, 0.5), abs=1e-9)


@pytest.mark.parametrize("system", [constant, one_persons])
def test_the_interval_of_an_answer_that_everybody_gets_is_a_point(system):
    """How typical a reference is counts for its own row and against the others: a bootstrap of the rows' scores took it for noise."""
    frame = system(DATA["quoting"])
    rows = resampling.by_parts(swap.swap_scores(frame, phrases=PHRASES, semantic=False)).assign(system="x", failed=False)
    table = metrics.summarise_rows(rows, metrics=["swap_gap_rouge1", "swap_gap_option", "swap_auc_rouge1_content"], cluster="persona_id")
    assert table[["value", "lo", "hi"]].to_numpy().tolist() == [[0] * 3, [0] * 3, [0.5] * 3], "to the last bit: a finding asks whether it lies above zero"


@pytest.mark.parametrize(("questions", "each", "people"), [(80, 5, 250), (80, 2, 120), (6, 40, 40)])
def test_intervals_of_blind_answers_miss_zero_as_often_as_they_say(questions, each, people):
    """Overlaps that no person decides, with references and answers that are more typical than others; people answer several questions."""
    rng, missed = np.random.default_rng(5), 0
    for _ in range(160):
        parts, who = [], []
        for _ in range(questions):
            fit = rng.normal(size=(each, each)) + 2 * rng.normal(size=(1, each)) + 2 * rng.normal(size=(each, 1))
            parts.append(swap._compared("x", np.diag(fit)[:, None], fit, (1 - np.eye(each)) / (each - 1))["part_of_swap_gap_x"])
            who += list(rng.choice(people, each, replace=False))
        mean = resampling.bootstrap_mean(np.concatenate(parts), clusters=who, n_boot=400)
        missed += not mean["lo"] <= 0 <= mean["hi"]
    assert 0.02 <= missed / 160 <= 0.11


def test_parts_have_the_mean_of_the_scores():
    frame = said(DATA["two waves"], DATA["two waves"]["reference"].to_list()[::-1], DATA["two waves"]["target"].to_list()[::-1])
    scores = swap.swap_scores(frame.assign(status=["failed", *["ok"] * (len(frame) - 1)]), phrases=PHRASES, encoder=Letters())
    parts = resampling.by_parts(scores)
    assert parts[GAPS + WINS].mean().to_numpy() == pytest.approx(scores[GAPS + WINS].mean().to_numpy(), abs=1e-12)
    some = resampling.without_parts(scores.iloc[:20])
    assert resampling.by_parts(some).equals(some) and some[GAPS].equals(scores.iloc[:20][GAPS])
    assert parts[GAPS].isna().equals(scores[GAPS].isna()) and not np.allclose(parts[GAPS].dropna(), scores[GAPS].dropna())


@pytest.mark.parametrize("name", DATA)
def test_the_reference_is_at_its_best(name, monkeypatch):
    monkeypatch.setattr(file_scores, "ITEM_ANSWERS", 5)
    frame = DATA[name]
    found = measured(reference(frame))
    assert [found[m] for m in ("stance_qwk", "accuracy", "alignment", "sd_ratio", "entropy_ratio")] == pytest.approx([1] * 5)
    same = frame.merge(frame, on="question_id").query("persona_id_x != persona_id_y").eval("target_x == target_y").mean()
    assert found["swap_gap_option"] == pytest.approx(1 - same) and all(found[g] > 0.1 for g in GAPS) and all(found[w] > 0.7 for w in WINS)


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("system", [constant, one_persons, reference])
def test_names_order_of_rows_and_order_of_options_change_nothing(name, system, monkeypatch):
    monkeypatch.setattr(file_scores, "ITEM_ANSWERS", 5)
    rows = system(DATA[name])
    rows = rows.assign(chosen=np.where(np.arange(len(rows)) % 3, rows["chosen"], 1), prediction=[p if i % 3 else "Disagree. Prices went up." for i, p in
                                                                                                enumerate(rows["prediction"])])  # fmt: skip
    wanted = measured(rows)
    renamed = {p: f"x{(7 * i) % 100:03}" for i, p in enumerate(rows["persona_id"].unique())}
    assert measured(rows.assign(persona_id=rows["persona_id"].map(renamed))) == pytest.approx(wanted, abs=1e-9)
    assert measured(rows.sample(frac=1, random_state=3)) == pytest.approx(wanted, abs=1e-9)
    turn = rows["persona_id"].map({p: i % 2 == 0 for i, p in enumerate(renamed)})
    turned = rows.assign(options=[OPTIONS[::-1] if t else OPTIONS for t in turn], **{c: np.where(turn, 4 - rows[c], rows[c]) for c in ("chosen", "target")})
    assert measured(turned) == pytest.approx(wanted, abs=1e-9)


def within(values, expected, sides=3):
    """Whether the mean of draws is the expected value but for `sides` standard errors."""
    values = np.asarray(values)
    return abs(values.mean() - expected) <= sides * values.std(ddof=1) / np.sqrt(len(values)) + 1e-12


@pytest.mark.parametrize(
    ("name", "system"), [("quoting", "stranger"), ("plain", "stranger"), ("quoting", "anybody"), ("two waves", "anybody"), ("quoting", "uniform")]
)
def test_answers_that_ignore_the_person_are_at_zero_on_average(name, system):
    """A stranger: somebody of other data (train) who was asked the same; anybody: answers of the file assigned to its people at random."""
    frame, rng, draws = DATA[name].query("question_id in ['q0', 'q1']").reset_index(drop=True), np.random.default_rng(5), []
    sources = frame if system == "anybody" else answers(quotes=name != "plain", people=30, questions=2, seed=9)
    texts, options, theirs = sources["reference"].to_numpy(), sources["target"].to_numpy(), sources.groupby("question_id").indices
    for _ in range(DRAWS):
        taken = np.zeros(len(frame), dtype=int)
        for question, places in frame.groupby("question_id").indices.items():
            taken[places] = rng.choice(theirs[question], len(places), replace=system != "anybody")
        option = rng.integers(0, 5, len(frame)) if system == "uniform" else options[taken]
        rows = said(frame, [f"{OPTIONS[o]}." for o in option] if system == "uniform" else texts[taken], option)
        draws.append(swapped(rows, semantic=False) | {"kappa": quadratic_kappa(rows["chosen"], rows["target"], items=rows["question_id"])})
    table = pd.DataFrame(draws)
    off = {m: (table[m].mean(), e) for m in table for e in [0.5 if "auc" in m else 0.0] if not within(table[m], e)}
    assert not off, off


def test_a_copy_of_another_person_of_the_file_lies_below_zero_by_a_known_amount():
    """It is no answer that ignores the person: it avoids the right one. Rows that were shifted are found by it."""
    frame = DATA["plain"]
    gaps = []
    for step in range(1, 14):
        other = frame.groupby("question_id")[["reference", "target"]].transform(lambda column, step=step: np.roll(column, step))
        gaps.append(swapped(said(frame, other["reference"], other["target"]), semantic=False))
    same = frame.merge(frame, on="question_id").query("persona_id_x != persona_id_y").eval("target_x == target_y").mean()
    assert pd.DataFrame(gaps)["swap_gap_option"].mean() == pytest.approx(-(1 - same) / 13) and pd.DataFrame(gaps)["swap_gap_rouge1"].mean() < -0.02


# --- whole questionnaires --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def asked():
    """(the administration of 24 people, as their own answers; their cards)."""
    sheet = administration.questionnaire(24, 11)
    return sheet.assign(option_probs=[np.eye(len(o))[t] for o, t in zip(sheet["options"], sheet["truth"], strict=True)]), fresh_personas(24, 11)


def with_probs(sheet: Sheet, probs: np.ndarray) -> Sheet:
    return replace(sheet, probs=np.broadcast_to(probs, sheet.probs.shape).copy())


def flat(sheet: Sheet) -> np.ndarray:
    return (np.arange(sheet.probs.shape[-1]) < sheet.sizes[:, None]) / sheet.sizes[:, None]


def sheet_measures(sheet: Sheet, cards) -> dict[str, float]:
    """measure -> value of one system's sheet."""
    domains = distributions.overall_means(distributions.by_domain({"s": sheet}, n_boot=2)).loc["s"].drop("one_option_items").to_dict()
    slopes = subgroups.gap_slopes({"s": sheet}, cards, n_boot=2).set_index("metric")["value"].to_dict()
    gaps = subgroups.subgroups({"s": sheet}, cards)
    worst = {m: part["value"].abs().max() for m, part in gaps.groupby("metric")}
    items = reliability.reliability({"s": sheet}, n_boot=2).query("system == 's' and construct == 'mean'").set_index("metric")["value"].to_dict()
    one = np.ones((1, len(sheet.people)))
    swaps = {name: float(stat(one)[0]) for name, stat in sheet_scores.option_swap(sheet).items()}
    likely = Candidates.of(sheet_scores.option_likelihood(sheet))
    picks = {f"pick {k}": float(likely.pick(k)(one)[0]) for k in (2, 5, 10)}
    attitudes = {name: float(stat(one)[0]) for name, stat in sheet_scores.attitude_agreement(sheet).items()}
    items["omega"] = round(items["omega"], 6)  # the last digits of a search
    return domains | slopes | worst | items | swaps | picks | attitudes | {"qwk": sheet_scores.five_point_kappa(sheet), "hits": sheet_scores.hits(sheet).mean()}


def test_a_sheet_of_the_same_answers_for_everybody_is_at_zero(asked):
    sheet, cards = sheet_of(asked[0]), asked[1]
    shares = sheet.chosen().mean(0)
    for probs in (flat(sheet), shares, np.eye(5)[shares.argmax(1)]):
        found = sheet_measures(with_probs(sheet, probs), cards)
        assert [found[m] for m in ("gap_slope", "option_gap")] == pytest.approx([0, 0], abs=1e-9)
        assert all(np.isnan(found[m]) or abs(found[m]) < 1e-9 for m in ("alpha", "omega")), "NaN where no answer varies"
        assert [found[m] for m in ("option_auc", "pick 2", "pick 5", "pick 10")] == pytest.approx([0.5, 0.5, 0.2, 0.1], abs=1e-9)
        assert np.isnan([found["gap_r"], found["attitude_r_within"]]).all() and (found["qwk"] == pytest.approx(0, abs=1e-9) or np.isnan(found["qwk"]))
        if probs is shares:
            wanted = {"alignment": 1, "sd_ratio": 1, "entropy_ratio": 1, "js_divergence": 0}
            assert {m: found[m] for m in wanted} == pytest.approx(wanted, abs=1e-9)
    uniform = sheet_measures(with_probs(sheet, flat(sheet)), cards)
    distance = np.abs(np.cumsum(flat(sheet) - shares, axis=1)).sum(1) / (sheet.sizes - 1)
    assert uniform["alignment"] == pytest.approx(1 - distance.mean()) and uniform["hits"] == pytest.approx((1 / sheet.sizes).mean())


def test_the_peoples_own_sheet_is_at_its_best(asked):
    found = sheet_measures(sheet_of(asked[0]), asked[1])
    ones = ("alignment", "individual_accuracy", "individual_r", "sd_ratio", "entropy_ratio", "gap_slope", "gap_r", "pick 2", "pick 5", "pick 10", "qwk", "hits")
    assert {m: found[m] for m in ones} == pytest.approx(dict.fromkeys(ones, 1.0))
    assert [found[m] for m in ("bias", "gap_error", "js_divergence")] == pytest.approx([0] * 3, abs=1e-9) and found["option_gap"] > 0.2


def test_other_names_and_another_order_change_no_measure_of_a_sheet(asked):
    rng = np.random.default_rng(2)
    rows = asked[0].assign(option_probs=[rng.dirichlet(np.ones(len(o))) for o in asked[0]["options"]])
    wanted = sheet_measures(sheet_of(rows), asked[1])
    names = {p: f"n{(5 * i) % 24:02}" for i, p in enumerate(rows["persona_id"].unique())}
    cards = [card | {"persona_id": names[card["persona_id"]]} for card in asked[1]]
    assert sheet_measures(sheet_of(rows.assign(persona_id=rows["persona_id"].map(names))), cards) == pytest.approx(wanted, abs=1e-9, nan_ok=True)
    assert sheet_measures(sheet_of(rows.sample(frac=1, random_state=1)), asked[1]) == pytest.approx(wanted, abs=1e-9, nan_ok=True)


def test_answers_of_permuted_people_keep_shares_and_lose_the_person(asked):
    sheet, cards = sheet_of(asked[0]), asked[1]
    own, rng, draws = sheet_measures(sheet, cards), np.random.default_rng(4), []
    for number in range(DRAWS):
        permuted = sheet.permuted(rng.permutation(len(sheet.people)))
        if number < 3:
            found = sheet_measures(permuted, cards)
            assert {m: found[m] for m in ("alignment", "sd_ratio", "alpha")} == pytest.approx({m: own[m] for m in ("alignment", "sd_ratio", "alpha")})
        one = np.ones((1, len(sheet.people)))
        line = {name: float(stat(one)[0]) for name, stat in sheet_scores.option_swap(permuted).items()}
        likely = Candidates.of(sheet_scores.option_likelihood(permuted))
        line |= {f"pick {k}": float(likely.pick(k)(one)[0]) for k in (2, 5)} | {"qwk": sheet_scores.five_point_kappa(permuted)}
        draws.append(line | {"slope": subgroups.gap_slopes({"s": permuted}, cards, n_boot=2).set_index("metric").loc["gap_slope", "value"]})
    table, expected = pd.DataFrame(draws), {"option_gap": 0, "option_auc": 0.5, "pick 2": 0.5, "pick 5": 0.2, "qwk": 0, "slope": 0}
    assert all(within(table[m], e) for m, e in expected.items()), table.mean().to_dict()


def test_agreement_with_an_answer_that_ignores_the_person_is_at_zero(asked):
    sheet = asked[0].assign(session=0, chosen=asked[0]["truth"])
    first, rng = consistency.likely(sheet), np.random.default_rng(6)
    again = {line["metric"]: line["value"] for line in consistency.agreement(first, first, seed=1)}
    assert again == pytest.approx({"same_option": 1, "kappa": 1, "shift": 0, "drift": 0})
    typical = first.assign(option=first.groupby("question_id")["option"].transform("median").astype(int))
    assert {line["metric"]: line["value"] for line in consistency.agreement(first, typical, seed=1)}["kappa"] == pytest.approx(0, abs=1e-9)
    permuted = [first.groupby("question_id")["option"].transform(rng.permutation) for _ in range(DRAWS)]
    assert within([quadratic_kappa(first["option"], other, items=first["question_id"]) for other in permuted], 0)
