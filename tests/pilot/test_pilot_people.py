"""What a simulation is worth beside real people: known answers at both ends, on planted people and on the survey of 538 with its real answers."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import planted_survey as planted
import pytest

from polypersona_lib.errors import InputError
from polypersona_lib.intake.survey_format import ANSWER_COLUMNS, PEOPLE_COLUMNS, Item, shaped
from polypersona_lib.people.human_surveys import load_survey
from polypersona_lib.pilot import against_people as against
from polypersona_lib.pilot.analysis import Material, run_pilot, with_weights
from polypersona_lib.pilot.panel import Panel, attributes_of, human_panel, read_panel


def of_survey(places, *, system="people") -> Panel:
    """Some people of the 538 survey as a panel."""
    survey = load_survey("nonvoters_2020")
    ids = [survey.people.index[p] for p in places]
    own = {i: {item.id: item.options[c] for item, c in zip(survey.items, survey.answers[p], strict=True) if c >= 0} for i, p in zip(ids, places, strict=True)}
    return human_panel(own, survey.items, pd.DataFrame({"persona_id": ids}), system=system)


@pytest.fixture(scope="module")
def real():
    return of_survey(range(400))


@pytest.fixture(scope="module")
def uniform(real):
    """A table answerer that knows nothing: every option is equally probable for everybody."""
    sheet = real.sheet.of(np.arange(120))
    flat = (np.arange(sheet.probs.shape[-1]) < sheet.sizes[:, None]) / sheet.sizes[:, None]
    return Panel(system="knows nothing", sheet=type(sheet)(**{**vars(sheet), "probs": np.broadcast_to(flat, sheet.probs.shape)}), counts=real.counts)


def test_a_uniform_simulation_gets_the_uniform_baseline_and_no_praise(real, uniform):
    table, by_item = against.alignment_tables(uniform, real)
    rows = table.set_index("system")["alignment"]
    assert rows["knows nothing"] == pytest.approx(rows[against.UNIFORM]) and rows["120 real people"] > 0.95 > rows["knows nothing"]
    assert rows[against.OTHER_HALF] > rows["120 real people"] > rows[against.MOST_FREQUENT] and len(by_item) == 5 * 49
    powered = against.powered_means(uniform, real)
    np.testing.assert_allclose(powered["gain"], 1, rtol=1e-6)
    assert powered["replay"].all() and set(powered["n"]) <= set(range(30, 61))
    sentence = against.worth_sentence("knows nothing", table, powered)
    assert sentence.startswith("Not worth anything here") and "adds nothing" in sentence and sentence.count(".") == 4  # one sentence with three decimals


def test_real_people_as_their_own_simulation_are_worth_themselves(real):
    own = of_survey(range(100), system="themselves")
    table, _ = against.alignment_tables(own, real)
    rows = table.set_index("system")
    assert rows.loc["themselves", "alignment"] == pytest.approx(rows.loc["100 real people", "alignment"], abs=0.02)
    labelled = of_survey(range(40))
    powered = against.powered_means(own, labelled)
    # 40 people who were asked and 60 more whose "simulation" is their own answer: 100 answers
    assert not powered["replay"].any() and powered["gain"].median() == pytest.approx(2.5, rel=0.05)
    assert "it counts like" in against.worth_sentence("themselves", table, powered) and against.worth_sentence("themselves", table, powered).startswith(
        "Worth something here"
    )


def test_intervals_with_the_simulation_hold_the_truth(real):
    own, everybody = of_survey(range(100), system="themselves"), of_survey(range(400)).sheet.true_positions()
    powered = against.powered_means(own, of_survey(range(40))).set_index("question_id")
    truth = pd.Series(np.nanmean(everybody, axis=0), index=[i.id for i in real.sheet.items])[powered.index]
    assert truth.between(powered["lo"], powered["hi"]).mean() > 0.85
    assert ((powered["hi"] - powered["lo"]) < (powered["alone_hi"] - powered["alone_lo"])).mean() > 0.95


def test_without_a_person_on_both_sides_nothing_is_powered_and_the_verdict_says_so(real):
    strangers = of_survey(range(500, 560), system="strangers")
    powered = against.powered_means(strangers, real)
    assert powered.empty and "unknown" in against.worth_sentence("strangers", against.alignment_tables(strangers, real)[0], powered)


def test_mean_gaps_and_group_errors_see_a_planted_shift():
    items, people = planted.questionnaire()[:3], planted.people_frame(60)
    panel = read_panel(planted.answers_of(planted.table_answerer(), items, people), items, people)
    own = {p: {i.id: planted.AGREE[min(4, a + 1)] for i, a in zip(items, row, strict=True)}
           for p, row in zip(people["persona_id"], panel.sheet.probs.argmax(-1), strict=True)}  # fmt: skip
    humans, attributes = human_panel(own, items, people), attributes_of(people)
    gaps = against.mean_gaps(panel, humans)
    assert (gaps["hi"] < 0).all() and gaps["gap"].between(-0.25, -0.1).all()
    errors = against.group_errors(panel, humans, attributes)
    levels = errors[errors["variable"] == "level"].set_index("group")
    assert levels.loc["low", "error"] == pytest.approx(0.25, abs=0.06) and levels.loc["high", "ignoring"] > 0.15
    assert set(attributes) == {"age", "region", "level"} and errors["note"].eq("").all()
    differences = against.powered_differences(panel, humans, attributes)
    assert {"north", "south"} <= set(differences["group"]) and (differences["gain"] >= 0.99).all()
    heavy = replace(humans, sheet=replace(humans.sheet, weights=np.where(np.arange(60) < 12, 1, 0.01)))  # they count like 12 people, no group like ten
    assert against.powered_differences(panel, heavy, attributes).empty
    assert set(against.group_errors(panel, heavy, attributes[["region"]])["note"]) == {"too few"}


def test_attributes_are_groups_and_never_names_or_words():
    cards = [{"age": 20 + i, "name": f"person {i}", "sex": "fm"[i % 2], "likes": ["a"], "same": 1} for i in range(40)]
    frame = pd.DataFrame({"persona_id": [f"p{i}" for i in range(41)], "card": [*map(json.dumps, cards), json.dumps("a person in words")]})
    made = attributes_of(frame)
    assert list(made) == ["age", "sex", "same"] and made.loc["p40"].tolist() == ["not said"] * 3 and made["age"].nunique() == 4
    assert set(made["age"]) == {"20–33", "34–46", "47–59", "not said"}


def test_intervals_beside_real_people_count_whole_households(real):
    """Twins of everybody in one household each: the interval is that of half as many people, not narrower."""
    own, labelled = of_survey(range(120), system="themselves"), of_survey(range(60))
    sheets = []
    for panel in (own, labelled):
        sheet = panel.sheet
        twice = np.repeat(np.arange(len(sheet.people)), 2)
        doubled = sheet.of(twice)
        names = tuple(f"{person}-{n % 2}" for n, person in enumerate(doubled.people))
        sheets.append([Panel(system=panel.system, sheet=replace(doubled, people=names, units=units), counts=panel.counts) for units in (None, twice)])
    alone, clustered = (against.powered_means(sheets[0][k], sheets[1][k]).set_index("question_id") for k in (0, 1))
    width = [(table["alone_hi"] - table["alone_lo"]).median() for table in (alone, clustered)]
    assert width[1] == pytest.approx(width[0] * np.sqrt(2), rel=0.1)
    groups = pd.DataFrame({"half": ["one", "two"] * 120}, index=list(sheets[0][0].sheet.people))
    few_groups = groups.assign(half=["one"] * 60 + ["two"] * 180)
    errors = [against.group_errors(sheets[0][k], sheets[1][k], few_groups).set_index("group").loc["one"] for k in (0, 1)]
    assert errors[1]["hi"] - errors[1]["lo"] > 1.2 * (errors[0]["hi"] - errors[0]["lo"]), "thirty households are no sixty people"
    few = replace(sheets[1][1].sheet, units=np.zeros(len(sheets[1][1].sheet.people), dtype=int))
    assert against.powered_means(sheets[0][1], Panel(system="x", sheet=few, counts=own.counts)).empty, "one cluster has no standard error"


def test_draws_that_hold_nobody_who_answered_leave_the_interval(real):
    """An item that 3 of 200 answered: a resample without them is no answer, and no distance of 1 from everything."""
    rare, item = real.sheet.of(np.arange(200)), 0
    probs, truth = rare.probs.copy(), rare.truth.copy()
    gone = np.flatnonzero(probs[:, item].any(-1))[6:]
    probs[gone, item], truth[gone, item] = 0, -1
    humans = Panel(system="people", sheet=replace(rare, probs=probs, truth=truth), counts=real.counts)
    whole, by_item = against.alignment_tables(of_survey(range(200, 260), system="s"), humans)
    line = by_item[(by_item["system"] == "s") & (by_item["question_id"] == rare.items[item].id)].iloc[0]
    assert np.isfinite(line["alignment"]) and line["lo"] > 0.3 and np.isfinite(whole["alignment"]).all()


def test_a_simulation_as_near_as_the_baseline_is_hardly_ever_told_from_it(monkeypatch):
    """Truth .65, simulated .8, uniform .5: equally near. 40 surveys; against the baseline's sample value 40 % were told apart, 5 % is right."""
    monkeypatch.setattr(against, "BOOTSTRAPS", 200)
    monkeypatch.setattr(against, "RESAMPLES", 2)
    rng, told = np.random.default_rng(3), 0
    items = tuple(Item(id=f"q{k}", text="Well?", kind="yes_no", labels=("No", "Yes")) for k in range(4))
    sheet = human_panel({}, items, pd.DataFrame({"persona_id": [f"s{k}" for k in range(60)]})).sheet
    simulated = Panel(system="sim", sheet=replace(sheet, probs=np.tile([0.8, 0.2], (60, 4, 1))), counts=pd.DataFrame())
    for seed in range(40):
        attitude = rng.normal(size=(120, 1))
        chosen = np.sqrt(0.8) * attitude + np.sqrt(0.2) * rng.normal(size=(120, 4)) > 0.3853  # 35 % say yes
        own = {f"h{i}": {item.id: ("No", "Yes")[said] for item, said in zip(items, row, strict=True)} for i, row in enumerate(chosen.astype(int))}
        table = against.alignment_tables(simulated, human_panel(own, items, pd.DataFrame({"persona_id": list(own)})), seed=seed)[0]
        told += "cannot be told from" not in against.worth_sentence("sim", table, pd.DataFrame({"gain": []}))
        assert table.set_index("system")["over"].notna().sum() == 2
    assert told <= 6


