"""Persona fidelity: limits and known answers of every measure, chance where the persons are dealt at random, and the whole study on the published run."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from polypersona_lib import locate, paths
from polypersona_lib.config import RunConfig
from polypersona_lib.figures import style
from polypersona_lib.figures.fidelity_figures import plot_attributes, plot_fidelity
from polypersona_lib.scoring import answer_files, swap
from polypersona_lib.scoring import fidelity_measures as measures
from polypersona_lib.studies.fidelity import attribute_probes as probes
from polypersona_lib.studies.fidelity import effects, measuring, sheet_scores, views
from polypersona_lib.studies.fidelity import text_scores as text
from polypersona_lib.studies.fidelity.candidates import Candidates, against_others, pick_rate
from polypersona_lib.studies.sessions import card_worth
from polypersona_lib.survey.sheet import Sheet, sheet_of
from polypersona_lib.world.dataset import SPLITS
from polypersona_lib.world.questions import load_questions
from polypersona_lib.world.respondents import card_probabilities

NOTE = "nano twins · paper split · seed 42"
ITEMS = tuple(q for q in load_questions().values() if q.options)


def make_sheet(people, probs, truth, theta):
    return Sheet(people=tuple(people), items=ITEMS, probs=probs, truth=truth, theta=theta)


def respondents(people=80, seed=3):
    """(cards, the sheets of simulated respondents)."""
    constructs = len({q.construct for q in ITEMS})
    like = make_sheet(("x",), np.zeros((1, len(ITEMS), 5)), np.zeros((1, len(ITEMS)), dtype=int), np.zeros((1, constructs)))
    return measuring.other_respondents(like, people, seed)


@pytest.fixture(scope="module")
def world():
    return respondents()


def with_probs(sheet, probs):
    return replace(sheet, probs=probs)


def uniform(sheet):
    return with_probs(sheet, np.stack([np.pad(np.full(len(q.options), 1 / len(q.options)), (0, 5 - len(q.options))) for q in ITEMS])[None].repeat(80, 0))


def always(sheet, option):
    """Everybody takes the option -1 (the highest) or 0 of every item."""
    chosen = np.array([(len(q.options) - 1) if option else 0 for q in ITEMS])
    return with_probs(sheet, np.eye(5)[chosen][None].repeat(len(sheet.people), 0))


def values(found, people=80):
    return {name: float((stat[0] if isinstance(stat, tuple) else stat)(np.ones((1, people)))[0]) for name, stat in found.items()}


def picked(scores, k):
    """How often the right person is picked among k, by each row's score of everybody."""
    return Candidates.of(scores).pick(k)(np.ones((1, len(scores)))).item()


# --- sheets ----------------------------------------------------------------------------------------------------------------------


def answered(sheet):
    rows = [(p, q.id, sheet.probs[i, j][: len(q.options)], sheet.truth[i, j]) for (i, p), (j, q) in product(enumerate(sheet.people), enumerate(ITEMS))]
    frame = pd.DataFrame(rows, columns=["persona_id", "question_id", "option_probs", "truth"])
    place = {q.id: sheet.constructs.index(q.construct) for q in ITEMS}
    who = {p: i for i, p in enumerate(sheet.people)}
    return frame.assign(theta=[sheet.theta[who[p], place[q]] for p, q in zip(frame["persona_id"], frame["question_id"], strict=True)])


def test_a_panel_holds_what_the_administration_says_whatever_the_order(world):
    frame = answered(world[1]).sample(frac=1, random_state=0)
    found = sheet_of(frame)
    column = [found.items.index(q) for q in ITEMS]
    assert np.allclose(found.probs[:, column], world[1].probs) and (found.truth[:, column] == world[1].truth).all()
    assert np.allclose(found.theta[:, [found.constructs.index(c) for c in world[1].constructs]], world[1].theta)
    with pytest.raises(ValueError, match="each once; run notebook 04 again"):
        sheet_of(frame.iloc[1:])


def test_the_truth_is_at_the_ceiling(world):
    cards, sheet = world
    found = values(sheet_scores.option_swap(sheet))
    same = np.mean([[(sheet.truth[:, j] == sheet.truth[i, j]).sum() - 1 for j in range(len(ITEMS))] for i in range(80)]) / 79
    assert found["option_gap"] == pytest.approx(1 - same) and found["option_auc"] == pytest.approx(1 - same / 2)
    assert "option_gap_log" not in found, "a probability of 0 has no logarithm"
    assert picked(sheet_scores.option_likelihood(sheet), 10) == pytest.approx(1)
    x = effects.design(cards)[0]
    clear = effects.significant(x, sheet_scores.implied_attitudes(sheet))
    agreed = values(effects.coefficient_agreement(sheet, x, clear))
    assert clear.sum() > 5 and agreed == pytest.approx({"coef_r": 1, "coef_slope": 1, "coef_flips": 0})


