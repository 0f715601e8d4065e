"""The ledger: the transcription of the paper, every verdict rule with a case that flips it, and no blank cell."""

import math
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from polypersona_lib import paths
from polypersona_lib.cells import Estimate
from polypersona_lib.claims.contradictions import blocks_and_pairs, nearest_shares
from polypersona_lib.claims.evidence import (
    BASES,
    BUILT,
    BUILT_TO_MATCH,
    CLOSE,
    CONTRADICTED,
    MEASURED,
    NEEDS_DATA,
    NOT_REPRODUCED,
    REPRODUCED,
    TRIVIAL,
    UNTESTED,
    VERDICTS,
    Evidence,
)
from polypersona_lib.claims.facts import all_facts, all_scores, dataset_facts, domain_scores, run_facts
from polypersona_lib.claims.ledger import GUARDED, RULES, apply_rule, choose, count_verdicts, guarded, judge, main, rests_on, write_claims
from polypersona_lib.config import PROFILES, RunConfig
from polypersona_lib.registry import MODELS
from polypersona_lib.world import dataset
from polypersona_lib.world.paper import CLAIM_KINDS, DOMAIN_RECORDS, TABLE2, load_claims
from polypersona_lib.world.questions import DOMAINS

NANO, PAPER, SMOKE = PROFILES["nano"], PROFILES["paper"], PROFILES["smoke"]
LEDGER = load_claims()
GAP = LEDGER.loc[LEDGER["test"] == "traits_kept", "metric"].iloc[0]
NONE = pd.DataFrame(columns=["system", "metric", "domain", "value", "lo", "hi"])


def line(system, metric, value, domain="all", spread=0.001):
    return {"system": system, "metric": metric, "domain": domain, "value": value, "lo": value - spread, "hi": value + spread}


def scores(values, metric="bleu", domain="all", **options):
    return pd.DataFrame([line(system, metric, v, domain, **options) for system, v in values.items()])


def paper_scores():
    """What a run would look like that reproduced Tables II and III exactly; domains the paper leaves out are low."""
    evidence, rows = Evidence(LEDGER, {}, NONE, PAPER), []
    for metric in TABLE2.values():
        rows += [line(k, metric, v) for k, v in evidence.table(metric).items()]
    printed = LEDGER[(LEDGER["test"] == "score") & (LEDGER["domain"] != "—")]
    for metric in ("bleu", "rouge1", "quality"):
        known = {(row.domain, row.subject): float(row.value) for row in printed[printed["metric"] == metric].itertuples()}
        rows += [line(k, metric, known.get((domain, k), 0.05), domain) for domain in DOMAINS for k in MODELS]
    rows += [line("uniform", metric, 0.001, domain) for metric in TABLE2.values() for domain in ("all", *DOMAINS)]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def facts():
    parts = {name: dataset.read_split(paths.DATASET / "paper", name) for name in dataset.SPLITS}
    return dataset_facts(parts) | run_facts([{"model": "tinyllama-1.1b", "device": "CPU, 2 threads", "share": 0.2}])


