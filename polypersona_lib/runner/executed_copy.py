"""Opens the executed copy of a run's notebook in JupyterLab, trusted only if it is what the run wrote.

python -m polypersona_lib open 04 [RUN] [--out DIR] [--print]

JupyterLab shows what a notebook stored in full only if the file carries a signature of this machine; else widgets show as text and scripts do not run.
An executed copy is signed here if its sha256 is the one in the run's manifest: somebody may have put anything into a copy that was altered since.
The manifest lies beside the copy, so it tells an altered file, not a folder that came whole from somebody else.
"""

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .. import paths
from ..errors import InputError, safe_line
from ..files import sha256
from ..processes import kernel_environment
from .manifest import SHIPPED, Manifest


@dataclass(frozen=True)
class Copy:
    """An executed notebook as it was read: `content` is what `doubt` is about; no doubt ("") means that the run wrote exactly these bytes."""

    path: Path
    content: bytes
    doubt: str


def executed(run: Path) -> dict[str, Path]:
    """`{number: executed copy}` of a run's folder; a notebook that failed is none."""
    copies = sorted((run / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    return {path.name[:2]: path for path in copies if not path.name.endswith(".failed.ipynb")}


def last_run(results: Path, number: str) -> Path:
    """The run folder in `results` that was used last among those that have the notebook (else among all). Raises InputError if nothing was run."""
    runs = [path for path in results.glob("*/manifest.json") if path.parent.name != SHIPPED]
    if not runs:
        raise InputError(f"no run in {results}; make one with ./run_all.sh, or open the notebook itself in JupyterLab: it shows the published results")
    return max([path for path in runs if number in executed(path.parent)] or runs, key=lambda path: path.stat().st_mtime_ns).parent


def find_copy(number: str, run: str = "", out: str = "") -> Copy:
    """The executed copy of notebook `number` ("04") of a run (default: the last that has it), and whether it can be trusted. Raises InputError."""
    results = paths.run_paths("any", out).results.parent
    if number == "00":
        raise InputError("notebook 00 is no part of a run; open notebooks/00_probe_a_persona.ipynb, or: python -m polypersona_lib probe")
    folder = results / run if run else last_run(results, number)
    if run and (Path(run).name != run or not (folder / "manifest.json").is_file()):
        there = sorted(path.parent.name for path in results.glob("*/manifest.json") if path.parent.name != SHIPPED)
        raise InputError(f"no run {run!r} in {results} (there is: {', '.join(there) or 'none; make one with ./run_all.sh'})")
    copies = executed(folder)
    if number not in copies:
        raise InputError(f"no executed notebook {number} in {folder / 'notebooks'} (there is: {', '.join(copies) or 'none'})")
    content = copies[number].read_bytes()
    return Copy(copies[number], content, _doubt(Manifest(folder / "manifest.json", folder.name).stages.get(number), content))


def _doubt(entry: object, content: bytes) -> str:
    """Why these bytes are not known to be the run's; "" if they are. `entry`: the stage in the manifest, None if it has none."""
    if not isinstance(entry, dict) or entry.get("status") != "done":
        return "the manifest does not say that this notebook was finished"
    if "executed" not in entry:
        return "the run's manifest has no hash of it (it was made by an earlier version; run the notebook again with --only and --force)"
    if entry["executed"] != sha256(content):
        return "the file has changed since the run wrote it"
    return ""


def notary():
    """JupyterLab's signed notebooks on this machine. Without a named folder nbformat starts a Jupyter application, which closes all log handlers here."""
    from jupyter_core.paths import jupyter_data_dir
    from jupyter_core.utils import ensure_dir_exists
    from nbformat.sign import NotebookNotary

    ensure_dir_exists(jupyter_data_dir(), mode=0o700)
    return NotebookNotary(data_dir=jupyter_data_dir())


def settle_trust(copy: Copy) -> None:
    """Sign the copy for JupyterLab, or, if there is a doubt, take away a signature it has. Raises InputError if it is no notebook."""
    import nbformat

    try:
        notebook = nbformat.reads(copy.content.decode("utf-8"), as_version=4)
    except (ValueError, nbformat.ValidationError) as error:
        raise InputError(f"{copy.path} is not a readable notebook ({str(error).splitlines()[0][:80]})") from error
    (notary().unsign if copy.doubt else notary().sign)(notebook)


def lab_options(path: Path) -> list[str]:
    """JupyterLab's options for showing `path`: on this machine alone; its file browser is the project, or the results folder outside it."""
    root = paths.ROOT if path.is_relative_to(paths.ROOT) else path.parents[2]
    shown = path.relative_to(root).as_posix()
    # Administrators (and containers) are refused without --allow-root; the address is this machine's alone and needs a token either way.
    root_user = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    quiet = ["--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]  # nothing is asked of the network
    ending = "--ServerApp.answer_yes=True"  # Ctrl-C ends it at once, like the probe: it has nothing to lose
    return [f"--ServerApp.root_dir={root}", f"--LabApp.default_url=/lab/tree/{shown}", "--ServerApp.ip=127.0.0.1", ending, *quiet, *root_user]


def show_copy(path: Path, *, browser: bool = True) -> None:
    """Serve JupyterLab on the notebook until interrupted; its kernels are this interpreter."""
    from jupyterlab.labapp import LabApp

    with tempfile.TemporaryDirectory(prefix="polypersona-open-") as folder:
        own = kernel_environment(Path(folder), python_path=paths.ROOT, extra={})
        earlier = os.environ.get("JUPYTER_PATH", "")
        os.environ.update(own | {"JUPYTER_PATH": os.pathsep.join(filter(None, (own["JUPYTER_PATH"], earlier)))})
        LabApp.launch_instance([*lab_options(path), *([] if browser else ["--no-browser"])])


def main(argv: list[str]) -> int:
    """The command. Exit status 2 with one line if there is nothing to open."""
    parser = argparse.ArgumentParser(prog="python -m polypersona_lib open", description="Open the executed copy of a run's notebook in JupyterLab.")
    parser.add_argument("number", help="the notebook, for example 04")
    parser.add_argument("run", nargs="?", default="", help="name of the run's folder in results/ (default: the last run that has this notebook)")
    parser.add_argument("--out", default="", help="folder that results/ lies in; default: the project")
    parser.add_argument("--no-browser", action="store_true", help="print the address, open nothing")
    parser.add_argument("--print", dest="only_print", action="store_true", help="print the path and whether it is trusted, open and sign nothing")
    chosen = parser.parse_args(argv)
    try:
        copy = find_copy(chosen.number.zfill(2), chosen.run, chosen.out)
        print(safe_line(copy.path), f"untrusted: {copy.doubt}" if copy.doubt else "trusted: its hash is in the run's manifest", sep="\n", flush=True)
        if not chosen.only_print:
            settle_trust(copy)
            show_copy(copy.path, browser=not chosen.no_browser)
    except (InputError, OSError) as error:
        print(f"open: {safe_line(error)}", file=sys.stderr)
        return 2
    return 0
