"""What is wrong with a system, in plain lines: a score says how much, a finding says why.

`diagnose` looks at one system's answers and scores. Each finding has an id, a severity ("problem": the scores should not be used before it is explained;
"note": worth knowing), one line of text, the number behind it, the rows it was counted on, and the metric whose definition says more.
Every threshold is a constant here with its reason; `tests/test_known_bad.py` holds known-bad systems and healthy ones to them.
"""

import re
from collections import Counter
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from .. import resampling
from ..errors import quoted
from ..prompts import chat
from ..texts import is_foreign, sentences, spaced
from . import metric_table, metrics, readability
from .option_labels import read_option

PROBLEM, _NOTE = "problem", "note"
# The measured shares are those of the published nano run: 7 tuned twins, their 7 bases, "the same respondent again" and the two oracles.
FAILED = 0.05  # failed or empty answers: more are no accident, and the means stand on other rows than the reference's
ECHO = 0.05  # answers that repeat the prompt: a cut-off or template fault hits many rows at once; none of ours does
_CONTROL = 0.01  # answers with chat markers or tool calls: a sound decoder leaves none
COPIED = 0.20  # long answers equal to the reference: two answers of one simulated respondent are equal in 3 %
OTHERS = 0.20  # long answers equal to another person's answer to the question: at most 5 % here
ONE_TEXT = 0.50  # rows with the most frequent answer: a bare "Agree." in every third row is still possible
ALIKE = 0.50  # pairs of people with the same long answer to the same question: at most 6 % here, 100 % for one answer a question
FOREIGN = 0.05  # answers in words that the references do not know
NO_OPTION = 0.20  # closed answers without a readable option, beyond what the reader misses in the references
MISSHAPEN = 0.20  # open answers too short, too long or cut off, where the reference is not
NON_WORDS = 0.10  # answers with a word that is none: at most 0.1 % of the references, 3 % of typed human answers, 11-26 % of the twins'
DISORDERED = 0.10  # reasons in no normal order: none of the references, at most 1 % of human answers and of our systems', 65 % of shuffled ones
OFF_TOPIC = 0.10  # reasons of another question: 1.5 % of the references (4 % in a file with four answers a question), 60 % and more of exchanged ones
AGAINST = 0.10  # reasons for another option: 1 % of the references, 40 % and more of exchanged ones
_SEEN = 0.05  # these four are noted from here on
NOTED = 0.10  # shares below their threshold are noted from here on (failures, echoes and control text from the first)

LONG_WORDS = 5  # shorter answers ("Agree.", "Yes, often.") are equal by chance
SHORT_WORDS, FULL_WORDS = 4, 8  # an open answer of fewer words than the first is no answer where the reference has the second
MOST_SENTENCES = 8  # as in the definition of format_valid
KNOWN = 0.35  # letters in words known from the references: our systems' answers have .41 and more, German, French, Italian or Spanish ones .25 and less
ENOUGH_LETTERS, ENOUGH_WORDS = 10, 300  # fewer letters in an answer, or distinct words in all references, cannot tell
ENOUGH_ROWS = 100  # a swap gap on fewer rows that includes zero says little
BELOW = 0.005  # a swap gap nearer to zero is not a copy of other people: answers that share hardly a word with anybody have tiny gaps of either sign
CLEARLY = 2  # reaches of its interval that a gap lies below zero if answers are other people's: of forty healthy systems one lies below by one reach
SWAPS = ("swap_gap_rouge1_content", "swap_gap_option")  # overlap on content; opinion alone. One above zero is enough


@dataclass(frozen=True)
class _Finding:
    """One line about a system; `metric` is the id whose definition explains it, `value` a share in [0, 1] or the metric's value."""

    id: str
    severity: str
    text: str
    value: float
    n: int
    metric: str


def percent(share: float) -> str:
    """A share as text: one decimal below ten per cent."""
    return f"{share:.0%}".replace("%", " %") if share >= 0.0995 or share == 0 else f"{share:.1%}".replace("%", " %")


def _fold(text: str) -> str:
    return " ".join(spaced(text).lower().split())


def _counted(id: str, hits: list[bool], limit: float, text: str, metric: str, *, floor: float = NOTED) -> list[_Finding]:
    """A finding about the share of rows that `hits` is true of, if it reaches `floor`. `{share}` in `text` is filled in."""
    share = float(np.mean(hits)) if hits else 0.0
    if share == 0 or share < min(floor, limit):
        return []
    return [_Finding(id, PROBLEM if share >= limit else _NOTE, text.replace("{share}", percent(share)), share, len(hits), metric)]


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.lower())