def scored_rows(values, *, n=60, spread=0.0, metrics=("bleu",), domains=("finance",), **columns):
    """Row scores of all seven models: mean `values[model]`, half of the rows above it by `spread` and half below, in an order that differs by model."""
    lines = []
    for number, key in enumerate(MODELS):
        sign = np.random.default_rng(number).permutation(np.repeat([1, -1], n // 2))
        for domain in domains:
            mean = values.get((key, domain), values.get(key, 0.5))
            frame = pd.DataFrame({m: mean + spread * sign for m in metrics})
            ids = [f"{domain}-{i}" for i in range(n)]
            lines.append(frame.assign(system=key, id=ids, persona_id=ids, domain=domain, status="ok", question_type="open", **columns))
    return pd.concat(lines, ignore_index=True)


def verdict(test, *, facts=None, scores=NONE, profile=NANO, change=None, ledger=LEDGER, rows=None, **match):
    """The finding of the first claim with this rule (and these columns), some of its cells changed."""
    found = ledger[ledger["test"] == test]
    for column, value in match.items():
        found = found[found[column] == value]
    claim = pd.Series({**found.iloc[0], **(change or {})})
    return apply_rule(claim, Evidence(ledger, facts or {}, scores, profile, rows))


# --- the paper's side ------------------------------------------------------------------------------------------------------------


def paper_text():
    """The paper's text: the file that POLYPERSONA_PAPER names, or one beside the reference data that begins with its title; None if there is none."""
    named, reference = os.environ.get("POLYPERSONA_PAPER"), os.environ.get("POLYPERSONA_REFERENCE")
    files = [Path(named)] if named else sorted(Path(reference).parent.glob("*/*.txt")) if reference else []
    for file in files:
        text = file.read_text(encoding="utf-8", errors="replace")
        if text.lstrip().lower().startswith("polypersona: persona-grounded llm for synthetic survey responses"):
            return text
    return None


PAPER_TEXT = paper_text()
with_paper = pytest.mark.skipif(PAPER_TEXT is None, reason="the paper's text is not at hand: name it in POLYPERSONA_PAPER")
SYMBOLS = {
    "–": "-", "—": "-", "’": "'", "“": '"', "”": '"', r"\alpha": "α", r"\eta": "η", r"\times": "×", r"\in": "∈", r"\Delta ": "Δ", r"\text{wd}": "wd",
    r"\mathbb{R}": "R", "^{-4}": "⁻⁴", "^{-3}": "⁻³", "^{r × k}": "^(r×k)", "^{d × r}": "^(d×r)",
}  # fmt: skip


def plain(text):
    """Text as one reads it: no markup, one kind of dash and quotation mark, formulas as in the ledger, no case."""
    for mark, sign in SYMBOLS.items():
        text = text.replace(mark, sign)
    return " ".join(re.sub(r" *× *", "×", re.sub(r"[*`$\\]|\(<[^>]*>\)", "", text)).split()).lower()


@with_paper
def test_quotes_are_verbatim():
    """Every quotation is in the paper, in this order, up to "..." for what is left out and [brackets] for words of ours; numbers in brackets are citations."""
    paper, wrong = plain(PAPER_TEXT), []
    for row in LEDGER[~LEDGER["place"].isin(["Table I", "Table II", "Table III"])].itertuples():
        at = 0
        for part in filter(None, (p.strip() for p in re.split(r"\.\.\.|\[(?!\d+\])[^\]]*\]", plain(row.quote)))):
            found = paper.find(part, at)
            at = found + len(part)
            if found < 0:
                wrong.append(f"{row.id}: {part}")
                break
    assert not wrong, wrong


@with_paper
def test_table_cells_are_the_papers():
    """Every cell of Tables I, II and III that the ledger quotes stands in that row and column of the paper's table."""
    tables, head = {}, []
    for line in PAPER_TEXT.splitlines():
        cells = line.split("\t")
        if len(cells) < 5:
            continue
        if cells[0] in ("Framework", "Model", "Domain"):
            head = cells
        else:
            tables |= {(head[0], cells[0].split(" [")[0], name): cell for name, cell in zip(head[1:], cells[1:], strict=True)}
    assert len(tables) == 20 + 63 + 8 * 4
    for row in LEDGER[LEDGER["place"].isin(["Table I", "Table II"])].itertuples():
        subject, _, rest = row.quote.partition(", ")
        column, _, cell = rest.partition(": ")
        name = "polypersona (ours)" if subject == "PolyPersona" else subject
        assert tables["Framework" if row.place == "Table I" else "Model", name, column] == cell, row.id
        assert row.place == "Table I" or (cell == row.value and MODELS[row.subject].display == subject), row.id
    third = LEDGER[(LEDGER["place"] == "Table III") & LEDGER["test"].isin(["score", "rank"])]
    assert len(third) == 32
    for row in third.itertuples():
        domain = DOMAINS[row.domain]
        if row.test == "rank":
            assert row.quote == f"{domain}, top model: {tables['Domain', domain, 'Top Model']}", row.id
        else:
            metric = row.quote.partition(", ")[2].partition(":")[0]
            assert row.value == tables["Domain", domain, metric] and row.quote.endswith(row.value), row.id


def test_every_value_of_a_fact_is_in_its_quote():
    """The number under test is the number quoted; ours (thresholds), places among seven and words have none in the quotation."""
    numbers = LEDGER[
        LEDGER["test"].isin(["data", "recipe", "score", "best_value", "model_size", "fewer_parameters", "retained_gain", "memory_saved", "only_below"])
    ]
    spelled = {"0.0002": "2 × 10⁻⁴", "0.001": "10⁻³", "3": "three", "10": "ten", "4": "four", "0.03": "3%"}
    for row in numbers[~numbers["metric"].str.startswith("share.re") & ~numbers["metric"].isin(["share.distinct_ids", "types"])].itertuples():
        said = row.quote.replace(",", "")
        assert row.value in said or spelled.get(row.value, row.value) in said, (row.id, row.value, row.quote)


def test_ledger_holds_the_tables_and_sections():
    tables = LEDGER[LEDGER["test"] == "score"]["place"].value_counts()
    assert tables["Table II"] == 63 and tables["Table III"] == 24
    assert (LEDGER["place"] == "Table I").sum() == 20
    assert set(LEDGER["kind"]) == set(CLAIM_KINDS) and set(LEDGER["test"]) == set(RULES)
    assert set(LEDGER.loc[LEDGER["test"] == "score", "metric"]) == set(TABLE2.values())


def test_transcription_agrees_with_the_paper_itself():
    """Every place the text gives a model on a column of Table II or III is the place in that table: a typing error here would show."""
    found = judge(LEDGER[LEDGER["test"].isin(["score", "rank"])], {}, paper_scores(), PAPER)
    wrong = found[found["verdict"] != REPRODUCED]
    assert len(found) > 120 and wrong.empty, wrong[["quote", "ours", "reason"]].to_string()


def test_table_one_of_the_figures_notebook_is_the_ledgers():
    features = pd.read_csv(paths.DATA / "table1_features.csv", dtype=str, keep_default_na=False)
    said = {f"{row.framework.replace('polypersona', 'PolyPersona')}, {row.feature}: {row.cell}" for row in features.itertuples()}
    assert said == set(LEDGER.loc[LEDGER["place"] == "Table I", "quote"]) and (features != "").all().all()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"quote": " "}, "blank quote"),
        ({"kind": "guess"}, "unknown kind 'guess'"),
        ({"id": "fig-1-01"}, "occurs twice"),
    ],
)
def test_load_claims_refuses_a_bad_ledger(tmp_path, change, message):
    frame = pd.concat([LEDGER[LEDGER["id"] == "fig-1-01"], LEDGER[LEDGER["id"] == "fig-2-01"].assign(**change)])
    frame.to_csv(tmp_path / "claims.csv", index=False)
    with pytest.raises(ValueError, match=message):
        load_claims(tmp_path / "claims.csv")


def test_a_claim_without_a_known_rule_is_named():
    with pytest.raises(ValueError, match="claim fig-1-01: unknown test 'magic'"):
        judge(LEDGER[LEDGER["id"] == "fig-1-01"].assign(test="magic"), {}, NONE, NANO)


