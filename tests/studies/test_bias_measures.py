"""Every measure of the bias study on a world of known bias: what was put in comes out, and where nothing was put in, nothing does."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from polypersona_lib import resampling
from polypersona_lib.people.card_tiers import TIER_LADDER, TIERS, draw_people
from polypersona_lib.people.human_surveys import load_survey
from polypersona_lib.people.places import democratic_share
from polypersona_lib.studies.bias import bias_measures, findings, grid, item_bank, simulation, tier_effects
from polypersona_lib.studies.bias.plan import GRID_TIERS
from polypersona_lib.studies.bias.planted import PlantedAnswerer, story_of
from polypersona_lib.studies.bias.tier_writer import cards_of, fill
from polypersona_lib.survey.sheet import MISSING

ITEMS = [*item_bank.family_items("elections"), *item_bank.family_items("policy"), *item_bank.family_items("everyday")]
STATES = ["Alabama", "California", "Colorado", "Georgia", "Idaho", "Maine", "New York", "Ohio", "Texas", "Utah", "Vermont", "Wyoming"]


def asked(cards, *, generator="planted", **effects):
    answerer = PlantedAnswerer(ITEMS, **effects)
    return bias_measures.outcomes(simulation.ask_cards(answerer, cards, ITEMS).assign(simulator=answerer.name, generator=generator))


@pytest.fixture(scope="module")
def people():
    return draw_people(6, states=STATES)


@pytest.fixture(scope="module")
def filled(people):
    return fill(PlantedAnswerer(ITEMS, story=story_of), people, seed=1)


@pytest.fixture(scope="module")
def cards(people, filled):
    return cards_of(people, filled, seed=1)


def noisy(card: str) -> float:
    """A person's own lean, from its text: the same card, the same lean."""
    return ((sum(map(ord, card)) * 2654435761) % 1000 / 1000 - 0.5) / 5


@pytest.fixture(scope="module")
def biased(cards):
    """Narratives lean left by .1, party cards by +-.2, everybody by a number of their own."""
    party = {"Democrat": 0.2, "Republican": -0.2}
    shift = lambda card: noisy(card) + 0.1 * card.startswith("Meet ") + sum(v for name, v in party.items() if f" {name}." in card)  # noqa: E731
    return asked(cards, share=0.5, shift=shift, order_bias=0.1)


@pytest.fixture(scope="module")
def constant(cards):
    return asked(cards, share=0.62, name="constant")


def test_the_same_answer_for_everybody_has_no_tier_difference(constant):
    """Exactly 0, not about 0, in every family; and no trend, no groups, no spread."""
    table = tier_effects.tier_differences(constant, seed=1)
    assert (table["mean"].abs() < 1e-12).all() and (table["p_holm"] == 1).all() and set(table["verdict"]) == {"no difference"} and len(table) == 5 * 3
    assert tier_effects.spread(constant)["sd_people"].abs().max() < 1e-12
    trends = tier_effects.alignment_steps(constant, tiers=TIER_LADDER, seed=1)
    assert set(trends["holds"]) == {"open"} and len(trends) == 9 and tier_effects.trend(trends.iloc[:3], "falls") == "open"
    parties = {"subjective": {p: "Democrat" if i % 2 else "Republican" for i, p in enumerate(constant["persona_id"].unique())}}
    assert tier_effects.known_groups(constant, parties, seed=1)["gap"].abs().max() < 1e-12


