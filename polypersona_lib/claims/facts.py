"""What a run can say about the paper's claims: facts of the data set, facts of the training runs, and scores by domain."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from .. import paths, resampling
from ..config import RunConfig
from ..world.paper import TABLE2
from ..world.questions import DOMAINS, TYPES, load_questions


def ablation_facts(out: str = "") -> dict:
    """What the ablation study found (`ablations.json` of the last run under `out`, else the published one), for the claims ledger; {} if there is none."""
    for folder in (paths.run_paths("ablations", out).results, paths.ROOT / "results" / "shipped"):
        path = folder / "ablations.json"
        if path.exists():
            findings = json.loads(path.read_text(encoding="utf-8"))
            return {f"ablation.{name}": findings[name] for name in ("retained", "retained_qlora", "saved", "budget", "measured")}
    return {}


DOMAIN_METRICS = (*TABLE2.values(), "length_chars")


def dataset_facts(parts: dict[str, pd.DataFrame], *, source: str = "embedded") -> dict:
    """Counts and shares of a data set, by the ids that `data/paper_claims.csv` uses (`records`, `rows.finance`, `share.one_domain`...).

    Args:
        parts: split name -> frame of `dataset.read_split`. source: "embedded", or the name of foreign data; verdicts then say so.
    Returns: facts; shares in [0, 1], `balance.*` in percentage points. What foreign data do not have (persona types, instruments) is left out.
    """
    frame = pd.concat([part.assign(part=name) for name, part in parts.items()], ignore_index=True)
    n = len(frame)
    people, items = frame.drop_duplicates("persona_id"), frame.drop_duplicates("question_id")
    domains = frame.groupby("persona_id")["domain"].nunique()
    facts = {"source": source, "records": n, "personas": len(people), "questions": len(items)}
    facts |= {"domains": frame["domain"].nunique(), "types": frame["question_type"].nunique()}
    facts |= {f"rows.{d}": int((frame["domain"] == d).sum()) for d in {**dict.fromkeys(DOMAINS), **dict.fromkeys(frame["domain"])}}
    facts |= {f"share.rows.{d}": facts[f"rows.{d}"] / n for d in DOMAINS}
    facts |= {f"share.questions_type.{t}": float((items["question_type"] == t).mean()) for t in TYPES}
    facts |= {f"share.split.{name}": len(part) / n for name, part in parts.items()}
    facts |= {"share.one_domain": float((domains == 1).mean()), "share.several_domains": float((domains > 1).mean())}
    facts |= {
        "share.distinct_ids": frame["id"].nunique() / n,
        "share.records_as_triplet": float(frame["messages"].map(lambda ms: [m["role"] for m in ms] == ["system", "user", "assistant"]).mean()),
        "share.records_with_persona": float(frame["persona"].map(bool).mean()),
        "share.records_with_type_and_domain": float((frame["question_type"].fillna("").ne("") & frame["domain"].fillna("").ne("")).mean()),
        "answers.distinct": frame["reference"].nunique() / n,
        "answers.length_cv": float(frame["reference"].str.len().std() / frame["reference"].str.len().mean()),
        "balance.split": _imbalance(frame, "domain", "question_type"),
    }
    kinds = frame["persona"].map(lambda card: card.get("category") if isinstance(card, dict) else None)
    if kinds.notna().all():
        facts |= {f"share.rows_type.{k}": float((kinds == k).mean()) for k in sorted(set(kinds))}
        facts["balance.split.category"] = _imbalance(frame.assign(category=kinds), "category")
        own = kinds[people.index]
        facts |= {f"share.personas_type.{k}": float((own == k).mean()) for k in sorted(set(own))} | {"categories": own.nunique()}
    if source == "embedded":
        asked = [q.instrument for q in load_questions().values() if q.id in set(items["question_id"])]
        facts |= {f"instrument.{name}": asked.count(name) for name in sorted(set(asked))}
    return facts


def _imbalance(frame: pd.DataFrame, *columns: str) -> float:
    """Largest distance, in percentage points, between a split's share of a value of the columns and the share of it in all rows."""
    gaps = [0.0]
    for column in columns:
        within, overall = pd.crosstab(frame["part"], frame[column], normalize="index"), frame[column].value_counts(normalize=True)
        gaps.append(float((within - overall).abs().to_numpy().max() * 100))
    return max(gaps)


def all_facts(run: RunConfig, parts: dict[str, pd.DataFrame], runs: Sequence[dict]) -> dict:
    """Every fact that the ledger reads: of the data set (`dataset_facts`), of the run records and, for the embedded data, of the ablation study."""
    source = Path(run.data).name if run.data else "embedded"
    return dataset_facts(parts, source=source) | run_facts(runs) | ({} if run.data else ablation_facts(run.out))


def run_facts(runs: Sequence[dict]) -> dict:
    """Facts of the training runs (run records): `cuda`, `share.trainable.<model>` (trainable over all parameters of the model that really ran), and
    `recipe.<name>`, what they trained with: a smaller machine splits a batch otherwise than the profile says."""
    facts: dict = {"cuda": bool(runs) and all(not str(r.get("device", "CPU")).startswith("CPU") for r in runs)}
    used = next((r["train_spec"] for r in runs if "train_spec" in r), {})
    return facts | {f"share.trainable.{r['model']}": r["share"] for r in runs if "share" in r} | {f"recipe.{name}": value for name, value in used.items()}


def domain_scores(rows: pd.DataFrame, *, metrics: Sequence[str] = DOMAIN_METRICS, seed: int = resampling.SEED) -> pd.DataFrame:
    """Means of `rows` (scores/rows.parquet) by system and domain, failed rows left out: system, metric, domain, value, lo, hi, n (95 %, people resampled)."""
    alive = rows[rows["status"] == "ok"] if "status" in rows else rows
    wanted = [m for m in metrics if m in alive]
    lines = []
    for (system, domain), part in alive.groupby(["system", "domain"], sort=True):
        people = part["persona_id"] if "persona_id" in part else None
        means = resampling.bootstrap_means(part[wanted], clusters=people, n_boot=1000, seed=seed).rename(columns={"mean": "value"})
        lines.append(means.rename_axis("metric").reset_index().assign(system=system, domain=domain))
    columns = ["system", "metric", "domain", "value", "lo", "hi", "n"]
    return pd.concat(lines, ignore_index=True)[columns] if lines else pd.DataFrame(columns=columns)


def all_scores(systems: pd.DataFrame, rows: pd.DataFrame, *, seed: int = resampling.SEED) -> pd.DataFrame:
    """What `ledger.judge` reads: `scores/systems.csv` (as domain "all") and the scores by domain, in one frame."""
    return pd.concat([systems.assign(domain="all"), domain_scores(rows, seed=seed)], ignore_index=True)