@pytest.mark.parametrize("note", sorted(set(LEDGER.loc[LEDGER["test"] == "implemented", "note"])))
def test_implemented_steps_name_something_that_exists(note):
    module, _, name = note.partition(":")[0].rpartition(".")
    file = paths.ROOT.joinpath("polypersona_lib", *module.split(".")).with_suffix(".py")
    assert f"def {name}(" in file.read_text(encoding="utf-8")


# --- the whole ledger ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", [SMOKE, NANO, PAPER], ids=lambda p: p.name)
@pytest.mark.parametrize("known", [NONE, NONE.drop(columns=["domain", "lo", "hi"]), paper_scores()], ids=["no scores", "bare", "all scores"])
def test_no_blank_cell_and_only_known_verdicts(facts, profile, known, tmp_path):
    ledger = judge(LEDGER, facts, known, profile)
    assert set(ledger["verdict"]) <= set(VERDICTS)
    assert not ledger.map(lambda cell: str(cell).strip() in ("", "nan", "None")).to_numpy().any()
    assert set(ledger["basis"]) <= set(BASES) and ledger["how"].str.len().between(20, 160).all()
    untested = ledger[(ledger["verdict"] == UNTESTED)]
    named = untested["reason"].str.contains("run_all.sh|no run of this project")
    assert named.all(), untested.loc[~named, "reason"].tolist()
    read = pd.read_csv(write_claims(ledger, tmp_path / "claims.csv"), dtype=str, keep_default_na=False)
    assert len(read) == len(LEDGER) and (read != "").all().all()
    assert count_verdicts(read).loc["all", "all"] == len(LEDGER)


def test_without_facts_nothing_is_claimed():
    ledger = judge(LEDGER[LEDGER["test"] == "data"], {}, NONE, NANO)
    assert set(ledger["verdict"]) == {UNTESTED}


def test_absolute_scores_are_never_judged_on_nano_twins(facts):
    ledger = judge(LEDGER, facts, paper_scores(), NANO)
    absolute = ledger[ledger["test"].isin(["score", "best_value", "only_below"])]
    assert set(absolute["verdict"]) == {UNTESTED} and absolute["reason"].str.contains("./run_all.sh paper").all()
    assert (ledger.loc[ledger["kind"] == "order", "verdict"] != UNTESTED).sum() > 30


def test_embedded_counts_are_reproduced(facts):
    ledger = judge(LEDGER[LEDGER["test"].isin(["data", "present", "varied", "largest_domain", "balanced_splits"])], facts, NONE, NANO)
    assert set(ledger["verdict"]) == {BUILT_TO_MATCH}, ledger.loc[ledger["verdict"] != BUILT_TO_MATCH, ["quote", "ours"]].to_string()


def test_what_holds_by_construction_says_so(facts):
    """Counts of data that we built, settings that we chose, steps that we wrote: "by construction" in basis and reason; never for what a run measured."""
    ledger = judge(LEDGER, facts, paper_scores(), PAPER)
    ours = ["data", "present", "varied", "largest_domain", "balanced_splits", "recipe", "implemented", "template", "lora_targets", "base_model", "models_run"]
    held = ledger[ledger["verdict"] == BUILT_TO_MATCH]
    assert len(held) > 90 and set(held["test"]) <= {*ours, "gpu_only", "measured"}
    assert set(held["basis"]) == {BUILT} and held["reason"].str.contains("by construction").all()
    assert not ((ledger["verdict"] == REPRODUCED) & (ledger["basis"] == BUILT)).any()
    assert not ledger[ledger["test"].isin(["score", "rank", "on_par"])]["basis"].eq(BUILT).any()
    foreign = judge(LEDGER[LEDGER["test"] == "data"], {**facts, "source": "theirs"}, NONE, NANO)
    assert set(foreign["basis"]) == {MEASURED} and not foreign["reason"].str.contains("by construction").any()
    assert rests_on(ledger).loc["all", "all"] == len(LEDGER)


def test_choose_filters(facts):
    ledger = judge(LEDGER, facts, NONE, NANO)
    assert set(choose(ledger, verdict="Contra")["verdict"]) == {CONTRADICTED}
    few = choose(ledger, place="Table III", kind="order", text="lifestyle")
    assert list(few["id"]) == ["table-iii-29"] and len(choose(ledger)) == len(ledger)
    for bad, message in (({"verdict": "maybe"}, "choose from: reproduced"), ({"colour": "red"}, "no column colour; choose from id")):
        with pytest.raises(ValueError, match=message):
            choose(ledger, **bad)


# --- rules: each with a case that flips it ---------------------------------------------------------------------------------------


def test_data(facts):
    assert verdict("data", facts=facts, metric="records").verdict == BUILT_TO_MATCH
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
    assert verdict(test, facts=facts).verdict == BUILT_TO_MATCH
    assert verdict(test, facts={**facts, key: bad}).verdict == NOT_REPRODUCED


def test_recipe():
    assert verdict("recipe", metric="r").verdict == BUILT_TO_MATCH
    changed = verdict("recipe", metric="learning_rate")
    assert changed.verdict == UNTESTED and NANO.why in changed.reason
    assert verdict("recipe", metric="learning_rate", profile=PAPER).verdict == BUILT_TO_MATCH
    assert verdict("recipe", metric="four_bit").ours == "4"
    assert verdict("recipe", metric="four_bit", profile=replace(PAPER, train=replace(PAPER.train, four_bit=False))).verdict == UNTESTED


