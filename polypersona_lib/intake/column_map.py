"""`--map theirs=ours`: the columns of a user's files under our names."""

import difflib
from collections.abc import Mapping, Sequence

from ..errors import InputError, quoted
from .question_rows import ITEM_FIELDS


def parse_map(pairs: Sequence[str]) -> dict[str, str]:
    """`--map theirs=ours` options as {their column: our name}. Raises InputError for one without "=" or a column that is mapped twice."""
    mapping: dict[str, str] = {}
    for pair in pairs:
        theirs, sign, ours = pair.rpartition("=")
        if not sign or not theirs.strip() or not ours.strip():
            raise InputError(f"--map {quoted(pair)}: write their column, =, our name, for example --map Q_TEXT=text")
        if theirs.strip() in mapping:
            raise InputError(f"--map: the column {quoted(theirs.strip())} is mapped twice")
        mapping[theirs.strip()] = ours.strip()
    return mapping


def split_map(mapping: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """`--map` of the questionnaire's columns (our name is one of `question_rows.ITEM_FIELDS`) and of the people's (any other name)."""
    return {t: o for t, o in mapping.items() if o in ITEM_FIELDS}, {t: o for t, o in mapping.items() if o not in ITEM_FIELDS}


def mapped(row: Mapping, mapping: Mapping[str, str]) -> dict:
    """A row with the columns of `--map` under our names; a column that had our name already gives way to the mapped one."""
    ours = {mapping[name]: value for name, value in row.items() if name in mapping}
    return {name: value for name, value in row.items() if name not in mapping and name not in ours} | ours


def check_map(mapping: Mapping[str, str], columns: Sequence[str]) -> None:
    """Raises InputError if `--map` names a column that no file has, with the nearest one."""
    for theirs in mapping:
        if theirs not in columns:
            near = difflib.get_close_matches(theirs, columns, n=1)
            raise InputError(f"--map: no column {quoted(theirs)}" + (f"; did you mean {quoted(near[0])}?" if near else "") + f" ({there(columns)})")


def there(columns: Sequence[str]) -> str:
    """What columns there are, for an error."""
    return "columns there: " + (", ".join(map(quoted, columns[:12])) + (", …" if len(columns) > 12 else "") or "none")
