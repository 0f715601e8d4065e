"""What a request that names hardship changes (`tier_writer.balanced_cards`): does it close the hardship gap, and what does it cost?"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ... import resampling
from ...people.places import YEARS, democratic_share
from .bias_measures import outcomes
from .persona_text import hardship, human_hardship, tone
from .plan import Gathered
from .tier_writer import EVENTS


def balanced_table(gathered: Gathered) -> pd.DataFrame:
    """The balanced request beside the plain one, main generator and simulator, people paired, states resampled: index measure; before, balanced, change, lo,
    hi, n, people (NaN where there is no such number). Who lacks one of both narratives is left out.

    Measures: any hardship named (people: their rate); of a person's real hardships the share that is named, and of the six the share that is named without
    being theirs; polarity and vader_sentence of the text; alignment with the votes of the states in each year.
    """
    frames, seed = gathered.frames, gathered.seed
    cards, answers, after = frames["cards"], frames["answers"], frames["balanced"].drop_duplicates("persona_id")
    plain = (cards["generator"] == gathered.generators[0]) & (cards["tier"] == "descriptive") & (cards["text"] != "")
    before = cards[plain].rename(columns={"text": "card"})
    told = (answers["generator"] == gathered.generators[0]) & (answers["simulator"] == gathered.simulators[0]) & (answers["tier"] == "descriptive")
    votes = {"before": answers[told & answers["item"].isin(set(frames["balanced"]["item"]))], "balanced": frames["balanced"]}
    both = after.dropna(subset=["card"]).merge(before[["persona_id", "card"]], on="persona_id", suffixes=("", "_before"))
    if both.empty:
        return pd.DataFrame(columns=["before", "balanced", "change", "lo", "hi", "n", "people"]).rename_axis("measure")
    states, shown = list(both["state"]), {}
    texts = {"before": both["card_before"].tolist(), "balanced": both["card"].tolist()}
    wanted = [set(filter(None, asked.split(","))) for asked in both["asked"]]
    for name, own in texts.items():
        said, tones = list(map(hardship, own)), tone(own)
        shown["any hardship", name] = [float(bool(s)) for s in said]
        shown["own hardships named", name] = [len(s & w) / len(w) if w else np.nan for s, w in zip(said, wanted, strict=True)]
        shown["others named", name] = [len(s - w) / len(EVENTS) for s, w in zip(said, wanted, strict=True)]
        shown |= {(measure, name): tones[measure] for measure in ("polarity", "vader_sentence")}
    lines = {measure: _line(shown[measure, "before"], shown[measure, "balanced"], states, seed) for measure in dict.fromkeys(m for m, _ in shown)}
    people = {"any hardship": float(human_hardship()["any"])}
    scored = [outcomes(votes[name]).dropna(subset=["score"])[["persona_id", "state", "item", "score"]] for name in ("before", "balanced")]
    pairs = scored[0].merge(scored[1].drop(columns="state"), on=["persona_id", "item"], suffixes=("_before", "_balanced"))
    for year in YEARS:
        shares = pairs[pairs["item"] == f"state_votes.{year}"].groupby("state")[["score_before", "score_balanced"]].mean()
        near = 1 - shares.sub(democratic_share(year)[shares.index], axis=0).abs()
        lines[f"alignment {year}"] = _line(near["score_before"], near["score_balanced"], list(near.index), seed)
    return pd.DataFrame(lines).T.rename_axis("measure").assign(people=lambda table: table.index.map(people).astype(float))


def _line(before: Sequence, after: Sequence, states: list, seed: int) -> dict:
    """Means over the units that have both, and the interval of their difference."""
    pair = pd.DataFrame({"before": np.asarray(before, dtype=float), "balanced": np.asarray(after, dtype=float)})
    made = resampling.bootstrap_mean(pair["balanced"] - pair["before"], clusters=states, seed=seed)
    means = pair[pair.notna().all(axis=1)].mean()
    return {"before": means["before"], "balanced": means["balanced"], "change": made["mean"], "lo": made["lo"], "hi": made["hi"], "n": made["n"]}