def test_a_lean_of_known_size_is_found(cards):
    """Everybody says the true share plus d: alignment 1 - |d|, lean d, skill as defined; d = 0 reaches the ceiling and every state."""
    for d in (0.0, 0.08, -0.12):
        by_state = {s: {y: democratic_share(y)[s] for y in (2016, 2020, 2024)} for s in STATES}
        rows = [
            {"persona_id": c.persona_id, "state": c.state, "tier": c.tier, "item": f"state_votes.{y}", "mass": 1.0, "how": "exact", "reason": "",
             "probs": [by_state[c.state][y] + d, 1 - by_state[c.state][y] - d], "first": [0.5, 0.5], "last": [0.5, 0.5]}
            for c in cards[cards["tier"] == "meta"].itertuples() for y in (2016, 2020, 2024)
        ]  # fmt: skip
        table = bias_measures.elections(bias_measures.outcomes(pd.DataFrame(rows).assign(simulator="x", generator="y")), seed=1)
        assert table["alignment"].to_numpy() == pytest.approx(1 - abs(d)) and table["lean"].to_numpy() == pytest.approx(d)
        assert (table["lean_lo"] - 1e-9 <= table["lean"]).all() and table["people"].eq(72).all() and table["states"].eq(12).all()
        assert table["skill"].to_numpy() == pytest.approx(((1 - abs(d)) - table["floor"]) / (table["ceiling"] - table["floor"]))
        if d == 0:
            assert (table["states_right_winner"] == 12).all() and table["r"].to_numpy() == pytest.approx(1) and (table["skill"] > 1).all()
        assert table["sd_votes"].between(0.05, 0.2).all() and table["ceiling"].between(0.98, 0.995).all()


def test_a_uniform_answerer_has_exactly_no_skill(cards):
    """Alignment, floor and ceiling are of the same states and people in every resample, so its interval has no width."""
    flat = asked(cards, share=0.5, name="uniform")
    votes = bias_measures.elections(flat[flat["family"] == "elections"], seed=1)
    assert votes[["skill", "skill_lo", "skill_hi"]].abs().to_numpy().max() < 1e-12
    for family in ("policy", "everyday"):
        items = flat["family"] == family
        uniform = flat[items].assign(probs=[[1 / len(p)] * len(p) for p in flat.loc[items, "probs"]])
        assert bias_measures.item_alignment(uniform, family, seed=1)["skill"].abs().max() < 1e-12


def test_known_floors_of_the_elections():
    """Known: one half everywhere has .901 / .904 / .904 over the 50 states and the District; here over the 50 states of the census joint."""
    flat = {"tier": "meta", "mass": 1.0, "how": "", "reason": "", "probs": [0.5, 0.5], "first": [0.5, 0.5], "last": [0.5, 0.5]}
    rows = [{"persona_id": s, "state": s, "item": f"state_votes.{y}"} | flat for s in democratic_share(2020).index for y in (2016, 2020, 2024)]
    table = bias_measures.elections(bias_measures.outcomes(pd.DataFrame(rows).assign(simulator="x", generator="y")), seed=1).set_index("year")
    assert (
        table["alignment"].round(3).tolist() == [0.901, 0.904, 0.904]
        and table["alignment"].to_numpy() == pytest.approx(table["floor"].to_numpy())
        and table["skill"].abs().max() < 1e-12
    )
    assert (table["sd_states"] == 0).all() and table["r"].isna().all() and (table["ceiling"] > 0.985).all()


def test_tiers_differ_by_what_was_planted(biased, constant):
    table = tier_effects.tier_differences(biased, seed=1).set_index(["family", "tier"])
    noise = {tier: 0.06 for tier in TIERS}
    for family in ("elections", "policy"):
        own = table.loc[(family, "descriptive")]
        assert own["mean"] == pytest.approx(0.09, abs=noise["descriptive"]) and own["lo"] < 0.09 + 0.02 and own["n"] == 72 and own["lost"] == 0
    assert table.loc[("elections", "descriptive"), "verdict"] == "left" and table.loc[("elections", "descriptive"), "p_holm"] < 0.05
    assert table.loc["everyday"]["mean"].abs().max() < 1e-9, "the planted world has no opinion on hospitals"
    order = tier_effects.spread(biased).set_index(["tier", "family"])["order"]
    assert order.loc[("meta", "elections")] == pytest.approx(0.1, abs=1e-6), "the planted order effect"
    assert tier_effects.spread(constant)["failed"].eq(0).all()


