"""The pilot's report: one HTML page with a section for the whole questionnaire and one for each item, and its tables as CSV that no spreadsheet runs.

Everything that comes from a file, a person or a model is text and is escaped; nothing is loaded from elsewhere.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ..files import csv_text, write_atomically
from ..report.rendering import rendered
from .against_people import MOST_FREQUENT, UNIFORM
from .analysis import Pilot
from .item_measures import ALPHA, POWER
from .wording import CHECKS, labelled_items

CANNOT = (
    "Every answer below that is not called real comes from a program.",
    "It cannot tell what any population thinks, how many would refuse, break off or misread in the field, or how long people need.",
    "It cannot show that an item is good. It can only show faults that a program trips over too; real people have others.",
    "A program has no fatigue, no interviewer and no memory of the last grid unless the questionnaire was asked as one conversation.",
    "Simulated people often differ less than real ones, so reliabilities, group sizes and effects here are no estimates for the field.",
    "Ask people: cognitive interviews for the wording, a pilot sample for the numbers.",
)
WORDS = (
    ("Position, mean", "Options from the lowest (0) to the highest (1); items without an order have none."),
    ("Uniform answers", "A baseline without a model: every option is equally probable."),
    ("Permuted cards", "The same answers assigned to other people's cards. The distribution stays; what depends on the person disappears. This is the "
     "baseline of “explained by the card”."),
    ("Floor, ceiling", "Most answers are the lowest or the highest option: 80 % of them, of two options 95 %."),
    ("Gain when first", "How much more of the answers an end option gets when it is listed first and not last."),
    ("Between people", "The share of an item's variance that lies between people's probabilities, and not within them."),
    ("Item-rest correlation", "An item against the sum of the other items of its scale, reversed items turned round. Clearly below 0: probably keyed wrong."),
    ("Design effect", "By how much weights and units (states, households) widen the variance of a simple random sample (Kish 1965)."),
    ("Prediction-powered", "Real answers corrected by a simulation that answered for the same people and for others (Angelopoulos et al. 2023). The interval "
     "stays valid if the simulation is useless; then nothing is gained."),
    ("Effective sample size", "How many real people alone would give an interval of this width."),
    ("Reading ease", "Flesch's formula: 100 is easy, 0 is hard. Syllables are estimated by groups of vowels; English only."),
)  # fmt: skip

NOT_ENGLISH = "The questions are not in English, so of their wording only the length was checked."
TABLES = frozenset(
    "acquiescence alignment alignment_by_item counts findings gaps grids groups items people_needed powered_differences powered_means respondents "
    "scale_items scales sensitivity shares wording wording_error_rates wordings".split()
)


def write_pilot(pilot: Pilot, folder: Path, *, title: str, source: str = "", notes: Sequence[str] = ()) -> Path:
    """Write `pilot.html` and `tables/*.csv` into `folder`; returns the page's path.

    Args: source: who was asked, in words. notes: what was read of the questionnaire and the real people, and what was not.
    """
    made = pilot.tables | {"findings": pilot.findings}
    for name in TABLES - made.keys():  # of an earlier pilot in this folder: beside the new page it would be taken for this one's
        (folder / "tables" / f"{name}.csv").unlink(missing_ok=True)
    for name, table in made.items():
        write_atomically(folder / "tables" / f"{name}.csv", csv_of(table))
    foreign = [NOT_ENGLISH] if pilot.tables["wording"]["reading_ease"].isna().all() else []
    values = page_values(pilot.labelled(), title=title, source=source) | {"notes": [*notes, *foreign]}
    write_atomically(folder / "pilot.html", rendered("pilot.html.j2", values, folder=Path(__file__).parent))
    return folder / "pilot.html"


def csv_of(table: pd.DataFrame) -> str:
    """A table as CSV: numbers to six decimals, texts so that no spreadsheet takes them for a formula."""
    safe = table.copy()
    for name in safe:
        if not pd.api.types.is_numeric_dtype(safe[name]) and not pd.api.types.is_bool_dtype(safe[name]):
            safe[name] = [csv_text(v) if isinstance(v, str) else v for v in safe[name]]
    return safe.rename(columns={name: csv_text(str(name)) for name in safe}).to_csv(index=False, float_format="%.6g", lineterminator="\n")


def page_values(pilot: Pilot, *, title: str, source: str = "") -> dict:
    """Everything that the template shows, as plain lists and dicts."""
    tables, material = pilot.tables, pilot.material
    rates = tables["wording_error_rates"].set_index("check") if "wording_error_rates" in tables else None
    systems = list(dict.fromkeys(material.answers["system"]))
    said = f"{len(material.items)} items, {len(material.people)} simulated people, answered by {', '.join(systems)}"
    humans = "" if material.humans is None else f", beside {len(material.humans):,} real people"
    items = [_item(item, i, pilot, rates) for i, item in enumerate(material.items)]
    return {
        "title": title, "lead": f"{said}{humans}. {source}".strip(), "cannot": CANNOT, "worth": pilot.worth,
        "contents": [("worth", "What it was worth"), ("look", "What needs a second look"), ("whole", "As a whole"), ("items", "Item by item"),
                     ("rates", "Error rates"), ("words", "Words")],
        "items": items, "named": sum(bool(item["flags"]) for item in items),
        "findings": _flags(pilot.findings[pilot.findings["question_id"] == ""], rates), "whole": _whole(pilot), "words": WORDS,
        "held_out": len(labelled_items("test")), "powered_note": _powered_note(tables), "made": f"Made by polypersona_lib pilot from {title}. {CANNOT[0]}",
        "item_note": f"“People needed” is each of two groups' size for a difference of {material.difference:g} of the scale to be seen in {POWER:.0%} of "
                     f"studies (two-sided t test, {ALPHA:.0%}), times the design effect; “at most” if half choose one end and half the other.",
    }  # fmt: skip


def _powered_note(tables: Mapping[str, pd.DataFrame]) -> str:
    powered = tables.get("powered_means", pd.DataFrame())
    if powered.empty:
        return "No prediction-powered numbers: they need at least four people who were both asked and simulated, and four simulated people who were not asked."
    replay = " Everybody who was simulated was asked too, so a random half of them plays the people who were not asked." if powered["replay"].any() else ""
    left = int(powered["left_out"].sum())
    return (f"{left:,} answers of people on both sides are missing and left out." if left else "") + replay


# --- cells -----------------------------------------------------------------------------------------------------------------------------------------


def _number(value: float, form: str = ".2f", *, width: float | None = None, lo: float = math.nan, hi: float = math.nan, real: bool = False) -> dict:
    """A number's cell: text, interval, and a bar of `width` per cent. A zero has no sign: what is rounded to it may have either."""
    form = form.replace("+", "+z") if "+" in form else f"z{form}"
    known = value is not None and value == value and math.isfinite(value)
    interval = f"{lo:{form}} to {hi:{form}}" if known and math.isfinite(lo) and math.isfinite(hi) else ""
    return {"text": f"{value:{form}}" if known else "—", "number": True, "interval": interval, "width": None if width is None or not known else round(width, 1),
            "real": real}  # fmt: skip


