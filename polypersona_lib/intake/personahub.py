"""PersonaHub texts become cards: a text is the description, names what it names, and the rest is drawn as for everybody.

The data set needs as many personas of each category as the paper reports, so a file with too few usable texts is refused with the counts.
Source: paper, section III-A (200,000 -> several thousand -> 433).
"""

import random
import re
from collections import Counter
from pathlib import Path

from ..errors import InputError, quoted, safe_line
from ..world.personas import draw_persona, impossible, pick, population, read_description
from .reading import kind_of
from .tables import read_rows

HUB = "proj-persona/PersonaHub"
COLUMNS_READ = ("persona", "input persona")
SHORTEST, LONGEST = 20, 200  # characters of a usable text


def read_cards(source: str | Path, seed: int) -> tuple[list[dict], dict]:
    """Cards of the paper's 433 personas on the texts of a file.

    Args:
        source: a file with a column `persona` or `input persona` (JSON lines, a JSON array, both also gzipped, Parquet, CSV, TSV), or the hub id `HUB`.
        seed: draws the attributes that a text leaves open, and which texts are kept.
    Returns: (cards, funnel) where funnel counts rows read, distinct texts, usable ones, why others are not (`left_out`), kept ones and those that name an
        attribute, and lists contradictions between a text and its card (which are kept, not hidden).
    Raises: InputError for a file that cannot be read, or with too few texts for 433 cards.
    """
    name = str(source)
    values = _hub_values() if name == HUB else _file_values(Path(source))
    texts = sorted({" ".join(v.split()) for v in values} - {""})
    faults = {text: _fault(text) for text in texts}
    usable, left_out = [t for t in texts if not faults[t]], Counter(f for f in faults.values() if f)
    if blank := sum(not v.strip() for v in values):
        left_out["rows without a text"] = blank
    rng = random.Random(f"personahub|{seed}")
    rng.shuffle(usable)
    cards, contradictions, named, left = _deal_cards(usable, rng)
    funnel = {"rows": len(values), "distinct": len(texts), "usable": len(usable), "left_out": dict(left_out), "kept": len(cards)}
    if left:
        raise InputError(f"{safe_line(name)}: {_too_few(funnel, left)}")
    funnel |= {"naming_an_attribute": named, "contradictions": contradictions}
    return [{"persona_id": f"p{i + 1:03d}"} | card for i, card in enumerate(cards)], funnel


def _deal_cards(usable: list[str], rng: random.Random) -> tuple[list[dict], list[str], int, dict[str, int]]:
    """(cards, contradictions, how many texts name an attribute, category -> personas still lacking)."""
    cards, contradictions, named, left = [], [], 0, dict(population()["category_personas"])
    for text in usable:
        attributes = read_description(text)
        category = attributes.get("category") or pick(rng, {k: v for k, v in left.items() if v} or {"none": 1})
        if left.get(category, 0) <= 0:
            continue
        card = draw_persona(rng, category) | {k: v for k, v in attributes.items() if k != "category"} | {"category": category, "description": text}
        named += bool(attributes)
        contradictions += [f"{p} — “{text}”" for p in impossible(card)]
        left[category] -= 1
        cards.append(card)
        if not any(left.values()):
            break
    return cards, contradictions, named, {k: v for k, v in left.items() if v}


def _fault(text: str) -> str:
    """Why a text cannot be a card's description, "" if it can."""
    if not SHORTEST <= len(text):
        return f"shorter than {SHORTEST} characters"
    if len(text) > LONGEST:
        return f"longer than {LONGEST} characters"
    marked = re.search(r"[<>\[\]|{}]", text)
    return f"with the character {marked[0]!r}" if marked else "" if text.isprintable() else "with control characters"


def _too_few(funnel: dict, left: dict[str, int]) -> str:
    """How many of the personas were found, and why there are no more."""
    total = sum(population()["category_personas"].values())
    why = "; ".join(f"{n} {what}" for what, n in funnel["left_out"].items())
    lacking = ", ".join(f"{n} {category}" for category, n in left.items())
    unused = funnel["usable"] - funnel["kept"]
    return (
        f"{funnel['kept']} of {total} personas; lacking: {lacking}. {funnel['rows']} rows, {funnel['distinct']} different texts, {funnel['usable']} usable"
        + (f" (not usable: {why})" if why else "")
        + (f"; {unused} of them name a kind of occupation of which there are enough" if unused else "")
        + ". Give more texts, of more kinds of people; nothing was written"
    )


def _file_values(path: Path) -> list[str]:
    """The texts of a file's persona column, one a row, "" where there is none. Raises InputError with file, line and field."""
    if not path.is_file():
        raise InputError(f"{safe_line(path)}: no such file (the hub's texts are called {HUB})")
    rows, problems = read_rows(path)
    if problems:
        raise InputError(problems=problems)
    if not rows:
        raise InputError(f"{safe_line(path)}: holds no rows")
    for line, row in rows:
        if not isinstance(row, dict):
            raise InputError(f"{safe_line(path)}: line {line}: must be an object with the field 'persona'")
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    column = next((c for c in COLUMNS_READ if c in names), None)
    if column is None:
        raise InputError(f"{safe_line(path)}: no column 'persona' or 'input persona' (columns there: {', '.join(quoted(n) for n in names[:12]) or 'none'})")
    for line, row in rows:
        if not isinstance(row.get(column), str | None):
            raise InputError(f"{safe_line(path)}: line {line}: {column}: must be text, not {kind_of(row[column])}")
    return [row.get(column) or "" for _, row in rows]


def _hub_values() -> list[str]:
    """The first 200,000 texts of PersonaHub, from the Hugging Face hub or its cache. Raises InputError if they cannot be read."""
    from datasets import load_dataset

    try:
        rows = load_dataset(HUB, "persona", split="train[:200000]")
    except Exception as error:  # the library raises what its network and file layers raise
        raise InputError(f"{HUB}: cannot be read from the hub ({type(error).__name__}: {quoted(error, 120)}); download it and name the file") from None
    return [str(text or "") for text in rows[next(c for c in COLUMNS_READ if c in rows.column_names)]]
