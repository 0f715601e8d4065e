"""What is asked in the bias study. Three families: elections (states' votes are known), policy (half of the items favour each side; real answers are known) and
everyday, with nothing political in it (hospital patients' answers by state). A dozen items more for real respondents' cards.
"""

from collections.abc import Sequence

from ...people.human_items import HumanItem, human_items
from ...people.places import hospital_items, vote_items

POLICY = ("CC18_320c", "CC18_320d", "CC18_327a", "CC18_327c", "CC18_321a", "CC18_321c")  # in pairs: one favours the left, one the right
EVERYDAY = ("H_COMP_1", "H_CLEAN_HSP", "H_QUIET_HSP")
RESPONDENT_ITEMS = ("Q2_9", "Q3_1", "Q3_3", "Q4_6", "Q5", "Q7", "Q8_4", "Q8_8", "Q9_3", "Q16", "Q17_3", "Q23")
GATE_COLUMNS = ("Q23", "Q3_1", "Q8_8", "Q2_9", "Q17_3", "Q8_4")


def family_items(family: str) -> tuple[HumanItem, ...]:
    """The items of a family: elections, policy or everyday. Raises KeyError for another."""
    makers = {"elections": lambda: vote_items(), "policy": lambda: _chosen("ces_2018", POLICY), "everyday": lambda: _by_column(hospital_items(), EVERYDAY)}
    return makers[family]()


FAMILIES = ("elections", "policy", "everyday")


def _chosen(survey: str, columns: Sequence[str]) -> tuple[HumanItem, ...]:
    return _by_column(human_items(survey), columns)


def _by_column(items: Sequence[HumanItem], columns: Sequence[str]) -> tuple[HumanItem, ...]:
    by_column = {item.column: item for item in items}
    return tuple(by_column[column] for column in columns)


def bank() -> dict[str, HumanItem]:
    """Every item of the study by its id."""
    items = [item for family in FAMILIES for item in family_items(family)] + list(_chosen("nonvoters_2020", RESPONDENT_ITEMS))
    return {item.id: item for item in items}


def respondent_items() -> tuple[HumanItem, ...]:
    """The dozen items that real respondents' cards are asked: one or two of every battery."""
    return _chosen("nonvoters_2020", RESPONDENT_ITEMS)


def gate_items() -> tuple[HumanItem, ...]:
    """Six items that lean to a side, for the gates."""
    return _chosen("nonvoters_2020", GATE_COLUMNS)
