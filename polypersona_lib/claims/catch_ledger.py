"""The claims of the second paper (arXiv 2503.16527, on the bias of generated personas), judged by what the bias study found: directions and orders, no numbers.

The paper's own numbers are not available here. Classes and guard are those of the first ledger: what a baseline fulfils too is trivial. Baselines: the bare
census card for claims about narratives, a narrative without a model for claims about texts, one answer for everybody for orders of tiers.
"""

import json
from collections.abc import Mapping

import pandas as pd

from .. import paths
from ..config import RunConfig
from .evidence import CLOSE, MEASURED, NEEDS_DATA, NOT_REPRODUCED, REPRODUCED, SURE, TRIVIAL, UNTESTED, Finding

CATCH_CLAIMS = paths.DATA / "catch_claims.csv"
PLANTED_WORLD = "planted"
COMMAND = "./run_all.sh bias"
_FREQUENT, _FEW = 0.25, 0.25
_WARM = ("love", "proud", "family", "community")


def bias_evidence(run: RunConfig) -> dict | None:
    """What the bias study left for this ledger (`bias.json`): of this run, of the last bias run, or published; None if there is none."""
    places = [run.paths.results, paths.run_paths("bias", run.out).results, paths.ROOT / "results" / "shipped"]
    path = next((p / "bias" / "bias.json" for p in places if (p / "bias" / "bias.json").is_file()), None)
    return None if path is None else json.loads(path.read_text(encoding="utf-8"))


def judge_catch(evidence: Mapping | None) -> pd.DataFrame:
    """The claims with `ours`, `verdict`, `reason`, `basis` and `how`. Args: evidence: `bias_evidence`; None leaves every measurable claim untested."""
    claims = pd.read_csv(CATCH_CLAIMS, dtype=str, keep_default_na=False)
    findings = [_judged(claim, evidence) for _, claim in claims.iterrows()]
    how = [CATCH_RULES[test].__doc__.strip().splitlines()[0] for test in claims["test"]]
    return claims.assign(**{field: [getattr(f, field) for f in findings] for field in ("ours", "verdict", "reason", "basis")}, how=how)


def _judged(claim: pd.Series, evidence: Mapping | None) -> Finding:
    """One claim's finding; where something was measured, the reason says on what and which gates failed."""
    rule = CATCH_RULES[claim["test"]]
    if claim["test"] in _NO_RUN:
        return rule(claim, {})
    if evidence is None:
        return Finding("not measured", UNTESTED, f"the bias study has not been run; {COMMAND} would test it")
    if evidence["simulator"] == PLANTED_WORLD:
        return Finding("a planted world", UNTESTED, f"a planted world proves that everything runs, nothing about models; {COMMAND} would test it")
    finding = rule(claim, evidence)
    if finding.basis != MEASURED:
        return finding
    failed = evidence["gates_failed"]
    gates = f"; this simulator fails {len(failed)} gates ({', '.join(failed)}), so it describes its prior" if failed else ""
    return finding._replace(reason=f"{finding.reason}. Found with {evidence['simulator']}, {evidence['people']} people{gates}")


def _decided(shares: Mapping[str, float], ours: str, reason: str) -> Finding:
    """By shares of resamples, one a year: all above `SURE`, one below 1 - `SURE`, or open; not tested without any."""
    if not shares:
        return Finding("not measured", UNTESTED, f"a tier has no card in this run; {COMMAND} would test it")
    worst = min(shares.values())
    verdict = REPRODUCED if worst >= SURE else NOT_REPRODUCED if worst <= 1 - SURE else CLOSE
    return Finding(ours, verdict, reason, MEASURED)


def meta_best(claim: pd.Series, ev: Mapping) -> Finding:
    """Census cards have the highest alignment of the four tiers in nearly all resamples of the states, in every year."""
    shown = ", ".join(f"{year} {share:.0%}" for year, share in ev["meta_best"].items())
    return _decided(ev["meta_best"], f"highest in {shown} of the resamples", "one answer for everybody ties the tiers, so no baseline does it")


def tiers_fall(claim: pd.Series, ev: Mapping) -> Finding:
    """Alignment falls at every step from meta to descriptive, in every year."""
    states = ev["trend_falls"]
    shares = {year: {"holds": 1.0, "fails": 0.0, "open": 0.5}[state] for year, state in states.items()}
    shown = ", ".join(f"{year} {state}" for year, state in states.items())
    return _decided(shares, f"the order {shown}", "one answer for everybody has no order, so no baseline does it")


def every_state(claim: pd.Series, ev: Mapping) -> Finding:
    """Narratives give every state to the Democrats in 2024; trivial if the bare census card does so too."""
    if "descriptive" not in ev["sweep"]:
        return Finding("not measured", UNTESTED, f"no narrative was written in this run; {COMMAND} would test it")
    (left, states), (bare, _) = ev["sweep"]["descriptive"], ev["sweep"]["meta"]
    ours = f"{left} of {states} states with narratives, {bare} with bare census cards"
    if left < states:
        return Finding(ours, NOT_REPRODUCED, "not every state", MEASURED)
    reason = "the bare census card does it too: it is the simulator's prior on the names, not the text" if bare == states else "bare census cards do not do it"
    return Finding(ours, TRIVIAL if bare == states else REPRODUCED, reason, MEASURED)