def test_a_uniform_answerer_is_at_the_floor(world):
    cards, sheet = world
    flat = uniform(sheet)
    found = values(sheet_scores.option_swap(flat))
    assert found["option_gap"] == pytest.approx(0, abs=1e-12) and found["option_auc"] == 0.5 and found["option_gap_log"] == pytest.approx(0, abs=1e-12)
    for k in measures.PICKS:
        assert picked(sheet_scores.option_likelihood(flat), k) == pytest.approx(1 / k)
    assert np.isnan(list(values(sheet_scores.attitude_agreement(flat)).values())).all()
    x = effects.design(cards)[0]
    assert np.isnan(list(values(effects.coefficient_agreement(flat, x, np.ones((x.shape[1] - 1, 14), dtype=bool))).values())).all()
    assert values(sheet_scores.contradictions(flat))["contradiction"] == pytest.approx(0.5)


def test_turned_sheets_have_every_sign_wrong(world):
    cards, sheet = world
    turned = with_probs(sheet, np.eye(5)[np.array([len(q.options) - 1 for q in ITEMS]) - sheet.truth])
    x = effects.design(cards)[0]
    agreed = values(effects.coefficient_agreement(turned, x, effects.significant(x, sheet_scores.implied_attitudes(sheet))))
    assert agreed == pytest.approx({"coef_r": -1, "coef_slope": -1, "coef_flips": 1})
    mine, theirs = (values(sheet_scores.attitude_agreement(p)) for p in (turned, sheet))
    assert mine["attitude_r_within"] == pytest.approx(-theirs["attitude_r_within"]) and theirs["attitude_r_within"] > 0.85


def test_picks_are_exactly_chance_when_every_deal_is_tried(world):
    likely = sheet_scores.option_likelihood(world[1])
    for k in measures.PICKS:
        assert np.mean([picked(np.roll(likely, shift, axis=0), k) for shift in range(80)]) == pytest.approx(1 / k)


def test_nobody_is_dealt_their_own_sheet():
    orders = sheet_scores.derangements(7, seed=1)
    assert all(sorted(o) == list(range(7)) and (o != np.arange(7)).all() for o in orders) and len({tuple(o) for o in orders}) > 10


@pytest.mark.parametrize(("wins", "ties", "lost", "k"), [(2, 0, 2, 3), (3, 2, 1, 4), (0, 3, 0, 2), (5, 1, 4, 5), (1, 0, 0, 2)])
def test_pick_rate_is_the_share_of_all_draws(wins, ties, lost, k):
    others = ["below"] * wins + ["level"] * ties + ["above"] * lost
    drawn = list(combinations(others, k - 1))
    expected = np.mean([0 if "above" in d else 1 / (1 + d.count("level")) for d in drawn])
    assert pick_rate(np.array([wins]), np.array([ties]), np.array([len(others)]), k)[0] == pytest.approx(expected)


@pytest.mark.parametrize("levels", [1, 3, 9])
def test_a_pick_by_words_is_a_draw_for_who_answers_everybody_alike(levels):
    """Nine people's references fit the one answer in so many different ways: each is picked as often as it should be, all together one in k."""
    rows = pd.DataFrame({"id": [f"r{i}" for i in range(9)], "persona_id": [f"p{i}" for i in range(9)], "persona": "", "question_id": "own"})
    references = [" ".join(["parks", *["other"] * (i % levels)]) for i in range(9)]
    scored = swap.swap_scores(rows.assign(prediction="parks", reference=references), semantic=False).assign(system="x")
    scored = scored.assign(swap_auc_semantic=np.nan, n_below_semantic=np.nan, n_level_semantic=np.nan)
    lines = {line["detail"]: line["value"] for line in measuring.picks_by_text(scored.assign(n_others=8.0), 1) if line["metric"] == "pick_words"}
    assert lines == {f"k={k}": pytest.approx(1 / k, abs=1e-12) for k in measures.PICKS if k <= 9}


def test_too_few_candidates_are_no_number():
    assert np.isnan(pick_rate(np.array([2]), np.array([0]), np.array([3]), 5)[0])
    assert np.isnan(pick_rate(np.array([0]), np.array([0]), np.array([0]), 2)[0])


@pytest.mark.parametrize("k", [2, 5])
def test_picks_under_weights_are_those_of_a_panel_with_people_twice_but_never_against_themselves(k):
    rng = np.random.default_rng(4)
    scores, weights = rng.normal(size=(9, 9)).round(1), rng.integers(0, 3, 9)
    who = np.repeat(np.arange(9), weights)
    by_hand = []
    for i in who:
        others = [j for j in who if j != i]
        drawn = [[scores[i, j] for j in each] for each in combinations(others, k - 1)]
        by_hand.append(np.mean([0 if max(d) > scores[i, i] else 1 / (1 + d.count(scores[i, i])) for d in drawn]))
    assert Candidates.of(scores).pick(k)(weights[None].astype(float))[0] == pytest.approx(np.mean(by_hand))
    gap = np.mean([scores[i, i] - np.mean([scores[i, j] for j in who if j != i]) for i in who])
    assert against_others(scores)(weights[None].astype(float))[0] == pytest.approx(gap)


