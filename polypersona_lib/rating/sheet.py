"""People rate answers without knowing who gave them: the scales, what is rated, by whom, and in which order.

`session` keeps the ratings, `panel` asks for them, `results` joins the key and analyses.
"""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..files import sha256
from ..systems import untuned_and_tuned

RATING_SCALES = {
    "realism": (
        "Could a person have written this answer?",
        ("certainly not", "probably not", "cannot tell", "probably", "certainly"),
        "Sense, grammar and whether it answers this question. Not whether you agree with it, and not whether it fits the card.",
    ),
    "consistency": (
        "Does the answer fit the person on this card?",
        ("contradicts the card", "fits badly", "says nothing about it", "fits", "fits this person closely"),
        "Facts, circumstances, values and manner. An answer that anybody could have given is a 3, however well it is written.",
    ),
}
"""Scale -> (question, the five anchors from 1 to 5, what to look at)."""
POINTS = (1, 2, 3, 4, 5)
AGAIN, REPEATED = "-again", 10
"""What is added to an item's name when it is shown a second time, and which share of the core is: one answer in ten."""
SHOWN = ("persona", "question", "options", "answer")
_RATER = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


def rater_id(text: str) -> str:
    """`text` if it can name a rater and a file: 1-32 of a-z, 0-9 and inner hyphens. Raises ValueError with one line."""
    if not isinstance(text, str) or not _RATER.fullmatch(text):
        raise ValueError(f"rater {str(text)[:40]!r}: use a pseudonym of 1 to 32 lower-case letters, digits and hyphens, for example rater-1")
    return text


def default_systems(model_keys: Sequence[str], present: Sequence[str]) -> list[str]:
    """The systems to rate, as far as they answered: the reference, two baselines, and each model untuned and tuned."""
    wanted = ["uniform", "persona_blind", *untuned_and_tuned(model_keys)]
    return ["reference", *(name for name in wanted if name in set(present))]


def load_items(preds: pd.DataFrame, systems: Sequence[str]) -> pd.DataFrame:
    """The answers that can be rated, with the key. Not for raters' eyes.

    An item is one text given to one test record: two systems that gave the same text share it, so that it is rated once. Failed generations are left out, and
    so is every record that fewer systems answered than others: usually that not all answered.

    Args:
        preds: from `answer_files.load_predictions`. systems: names in its `system` column, and "reference".
    Returns: one row a system and record: item, row (the record's id), system, persona_id, persona, question_id, question, question_type, domain,
        options, answer.
    Raises: ValueError for a system without predictions.
    """
    if unknown := sorted(set(systems) - set(preds["system"]) - {"reference"}):
        raise ValueError(f"no predictions of {', '.join(unknown)}; choose from reference, {', '.join(sorted(set(preds['system'])))}")
    reference = preds.drop_duplicates("id").assign(system="reference", prediction=lambda t: t["reference"], status="ok")
    items = pd.concat([reference, preds], ignore_index=True).rename(columns={"id": "row", "prediction": "answer"})
    items = items[items["system"].isin(systems) & (items["status"] == "ok")]
    answered = items.groupby("row")["system"].transform("nunique")
    items = items[answered == answered.max()]
    items = items.assign(item=[item_id(*pair) for pair in zip(items["row"], items["answer"], strict=True)])
    columns = ["item", "row", "system", "persona_id", "persona", "question_id", "question", "question_type", "domain", "options", "answer"]
    return items.sort_values(["row", "system"])[columns].reset_index(drop=True)


def item_id(row: str, answer: str) -> str:
    """A name that tells nothing: 12 hex digits of the sha256 of record and text. A rating thus belongs to a text, whoever gave it."""
    return sha256(f"{row}\n{answer.strip()}")[:12]


def _draw(rows: pd.DataFrame, size: int, rng: np.random.Generator) -> list[str]:
    """`size` records (or all), as evenly over question types as they allow: random within a type, types taken in turn."""
    rows = rows.iloc[rng.permutation(len(rows))]
    turn = rows.groupby("question_type", sort=False).cumcount()
    return rows.assign(turn=turn).sort_values("turn", kind="stable")["row"].head(size).tolist()


def draw_rows(items: pd.DataFrame, rater: str, *, size: int, seed: int) -> tuple[list[str], list[str]]:
    """The test records a rater judges: (the core that everybody judges, the rater's own part), half of `size` each.

    Every record comes with the answers of all systems. The core is the same for all raters, so that agreement can be computed; the rest is drawn by the rater's
    name, so that several raters cover more records. Both are spread evenly over question types.

    Raises: ValueError for a rater's name that is none, or a size below 2.
    """
    if size < 2:
        raise ValueError(f"size must be 2 or more test records a rater, not {size}")
    rows = items.drop_duplicates("row")[["row", "question_type"]].sort_values("row")
    core = _draw(rows, size // 2, np.random.default_rng([seed, 0]))
    name = int(sha256(rater_id(rater))[:12], 16)
    return core, _draw(rows[~rows["row"].isin(core)], size - size // 2, np.random.default_rng([seed, 1, name]))


def _in_rounds(part: pd.DataFrame, rng: np.random.Generator, last: str | None = None) -> list[str]:
    """The items of `part` in random order, in rounds of one item a record: the same card never comes twice running while others are left.

    Somebody who stops early has then judged every record about equally often. `last`: the record shown before.
    """
    left = {row: list(rng.permutation(sorted(set(group["item"])))) for row, group in part.groupby("row")}
    order = []
    while left:
        turn = list(rng.permutation(sorted(left)))
        if turn[0] == last:
            turn = turn[1:] + turn[:1]
        order += [str(left[row].pop()) for row in turn]
        last, left = turn[-1], {row: items for row, items in left.items() if items}
    return order


def rating_sheet(items: pd.DataFrame, rater: str, *, size: int, seed: int) -> pd.DataFrame:
    """What one rater sees, in order, the core first: item, persona, question, options, answer, core. Nothing in it names a system.

    One answer in ten of the core comes a second time at the core's end, under the item's name with `AGAIN` at its end: do raters
    agree with themselves? The same items, rater, size and seed give the same sheet, so that a rater can stop and go on. See `draw_rows`.
    Raises ValueError without items.
    """
    if items.empty:
        raise ValueError("there is nothing to rate: no record has an answer of every system")
    rng = np.random.default_rng([seed, 2, *rater_id(rater).encode()])
    core, own = (_in_rounds(items[items["row"].isin(rows)], rng) for rows in draw_rows(items, rater, size=size, seed=seed))
    row_of = items.drop_duplicates("item").set_index("item")["row"]
    early = row_of[rng.permutation(core[: len(core) // 2])]  # so that half of the core lies between
    turns = early.groupby(early).cumcount().sort_values(kind="stable")  # of every record one, before a second of any
    chosen = turns.index[: -(-len(core) // REPEATED)]
    again = _in_rounds(items[items["item"].isin(chosen)], rng, row_of[core[-1]])
    sheet = items.drop_duplicates("item").set_index("item").loc[[*core, *again, *own], list(SHOWN)].reset_index()
    names = [*core, *(item + AGAIN for item in again), *own]
    return sheet.assign(item=names, core=[True] * (len(core) + len(again)) + [False] * len(own))
