"""All metrics that a file of predictions and references allows, what a missing column would add, and several files compared."""

import itertools
import math

import numpy as np
import pandas as pd

from .. import resampling, stats
from ..files import sha256
from ..scoring import fluency, metric_table, metrics, readability, swap
from ..scoring.encoder import load_encoder
from ..scoring.option_labels import read_option
from ..world.questions import in_common_order, label_set
from . import left_out
from .reading_pool import reading_pool

HEADLINES = ("bleu", "rouge1", "bertscore_f1", "quality", "stance_acc", "swap_gap_rouge1_content", "swap_gap_option")
SWAP_ROWS = 2000  # rows of a larger file that the swap control looks at: its time grows with rows times people asked the same question
SWAP_PEOPLE = resampling.FEW  # people are the units: a larger file leaves out questions before it keeps fewer of them
ITEM_ANSWERS = 30  # answers to a closed question from which on their distribution is compared; with fewer, chance moves the alignment by .1 and more
ITEM_DRAWS = 500  # bootstrap samples of people behind the intervals of the distributions
FLIPS = 200  # sign flips a comparison: keeps the smallest Holm-corrected p-value at .005, however many files are compared
DISTRIBUTIONS = ("alignment", "sd_ratio", "entropy_ratio")


def _respondents(frame: pd.DataFrame) -> pd.Series | None:
    """Whose answer each row is: `persona_id`, else the card, else the row alone; None if the file names nobody."""
    known = [frame[c] for c in ("persona_id", "persona") if c in frame]
    if not known:
        return None
    named = known[0] if len(known) == 1 else known[0].fillna(known[1])
    return named.astype(object).where(named.notna(), "row " + frame["id"])


def _questions(frame: pd.DataFrame) -> pd.Series | None:
    """What each row answers: `question_id`, else the wording."""
    known = [frame[c] for c in ("question_id", "question") if c in frame]
    return None if not known else known[0] if len(known) == 1 else known[0].fillna(known[1])


def _sample(frame: pd.DataFrame) -> pd.Series:
    """Which rows the swap control looks at: all of a file with no more than `SWAP_ROWS`, else those of some people, never fewer than `SWAP_PEOPLE` (or all),
    and if these still have more rows, those of some questions. Both by the hash of their first row's id, so that other names change nothing."""
    kept = pd.Series(True, index=frame.index)
    for column, least in (("persona_id", SWAP_PEOPLE), ("question_id", 1)):
        if kept.sum() > SWAP_ROWS:
            rows = frame[kept].groupby(column)["id"].agg(["size", "min"])
            rows = rows.loc[rows["min"].map(lambda i: sha256(str(i))).sort_values().index]
            within = (rows["size"].cumsum() <= SWAP_ROWS) | (np.arange(len(rows)) < least)
            kept &= frame[column].isin(rows.index[within])
    return kept


def _swap_rows(frame: pd.DataFrame, encoder) -> pd.DataFrame:
    """Persona-swap scores within the file: its own references are the other people's answers. Without cards nothing can be masked."""
    known = frame.assign(persona_id=_respondents(frame), question_id=_questions(frame), persona=frame["persona"] if "persona" in frame else "")
    known = known.dropna(subset=["persona", "question_id"])
    known = known[_sample(known)]
    scores = swap.swap_scores(known, phrases=swap.phrases_of(known["question_id"]), encoder=encoder)
    return scores[[c for c in scores if "swap_" in c and ("persona" in frame or not c.endswith(("_masked", "_content")))]]


