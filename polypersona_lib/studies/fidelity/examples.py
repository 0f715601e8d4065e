"""One person, worked out in plain text: the examples that notebook 08 shows before each table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import shorten

import numpy as np
import pandas as pd

from ...prompts.chat import render_card
from . import attribute_probes as probes
from . import candidates
from . import effects as effects
from . import option_scores as sheet
from . import text_scores as text

_SIDES = {-1: "lower half", 0: "middle", 1: "upper half"}


def sheet_example(panel: sheet.Panel, items: Iterable[int], person: int = 0) -> str:
    """Some items of one sheet: the probability of each option, the respondent's own option in square brackets."""
    lines = []
    for j in items:
        q, probs = panel.items[j], panel.probs[person, j]
        given = (f"[{o}] {probs[i]:.2f}" if i == panel.truth[person, j] else f"{o} {probs[i]:.2f}" for i, o in enumerate(q.options))
        lines.append(f"{q.text}\n   {', '.join(given)}")
    return "\n".join(lines)


def swap_example(panel: sheet.Panel, person: int = 0) -> str:
    """The item about which the sheet is surest: the probability of the own true option beside the others' true options."""
    j = int(panel.probs[person].max(1).argmax())
    own, others = panel.probs[person, j, panel.truth[person, j]], panel.probs[person, j, np.delete(panel.truth[:, j], person)]
    ratio = np.log(max(own, candidates.LEAST)) - np.log(np.maximum(others, candidates.LEAST)).mean()
    return (f"{panel.items[j].text}\n   own true option: probability {own:.3f}; the {len(others)} others' true options: {others.mean():.3f} on average"
            f"\n   difference {own - others.mean():+.3f}; log-likelihood ratio {ratio:+.3f} nats")  # fmt: skip


def guess_example(panel: sheet.Panel, cards: Sequence[dict], count: int = 5) -> str:
    """The first person's sheet and `count` people: the log-likelihood of each one's true options under it, 0 for the best."""
    likely = sheet.option_likelihood(panel)[0, :count]
    lines = [f"{v:9.2f}  {shorten(render_card(c), 110)}" for v, c in zip(likely - likely.max(), cards, strict=False)]
    return "\n".join([f"{lines[0]}   <- whose sheet it is", *lines[1:]])


def probe_example(panel: sheet.Panel, cards: Sequence[dict], attribute: str = "traits") -> str:
    """One fold of the probe of one attribute: the people it has not seen, ordered by its guess. Empty if the attribute is too rare."""
    labels = probes.card_labels(cards, fewest=probes.FEWEST)
    column = next((c for c in labels.columns if c[0] == attribute), None)
    if column is None:
        return ""
    x, fold = probes.standardised(sheet.item_scores(panel)), np.arange(0, len(cards), 5)
    guess = probes.held_out_map(x, fold, x.shape[1]) @ labels[column].to_numpy()
    row = "".join("#" if has else "." for has in labels[column].to_numpy()[fold][np.argsort(guess, kind="stable")])
    return f"'{column[1]}': {len(fold)} people whom the probe has not seen, from its lowest guess to its highest (# has it)\n   {row}"


def attitude_example(panel: sheet.Panel, construct: str, person: int = 0) -> str:
    """One construct of one sheet: the items' expected options, the implied attitude, and the true one."""
    scores, column = sheet.item_scores(panel)[person], panel.constructs.index(construct)
    lines = [f"   {v:.2f}  {q.text}{' (turned round)' if q.key < 0 else ''}" for v, q in zip(scores, panel.items, strict=True) if q.construct == construct]
    implied = sheet.implied_attitudes(panel)[:, column]
    lines.append(f"implied {construct}: {implied[person]:.2f} (all people: mean {implied.mean():.2f}, standard deviation {implied.std():.2f})")
    return "\n".join([*lines, f"true attitude: {panel.theta[person, column]:+.2f} (population: mean 0, standard deviation 1)"])


def contradiction_example(panel: sheet.Panel, construct: str, person: int = 0) -> str:
    """Two items of opposite keys of one construct: where the respondent's answers lie, and the sheet's chances of either half."""
    of = [j for j, q in enumerate(panel.items) if q.construct == construct]
    pair = next((i, j) for i in of for j in of if panel.items[i].key > 0 > panel.items[j].key)
    lines = []
    for j in pair:
        q, probs, t = panel.items[j], panel.probs[person, j], int(panel.truth[person, j])
        half, side = len(q.options) // 2, _SIDES[int(np.sign(2 * t - len(q.options) + 1))]
        upper = probs[len(q.options) - half : len(q.options)].sum()
        lines.append(f"{q.text}\n   respondent: {q.options[t]} ({side}); model: lower half {probs[:half].sum():.2f}, upper half {upper:.2f}")
    return "\n".join(lines)


def effects_example(panels: dict[str, sheet.Panel], cards: Sequence[dict], construct: str, count: int = 6) -> pd.DataFrame:
    """The strongest attributes of the first panel's people on one construct: every panel's coefficients as `value [95 % interval]`, and whether the first's
    differs from 0."""
    x, names = effects.design(cards)
    first = next(iter(panels.values()))
    column = first.constructs.index(construct)
    fits = {name: [part[:, column] for part in effects.slopes(x, sheet.implied_attitudes(p))] for name, p in panels.items()}
    found = {name: [f"{v:+.3f} [{v - w:+.3f}, {v + w:+.3f}]" for v, w in zip(value, wide, strict=True)] for name, (value, wide, _) in fits.items()}
    table = pd.DataFrame(found, index=names[1:]).assign(clear=effects.significant(x, sheet.implied_attitudes(first))[:, column])
    strongest = np.argsort(-np.abs(next(iter(fits.values()))[0]), kind="stable")
    return table.iloc[strongest[:count]]


def memory_example(answer: str, train: Iterable[str]) -> str:
    """How many words of an answer, in a row, stand in some train answer."""
    said, known = text.spoken(answer), [text.spoken(t) for t in train]
    longest = next((n for n in range(len(said), 0, -1) if any(not text.runs_of(said, n).isdisjoint(text.runs_of(t, n)) for t in known)), 0)
    return f"{len(said)} words; the longest run of words that also stands in a train answer: {longest}"
