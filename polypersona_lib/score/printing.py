"""What `score` prints: first what is wrong, then the scores, then what they could not tell; no line wider than 80 columns, file names apart."""

import itertools
import textwrap

import pandas as pd

from ..errors import printable, quoted
from ..scoring import diagnosis, metric_table

WIDTH, MOST_GROUPS, MOST_NOTES = 80, 15, 12
FEW_PEOPLE = 10  # fewer, and even the widened intervals cover too seldom (tests/test_stats.py)
GROUP_COLUMNS = {  # metric -> heading in the tables by group
    "bleu": "BLEU", "rouge1": "ROUGE-1", "bertscore_f1": "BERTSc.", "quality": "quality", "stance_acc": "stance", "swap_gap_rouge1_content": "swap gap",
}  # fmt: skip


def _print(text: str) -> None:
    print(printable(text))


def _say(text: str, *, first: str = "  ", rest: str = "    ") -> None:
    _print(textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False))


def _name(name: str) -> str:
    """A file's name as one may print it."""
    return quoted(name, 200)[1:-1]


def _number(value: float) -> str:
    """Four decimals; zero without a sign."""
    return f"{value:.4f}".replace("-0.0000", "0.0000")


def _interval(low: float, high: float) -> str:
    """An interval as text; a dash where there is none, or where it has no width because all rows are alike."""
    return f"[{low:.4f}, {high:.4f}]" if high - low > 1e-12 else "–"


def print_file(name: str, frame: pd.DataFrame, lines: pd.DataFrame, notes: dict, missing: dict[str, str], findings: list, unused: list[str]) -> None:
    """One file: findings, scores with intervals, scores by group, and what was not computed. Arguments: see `command.run`."""
    failed = int((frame["status"] == "failed").sum())
    people = "" if notes["people"] is None else f", {notes['people']} people"
    _print(f"\n{_name(name)}: {len(frame)} rows{people}" + (f", {failed} failed (counted, not scored)" if failed else ""))
    _print_reading(frame.attrs.get("notes", {}), len(frame))
    _print_findings(findings, diagnosis.not_checked(frame), len(frame))
    whole = lines[lines["group"] == ""]
    _print(f"\n  {'metric':42} {'value':>7}  {'95 % interval':18} {'n':>6}")
    values = dict(zip(whole["metric"], whole["value"], strict=True))
    for line in whole.itertuples():
        if line.metric.endswith("_ascii") and line.value == values[line.metric.removesuffix("_ascii")]:
            continue  # the signature says that both are the same
        _print(f"  {metric_table.METRICS[line.metric].label:42} {_number(line.value):>7}  {_interval(line.lo, line.hi):18} {line.n:6}")
    _print_footnotes(whole, notes)
    for by, part in lines[lines["group"] != ""].groupby(lines["group"].str.partition(": ")[0], sort=False):
        _print_groups(by, part)
    if missing:
        _print("\n  not computed:")
    for reason, ids in itertools.groupby(sorted(missing, key=lambda m: missing[m]), key=lambda m: missing[m]):
        _say(f"{', '.join(ids)}: needs {reason}", first="    ", rest="      ")
    if unused:
        _say(f"columns not used: {', '.join(unused)}")
    for metric, text in notes["signatures"].items():
        _print(f"  {metric_table.METRICS[metric].label}:")
        _say(text, first="    ")


def _print_reading(notes: dict[str, int], rows: int) -> None:
    """What the reader of the file mapped or left out."""
    for text, count in list(notes.items())[:MOST_NOTES]:
        _say(f"read: {text}" + (f" ({'every row' if count == rows else f'{count} x'})" if count > 1 else ""))
    if len(notes) > MOST_NOTES:
        _say(f"read: {len(notes) - MOST_NOTES} more notes: --json")