def _text(value: object) -> dict:
    return {"text": str(value), "number": False, "interval": "", "width": None, "real": False}


def _table(columns: Sequence[str], rows: Sequence[Sequence[dict]], absent: str) -> dict:
    numbers = [all(row[i]["number"] for row in rows) if rows else False for i in range(len(columns))]
    return {"columns": [{"name": c, "number": n} for c, n in zip(columns, numbers, strict=True)], "rows": rows, "absent": absent}


def _from(table: pd.DataFrame | None, columns: Mapping[str, str], absent: str, *, intervals: Mapping[str, tuple] | None = None, form: str = ".2f") -> dict:
    """A table of the page from a frame: column -> heading; counts as whole numbers, others with their interval (`intervals`: column -> (lo, hi))."""
    rows, intervals = [], intervals or {}
    whole = {name for name in columns if table is not None and name in table and _counts(table[name])}
    for row in table.to_dict("records") if table is not None else ():
        cells = []
        for name in columns:
            value, (lo, hi) = row.get(name), intervals.get(name, ("", ""))
            if isinstance(value, str | bool) or value is None:
                cells.append(_text({True: "yes", False: "no"}.get(value, value if value is not None else "—")))
            else:
                cells.append(_number(float(value), ",.0f" if name in whole or abs(value) >= 100 else form, lo=row.get(lo, math.nan), hi=row.get(hi, math.nan)))
        rows.append(cells)
    return _table(list(columns.values()), rows, absent)