@pytest.fixture(scope="module")
def many():
    """(a large population, the probabilities that its cards imply, those of everybody together)."""
    cards, sheet = respondents(1000, seed=5)
    implied = np.zeros((1000, len(ITEMS), 5))
    for i, card in enumerate(cards):
        for j, q in enumerate(ITEMS):
            implied[i, j, : len(q.options)] = card_probabilities(card, q)
    return sheet, implied, implied.mean(0, keepdims=True)


@pytest.mark.parametrize("knows", [0.05, 0.3, 1.0])
def test_intervals_of_swaps_and_picks_are_as_wide_as_samples_differ(many, knows):
    sheet, implied, everybody = many
    rng, found = np.random.default_rng(int(100 * knows)), {}
    for seed in range(80):
        who = rng.choice(1000, 100, replace=False)
        probs = (1 - knows) * everybody + knows * implied[who]
        one = make_sheet(map(str, who), probs, sheet.truth[who], sheet.theta[who])
        stats = {name: stat for name, stat in sheet_scores.option_swap(one).items() if name != "option_auc"}
        for name, stat in (stats | {"pick_5": Candidates.of(sheet_scores.option_likelihood(one)).pick(5)}).items():
            found.setdefault(name, []).append([sheet_scores.stat_estimate(stat, 100, seed=seed, n_boot=100, centred=True)[k] for k in ("value", "lo", "hi")])
    for name, (value, lo, hi) in ((n, np.array(rows).T) for n, rows in found.items()):
        assert (hi - lo).mean() / 3.92 == pytest.approx(value.std(), rel=0.3), f"{name}: with rows resampled alone up to five times too wide"
        assert np.mean((lo <= value.mean()) & (value.mean() <= hi)) >= 0.87, name


def test_sheets_that_do_not_know_the_person_have_no_interval_to_speak_of(many):
    sheet, _, everybody = many
    same = make_sheet(sheet.people[:100], np.repeat(everybody, 100, axis=0), sheet.truth[:100], sheet.theta[:100])
    found = sheet_scores.stat_estimate(Candidates.of(sheet_scores.option_likelihood(same)).pick(5), 100, seed=1, centred=True)
    assert found["value"] == pytest.approx(0.2) and found["hi"] - found["lo"] < 0.02, "they are at chance in every sample of people"


# --- contradictions ----------------------------------------------------------------------------------------------------------------


def test_constant_answers_contradict_themselves_as_counted_by_hand(world):
    pairs = [(a, b) for a, b in combinations(ITEMS, 2) if a.construct == b.construct]
    opposed = sum(a.key != b.key for a, b in pairs)
    yes, no = (values(sheet_scores.contradictions(always(world[1], top))) for top in (1, 0))
    expected = {"contradiction": opposed / len(pairs), "contradiction_reversed": 1.0, "decided": 1.0}
    assert yes == pytest.approx(expected | {"acquiescence": 1.0}) and no == pytest.approx(expected | {"acquiescence": 0.0})
    assert 10 < opposed < len(pairs)


def test_contradictions_of_people_are_counted_and_their_floor_is_the_mixed_pairs(world):
    sheet = world[1]
    side = np.array([[np.sign(2 * t - (len(q.options) - 1)) * q.key for t, q in zip(row, ITEMS, strict=True)] for row in sheet.truth])
    pairs = [(i, j) for i, j in combinations(range(len(ITEMS)), 2) if ITEMS[i].construct == ITEMS[j].construct]
    own = np.concatenate([side[:, i] * side[:, j] for i, j in pairs])
    mixed = np.concatenate([np.outer(side[:, i], side[:, j])[~np.eye(80, dtype=bool)] for i, j in pairs])
    rate, floor, count = sheet_scores.contradictions(sheet)["contradiction"]
    assert rate(np.ones((1, 80)))[0] == pytest.approx((own < 0).sum() / (own != 0).sum())
    assert floor == pytest.approx((mixed < 0).sum() / (mixed != 0).sum()) and count == len(pairs)
    assert rate(np.ones((1, 80)))[0] < 0.3 < 0.45 < floor


def test_weights_are_people_counted_twice(world):
    cards, sheet = world
    twice = np.ones((1, 80))
    twice[0, :10] = 2
    order = np.r_[np.arange(80), np.arange(10)]
    more = make_sheet(map(str, order), sheet.probs[order], sheet.truth[order], sheet.theta[order])
    for name, stat in (sheet_scores.attitude_agreement(sheet) | {"contradiction": sheet_scores.contradictions(sheet)["contradiction"][0]}).items():
        again = (sheet_scores.attitude_agreement(more) | {"contradiction": sheet_scores.contradictions(more)["contradiction"][0]})[name]
        assert stat(twice)[0] == pytest.approx(again(np.ones((1, 90)))[0])


# --- coefficients ------------------------------------------------------------------------------------------------------------------