def test_missing_cards_are_counted_and_compared_with_nobody(cards):
    some = cards.assign(card=[None if t == "descriptive" and i // 6 % 4 == 0 else c for i, (t, c) in enumerate(zip(cards["tier"], cards["card"], strict=True))])
    lost = some["card"].isna().sum()
    answers = asked(some)
    table = tier_effects.tier_differences(answers, seed=1).set_index(["family", "tier"])
    assert table.loc[("elections", "descriptive"), "lost"] == lost > 0 and table.loc[("elections", "descriptive"), "n"] == 72 - lost
    assert (answers["reason"] == "no card").sum() == lost * len(ITEMS) and tier_effects.spread(answers)["failed"].sum() == lost * len(ITEMS)


def test_known_groups_and_yes_saying(biased, filled, cards):
    parties = {"subjective": filled.values["party"].to_dict(), "real_politics": filled.values["real_party"].to_dict()}
    table = tier_effects.known_groups(biased, parties, seed=1).set_index(["tier", "family"])
    assert table.loc[("real_politics", "elections"), "gap"] == pytest.approx(0.36, abs=0.05) and (table["lo"] < table["gap"]).all(), (
        "0.4 less the order's tenth"
    )
    assert table.loc[("real_politics", "elections"), "lo"] > 0.2 and ("real_politics", "everyday") not in table.index
    fair, rows = tier_effects.yes_saying(biased, seed=1), []
    for item in item_bank.family_items("policy"):
        said = {"tier": "meta", "item": item.id, "probs": [0.8, 0.2], "first": [0.8, 0.2], "last": [0.8, 0.2], "mass": 1.0, "how": "", "reason": ""}
        rows += [{"persona_id": c.persona_id, "state": c.state} | said for c in cards[cards["tier"] == "meta"].itertuples()]
    yes = tier_effects.yes_saying(bias_measures.outcomes(pd.DataFrame(rows).assign(simulator="yes", generator="x")), seed=1)
    assert (yes["hi"] - yes["lo"]).item() == pytest.approx(survey_width(np.array([[1 / 6, 0]])), rel=0.1)
    base = fair.set_index("tier")["value"]
    assert yes["value"].iloc[0] - base["meta"] == pytest.approx(0.3, abs=0.02), "it says yes to four in five, the fair one to half"
    assert base.max() - base.min() < 1e-6, "opinion cancels: a lean is no yes-saying"


def test_a_trend_needs_every_step():
    rng = np.random.default_rng(1)
    base, states = rng.normal(0, 0.1, (300, 1)), np.repeat(STATES, 25)
    falling = pd.DataFrame(base - np.array([0, 0.1, 0.2, 0.3]) + rng.normal(0, 0.05, (300, 4)), columns=list("abcd"))
    bent = falling.assign(c=falling["b"] + 0.1)
    flat = pd.DataFrame(base + rng.normal(0, 0.05, (300, 4)), columns=list("abcd"))
    found = {name: tier_effects.steps(t, clusters=states, seed=1) for name, t in (("falling", falling), ("bent", bent), ("flat", flat))}
    assert tier_effects.trend(found["falling"], "falls") == "holds" and tier_effects.trend(found["falling"], "rises") == "fails"
    assert tier_effects.trend(found["bent"], "falls") == "fails" and tier_effects.trend(found["flat"], "falls") == "open"
    assert found["falling"]["change"].to_numpy() == pytest.approx([-0.1] * 3, abs=0.02)
    assert tier_effects.steps(pd.concat([falling.iloc[:5] * np.nan, falling.iloc[5:]]), clusters=states, seed=1)["n"].eq(295).all()


def test_a_trend_of_few_states_is_not_found_more_often_than_it_should():
    """Five states without any trend: .157 of 600 drawn tables rose or fell when the resamples were read as they stand; .05 is right."""
    rng = np.random.default_rng(3)
    held = [tier_effects.steps(pd.DataFrame(rng.normal(size=(5, 2)), columns=["a", "b"]), clusters=range(5), seed=k)["holds"][0] for k in range(600)]
    assert 0.02 < np.mean([h != "open" for h in held]) < 0.085


def test_clustered_intervals_are_wider_where_states_differ_and_agree_with_regression():
    """The state-clustered interval of a paired difference beside statsmodels' cluster-robust standard error of the same mean."""
    import statsmodels.api as sm

    rng = np.random.default_rng(3)
    states = np.repeat([f"s{i}" for i in range(50)], 6)
    gap = 0.05 + np.repeat(rng.normal(0, 0.08, 50), 6) + rng.normal(0, 0.02, 300)
    rows = [{"simulator": "x", "generator": "y", "family": "elections", "tier": t, "persona_id": f"p{i}", "state": s, "item": "q",
             "score": 0.5 + g * (t == "objective")} for i, (s, g) in enumerate(zip(states, gap, strict=True)) for t in ("meta", "objective")]  # fmt: skip
    own = tier_effects.tier_differences(pd.DataFrame(rows), seed=1).iloc[0]
    fit = sm.OLS(gap, np.ones(300)).fit(cov_type="cluster", cov_kwds={"groups": np.unique(states, return_inverse=True)[1]})
    assert own["mean"] == pytest.approx(gap.mean()) and (own["hi"] - own["lo"]) / 2 == pytest.approx(1.96 * fit.bse[0], rel=0.12)
    naive = sm.OLS(gap, np.ones(300)).fit().bse[0]
    assert (own["hi"] - own["lo"]) / 2 > 1.5 * 1.96 * naive


# --- items ----------------------------------------------------------------------------------------------------------------------------


def test_item_alignment_is_scipys_wasserstein(constant):
    from scipy.stats import wasserstein_distance

    table = bias_measures.item_alignment(constant, "everyday", seed=1).set_index("tier")
    part, distances = constant[(constant["family"] == "everyday") & (constant["tier"] == "meta")], []
    for item in part["item"].unique():
        own = part[part["item"] == item]
        true = np.mean([bias_measures.item_truth("everyday", item, s) for s in own["state"]], axis=0)
        distances.append(wasserstein_distance([0, 0.5, 1], [0, 0.5, 1], np.mean(own["probs"].tolist(), axis=0), true))
    assert table.loc["meta", "alignment"] == pytest.approx(1 - np.mean(distances)) and abs(table.loc["meta", "skill"]) < 0.02, "uniform is the floor"
    policy = bias_measures.item_alignment(constant, "policy", seed=1).set_index("tier").loc["meta"]
    true = [bias_measures.item_truth("policy", item.id, "")[item.leans > 0].sum() for item in item_bank.family_items("policy")]
    assert policy["lean"] == pytest.approx(0.62 - np.mean(true)) and policy["alignment"] == pytest.approx(1 - np.abs(0.62 - np.array(true)).mean())
    assert 0.5 < policy["floor"] < 0.9 < policy["ceiling"] < 1 and "lean" not in table
    left = np.stack([item.leans[:2] > 0 for item in item_bank.family_items("policy")]) / len(true)
    assert policy["lean_hi"] - policy["lean_lo"] == pytest.approx(survey_width(left), rel=0.1), "simulated people are alike, real ones are not"


def survey_width(counted: np.ndarray) -> float:
    """Width of the interval of a sum of shares of the CES's people, each times `counted`: by linearization, as far out as that of twelve states."""
    sheet = load_survey("ces_2018").sheet().in_order([item.id for item in item_bank.family_items("policy")])
    weights, own = sheet.weights[:, None] * (sheet.truth >= 0), (sheet.chosen()[..., :2] * counted).sum(-1)
    weights = weights / weights.sum(0)
    error = np.sqrt(((weights * (own - (weights * own).sum(0))).sum(1) ** 2).sum())
    return float(-2 * stats.norm.ppf(resampling.quantiles(len(STATES))[0]) * error)


def test_the_prior_is_removed_where_it_adds_to_the_log_odds():
    """A simulator whose log-odds are those of the card plus a constant: without the prior exactly the card's, whatever the constant."""
    item = item_bank.family_items("elections")[0]
    signal, prior = 0.7, 1.9

    def logistic(x):
        return 1 / (1 + np.exp(-x))

    class Additive(PlantedAnswerer):
        def _truth(self, messages, options):
            card = messages[-1]["content"].split("\n", 1)[0]
            left = logistic(prior + (signal if "Texas" in card else 0.0))
            return [left if option == item.labels[0] else 1 - left for option in options]

    answerer = Additive([item])
    texas = draw_people(1, states=["Texas"])
    cards = pd.DataFrame({"persona_id": texas.index, "state": "Texas", "tier": "meta", "card": ["woman, 40, Texas"]})
    given, free = simulation.ask_cards(answerer, cards, [item]), simulation.ask_prior(answerer, [item])
    assert given["probs"].iloc[0][0] == pytest.approx(logistic(prior + signal), abs=1e-5) and len(free) == len(simulation.CONTENT_FREE)
    assert simulation.without_prior(given, free)["probs"].iloc[0][0] == pytest.approx(logistic(signal), abs=1e-4)
    lacking = simulation.without_prior(given, free.iloc[:0])
    assert lacking["probs"].iloc[0] is None and lacking["reason"].iloc[0] == "no prior"


def test_real_respondents_keep_their_answers_and_weights():
    drawn = simulation.respondent_cards(12, seed=5)
    answers = simulation.ask_cards(PlantedAnswerer(item_bank.respondent_items(), share=0.7), drawn, item_bank.respondent_items())
    sheet = simulation.respondent_sheet(answers)
    assert sheet.probs.shape[:2] == (12, len(item_bank.RESPONDENT_ITEMS)) and sheet.weights.min() > 0 and (sheet.truth != MISSING).mean() > 0.9
    assert sheet.missing()["answers"] == 0 and not drawn["card"].map(lambda card: "Democrat" in str(card)).any()
    more = set(simulation.respondent_cards(20, seed=5)["persona_id"])
    assert set(drawn["persona_id"]) < more, "more respondents keep the first"


def test_gates_of_a_world_that_knows_parties_and_of_one_that_does_not():
    items = [item for item in item_bank.bank().values() if item.column in item_bank.GATE_COLUMNS]
    party = lambda card: 0.3 if "emocrat" in card else -0.3 if "epublican" in card else 0.0  # noqa: E731
    knows, blind = (PlantedAnswerer(items, shift=shift, share=0.45) for shift in (party, None))
    passed = {name: simulation.gates(a, people=12, seed=2).set_index("gate") for name, a in (("knows", knows), ("blind", blind))}
    assert passed["knows"].loc["known groups", "passed"] and passed["knows"].loc["own card", "passed"]
    assert not passed["blind"].loc["known groups", "passed"] and not passed["blind"].loc["own card", "passed"]
    assert passed["knows"].loc["known groups", "value"] > 0.2 and abs(passed["blind"].loc["known groups", "value"]) < 1e-9


# --- the grid ---------------------------------------------------------------------------------------------------------------------------


def grid_scores(generators, simulators, *, interaction=0.0, seed=1, people=200):
    rng = np.random.default_rng(seed)
    own = rng.normal(0, 0.1, people)
    cross = interaction * rng.normal(size=(len(generators), len(simulators)))
    cells = [(p, g, m) for p in range(people) for g in range(len(generators)) for m in range(len(simulators))]
    scores = [0.5 + generators[g] + simulators[m] + cross[g, m] + own[p] + rng.normal(0, 0.02) for p, g, m in cells]
    names = [{"persona_id": f"p{p}", "state": f"s{p % 40}", "generator": f"g{g}", "simulator": f"m{m}"} for p, g, m in cells]
    return pd.DataFrame(names).assign(score=scores)


def test_components_are_those_of_statsmodels():
    import statsmodels.formula.api as smf
    from statsmodels.stats.anova import anova_lm

    cells = np.random.default_rng(4).normal(size=(4, 3))
    long = pd.DataFrame([{"g": str(i), "s": str(j), "y": cells[i, j]} for i in range(4) for j in range(3)])
    squares = anova_lm(smf.ols("y ~ g + s", long).fit())
    mean = squares["sum_sq"] / squares["df"]
    wanted = [(mean["g"] - mean["Residual"]) / 3, (mean["s"] - mean["Residual"]) / 4, mean["Residual"]]
    assert grid.components(cells) == pytest.approx(wanted)


def test_a_generator_effect_of_known_variance_is_recovered():
    effects = [-0.12, 0.0, 0.03, 0.09]
    table = grid.variance_components(grid_scores(effects, [0.01, 0.0, -0.01]), seed=1).set_index("part")
    assert table.loc["generator", "variance"] == pytest.approx(np.var(effects, ddof=1), rel=0.05) and table.loc["generator", "share"] > 0.95
    assert table.loc["generator", "lo"] < np.var(effects, ddof=1) < table.loc["generator", "hi"] and table.loc["generator - simulator", "lo"] > 0
    assert table["n"].eq(200).all() and table["generators"].eq(4).all()
    turned = grid.variance_components(grid_scores([0.01, 0, -0.01], effects), seed=1).set_index("part")
    assert turned.loc["simulator", "share"] > 0.95 and turned.loc["generator - simulator", "hi"] < 0
    none = grid.variance_components(grid_scores([0, 0, 0], [0, 0, 0]), seed=1).set_index("part")
    assert none["variance"].abs().max() < 1e-4 and none.loc["generator", "lo"] < 0 < none.loc["generator", "hi"]


def test_the_grid_uses_complete_people_and_says_when_it_cannot():
    scores = grid_scores([0, 0.1], [0, 0.1])
    lacking = scores[~((scores["persona_id"] == "p0") & (scores["generator"] == "g1"))]
    assert grid.variance_components(lacking, seed=1)["n"].iloc[0] == 199
    assert grid.variance_components(scores[scores["generator"] == "g0"], seed=1).empty
    one_cell_gone = scores[~((scores["generator"] == "g1") & (scores["simulator"] == "m1"))]
    assert grid.variance_components(one_cell_gone, seed=1).empty, "an incomplete grid is no grid"


@pytest.mark.parametrize(("mean", "lo", "hi", "p", "verdict", "said"), [
    (0.01, -0.02, 0.03, 0.4, "no difference", "There is no difference between"), (0.01, -0.02, 0.04, 0.4, "none shown", "No difference is shown between"),
    (0.02, 0.01, 0.03, 0.01, "small", "There is only a small difference between"), (-0.02, -0.05, -0.01, 0.01, "perhaps small", "perhaps a small one, between"),
    (-0.05, -0.09, -0.01, 0.01, "right", "to the right: -0.050"), (0.01, np.nan, np.nan, 1.0, "none shown", "No difference is shown"),
])  # fmt: skip
def test_no_difference_is_said_only_where_every_larger_one_is_ruled_out(mean, lo, hi, p, verdict, said):
    assert tier_effects._verdict(mean, lo, hi, p, "elections") == verdict
    assert said in findings._story_sentence(pd.Series({"mean": mean, "lo": lo, "hi": hi, "n": 9, "verdict": verdict}))


def test_an_answerer_whose_options_hold_no_mass_is_no_part_of_the_comparison():
    """It answers .3 to every card: with it the answerers seem to differ, without it the writers do; a table that hangs on one model is too close to call."""
    scores = grid_scores([0.1, 0.0, -0.1], [0.01, -0.01, -0.3])
    votes = pd.concat([scores.assign(tier=tier, family="elections") for tier in GRID_TIERS]).assign(mass=0.9)
    all_in = grid.grid_tables(votes, seed=1)
    assert not all_in["grid"]["sign_holds"].any() and all_in["mass"]["passed"].all()
    assert "depends on which models are compared (200 people, 3 writers, 3 answerers)." in findings._grid_sentence(all_in["grid"], all_in["mass"])
    made = grid.grid_tables(votes.assign(mass=votes["mass"].where(votes["simulator"] != "m2", 0.5)), seed=1)
    assert made["grid"]["sign_holds"].all() and grid.silent_answerers(made["mass"]) == {"m2": 0.5}, "the limit itself fails, as in the gates"
    said = findings._grid_sentence(made["grid"], made["mass"])
    assert "the writer of the cards matters more (200 people, 3 writers, 2 answerers); left out, because" in said and said.endswith(": m2 (0.50).")
    for mass, names in ((votes["mass"].where(votes["simulator"] == "m0", 0.1), 2), (votes["mass"] * 0, 3)):
        none = grid.grid_tables(votes.assign(mass=mass), seed=1)
        said = findings._grid_sentence(none["grid"], none["mass"])
        assert none["grid"].empty and len(grid.silent_answerers(none["mass"])) == names and "was not tested: it takes two of each; left out, because" in said
    assert not grid.silent_answerers(grid.grid_tables(votes.assign(mass=np.nan), seed=1)["mass"]), "what was not measured fails no gate"