def _counts(values: pd.Series) -> bool:
    """Whether a column holds counts: whole numbers, and not zeros alone unless it cannot hold anything else. A share of 1 among other shares is none."""
    known = pd.to_numeric(values, errors="coerce").dropna()
    return bool(len(known)) and bool((known % 1 == 0).all()) and (known.abs().max() >= 1 or pd.api.types.is_integer_dtype(values))


# --- the whole -----------------------------------------------------------------------------------------------------------------------------------


def _whole(pilot: Pilot) -> dict:
    tables = pilot.tables
    counts = tables["counts"].groupby("system", sort=False).sum(numeric_only=True).reset_index()
    respondents, moved = tables.get("respondents"), tables.get("sensitivity")
    flagged = pilot.findings[pilot.findings["question_id"] != ""].groupby(["kind", "system"], sort=False)["question_id"].nunique().reset_index()
    ends = {"lo": ("lo", "hi")}
    return {
        "flagged": _from(flagged.assign(system=flagged["system"].replace("", "wording")), {"kind": "Detector", "system": "In", "question_id": "Items"},
                         "No detector names an item."),
        "counts": _from(counts, {"system": "System", "asked": "Asked", "answered": "Answered", "skipped": "Skipped", "failed": "Failed", "unread": "Unread",
                                 "refused": "Refused", "off_scale": "Outside the options"}, "No answers.", form=".1f"),
        "scales": _from(tables.get("scales"), {"construct": "Scale", "system": "System", "items": "Items", "reversed": "Reversed", "n": "People",
                                               "left_out": "Left out", "alpha": "Cronbach's alpha", "omega": "McDonald's omega"},
                        "Scales: none; name a construct for three items or more.", intervals={"alpha": ("alpha_lo", "alpha_hi")}),
        "scale_items": _from(tables.get("scale_items"), {"question_id": "Item", "construct": "Scale", "system": "System", "key": "Key",
                                                         "item_rest": "Item-rest correlation", "alpha_without": "Alpha without it",
                                                         "keyed_wrong": "Keyed wrong?"},
                             "No scale.", intervals={"item_rest": ends["lo"]}),
        "acquiescence": _from(tables.get("acquiescence"), {"question_id": "Statement", "negation": "Negation", "system": "System",
                                                           "acquiescence": "Above the middle", "negation_r": "Mirror correlation", "n": "People"},
                              "Yes-saying: no item has a negated wording (columns variant and negated).", intervals={"acquiescence": ends["lo"]}),
        "grids": _from(tables.get("grids"), {"battery": "Grid", "system": "System", "items": "Items", "n": "People", "straight": "Straight lines",
                                             "by_chance": "By chance", "differ": "Two items differ", "differ_by_chance": "By chance "},
                       "Straight lines: no grid of four items with the same options (column battery)."),
        "respondents": _from(None if respondents is None else respondents[respondents["straight_liner"].eq(True)].head(50),
                             {"persona_id": "Respondent", "system": "System", "items": "Items", "straight": "Straight", "by_chance": "By chance"},
                             "No respondent is named as a straight-liner.", form=".3f"),
        "wordings": _from(tables.get("wordings"), {"question_id": "Wording", "beside": "Beside", "system": "System", "shift": "Shift of the mean",
                                                   "moved": "Distributions differ by", "n": "People"},
                          "Wordings: no item has another one (column variant, or paraphrases).", intervals={"shift": ("shift_lo", "shift_hi")}),
        "sensitivity": _from(None if moved is None else moved[moved["question_id"] == "all items"],
                             {"attribute": "Attribute", "system": "System", "moved": "Moved", "n": "Pairs"},
                             "Attributes: nobody was asked with one of them changed.", intervals={"moved": ends["lo"]}, form=".3f"),
        "rates": _from(tables.get("wording_error_rates"), {"check": "Check", "labelled": "Labelled", "flagged": "Flagged", "hits": "Both",
                                                           "precision": "Precision", "recall": "Recall", "false_alarm_rate": "False alarms"}, "None."),
        **_people(tables),
    }  # fmt: skip