def _readable_rows(frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """(`readability.measure` of the file, published answers to its questions that it is compared with, too)."""
    people, questions = _respondents(frame), _questions(frame)
    known = frame.assign(persona_id="row " + frame["id"] if people is None else people, question_id=np.nan if questions is None else questions)
    pool, published = reading_pool(known)
    return readability.measure(known, pool=pool), published


def with_options_read(frame: pd.DataFrame) -> pd.DataFrame:
    """Add the options that the label rule reads from each closed row's texts: `chosen` (-1: none read) and `target` (NaN: none); NaN for open rows."""
    if "options" not in frame:
        return frame
    columns = {}
    for name, column, lost in (("chosen", "prediction", -1), ("target", "reference", math.nan)):
        read = [read_option(t, o) if isinstance(o, list) else math.nan for t, o in zip(frame[column], frame["options"], strict=True)]
        columns[name] = [lost if r is None else r for r in read]
    return frame.assign(**columns)


def _options_of_both(frame: pd.DataFrame) -> pd.DataFrame:
    """The closed rows that did not fail and whose reference names an option: columns said (-1: none read), truth, size. Options are positions in the order
    that all rows with the same labels share. Args: frame: of `with_options_read`."""
    closed = frame[frame["options"].notna() & (frame["status"] == "ok")]
    read = {side: in_common_order(closed["options"], closed[column]) for side, column in (("said", "chosen"), ("truth", "target"))}
    both = pd.DataFrame(read, index=closed.index)
    return both.assign(size=closed["options"].map(len)).dropna().astype(int)


def _kappa_line(frame: pd.DataFrame, both: pd.DataFrame, people: pd.Series | None, seed: int) -> list[dict]:
    """Stance kappa, within questions and pooled, over the answers with an option to questions with more than two; [] without any."""
    read, questions = both[(both["size"] > 2) & (both["said"] >= 0)], _questions(frame)
    if read.empty:
        return []
    asked, who = (None if of is None else of[read.index].tolist() for of in (questions, people))
    said, truth = (read[side] / (read["size"] - 1) for side in ("said", "truth"))
    kappas = {"stance_qwk": asked, "stance_qwk_pooled": None}
    lines = {metric: resampling.bootstrap_kappa(said, truth, items=items, clusters=who, seed=seed) for metric, items in kappas.items()}
    return [{"metric": metric, "value": line["mean"], "lo": line["lo"], "hi": line["hi"], "n": line["n"]} for metric, line in lines.items()]


def item_lines(frame: pd.DataFrame, both: pd.DataFrame, *, seed: int = resampling.SEED) -> tuple[list[dict], dict]:
    """Distributions of the options, predictions against references, as means over the closed questions with `ITEM_ANSWERS` readable answers or more.

    Returns: (lines; {"items", "uniform"}: how many questions, and the alignment of an answerer who takes every option equally often). ([], {}) without such
        a question. Intervals resample people (rows if the file names nobody), as in notebook 10.
    """
    questions, people = _questions(frame), _respondents(frame)
    if questions is None or both.empty:
        return [], {}
    item = pd.Series(list(zip(questions[both.index], frame.loc[both.index, "options"].map(label_set), strict=True)), index=both.index)
    counts = item[(both["said"] >= 0) & questions[both.index].notna()].value_counts()
    kept = both[(both["said"] >= 0) & item.isin(counts.index[counts >= ITEM_ANSWERS])]
    if kept.empty:
        return [], {}
    number, options = pd.factorize(item[kept.index])[0], int(kept["size"].max())
    who = pd.factorize(people[kept.index] if people is not None else pd.Series(kept.index))[0]
    sizes = kept.groupby(number)["size"].first().to_numpy()
    units = who.max() + 1
    weights = np.vstack([np.ones(units), resampling.drawn_units(units, n_boot=ITEM_DRAWS, seed=seed)]) / units
    said, truth = (_shares(weights, who, number * options + kept[c].to_numpy(), kept[c].to_numpy() >= 0, (len(sizes), options)) for c in ("said", "truth"))
    compared = stats.compare_distributions(said, truth, sizes)
    flat = (np.arange(options) < sizes[:, None]) / sizes[:, None]
    limits, lines = {"alignment": (0, 1)}, []
    for metric in DISTRIBUTIONS:
        known = np.isfinite(compared[metric][0])
        if known.any():
            means = np.nanmean(compared[metric][:, known], axis=1)
            lo, hi = np.clip(resampling.interval(means[1:], units=units, around=means[0]), *limits.get(metric, (0, math.inf)))
            lines.append({"metric": metric, "value": float(means[0]), "lo": float(lo), "hi": float(hi), "n": len(kept)})
    return lines, {"items": len(sizes), "uniform": float(stats.compare_distributions(flat, truth[0], sizes)["alignment"].mean())}


def _shares(weights: np.ndarray, who: np.ndarray, cell: np.ndarray, known: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Shares of the options of each item for every row of `weights` (draws, people): shape (draws, items, options); NaN where a draw has no answer."""
    from scipy import sparse

    table = sparse.csr_matrix((np.ones(known.sum()), (who[known], cell[known])), shape=(weights.shape[1], shape[0] * shape[1]))
    sums = (table.T @ weights.T).T.reshape(-1, *shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums / sums.sum(-1, keepdims=True)


def missing_columns(frame: pd.DataFrame, lines: pd.DataFrame) -> dict[str, str]:
    """metric -> what would allow it, for every metric that `lines` lacks or could not compute."""
    done = set(lines.loc[lines["value"].notna(), "metric"])
    asked, person = ("question" in frame or "question_id" in frame), ("persona" in frame or "persona_id" in frame)
    rules = {
        "row": [("question_type", "question_type" in frame), ("options", "options" in frame)],
        "stance": [("options", "options" in frame)],
        "swap": [("persona", person), ("question", asked)],
        "distribution": [("question", asked), ("options", "options" in frame)],
    }
    otherwise = {
        "swap": "two or more people who answer the same question", "reading": "longer answers, or more references",
        "judge": "the option --fluency", "stance": "closed questions whose references name an option", "set": "two or more rows",
        "distribution": f"{ITEM_ANSWERS} or more readable answers to the same closed question",
    }  # fmt: skip
    needs = {}
    for metric in (m for m in metric_table.METRICS.values() if m.id not in done):
        rule = rules.get(metric.scope, []) if metric.scope != "row" or metric.id in ("format_valid", "quality") else []
        if metric.id.endswith("_option"):
            rule = [*rule, *rules["stance"]]
        elif metric.id in ("on_topic", "reason_fits"):
            rule = [("question", asked)] + (rules["stance"] if metric.id == "reason_fits" else [])
        elif metric.id.endswith(("_masked", "_content")):
            rule = [("persona", "persona" in frame), rule[1]]
        lacking = [name for name, there in rule if not there]
        plural = "s" if len(lacking) > 1 else ""
        reason = otherwise.get(metric.scope, "rows that did not fail") + (" and name an option" if metric.id.endswith("_option") else "")
        reason = "answers in English" if metric.id == "real_words" else reason
        needs[metric.id] = f"column{plural} {' and '.join(lacking)}" if lacking else reason
    return needs


def score_file(frame: pd.DataFrame, *, encoder=None, judge=None, seed: int = resampling.SEED) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    """Everything that can be said about one file. If it names people, its intervals resample people: rows of one person are not independent.

    Returns: (lines: group ("" or "domain: ..."), metric, value, lo, hi, n, n_failed; rows: by id the row metrics, stance_acc and, if known, the swap's and
        `cluster`, the person; notes: `signatures`, `people` (None: not named), `left_out` (sentences: what no score, or not every score, is about), `phrases`
        (turns of phrase that the swap gap on content leaves out), `published` (answers of the
        embedded data set that the reasons are compared with), and for the distributions `items` and `uniform`).
    """
    frame = with_options_read(frame)
    encoder, people = encoder or load_encoder(), _respondents(frame)
    rows = metrics.score_rows(frame, encoder=encoder)
    both = _options_of_both(frame) if "options" in frame else pd.DataFrame(columns=["said", "truth", "size"])
    read, published = _readable_rows(frame)
    rows = rows.join(read)
    if judge is not None:
        rows = rows.join(fluency.measure_fluency(frame, judge))
    rows["stance_acc"] = (both["said"] == both["truth"]).astype(float)
    if people is not None:
        rows["cluster"] = people
        if _questions(frame) is not None:
            rows = rows.join(_swap_rows(frame, encoder))
    names = [m for m in metric_table.METRICS if m in rows]
    cluster = "cluster" if people is not None else None
    by_people = resampling.by_parts(rows)
    whole = metrics.summarise_rows(by_people, metrics=names, cluster=cluster, seed=seed).to_dict("records")
    distribution, notes = item_lines(frame, both, seed=seed)
    whole += metrics.score_set(frame, seed=seed).to_dict("records") + _kappa_line(frame, both, people, seed) + distribution
    table = pd.DataFrame(whole).assign(group="", n_failed=int(rows["failed"].sum()))
    for name in (g for g in left_out.GROUPS if g in frame):
        kept = [m for m in HEADLINES if m in names]
        lines = metrics.summarise_rows(by_people.dropna(subset=[name]), metrics=kept, by=name, cluster=cluster, seed=seed)
        table = pd.concat([table, lines.assign(group=f"{name}: " + lines[name])])
    order = {m: i for i, m in enumerate(metric_table.METRICS)}
    table = table[table["value"].notna()].sort_values("metric", key=lambda c: c.map(order), kind="stable")
    table = table.sort_values("group", kind="stable")  # the whole file's lines, "", come first
    notes |= {"people": None if people is None else people.nunique(), "signatures": left_out.signatures(frame, rows, encoder)}
    notes["left_out"] = left_out.sentences_of(frame, rows, both, items=notes.get("items", 0), sampled=len(frame) > SWAP_ROWS)
    notes["published"] = published
    notes["phrases"] = len(swap.phrases_of(frame["question_id"])) if "question_id" in frame else 0
    return table[["group", "metric", "value", "lo", "hi", "n", "n_failed"]].reset_index(drop=True), rows.set_index("id"), notes


def _shared(a: str, b: str, left: pd.DataFrame, right: pd.DataFrame) -> tuple[pd.Index, list[str]]:
    """The ids that can be compared, and what stands in the way of the others."""
    both = left.set_index("id")[["reference", "status"]].join(right.set_index("id")[["reference", "status"]], how="inner", suffixes=("_a", "_b"))
    same, notes = both[both["reference_a"] == both["reference_b"]], []
    if not len(both):
        return same.index, [f"{a} and {b} share no id: nothing to compare"]
    if len(both) < max(len(left), len(right)):
        notes.append(f"{a} ({len(left)} rows) and {b} ({len(right)} rows) share {len(both)} ids; the others are not compared")
    if len(same) < len(both):
        notes.append(f"{a} and {b}: {len(both) - len(same)} shared ids have different references and are not compared")
    failed = same.index[(same["status_a"] == "failed") | (same["status_b"] == "failed")]
    if len(failed):
        notes.append(f"{a} and {b}: {len(failed)} shared rows failed in one of the files and are not compared; a system that fails on hard rows gains by it")
    return same.index.difference(failed, sort=False), notes


def compare_files(files: dict[str, pd.DataFrame], scored: dict[str, pd.DataFrame], *, seed: int = resampling.SEED) -> tuple[pd.DataFrame, list[str]]:
    """Paired comparison of every two files over the ids they share (equal references only); people are resampled, and flipped, if a file names them.

    Returns: (lines: a, b, metric, difference, lo, hi, n, d (effect size), p (permutation), p_holm (over all lines); notes).
    """
    gaps, notes = {}, []
    for (a, left), (b, right) in itertools.combinations(files.items(), 2):
        ids, reasons = _shared(a, b, left, right)
        notes += reasons
        if len(ids) < 2:
            notes += [f"{a} and {b}: {len(ids)} comparable rows, so no comparison"] if not reasons or len(ids) else []
            continue
        x, y = (scored[name].loc[ids] for name in (a, b))
        if len(ids) == len(left) == len(right):  # parts belong to whole questions
            x, y = resampling.by_parts(x), resampling.by_parts(y)
        wanted = [m for m in metric_table.METRICS if m in x and m in y]
        named = next((t["cluster"].tolist() for t in (x, y) if "cluster" in t), None)
        gaps[a, b] = (x[wanted].astype(float) - y[wanted].astype(float), named)
    lines, tests = [], sum(gap.notna().any().sum() for gap, _ in gaps.values())
    for (a, b), (gap, people) in gaps.items():
        line = resampling.bootstrap_means(gap, clusters=people, seed=seed).rename(columns={"mean": "difference"})
        p = resampling.permutation_p(gap, clusters=people, n_perm=max(resampling.N_PERM, FLIPS * int(tests)), seed=seed)
        spread = gap.std().where(lambda s: s > 1e-9)
        line = line.assign(a=a, b=b, d=gap.mean() / spread, p=p).rename_axis("metric").reset_index()
        lines.append(line[line["n"] > 0])
        units = len(set(people)) if people is not None else len(gap)
        if (least := 2.0 ** (1 - units)) * tests > 0.05:
            who = "rows" if people is None else "people"
            notes.append(f"{a} and {b}: {units} {who} cannot give a p-value below {least:.2g}, however large the difference")
    if not lines:
        return pd.DataFrame(), notes
    table = pd.concat(lines, ignore_index=True)[["a", "b", "metric", "difference", "lo", "hi", "n", "d", "p"]]
    return table.assign(p_holm=resampling.holm(table["p"])), notes
