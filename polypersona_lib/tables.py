"""The paper's three tables with ours beside them, and one writer for CSV, Markdown and LaTeX.

A cell is text, a number, an `Estimate` (score with its 95 % interval) or `Missing` (a dash whose reason becomes a footnote).
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Number
from pathlib import Path

import pandas as pd

from . import paths
from .cells import DASH, NO_VALUE, Estimate, Missing, csv_text, estimate, is_missing, md_text, tex_text
from .claim_facts import domain_scores
from .claims import load_claims
from .config import Profile
from .controls import BOUNDS, FLOORS
from .question_bank import DOMAINS
from .records import write_atomically
from .registry import MODELS

TABLE1 = paths.DATA / "table1_features.csv"
COLUMNS = {  # column of the paper's Table II -> metric id
    "BLEU": "bleu", "R1": "rouge1", "R2": "rouge2", "RL": "rougeL", "BERT-F1": "bertscore_f1", "Qual.": "quality", "Len.": "length_sim",
    "Sent.": "sentence_sim", "SentSim": "sentiment_sim",
}  # fmt: skip
TABLE3 = {"BLEU": "bleu", "ROUGE-1": "rouge1", "Survey Quality": "quality"}
OWN_WORLD = "needs our own question bank and respondents, whose truth is known"


# --- the tables ----------------------------------------------------------------------------------------------------------------


def table1(path: Path = TABLE1) -> pd.DataFrame:
    """Table I: the paper's feature marks of four frameworks, where each comes from, and what we could verify of it.

    Returns: one row a framework: Framework, the five features, Source, What we could verify.
    """
    cells = pd.read_csv(path, dtype=str, keep_default_na=False)
    features, rows = list(dict.fromkeys(cells["feature"])), []
    for framework, part in cells.groupby("framework", sort=False):
        remarks = {r: [f for f, v in zip(part["feature"], part["verified"], strict=True) if v == r] for r in dict.fromkeys(part["verified"])}
        verified = next(iter(remarks)) if len(remarks) == 1 else "; ".join(f"{', '.join(fs)}: {r}" for r, fs in remarks.items())
        row = {"Framework": f"{framework} {part['reference'].iloc[0]}", **dict(zip(part["feature"], part["cell"], strict=True))}
        rows.append(row | {"Source": "; ".join(dict.fromkeys(part["source"])), "What we could verify": verified})
    return pd.DataFrame(rows, columns=["Framework", *features, "Source", "What we could verify"])


def _paper(claims: pd.DataFrame, place: str, model: str, metric: str, domain: str = DASH) -> float | Missing:
    """The paper's printed score, or a dash."""
    found = claims[(claims["place"] == place) & (claims["test"] == "score") & (claims["subject"] == model)]
    found = found[(found["metric"] == metric) & (found["domain"] == domain)]
    return Estimate(float(found["value"].iloc[0])) if len(found) else Missing(f"not in the paper's {place}")


def _score(scores: pd.DataFrame, system: str, metric: str, reason: str) -> Estimate | Missing:
    found = scores[(scores["system"] == system) & (scores["metric"] == metric)]
    if not len(found):
        return Missing(reason)
    row = found.iloc[0]
    return estimate(row["value"], row.get("lo", float("nan")), row.get("hi", float("nan")), reason="no value: every answer failed or none could be scored")


def control_name(system: str) -> str:
    """A control's name without its explanation (which is in `controls.FLOORS` and `BOUNDS`)."""
    return {**FLOORS, **BOUNDS}[system].partition(" (")[0]


def why_missing(system: str, scores: pd.DataFrame, profile: Profile, lacking: dict[str, str]) -> str:
    """Why a system's row has no scores in this run; `lacking`: the models that could not be had or held, with the reason."""
    key = system.removesuffix("--base")
    if system in set(scores["system"]):
        return "this metric was not computed for the row"
    if key in lacking:
        return lacking[key]
    if system in BOUNDS and not {*BOUNDS} & {*scores["system"]}:
        return OWN_WORLD
    return f"not part of this run (./run_all.sh {profile.name} runs it)"


