"""Real people: counts, weights and numbers that are known of them, items in both orders, cards with nothing invented, files with source, licence and hash."""

import json

import numpy as np
import pandas as pd
import pytest

from polypersona_lib import paths
from polypersona_lib.errors import InputError
from polypersona_lib.files import file_hash
from polypersona_lib.people import human_cards, human_items, places, poststratification
from polypersona_lib.people.human_surveys import load_survey
from polypersona_lib.prompts.chat import find_control_text, render_card
from polypersona_lib.studies.fidelity import sheet_scores
from polypersona_lib.survey import distributions, reliability, subgroups
from polypersona_lib.survey.sheet import MISSING, sheet_of

SURVEYS = {"nonvoters_2020": (5836, 49, 2541), "ces_2018": (1000, 37, 176), "anes_1996": (944, 5, 0)}  # people, items, answers that are missing


@pytest.mark.parametrize("name", SURVEYS)
def test_the_people_and_their_answers_are_all_there(name):
    survey = load_survey(name)
    sheet, (people, items, missing) = survey.sheet(), SURVEYS[name]
    assert (len(survey.people), len(survey.items)) == (people, items) == sheet.truth.shape
    assert sheet.missing() == {"answers": missing, "truth": missing} and survey.missing()["answers"] == missing
    assert survey.answers.min() >= MISSING and (survey.answers < sheet.sizes).all()
    assert (sheet.probs.sum(-1) == (survey.answers != MISSING)).all() and len(set(sheet.people)) == people
    assert (sheet.weights is None) == (name == "anes_1996") and survey.sheet(weighted=False).weights is None


def test_weights_are_the_surveys_own():
    poll, ces = load_survey("nonvoters_2020").people["weight"], load_survey("ces_2018").people["weight"]
    assert poll.sum() == pytest.approx(5783.6, abs=0.1) and poll.min() == pytest.approx(0.2298) and poll.max() == pytest.approx(3.0386)
    assert ces.mean() == pytest.approx(0.955, abs=0.001) and ces.max() == pytest.approx(14.178, abs=0.001) and ces.min() >= 0


def test_hardships_of_the_poll_are_those_its_source_counts():
    """Weighted rates among all people. The events are the columns Q10 and Q11; Q18 and Q19 are about voting."""
    people, text = load_survey("nonvoters_2020").people, human_items.survey_texts()["nonvoters_2020"]
    rates = {e: np.average(people[e][people[e].notna()].astype(float), weights=people["weight"][people[e].notna()]) for e in text["events"]}
    known = {"Q10_1": 0.079, "Q10_2": 0.199, "Q10_3": 0.175, "Q10_4": 0.008, "Q11_1": 0.134, "Q11_5": 0.232}
    assert {e: round(rates[e], 3) for e in known} == known and set(text["hardships"]) == set(known)
    any_of_six = people[text["hardships"]].astype(object).eq(True).any(axis=1)
    assert np.average(any_of_six, weights=people["weight"]) == pytest.approx(0.478, abs=0.0005)


def test_anes_is_read_from_the_package():
    from statsmodels.datasets import anes96

    raw, survey = anes96.load_pandas().data, load_survey("anes_1996")
    assert (survey.answers[:, 0] == raw["vote"]).all() and (survey.answers[:, 1] == raw["selfLR"] - 1).all() and (survey.answers[:, 4] == raw["TVnews"]).all()
    degree = (raw["educ"] == 5).to_numpy()
    assert (survey.people["education"][degree] == "bachelor's degree").all() and (survey.people["education"] == "bachelor's degree").sum() == degree.sum()
    richest = (raw["income"] == 24).to_numpy()
    assert (survey.people["income"][richest] == "$105,000 or more").all() and richest.any()
    dole = pd.Series(survey.answers[:, 0]).groupby(survey.people["party"].to_numpy()).mean()
    assert dole["strong Democrat"] < 0.05 < 0.95 < dole["strong Republican"]
    assert not (paths.HUMANS / "anes_1996.parquet").exists()


# --- items -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SURVEYS)
def test_items_are_asked_in_both_orders(name):
    for item in human_items.human_items(name):
        there, back = item.asked(), item.asked(turned=True)
        turning = len(item.options) - item.stays
        assert there == (item.text, item.options) and len(set(item.options)) == len(item.options) > 1
        assert back == (item.text, item.options[:turning][::-1] + item.options[turning:]) and turning > 1
        assert item.stays == (item.options[-1].startswith(("Unsure", "Other")))
        assert [item.options[i] for i in item.orders()[1]] == list(back[1])
        assert len(item.leans) == len(item.options) and item.key in (1, -1) and item.column == item.id.split(".")[1]
        assert not find_control_text(item.text) and "\n" not in item.text