def test_planted_coefficients_are_recovered(world):
    x, names = effects.design(world[0])
    planted = np.zeros((x.shape[1], 2))
    planted[names.index("age"), 0], planted[names.index("calm, not anxious"), 1] = 0.5, -0.8
    y = x @ planted + np.random.default_rng(1).normal(scale=0.2, size=(80, 2))
    found = effects.coefficients(x, y, np.ones((1, 80)))[0]
    assert found == pytest.approx(np.linalg.lstsq(x, y, rcond=None)[0][1:], abs=1e-5)
    assert found == pytest.approx(planted[1:], abs=0.25)
    assert (effects.significant(x, y) == (planted[1:] != 0)).all()
    assert not effects.significant(x[:20], y[:20]).any(), "too few people for a test"


def test_the_centred_interval_holds_its_value(world):
    cards, sheet = world
    x = effects.design(cards)[0]
    noisy = with_probs(sheet, 0.9 * uniform(sheet).probs + 0.1 * sheet.permuted(sheet_scores.derangements(80, 0)[0]).probs)
    stat = effects.coefficient_agreement(noisy, x, effects.significant(x, sheet_scores.implied_attitudes(sheet)))["coef_r"]
    found = sheet_scores.stat_estimate(stat, 80, seed=1, n_boot=200, centred=True)
    assert found["lo"] < found["value"] < found["hi"] and found["hi"] - found["lo"] < 0.6


def test_clear_effects_tell_a_flip_from_a_clear_one(world):
    cards, sheet = world
    turned = with_probs(sheet, np.eye(5)[np.array([len(q.options) - 1 for q in ITEMS]) - sheet.truth])
    found = effects.clear_effects({"truth": sheet, "turned": turned, "flat": uniform(sheet)}, cards)
    assert set(found["system"]) == {"truth", "turned"}, "the same answer for everybody: nothing pulls"
    own, other = (found[found["system"] == s].reset_index(drop=True) for s in ("truth", "turned"))
    assert len(own) > 5 and (own["flip"] == "").all() and (np.sign(own["lo"]) == np.sign(own["hi"])).all() and (other["flip"] == "clearly wrong").all()
    turned_round = effects.flips(found, "turned")
    assert len(turned_round) == len(own) and effects.flips(found, "truth").empty
    assert turned_round["model"].to_numpy() == pytest.approx(-turned_round["respondents"].to_numpy())
    assert other["value"].to_numpy() == pytest.approx(-own["value"].to_numpy()) and other["lo"].to_numpy() == pytest.approx(-own["hi"].to_numpy())


# --- attributes and probes -----------------------------------------------------------------------------------------------------------


def test_held_out_predictions_are_those_of_ridge_regression():
    rng = np.random.default_rng(0)
    x, y, fold = rng.normal(size=(30, 8)), rng.normal(size=30), np.arange(0, 30, 5)
    rest = np.setdiff1d(np.arange(30), fold)
    expected = Ridge(alpha=4.0).fit(x[rest], y[rest]).predict(x[fold]) - y[rest].mean()
    assert probes.held_out_map(x, fold, 4.0) @ y == pytest.approx(expected)


def test_auc_is_the_known_one():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(40, 3)).round(1), (rng.random((40, 3)) < 0.4).astype(float)
    won, total = probes._wins(scores, labels)
    assert won / total == pytest.approx([roc_auc_score(labels[:, c], scores[:, c]) for c in range(3)])


def labelled(columns):
    return pd.DataFrame(columns, columns=pd.MultiIndex.from_tuples([(f"a{i}", "yes") for i in range(columns.shape[1])], names=("attribute", "class")))


def test_a_planted_attribute_is_found_and_constant_answers_tell_nothing():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(80, 12))
    labels = labelled(np.stack([(x[:, 0] > 0), rng.random(80) < 0.5], axis=1).astype(float))
    found = probes.recover(x, labels, seed=1, n_perm=99).set_index("attribute")
    assert found.loc["a0", "value"] > 0.85 and found.loc["a0", "p_holm"] < 0.05 < found.loc["a1", "p_holm"]
    assert found.loc["a0", "lo"] < found.loc["a0", "value"] < found.loc["a0", "hi"] and found["floor"].to_numpy() == pytest.approx(0.5, abs=0.04)
    flat = probes.recover(np.ones((80, 12)), labels, seed=1, n_perm=19)
    assert (flat["value"] == 0.5).all() and (flat["p"] == 1).all()


def test_the_permutation_floor_keeps_its_level_on_random_labels():
    rng, rejected, tested = np.random.default_rng(5), 0, 0
    for seed in range(6):
        labels = labelled((rng.random((60, 40)) < 0.4).astype(float))
        p = probes.recover(rng.normal(size=(60, 10)), labels, seed=seed, n_perm=99, n_boot=2)["p"][:-1]
        rejected, tested = rejected + int((p < 0.05).sum()), tested + len(p)
    assert tested == 240 and rejected <= 24, "nominal 12; permuted labels must be as readable as random ones"
    assert rejected >= 2, "a floor that nothing passes is no floor"