def leftward(claim: pd.Series, ev: Mapping) -> Finding:
    """Narratives vote further left than the census cards of the same people, in 2016 and in 2020."""
    steps = {year: ev["drift"][year] for year in ("2016", "2020") if year in ev["drift"]}
    shown = ", ".join(f"{year} {step['change']:+.3f}" for year, step in steps.items())
    return _decided({year: step["rises"] for year, step in steps.items()}, shown, "the census card is the baseline of the difference")


def many_models(claim: pd.Series, ev: Mapping) -> Finding:
    """The order of the tiers with six large models, each as writer and as answerer."""
    return Finding(f"{len(ev['simulators'])} small models", UNTESTED, f"six large models are needed: {COMMAND} --models server:ADDRESS#NAME asks more")


def tone_rises(claim: pd.Series, ev: Mapping) -> Finding:
    """Polarity and subjectivity rise at every step; trivial if a narrative without a model is as subjective as one by a model."""
    trends = {m: ev["tone"][m]["trend"] for m in ("polarity", "subjectivity")}
    means = ev["tone"]["subjectivity"]["means"]
    ours = ", ".join(f"{m} {t}" for m, t in trends.items()) + f"; subjectivity {means['meta']:.2f} to {means.get('descriptive', float('nan')):.2f}"
    verdict = REPRODUCED if set(trends.values()) == {"holds"} else NOT_REPRODUCED if "fails" in trends.values() else CLOSE
    if verdict == REPRODUCED and means["template"] >= means["descriptive"]:
        return Finding(ours, TRIVIAL, "a narrative without a model is as subjective", MEASURED)
    return Finding(ours, verdict, f"by sentence; a narrative without a model has {means['template']:.2f}", MEASURED)


def warm_words(claim: pd.Series, ev: Mapping) -> Finding:
    """Narratives name hardship for under a quarter of the human rate, and three of love, proud, family, community stand in a quarter of them each."""
    if "descriptive" not in ev["words"]:
        return Finding("not measured", UNTESTED, f"no narrative was written in this run; {COMMAND} would test it")
    warm = {tier: _warm(ev, tier) for tier in ("descriptive", "template")}
    rate, human, words = ev["hardship"]["descriptive"], ev["hardship"]["people"], ev["words"]["descriptive"]
    ours = f"hardship in {rate:.0%} of narratives (people {human:.0%}); " + ", ".join(f"{w} {words[w]:.0%}" for w in _WARM)
    verdict = TRIVIAL if all(warm.values()) else REPRODUCED if warm["descriptive"] else NOT_REPRODUCED
    return Finding(ours, verdict, "the narrative without a model fails the part on words" if not warm["template"] else "the template does it too", MEASURED)


def _warm(ev: Mapping, tier: str) -> bool:
    rare = ev["hardship"][tier] < _FEW * ev["hardship"]["people"]
    return rare and sum(ev["words"][tier][word] >= _FREQUENT for word in _WARM) >= 3


def writer_larger(claim: pd.Series, ev: Mapping) -> Finding:
    """The variance between writers of cards is above that between answerers: the interval of the difference lies above 0."""
    part, silent = ev["grid"], ", ".join(ev.get("left_out", ()))
    silent = silent and f"; left out, because too little of their probability lies on the options of the vote: {silent}"
    if part is None:
        return Finding("not measured", UNTESTED, f"it takes two writers and two answerers; {COMMAND} asks more{silent}")
    ours = f"difference of variances {part['variance']:+.5f} [{part['lo']:+.5f}, {part['hi']:+.5f}]"
    holds = part.get("sign_holds", 1)  # of each without any single model
    verdict = CLOSE if not holds else REPRODUCED if part["lo"] > 0 else NOT_REPRODUCED if part["hi"] < 0 else CLOSE
    reason = "one answer for everybody has variance 0" if holds else "which is larger depends on which models are compared"
    return Finding(ours, verdict, f"{part['generators']:.0f} writers and {part['simulators']:.0f} answerers; {reason}{silent}", MEASURED)


def untested_topic(claim: pd.Series, ev: Mapping) -> Finding:
    """Questions on which real people's answers are not at hand."""
    return Finding("not measured", UNTESTED, claim["note"])


def their_data(claim: pd.Series, ev: Mapping) -> Finding:
    """What only the authors' files could show."""
    return Finding("not available", NEEDS_DATA, claim["note"])


_RULES = (meta_best, tiers_fall, every_state, leftward, many_models, tone_rises, warm_words, writer_larger, untested_topic, their_data)
CATCH_RULES = {rule.__name__: rule for rule in _RULES}
_NO_RUN = ("untested_topic", "their_data")
