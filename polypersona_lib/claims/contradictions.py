"""Where the paper contradicts itself: each rule redoes the arithmetic on the printed numbers.

If a printed number were different and the contradiction gone, the rule says "reproduced" (the paper agrees with itself there).
"""

from collections.abc import Sequence

import pandas as pd

from ..registry import MODELS, PAPER_TARGETS
from ..world.paper import TABLE2
from ..world.questions import DOMAINS
from .evidence import CONTRADICTED, NEEDS_DATA, REPRODUCED, TEXT, Evidence, Finding, by_name, paper_names


def _finding(contradicted: bool, ours: str, reason: str) -> Finding:
    return Finding(ours, CONTRADICTED if contradicted else REPRODUCED, reason, TEXT)


def _doubtful(doubtful: bool, ours: str, reason: str) -> Finding:
    """What looks odd, yet could be true: only the authors can tell."""
    return Finding(ours, NEEDS_DATA if doubtful else REPRODUCED, reason, TEXT)


def static(claim: pd.Series, ev: Evidence) -> Finding:
    """Two statements of the paper that cannot both hold; the note quotes the other one."""
    return Finding("two statements", CONTRADICTED, claim["note"], TEXT)


def nearest_shares(share: float, people: int) -> dict[int, float]:
    """The two whole numbers of people next to a share in per cent, each with the share that it makes, as the paper would print it."""
    below = int(share / 100 * people)
    return {count: round(100 * count / people, 1) for count in (below, below + 1)}


def blocks_and_pairs(counts: Sequence[int], block: int, people: int, share: float) -> tuple[int, int]:
    """How many blocks of answers the domains' counts make, and how many persona-domain pairs `people` need if `share` per cent are in two domains."""
    return sum(counts) // block, people + round(people * share / 100)


def impossible_share(claim: pd.Series, ev: Evidence) -> Finding:
    """No whole number of personas has the printed share."""
    people, share = int(ev.printed("personas")), float(claim["value"])
    near = nearest_shares(share, people)
    shown = ", ".join(f"{k}/{people} = {p} %" for k, p in near.items())
    return _finding(share not in near.values(), shown, f"a share of {people} personas must be one of these; {share} % is possible only as a share of rows")


def blocks_of_8(claim: pd.Series, ev: Evidence) -> Finding:
    """Every domain count is a multiple of the block, but the persona-domain pairs need more blocks than there are. Odd, not impossible."""
    block, people = int(claim["value"]), int(ev.printed("personas"))
    counts = [int(ev.printed(f"rows.{d}")) for d in DOMAINS]
    blocks, needed = blocks_and_pairs(counts, block, people, ev.printed("share.several_domains"))
    even = all(c % block == 0 for c in counts)
    return _doubtful(
        even and needed > blocks, f"{blocks} blocks, {needed} needed",
        f"all ten counts are multiples of {block} ({sum(counts)} / {block} = {blocks} blocks), as if each persona had answered {block} questions a domain; but "
        f"{people} personas, {ev.printed('share.several_domains')} % of them in two domains or more, make at least {needed} persona-domain pairs. "
        "Both hold only without fixed blocks (our data set meets both)",
    )  # fmt: skip


def types_in_domains(claim: pd.Series, ev: Evidence) -> Finding:
    """Fewer agreement items than domains: not every domain can have one."""
    items = round(ev.printed("share.questions_type.agreement") / 100 * ev.printed("questions"))
    domains = int(ev.printed("domains"))
    share = ev.printed("share.questions_type.agreement")
    why = f"{share} % of {ev.printed('questions'):.0f} questions are {items} agreement items, too few for {domains} domains to have all four types"
    return _finding(items < domains, f"{items} agreement items, {domains} domains", why)


def missing_modules(claim: pd.Series, ev: Evidence) -> Finding:
    """Names of the paper's LoRA list that a model of the paper does not have."""
    spec = MODELS[claim["subject"]]
    absent = [name for name in PAPER_TARGETS if name not in spec.lora_targets]
    why = f"{spec.display} is one of the tuned models (V-A) and has no {', '.join(absent)}; its modules are {', '.join(spec.lora_targets)}"
    return _finding(bool(absent), f"{len(absent)} of {len(PAPER_TARGETS)} names match nothing", why)


def no_such_size(claim: pd.Series, ev: Evidence) -> Finding:
    """No model of the paper rounds to the printed size."""
    sizes = {key: round(m.parameters / 1e9, 1) for key, m in MODELS.items()}
    missing = int(claim["value"]) not in {round(s) for s in sizes.values()}
    return _finding(missing, ", ".join(f"{paper_names([k])} {s} B" for k, s in sizes.items()), f"no model of Table II has {claim['value']} billion parameters")