def test_lean_codes_agree_with_what_the_parties_own_people_say():
    """Democrats take the liberal options more often than Republicans, the conservative ones more rarely, on every coded item."""
    coded = 0
    for name in SURVEYS:
        survey, strong = load_survey(name), "strong " if name == "anes_1996" else ""
        dem, rep = f"{strong}Democrat", f"{strong}Republican"
        for place, item in enumerate(survey.items):
            if not item.lean:
                continue
            coded += 1
            known = survey.answers[:, place] != MISSING
            leans = pd.Series(item.leans[survey.answers[known, place]])
            means = leans.groupby(survey.people["party"].to_numpy()[known]).mean()
            assert means[dem] - means[rep] > 0.1, (item.id, means[dem], means[rep])
    assert coded == 19 + 30 + 2


def test_an_unknown_survey_and_a_wrong_item_are_named():
    with pytest.raises(InputError, match=r"unknown survey 'gss' \(there are: nonvoters_2020, ces_2018, anes_1996\)"):
        human_items.human_items("gss")
    battery = {"domain": "d", "question": "q", "options": ["a", "b"], "construct": "c", "items": {"x": {"lean": "LCC"}}}
    with pytest.raises(InputError, match="nonvoters_2020.x: lean needs L, C or - for each of 2 options"):
        list(human_items._battery("nonvoters_2020", battery))


# --- files -------------------------------------------------------------------------------------------------------------------


def test_every_file_has_source_licence_and_hash():
    sources = json.loads((paths.HUMANS / "sources.json").read_text(encoding="utf-8"))
    files = sorted(paths.HUMANS.glob("*.parquet"))
    assert {f.name for f in files} == set(sources) and len(files) == 5
    for file in files:
        entry = sources[file.name]
        assert entry["sha256"] == file_hash(file) and len(entry["original_sha256"]) == 64 and file.stat().st_size < 4_000_000
        assert all(entry[k] for k in ("title", "source", "licence", "weight")) and len(pd.read_parquet(file)) == entry["rows"]
        assert file.name in (paths.HUMANS / "LICENSES.md").read_text(encoding="utf-8")
        assert not any("resp" in column.casefold() for column in pd.read_parquet(file).columns), "no respondent numbers"


# --- cards -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SURVEYS)
def test_cards_hold_what_people_said_and_nothing_else(name):
    survey = load_survey(name)
    cards = human_cards.human_cards(survey)
    people = survey.people.reset_index()
    for card, said in zip(cards[:300], people[:300].to_dict("records"), strict=True):
        values = {str(v) for v in said.values() if v is not None and v == v}
        marital = said.get("marital")
        own = values | {"USA", *human_cards.AREAS.values()} | ({f"{marital[0].upper()}{marital[1:]}."} if isinstance(marital, str) else set())
        assert {str(v) for v in card.values()} <= own and not {"values", "traits", "interests", "category"} & set(card)
        assert str(card["age"]) in render_card(card) and not any(p in render_card(card) for p in ("Democrat", "Republican", "liberal", "conservative"))
    absent = {field: sum(field not in card for card in cards) for field in human_cards.CARD_FIELDS}
    assert absent["age"] == 0 and absent["education"] == 0
    if name == "ces_2018":
        assert (absent["income_bracket"], absent["region"], absent["description"]) == (100, 0, 1)
    else:
        assert absent["region"] == absent["occupation"] == len(cards)


def test_politics_are_on_a_card_only_if_asked_for():
    survey = load_survey("ces_2018")
    plain, political = (human_cards.card_of(survey, "ces_2018-0001", politics=p) for p in (False, True))
    assert plain["description"] == "Married." and political["description"] == "Married. Strong Republican. Very conservative."
    line = "man, 78, White, rural Minnesota, USA; retired; high school diploma; $40,000-49,999 income."
    assert render_card(political) == f"{line} Married. Strong Republican. Very conservative."
    assert human_cards.human_groups(survey).loc["ces_2018-0001", "region"] == "US Midwest"


def test_groups_are_counted_as_the_survey_has_them():
    survey = load_survey("nonvoters_2020")
    groups = human_cards.human_groups(survey)
    assert groups["education"].value_counts().to_dict() == {"degree": 2330, "school": 1796, "college": 1710}
    assert groups["income"].value_counts().to_dict() == {"middle": 1396 + 1628, "low": 1418, "high": 1394} and groups["party"].isna().sum() == 48
    assert (groups["age"] == "18-29").sum() == (survey.people["age"] < 30).sum() and "region" not in groups
    assert groups["income"].cat.categories.tolist() == ["low", "middle", "high"]
    assert human_cards.human_groups(load_survey("anes_1996")).columns.tolist() == ["age", "education", "income", "party"]


# --- measures of simulated people run on real ones -------------------------------------------------------------------------------


