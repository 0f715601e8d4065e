"""Where the paper contradicts itself: each rule redoes the arithmetic on the printed numbers.

If a printed number were different and the contradiction gone, the rule says "reproduced" (the paper agrees with itself there).
"""

from __future__ import annotations

import pandas as pd

from .claim_evidence import CONTRADICTED, REPRODUCED, Evidence, Finding, names, rule
from .question_bank import DOMAINS
from .registry import MODELS, PAPER_TARGETS


def _finding(contradicted: bool, ours: str, reason: str) -> Finding:
    return Finding(ours, CONTRADICTED if contradicted else REPRODUCED, reason)


@rule("static")
def static(claim: pd.Series, ev: Evidence) -> Finding:
    """Two statements of the paper that cannot both hold; the note quotes the other one."""
    return Finding("two statements", CONTRADICTED, claim["note"])


@rule("impossible_share")
def impossible_share(claim: pd.Series, ev: Evidence) -> Finding:
    """No whole number of personas has the printed share."""
    people, share = int(ev.printed("personas")), float(claim["value"])
    below = int(share / 100 * people)
    near = {k: round(100 * k / people, 1) for k in (below, below + 1)}
    shown = ", ".join(f"{k}/{people} = {p} %" for k, p in near.items())
    return _finding(share not in near.values(), shown, f"a share of {people} personas must be one of these; {share} % is possible only as a share of rows")


@rule("blocks_of_8")
def blocks_of_8(claim: pd.Series, ev: Evidence) -> Finding:
    """Every domain count is a multiple of the block, but the persona-domain pairs need more blocks than there are."""
    block, people = int(claim["value"]), int(ev.printed("personas"))
    counts = [int(ev.printed(f"rows.{d}")) for d in DOMAINS]
    blocks, needed = sum(counts) // block, people + round(people * ev.printed("share.several_domains") / 100)
    even = all(c % block == 0 for c in counts)
    return _finding(
        even and needed > blocks, f"{blocks} blocks, {needed} needed",
        f"all ten counts are multiples of {block} ({sum(counts)} / {block} = {blocks} blocks), but {people} personas, "
        f"{ev.printed('share.several_domains')} % of them in two domains or more, make at least {needed} persona-domain pairs",
    )  # fmt: skip


@rule("types_in_domains")
def types_in_domains(claim: pd.Series, ev: Evidence) -> Finding:
    """Fewer agreement items than domains: not every domain can have one."""
    items = round(ev.printed("share.questions_type.agreement") / 100 * ev.printed("questions"))
    domains = int(ev.printed("domains"))
    share = ev.printed("share.questions_type.agreement")
    why = f"{share} % of {ev.printed('questions'):.0f} questions are {items} agreement items, too few for {domains} domains"
    return _finding(items < domains, f"{items} agreement items, {domains} domains", why)


@rule("missing_modules")
def missing_modules(claim: pd.Series, ev: Evidence) -> Finding:
    """Names of the paper's LoRA list that a model of the paper does not have."""
    spec = MODELS[claim["subject"]]
    absent = [name for name in PAPER_TARGETS if name not in spec.lora_targets]
    why = f"{spec.display} is one of the tuned models (V-A) and has no {', '.join(absent)}; its modules are {', '.join(spec.lora_targets)}"
    return _finding(bool(absent), f"{len(absent)} of {len(PAPER_TARGETS)} names match nothing", why)


@rule("no_such_size")
def no_such_size(claim: pd.Series, ev: Evidence) -> Finding:
    """No model of the paper rounds to the printed size."""
    sizes = {key: round(m.parameters / 1e9, 1) for key, m in MODELS.items()}
    missing = int(claim["value"]) not in {round(s) for s in sizes.values()}
    return _finding(missing, ", ".join(f"{names([k])} {s} B" for k, s in sizes.items()), f"no model of Table II has {claim['value']} billion parameters")


