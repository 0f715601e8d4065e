"""Persona fidelity read off the text of answers: whose answer is it, whose card does the wording tell, is it like the card, and is it copied from train?

No candidate of the wording probe, right or wrong, is among the people that it learnt from. If only the right ones were unknown to it, it would lean towards
the sentences of its textbook: the persona-blind copy was then recognised in .156 of the cases instead of one in five, and the same respondent in .313 instead
of .404.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from ...scoring.encoder import Encoder, load_encoder
from ...scoring.fidelity_measures import GRAMS, PICKS, TRUTH, measure_line
from . import attribute_probes as probes
from .candidates import Candidates
from .sheet_scores import stat_estimate

_MOST_EMBEDDED, _PENALTY, _LEAST_TEXTS = 119, 1.0, 50


class WordingProbe:
    """Reads a speaker's attributes off the words (TF-IDF of one and two words), trained on references of people who are no candidates."""

    def __init__(self, references: Sequence[str], cards: Sequence[dict]):
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.words = TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True, token_pattern=r"[\w']+")
        self.probe = probes.fit_probe(self.words.fit_transform(references), cards, penalty=_PENALTY)

    def read(self, texts: Iterable[str]) -> np.ndarray:
        """What it takes the speakers for: (texts, attributes); 0 for a blank text."""
        texts = list(texts)
        blank = np.array([not t.strip() for t in texts])
        return np.where(blank[:, None], 0.0, self.probe.read(self.words.transform(texts)))

    def likeness(self, read: np.ndarray, cards: Sequence[dict]) -> np.ndarray:
        """How much each card (columns) is like what was read (rows), in [-1, 1]."""
        return probes.likeness(read, self.probe.coordinates(cards))


def candidate_table(rows: pd.DataFrame, test: pd.DataFrame) -> tuple[list[dict], np.ndarray, np.ndarray]:
    """Whom each row may be taken for: the people of the test who answered its question. Returns: the cards, the row's own column, and a mask (rows, cards)."""
    people = test.drop_duplicates("persona_id").reset_index(drop=True)
    column = {p: i for i, p in enumerate(people["persona_id"])}
    asked = test.groupby("question_id")["persona_id"].agg(lambda who: [column[p] for p in who]).to_dict()
    mask = np.zeros((len(rows), len(people)), dtype=bool)
    for i, question in enumerate(rows["question_id"]):
        mask[i, asked.get(question, [])] = True
    return people["persona"].tolist(), rows["persona_id"].map(column).to_numpy(), mask


def fit_wording(known: pd.DataFrame) -> WordingProbe | None:
    """The probe, trained on `known` (persona, reference); None if they are too few."""
    enough = len(known) >= _LEAST_TEXTS and probes.card_labels(known["persona"].tolist(), fewest=probes.FEWEST_WITH).shape[1]
    return WordingProbe(known["reference"].tolist(), known["persona"].tolist()) if enough else None


def wording_by_domain(pool: pd.DataFrame) -> dict[str, WordingProbe]:
    """Domain -> the probe trained on everybody who has no answer in it: whoever answered its questions is new to it. Without domains with too few others."""
    fitted = {}
    for domain, part in pool.groupby("domain", sort=True):
        if probe := fit_wording(pool[~pool["persona_id"].isin(set(part["persona_id"]))]):
            fitted[domain] = probe
    return fitted


def _picked(metric: str, system: str, candidates: Candidates, people: int, seed: int) -> list[dict]:
    """The lines of one system: how often the card of the person asked is picked among 2, 5 and 10."""
    lines = []
    for k in PICKS:
        if n := candidates.rows(k):
            lines.append(measure_line(metric, f"k={k}", system, stat_estimate(candidates.pick(k), people, seed=seed, centred=True), n, 1 / k))
    return lines


def picks_by_answer(preds: pd.DataFrame, test: pd.DataFrame, by_domain: Mapping[str, WordingProbe], seed: int) -> list[dict]:
    """Whose card does a single test answer tell, among k people of the test who answered the same question? `test`: the test records. Authors of train answers
    are no candidates: a copy tells its author's card."""
    said, parts = preds[preds["domain"].isin(by_domain) & (preds["status"] != "failed")], {}
    for domain, rows in said.groupby("domain", sort=True):
        cards, own, allowed = candidate_table(rows, test)
        near = by_domain[domain].likeness(_apart(by_domain[domain].read(rows["prediction"]), rows["system"]), cards)
        for system, mine in rows.groupby("system", sort=False).indices.items():
            parts.setdefault(system, []).append(Candidates.of(near[mine], own[mine], allowed[mine]))
    people = test["persona_id"].nunique()
    return [line for s in said["system"].unique() for line in _picked("pick_card_answer", s, Candidates.together(parts[s]), people, seed)]


