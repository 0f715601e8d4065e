"""From predictions to numbers: their scores, row by row and system by system, paired comparisons, and what is wrong with each system.

Predictions are files; everything after them is recomputed in seconds without a model.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from .. import resampling
from ..cells import DASH
from ..config import RunConfig
from ..files import csv_text
from ..locate import find
from ..systems import SYSTEM_KINDS, system_kind, system_labels, system_order
from ..world.questions import in_common_order
from . import diagnosis, fluency, metrics, readability, swap
from .answer_files import load_predictions
from .encoder import load_encoder
from .option_labels import read_option
from .stance import StanceReader, stance_sentences

MODEL_METRICS = ("bleu", "rouge1", "rouge2", "rougeL", "bertscore_f1", "quality", "length_sim", "sentence_sim", "sentiment_sim", "semantic_sim")
SWAPS = ("rouge1", "rouge1_masked", "rouge1_content", "semantic", "option")


def score_rows(run: RunConfig, preds: pd.DataFrame, everyone: pd.DataFrame, reader: StanceReader | None, judge: fluency.Judge | None = None) -> pd.DataFrame:
    """All row metrics of all systems.

    Args:
        preds: from `load_predictions`. everyone: all splits' records with `target`. reader: of answers without a label; None: the label rule alone.
            judge: of how odd the words are, asked about the models' answers; None: not measured.
    Returns: one row a system and test record: the metrics, `length_chars`, `chosen`, `target` (options as positions in the order that all rows with these
        labels share), `n_options`, `swap_gap_*`, `swap_auc_*`, `pair_in_train`, and what `readability.measure` gives.
    """
    encoder = load_encoder("minilm")
    target = everyone.drop_duplicates("id").set_index("id")["target"]
    preds = preds.assign(chosen=_chosen_options(preds, reader), target=preds["id"].map(target).to_numpy())
    rows = metrics.score_rows(preds, encoder=encoder, bert_encoder=load_encoder(run.settings.encoder), reader=reader)
    phrases = swap.phrases_of(preds["question_id"])
    if not phrases:
        print("these data ship no list of turns of phrase: the swap gap on content takes out the cards' words alone")
    swapped = swap.swap_scores(preds, phrases=phrases, encoder=encoder)
    options = list(preds["options"].where(preds["options"].notna(), None))
    read = readability.measure(preds, pool=everyone.assign(chosen=everyone["target"]))
    if judge is not None:
        models = preds[preds["system"].map(system_kind).isin(["untuned", "tuned"])]
        read = read.join(fluency.measure_fluency(models, judge).reindex(read.index))
    train = everyone[everyone["part"] == "train"]
    seen = set(zip(train["persona_id"], train["question_id"], strict=True))
    return rows.assign(
        status=preds["status"], length_chars=preds["prediction"].str.len(), n_options=[np.nan if o is None else len(o) for o in options],
        **{c: in_common_order(options, preds[c]) for c in ("chosen", "target")},
        pair_in_train=[p in seen for p in zip(preds["persona_id"], preds["question_id"], strict=True)],
        **{c: swapped[c] for c in swapped if "swap_" in c or c.startswith("n_")}, **read,
    )  # fmt: skip


def _chosen_options(preds: pd.DataFrame, reader: StanceReader | None) -> np.ndarray:
    """The option each answer takes (0-based), -1 where no stance was found, NaN for open items."""
    closed = preds["options"].notna().to_numpy()
    part = preds[closed]
    if reader is not None:
        read = reader.read(part["prediction"].tolist(), part["options"].tolist(), part["question_id"].tolist())
    else:
        read = [read_option(p, o) for p, o in zip(part["prediction"], part["options"], strict=True)]
    chosen = np.full(len(preds), np.nan)
    chosen[closed] = [-1 if option is None else option for option in read]
    return chosen


def score_systems(rows: pd.DataFrame, preds: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Each system's scores with 95 % bootstrap intervals: (system, metric, value, lo, hi, n, n_failed, n_cut); `n_cut`: rows with a text that the encoder cuts.

    Personas are resampled, not rows: answers of one persona are alike (ROUGE-1's interval is a tenth wider for it on the paper's split, with 1.5 rows a
    persona, and more on the grouped one, with 8). Corpus BLEU resamples rows; diversity is sampled without replacement (`metrics.score_set`).
    """
    swaps = [f"swap_{kind}_{name}" for name in SWAPS for kind in ("gap", "auc") if f"swap_{kind}_{name}" in rows]
    reading = [m for m in (*readability.MEASURES, *fluency.FLUENCY) if m in rows]
    by_people = resampling.by_parts(rows)
    table = [metrics.summarise_rows(by_people, metrics=names, cluster="persona_id", seed=seed) for names in (MODEL_METRICS, reading, swaps)]
    for system, part in rows.groupby("system", sort=False):
        whole = metrics.score_set(preds[preds["system"] == system], seed=seed)
        stances = pd.DataFrame(_stance_scores(part[part["target"].notna() & part["chosen"].notna() & ~part["failed"]], seed))
        table += [t.assign(system=system, n_failed=int(part["failed"].sum())) for t in (whole, stances) if len(t)]
    cuts = rows.groupby("system")["cut"].sum() if "cut" in rows else pd.Series(dtype=int)
    table = pd.concat(table, ignore_index=True)
    return table.assign(n_cut=table["system"].map(cuts).fillna(0).astype(int))


