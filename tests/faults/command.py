"""The runner's own command on another project's notebooks: `python -m tests.faults.command PROJECT smoke --out FOLDER`."""

from __future__ import annotations

import signal
import sys

if __name__ == "__main__":  # as the runner's own module does
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from functools import partial
from pathlib import Path

from polypersona_lib.runner import pipeline

READS = {"01": (), "02": ("dataset",), "03": ("dataset",)}

if __name__ == "__main__":
    project = pipeline.Project(Path(sys.argv.pop(1)), reads=READS)
    pipeline.run_stages = partial(pipeline.run_stages, project=project)
    sys.exit(pipeline.main_guarded())
