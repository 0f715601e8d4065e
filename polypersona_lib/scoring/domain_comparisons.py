"""What a score by domain can say: leads with their intervals, best and weakest domains, the same mix of question types, spread of lengths, gains."""

from collections.abc import Iterable, Sequence

import pandas as pd

from .. import resampling
from ..config import RunConfig
from ..locate import find
from ..world.questions import DOMAINS


def domain_leads(rows: pd.DataFrame, systems: Sequence[str], domains: Iterable[str], *, seed: int = resampling.SEED) -> pd.DataFrame:
    """How far the best system of each domain leads the next in BLEU, with a 95 % interval over personas; domains with one system or row are left out.

    Args: rows: `scores/rows.parquet`. Returns: columns domain, top, next (systems), gap, lo, hi, n (rows that both answered).
    """
    leads = []
    for domain in domains:
        part = rows[(rows["domain"] == domain) & rows["system"].isin(systems)]
        wide = part.pivot(index=["id", "persona_id"], columns="system", values="bleu").dropna()
        first, second = [*wide.mean().sort_values(ascending=False).index, None, None][:2]
        if second is not None and len(wide) > 1:
            gap = resampling.paired_bootstrap(wide[first], wide[second], clusters=list(wide.index.get_level_values("persona_id")), seed=seed)
            leads.append({"domain": domain, "top": first, "next": second, "gap": gap["mean"], "lo": gap["lo"], "hi": gap["hi"], "n": gap["n"]})
    return pd.DataFrame(leads, columns=["domain", "top", "next", "gap", "lo", "hi", "n"])


def domain_extremes(by_domain: pd.DataFrame, metric: str, systems: Sequence[str]) -> pd.DataFrame:
    """Best and weakest domain of each system by `metric`.

    Args: by_domain: from `domain_scores`. Returns: index system; best, worst, best_value, best_lo, best_hi, worst_value, not_below (other domains whose
        interval reaches the best one's), lower_half (list of the weaker half, weakest first).
    """
    lines = {}
    for system in systems:
        ranked = by_domain[(by_domain["metric"] == metric) & (by_domain["system"] == system)].dropna(subset="value").sort_values("value")
        best, worst = ranked.iloc[-1], ranked.iloc[0]
        lines[system] = {
            "best": best["domain"], "worst": worst["domain"], "best_value": best["value"], "best_lo": best["lo"], "best_hi": best["hi"],
            "worst_value": worst["value"], "not_below": int((~(ranked["hi"] < best["lo"]) & (ranked["domain"] != best["domain"])).sum()),
            "lower_half": list(ranked["domain"])[: len(ranked) // 2],
        }  # fmt: skip
    return pd.DataFrame.from_dict(lines, orient="index")


def same_type_mix(rows: pd.DataFrame, weights: pd.Series) -> pd.DataFrame:
    """Mean BLEU of each domain as it is, and with its question types weighted alike (the weights of missing types are shared by the others).

    Args: rows: those of one system. weights: share of each question type. Returns: index domain; as it is, same mix of types, types present.
    """
    cells = rows.groupby(["domain", "question_type"])["bleu"].mean().unstack().reindex(columns=weights.index)
    mixed = (cells * weights).sum(axis=1) / cells.notna().mul(weights).sum(axis=1)
    means = rows.groupby("domain")["bleu"].mean()
    return pd.DataFrame({"as it is": means, "same mix of types": mixed, "types present": cells.notna().sum(axis=1)}).dropna()


def length_variation(lengths: pd.DataFrame) -> dict[str, float]:
    """Coefficients of variation of `length_chars`: of the domains' means and of their medians; "within a domain" is the mean spread over the mean length."""
    grouped = lengths.groupby("domain")["length_chars"]
    means, medians = grouped.mean(), grouped.median()
    between = {"between domains": means.std(ddof=0) / means.mean(), "between their medians": medians.std(ddof=0) / medians.mean()}
    return {name: float(share) for name, share in (between | {"within a domain": grouped.std().mean() / means.mean()}).items()}


def domain_accuracy(run: RunConfig) -> pd.DataFrame:
    """Stance accuracy by system and domain (`scores/domain_accuracy.csv`), the paper's domains in its order; no rows for foreign data (said in one line)."""
    if run.data:
        print("foreign data: nobody's true answer is known; domain-specific accuracy does not apply")
        return pd.DataFrame(columns=["system", "metric", "domain", "value", "lo", "hi", "n"])
    accuracy = pd.read_csv(find(run, "scores/domain_accuracy.csv")).query("metric == 'stance_acc'")
    return accuracy.sort_values("domain", key=lambda keys: keys.map(list(DOMAINS).index), kind="stable")


def gains_over_majority(accuracy: pd.DataFrame, system: str) -> pd.DataFrame:
    """Accuracy of one system by domain beside the majority answer and the oracle that reads the card.

    Args: accuracy: `scores/domain_accuracy.csv`, one metric. Returns: index domain; value, lo, hi, answers, gain (over majority), room (what a card allows).
    """
    wide = accuracy.pivot(index="domain", columns="system", values="value").reindex(columns=["majority", "oracle_card"])
    own = accuracy[accuracy["system"] == system].set_index("domain")
    table = own[["value", "lo", "hi"]].assign(answers=own["n"].astype(int))
    return table.assign(gain=table["value"] - wide["majority"], room=wide["oracle_card"] - wide["majority"])