def _stance_scores(closed: pd.DataFrame, seed: int) -> list[dict]:
    """Accuracy, kappa (items with more than two options) and share found of one system's closed answers; [] without any."""
    if closed.empty:
        return []
    people = list(closed["persona_id"])
    hit = resampling.bootstrap_mean((closed["chosen"] == closed["target"]).astype(float), clusters=people, seed=seed)
    read = resampling.bootstrap_mean((closed["chosen"] >= 0).astype(float), clusters=people, seed=seed)
    more = closed[(closed["n_options"] > 2) & (closed["chosen"] >= 0)]
    taken = [more[c] / (more["n_options"] - 1) for c in ("chosen", "target")]
    kappa = resampling.bootstrap_kappa(*taken, items=more["question_id"], clusters=list(more["persona_id"]), seed=seed)
    scores = {"stance_acc": hit, "stance_qwk": kappa, "stance_found": read}
    return [{"metric": m, "value": s["mean"], "lo": s["lo"], "hi": s["hi"], "n": s["n"]} for m, s in scores.items()]


def compare_systems(rows: pd.DataFrame, pairs: Sequence[tuple[str, str]], *, wanted: Sequence[str], seed: int) -> pd.DataFrame:
    """Paired comparison of systems on the rows that both answered; people are resampled, and flipped.

    Returns: one row a pair and metric: a, b, metric, difference (a - b), lo, hi, n, d (effect size), p (permutation), p_holm (over all lines).
    """
    rows = rows if rows["failed"].any() else resampling.by_parts(rows)
    wide = rows.pivot(index=["id", "persona_id"], columns="system", values=list(wanted))
    gaps = pd.DataFrame({(a, b, m): wide[m][a] - wide[m][b] for a, b in pairs for m in wanted})
    gaps.columns = pd.MultiIndex.from_tuples(gaps.columns, names=["a", "b", "metric"])
    people = wide.index.get_level_values("persona_id")
    means = resampling.bootstrap_means(gaps, clusters=people, seed=seed).rename(columns={"mean": "difference"})
    p = resampling.permutation_p(gaps, clusters=people, seed=seed)
    return means.assign(d=(gaps.mean() / gaps.std().replace(0, np.nan)).to_numpy(), p=p, p_holm=resampling.holm(p)).reset_index()


def span_table(table: pd.DataFrame, labels: Mapping[str, str], form: str = ".3f") -> pd.DataFrame:
    """A small table of a large one: each control in a row, all untuned models in one row (lowest to highest value), all tuned models in another.

    Args: table: systems by metrics. labels: system -> name. form: how a number is written.
    """
    rows = {}
    for kind in SYSTEM_KINDS:
        here = table.loc[[system for system in sorted(table.index, key=system_order) if system_kind(system) == kind]]
        if kind in ("untuned", "tuned") and len(here) > 1:
            rows[f"{len(here)} {kind} models"] = {m: f"{here[m].min():{form}} to {here[m].max():{form}}" for m in here}
        else:
            rows |= {labels[system]: {m: f"{v:{form}}" if np.isfinite(v) else DASH for m, v in line.items()} for system, line in here.iterrows()}
    return pd.DataFrame.from_dict(rows, orient="index")


def orders_beside_paper(table: pd.DataFrame, printed: pd.DataFrame, wanted: Sequence[str]) -> pd.DataFrame:
    """Whether our models stand in the paper's order: one row a metric, first_paper and first_ours (keys; the paper has ties), rank correlation.

    Args: table, printed: models by metrics, ours and the paper's (`paper.printed_scores("Table II")`). Only the models of `table` are compared; one alone
            has no order.
    """
    rows = {}
    for metric in wanted if len(table) > 1 else ():
        both = pd.DataFrame({"paper": printed[metric], "ours": table[metric]}).loc[table.index]
        first = both.index[both["paper"] == both["paper"].max()]
        rows[metric] = {"first_paper": list(first), "first_ours": both["ours"].idxmax(), "rank_correlation": both.corr("spearman").iloc[0, 1]}
    return pd.DataFrame.from_dict(rows, orient="index")


