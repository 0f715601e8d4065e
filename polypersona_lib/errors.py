"""What a user is told about input that cannot be used: the error, the places of what is wrong, and quotations that are safe to print."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

MAX_SHOWN = 50  # problems that a message lists; the rest is counted


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and where. `line` counts from 1 (0: the whole file); in Parquet it is the row."""

    file: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        return ":".join([self.file, *([str(self.line)] if self.line else []), *([self.field] if self.field else [])]) + f": {self.message}"


class InputError(ValueError):
    """Something that the user gave cannot be used: a file, an option, a name. Commands print the message and end with exit status 2.

    The message says what, where and what to do. With `problems` it lists them between `header` and `footer`, one a line: at most `MAX_SHOWN`, then a count.
    The runner knows this error of a notebook by its class name (`runner.execution`).
    """

    def __init__(self, header: str = "", *, problems: Sequence = (), footer: str = "") -> None:
        self.problems = list(problems)
        lines = [header, *map(str, self.problems[:MAX_SHOWN])]
        if len(self.problems) > MAX_SHOWN:
            lines.append(f"... and {len(self.problems) - MAX_SHOWN} more ({len(self.problems)} in all)")
        super().__init__("\n".join(line for line in (*lines, footer) if line))


def one_line(text: object) -> str:
    """Line ends and tabs as spaces, one for one (positions stay): a persona or question cannot open a new line of the prompt."""
    return re.sub(r"[\t-\r\x1c-\x1f\x85\u2028\u2029]", " ", str(text).strip())


def quoted(value: object, width: int = 40) -> str:
    """A short quotation of untrusted content for messages: one line, nothing that a terminal would obey."""
    text = re.sub(r"[^\x20-\x7e\u00a0-\ud7ff\uf900-\ufffd]", lambda m: m[0].encode("unicode_escape").decode(), str(value)[: 2 * width])
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "'" + (text if len(text) <= width and len(str(value)) <= 2 * width else text[: width - 3] + "...") + "'"
