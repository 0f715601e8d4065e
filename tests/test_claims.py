"""The ledger: the transcription of the paper, every verdict rule with a case that flips it, and no blank cell."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from polypersona_lib import claims, dataset, paths
from polypersona_lib.claim_evidence import (
    CONTRADICTED,
    NEEDS_DATA,
    NOT_REPRODUCED,
    REPRODUCED,
    RULES,
    UNTESTED,
    VERDICTS,
    Evidence,
)
from polypersona_lib.config import PROFILES
from polypersona_lib.question_bank import DOMAINS
from polypersona_lib.registry import MODELS
from polypersona_lib.tables import COLUMNS

NANO, PAPER, SMOKE = PROFILES["nano"], PROFILES["paper"], PROFILES["smoke"]
LEDGER = claims.load_claims()
NONE = pd.DataFrame(columns=["system", "metric", "domain", "value", "lo", "hi"])


def line(system, metric, value, domain="all", spread=0.001):
    return {"system": system, "metric": metric, "domain": domain, "value": value, "lo": value - spread, "hi": value + spread}


def scores(values, metric="bleu", domain="all", **options):
    return pd.DataFrame([line(system, metric, v, domain, **options) for system, v in values.items()])


def paper_scores():
    """What a run would look like that reproduced Tables II and III exactly; domains the paper leaves out are low."""
    evidence, rows = Evidence(LEDGER, {}, NONE, PAPER), []
    for metric in COLUMNS.values():
        rows += [line(k, metric, v) for k, v in evidence.table(metric).items()]
    printed = LEDGER[(LEDGER["test"] == "score") & (LEDGER["domain"] != "—")]
    for metric in ("bleu", "rouge1", "quality"):
        known = {(row.domain, row.subject): float(row.value) for row in printed[printed["metric"] == metric].itertuples()}
        rows += [line(k, metric, known.get((domain, k), 0.05), domain) for domain in DOMAINS for k in MODELS]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def facts():
    parts = {name: dataset.read_split(paths.DATASET / "paper", name) for name in dataset.SPLITS}
    return claims.dataset_facts(parts) | claims.run_facts([{"model": "tinyllama-1.1b", "device": "CPU, 2 threads", "share": 0.2}])


def verdict(test, *, facts=None, scores=NONE, profile=NANO, change=None, ledger=LEDGER, **match):
    """The finding of the first claim with this rule (and these columns), some of its cells changed."""
    found = ledger[ledger["test"] == test]
    for column, value in match.items():
        found = found[found[column] == value]
    claim = pd.Series({**found.iloc[0], **(change or {})})
    return RULES[test](claim, Evidence(ledger, facts or {}, scores, profile))


# --- the paper's side ------------------------------------------------------------------------------------------------------------


def test_ledger_holds_the_tables_and_sections():
    tables = LEDGER[LEDGER["test"] == "score"]["place"].value_counts()
    assert tables["Table II"] == 63 and tables["Table III"] == 24
    assert (LEDGER["place"] == "Table I").sum() == 20
    assert set(LEDGER["kind"]) == set(claims.KINDS) and set(LEDGER["test"]) == set(RULES)
    assert set(LEDGER.loc[LEDGER["test"] == "score", "metric"]) == set(COLUMNS.values())


def test_transcription_agrees_with_the_paper_itself():
    """Every place the text gives a model on a column of Table II or III is the place in that table: a typing error here would show."""
    found = claims.judge(LEDGER[LEDGER["test"].isin(["score", "rank"])], {}, paper_scores(), PAPER)
    wrong = found[found["verdict"] != REPRODUCED]
    assert len(found) > 120 and wrong.empty, wrong[["quote", "ours", "reason"]].to_string()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"quote": " "}, "blank quote"),
        ({"kind": "guess"}, "unknown kind 'guess'"),
        ({"test": "magic"}, "unknown test 'magic'"),
        ({"id": "fig-1-01"}, "occurs twice"),
    ],
)
def test_load_claims_refuses_a_bad_ledger(tmp_path, change, message):
    frame = pd.concat([LEDGER[LEDGER["id"] == "fig-1-01"], LEDGER[LEDGER["id"] == "fig-2-01"].assign(**change)])
    frame.to_csv(tmp_path / "claims.csv", index=False)
    with pytest.raises(ValueError, match=message):
        claims.load_claims(tmp_path / "claims.csv")


@pytest.mark.parametrize("note", sorted(set(LEDGER.loc[LEDGER["test"] == "implemented", "note"])))
def test_implemented_steps_name_something_that_exists(note):
    module, name = note.partition(":")[0].split(".")
    file = paths.ROOT / "polypersona_lib" / f"{module}.py"
    if not file.exists():
        pytest.skip(f"{module} is not written yet")
    assert f"def {name}(" in file.read_text(encoding="utf-8")


# --- the whole ledger ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", [SMOKE, NANO, PAPER], ids=lambda p: p.name)
@pytest.mark.parametrize("known", [NONE, NONE.drop(columns=["domain", "lo", "hi"]), paper_scores()], ids=["no scores", "bare", "all scores"])
def test_no_blank_cell_and_only_the_five_verdicts(facts, profile, known, tmp_path):
    ledger = claims.judge(LEDGER, facts, known, profile)
    assert set(ledger["verdict"]) <= set(VERDICTS)
    assert not ledger.map(lambda cell: str(cell).strip() in ("", "nan", "None")).to_numpy().any()
    untested = ledger[(ledger["verdict"] == UNTESTED)]
    named = untested["reason"].str.contains("run_all.sh|no run of this project")
    assert named.all(), untested.loc[~named, "reason"].tolist()
    read = pd.read_csv(claims.write_claims(ledger, tmp_path / "claims.csv"), dtype=str, keep_default_na=False)
    assert len(read) == len(LEDGER) and (read != "").all().all()
    assert claims.summarise(read).loc["all", "all"] == len(LEDGER)


def test_without_facts_nothing_is_claimed():
    ledger = claims.judge(LEDGER[LEDGER["test"] == "data"], {}, NONE, NANO)
    assert set(ledger["verdict"]) == {UNTESTED}


def test_absolute_scores_are_never_judged_on_nano_twins(facts):
    ledger = claims.judge(LEDGER, facts, paper_scores(), NANO)
    absolute = ledger[ledger["test"].isin(["score", "best_value", "only_below"])]
    assert set(absolute["verdict"]) == {UNTESTED} and absolute["reason"].str.contains("./run_all.sh paper").all()
    assert (ledger.loc[ledger["kind"] == "order", "verdict"] != UNTESTED).sum() > 30


def test_embedded_counts_are_reproduced(facts):
    ledger = claims.judge(LEDGER[LEDGER["test"].isin(["data", "present", "varied", "largest_domain", "balanced_splits"])], facts, NONE, NANO)
    assert set(ledger["verdict"]) == {REPRODUCED}, ledger.loc[ledger["verdict"] != REPRODUCED, ["quote", "ours"]].to_string()


# --- rules: each with a case that flips it ---------------------------------------------------------------------------------------


def test_data(facts):
    assert verdict("data", facts=facts, metric="records").verdict == REPRODUCED
    assert verdict("data", facts=facts, metric="records", change={"value": "3569"}).verdict == NOT_REPRODUCED
    assert verdict("data", facts=facts, metric="share.one_domain") == verdict("data", facts=facts, metric="share.one_domain", change={"value": "71.4"})
    assert verdict("data", facts=facts, metric="share.one_domain", change={"value": "71.5"}).verdict == NOT_REPRODUCED
    smoke = verdict("data", facts=facts, metric="records", profile=SMOKE)
    assert smoke.verdict == UNTESTED and "./run_all.sh nano" in smoke.reason


def test_foreign_data_say_so(facts):
    foreign = {**facts, "source": "replication", "questions": 100}
    found = verdict("data", facts=foreign, metric="questions")
    assert found.verdict == NOT_REPRODUCED and "replication" in found.reason and found.ours == "100"
    del foreign["categories"]
    assert verdict("data", facts=foreign, metric="categories").verdict == UNTESTED


@pytest.mark.parametrize(
    "test, key, bad",
    [
        ("present", "instrument.HCAHPS", 0),
        ("varied", "answers.distinct", 0.9),
        ("largest_domain", "rows.finance", 9999),
        ("balanced_splits", "balance.split", 7.5),
    ],
)
def test_other_facts(facts, test, key, bad):
    assert verdict(test, facts=facts).verdict == REPRODUCED
    assert verdict(test, facts={**facts, key: bad}).verdict == NOT_REPRODUCED


def test_recipe():
    assert verdict("recipe", metric="r").verdict == REPRODUCED
    changed = verdict("recipe", metric="learning_rate")
    assert changed.verdict == UNTESTED and NANO.why in changed.reason
    assert verdict("recipe", metric="learning_rate", profile=PAPER).verdict == REPRODUCED
    assert verdict("recipe", metric="four_bit").ours == "4"
    assert verdict("recipe", metric="four_bit", profile=replace(PAPER, train=replace(PAPER.train, four_bit=False))).verdict == UNTESTED


def test_method_rules(facts):
    assert verdict("gpu_only", facts={"cuda": True}).verdict == REPRODUCED and verdict("gpu_only").verdict == UNTESTED
    assert [verdict(test).verdict for test in ("implemented", "untested", "needs_data")] == [REPRODUCED, UNTESTED, NEEDS_DATA]
    assert verdict("base_model", subject="phi-2").verdict == REPRODUCED
    assert verdict("base_model", subject="phi-2", change={"value": "phi-3"}).verdict == NOT_REPRODUCED
    assert verdict("wrong_base").verdict == NOT_REPRODUCED
    assert verdict("template", subject="phi-2").verdict == REPRODUCED
    assert verdict("template", subject="phi-2", change={"value": "native"}).verdict == NOT_REPRODUCED
    assert verdict("model_size").verdict == REPRODUCED and verdict("model_size", change={"value": "1.2"}).verdict == NOT_REPRODUCED
    assert verdict("lora_targets").verdict == REPRODUCED and verdict("lora_targets", change={"subject": "phi-2"}).verdict == NOT_REPRODUCED
    assert verdict("fewer_parameters").verdict == REPRODUCED and verdict("fewer_parameters", change={"value": "99.5"}).verdict == NOT_REPRODUCED
    assert "20.0 % " not in verdict("fewer_parameters", facts=facts).reason and "80.0 %" in verdict("fewer_parameters", facts=facts).reason


def test_score_at_paper_scale():
    def judged(value, spread):
        return verdict("score", subject="phi-2", metric="bleu", scores=scores({"phi-2": value}, spread=spread), profile=PAPER).verdict

    assert judged(0.087, 0.001) == REPRODUCED and judged(0.070, 0.020) == REPRODUCED and judged(0.084, 0.0001) == REPRODUCED
    assert judged(0.070, 0.001) == NOT_REPRODUCED
    assert verdict("score", subject="phi-2", metric="bleu", profile=PAPER).verdict == UNTESTED


def test_best_value_and_only_below():
    table = {k: 0.885 for k in MODELS} | {"qwen1.5-moe": 0.87}
    assert verdict("only_below", scores=scores(table, "bertscore_f1"), profile=PAPER).verdict == REPRODUCED
    assert verdict("only_below", scores=scores(table | {"phi-2": 0.86}, "bertscore_f1"), profile=PAPER).verdict == NOT_REPRODUCED
    assert verdict("best_value", metric="bleu", scores=scores({k: 0.09 for k in MODELS}), profile=PAPER).verdict == REPRODUCED
    assert verdict("best_value", metric="bleu", scores=scores({k: 0.2 for k in MODELS}), profile=PAPER).verdict == NOT_REPRODUCED


SEVEN = dict(zip(MODELS, (0.087, 0.085, 0.081, 0.078, 0.076, 0.084, 0.090), strict=True))


def test_rank():
    best = verdict("rank", subject="tinyllama-1.1b", metric="bleu", domain="—", scores=scores(SEVEN, spread=0.0001))
    assert best.verdict == REPRODUCED and best.ours.startswith("place 1") and "overlap" not in best.reason
    close = verdict("rank", subject="tinyllama-1.1b", metric="bleu", domain="—", scores=scores(SEVEN, spread=0.01))
    assert close.verdict == REPRODUCED and "overlap" in close.reason
    assert verdict("rank", subject="tinyllama-1.1b", metric="bleu", domain="—", scores=scores(SEVEN | {"phi-2": 0.2})).verdict == NOT_REPRODUCED
    last = scores({k: 0.9 for k in MODELS} | {"qwen1.5-moe": 0.5}, "length_sim")
    assert verdict("rank", subject="qwen1.5-moe", metric="length_sim", scores=last).verdict == REPRODUCED
    assert verdict("rank", subject="qwen1.5-moe", metric="length_sim", scores=last.assign(value=[0.1, *last["value"][1:]])).verdict == NOT_REPRODUCED
    assert verdict("rank", subject="tinyllama-1.1b", metric="bleu", domain="—", scores=scores(SEVEN), profile=SMOKE).verdict == UNTESTED


def test_order_waits_for_the_models_it_needs():
    two = scores({k: SEVEN[k] for k in ("phi-2", "tinyllama-1.1b")})
    found = verdict("rank", subject="tinyllama-1.1b", metric="bleu", domain="—", scores=two)
    assert found.verdict == UNTESTED and "Mistral 7B" in found.reason and "./run_all.sh" in found.reason


def test_what_the_ablations_say_about_gains_and_memory():
    def retained(low, share, high):
        return verdict("retained_gain", facts={"ablation.retained": {"share": share, "lo": low, "hi": high, "n": 357}})

    assert "./run_all.sh ablations" in verdict("retained_gain").reason and "./run_all.sh ablations" in verdict("memory_saved").reason
    assert retained(0.96, 0.98, 1.0).verdict == REPRODUCED and retained(0.6, 0.7, 0.8).verdict == NOT_REPRODUCED
    assert retained(0.9, 0.97, 1.0).verdict == UNTESTED and retained(0.9, 0.97, 1.0).ours == "97.0 % [90.0, 100.0]"
    saved = {"ablation.budget": {"LoRA": (0.8, 0.9), "QLoRA": (0.85, 0.95)}, "ablation.saved": {"full fine-tuning": 0.0, "LoRA": 0.7}}
    found = verdict("memory_saved", facts=saved)
    assert found.verdict == UNTESTED and "LoRA 80 to 90 %" in found.ours and "needs an accelerator" in found.reason


@pytest.mark.parametrize("test", ["beats_larger", "on_par"])
def test_small_against_large(test):
    assert verdict(test, metric="bleu", scores=scores(SEVEN)).verdict == REPRODUCED
    assert verdict(test, metric="bleu", scores=scores(SEVEN | {"mistral-7b": 0.5, "llama-2-7b": 0.5, "qwen1.5-moe": 0.5})).verdict == NOT_REPRODUCED


def test_balanced():
    table = pd.concat([scores({k: i for i, k in enumerate(MODELS)}, m) for m in COLUMNS.values()])
    assert verdict("balanced", scores=table).verdict == REPRODUCED
    table.loc[(table["system"] == "mistral-7b") & (table["metric"] == "bleu"), "value"] = 99
    assert verdict("balanced", scores=table).verdict == NOT_REPRODUCED


def test_models_run_and_measured():
    assert verdict("models_run", scores=scores(SEVEN)).verdict == REPRODUCED
    assert verdict("models_run", scores=scores({"phi-2": 0.1})).ours == "1 of 7"
    three = pd.concat([scores({"phi-2": 0.1}, m) for m in ("bleu", "rouge1", "bertscore_f1")])
    assert verdict("measured", scores=three).verdict == REPRODUCED and verdict("measured", scores=three[1:]).verdict == UNTESTED


def test_persona_effect():
    assert verdict("persona_effect", scores=scores({"tinyllama-1.1b": 0.03}, "swap_gap_rouge1_masked", spread=0.01)).verdict == REPRODUCED
    assert verdict("persona_effect", scores=scores({"tinyllama-1.1b": 0.03}, "swap_gap_rouge1_masked", spread=0.05)).verdict == NOT_REPRODUCED
    assert verdict("persona_effect").verdict == UNTESTED


def by_domain(special, metric="bleu", models=MODELS):
    return pd.concat([scores({k: special.get((k, d), special.get(d, 0.1)) for k in models}, metric, d) for d in DOMAINS])


def test_domain_rules():
    good = by_domain({"social_issues": 0.2, "consumer_preferences": 0.05, "lifestyle": 0.04, ("mistral-7b", "finance"): 0.3})
    bad = by_domain({"finance": 0.2, "lifestyle": 0.3})
    for test, match in (("best_domain", {"metric": "bleu"}), ("weak_domains", {}), ("several_tops", {})):
        assert verdict(test, scores=good, **match).verdict == REPRODUCED, test
        assert verdict(test, scores=bad, **match).verdict == NOT_REPRODUCED, test
        assert verdict(test, scores=good[good["domain"] != "finance"], **match).verdict == UNTESTED


def test_even_lengths():
    assert verdict("even_lengths", scores=by_domain({"finance": 210.0} | dict.fromkeys(DOMAINS, 200.0), "length_chars")).verdict == REPRODUCED
    uneven = {d: 100.0 + 50 * i for i, d in enumerate(DOMAINS)}
    assert verdict("even_lengths", scores=by_domain(uneven, "length_chars")).verdict == NOT_REPRODUCED


# --- the paper against itself ----------------------------------------------------------------------------------------------------

CONTRADICTIONS = [
    "impossible_share", "blocks_of_8", "types_in_domains", "missing_modules", "no_such_size", "shared_best", "omitted_from_figure", "exception_in_table",
    "not_its_best_domain", "in_another_domain", "domains_left_out", "last_yet_top", "static",
]  # fmt: skip


def edited(where, value):
    """The ledger with the printed value of the matching claims replaced."""
    changed = LEDGER.copy()
    mask = np.logical_and.reduce([changed[column] == cell for column, cell in where.items()])
    assert mask.any()
    changed.loc[mask, "value"] = value
    return changed


@pytest.mark.parametrize("test", CONTRADICTIONS)
def test_contradictions_hold_on_the_printed_numbers(test):
    evidence = Evidence(LEDGER, {}, NONE, NANO)
    assert {RULES[test](claim, evidence).verdict for _, claim in LEDGER[LEDGER["test"] == test].iterrows()} == {CONTRADICTED}


@pytest.mark.parametrize(
    "test, change, ledger",
    [
        ("impossible_share", {"value": "17.8"}, LEDGER),  # 77 of 433
        ("blocks_of_8", {"value": "4"}, LEDGER),  # twice as many blocks
        ("types_in_domains", {}, edited({"metric": "share.questions_type.agreement"}, "14.6")),
        ("missing_modules", {"subject": "tinyllama-1.1b"}, LEDGER),
        ("no_such_size", {"value": "7"}, LEDGER),
        ("shared_best", {}, edited({"place": "Table II", "subject": "deepseek-r1-distill-qwen-1.5b", "metric": "rouge1"}, "0.428")),
        ("omitted_from_figure", {}, edited({"place": "Table II", "subject": "llama-2-7b", "metric": "bleu"}, "0.080")),
        ("exception_in_table", {"value": "0.86"}, LEDGER),
        ("not_its_best_domain", {}, edited({"place": "Table III", "domain": "social_issues", "metric": "bleu", "test": "score"}, "0.150")),
        ("in_another_domain", {"domain": "technology"}, LEDGER),
        ("last_yet_top", {"subject": "tinyllama-1.1b"}, LEDGER),
    ],
)
def test_contradictions_vanish_when_the_number_does(test, change, ledger):
    assert verdict(test, change=change, ledger=ledger).verdict == REPRODUCED


def test_arithmetic_is_shown():
    assert verdict("impossible_share").ours == "61/433 = 14.1 %, 62/433 = 14.3 %"
    assert "446" in verdict("blocks_of_8").reason and "557" in verdict("blocks_of_8").reason
    assert "25.8 %" in verdict("domains_left_out").reason and "Demographics, Work Experience" in verdict("domains_left_out").reason


# --- facts -----------------------------------------------------------------------------------------------------------------------


def test_domain_scores_leave_failures_out():
    rows = pd.DataFrame({"system": "phi-2", "domain": "finance", "status": ["ok", "ok", "failed"], "bleu": [0.1, 0.3, 0.0], "length_chars": [10, 30, 0]})
    found = claims.domain_scores(rows).set_index("metric")
    assert found.loc["bleu", "value"] == pytest.approx(0.2) and found.loc["length_chars", "n"] == 2
    both = claims.all_scores(pd.DataFrame([{"system": "phi-2", "metric": "bleu", "value": 0.2, "lo": 0.1, "hi": 0.3}]), rows)
    assert set(both["domain"]) == {"all", "finance"}


def test_foreign_parts_without_cards_or_instruments():
    frame = pd.DataFrame(
        {"id": ["a", "b"], "persona_id": ["p", "p"], "question_id": ["1", "2"], "domain": ["x", "y"], "question_type": ["open", "likert"],
         "persona": ["text", "text"], "messages": [[{"role": "user"}]] * 2, "reference": ["one", "two"]}
    )  # fmt: skip
    found = claims.dataset_facts({"train": frame}, source="theirs")
    assert found["source"] == "theirs" and found["share.several_domains"] == 1 and found["share.records_as_triplet"] == 0 and "categories" not in found


def test_command_line(tmp_path, capsys, facts):
    assert claims.main(["nano", "--out", str(tmp_path)]) == 2
    claims.write_claims(claims.judge(LEDGER, facts, NONE, NANO), tmp_path / "results" / "nano" / "claims.csv")
    assert claims.main(["nano", "--out", str(tmp_path), "--verdict", CONTRADICTED]) == 0
    shown = capsys.readouterr().out
    assert "61/433 = 14.1 %" in shown and "absolute" in shown