def without_memory(rows: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """The scores on test rows whose persona-question pair is not in train: systems by metrics; no rows if no pair, or every pair, is repeated."""
    repeated = rows["pair_in_train"]
    if not repeated.any() or repeated.all():
        return pd.DataFrame()
    scores = metrics.summarise_rows(rows[~repeated], metrics=["bleu", "rouge1", "rougeL", "bertscore_f1", "quality"], seed=seed)
    return scores.pivot(index="system", columns="metric", values="value")


def stance_reader(run: RunConfig) -> StanceReader | None:
    """The reader of answers without a label, fitted on the authored stance sentences; foreign questions are read by the label rule alone."""
    return None if run.data else StanceReader().fit(*stance_sentences())


def score(run: RunConfig, parts: dict[str, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score all stored predictions: writes `scores/rows.parquet` and `scores/systems.csv`. Returns (rows, systems).

    Opened alone, with the published predictions, the published scores are read and nothing is written.
    """
    source, known = find(run, "preds"), system_labels(run)
    if not source.is_relative_to(run.paths.results):
        tables = pd.read_parquet(find(run, "scores/rows.parquet")), pd.read_csv(find(run, "scores/systems.csv"))
        return tuple(table[table["system"].isin(known)].reset_index(drop=True) for table in tables)
    preds = load_predictions(source)
    preds = preds[preds["system"].isin(known)].reset_index(drop=True)
    judge, reason = fluency.judge_here() if run.settings.fluency else (None, "")
    if reason:
        print(f"how odd the words are is not measured: {reason}")
    rows = score_rows(run, preds, pd.concat(parts.values(), ignore_index=True), stance_reader(run), judge)
    systems, folder = score_systems(rows, preds, seed=run.seed), run.paths.folder("scores")
    rows.to_parquet(folder / "rows.parquet", index=False, compression="zstd")
    systems.round(6).to_csv(folder / "systems.csv", index=False)
    unseen = ~rows["pair_in_train"].to_numpy()
    if not unseen.all():  # parts belong to whole questions
        score_systems(resampling.without_parts(rows[unseen]), preds[unseen], seed=run.seed).round(6).to_csv(folder / "systems_unseen_pairs.csv", index=False)
    return rows, systems


def diagnose(run: RunConfig, parts: dict[str, pd.DataFrame], rows: pd.DataFrame, systems: pd.DataFrame) -> pd.DataFrame:
    """What is wrong with each system, in plain lines (`diagnosis.diagnose_systems`); written to `scores/findings.csv`."""
    preds = load_predictions(find(run, "preds"))
    preds = preds[preds["system"].isin(set(systems["system"]))]
    findings = diagnosis.diagnose_systems(preds, rows, systems, pool=pd.concat(parts.values(), ignore_index=True), seed=run.seed)
    findings.assign(text=findings["text"].map(csv_text)).round(6).to_csv(run.paths.folder("scores") / "findings.csv", index=False)
    return findings


_CHECKS = {
    "real_words": "a word that no list has", "word_order": "words out of order", "on_topic": "about something else", "reason_fits": "reason against option",
}  # fmt: skip


def read_worst(rows: pd.DataFrame, system: str, *, n: int = 10) -> pd.DataFrame:
    """The answers of a system that read worst: index id, column why. Most failed checks first, then what is oddest to a language model (`nats_token`) where it
    was asked, else what is least like its reference (BERTScore)."""
    own = rows[(rows["system"] == system) & ~rows["failed"].astype(bool)].set_index("id")
    wrong = own[list(_CHECKS)].eq(0)  # NaN: the check does not apply
    odd = "nats_token" if "nats_token" in own and own["nats_token"].notna().any() else "bertscore_f1"
    order = pd.DataFrame({"wrong": wrong.sum(axis=1), "odd": own[odd] if odd == "nats_token" else -own[odd]})
    worst = order.sort_values(["wrong", "odd"], ascending=False, kind="stable").index[:n]
    why = [", ".join(words for check, words in _CHECKS.items() if wrong.loc[i, check]) or f"{odd} {own.loc[i, odd]:.2f}" for i in worst]
    return pd.DataFrame({"why": why}, index=worst)