def _people(tables: Mapping[str, pd.DataFrame]) -> dict:
    """The tables beside real people."""
    ends, powered = (
        {"alignment": ("lo", "hi"), "over": ("over_lo", "over_hi"), "error": ("lo", "hi"), "mean": ("lo", "hi"), "alone": ("alone_lo", "alone_hi")},
        "No prediction-powered numbers.",
    )
    means = {"question_id": "Item", "system": "System", "alone": "Real people alone", "mean": "With the simulation", "simulated": "Simulation alone",
             "n": "Real people", "effective_n": "Effective sample size"}  # fmt: skip
    return {
        "alignment": _from(tables.get("alignment"), {"system": "Answers", "alignment": "Alignment", "over": "Less the best baseline", "n": "People behind them",
                                                         "items": "Items"}, "None.",
                           intervals=ends, form=".3f"),
        "groups": _from(tables.get("groups"), {"variable": "Attribute", "group": "Group", "system": "System", "error": "Distance",
                                               "ignoring": "If everybody stood for the group", "n_simulated": "Simulated", "n_people": "Real", "note": "Note"},
                        "No attribute makes groups on both sides.", intervals=ends),
        "powered": _from(tables.get("powered_means"), means, powered, intervals=ends),
        "differences": _from(tables.get("powered_differences"), {"question_id": "Item", "variable": "Attribute", "group": "Group"} | means, powered,
                             intervals=ends),
    }  # fmt: skip


# --- an item -------------------------------------------------------------------------------------------------------------------------------------


def _flags(rows: pd.DataFrame, rates: pd.DataFrame | None) -> list[dict]:
    """Findings with the error rate of a wording check."""
    made = []
    for row in rows.itertuples():
        check = row.kind.replace("-", "_")
        known = rates is not None and check in CHECKS
        rate = f"{rates.loc[check, 'precision']:.0%} of such flags were right on labelled items" if known else ""
        made.append({"kind": row.kind, "system": row.system, "text": row.text, "rate": rate})
    return made


def _item(item, number: int, pilot: Pilot, rates: pd.DataFrame | None) -> dict:
    tables = pilot.tables
    wording = tables["wording"].iloc[number]
    moved = tables.get("sensitivity")
    own = None if moved is None else moved[moved["question_id"] == item.id].sort_values("moved", ascending=False, kind="stable")
    return {
        "id": item.id, "anchor": f"item-{number + 1}", "text": item.text, "short": item.text if len(item.text) < 90 else f"{item.text[:87]}…",
        "kind": getattr(item, "kind", item.type).replace("_", " "), "construct": item.construct, "key": item.key, "battery": getattr(item, "battery", ""),
        "words": int(wording["words"]), "ease": "not measured" if math.isnan(wording["reading_ease"]) else f"{wording['reading_ease']:.0f}",
        "flags": _flags(pilot.findings[pilot.findings["question_id"] == item.id], rates),
        "shares": _shares(item.id, tables), "numbers": _numbers(item.id, tables),
        "attributes": _from(own, {"attribute": "Attribute", "system": "System", "moved": "Moved", "shift": "Shift of the mean", "n": "Pairs"},
                            "Attributes: nobody was asked with one of them changed.", intervals={"moved": ("lo", "hi")}, form=".3f"),
    }  # fmt: skip