def shared_best(claim: pd.Series, ev: Evidence) -> Finding:
    """The best value of Table II belongs to more models than the sentence names."""
    table = ev.table(claim["metric"])
    best = [k for k, v in table.items() if v == max(table.values())]
    why = f"Table II prints it for {paper_names(best)}, not for {paper_names([claim['subject']])} alone; TinyLlama 1.1B has {table['tinyllama-1.1b']:.3f}"
    return _finding(best != [claim["subject"]], f"{max(table.values()):.3f}: {paper_names(best)}", why)


def omitted_from_figure(claim: pd.Series, ev: Evidence) -> Finding:
    """A model shown among the "top" n is not among them in Table II."""
    table, shown = ev.table(claim["metric"]), int(claim["value"])
    above = sorted((k for k, v in table.items() if v > table[claim["subject"]]), key=table.get)
    mine = f"{paper_names([claim['subject']])} ({table[claim['subject']]:.3f})"
    if len(above) < shown:
        return _finding(False, f"place {len(above) + 1}", f"{mine} is among the first {shown} of Table II")
    return _finding(True, f"place {len(above) + 1}", f"{paper_names(above[:1])} ({table[above[0]]:.3f}) is above {mine} in Table II and left out")


def exception_in_table(claim: pd.Series, ev: Evidence) -> Finding:
    """A limit said to hold for all tuned models fails for one in Table II."""
    below = {k: v for k, v in ev.table(claim["metric"]).items() if v <= float(claim["value"])}
    shown = ", ".join(f"{paper_names([k])} {v:.3f}" for k, v in below.items()) or "none below"
    return _finding(bool(below), shown, f"Table II, models not above {claim['value']}: {paper_names(below) or 'none'}")


def not_its_best_domain(claim: pd.Series, ev: Evidence) -> Finding:
    """The example given for a best domain has a better one in Table III."""
    mine = {d: v for (d, model), v in ev.table(claim["metric"], "Table III").items() if model == claim["subject"]}
    best = max(mine, key=mine.get)
    why = f"Table III: {mine[best]:.3f} in {DOMAINS[best]} against {claim['value']} in {DOMAINS[claim['domain']]}"
    return _finding(best != claim["domain"], f"{DOMAINS[best]} {mine[best]:.3f}", why)


def in_another_domain(claim: pd.Series, ev: Evidence) -> Finding:
    """The number belongs to another domain in Table III."""
    there = [d for (d, model), v in ev.table(claim["metric"], "Table III").items() if model == claim["subject"] and v == float(claim["value"])]
    elsewhere = bool(there) and claim["domain"] not in there
    where = ", ".join(DOMAINS[d] for d in there) or "no domain"
    why = f"the text gives {claim['value']} to {DOMAINS[claim['domain']]}, Table III to {where}"
    return _finding(elsewhere, f"{claim['value']} in {where}", why)


def domains_left_out(claim: pd.Series, ev: Evidence) -> Finding:
    """Table III shows fewer domains than the data set has."""
    shown = {d for d, _ in ev.table("bleu", "Table III")}
    left = [d for d in DOMAINS if d not in shown]
    rows = sum(ev.printed(f"rows.{d}") for d in left)
    share = 100 * rows / ev.printed("records")
    missing = ", ".join(DOMAINS[d] for d in left) or "none"
    rest = f"{rows:.0f} of {ev.printed('records'):.0f} rows ({share:.1f} %)"
    why = f'left out: {missing}, {rest}; what V-D says of "most models" over all domains cannot be checked without them'
    return _doubtful(bool(left), f"{len(shown)} of {len(DOMAINS)} domains", why)


def last_yet_top(claim: pd.Series, ev: Evidence) -> Finding:
    """The model that leads a domain is the last of Table II on the same metric. Odd, not impossible."""
    table = ev.table(claim["metric"])
    place = 1 + sum(v > table[claim["subject"]] for v in table.values())
    model, domain = paper_names([claim["subject"]]), DOMAINS[claim["domain"]]
    overall = f"number {place} of {len(table)} overall (BLEU {table[claim['subject']]:.3f})"
    why = f"{model} leads {domain} in Table III and is {overall}; no other model's score is printed there"
    return _doubtful(place == int(claim["value"]), f"place {place} overall", why)


def _table2(ev: Evidence) -> pd.DataFrame:
    """Table II as printed: models by metrics."""
    return pd.DataFrame({metric: ev.table(metric) for metric in TABLE2.values()})