def test_method_rules(facts):
    assert verdict("gpu_only", facts={"cuda": True}).verdict == BUILT_TO_MATCH and verdict("gpu_only").verdict == UNTESTED
    assert [verdict(test).verdict for test in ("implemented", "untested", "needs_data")] == [BUILT_TO_MATCH, UNTESTED, NEEDS_DATA]
    assert verdict("base_model", subject="phi-2").verdict == BUILT_TO_MATCH
    assert verdict("base_model", subject="phi-2", change={"value": "phi-3"}).verdict == NOT_REPRODUCED
    assert verdict("wrong_base").verdict == NOT_REPRODUCED
    assert verdict("template", subject="phi-2").verdict == BUILT_TO_MATCH
    assert verdict("template", subject="phi-2", change={"value": "native"}).verdict == NOT_REPRODUCED
    assert verdict("model_size").verdict == REPRODUCED and verdict("model_size", change={"value": "1.2"}).verdict == NOT_REPRODUCED
    assert verdict("lora_targets").verdict == BUILT_TO_MATCH and verdict("lora_targets", change={"subject": "phi-2"}).verdict == NOT_REPRODUCED
    assert verdict("trainable_share").verdict == REPRODUCED and verdict("trainable_share", change={"value": "2 to 3"}).verdict == NOT_REPRODUCED
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
    best = verdict("rank", subject="tinyllama-1.1b", metric="bleu", domain="—", scores=scores(SEVEN))
    assert best.verdict == REPRODUCED and best.ours.startswith("place 1: ")
    assert verdict("rank", subject="tinyllama-1.1b", metric="bleu", domain="—", scores=scores(SEVEN | {"phi-2": 0.2})).verdict == NOT_REPRODUCED
    last = scores({k: 0.9 for k in MODELS} | {"qwen1.5-moe": 0.5}, "length_sim")
    assert verdict("rank", subject="qwen1.5-moe", metric="length_sim", scores=last).verdict == REPRODUCED
    assert verdict("rank", subject="qwen1.5-moe", metric="length_sim", scores=last.assign(value=[0.1, *last["value"][1:]])).verdict == NOT_REPRODUCED
    assert verdict("rank", subject="tinyllama-1.1b", metric="bleu", domain="—", scores=scores(SEVEN), profile=SMOKE).verdict == UNTESTED


def test_a_score_is_found_by_system_metric_and_domain_and_what_is_no_number_is_none():
    table = pd.concat([scores({"phi-2": 0.2}), scores({"phi-2": 0.3}, domain="healthcare"), scores({"phi-2": 0.9}), scores({"qwen2-1.5b": np.nan})])
    evidence = Evidence(LEDGER, {}, table, NANO)
    assert evidence.ours("phi-2", "bleu") == Estimate(0.2, 0.2 - 0.001, 0.2 + 0.001), "the first of two"
    assert evidence.ours("phi-2", "bleu", "healthcare").value == 0.3
    assert [evidence.ours(*asked) for asked in (("qwen2-1.5b", "bleu"), ("phi-2", "rouge1"), ("phi-2", "bleu", "education"))] == [None] * 3
    plain = Evidence(LEDGER, {}, table.head(1)[["system", "metric", "value"]], NANO).ours("phi-2", "bleu")
    assert plain.value == 0.2 and math.isnan(plain.lo) and math.isnan(plain.hi), "a table without domains and intervals"
    assert Evidence(LEDGER, {}, None, NANO).ours("phi-2", "bleu") is None is Evidence(LEDGER, {}, NONE, NANO).ours("phi-2", "bleu")


def test_an_order_is_decided_only_if_resamples_agree():
    """The same means, rows that scatter more and more: reproduced, then too close to call; a place far away stays excluded."""
    first = {"subject": "tinyllama-1.1b", "metric": "bleu", "domain": "—"}

    def judged(spread, **change):
        return verdict("rank", **first, scores=scores(SEVEN), rows=scored_rows(SEVEN, spread=spread), change=change)

    sure, close = judged(0.0005), judged(0.05)
    assert sure.verdict == REPRODUCED and "100.0 % of 2,000 resamples" in sure.reason and sure.ours.startswith("place 1 (in resamples 1 to 1)")
    assert close.verdict == CLOSE and close.basis == MEASURED and "./run_all.sh paper" in close.reason
    assert judged(0.0005, value="2").verdict == NOT_REPRODUCED and judged(0.05, value="2").verdict == CLOSE
    assert judged(0.0005, subject="qwen1.5-moe").verdict == NOT_REPRODUCED
    assert "architectures" in sure.reason and "not the hub models" in sure.reason


def test_a_noisy_pattern_over_domains_is_too_close_to_call():
    good = by_domain({"social_issues": 0.2})
    sure = {(k, d): 0.2 if d == "social_issues" else 0.1 for k in MODELS for d in DOMAINS}
    options = {"metric": "bleu", "scores": good}
    assert verdict("best_domain", **options, rows=scored_rows(sure, spread=0.01, domains=tuple(DOMAINS))).verdict == REPRODUCED
    noise = verdict("best_domain", **options, rows=scored_rows(sure, n=4, spread=0.5, domains=tuple(DOMAINS)))
    assert noise.verdict == CLOSE and noise.basis == MEASURED


def test_seven_equal_models_do_not_show_varying_strengths():
    """Each leads some domain by chance; only leads that survive resampling count."""
    means = by_domain({(k, d): 0.1 + 0.001 * (i == j) for i, k in enumerate(MODELS) for j, d in enumerate(DOMAINS)})
    level = {(k, d): 0.1 + 0.001 * (i == j) for i, k in enumerate(MODELS) for j, d in enumerate(DOMAINS)}
    assert verdict("several_tops", scores=means).ours == "7 leading models"
    assert verdict("several_tops", scores=means, rows=scored_rows(level, spread=0.2, domains=tuple(DOMAINS))).verdict == CLOSE
    assert verdict("several_tops", scores=means, rows=scored_rows(level, spread=0.0, domains=tuple(DOMAINS))).verdict == REPRODUCED