def _shares(question: str, tables: Mapping[str, pd.DataFrame]) -> dict:
    """Options by systems, the real people and the uniform baseline beside them."""
    rows = tables["shares"][tables["shares"]["question_id"] == question] if "shares" in tables else pd.DataFrame()
    if rows.empty:
        return _table([], [], "No options.")
    systems, made = list(dict.fromkeys(rows["system"])), []
    for _, own in rows.groupby("place", sort=True):
        values, first = own.set_index("system"), own.iloc[0]
        cells = [_number(values.loc[s, "share"], ".0%", width=100 * values.loc[s, "share"], real=s == "real people") for s in systems]
        made.append([_text(first["option"]), *cells, _number(first["uniform"], ".0%")])
    return _table(["Option", *systems, UNIFORM], made, "")


_NUMBERS = {  # column of `items` -> what its row is called, its form and its interval
    "n": ("People with an answer", ",.0f", None), "mean": ("Mean (0 to 1)", ".2f", ("mean_lo", "mean_hi")), "sd": ("Standard deviation", ".2f", None),
    "entropy": ("Evenness of the options (1: uniform)", ".2f", None), "first_gain": ("Gain when first", "+.2f", ("first_gain_lo", "first_gain_hi")),
    "between": ("Between people", ".0%", None), "from_card": ("Explained by the card", ".0%", None),
    "from_permuted_cards": ("Explained by permuted cards", ".0%", None), "unread": ("Failed or unread", ",.0f", None), "refused": ("Refused", ",.1f", None),
    "off_scale": ("Outside the options", ",.1f", None), "people": ("People needed in each group", ",.0f", None), "people_at_most": ("at most", ",.0f", None),
    "gap": ("Simulated less real mean", "+.2f", ("lo", "hi")), "alignment": ("Alignment with real people", ".3f", None),
    "uniform": ("of uniform answers", ".3f", None), "most_frequent": ("of the most frequent answer", ".3f", None),
    "gain": ("Effective over real sample size", ".2f", None),
}  # fmt: skip

_APART = {"people_needed": ("sd",), "powered_means": ("lo", "hi", "mean", "n", "simulated")}  # columns that mean something else in an earlier table


def _numbers(question: str, tables: Mapping[str, pd.DataFrame]) -> dict:
    """Rows `_NUMBERS`, a column a system; rows that no system has are left out."""
    if "items" not in tables or not (tables["items"]["question_id"] == question).any():
        return _table([], [], "No numbers.")
    own = _of_item(question, tables)
    made = []
    for name, (label, form, ends) in _NUMBERS.items():
        values = [row.get(name, math.nan) for row in own.values()]
        if any(v == v for v in values):
            lo, hi = ends or ("", "")
            cells = [_number(row.get(name, math.nan), form, lo=row.get(lo, math.nan), hi=row.get(hi, math.nan)) for row in own.values()]
            made.append([_text(label), *cells])
    return _table(["Number", *own], made, "No numbers.")


def _of_item(question: str, tables: Mapping[str, pd.DataFrame]) -> dict[str, dict]:
    """System -> everything that is known of its answers to one item. No table may overwrite what another one says."""
    own: dict[str, dict] = {}
    for name in ("items", "counts", "people_needed", "gaps", "powered_means"):
        table = tables.get(name)
        for row in table[table["question_id"] == question].to_dict("records") if table is not None else ():
            said, known = {k: v for k, v in row.items() if k not in _APART.get(name, ())}, own.setdefault(row["system"], {})
            if twice := sorted(known.keys() & said.keys() - {"system", "question_id"}):
                raise ValueError(f"two tables of the pilot say {', '.join(twice)} of one item: rename a column of {name}")
            known.update(said)
    for row in own.values():
        row["unread"] = row.get("unread", 0) + row.get("failed", 0)
    aligned = tables.get("alignment_by_item")
    for row in aligned[aligned["question_id"] == question].itertuples() if aligned is not None else ():
        key = {UNIFORM: "uniform", MOST_FREQUENT: "most_frequent", row.compared: "alignment"}.get(row.system)
        if key and row.compared in own:
            own[row.compared][key] = row.alignment
    return own