def test_an_unknown_gain_has_its_own_opening():
    alignment = pd.DataFrame({"system": ["sim", against.UNIFORM, against.MOST_FREQUENT, "9 real people"], "alignment": [0.9, 0.8, 0.7, 0.95], "n": [9, 0, 9, 9],
                              "over": [0.1, *[np.nan] * 3], "over_lo": [0.05, *[np.nan] * 3], "over_hi": [0.2, *[np.nan] * 3]})  # fmt: skip

    def verdict(own, lo, hi, people):
        rows = alignment.assign(alignment=[own, 0.8, 0.7, people], over_lo=[lo, *[np.nan] * 3], over_hi=[hi, *[np.nan] * 3])
        return against.worth_sentence("sim", rows, nobody)

    nobody, same = pd.DataFrame({"gain": []}), pd.DataFrame({"gain": [np.nan], "n": [9]})
    assert against.worth_sentence("sim", alignment, nobody).startswith("Worth something as a stand-in here: its alignment of 0.900 lies above")
    assert verdict(0.7, -0.2, -0.01, 0.95).startswith("Not worth anything as a stand-in here: its alignment of 0.700 lies below")
    assert verdict(0.78, -0.1, 0.1, 0.95).startswith("Not shown to be worth anything as a stand-in here: its alignment of 0.780 cannot be told from")
    weak = "these real people do not reach the baseline either, so this sample cannot tell"
    assert weak in verdict(0.78, -0.1, 0.1, 0.79) and weak not in verdict(0.78, -0.1, 0.1, 0.95)
    lucky = pd.DataFrame({"gain": [1.2], "n": [10], "by_chance": [1.3]})
    assert "it adds no more than chance does (effective sample size 12, by chance up to 13)" in against.worth_sentence("sim", alignment, lucky)
    assert against.worth_sentence("sim", alignment, lucky).startswith("Of little worth here")
    assert against.worth_sentence("sim", alignment, lucky.assign(by_chance=1.1)).startswith("Worth something here")
    below = alignment.assign(over_lo=-0.2, over_hi=-0.1)
    said = against.worth_sentence("sim", below, same)
    assert said.startswith("Not worth anything as a stand-in here") and said.endswith(
        "is unknown, because the people who were both asked and simulated gave the same answers."
    )


