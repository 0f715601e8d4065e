"""What a user is told about input that cannot be used: the error, the places of what is wrong, and quotations that are safe to print."""

import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MAX_SHOWN = 50  # problems that a message lists; the rest is counted


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and where. `line` counts from 1 (0: the whole file); in Parquet it is the row, where there are no lines the record's name."""

    file: str
    line: int | str
    field: str
    message: str

    def __str__(self) -> str:
        return safe_line(":".join([self.file, *([str(self.line)] if self.line else []), *([self.field] if self.field else [])]) + f": {self.message}")


class InputError(ValueError):
    """Something that the user gave cannot be used: a file, an option, a name. Commands print the message and end with exit status 2.

    The message says what, where and what to do. With `problems` it lists them between `header` and `footer`, one a line: at most `MAX_SHOWN`, then a count.
    Nothing in it is obeyed by a terminal (`printable`): names of files and texts in them are not ours.
    The runner knows this error of a notebook by its class name (`runner.execution`).
    """

    def __init__(self, header: str = "", *, problems: Sequence = (), footer: str = "") -> None:
        self.problems = list(problems)
        lines = [header, *map(str, self.problems[:MAX_SHOWN])]
        if len(self.problems) > MAX_SHOWN:
            lines.append(f"... and {len(self.problems) - MAX_SHOWN} more ({len(self.problems)} in all)")
        super().__init__(printable("\n".join(line for line in (*lines, footer) if line)))


def exit_status(parser: ArgumentParser, argv: Sequence[str], work: Callable[[Namespace], object], *, stopped: str = "stopped") -> int:
    """Parse a command's options and let it work. Returns: its exit status (0 if it gives no number); 2 for bad usage, and for bad input, whose message goes
    to the error stream; 130 with the line `stopped` after Ctrl-C."""
    try:
        options = parser.parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        done = work(options)
        return done if isinstance(done, int) else 0
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130


def one_line(text: object) -> str:
    """Line ends and tabs as spaces, one for one (positions stay): a persona or question cannot open a new line of the prompt."""
    text = str(text).strip()
    return text if text.isprintable() else re.sub(r"[\t-\r\x1c-\x1f\x85\u2028\u2029]", " ", text)


def printable(text: object) -> str:
    """`text` as a terminal may get it: line ends stay, every other character that is obeyed or drawn as nothing is spelled out (`\\x1b`)."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in str(text))


def safe_line(text: object) -> str:
    """As `printable`, and on one line: the name of a file or a column in a message."""
    return printable(text).replace("\n", "\\n")


def quoted(value: object, width: int = 40) -> str:
    """A short quotation of untrusted content for messages: one line, nothing that a terminal would obey."""
    text = re.sub(r"[^\x20-\x7e\u00a0-\ud7ff\uf900-\ufffd]", lambda m: m[0].encode("unicode_escape").decode(), str(value)[: 2 * width])
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "'" + (text if len(text) <= width and len(str(value)) <= 2 * width else text[: width - 3] + "...") + "'"
