"""`python -m polypersona_lib COMMAND`: run the notebooks, score anyone's predictions, build the data set, print the claims."""

from __future__ import annotations

import difflib
import io
import os
import sys

from . import paths

COMMANDS = {
    "probe": ("probe.server", "talk to a simulated respondent in the browser, without code"),
    "run": ("runner.pipeline", "execute the notebooks (what ./run_all.sh calls)"),
    "open": ("runner.executed_copy", "show the executed copy of a run's notebook in JupyterLab"),
    "ask": ("ask.command", "put your own questionnaire to your own people"),
    "score": ("score.command", "score a file of predictions against references"),
    "drift": ("studies.drift.command", "compare a model's answers with a baseline: same, drift, or not comparable"),
    "pilot": ("pilot.command", "try a questionnaire on simulated people: a report on the instrument"),
    "build": ("world.build", "build the data set, optionally on PersonaHub texts, into a folder"),
    "claims": ("claims.ledger", "print the summary of the claims ledger"),
    "doctor": ("runner.doctor", "what this machine has, what a run needs, how to mend what is missing"),
    "nano": ("training.twins", "rebuild the nano twins"),
    "publish": ("runner.publish", "make the last full run (nano or small) the shipped one"),
}


def usage() -> str:
    """What `--help` prints."""
    lines = "\n".join(f"  {name:8} {text}" for name, (_, text) in COMMANDS.items())
    rest = f"COMMAND --help explains one of them. Run it in the project's folder, with {python()}"
    return f"usage: python -m polypersona_lib COMMAND [options]\n\n{lines}\n\n{rest}"


def python() -> str:
    """The project's own Python as one would type it, or how to get it."""
    return ".venv/bin/python" if (paths.ROOT / ".venv" / "bin" / "python").exists() else ".venv/bin/python (./run_all.sh --help makes it)"


def main(argv: list[str]) -> int:
    """Dispatch to a command's module. Exit status 2 for bad usage or input, 1 if this Python lacks a package: one line says what to do; 130 after Ctrl-C."""
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0 if argv else 2
    if argv[0] not in COMMANDS:
        close = difflib.get_close_matches(argv[0], COMMANDS, n=1)
        print(f"unknown command {argv[0]!r}" + (f"; did you mean {close[0]!r}?" if close else f" (there are: {', '.join(COMMANDS)})"), file=sys.stderr)
        return 2
    from importlib import import_module

    try:
        return import_module(f".{COMMANDS[argv[0]][0]}", __package__).main(argv[1:])
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as error:
        if (error.name or __package__).partition(".")[0] in (__package__, *sys.stdlib_module_names):
            raise
        print(f"{argv[0]}: this Python ({sys.executable}) has no {error.name}; use the project's: {python()}", file=sys.stderr)
        return 1


class _Pipe(io.RawIOBase):
    """A standard stream that may be closed at its other end: what is written then is lost in silence, and the command goes on to its end."""

    def __init__(self, number: int):
        self.number = number

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.number

    def write(self, data) -> int:
        try:
            return os.write(self.number, data)
        except BrokenPipeError:
            return len(data)


def quiet_pipes() -> None:
    """Let `COMMAND | head` end without a traceback: files are written, the exit status is the command's. A letter that a stream lacks is spelled out."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and stream.isatty():
            stream.reconfigure(errors="backslashreplace")
        else:  # closed from the start: what is said goes nowhere
            pipe = io.BufferedWriter(_Pipe(stream.fileno() if stream else os.open(os.devnull, os.O_WRONLY)))
            setattr(sys, name, io.TextIOWrapper(pipe, encoding=stream and stream.encoding, errors="backslashreplace", line_buffering=name == "stderr"))


if __name__ == "__main__":
    quiet_pipes()
    sys.exit(main(sys.argv[1:]))