def _print_findings(findings: list, unchecked: list[str], rows: int) -> None:
    _print("  findings:" if findings else "  findings: none of the faults that were looked for")
    for finding in findings:
        _say(f"{finding.severity}: {finding.text} (n {finding.n})", first="    ", rest="      ")
    for text in unchecked:
        _say(f"not checked: {text}", first="    ", rest="      ")
    if rows < diagnosis.ENOUGH_ROWS:
        _say(f"{rows} rows are few: a fault in single answers, or a small difference, would not be seen", first="    ", rest="      ")


def _print_footnotes(lines: pd.DataFrame, notes: dict) -> None:
    """How to read the intervals and the distributions, and what is left out."""
    people = notes["people"]
    if lines["lo"].isna().any() or (lines["hi"] - lines["lo"]).le(1e-12).any():
        _say("–: no interval: all rows alike, or too few of them")
    if people is not None and len(lines):
        few = f"; {people} are so few that intervals are too narrow" if people < FEW_PEOPLE else ""
        _say(f"intervals: people resampled{few} (diversity and corpus BLEU: rows)")
    if "items" in notes:
        asked = f"{notes['items']} closed question{'' if notes['items'] == 1 else 's'}"
        flat = f"an answerer who takes every option equally often has an alignment of {notes['uniform']:.4f} there"
        _say(f"alignment, spread and entropy: means over {asked}; {flat}")
    if notes["published"]:
        _say(f"topic and option of reasons: also compared with {notes['published']} published answers to the same questions")
    if "swap_gap_rouge1_content" in set(lines["metric"]) and not notes["phrases"]:
        _say("swap gap on content: no list of turns of phrase comes with these questions, so it is without the cards' words alone")
    for text in notes["left_out"]:
        _say(text)


def _print_groups(by: str, lines: pd.DataFrame) -> None:
    table = lines.pivot(index="group", columns="metric", values="value")
    count = lines.groupby("group")[["n", "n_failed"]].max()
    shown = [m for m in GROUP_COLUMNS if m in table]
    _print(f"\n  {'by ' + by:20} {'n':>6} " + " ".join(f"{GROUP_COLUMNS[m]:>8}" for m in shown))
    for group, row in table.head(MOST_GROUPS).iterrows():
        text = quoted(group.partition(": ")[2], 20)[1:-1]
        _print(f"  {text:20} {count.loc[group, 'n']:6} " + " ".join(f"{row[m]:8.3f}" if row[m] == row[m] else f"{'–':>8}" for m in shown))
    if len(table) > MOST_GROUPS:
        _say(f"... and {len(table) - MOST_GROUPS} more: --json or --csv")


def print_comparison(table: pd.DataFrame, notes: list[str], *, only: tuple[str, ...] | None = None) -> None:
    """Every two files, paired; `only`: the metrics printed (default: all)."""
    for (a, b), part in table.groupby(["a", "b"], sort=False) if len(table) else []:
        _print(f"\n{_name(a)} minus {_name(b)} (same ids)")
        _print(f"  {'metric':38} {'diff':>7}  {'95 % interval':18} {'d':>5} {'p':>5}")
        for line in part[part["metric"].isin(only)].itertuples() if only else part.itertuples():
            d = f"{line.d:.2f}" if abs(line.d) < 10 else "–"  # no number where all differences are alike
            if abs(line.d) >= 10:
                d = ">10" if line.d > 0 else "<-10"
            p = f"{line.p_holm:.3f}" if line.p_holm >= 0.001 else "<.001"
            label = metric_table.METRICS[line.metric].label
            _print(f"  {label:38} {line.difference:7.4f}  {_interval(line.lo, line.hi):18} {d:>5} {p:>5}")
        _print(f"  n: {part['n'].max()} rows" + ("" if part["n"].nunique() == 1 else f" (some metrics fewer, down to {part['n'].min()})"))
    if len(table):
        _say(
            f"p: paired permutation test, Holm-corrected over all {len(table)} lines; d: the mean difference in standard deviations of the differences."
            " A line counts as a difference if p is below .05; its size is the interval's matter." + (" More metrics: --json or --csv." if only else ""),
            first="\n  ", rest="  ",
        )  # fmt: skip
    for note in notes:
        _say(f"note: {note}")