@pytest.mark.parametrize(("count", "weight"), [(2, [None] * 2), (12, [1.0, 0.0, 0.0] * 4)])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_two_people_and_weights_of_zero_give_numbers_without_warnings(count, weight):
    items, people = planted.questionnaire(), planted.people_frame(count).assign(weight=weight)
    answers = planted.answers_of(planted.table_answerer(), items, people)
    own = {p: {item.id: planted.AGREE[(k + j) % 5] for j, item in enumerate(items)} for k, p in enumerate(people["persona_id"])}
    made = run_pilot(Material(items=items, people=people, answers=answers, humans=people, human_answers=own))
    real = made.tables["items"].query("system == 'real people'")
    assert set(real["n"]) == {2 if count == 2 else 4} and np.isfinite(made.tables["alignment"]["alignment"]).all()


def test_weights_that_leave_one_person_are_refused():
    people = planted.people_frame(3).assign(weight=[1.0, 0.0, 0.0])
    with pytest.raises(InputError, match="1 of 3 people have a weight above 0"):
        read_panel(planted.answers_of(planted.table_answerer(), planted.questionnaire()[:1], people), planted.questionnaire()[:1], people)


YES_NO = Item(id="q", text="Well?", kind="yes_no", labels=("No", "Yes"))
DOUBT = Item(id="q", text="Well?", kind="likert", labels=("Agree", "Disagree", "Don't know"), option_kinds=("", "", "dont_know"))