def table2(scores: pd.DataFrame, profile: Profile, lacking: dict[str, str] | None = None) -> pd.DataFrame:
    """Table II: the paper's seven models, its row and ours one under the other, then the untuned bases and the controls.

    Args:
        scores: `scores/systems.csv` (system, metric, value, lo, hi, n). profile: the settings run. lacking: see `why_missing`.
    Returns: columns Model, Row ("paper", "ours", "control"), the nine columns of the paper, n.
    """
    scores = scores if len(scores) else pd.DataFrame(columns=["system", "metric", "value", "lo", "hi", "n"])
    claims, rows = load_claims(), []
    for key, model in MODELS.items():
        printed = {label: _paper(claims, "Table II", key, metric) for label, metric in COLUMNS.items()}
        rows.append({"Model": model.display, "Row": "paper", **printed, "n": Missing("the paper's test split has about 357 rows; its size is not printed")})
        rows.append(_our_row(model.display, "ours", key, scores, profile, lacking or {}))
    for key in (k for k in MODELS if f"{k}--base" in set(scores["system"])):
        rows.append(_our_row(f"{MODELS[key].display}, untuned", "control", f"{key}--base", scores, profile))
    for system in (*FLOORS, *BOUNDS):
        rows.append(_our_row(control_name(system), "control", system, scores, profile))
    return pd.DataFrame(rows)


def _our_row(label: str, kind: str, system: str, scores: pd.DataFrame, profile: Profile, lacking: dict[str, str] | None = None) -> dict:
    reason = why_missing(system, scores, profile, lacking or {})
    cells = {column: _score(scores, system, metric, reason) for column, metric in COLUMNS.items()}
    mine = scores[(scores["system"] == system) & (scores["metric"].isin(COLUMNS.values()))]
    return {"Model": label, "Row": kind, **cells, "n": int(mine["n"].max()) if len(mine) and mine["n"].notna().any() else Missing(reason)}


def table3(rows: pd.DataFrame, profile: Profile) -> pd.DataFrame:
    """Table III: the best tuned model of every domain by BLEU, the paper's beside ours; its eight domains marked.

    Args:
        rows: `scores/rows.parquet` (system, domain, status and the row metrics). profile: the settings run.
    Returns: columns Domain, In the paper, then for paper and ours: top model, BLEU, ROUGE-1, Survey Quality; and our score of the paper's top model.
    Source: paper, Table III ("top model" by an unnamed metric: we use BLEU).
    """
    claims = load_claims()
    rows = rows if len(rows) else pd.DataFrame(columns=["system", "domain"])
    scores = domain_scores(rows[rows["system"].isin(MODELS)], metrics=tuple(TABLE3.values()))
    tops = claims[(claims["place"] == "Table III") & (claims["test"] == "rank")].set_index("domain")["subject"]
    out = []
    for domain in dict.fromkeys([*DOMAINS, *sorted(set(scores["domain"]))]):
        here, theirs = scores[scores["domain"] == domain], tops.get(domain)
        row = {"Domain": DOMAINS[domain][0] if domain in DOMAINS else domain, "In the paper": "yes" if theirs else "no"}
        row["Top model, paper"] = MODELS[theirs].display if theirs else Missing("not in the paper's Table III")
        row |= {f"{label}, paper": _paper(claims, "Table III", theirs, metric, domain) for label, metric in TABLE3.items()}
        bleu = here[(here["metric"] == "bleu") & here["value"].notna()].sort_values(["value", "system"], ascending=[False, True])
        best = bleu["system"].iloc[0] if len(bleu) else None
        reason = "this run has no answers in this domain"
        row["Top model, ours"] = f"{MODELS[best].display} (of {len(bleu)})" if best else Missing(reason)
        row |= {f"{label}, ours": _score(here, best, metric, reason) for label, metric in TABLE3.items()}
        same = _score(here, theirs, "bleu", why_missing(theirs, here, profile, {})) if theirs else Missing("not in the paper's Table III")
        row["BLEU of the paper's top model, ours"] = same
        out.append(row)
    return pd.DataFrame(out)


# --- writing -------------------------------------------------------------------------------------------------------------------


def _text(cell) -> str:
    """A cell as a reader sees it: floats with three decimals, everything else as it is."""
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)


def _is_number(cell) -> bool:
    return isinstance(cell, Number | Estimate) and not isinstance(cell, bool)