def _known_share(text: str, vocabulary: set[str]) -> float:
    """Share of the letters of `text` that stand in known words; NaN for a text with few letters."""
    words = _words(text)
    letters = sum(map(len, words))
    return sum(len(w) for w in words if w in vocabulary) / letters if letters >= ENOUGH_LETTERS else np.nan


def _closed(row: dict) -> bool:
    return isinstance(row.get("options"), list | tuple | np.ndarray) and len(row["options"]) > 1


def _question(row: dict) -> str | None:
    question = row.get("question_id") or row.get("question")
    return question if isinstance(question, str) else None


def _person(row: dict):
    return row.get("persona_id") or row.get("persona") or row.get("id")


# --- the parts of a diagnosis ------------------------------------------------------------------------------------------------


def _repeats(row: dict) -> bool:
    """Whether the answer repeats the prompt: its field names, the question, or the card."""
    card = _fold(row["persona"]) if isinstance(row.get("persona"), str) else ""
    asked = row.get("question") if isinstance(row.get("question"), str) else ""
    return metrics.repeats_prompt(row["prediction"], asked) or (len(card.split()) >= FULL_WORDS and card in _fold(row["prediction"]))


def _texts(rows: list[dict]) -> list[_Finding]:
    """Echoes, control text, another language."""
    findings = _counted("echo", [_repeats(r) for r in rows], ECHO, "{share} of the answers repeat the prompt", "format_valid", floor=0)
    hits = [bool(chat.find_control_text(r["prediction"])) for r in rows]
    findings += _counted("control_text", hits, _CONTROL, "{share} of the answers hold control text (chat markers, tool calls)", "format_valid", floor=0)
    vocabulary = {w for r in rows for w in _words(r["reference"])}
    shares = [_known_share(r["prediction"], vocabulary) for r in rows]
    judged = [s < KNOWN for s in shares if s == s]
    text = f"{{share}} of the answers look like another language: less than {percent(KNOWN)} of their letters stand in words that the references use"
    if len(vocabulary) >= ENOUGH_WORDS and (found := _counted("language", judged, FOREIGN, text, "rouge1", floor=FOREIGN)):
        return findings + found
    theirs = np.mean([is_foreign(r["reference"]) for r in rows])  # references in another language: answers in it are as they should be
    foreign = [is_foreign(r["prediction"]) for r in rows] if theirs < FOREIGN else []
    text = "{share} of the answers are in another language: few of their words are English"
    return findings + _counted("language", foreign, FOREIGN, text, "rouge1", floor=FOREIGN)


def _shapes(rows: list[dict]) -> list[_Finding]:
    """Open answers too short, too long or cut off; closed answers without an option. Answers with control text are left out: their ends are not their own."""
    rows = [r for r in rows if not chat.find_control_text(r["prediction"])]
    pairs = [(r["prediction"].strip(), r["reference"].strip()) for r in rows if r.get("question_type") == "open"]
    short = [len(spaced(p).split()) < SHORT_WORDS and len(spaced(r).split()) >= FULL_WORDS for p, r in pairs]
    long = [(n := len(sentences(p))) > MOST_SENTENCES and n > 2 * len(sentences(r)) for p, r in pairs]
    cut = [not metrics.is_finished(p) and metrics.is_finished(r) for p, r in pairs]
    faults = {"open_short": (short, f"have fewer than {SHORT_WORDS} words: labels, not answers"),
              "open_long": (long, f"have more than {MOST_SENTENCES} sentences"), "cut_off": (cut, "stop before the end of a sentence")}  # fmt: skip
    findings = []
    for name, (hits, what) in faults.items():
        findings += _counted(name, hits, MISSHAPEN, f"{{share}} of the open answers {what}", "format_valid")
    closed = [r for r in rows if _closed(r)]
    given = [r["chosen"] for r in closed if isinstance(r.get("chosen"), int | float | np.number) and r["chosen"] == r["chosen"]]
    missed = 0.0 if given else float(np.mean([read_option(r["reference"], r["options"]) is None for r in closed] or [0]))
    unread = [c < 0 for c in given] or [read_option(r["prediction"], r["options"]) is None for r in closed]
    beyond = f" (and of the references {percent(missed)})" if missed else ""
    text = f"closed answers name no option in {{share}}{beyond}"
    return findings + _counted("no_option", unread, NO_OPTION + missed, text, "stance_acc", floor=NOTED + missed)