def test_order_waits_for_the_models_it_needs():
    two = scores({k: SEVEN[k] for k in ("phi-2", "tinyllama-1.1b")})
    found = verdict("rank", subject="tinyllama-1.1b", metric="bleu", domain="—", scores=two)
    assert found.verdict == UNTESTED and "Mistral 7B" in found.reason and "./run_all.sh" in found.reason


def test_what_the_ablations_say_about_gains_and_memory():
    def retained(low, share, high):
        return verdict("retained_gain", facts={"ablation.retained": {"share": share, "lo": low, "hi": high, "n": 357}})

    assert "./run_all.sh ablations" in verdict("retained_gain").reason and "./run_all.sh ablations" in verdict("memory_saved").reason
    assert retained(0.96, 0.98, 1.0).verdict == REPRODUCED and retained(0.6, 0.7, 0.8).verdict == NOT_REPRODUCED
    assert retained(0.9, 0.97, 1.0).verdict == CLOSE and retained(0.9, 0.97, 1.0).ours == "97.0 % [90.0, 100.0]"
    saved = {"ablation.budget": {"LoRA": (0.8, 0.9), "QLoRA": (0.85, 0.95)}, "ablation.saved": {"full fine-tuning": 0.0, "LoRA": 0.7}}
    found = verdict("memory_saved", facts=saved)
    assert found.verdict == UNTESTED and "LoRA 80 to 90 %" in found.ours and "needs an accelerator" in found.reason


@pytest.mark.parametrize(("shares", "verdict_"), [((0.64, 0.67), REPRODUCED), ((0.65, 0.8), NOT_REPRODUCED)])
def test_measured_memory_is_judged_by_every_model(shares, verdict_):
    value = float(LEDGER.loc[LEDGER["test"] == "memory_saved", "value"].iloc[0]) / 100
    measured = [{"label": f"model {n}", "saved": value + share - 0.65, "device": "a GPU"} for n, share in enumerate(shares)]
    assert verdict("memory_saved", facts={"ablation.measured": measured}).verdict == verdict_


def test_the_recipe_is_judged_by_what_ran_and_not_by_what_the_profile_says():
    """A smaller machine splits the batch otherwise: then the claim is not built to match."""
    ran = run_facts([{"model": "phi-2", "train_spec": {"micro_batch": 2, "accumulation": 8}}])
    claim = LEDGER[(LEDGER["test"] == "recipe") & (LEDGER["metric"] == "micro_batch")]
    by_profile, by_run = (judge(claim, facts, pd.DataFrame(columns=["system", "metric", "domain", "value", "lo", "hi"]), PAPER) for facts in ({}, ran))
    assert by_profile["ours"].tolist() == ["4"] and by_run["ours"].tolist() == ["2"] and by_run["verdict"].tolist() == [UNTESTED]


@pytest.mark.parametrize("test", ["beats_larger", "on_par"])
def test_small_against_large(test):
    large = SEVEN | {"mistral-7b": 0.5, "llama-2-7b": 0.5, "qwen1.5-moe": 0.5}
    assert verdict(test, metric="bleu", scores=scores(SEVEN), profile=PAPER).verdict == REPRODUCED
    assert verdict(test, metric="bleu", scores=scores(large), profile=PAPER).verdict == NOT_REPRODUCED
    close = verdict(test, metric="bleu", scores=scores(SEVEN), profile=PAPER, rows=scored_rows(SEVEN, spread=0.2))
    assert close.verdict == CLOSE
    twins = verdict(test, metric="bleu", scores=scores(large))
    assert twins.verdict == UNTESTED and "all nano twins have one size" in twins.reason and "TinyLlama" in twins.ours


def test_balanced_and_upper_half():
    table = pd.concat([scores({k: -i for i, k in enumerate(MODELS)} | {"mistral-7b": 9}, m) for m in TABLE2.values()])
    assert verdict("balanced", scores=table).verdict == REPRODUCED
    assert verdict("upper_half", scores=table, change={"subject": "mistral-7b"}).ours == "among the first three in 9 of 9 columns"
    assert verdict("upper_half", subject="tinyllama-1.1b", scores=table).verdict == NOT_REPRODUCED
    table.loc[(table["system"] == "mistral-7b") & (table["metric"] == "bleu"), "value"] = -99
    assert verdict("balanced", scores=table).verdict == NOT_REPRODUCED
    last = pd.concat([scores({k: -i for i, k in enumerate(MODELS)}, m) for m in TABLE2.values()])  # tinyllama is last everywhere: no spread, no balance
    assert verdict("balanced", scores=last, change={"subject": "tinyllama-1.1b"}).verdict == NOT_REPRODUCED


def test_models_run_and_measured():
    assert verdict("models_run", scores=scores(SEVEN)).verdict == BUILT_TO_MATCH
    assert verdict("models_run", scores=scores({"phi-2": 0.1})).ours == "1 of 7"
    three = pd.concat([scores({"phi-2": 0.1}, m) for m in ("bleu", "rouge1", "bertscore_f1")])
    assert verdict("measured", scores=three).verdict == BUILT_TO_MATCH and verdict("measured", scores=three[1:]).verdict == UNTESTED