def some(name, people=150, items=None):
    """The first people of a survey, and their sheet."""
    sheet = load_survey(name).sheet().of(np.arange(people))
    return sheet if items is None else sheet.in_order([q.id for q in sheet.items if q.column.startswith(items)])


def test_distributions_run_on_real_people():
    sheet = some("ces_2018")
    table = distributions.by_domain({"people": sheet}, n_boot=5)
    overall = table[table["level"] == "all"].set_index("metric")
    assert overall.loc["alignment", "value"] == pytest.approx(1) and overall.loc["individual_accuracy", "value"] == pytest.approx(1)
    assert 0.5 < overall.loc["alignment", "uniform"] < 1 and overall.loc["alignment", "n"] == sheet.answered.sum()
    assert overall.loc["coverage", "value"] == pytest.approx((sheet.weights @ sheet.answered / sheet.weights.sum()).mean())
    items = distributions.by_item({"people": sheet}, n_boot=2)
    assert distributions.worst_items(items, "people", asked=sheet.items)["question"].str.len().min() > 10


def test_subgroups_run_on_real_people():
    survey = load_survey("nonvoters_2020")
    sheet, groups = some("nonvoters_2020", 400, ("Q3", "Q8")), human_cards.human_groups(survey)
    turned = sheet.permuted(np.roll(np.arange(400), 7))
    slopes = subgroups.gap_slopes({"own": sheet, "strangers": turned}, groups, n_boot=5).set_index(["system", "metric"])["value"]
    assert slopes["own", "gap_slope"] == pytest.approx(1) and abs(slopes["strangers", "gap_slope"]) < 0.5
    same = subgroups.subgroups({"own": survey.sheet(weighted=False).of(np.arange(400)).in_order([q.id for q in sheet.items])}, groups)
    assert {"race", "party", "age"} <= set(same["variable"]) and same["value"].dropna().abs().max() < 1e-12
    with pytest.raises(ValueError, match="people have weights"):
        subgroups.subgroups({"own": sheet}, groups)


def test_reliability_runs_on_real_people():
    sheet = load_survey("nonvoters_2020").sheet()
    trust = sheet.in_order([q.id for q in sheet.items if q.construct in ("trust in institutions", "social justice")])
    table = reliability.reliability({"people": trust}, n_boot=2).set_index(["system", "construct", "metric"])
    whole = table.loc["people", "trust in institutions", "alpha"]
    assert 0.7 < whole["value"] < 0.95 and whole["items"] == 9 and whole["n"] < len(sheet.people), "people who skipped an item are left out and counted"
    assert "ease of voting" not in reliability.constructs(sheet) and "following the race" in sheet.constructs, "one item is no scale"
    assert table.loc["people", "social justice", "alpha"]["reversed"] == 3 and table.loc["people", "social justice", "alpha"]["value"] > 0.6


def test_fidelity_measures_run_on_real_people():
    """Measures that need every answer: the people who gave them all, each weighing the same."""
    survey = load_survey("ces_2018")
    full = survey.sheet(weighted=False).of((survey.answers != MISSING).all(1))
    assert full.whole() is full and 800 < len(full.people) < 1000
    few = full.of(np.arange(120))
    assert sheet_scores.hits(few).mean() == 1
    swap = sheet_scores.option_swap(few)["option_auc"](np.ones((1, 120)))
    assert 0.5 < float(swap[0]) < 1
    rates = sheet_scores.contradictions(few)
    value, floor = float(rates["contradiction"][0](np.ones((1, 120)))[0]), rates["contradiction"][1]
    assert value < floor, "people contradict themselves less than strangers contradict each other"


def test_a_models_answers_to_human_items_become_a_sheet_too():
    survey = load_survey("ces_2018")
    bank = {q.id: q for q in survey.items[:3]}
    rows = [(p, i, np.array([0.25, 0.75]), survey.answers[n, k]) for n, p in enumerate(survey.people.index[:5]) for k, i in enumerate(bank)]
    sheet = sheet_of(pd.DataFrame(rows, columns=["persona_id", "question_id", "option_probs", "truth"]), bank=bank)
    assert sheet.items == tuple(bank[i] for i in sorted(bank)) and sheet.probs.shape == (5, 3, 2)


def test_states_can_be_the_unit():
    sheet = load_survey("ces_2018").sheet(unit="state")
    assert sheet.n_units == load_survey("ces_2018").people["state"].nunique() == 50 and sheet.draws(n_boot=2, seed=1).shape == (3, 1000)


