"""`python -m polypersona_lib COMMAND`: run the notebooks, score anyone's predictions, build the data set, print the claims."""

from __future__ import annotations

import sys

COMMANDS = {
    "probe": ("probe_app", "talk to a simulated respondent in the browser, without code"),
    "run": ("pipeline", "execute the notebooks (what ./run_all.sh calls)"),
    "open": ("open_copy", "show the executed copy of a run's notebook in JupyterLab"),
    "score": ("score", "score a file of predictions against references"),
    "build": ("build", "build the data set, optionally on PersonaHub texts, into a folder"),
    "claims": ("claims", "print the summary of the claims ledger"),
    "doctor": ("doctor", "what this machine has, what a run needs, how to mend what is missing"),
    "nano": ("nano", "rebuild the nano twins"),
    "publish": ("publish", "make the last full nano run the shipped one"),
}


def main(argv: list[str]) -> int:
    """Dispatch to a command's module; an unknown command lists the valid ones. Exit status 2 for bad usage or bad input."""
    if not argv or argv[0] not in COMMANDS:
        known = "\n".join(f"  {name:8} {text}" for name, (_, text) in COMMANDS.items())
        print(f"usage: python -m polypersona_lib COMMAND [options]\n{known}", file=sys.stderr if argv and argv[0] not in ("-h", "--help") else sys.stdout)
        return 0 if argv and argv[0] in ("-h", "--help") else 2
    from importlib import import_module

    return import_module(f".{COMMANDS[argv[0]][0]}", __package__).main(argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