def test_card_labels_pool_and_drop_rare_classes(world):
    labels = probes.card_labels(world[0], fewest=8)
    counts = labels.sum()
    assert counts.min() >= 8 and (len(labels) - counts).min() >= 8
    assert (
        set(labels["age"].columns) <= {"young", "mid", "older"} and list(labels["gender"].columns) == ["woman"] and list(labels["country"].columns) == ["USA"]
    )
    assert (labels["age"].sum(axis=1) <= 1).all() and probes.card_labels(world[0][:5], fewest=8).shape[1] == 0


def test_the_option_probe_finds_respondents_it_never_saw(world):
    cards, sheet = world
    others, theirs = respondents(300, seed=11)
    probe = probes.fit_probe(sheet_scores.centred_scores(theirs), others, penalty=50.0)
    scores = sheet_scores.item_scores(sheet)
    near = probes.likeness(probe.read(sheet_scores.centred_scores(sheet)), probe.coordinates(cards))
    assert picked(near, 5) > 0.6
    blank = probes.likeness(probe.read(np.zeros_like(scores)), probe.coordinates(cards))
    assert picked(blank, 5) == pytest.approx(0.2)


# --- words ---------------------------------------------------------------------------------------------------------------------------


def test_memorisation_finds_a_planted_copy():
    train = ["I walk to work every day because the bus is never on time.", "No, thank you."]
    said = ["i walk to work every day because the bus is never on time", "He said I walk to work every day because of it.", "Something else that nobody has",
            "No, thank you!", ""]  # fmt: skip
    found = text.memorised(pd.DataFrame({"prediction": said}), train, sizes=(4, 8))
    assert found["verbatim"].tolist()[:4] == [1, 0, 0, 1] and np.isnan(found["verbatim"].iloc[4])
    assert found["run8"].tolist()[:2] == [1, 0] and found["run4"].tolist()[:3] == [1, 1, 0]
    assert np.isnan(found["run4"].iloc[3]), "three words hold no run of four"


class Letters:
    """An encoder that knows which letters a text has."""

    def embed(self, texts):
        counts = np.array([[t.lower().count(chr(97 + i)) for i in range(26)] for t in texts], dtype=float)
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-12)


def test_likeness_to_the_card_beside_other_cards():
    cards = {"p1": "aaa b", "p2": "ccc d", "p3": "eee f"}
    rows = [{"system": s, "id": p, "persona_id": p, "persona": c, "prediction": c if s == "echo" else "aaa ccc eee", "status": "ok"}
            for s in ("echo", "same") for p, c in cards.items()]  # fmt: skip
    rows, people, near = text.card_cosines(pd.DataFrame(rows), encoder=Letters())
    assert people == list(cards) and near.shape == (6, 3)
    one, found = np.ones((1, 3)), {s: text.card_likeness(near[part.index], np.arange(3)) for s, part in rows.groupby("system")}
    mine, others, nearer = found["echo"]
    assert mine == pytest.approx(1) and others < 0.01 and nearer.auc()(one)[0] == 1
    mine, others, nearer = found["same"]
    assert nearer.auc()(one)[0] == 0.5 and mine.mean() == pytest.approx(others)


def test_the_word_probe_reads_a_habit_and_is_at_chance_without_one(world):
    cards = world[0]
    said = [("to my mind " if "warm" in c["traits"] else "mind you ") + f"the {w} is fine" for c in cards for w in ("bus", "shop", "park")]
    probe = text.WordingProbe(said, [c for c in cards for _ in range(3)])
    own = np.arange(80)
    read = probe.read(["mind you, the bus", *["to my mind the bus" if "warm" in c["traits"] else "mind you, the bus" for c in cards]])[1:]
    one, near = np.ones((1, 80)), probe.likeness(read - read.mean(0), cards)
    assert Candidates.of(near).pick(2)(one)[0] > 0.6
    assert Candidates.of(probe.likeness(np.zeros_like(read), cards)).pick(5)(one)[0] == pytest.approx(0.2)
    groups = np.zeros((80, 80), dtype=bool)
    groups[:, :3] = True
    few = Candidates.of(near, own, groups)
    assert few.rows(5) == 0 and np.isnan(few.pick(5)(one)[0]) and few.rows(2) == 80 and np.isfinite(few.pick(2)(one)[0])
    assert (probe.read(["", "  "]) == 0).all()