# --- states and the census ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("year", "uniform", "national", "democratic"), [(2016, 0.901, 0.898, 0.48), (2020, 0.904, 0.900, 0.50), (2024, 0.904, 0.905, 0.47)])
def test_floors_of_state_alignment_are_the_known_ones(year, uniform, national, democratic):
    assert places.state_alignment(0.5, year).mean() == pytest.approx(uniform, abs=0.0006) and len(places.democratic_share(year)) == 51
    dem, rep = (places.state_votes()[f"{party}_{year}"].sum() for party in ("dem", "rep"))
    assert places.state_alignment(dem / (dem + rep), year).mean() == pytest.approx(national, abs=0.0006)
    assert places.state_alignment(1.0, year).mean() == pytest.approx(democratic, abs=0.0055)
    assert places.state_alignment(places.democratic_share(year), year).min() == 1
    many, few = (places.state_alignment(places.voted(places.democratic_share(year), people=n), year).mean() for n in (1000, 40))
    assert many == pytest.approx(0.988, abs=0.003) and few == pytest.approx(0.939, abs=0.012)
    assert places.state_alignment(places.democratic_share(2020), year).mean() == pytest.approx(1 if year == 2020 else 0.979, abs=0.003)


def test_votes_and_the_census_are_sheets():
    votes = places.vote_sheet()
    assert votes.probs.shape == (51, 3, 2) and votes.probs.sum(-1) == pytest.approx(1)
    assert votes.weights.sum() == pytest.approx(places.state_votes().to_numpy().sum())
    won = (votes.truth == 0).sum(0)
    assert won.tolist() == [21, 26, 20], "states and DC with more Democratic than Republican votes"
    census = places.census_sheet()
    assert census.weights.sum() == 228_443_347 and census.n_units == 50 and [q.construct for q in census.items] == ["race", "gender", "age", "education"]
    ohio = places.census_sheet("Ohio")
    assert ohio.weights.sum() == places.census_joint().query("state == 'Ohio'")["n"].sum()
    assert 0.5 < np.average(ohio.truth[:, 1] == 0, weights=ohio.weights) < 0.53, "women"
    with pytest.raises(ValueError, match="no cells for 'OH'"):
        places.census_sheet("OH")
    with pytest.raises(ValueError, match=r"no votes for 1 of 1 states \(OH"):
        places.state_alignment(pd.Series({"OH": 0.5}), 2020)


def test_the_joint_has_the_associations_that_marginals_lose():
    """Cramér's V of the census joint as measured: age x education .100, race x education .099, race x age .095; of its marginals 0."""
    known = {("race", "age"): 0.095, ("race", "education"): 0.099, ("age", "education"): 0.100}
    found = poststratification.associations(places.census_joint(), ["race", "age", "education"]).set_index(["a", "b"])["v"]
    assert found.to_dict() == pytest.approx(known, abs=0.0006)
    product = pd.DataFrame([{"a": i, "b": j, "n": (i + 1) * (j + 2)} for i in range(3) for j in range(4)])
    assert poststratification.associations(product, ["a", "b"])["v"].item() == pytest.approx(0, abs=1e-7)


# --- from a sample to states ----------------------------------------------------------------------------------------------------


def test_poststratification_finds_a_known_vote_of_the_states():
    """Answers that are drawn from a known function of race and education: the states' shares follow from their cells."""
    rng, cells = np.random.default_rng(1), places.census_joint()
    drawn = cells.loc[rng.choice(len(cells), size=6000, p=cells["n"] / cells["n"].sum())].reset_index(drop=True)
    chance = {"White": 0.4, "Black": 0.9, "Hispanic": 0.65, "Other": 0.6}
    answer = pd.Series((rng.random(6000) < drawn["race"].map(chance)).astype(float))
    answer[::10] = np.nan
    true = (cells["race"].map(chance) * cells["n"]).groupby(cells["state"]).sum() / cells["n"].groupby(cells["state"]).sum()
    found = poststratification.poststratified(answer, drawn, states=False)
    assert len(found) == 50 and (found - true).abs().max() < 0.05 and found.corr(true) > 0.98


def test_real_voters_give_the_states_better_than_one_half_everywhere():
    """678 voters of the CES sample, by their weights. Known of 44,932 voters: .894-.915, 27-31 of 50 states right; the floor of these states is .908."""
    survey = load_survey("ces_2018")
    votes, attributes = poststratification.two_party_vote(survey), poststratification.census_attributes(survey)
    assert votes.notna().sum() == 678 and votes.sum() == 357 and attributes.notna().all().all()
    found = poststratification.poststratified(votes, attributes, weights=survey.people["weight"])
    aligned = places.state_alignment(found, 2016).mean()
    assert places.state_alignment(0.5, 2016)[found.index].mean() == pytest.approx(0.908, abs=0.001) and aligned == pytest.approx(0.922, abs=0.004)
    assert abs(poststratification.lean(found, 2016)) < 0.02 and ((found > 0.5) == (places.democratic_share(2016)[found.index] > 0.5)).sum() >= 30
    with pytest.raises(ValueError, match="nonvoters_2020 did not ask the state and gender"):
        poststratification.census_attributes(load_survey("nonvoters_2020"))