def test_traits_kept():
    """Most surely under half of what a card reader reaches: not kept, even if above zero. Else most above zero: kept. Else the run cannot tell."""

    def judged(gap, spread, ceiling=0.2, **options):
        many = {k: gap for k in MODELS} | {"oracle_card": ceiling}
        table = pd.concat([scores({k: 0.1 for k in MODELS}), scores(many, GAP, spread=spread)])
        return verdict("traits_kept", value="all", scores=table, **options)

    assert judged(0.12, 0.01).verdict == REPRODUCED and judged(0.12, 0.01).ours.startswith("above zero: 7 of 7")
    assert judged(0.03, 0.01).verdict == NOT_REPRODUCED and judged(0.03, 0.01).ours.startswith("above zero: 7 of 7")
    assert judged(0.01, 0.05).verdict == NOT_REPRODUCED and judged(0.01, 0.15).verdict == CLOSE
    assert verdict("traits_kept", value="all").verdict == UNTESTED
    table, level = scores({k: 0.1 for k in MODELS}), {k: 0.001 for k in MODELS}
    rows = scored_rows(level, spread=0.01, metrics=(GAP,))
    card = rows[rows["system"] == "phi-2"].assign(system="oracle_card", **{GAP: 0.05})
    assert verdict("traits_kept", value="open", scores=table, rows=pd.concat([rows, card])).verdict == NOT_REPRODUCED
    missing = verdict("traits_kept", value="likert", metric="swap_gap_option", scores=table, rows=rows)
    assert missing.verdict == UNTESTED and "./run_all.sh nano" in missing.reason


def test_diverse():
    def judged(value, spread=0.01):
        return verdict("diverse", scores=scores({k: value for k in MODELS} | {"resample": 0.7}, "distinct2", spread=spread)).verdict

    assert judged(0.68) == REPRODUCED and judged(0.55) == NOT_REPRODUCED and judged(0.63, 0.05) == CLOSE
    assert verdict("diverse", scores=scores({k: 0.6 for k in MODELS}, "distinct2")).verdict == UNTESTED


def test_undefined_metrics_show_ours_and_judge_nothing():
    found = verdict("undefined", metric="distinct2", scores=scores({k: 0.6 for k in MODELS}, "distinct2"))
    assert found.verdict == NEEDS_DATA and found.ours == "0.600 to 0.600 (7 nano twins)" and verdict("undefined").ours == "not available"


def by_domain(special, metric="bleu", models=MODELS):
    return pd.concat([scores({k: special.get((k, d), special.get(d, 0.1)) for k in models}, metric, d) for d in DOMAINS])


def test_domain_rules():
    good = by_domain({"social_issues": 0.2, "consumer_preferences": 0.05, "lifestyle": 0.04, ("mistral-7b", "finance"): 0.3})
    bad = by_domain({"finance": 0.2, "lifestyle": 0.3})
    for test, match in (("best_domain", {"metric": "bleu"}), ("weak_domains", {}), ("several_tops", {})):
        assert verdict(test, scores=good, **match).verdict == REPRODUCED, test
        assert verdict(test, scores=bad, **match).verdict == NOT_REPRODUCED, test
        assert verdict(test, scores=good[good["domain"] != "finance"], **match).verdict == UNTESTED


def test_even():
    even = verdict("even", metric="length_chars", scores=by_domain({"finance": 210.0} | dict.fromkeys(DOMAINS, 200.0), "length_chars"))
    assert even.verdict == REPRODUCED and even.ours.endswith("characters)")
    uneven = {d: 100.0 + 50 * i for i, d in enumerate(DOMAINS)}
    assert verdict("even", metric="length_chars", scores=by_domain(uneven, "length_chars")).verdict == NOT_REPRODUCED


def test_strong_and_alike_in_domains():
    small = {(k, d): 0.3 for k in ("tinyllama-1.1b", "phi-2") for d in ("social_issues", "finance")}
    strong = verdict("strong_in", scores=by_domain(small))
    assert strong.verdict == REPRODUCED and "place 1 in Social Issues, place 1 in Finance" in strong.ours
    others = {(k, "finance"): 0.4 for k in ("mistral-7b", "llama-2-7b", "qwen2-1.5b")}
    assert verdict("strong_in", scores=by_domain(small | others)).verdict == NOT_REPRODUCED
    apart = {("phi-2", d): 0.3 for d in DOMAINS if d != "healthcare"}
    assert verdict("alike_in_domain", scores=by_domain(apart)).verdict == REPRODUCED
    assert verdict("alike_in_domain", scores=by_domain({("phi-2", "healthcare"): 0.3})).verdict == NOT_REPRODUCED


# --- the guard: what a baseline does too is no finding ----------------------------------------------------------------------------


def guard(test, table, **match):
    """The guarded finding of the first claim with this rule, judged on nano scores."""
    claims = LEDGER[LEDGER["test"] == test]
    for column, value in match.items():
        claims = claims[claims[column] == value]
    return guarded(claims.iloc[0], Evidence(LEDGER, {}, table, NANO))


def test_what_a_baseline_does_too_is_trivial():
    """Answers of even length: trivial if the uniform answerer's are even too, reproduced if no baseline's are, untested without a baseline."""
    even, uneven = dict.fromkeys(DOMAINS, 200.0), {d: 100.0 + 50 * i for i, d in enumerate(DOMAINS)}
    models = by_domain(even, "length_chars")

    def beside(*tables):
        return guard("even", pd.concat([models, *tables]), metric="length_chars")

    alike, apart = (by_domain(values, "length_chars", models=["uniform"]) for values in (even, uneven))
    assert beside(alike).verdict == TRIVIAL and beside(alike).reason.startswith("A baseline does it too (uniform: coefficient of variation 0.00")
    assert beside(apart).verdict == REPRODUCED and beside(apart).reason.startswith("No baseline does it.")
    assert beside().verdict == UNTESTED and "no baseline was scored" in beside().reason
    one_of_two = beside(apart, by_domain(even, "length_chars", models=["persona_blind"]))
    assert one_of_two.verdict == TRIVIAL and "persona-blind copy" in one_of_two.reason