def test_the_word_probe_has_not_read_any_candidate_so_a_copy_of_someone_else_is_at_chance(tmp_path, monkeypatch):
    monkeypatch.delenv("POLYPERSONA_NONCE", raising=False)
    parts = answer_files.load_data(RunConfig(models="tinyllama-1.1b", out=str(tmp_path)))
    pool = pd.concat([parts[p] for p in SPLITS], ignore_index=True)
    domains = sorted(set(pool["domain"]))
    fitted = {}
    monkeypatch.setattr(
        text, "fit_wording", lambda known: fitted.setdefault(len(fitted), known) is None or text.WordingProbe(known["reference"], known["persona"].tolist())
    )
    by_domain = text.wording_by_domain(pool[pool["domain"].isin(domains)])
    for domain, known in zip(sorted(by_domain), fitted.values(), strict=True):
        assert not set(known["persona_id"]) & set(pool.loc[pool["domain"] == domain, "persona_id"])
    test = parts["test"][parts["test"]["domain"].isin(domains)]
    typical = pool.groupby("question_id")["reference"].first()
    said = [("blind", test["question_id"].map(typical)), ("own", test["reference"])]
    preds = pd.concat([test.assign(system=s, prediction=p, status="ok") for s, p in said], ignore_index=True)
    found = {each["system"]: each for each in text.picks_by_answer(preds, parts["test"], by_domain, 1) if each["detail"] == "k=2"}
    assert found["blind"]["lo"] < 0.5 < found["blind"]["hi"] and found["own"]["lo"] > 0.5 and found["own"]["n"] == len(test)


def test_sheets_of_other_people_are_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("POLYPERSONA_NONCE", raising=False)
    monkeypatch.setattr(locate, "PUBLISHED_RUNS", ("nano-seed7",))  # as if the published sheets were of seed 7
    with pytest.raises(ValueError, match="not answered by the people of seed 7"):
        measuring.load_sheets(RunConfig(models="tinyllama-1.1b", seed=7, out=str(tmp_path)))


# --- the whole study -------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The study of one family of the published run, with a toy encoder. Returns (run, table, contrasts)."""
    run = RunConfig(models="tinyllama-1.1b", out=str(tmp_path_factory.mktemp("out")))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("POLYPERSONA_NONCE", raising=False)
        patch.setattr(text, "load_encoder", Letters)
        patch.setattr(probes.recover, "__kwdefaults__", {"n_perm": 60, "n_boot": 60})
        return run, *measuring.measure_fidelity(run, answer_files.load_data(run))


def test_every_measure_of_the_published_run_lies_between_its_limits(published):
    run, table, _ = published
    assert list(table.columns) == measures.MEASURE_COLUMNS and not table.duplicated(["metric", "detail", "system"]).any() and (table["n"] > 0).all()
    assert set(table["metric"]) == set(measures.MEASURES)
    known = table[table["lo"].notna()]
    assert (known["lo"] <= known["value"] + 1e-9).all() and (known["value"] <= known["hi"] + 1e-9).all()
    values = table.set_index(["metric", "detail", "system"])["value"]
    for metric, detail in (("pick_options", "k=5"), ("pick_card_options", "k=5")):
        assert values[metric, detail, "uniform"] == pytest.approx(0.2) and values[metric, detail, "oracle_card"] > 0.6
    assert values["pick_options", "k=10", "truth"] > 0.99 and values["verbatim", "", "nearest_train"] == 1
    shuffled = table[table["metric"].isin(["attitude_r_within", "option_gap", "coef_slope"])]["shuffled"].dropna()
    assert len(shuffled) > 10 and shuffled.abs().max() < 0.1
    saved = pd.read_csv(run.paths.results / "scores" / "fidelity.csv")
    assert len(saved) == len(table) and {"condition", "truth_prob"} <= {"condition", *measuring.conditions(run)["metric"]}, "the published study of conditions"


def test_the_ladder_is_drawn_between_floor_and_ceiling(published):
    run, table, compared = published
    rows = measures.ladder_rows(table)
    told = rows[rows["told"].astype(bool)]
    assert told[told["system"] == "oracle_card"].set_index("metric").loc["stance_acc", "value"] == pytest.approx(1)
    assert (rows.loc[~rows["told"].astype(bool), "value"].isna()).all() and len(told["metric"].unique()) >= 7
    fig, ax = plot_fidelity(rows, note=NOTE, groups=measures.BLOCKS, means=measures.scaled_means(compared, rows))
    assert ax.get_xlim()[0] < 0 < 1 < ax.get_xlim()[1] and fig.get_supxlabel() == NOTE
    order = ["truth", "oracle_card", "tinyllama-1.1b--base", "tinyllama-1.1b"]
    plot_attributes(table[(table["metric"] == "recover") & table["system"].isin(order)], note=NOTE)


@pytest.mark.parametrize("value", [-0.1, 0.4, 1.3])
def test_the_share_of_the_way_is_never_written_over_its_own_mark(published, value):
    rows = measures.ladder_rows(published[1]).query("metric == 'stance_acc'")
    rows.loc[rows["system"] == "tinyllama-1.1b", "value"] = value
    means = pd.DataFrame({"metric": "stance_acc", "kind": ["tuned"], "value": value, "lo": value - 0.2, "hi": value + 0.2})
    fig, ax = plot_fidelity(rows, note=NOTE, means=means)
    fig.canvas.draw()
    said = next(t for t in ax.texts if t.get_text().endswith("%")).get_window_extent()
    marks = [line for line in ax.lines if line.get_color() == style.LOOKS["tuned"].color and len(line.get_xdata())]
    drawn = [ax.transData.transform((x, y)) for line in marks for x, y in zip(*line.get_data(), strict=True)]
    assert len(drawn) >= 3 and not any(said.x0 <= x <= said.x1 for x, _ in drawn)