def _footnotes(table: pd.DataFrame, given: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """All footnotes in order, and the mark (a, b, …) of each reason why a cell is a dash."""
    reasons = dict.fromkeys(cell.reason if isinstance(cell, Missing) else NO_VALUE for cell in table.to_numpy().ravel() if is_missing(cell))
    marks = {reason: chr(97 + i) if i < 26 else f"a{i - 25}" for i, reason in enumerate(reasons)}
    return [f"{mark}: {reason}" for reason, mark in marks.items()] + list(given), marks


def _mark(cell, marks: dict[str, str]) -> str:
    return marks[cell.reason if isinstance(cell, Missing) else NO_VALUE]


def _csv_cell(cell) -> str:
    if is_missing(cell):
        return DASH
    number = cell.value if isinstance(cell, Estimate) else cell
    return f"{number:.6g}" if isinstance(number, float) else str(number) if _is_number(number) else csv_text(str(number))


def _csv(table: pd.DataFrame) -> str:
    """Numbers unrounded to six decimals, an interval in two more columns, a dash and its reason for what is missing, text that cannot be a formula."""
    columns = {}
    for name in table:
        cells = list(table[name])
        columns[name] = [_csv_cell(c) for c in cells]
        if any(isinstance(c, Estimate) and c.lo == c.lo for c in cells):
            for end in ("lo", "hi"):
                columns[f"{name} ({end})"] = [_csv_cell(getattr(c, end, None)) for c in cells]
    reasons = [_row_reasons(row) for row in table.itertuples(index=False)]
    if any(reason != DASH for reason in reasons):
        columns["why a dash"] = [csv_text(reason) for reason in reasons]
    return pd.DataFrame({csv_text(str(name)): values for name, values in columns.items()}).to_csv(index=False, lineterminator="\n")


def _row_reasons(row: tuple) -> str:
    return "; ".join(dict.fromkeys(c.reason if isinstance(c, Missing) else NO_VALUE for c in row if is_missing(c))) or DASH


def _markdown(table: pd.DataFrame, caption: str, notes: list[str], marks: dict[str, str]) -> str:
    numeric = [all(_is_number(c) or is_missing(c) for c in table[name]) for name in table]
    lines = [f"**{md_text(caption)}**", "", "| " + " | ".join(md_text(str(name)) for name in table) + " |"]
    lines.append("|" + "|".join("---:" if n else ":---" for n in numeric) + "|")
    for row in table.itertuples(index=False):
        cells = (f"{DASH} <sup>{_mark(c, marks)}</sup>" if is_missing(c) else md_text(_text(c)) for c in row)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, *(["", *(f"- {md_text(note)}" for note in notes)] if notes else [])]) + "\n"


def _latex(table: pd.DataFrame, caption: str, notes: list[str], marks: dict[str, str], label: str) -> str:
    def cell(c) -> str:
        if is_missing(c):
            return rf"---\textsuperscript{{{_mark(c, marks)}}}"
        if isinstance(c, Estimate) and c.lo == c.lo:
            return rf"\shortstack{{{c.value:.3f}\\{{\scriptsize [{c.lo:.3f}, {c.hi:.3f}]}}}}"
        return tex_text(_text(c))

    shape = "".join("r" if all(_is_number(c) or is_missing(c) for c in table[name]) else "l" for name in table)
    lines = [
        "% \\usepackage{booktabs,graphicx,amssymb}", r"\begin{table*}[t]", r"\centering", rf"\caption{{{tex_text(caption)}}}", rf"\label{{tab:{label}}}",
        r"\resizebox{\textwidth}{!}{%", rf"\begin{{tabular}}{{{shape}}}", r"\toprule", " & ".join(tex_text(str(name)) for name in table) + r" \\", r"\midrule",
    ]  # fmt: skip
    before = None
    for row in table.itertuples(index=False):
        kind = row[1] == "control" if "Row" in table and table.columns[1] == "Row" else None
        if before is False and kind:
            lines.append(r"\midrule")
        before = kind
        lines.append(" & ".join(cell(c) for c in row) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}}"]
    lines += [rf"\par\smallskip{{\footnotesize {tex_text(note)}}}" for note in notes]
    return "\n".join([*lines, r"\end{table*}"]) + "\n"


def write_table(df: pd.DataFrame, stem: str, folder: Path, caption: str, note: str, *, footnotes: Sequence[str] = ()) -> tuple[Path, Path, Path]:
    """Write `<stem>.csv`, `.md` and `.tex` (booktabs) into `folder`; the same table gives the same bytes. Returns the three paths.

    Args:
        df: the table; its index is not written. caption: one sentence. footnotes: more lines under the table.
        note: what made it, as under figures (`figure_style.run_note(run)`: scale, split, seed); it ends the caption.
    Raises: ValueError without a note or for a table without rows.
    """
    if not note.strip():
        raise ValueError(f"{stem}: a table needs a note that names profile, split and seed: figure_style.run_note(run)")
    if df.empty:
        raise ValueError(f"{stem}: no rows to write")
    table = df.astype(object)
    caption, (notes, marks) = f"{caption.rstrip()} ({note})", _footnotes(table, footnotes)
    texts = {"csv": _csv(table), "md": _markdown(table, caption, notes, marks), "tex": _latex(table, caption, notes, marks, stem)}
    for ending, text in texts.items():
        write_atomically(Path(folder) / f"{stem}.{ending}", text)
    return tuple(Path(folder) / f"{stem}.{ending}" for ending in texts)