def test_the_guard_judges_effects_but_no_order_among_models():
    gaps = {k: 0.12 for k in MODELS} | {"oracle_card": 0.2}
    base = pd.concat([scores({k: 0.1 for k in (*MODELS, "uniform")}), scores(gaps, GAP)])
    assert guard("traits_kept", pd.concat([base, scores({"uniform": 0.0}, GAP)]), value="all").verdict == REPRODUCED
    assert guard("traits_kept", pd.concat([base, scores({"uniform": 0.12}, GAP)]), value="all").verdict == TRIVIAL
    assert "rank" not in GUARDED and {"even", "traits_kept", "diverse", "on_par", "score"} <= GUARDED


def test_no_published_claim_is_reproduced_that_a_baseline_fulfils():
    """Every measured "reproduced" of the published ledger names its guard."""
    ledger = pd.read_csv(paths.ROOT / "results" / "shipped" / "claims.csv", dtype=str, keep_default_na=False)
    held = ledger[(ledger["verdict"] == REPRODUCED) & (ledger["basis"] == MEASURED) & ledger["test"].isin(GUARDED)]
    assert held["reason"].str.startswith("No baseline does it.").all()
    assert not ((ledger["verdict"] == REPRODUCED) & (ledger["basis"] == BUILT)).any()


# --- the paper against itself ----------------------------------------------------------------------------------------------------

CONTRADICTIONS = [
    "impossible_share", "types_in_domains", "missing_modules", "no_such_size", "shared_best", "omitted_from_figure", "exception_in_table",
    "not_its_best_domain", "in_another_domain", "higher_elsewhere", "balanced_in_table", "last_everywhere", "not_close", "unequal_types", "static",
]  # fmt: skip
ODD = ["blocks_of_8", "domains_left_out", "last_yet_top", "not_the_most_common"]  # could be true: only the authors can tell


def edited(where, value):
    """The ledger with the printed value of the matching claims replaced."""
    changed = LEDGER.copy()
    mask = np.logical_and.reduce([changed[column] == cell for column, cell in where.items()])
    assert mask.any()
    changed.loc[mask, "value"] = value
    return changed


@pytest.mark.parametrize("test", [*CONTRADICTIONS, *ODD])
def test_contradictions_hold_on_the_printed_numbers(test):
    """What cannot be true is contradicted; what is odd but possible (our own data meet it, or nothing printed excludes it) is not called so."""
    evidence = Evidence(LEDGER, {}, NONE, NANO)
    found = [RULES[test](claim, evidence) for _, claim in LEDGER[LEDGER["test"] == test].iterrows()]
    assert {f.verdict for f in found} == {NEEDS_DATA if test in ODD else CONTRADICTED} and {f.basis for f in found} == {"the paper's own text"}


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
        ("higher_elsewhere", {"value": "0.130"}, LEDGER),
        ("balanced_in_table", {"subject": "llama-2-7b"}, LEDGER),
        ("last_everywhere", {"subject": "qwen2-1.5b"}, LEDGER),
        ("not_close", {}, edited({"place": "Table II", "subject": "deepseek-r1-distill-qwen-1.5b", "metric": "sentiment_sim"}, "0.850")),
        ("unequal_types", {"value": "6"}, LEDGER),
        ("not_the_most_common", {}, edited({"metric": "categories"}, "12")),
    ],
)
def test_contradictions_vanish_when_the_number_does(test, change, ledger):
    assert verdict(test, change=change, ledger=ledger).verdict == REPRODUCED


def test_the_paper_s_counts_recomputed_by_hand():
    """What notebook 90 shows: no whole number of 433 people is 14.2 %, and blocks of eight answers are too few for the persona-domain pairs."""
    assert nearest_shares(14.2, 433) == {61: 14.1, 62: 14.3} and nearest_shares(25.0, 4) == {1: 25.0, 2: 50.0}
    assert blocks_and_pairs(list(DOMAIN_RECORDS.values()), 8, 433, 28.6) == (446, 557) and blocks_and_pairs([8, 16], 8, 10, 50.0) == (3, 15)


def test_all_facts_names_foreign_data_and_leaves_the_ablations_out(facts):
    parts = {name: dataset.read_split(paths.DATASET / "paper", name) for name in dataset.SPLITS}
    runs = [{"model": "tinyllama-1.1b", "device": "CPU, 2 threads", "share": 0.2}]
    own, foreign = (all_facts(replace(RunConfig(), data=data), parts, runs) for data in ("", str(paths.DATASET)))
    assert {**own, **facts} == own and any(name.startswith("ablation.") for name in own)
    assert foreign["source"] == paths.DATASET.name and not any(name.startswith("ablation.") for name in foreign)


def test_arithmetic_is_shown():
    assert verdict("impossible_share").ours == "61/433 = 14.1 %, 62/433 = 14.3 %"
    assert "446" in verdict("blocks_of_8").reason and "557" in verdict("blocks_of_8").reason
    assert "33.5 %" in verdict("not_the_most_common").reason and "at least 11.2 %" in verdict("not_the_most_common").reason
    assert verdict("not_close").ours == "0.024 behind, 0.013 among the rest" and verdict("balanced_in_table").ours == "places 1 to 6"
    assert "25.8 %" in verdict("domains_left_out").reason and "Demographics, Work Experience" in verdict("domains_left_out").reason


# --- facts -----------------------------------------------------------------------------------------------------------------------