def simulated_by(item, probs, people) -> pd.DataFrame:
    """Answers of a system that has these probabilities for each person."""
    about = {"system": "sim", "question_id": item.id, "repeat": 0, "mode": "single", "turn": 1, "turns_dropped": 0, "status": "ok", "option_mass": 1.0}
    rows = [about | {"id": p, "persona_id": p, "option_probs": list(map(float, own))} for p, own in zip(people["persona_id"], probs, strict=True)]
    return shaped(rows, ANSWER_COLUMNS)


def some_people(count, **columns) -> pd.DataFrame:
    rows = [{"persona_id": f"p{i}", "card": json.dumps({"half": "ab"[i % 2]}), "persona": "x"} for i in range(count)]
    return shaped(rows, PEOPLE_COLUMNS).assign(**columns)


def test_people_who_are_simulated_too_take_their_weights_along():
    """Twenty of weight 4 say yes, eighty of weight .25 no; the simulation is right about each: without their weights it was wrong by .6."""
    people, yes = some_people(100), np.arange(100) < 20
    humans, own = people.assign(weight=np.where(yes, 4, 0.25)), {f"p{i}": {"q": "Yes" if i < 20 else "No"} for i in range(100)}
    answers = simulated_by(YES_NO, np.stack([~yes, yes], axis=1), people)
    made = run_pilot(Material(items=(YES_NO,), people=people, answers=answers, humans=humans, human_answers=own))
    gap = made.tables["gaps"].iloc[0]
    assert gap["gap"] == pytest.approx(0, abs=1e-9) and gap["people_mean"] == pytest.approx(0.8)
    line = made.tables["powered_means"].iloc[0]
    assert line["lo"] < 0.8 < line["hi"] and line["mean"] == pytest.approx(line["simulated"], abs=0.1)
    assert with_weights(people, humans.iloc[:40])["weight"].isna().all()  # nobody knows what the others weigh
    assert with_weights(people.assign(weight=2.0), humans)["weight"].eq(2).all()