def test_what_tuning_did_is_read_off_pairs(published):
    run, table, compared = published
    known = table.set_index(["metric", "detail", "system"])
    for row in compared.itertuples():
        tuned, base = (known.loc[(row.metric, row.detail, f"{row.model}{end}")] for end in ("", "--base"))
        floor = {"untuned - floor": base["value"] - base["floor"], "tuned - floor": tuned["value"] - tuned["floor"]}
        assert row.value == pytest.approx(floor.get(row.contrast, tuned["value"] - base["value"])), (row.metric, row.contrast)
        assert row.lo < row.value < row.hi and 0 <= row.p <= row.p_holm <= 1
    wide = known["hi"] - known["lo"]
    change = compared[(compared["contrast"] == "tuned - untuned")].set_index("metric")
    apart = np.hypot(wide["stance_acc", "", "tinyllama-1.1b"], wide["stance_acc", "", "tinyllama-1.1b--base"])
    assert change.loc["stance_acc", "hi"] - change.loc["stance_acc", "lo"] < 0.7 * apart, "the same people: narrower than two separate intervals"
    seen = measures.tuning_summary(compared, table, ["tinyllama-1.1b"])
    assert len(seen) == len(set(compared["metric"]))
    clear = compared[(compared["contrast"] == "tuned - untuned") & (compared["model"] == "tinyllama-1.1b") & (compared["p_holm"] < 0.05)]
    for label, row in seen.iterrows():
        mine = clear[clear["label"] == label]["toward"]
        assert (row["tuning helped"], row["tuning hurt"]) == (f"{int(mine.sum())} of 1", f"{int((~mine).sum())} of 1"), label
    assert table.loc[table["metric"] == "stance_qwk", "shuffled"].abs().max() < 0.2, "kappa in other people's hands"


def test_a_table_in_short_counts_the_intervals_that_exclude_the_floor():
    rows = [("phi-2", 0.5, 0.4, 0.6), ("qwen2-1.5b", 0.3, 0.1, 0.4), ("phi-2--base", 0.1, 0.0, 0.15), ("oracle_card", 0.9, 0.8, 0.95)]
    lines = [measures.measure_line("option_auc", "", s, {"value": v, "lo": lo, "hi": hi}, 9, 0.2) for s, v, lo, hi in rows]
    row = views.short_table(measures.with_levels(lines), {("option_auc", ""): "AUC"}, ["phi-2", "qwen2-1.5b"]).loc["AUC"]
    assert row["tuned"] == "0.300 to 0.500" and row["tuned, off it"] == "1 of 2" and row["untuned, off it"] == "1 of 1", "below is off it, too"
    assert row["floor"] == "0.200" and row["ceiling, yardstick"] == "0.900, oracle: card"


def test_the_summary_says_how_far_models_get_and_what_tuning_changed(published):
    run, table, compared = published
    ladder, labels = measures.ladder_rows(table), views.fidelity_labels(run)
    wide, clear = views.ladder_overview(ladder, labels, ["tinyllama-1.1b"])
    assert list(wide.index) == [labels["tinyllama-1.1b--base"], labels["tinyllama-1.1b"]] and wide.columns[0] == "chooses the respondent's option"
    row = ladder[(ladder["metric"] == "stance_acc") & (ladder["system"] == "tinyllama-1.1b")].iloc[0]
    assert wide.iloc[1, 0] == pytest.approx((row["raw"] - row["floor"]) / (row["ceiling"] - row["floor"]))
    assert clear.shape == wide.shape and clear.iloc[1, 0] == ((row["lo"] > 0) or (row["hi"] < 0))
    silent = views.headlines(ladder.assign(told=ladder["told"].astype(bool) & (ladder["metric"] != "card_auc")), compared, ["tinyllama-1.1b"])
    assert "nothing can be read off the others" in silent[0] and "the paper's" in silent[0]
    lines = views.headlines(ladder, compared, ["tinyllama-1.1b"])
    assert len(lines) == 5 and lines[3].startswith("What it chooses: of 6 comparisons") and all(line.endswith(".") for line in lines)
    assert set(views.focus_labels(labels, "tinyllama-1.1b")) >= {"uniform", "tinyllama-1.1b--base", "tinyllama-1.1b", "truth", "oracle_card"}


def test_a_run_without_questionnaires_has_a_note_in_place_of_examples():
    for example, more in ((views.sheet_example, ((0,),)), (views.swap_example, ()), (views.guess_example, ([],)), (views.attitude_example, ("",))):
        assert example(None, *more) == views.NO_SHEET


def test_foreign_data_have_no_upper_bound_and_say_so(published):
    _, table, compared = published
    foreign = measures.ladder_rows(table.assign(ceiling=np.nan))
    overview, clear = views.ladder_overview(foreign, {}, ["tinyllama-1.1b"])
    assert foreign.empty and overview.empty and clear.empty
    assert views.headlines(foreign, compared, ["tinyllama-1.1b"]) == ["No upper bound is known in this run, so nothing says how far the models get."]