def test_domain_scores_leave_failures_out():
    rows = pd.DataFrame({"system": "phi-2", "domain": "finance", "status": ["ok", "ok", "failed"], "bleu": [0.1, 0.3, 0.0], "length_chars": [10, 30, 0]})
    found = domain_scores(rows).set_index("metric")
    assert found.loc["bleu", "value"] == pytest.approx(0.2) and found.loc["length_chars", "n"] == 2
    both = all_scores(pd.DataFrame([{"system": "phi-2", "metric": "bleu", "value": 0.2, "lo": 0.1, "hi": 0.3}]), rows)
    assert set(both["domain"]) == {"all", "finance"}


def test_foreign_parts_without_cards_or_instruments():
    frame = pd.DataFrame(
        {"id": ["a", "b"], "persona_id": ["p", "p"], "question_id": ["1", "2"], "domain": ["x", "y"], "question_type": ["open", "likert"],
         "persona": ["text", "text"], "messages": [[{"role": "user"}]] * 2, "reference": ["one", "two"]}
    )  # fmt: skip
    found = dataset_facts({"train": frame}, source="theirs")
    assert found["source"] == "theirs" and found["share.several_domains"] == 1 and found["share.records_as_triplet"] == 0 and "categories" not in found


def test_command_line(tmp_path, capsys, facts):
    assert main(["nano", "--out", str(tmp_path)]) == 2
    write_claims(judge(LEDGER, facts, NONE, NANO), tmp_path / "results" / "nano" / "claims.csv")
    assert main(["nano", "--out", str(tmp_path), "--verdict", CONTRADICTED]) == 0
    shown = capsys.readouterr().out
    assert "61/433 = 14.1 %" in shown and "absolute" in shown and "built to match" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert main(["nano", "--out", str(tmp_path), "--verdict", "contra", "--place", "Fig. 4"]) == 0
    assert "1 claim\n\nfig-4-01, Fig. 4" in capsys.readouterr().out
    assert main(["smoke", "--out", str(tmp_path)]) == 2 and "runs that have: nano" in capsys.readouterr().err
    assert main(["nano", "--out", str(tmp_path), "--verdict", "true"]) == 2 and "choose from: reproduced" in capsys.readouterr().err


# --- a real model at small scale -------------------------------------------------------------------------------------------------


SMALL = PROFILES["small"]
SMOL = "smollm2-135m"


def small_scores(gap: float, distinct: float) -> pd.DataFrame:
    """What a run of the profile `small` scores: one real model, the baselines and the bounds."""
    kept = [line(s, GAP, v) for s, v in ((SMOL, gap), ("oracle_card", 0.09), *((b, 0.0) for b in ("uniform", "majority", "persona_blind", "nearest_train")))]
    rest = [
        line(s, "distinct2", v)
        for s, v in ((SMOL, distinct), ("resample", 0.31), *((b, 0.1) for b in ("uniform", "majority", "persona_blind", "nearest_train")))
    ]
    return pd.DataFrame([*kept, *rest, line(SMOL, "bleu", 0.02), *(line(b, "bleu", 0.03) for b in ("uniform", "majority", "persona_blind", "nearest_train"))])


@pytest.mark.parametrize(("gap", "wanted"), [(0.08, REPRODUCED), (0.01, NOT_REPRODUCED), (0.0, NOT_REPRODUCED)])
def test_a_real_model_speaks_to_the_claims_about_traits_and_says_at_which_scale(gap, wanted):
    claim = LEDGER[(LEDGER["test"] == "traits_kept") & (LEDGER["value"] == "all")].iloc[0]
    finding = guarded(claim, Evidence(LEDGER, {}, small_scores(gap, 0.3), SMALL))
    assert finding.verdict == wanted and "SmolLM2 135M, a real pretrained model, at small scale: other data and another model" in finding.reason
    assert "of 1" in finding.ours


def test_a_real_model_speaks_to_diversity_and_not_to_places_or_sizes():
    diverse = LEDGER[LEDGER["test"] == "diverse"].iloc[0]
    verdicts = [guarded(diverse, Evidence(LEDGER, {}, small_scores(0.0, value), SMALL)).verdict for value in (0.30, 0.20)]
    assert verdicts == [REPRODUCED, NOT_REPRODUCED]
    for test in ("rank", "on_par", "beats_larger", "best_domain", "models_run"):
        finding = guarded(LEDGER[LEDGER["test"] == test].iloc[0], Evidence(LEDGER, {}, small_scores(0.0, 0.3), SMALL))
        assert finding.verdict == UNTESTED and "./run_all.sh small" not in finding.reason, finding
    empty = guarded(diverse, Evidence(LEDGER, {}, NONE, SMALL))
    assert empty.verdict == UNTESTED and "./run_all.sh small trains one" in empty.reason


def test_absolute_values_stand_beside_the_papers_without_a_verdict():
    evidence = Evidence(LEDGER, {}, small_scores(0.0, 0.3), SMALL)
    for test in ("score", "best_value", "only_below"):
        claims = LEDGER[(LEDGER["test"] == test) & (LEDGER["metric"].isin(["bleu", "bertscore_f1"]))]
        finding = guarded(claims.iloc[0], evidence)
        assert finding.verdict == UNTESTED and finding.reason.startswith("other data, other model")
    shown = guarded(LEDGER[(LEDGER["test"] == "score") & (LEDGER["metric"] == "bleu") & (LEDGER["domain"] == "—")].iloc[0], evidence)
    assert shown.ours.startswith("SmolLM2 135M 0.020")


def test_a_small_runs_ledger_has_no_blank_and_its_recipe_is_the_papers(facts):
    ledger = judge(LEDGER, facts, small_scores(0.01, 0.2), SMALL)
    assert not ledger[["ours", "verdict", "reason"]].eq("").any().any()
    recipe = ledger[ledger["test"] == "recipe"]
    assert set(recipe.loc[recipe["verdict"] != BUILT_TO_MATCH, "metric"]) == {"micro_batch", "accumulation"}
