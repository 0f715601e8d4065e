"""All tables of one pilot, and what they object to in words: from items, people and answers, and real people's answers if there are any. It reads no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pandas as pd

from ..errors import InputError
from . import against_people, item_measures, scale_measures
from .panel import Panel, attributes_of, human_panel, items_with_options, read_panel
from .wording import CHECKS, labelled_items, wording_error_rates, wording_flags

UNREAD, REFUSED = 0.05, 0.20  # share of the answers, from which on an item is named
UNMOVED = 0.01  # total variation distance that the strongest attribute must reach, or the item does not read the card
NEGLIGIBLE_MASS = 0.5  # answers that begin with no option, from which on an item is named


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a pilot is made of.

    Args:
        items: of the questionnaire, other wordings among them. people: `PEOPLE_COLUMNS`. answers: `ANSWER_COLUMNS`, of one system or more.
        changed_answers, changes: answers of people with one attribute changed, and who they are (persona_id, of, attribute); None if nobody was asked.
        humans, human_answers: real people (as `people`), and persona_id -> item id -> what they answered; None without them.
        difference: what is to be seen, on a scale of 0 to 1. labels: system -> its name for readers, where it is another one.
    """

    items: tuple
    people: pd.DataFrame
    answers: pd.DataFrame
    changed_answers: pd.DataFrame | None = None
    changes: pd.DataFrame | None = None
    humans: pd.DataFrame | None = None
    human_answers: Mapping[str, Mapping] | None = None
    difference: float = 0.1
    seed: int = 42
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pilot:
    """What a pilot says: `tables` by name, `findings` (columns question_id, system, kind, text; question_id "" for the whole), `worth` (system -> sentence)."""

    material: Material
    tables: dict[str, pd.DataFrame]
    findings: pd.DataFrame
    worth: dict[str, str] = field(default_factory=dict)

    def labelled(self) -> Pilot:
        """The same for readers: systems by their names (`Material.labels`), so that a small twin is not taken for the model it is called after."""
        names = self.material.labels

        def named(table: pd.DataFrame) -> pd.DataFrame:
            return table.assign(**{c: [names.get(s, s) for s in table[c]] for c in ("system", "compared") if c in table})

        tables = {name: named(table) for name, table in self.tables.items()}
        worth = {names.get(system, system): sentence for system, sentence in self.worth.items()}
        return Pilot(material=replace(self.material, answers=named(self.material.answers)), tables=tables, findings=named(self.findings), worth=worth)


def run_pilot(material: Material) -> Pilot:
    """All measures of all systems."""
    people = with_weights(material.people, material.humans)
    panels = [read_panel(rows, material.items, people) for _, rows in material.answers.groupby("system", sort=False)]
    if not items_with_options(material.items):
        tables = {"wording": _wording(material), "counts": _together([_counts(p) for p in panels])}
        return Pilot(material=material, tables=tables, findings=objections(tables))
    humans, attributes = real_panel(material.items, material.humans, material.human_answers), attributes_of(_everybody(material))
    parts = [_own_tables(p, material, attributes) for p in panels]
    if humans is not None:
        parts += [_own_tables(humans, material, attributes)]
    tables = {"wording": _wording(material), "wording_error_rates": wording_error_rates(labelled_items("test")).rename_axis("check").reset_index()}
    tables |= {name: _together([part[name] for part in parts if name in part]) for name in dict.fromkeys(n for part in parts for n in part)}
    worth = {}
    if humans is not None:
        compared = [_beside_people(p, humans, material, attributes) for p in panels]
        tables |= {name: _together([part[name] for part, _ in compared]) for name in compared[0][0]}
        worth = {p.system: sentence for p, (_, sentence) in zip(panels, compared, strict=True)}
    return Pilot(material=material, tables=tables, findings=objections(tables), worth=worth)