@rule("shared_best")
def shared_best(claim: pd.Series, ev: Evidence) -> Finding:
    """The best value of Table II belongs to more models than the sentence names."""
    table = ev.table(claim["metric"])
    best = [k for k, v in table.items() if v == max(table.values())]
    why = f"Table II gives it to {names(best)}; TinyLlama 1.1B, named in the same breath, has {table['tinyllama-1.1b']:.3f}"
    return _finding(best != [claim["subject"]], f"{max(table.values()):.3f}: {names(best)}", why)


@rule("omitted_from_figure")
def omitted_from_figure(claim: pd.Series, ev: Evidence) -> Finding:
    """A model shown among the "top" n is not among them in Table II."""
    table, shown = ev.table(claim["metric"]), int(claim["value"])
    above = sorted((k for k, v in table.items() if v > table[claim["subject"]]), key=table.get)
    mine = f"{names([claim['subject']])} ({table[claim['subject']]:.3f})"
    if len(above) < shown:
        return _finding(False, f"place {len(above) + 1}", f"{mine} is among the first {shown} of Table II")
    return _finding(True, f"place {len(above) + 1}", f"{names(above[:1])} ({table[above[0]]:.3f}) is above {mine} in Table II and left out")


@rule("exception_in_table")
def exception_in_table(claim: pd.Series, ev: Evidence) -> Finding:
    """A bound said to hold for the tuned models fails for one in Table II."""
    below = {k: v for k, v in ev.table(claim["metric"]).items() if v <= float(claim["value"])}
    shown = ", ".join(f"{names([k])} {v:.3f}" for k, v in below.items()) or "none below"
    return _finding(bool(below), shown, f"Table II, models not above {claim['value']}: {names(below) or 'none'}")


@rule("not_its_best_domain")
def not_its_best_domain(claim: pd.Series, ev: Evidence) -> Finding:
    """The example given for a best domain has a better one in Table III."""
    mine = {d: v for (d, model), v in ev.table(claim["metric"], "Table III").items() if model == claim["subject"]}
    best = max(mine, key=mine.get)
    why = f"Table III: {mine[best]:.3f} in {DOMAINS[best][0]} against {claim['value']} in {DOMAINS[claim['domain']][0]}"
    return _finding(best != claim["domain"], f"{DOMAINS[best][0]} {mine[best]:.3f}", why)


@rule("in_another_domain")
def in_another_domain(claim: pd.Series, ev: Evidence) -> Finding:
    """The number belongs to another domain in Table III."""
    there = [d for (d, model), v in ev.table(claim["metric"], "Table III").items() if model == claim["subject"] and v == float(claim["value"])]
    elsewhere = bool(there) and claim["domain"] not in there
    where = ", ".join(DOMAINS[d][0] for d in there) or "no domain"
    return _finding(elsewhere, f"{claim['value']} in {where}", f"the text gives {claim['value']} to {DOMAINS[claim['domain']][0]}, Table III to {where}")


@rule("domains_left_out")
def domains_left_out(claim: pd.Series, ev: Evidence) -> Finding:
    """Table III shows fewer domains than the data set has."""
    shown = {d for d, _ in ev.table("bleu", "Table III")}
    left = [d for d in DOMAINS if d not in shown]
    rows = sum(ev.printed(f"rows.{d}") for d in left)
    share = 100 * rows / ev.printed("records")
    missing = ", ".join(DOMAINS[d][0] for d in left) or "none"
    rest = f"{rows:.0f} of {ev.printed('records'):.0f} rows ({share:.1f} %)"
    why = f"left out: {missing}, {rest}, though the abstract promises a systematic evaluation over ten domains"
    return _finding(bool(left), f"{len(shown)} of {len(DOMAINS)} domains", why)


@rule("last_yet_top")
def last_yet_top(claim: pd.Series, ev: Evidence) -> Finding:
    """The model that leads a domain is the last of Table II on the same metric."""
    table = ev.table(claim["metric"])
    place = 1 + sum(v > table[claim["subject"]] for v in table.values())
    model, domain = names([claim["subject"]]), DOMAINS[claim["domain"]][0]
    why = f"{model} leads {domain} in Table III and is number {place} of {len(table)} overall (BLEU {table[claim['subject']]:.3f})"
    return _finding(place == int(claim["value"]), f"place {place} overall", why)