def test_people_count_as_far_as_they_answer_in_substance():
    """Half say Agree; the others Disagree once in ten and else "don't know". Of the answers .1 / 1.1 disagree, and prediction-powered means say so."""
    rng, people = np.random.default_rng(5), some_people(800)
    sure = np.arange(800) % 2 == 0
    probs = np.where(sure[:, None], [1, 0, 0], [0, 0.1, 0.9])
    answers, held = simulated_by(DOUBT, probs, people), 0
    for _ in range(20):
        said = [DOUBT.labels[rng.choice(3, p=p)] for p in probs[:400]]
        humans = human_panel({f"p{i}": {"q": word} for i, word in enumerate(said)}, (DOUBT,), people.iloc[:400])
        panel = read_panel(answers, (DOUBT,), people)
        line, gap = against.powered_means(panel, humans).iloc[0], against.mean_gaps(panel, humans).iloc[0]
        assert gap["simulated"] == pytest.approx(0.1 / 1.1, abs=1e-6) and abs(gap["gap"]) < 0.1
        assert line["n"] + line["left_out"] == 400 and line["n_others"] == 400
        held += line["lo"] <= 0.1 / 1.1 <= line["hi"]
    assert held >= 17


def test_a_simulation_that_knows_nobody_is_hardly_ever_called_useful_beside_twenty_people():
    """Noise in place of answers: 19 % of such simulations were called useful, 5 % is right. One that knows something is still found."""
    rng, called, found = np.random.default_rng(11), 0, 0
    people = some_people(120)
    for _ in range(24):
        truth = rng.random(20) < 0.5
        humans = human_panel({f"p{i}": {"q": ("No", "Yes")[said]} for i, said in enumerate(truth.astype(int))}, (YES_NO,), people.iloc[:20])
        for knows in (False, True):
            share = rng.random(120) if not knows else np.clip(np.append(truth, rng.random(100) < 0.5) * 0.6 + rng.random(120) * 0.4, 0, 1)
            panel = read_panel(simulated_by(YES_NO, np.stack([1 - share, share], axis=1), people), (YES_NO,), people)
            powered = against.powered_means(panel, humans)
            useful = against.mean_gain(powered) > max(against.GAIN, powered["by_chance"].iloc[0])
            called, found = called + (useful and not knows), found + (useful and knows)
    assert called <= 3 and found == 24


def test_a_gain_of_chance_is_exceeded_once_in_twenty(monkeypatch):
    """One more number of the same kind exceeds the second largest of 39 in 2 of 40 cases; a quantile between two of them is exceeded more often (7 %)."""
    gains = iter(np.random.default_rng(1).permutation(39))
    monkeypatch.setattr(against, "_powered", lambda *args, **kwargs: pd.DataFrame({"gain": [1.0]}))
    monkeypatch.setattr(against, "mean_gain", lambda powered: float(next(gains)))
    assert against.SHUFFLES == 39 and against.powered_means(None, None)["by_chance"].tolist() == [37.0]


def test_as_many_real_people_as_there_are_and_no_more(real):
    """Of 30 real people 15 are one half: sixty drawn from them would be the same fifteen, and called "60 real people"."""
    table = against.alignment_tables(of_survey(range(300, 360), system="s"), of_survey(range(30)))[0].set_index("system")
    assert "15 real people" in table.index and table.loc["15 real people", "n"] == 15 and not any(name.startswith("60") for name in table.index)
    same = ["alignment", "lo", "hi"]
    assert table.loc["15 real people", same].tolist() == pytest.approx(table.loc[against.OTHER_HALF, same].tolist()), "one sample: its people are resampled"
    assert table.loc["15 real people", "hi"] - table.loc["15 real people", "lo"] > 0.01