def with_weights(people: pd.DataFrame, humans: pd.DataFrame | None) -> pd.DataFrame:
    """The simulated people, with the weights of the real people they are, if they all are real people and have no weights of their own."""
    if humans is None or people["weight"].notna().any() or humans["weight"].isna().all() or not set(people["persona_id"]) <= set(humans["persona_id"]):
        return people
    return people.assign(weight=people["persona_id"].map(humans.drop_duplicates("persona_id").set_index("persona_id")["weight"]))


def _together(tables: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [t for t in tables if len(t)]
    return pd.concat(filled, ignore_index=True) if filled else tables[0]


def _everybody(material: Material) -> pd.DataFrame:
    """The simulated and the real people, each once, so that both have the same bands of age."""
    tables = [material.people] if material.humans is None else [material.people, material.humans]
    return pd.concat(tables, ignore_index=True).drop_duplicates("persona_id")


def real_panel(items: tuple, humans: pd.DataFrame | None, own: Mapping[str, Mapping] | None) -> Panel | None:
    """The real people of a `Material` as a panel, without those whose weight is 0; None without any.

    Raises: InputError if fewer than two gave an answer that can be read.
    """
    if humans is None or not own:
        return None
    humans = humans[humans["weight"].isna() | (humans["weight"] > 0)] if humans["weight"].any() else humans
    panel = human_panel(own, items, humans, system="real people")
    if (there := int(panel.sheet.answered.any(axis=1).sum())) < 2:
        raise InputError(
            f"real people: {there} gave an answer that is an option of a question; two or more are needed (labels or codes, as in the questionnaire)"
        )
    return panel


def _wording(material: Material) -> pd.DataFrame:
    flags = wording_flags([item.text for item in material.items], [item.options for item in material.items])
    flags.insert(0, "question_id", [item.id for item in material.items])
    return flags


def _counts(panel: Panel) -> pd.DataFrame:
    table = panel.counts.rename_axis("question_id").reset_index()
    table.insert(0, "system", panel.system)
    return table


def _own_tables(panel: Panel, material: Material, attributes: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The tables of one panel alone."""
    seed = material.seed
    scales, scale_items = scale_measures.scale_tables(panel, seed=seed)
    tables = {
        "items": item_measures.item_table(panel, attributes, seed=seed), "shares": item_measures.share_table(panel),
        "wordings": item_measures.wording_effects(panel, seed=seed), "acquiescence": scale_measures.acquiescence_table(panel, seed=seed),
        "grids": scale_measures.grid_table(panel), "scales": scales, "scale_items": scale_items, "respondents": scale_measures.by_respondent(panel),
        "counts": _counts(panel),
        "people_needed": item_measures.people_needed(panel.sheet, material.difference, seed=seed).assign(system=panel.system),
    }  # fmt: skip
    if material.changed_answers is not None and (material.changed_answers["system"] == panel.system).any():
        rows = material.changed_answers[material.changed_answers["system"] == panel.system]
        changed = read_panel(rows, material.items, pd.DataFrame({"persona_id": rows["persona_id"].unique()}))
        tables["sensitivity"] = scale_measures.sensitivity(panel, changed, material.changes, seed=seed)
    return tables


def _beside_people(panel: Panel, humans: Panel, material: Material, attributes: pd.DataFrame) -> tuple[dict[str, pd.DataFrame], str]:
    """(the tables that compare one system with real people, whether it was worth anything)."""
    seed = material.seed
    alignment, by_item = against_people.alignment_tables(panel, humans, seed=seed)
    powered = against_people.powered_means(panel, humans, seed=seed)
    tables = {
        "alignment": alignment.assign(compared=panel.system), "alignment_by_item": by_item.assign(compared=panel.system),
        "gaps": against_people.mean_gaps(panel, humans, seed=seed), "groups": against_people.group_errors(panel, humans, attributes, seed=seed),
        "powered_means": powered, "powered_differences": against_people.powered_differences(panel, humans, attributes, seed=seed),
    }  # fmt: skip
    return tables, against_people.worth_sentence(panel.system, alignment, powered)


# --- what they object to -------------------------------------------------------------------------------------------------------------------------


def objections(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Everything that a detector objects to: question_id ("" for the whole), system ("" for the wording), kind, text. In the order of the detectors."""
    made = [*_of_wording(tables["wording"])]
    detectors = {
        "items": _of_items, "counts": _of_counts, "wordings": _of_wordings, "acquiescence": _of_acquiescence, "scale_items": _of_scales, "grids": _of_grids,
        "respondents": _of_respondents, "sensitivity": _of_sensitivity,
    }  # fmt: skip
    for name, detector in detectors.items():
        if name in tables and len(tables[name]):
            made += detector(tables[name])
    return pd.DataFrame(made, columns=["question_id", "system", "kind", "text"])


def _of_wording(table: pd.DataFrame):
    for row in table.to_dict("records"):
        for check in CHECKS:
            if row[check]:
                yield row["question_id"], "", check.replace("_", "-"), row[check]


def _of_items(table: pd.DataFrame):
    for r in table.itertuples():
        if r.at_end:
            share = r.floor if r.at_end == "floor" else r.ceiling
            yield r.question_id, r.system, r.at_end, f"{share:.0%} of the answers are the {'lowest' if r.at_end == 'floor' else 'highest'} option"
        if r.order_matters is not pd.NA and r.order_matters:
            yield r.question_id, r.system, "order", f"an option gains {r.first_gain:+.2f} when it is shown first instead of last"


def _of_counts(table: pd.DataFrame):
    for r in table.itertuples():
        asked = max(r.asked - r.skipped, 1)
        for kind, share, limit, text in (
            ("unread", (r.unread + r.failed) / asked, UNREAD, "of the answers failed or could not be read"),
            ("refused", r.refused / asked, REFUSED, "of the answers are no answer in substance (don't know, refused)"),
            ("off-scale", r.off_scale / asked, NEGLIGIBLE_MASS, "of the answers begin with no option, or lie outside the range"),
        ):
            if share >= limit:
                yield r.question_id, r.system, kind, f"{share:.0%} {text}"


def _of_wordings(table: pd.DataFrame):
    for r in table.itertuples():
        if r.shift_lo > 0 or r.shift_hi < 0:
            yield r.question_id, r.system, "wording", f"another wording of {r.beside} moves the mean by {r.shift:+.2f} of the scale"


def _of_acquiescence(table: pd.DataFrame):
    for r in table[table["acquiescent"].eq(True)].itertuples():
        name = "" if r.question_id == "all pairs" else r.question_id
        yield name, r.system, "acquiescence", f"agrees with the statement and with its negation: {r.acquiescence:+.2f} above the middle"


def _of_scales(table: pd.DataFrame):
    for r in table[table["keyed_wrong"].eq(True)].itertuples():
        yield r.question_id, r.system, "key", f"runs against the other items of {r.construct} (item-rest correlation {r.item_rest:.2f}): is its key right?"


def _of_grids(table: pd.DataFrame):
    for r in table.itertuples():
        if r.straight > 2 * r.by_chance and r.straight - r.by_chance > UNREAD:
            yield "", r.system, "straight-lining", f"grid {r.battery}: {r.straight:.0%} answer in one straight line, {r.by_chance:.0%} by chance"


def _of_respondents(table: pd.DataFrame):
    lines = table[table["straight_liner"].eq(True)]
    for system, own in lines.groupby("system", sort=False):
        shown = ", ".join(map(str, own["persona_id"][:5])) + (", …" if len(own) > 5 else "")
        yield "", system, "straight-liner", f"{len(own)} respondent{'s answer' if len(own) > 1 else ' answers'} every grid in one straight line: {shown}"


def _of_sensitivity(table: pd.DataFrame):
    strongest = table[table["question_id"] != "all items"].groupby(["system", "question_id"], sort=False)["moved"].max()
    for (system, item), moved in strongest.items():
        if moved < UNMOVED:
            yield item, system, "unmoved", f"no attribute of the card moves the answer (at most {moved:.3f})"