def _readability(rows: list[dict]) -> list[_Finding]:
    """Non-words, shuffled words, reasons of another question or for another option, as far as `readability` has measured them."""
    known = {m: [r for r in rows if isinstance(r.get(m), float | int | np.number) and r[m] == r[m]] for m in readability.MEASURES}
    strange = Counter(w for r in known["real_words"] for w in set(str(r.get("unknown_words") or "").split()))
    such = f", such as {', '.join(sorted(strange, key=lambda w: (-strange[w], w))[:3])}" if strange else ""
    faults = (
        ("non_words", "real_words", 1, NON_WORDS, f"{{share}} of the answers hold a word that does not exist{such}"),
        ("shuffled_words", "word_order", readability.ORDERED, DISORDERED, "the words of {share} of the answers stand in no normal order"),
        ("other_topic", "on_topic", 1, OFF_TOPIC, "{share} of the reasons belong to another question"),
        ("against_option", "reason_fits", 1, AGAINST, "{share} of the reasons speak for another option than the one chosen"),
    )
    return [f for id, m, least, limit, text in faults for f in _counted(id, [r[m] < least for r in known[m]], limit, text, m, floor=_SEEN)]


def _copies(rows: list[dict], pool: list[dict]) -> list[_Finding]:
    """Answers that are the reference, another person's answer, or the same for many."""
    long = [r for r in rows if len(spaced(r["prediction"]).split()) >= LONG_WORDS]
    text = "identical to the reference in {share} of the rows (answers of five words and more): a copy, or leakage"
    findings = _counted("copy", [_fold(r["prediction"]) == _fold(r["reference"]) for r in long], COPIED, text, "bleu")
    said: dict[tuple, set] = {}
    for r in pool:
        said.setdefault((_question(r), _fold(r["reference"])), set()).add(_person(r))
    asked = [r for r in long if _question(r)]
    speakers = [said.get((_question(r), _fold(r["prediction"])), set()) - {_person(r)} for r in asked]
    others = [bool(who) and _fold(r["prediction"]) != _fold(r["reference"]) for who, r in zip(speakers, asked, strict=True)]
    text = "{share} of the answers of five words and more are, word by word, another person's answer to the same question"
    findings += _counted("others_answers", others, OTHERS, text, "swap_gap_rouge1")
    top, times = Counter(r["prediction"].strip() for r in rows).most_common(1)[0]
    if len(rows) > 2 and (share := times / len(rows)) >= ONE_TEXT:
        which = "every answer is the same text" if share == 1 else f"{percent(share)} of the answers are the same text"
        findings.append(_Finding("one_text", PROBLEM, f"{which}: {quoted(top)}", share, len(rows), "distinct1"))
    groups: dict[str, Counter] = {}
    for r in asked:
        groups.setdefault(_question(r), Counter())[_fold(r["prediction"])] += 1
    pairs = sum(g.total() * (g.total() - 1) for g in groups.values())
    if pairs:
        share = sum(k * (k - 1) for g in groups.values() for k in g.values()) / pairs
        text = "two people get the same answer of five words and more to the same question in {share} of the pairs"
        severity = PROBLEM if share >= ALIKE else _NOTE
        if share >= NOTED:
            findings.append(_Finding("alike", severity, text.replace("{share}", percent(share)), share, pairs // 2, "self_bleu"))
    return findings


def _range(line: pd.Series) -> str:
    return f"{line['value']:+.3f} [{line['lo']:+.3f}, {line['hi']:+.3f}]"


def _scores(lines: pd.DataFrame, rows: list[dict]) -> list[_Finding]:
    """What the swap control and the stance say."""
    by_metric = lines.drop_duplicates("metric").set_index("metric")
    swaps = [(m, by_metric.loc[m]) for m in SWAPS if m in by_metric.index and np.isfinite(by_metric.loc[m, ["value", "lo", "hi"]].astype(float)).all()]
    findings = []
    if swaps:
        metric, line = swaps[0]
        severity = PROBLEM if line["n"] >= ENOUGH_ROWS else _NOTE
        name, few = metric_table.METRICS[metric].label, "" if severity == PROBLEM else f" ({int(line['n'])} rows are too few to be sure)"
        if CLEARLY * (line["hi"] - line["value"]) < -line["value"] and line["value"] <= -BELOW:
            text = f"answers are other people's: {name} {_range(line)} is below zero{few}"
            findings.append(_Finding("other_people", severity, text, float(line["value"]), int(line["n"]), metric))
        elif not any(other["lo"] > 0 for _, other in swaps):
            text = f"nothing shows that answers depend on the persona: {name} {_range(line)} {'includes' if line['hi'] >= 0 else 'is just below'} zero{few}"
            findings.append(_Finding("persona_blind", severity, text, float(line["value"]), int(line["n"]), metric))
    chance = [1 / len(r["options"]) for r in rows if _closed(r)]
    if chance and "stance_acc" in by_metric.index and (line := by_metric.loc["stance_acc"])["lo"] <= np.mean(chance):
        hit = f"{line['value']:.3f} [{line['lo']:.3f}, {line['hi']:.3f}]"
        text = f"nothing shows that closed answers hit the reference's option more often than chance: {hit}, chance is {np.mean(chance):.3f}"
        findings.append(_Finding("chance", _NOTE, text, float(line["value"]), int(line["n"]), "stance_acc"))
    return findings


# --- one system, all systems -------------------------------------------------------------------------------------------------


def diagnose(preds: pd.DataFrame, lines: pd.DataFrame, *, pool: pd.DataFrame | None = None) -> list[_Finding]:
    """The findings about one system, problems first.

    Args:
        preds: one row an answer: prediction, reference; as far as they are there also status, question, question_id, persona (card text), persona_id,
            question_type, options, chosen (the option read; without it the label rule reads), what `readability.measure` gives.
        lines: its scores: metric, value, lo, hi, n. Those of the swap control and of the stance are used.
        pool: everybody's answers to the questions: question_id (or question), persona_id, reference. Default: `preds`.
    Returns: findings; [] for a system with nothing to remark. An answer counts as failed if it is empty or its status says so.
    """
    rows = preds.to_dict("records")
    lost = [r.get("status") == "failed" or not isinstance(r["prediction"], str) or not r["prediction"].strip() for r in rows]
    findings = _counted("failed", lost, FAILED, "{share} of the answers are empty or failed", "format_valid", floor=0)
    alive = [r for r, gone in zip(rows, lost, strict=True) if not gone]
    if alive:
        findings += _copies(alive, rows if pool is None else pool.to_dict("records")) + _scores(lines, alive)
        findings += _texts(alive) + _shapes(alive) + _readability(alive)
    return sorted(findings, key=lambda f: f.severity != PROBLEM)


def not_checked(preds: pd.DataFrame) -> list[str]:
    """What `diagnose` cannot look for because `preds` lacks a column: one line each with the columns it needs."""
    asked, person = "question" in preds or "question_id" in preds, "persona" in preds or "persona_id" in preds
    lacking = {
        "whether answers depend on the persona": [c for c, there in (("persona", person), ("question", asked)) if not there],
        "whether answers repeat the question, or are other people's": [] if asked else ["question"],
        "whether closed answers name an option": [] if "options" in preds else ["options"],
        "whether reasons belong to the question": [] if asked else ["question"],
        "whether reasons speak for the option": [c for c, there in (("question", asked), ("options", "options" in preds)) if not there],
        "whether open answers are whole": [] if "question_type" in preds else ["question_type"],
    }
    return [f"{what} (needs {' and '.join(columns)})" for what, columns in lacking.items() if columns]


def _not_above_blind(rows: pd.DataFrame, system: str, seed: int) -> list[_Finding]:
    """A note if ROUGE-1 is not above that of the persona-blind copy on the same rows (paired, people resampled)."""
    wide = rows[rows["system"].isin([system, "persona_blind"])].pivot(index=["id", "persona_id"], columns="system", values="rouge1")
    if system == "persona_blind" or not {system, "persona_blind"} <= set(wide):
        return []
    people = wide.index.get_level_values("persona_id")
    gap = resampling.paired_bootstrap(wide[system], wide["persona_blind"], clusters=people, seed=seed)
    if not gap["n"] or gap["lo"] > 0:
        return []
    text = f"ROUGE-1 is not above that of a persona-blind copy: difference {gap['mean']:+.3f} [{gap['lo']:+.3f}, {gap['hi']:+.3f}]"
    return [_Finding("not_above_blind", _NOTE, text, gap["mean"], gap["n"], "rouge1")]


def diagnose_systems(
    preds: pd.DataFrame, rows: pd.DataFrame, systems: pd.DataFrame, *, pool: pd.DataFrame | None = None, seed: int = resampling.SEED
) -> pd.DataFrame:
    """The findings about every system: columns system, id, severity, text, value, n, metric; no row for a system with none.

    Args: preds: of `answer_files.load_predictions`; rows, systems: of `evaluation.score`; pool: everybody's answers.
    """
    known = rows.set_index(["system", "id"])[[c for c in ("chosen", *readability.MEASURES, "unknown_words") if c in rows]]
    preds = preds.assign(**known.reindex(pd.MultiIndex.from_frame(preds[["system", "id"]])).reset_index(drop=True).set_index(preds.index))
    lines = []
    for system in dict.fromkeys(preds["system"]):
        findings = diagnose(preds[preds["system"] == system], systems[systems["system"] == system], pool=pool) + _not_above_blind(rows, system, seed)
        lines += [{"system": system, **asdict(f)} for f in findings]
    return pd.DataFrame(lines, columns=["system", "id", "severity", "text", "value", "n", "metric"])