def _apart(read: np.ndarray, groups: Iterable) -> np.ndarray:
    """What was read less the mean of the group: only differences between its speakers count."""
    table = pd.DataFrame(read)
    return (table - table.groupby(np.asarray(groups)).transform("mean")).to_numpy()


def picks_by_questionnaire(sheets: Mapping[str, pd.DataFrame], asked: pd.DataFrame, probe: WordingProbe, seed: int) -> list[dict]:
    """Whose card does the wording of a whole questionnaire tell, among k people? `asked`: the questionnaire with the respondents' own words."""
    people = asked.drop_duplicates("persona_id").sort_values("persona_id")
    said = {s: f.set_index("id")["answer"].reindex(asked["id"]).fillna("") for s, f in sheets.items() if f["answer"].str.strip().any()}
    said[TRUTH] = asked["reference"]
    lines = []
    for system, answers in said.items():
        read = pd.DataFrame(probe.read(answers)).groupby(asked["persona_id"].to_numpy()).mean().to_numpy()
        lines += _picked("pick_card_words", system, Candidates.of(probe.likeness(read - read.mean(0), people["persona"].tolist())), len(people), seed)
    return lines


def probe_facts(pool: pd.DataFrame, test: pd.DataFrame) -> str:
    """What the probes of `wording_by_domain` are trained on and asked, in one sentence."""
    inside = pool.groupby("domain")["persona_id"].agg(set)
    known = [int((~pool["persona_id"].isin(people)).sum()) for people in inside]
    asked = test.groupby("question_id")["persona_id"].nunique()
    return (f"{len(inside)} probes, one a domain, each trained on the {min(known):,} to {max(known):,} reference answers of people who answered nothing in "
            f"that domain; candidates: the {asked.min()} to {asked.max()} people of the test who answered the question")  # fmt: skip


def card_cosines(preds: pd.DataFrame, *, encoder: Encoder | None = None) -> tuple[pd.DataFrame, list[str], np.ndarray]:
    """The paper's persona consistency, for every card: cosine of an answer's embedding and each card's.

    Args: preds: every system's predictions (system, id, persona_id, persona, prediction, status); About `_MOST_EMBEDDED` test records are taken, evenly.
    Returns: the rows taken (failed answers left out), the people whose cards they are compared with, and the cosines (rows, people).
    Source: paper, Algorithm 2, line 9 ("persona-embedding similarity").
    """
    encoder = encoder or load_encoder()
    records = sorted(preds["id"].unique())
    rows = preds[preds["id"].isin(records[:: max(1, len(records) // _MOST_EMBEDDED)])]
    shown = rows.drop_duplicates("persona_id")
    rows = rows[rows["status"] != "failed"] if "status" in rows else rows
    near = encoder.embed(rows["prediction"].astype(str)) @ encoder.embed(shown["persona"].astype(str)).T
    return rows.reset_index(drop=True), shown["persona_id"].tolist(), near


def card_likeness(near: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, float, Candidates]:
    """From cosines of answers and cards: that of each answer and its own card, the mean of those with other people's, and whose card is nearer."""
    nearer = Candidates.of(near, own)
    others = near[nearer.others].mean() if nearer.others.any() else np.nan
    return near[np.arange(len(near)), own], float(others), nearer


def spoken(text: str) -> tuple[str, ...]:
    """The words of a text, lower-cased, without punctuation."""
    return tuple(re.findall(r"[\w']+", text.lower()))


def runs_of(said: tuple[str, ...], n: int) -> set[tuple[str, ...]]:
    """All runs of n words of a text."""
    return {said[i : i + n] for i in range(len(said) - n + 1)}


def memorised(answers: pd.DataFrame, train: Iterable[str], *, sizes: Sequence[int] = GRAMS) -> pd.DataFrame:
    """What of each answer stands word for word in a train answer.

    Args: answers: prediction, and columns that are kept. train: the train answers.
    Returns: `answers` with `verbatim` (the whole answer is a train answer; case and punctuation ignored) and `run4`, `run8`, ... (some run of so many
        words occurs in train; NaN for shorter answers). Failed (blank) answers are NaN.
    """
    known = [spoken(t) for t in train]
    whole, runs = set(known), {n: set().union(*(runs_of(t, n) for t in known)) for n in sizes}
    said = [spoken(str(t)) for t in answers["prediction"]]
    shares = {"verbatim": [float(t in whole) if t else np.nan for t in said]}
    shares |= {f"run{n}": [float(not runs_of(t, n).isdisjoint(runs[n])) if len(t) >= n else np.nan for t in said] for n in sizes}
    return answers.assign(**shares)
