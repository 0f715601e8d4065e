"""What a file's answers are compared with to see whether they can be read: its own references, and the published answers to the same questions."""

import pandas as pd

from .. import paths
from ..world import dataset
from ..world.questions import label_set

_COLUMNS = ["id", "reference", "persona_id", "question_id", "options", "chosen"]


def _key(wording, options) -> tuple:
    """What makes two questions the same: their words, whatever the case and spacing, and what they offer."""
    return " ".join(str(wording).lower().split()), label_set(options) or None


def reading_pool(known: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """(the pool that `readability.measure` takes, number of published answers in it).

    A file has a handful of references to each question, too few to tell whose reason a reason is. Where a question and its options are those of the embedded
    data set, the published answers to it help.
    Args: known: the file with persona_id, question_id and, as far as they are known, question, options and target (the option that the reference takes).
    """
    own = known.assign(chosen=known["target"]) if "target" in known else known
    own = own[[c for c in _COLUMNS if c in own]]
    if "question" not in known:
        return own, 0
    options = known["options"] if "options" in known else [None] * len(known)
    asked = {_key(w, o): q for w, o, q in zip(known["question"], options, known["question_id"], strict=True) if isinstance(w, str)}
    published = pd.concat([dataset.read_split(paths.DATASET / "paper", part) for part in dataset.SPLITS], ignore_index=True)
    same = [asked.get(_key(w, o)) for w, o in zip(published["question"], published["options"], strict=True)]
    published = published.assign(question_id=same, chosen=[t["option"] if t["option"] >= 0 else None for t in published["truth"]])
    published = published[published["question_id"].notna()][_COLUMNS]
    return pd.concat([own, published.astype({"chosen": float})], ignore_index=True), len(published)