def balanced_in_table(claim: pd.Series, ev: Evidence) -> Finding:
    """The "most balanced" model of Table II: spread of places, worst place, and spread of standardised scores over the nine columns."""
    table = _table2(ev)
    places, scores = table.rank(ascending=False, method="min"), (table - table.mean()) / table.std()
    measures = {
        "distance of best and worst place": places.max(axis=1) - places.min(axis=1), "worst place": places.max(axis=1),
        "standard deviation of the places": places.std(axis=1), "standard deviation of the standardised scores": scores.std(axis=1),
    }  # fmt: skip
    leads = [name for name, values in measures.items() if values[claim["subject"]] <= values.min() + 1e-9]
    told = "; ".join(f"{name} {v[claim['subject']]:.3g} (smallest: {paper_names([v.idxmin()])} {v.min():.3g})" for name, v in measures.items())
    mine = places.loc[claim["subject"]].astype(int)
    return _finding(not leads, f"places {mine.min()} to {mine.max()}", f"Table II, {paper_names([claim['subject']])}: {told}")


def last_everywhere(claim: pd.Series, ev: Evidence) -> Finding:
    """A model called competitive is the last of Table II in every column of text quality."""
    table = _table2(ev)
    last = table.rank(ascending=False, method="min").loc[claim["subject"]] == len(table)
    in_text = last[["bleu", "rouge1", "rouge2", "rougeL", "bertscore_f1"]]
    more = "; it is the last in all nine columns" if last.all() else ""
    why = f"Table II: {paper_names([claim['subject']])} is the last of seven in BLEU, ROUGE-1, ROUGE-2, ROUGE-L and BERTScore{more}"
    return _finding(bool(in_text.all()), f"last in {in_text.sum()} of {len(in_text)} columns", why)


def not_close(claim: pd.Series, ev: Evidence) -> Finding:
    """A model said to follow closely: its distance to the first against the spread of all but the first."""
    table = ev.table(claim["metric"])
    rest = sorted(v for v in table.values() if v < max(table.values()))
    gap, spread = max(table.values()) - table[claim["subject"]], rest[-1] - rest[0]
    why = f"Table II: {max(table.values()):.3f} to {table[claim['subject']]:.3f} is {gap:.3f}; all {len(rest)} models behind the first lie within {spread:.3f}"
    return _finding(gap > spread, f"{gap:.3f} behind, {spread:.3f} among the rest", why)


def higher_elsewhere(claim: pd.Series, ev: Evidence) -> Finding:
    """A score above the best that any model has in the domain said to be the best: this model's best domain is another."""
    top = max(v for (domain, _), v in ev.table(claim["metric"], "Table III").items() if domain == claim["domain"])
    mine = float(claim["value"])
    model, domain = paper_names([claim["subject"]]), DOMAINS[claim["domain"]]
    why = f"{model}'s {claim['value']} is above {top:.3f}, the top of {domain} in Table III: its best domain cannot be {domain} either"
    return _finding(mine > top, f"{mine:.3f} against {top:.3f}", why)


def not_the_most_common(claim: pd.Series, ev: Evidence) -> Finding:
    """If the eight categories are the types, the three unnamed ones cannot all be rarer than the fifth "most common". Odd, not impossible."""
    shares = ev.claims[ev.claims["metric"].str.startswith("share.rows_type.")].drop_duplicates("metric")["value"].astype(float)
    left = int(ev.printed("categories")) - len(shares)
    rest = round(100 - shares.sum(), 1)
    why = (
        f"{' + '.join(f'{s:g}' for s in shares)} = {shares.sum():.1f} %: the other {left} of the {ev.printed('categories'):.0f} categories share {rest} %, "
        f"so one of them has at least {rest / left:.1f} %, more than {shares.min():g} %; unless types and categories are two things, which is not said"
    )  # fmt: skip
    return _doubtful(rest / left > shares.min(), f"{rest} % left for {left} types", why)


def unequal_types(claim: pd.Series, ev: Evidence) -> Finding:
    """Question types called balanced: the most frequent against the rarest, at most so many times (ours)."""
    shares = {t: ev.printed(f"share.questions_type.{t}") for t in ("open", "likert", "yesno", "agreement")}
    times = max(shares.values()) / min(shares.values())
    printed = " / ".join(f"{s:g}" for s in shares.values())
    why = f'Paper: "balance" is not quantified; we allow twice as many. III-D: {printed} % are open, Likert, yes/no, agreement'
    return _finding(times > float(claim["value"]), f"{times:.1f} times as many", why)


RULES = by_name(
    static, impossible_share, blocks_of_8, types_in_domains, missing_modules, no_such_size, shared_best, omitted_from_figure, exception_in_table,
    not_its_best_domain, in_another_domain, domains_left_out, last_yet_top, balanced_in_table, last_everywhere, not_close, higher_elsewhere,
    not_the_most_common, unequal_types,
)  # fmt: skip
"""The name in the ledger's `test` column -> its rule."""