def test_other_cards_stand_between_their_floors_and_what_a_reader_of_that_card_could_reach(published):
    run, _, _ = published
    table, levels = measuring.conditions(run), pd.read_csv(locate.find(run, "scores/administration.csv"))
    sheets, labels = measuring.load_sheets(run)[1], views.fidelity_labels(run)
    other = measuring.permuted_truth_probability(sheets, run.seed)
    assert other["uniform"] == pytest.approx(levels.set_index(["system", "metric"]).loc[("uniform", "truth_prob"), "value"], abs=1e-4)
    assert other["oracle_card"] < 0.35 < sheet_scores.of_chosen(sheets["oracle_card"].probs, sheets["oracle_card"].truth).mean()
    seen = card_worth.overview(table, levels, other, labels)
    assert {"uniform", "majority", labels["tinyllama-1.1b"], "a perfect reader of that card"} <= set(seen.index) and "Phi-2" not in seen.index
    assert seen.loc["a perfect reader of that card", "full card (n = 4,700)"].startswith(".5") and "three examples (n = 2,350)" in seen
    known = table.set_index(["system", "condition", "metric"]).loc[("tinyllama-1.1b", "no_card", "truth_prob")]
    assert seen.loc[labels["tinyllama-1.1b"], "no card (n = 4,700)"].endswith("*") == (known["p_holm"] < 0.05)
    assert (
        card_worth.changes(table)
        .loc["no card, less full card", "tuned"]
        .startswith(
            f"{table[(table['condition'] == 'no_card') & (table['metric'] == 'truth_prob') & ~table['system'].str.endswith('--base')]['gap'].mean():+.4f}"
        )
    )


def stand_in(system, value, draws, shuffled=0.0):
    return measures.measure_line("coef_r", "", system, {"value": value, "lo": 0, "hi": 0, "draws": np.asarray(draws)}, 9, shuffled)


def test_a_change_is_clear_by_its_draws_and_corrected_for_all_models():
    noise = np.random.default_rng(0).normal(size=400)
    lines = [stand_in("oracle_card", 0.9, 0.9 + 0.01 * noise)]
    for key, gain in (("phi-2", 0.1), ("qwen2-1.5b", -0.05), ("llama-2-7b", 0.0)):
        lines += [stand_in(f"{key}--base", 0.4, 0.4 + 0.3 * noise), stand_in(key, 0.4 + gain, 0.4 + gain + 0.3 * noise + 0.02 * noise[::-1])]
    found = measures.tuning_contrasts(lines, ["phi-2", "qwen2-1.5b", "llama-2-7b"]).set_index(["contrast", "model"])
    change = found.loc["tuned - untuned"]
    assert change.loc["phi-2", "hi"] - change.loc["phi-2", "lo"] == pytest.approx(3.92 * 0.02, rel=0.1), "what both share is no noise of the difference"
    assert change["toward"].drop("llama-2-7b").to_dict() == {"phi-2": True, "qwen2-1.5b": False, measures.MEAN: True}
    assert change.loc["phi-2", "p_holm"] == pytest.approx(3 * change.loc["phi-2", "p"]) and change.loc["llama-2-7b", "p_holm"] > 0.9
    assert np.isnan(change.loc[measures.MEAN, "p_holm"]) and found.loc[("tuned - floor", "phi-2"), "p_holm"] > 0.05, "noisy levels, clear change"


def test_a_measure_that_cannot_tell_its_ends_apart_is_not_scaled(published):
    table = published[1].copy()
    chosen = (table["metric"] == "stance_acc") & (table["system"] == "oracle_card")
    table.loc[chosen, "lo"] = table.loc[chosen, "floor"] - 0.01
    rows = measures.ladder_rows(table).set_index("metric")
    assert not rows.loc["stance_acc", "told"].any() and rows.loc["stance_acc", "value"].isna().all() and rows.loc["pick_options", "told"].all()


def test_foreign_data_have_texts_only(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "load_encoder", Letters)
    (tmp_path / "mine").mkdir()
    run = RunConfig(models="tinyllama-1.1b", data=str(tmp_path / "mine"), out=str(tmp_path))
    run.paths.results.mkdir(parents=True)
    for name in ("preds", "scores"):
        (run.paths.results / name).symlink_to(paths.ROOT / "results" / "shipped" / name)
    parts = answer_files.load_data(RunConfig(models="tinyllama-1.1b", out=str(tmp_path / "other")))
    monkeypatch.setattr(type(run.paths), "folder", lambda self, name: tmp_path)
    table, compared = measuring.measure_fidelity(run, parts)
    assert set(compared["metric"]) == {"pick_meaning", "swap_gap_rouge1_content", "card_auc"}
    assert set(table["section"]) == {"swap", "identification", "consistency", "memory"} and not table["metric"].str.contains("card_options|card_words").any()
    assert len(measures.ladder_rows(table)) > 0
