"""What a score of a file does not count, or counts in a way that a reader should know: one sentence each, with the number of rows; and the signatures."""

import importlib.metadata

import pandas as pd

from ..errors import quoted
from ..scoring import metrics
from ..scoring.encoder import MAX_TOKENS, Encoder
from ..scoring.metrics import ROUGES
from ..texts import looks_english, spaced

GROUPS = ("domain", "question_type")
_FEW_FOREIGN = 0.02  # of the rows: an English text without any of the common words is as rare


def _rows(number: int, what: str = "row") -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _first(frame: pd.DataFrame, rows: pd.Series, column: str) -> str:
    """The first of the marked rows, quoted."""
    row = frame[rows].iloc[0]
    return f"(first: id {quoted(row['id'])}, {quoted(row[column])})"


def _stances(frame: pd.DataFrame, both: pd.DataFrame, items: int) -> list[str]:
    """Closed rows that the scores of options leave out. `both`: the rows whose reference names an option; `items`: questions whose distribution is compared."""
    if "options" not in frame:
        return []
    closed = frame["options"].notna() & frame["status"].eq("ok")
    read = closed & frame.index.isin(both.index)
    silent, unread, said = closed & ~read, read & frame.index.isin(both.index[both["said"] < 0]), []
    if silent.any():
        first = _first(frame, silent, "reference")
        said.append(f"options: {_rows(int(silent.sum()))} left out, because their reference names none of their options or several {first}")
    if unread.any():
        first = _first(frame, unread, "prediction")
        said.append(f"options: {_rows(int(unread.sum()), 'answer')} name none or several {first}: wrong in accuracy, left out of kappa and distributions")
    asked = next((frame.loc[read, c].nunique() for c in ("question_id", "question") if c in frame), 0)
    if items and asked > items:
        said.append(f"alignment, spread and entropy: {_rows(asked - items, 'closed question')} left out, with too few readable answers")
    return said


def _swap(frame: pd.DataFrame, rows: pd.DataFrame, sampled: bool) -> list[str]:
    """Rows that the swap control leaves out, with the reason."""
    scores = rows[[c for c in rows if c.startswith("swap_")]]
    swapped = scores.notna().any(axis=1)
    if not swapped.any():
        return []
    out = ~rows["failed"] & ~swapped
    unnamed = out & pd.concat(
        [frame[[c for c in pair if c in frame]].isna().all(axis=1) for pair in (("persona_id", "persona"), ("question_id", "question"))], axis=1
    ).any(axis=1)  # noqa: E501
    unnamed |= out & frame["persona"].isna() if "persona" in frame else unnamed
    said = [f"swap: {_rows(int(unnamed.sum()))} left out that name no person, card or question"] if unnamed.any() else []
    if sampled:
        people = rows.loc[swapped, "cluster"].nunique()
        return [*said, f"swap: a sample of {_rows(int(swapped.sum()))} of {len(rows):,}, {people} of {rows['cluster'].nunique()} people (all: very slow)"]
    alone = out & ~unnamed
    return [*said, *([f"swap: without {_rows(int(alone.sum()))} whose question nobody else answered"] if alone.any() else [])]


def _format(frame: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """Rows without format validity and quality."""
    if "question_type" not in frame or not rows["format_valid"].notna().any():
        return []
    out = ~rows["failed"] & rows["format_valid"].isna()
    untyped = int((out & frame["question_type"].isna()).sum())
    partial = int(out.sum()) - untyped
    said = [f"format and quality: {_rows(partial, 'closed row')} without options left out; a column options would add them"] if partial else []
    return said + ([f"format and quality: {_rows(untyped)} without question_type left out"] if untyped else [])


def _texts(frame: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """Texts that are cut, and texts that are not English."""
    said, alive = [], ~rows["failed"]
    if cut := int(rows["cut"].sum()):
        said.append(f"BERTScore and semantic similarity: {_rows(cut)} with a text of more than {MAX_TOKENS} tokens; what comes after them does not count")
    foreign = sum(any(looks_english(t) is False for t in pair) for pair in zip(frame.loc[alive, "prediction"], frame.loc[alive, "reference"], strict=True))
    if foreign > _FEW_FOREIGN * alive.sum():
        said.append(
            f"{_rows(foreign)} do not look English. Sentiment, stems, BERTScore, semantic similarity, answers read without their option's label and the"
            " search for prompt words know English only; so quality, a mean, says less there"
        )
    return said


def sentences_of(frame: pd.DataFrame, rows: pd.DataFrame, both: pd.DataFrame, *, items: int, sampled: bool) -> list[str]:
    """Every sentence about what is left out of the scores of one file.

    Args: frame: from `read_predictions`. rows: its row scores. both: the closed rows with an option in the reference. items: questions whose distributions
        are compared. sampled: whether the swap control looks at a sample of the rows.
    """
    people = next((frame[c] for c in ("persona_id", "persona") if c in frame), None)
    nobody = frame[[c for c in ("persona_id", "persona") if c in frame]].isna().all(axis=1).sum() if people is not None else 0
    said = [f"people: {_rows(int(nobody))} name nobody; each counts as a person of its own"] if nobody else []
    said += _stances(frame, both, items) + _format(frame, rows) + _swap(frame, rows, sampled) + _texts(frame, rows)
    if strange := int((rows["real_words"].isna() & ~rows["failed"]).sum()) if "real_words" in rows else 0:
        said.append(f"real words: without {_rows(strange)} in another language than English, or without words")
    for name in (g for g in GROUPS if g in frame and frame[g].isna().any()):
        said.append(f"by {name}: without {_rows(int(frame[name].isna().sum()))} that name none")
    return said


def signatures(frame: pd.DataFrame, rows: pd.DataFrame, encoder: Encoder) -> dict[str, str]:
    """metric -> how exactly it was computed: tokenizers, stemmer, versions, encoder, readers; and where a run's report computes it another way."""
    alive, known = ~rows["failed"], set(rows.columns)
    apart = sum(spaced(t) != t for c in ("prediction", "reference") for t in frame.loc[alive, c])
    differ = int((rows.loc[alive, list(ROUGES)].to_numpy() != rows.loc[alive, [f"{r}_ascii" for r in ROUGES]].to_numpy()).any(axis=1).sum())
    own = "the same in all rows" if not differ else f"differ in {_rows(differ)}"
    texts = {
        "bleu_corpus": metrics.bleu_signature() + (f"|characters apart:{apart} texts" if apart else ""),
        "rouge1": f"rouge_score {importlib.metadata.version('rouge-score')}|words:any script|stem:porter (ASCII)|own words:{own}",
        "bertscore_f1": encoder.signature,
    }
    if "stance_acc" in known and rows["stance_acc"].notna().any():
        texts["stance_acc"] = "rules of labels and wording, for answer and reference (a run's report knows the options that its own data took)"
    return texts
