"""The runner against toy notebooks: order, skipping, dependence, bad parameters, failures (`tests/faults` kills and stops it)."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import psutil
import pytest

from polypersona_lib import paths
from polypersona_lib.progress import ENVIRONMENT, ProgressView, track
from polypersona_lib.runner import execution, manifest, pipeline, stages

PARAMETERS = 'profile = "nano"  # profile\nseed = 42  # random seed\nout = ""  # folder of the results'
SETUP = (
    "import os\nfrom pathlib import Path\nfrom toylib import words\n"
    "run = Path(out) / 'results' / profile\n"
    "def finish(number):\n    (run / '.done').mkdir(exist_ok=True)\n    (run / '.done' / number).write_text(os.environ['POLYPERSONA_NONCE'])"
)
BODIES = {
    "01_data": "(run / 'dataset').mkdir(parents=True, exist_ok=True)\n(run / 'dataset/a.txt').write_text(words.WORD + str(seed))",
    "02_look": (
        "from toylib import shout\n(run / 'tables').mkdir(exist_ok=True)\n(run / 'tables/b.txt').write_text(shout.loud((run / 'dataset/a.txt').read_text()))"
    ),
    "03_score": "(run / 'scores').mkdir(exist_ok=True)\n(run / 'scores/c.txt').write_text((run / 'adapters').name + 'fixed')",
    "90_report": "(run / 'summary.json').write_text('{}')\nfound = sorted(p.name for p in run.rglob('*.txt'))\n(run / 'report.html').write_text(repr(found))",
}
READS = {"01": ("project:data/bank.json", "parameter:data"), "02": ("dataset",), "03": ("project:data/models",), "90": ("*",)}


class Toy:
    """A toy project in a folder whose name has spaces and accents."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lines: list[str] = []
        self.write("toylib/__init__.py", "")
        self.write("toylib/words.py", 'WORD = "hello"\n')
        self.write("toylib/shout.py", "from . import extra\n\n\ndef loud(text):\n    return extra.up(text)\n")
        self.write("toylib/extra.py", "def up(text):\n    return text.upper()\n")
        self.write("data/bank.json", "{}")
        self.write("data/models/weights", "1")
        self.run = SimpleNamespace(name="nano", paths=paths.run_paths("nano", str(root)))
        for name, body in BODIES.items():
            self.notebook(name, body)

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def notebook(self, name: str, body: str, *, parameters: str = PARAMETERS) -> None:
        """A notebook of five cells: title, parameters, set-up, body, end mark."""
        cells = [
            nbformat.v4.new_markdown_cell(f"# {name}"),
            nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(SETUP),
            nbformat.v4.new_code_cell(body),
            nbformat.v4.new_code_cell(f"finish({name[:2]!r})"),
        ]
        for number, cell in enumerate(cells):
            cell["id"] = f"cell-{number}"
        self.write(f"notebooks/{name}.ipynb", nbformat.writes(nbformat.v4.new_notebook(cells=cells)))

    def keep_only(self, *names: str) -> None:
        for path in (self.root / "notebooks").iterdir():
            if path.stem not in names:
                path.unlink()

    def go(self, **options) -> int:
        self.lines = []
        parameters = options.pop("parameters", {"profile": "nano", "out": str(self.root)})
        choice = pipeline.Choice(**{name: options.pop(name) for name in ("first", "only", "force") if name in options})
        project = pipeline.Project(self.root, "toylib", READS)
        return pipeline.run_stages(self.run, parameters, choice=choice, project=project, say=self.lines.append, **options)

    def ran(self) -> list[str]:
        """Numbers of the stages that were executed in the last call."""
        return [line[:2] for line in self.lines if " done in " in line]

    @property
    def results(self) -> Path:
        return self.run.paths.results

    def kernels(self) -> list[psutil.Process]:
        """Living kernels of this toy project."""
        mark = str(self.results / ".kernel")
        return [p for p in psutil.process_iter(["cmdline", "status"]) if p.info["status"] != "zombie" and any(mark in a for a in p.info["cmdline"] or [])]


@pytest.fixture
def toy(tmp_path) -> Toy:
    return Toy(tmp_path / "Projekt été 1")


def test_a_run_then_nothing_then_exactly_what_depends(toy):
    assert toy.go() == 0, toy.lines
    assert toy.ran() == ["01", "02", "03", "90"]
    assert (toy.results / "tables/b.txt").read_text() == "HELLO42"
    assert (toy.results / "notebooks/02_look.ipynb").exists()
    record = json.loads((toy.results / "manifest.json").read_text())["stages"]
    assert list(record["01"]["outputs"]) == ["results/nano/dataset/a.txt"]
    assert "module toylib/extra.py" in record["02"]["parts"] and "module toylib/extra.py" not in record["01"]["parts"]
    assert {"input results/nano/dataset/a.txt", "notebook 02_look.ipynb", "parameter profile"} <= record["02"]["parts"].keys()
    assert record["90"]["peak_memory_mb"] > 50

    assert toy.go() == 0
    assert toy.ran() == []

    toy.write("toylib/extra.py", "def up(text):\n    return text.title()\n")
    assert toy.go() == 0
    assert toy.ran() == ["02", "90"], toy.lines
    assert any("toylib/extra.py changed" in line for line in toy.lines)

    toy.write("data/models/weights", "2")
    assert toy.go() == 0
    assert toy.ran() == ["03"], "03 wrote the same bytes again, so 90 need not run"

    (toy.results / "scores/c.txt").unlink()
    (toy.results / "shipped").mkdir()
    (toy.results / "shipped/c.txt").write_text("fixed")
    assert toy.go(only="03") == 0
    assert toy.ran() == ["03"]


def test_results_of_another_folder_of_the_same_name_are_not_written_over(toy):
    """A run is named by the last part of --data; a folder that moved or was edited is still the same one."""
    toy.keep_only("01_data", "90_report")
    toy.notebook("01_data", BODIES["01_data"], parameters=f'{PARAMETERS}\ndata = ""  # a folder')
    first, second = toy.write("a/survey/train.jsonl", "1").parent, toy.write("b/survey/train.jsonl", "2").parent

    def go(folder):
        return toy.go(parameters={"profile": "nano", "out": str(toy.root), "data": str(folder)})

    assert go(first) == 0 and toy.ran() == ["01", "90"], toy.lines
    before = (toy.results / "manifest.json").read_bytes()
    assert go(second) == 2 and toy.ran() == []
    assert toy.lines == [f"error: {toy.results}: holds results of another folder of this name; rename the folder of --data, or put these results in --out DIR"]
    assert (toy.results / "manifest.json").read_bytes() == before
    toy.write("b/survey/train.jsonl", "1")  # moved
    assert go(second) == 0 and toy.ran() == ["01"], toy.lines
    toy.write("b/survey/train.jsonl", "3")  # edited
    assert go(second) == 0 and toy.ran() == ["01"], toy.lines


def test_from_only_force_and_parameters(toy):
    toy.keep_only("01_data", "02_look")
    assert toy.go(first="02") == 2
    assert "stage 01 has not been run" in toy.lines[-1]
    assert toy.go() == 0
    assert toy.go(only="02", force=True) == 0 and toy.ran() == ["02"]
    assert toy.go(parameters={"profile": "nano", "out": str(toy.root), "seed": 7}) == 0
    assert toy.ran() == ["01", "02"] and (toy.results / "tables/b.txt").read_text() == "HELLO7"


def test_what_has_to_be_run_first_is_named_at_once(toy, capsys):
    assert toy.go(only="90") == 2
    assert "stages 01, 02, 03 have not been run yet for nano" in toy.lines[-1] and not toy.ran()


@pytest.mark.parametrize(
    ("number", "says"),
    [("07", "./run_all.sh ablations"), ("11", "./run_all.sh sessions"), ("00", "polypersona_lib probe"), ("x", "stages: 01, 02")],
)
def test_a_notebook_outside_the_run_comes_with_the_command_that_runs_it(toy, number, says):
    assert toy.go(only=number) == 2 and says in toy.lines[-1] and not toy.results.exists()


def test_a_kernel_that_never_starts_is_reported_without_a_cell(toy, monkeypatch):
    monkeypatch.setattr(execution, "run_notebook", lambda *given, **named: execution.Outcome("failed", "RuntimeError: no answer", 0, 5))
    assert toy.go() == 1
    assert "error: 01_data.ipynb: RuntimeError: no answer" in toy.lines


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "cannot write to {}: no space left on device; make room there, or put results elsewhere with --out DIR"),
        (errno.EROFS, "cannot write to {}: read-only file system; make it writable, or put"),
    ],
)
def test_a_full_or_closed_folder_is_named_with_the_way_out(number, says, tmp_path, monkeypatch, capsys):
    def fail(*given, **named):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(pipeline, "run_stages", fail)
    assert pipeline.main(["smoke", "--out", str(tmp_path)]) == 1
    assert says.format(tmp_path / "results" / "smoke") in capsys.readouterr().out


def test_a_disk_without_locks_is_not_taken_for_a_second_run(toy, monkeypatch):
    def fail(*given):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(manifest.fcntl, "flock", fail)
    assert toy.go() == 2
    assert toy.lines == [f"error: {toy.results} cannot be locked against a second run (No locks available); put results on another disk with --out DIR"]


def test_a_run_under_nohup_outlives_its_terminal(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pipeline._signals():
            os.kill(os.getpid(), signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with pytest.raises(pipeline.Interrupted, match="SIGHUP"), pipeline._signals():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def ends(out: str, **options) -> tuple[int, str]:
    """(exit status, error stream) of the runner's own command in a process, which has a line to say and then an error."""
    environment = os.environ | {"PYTHONPATH": str(paths.ROOT)} | options.pop("variables", {})
    command = [sys.executable, "-P", "-m", "polypersona_lib.runner.pipeline", "nano", "--only", "99", "--out", out]
    done = subprocess.run(command, env=environment, text=True, stderr=subprocess.PIPE, **options)
    return done.returncode, done.stderr


def test_nobody_reads_what_the_runner_says(tmp_path):
    """`| head`, a closed stream, an encoding that lacks a letter of the folder: its work and its exit status stay the same."""
    reader, writer = os.pipe()
    os.close(reader)
    assert ends(str(tmp_path), stdout=writer) == (2, "")
    os.close(writer)
    said = tmp_path / "said"
    with said.open("w") as file:
        assert ends(str(tmp_path / "Ω"), stdout=file, variables={"PYTHONIOENCODING": "latin-1"}) == (2, "")
    assert "\\u03a9/results" in said.read_text()
    script = "from polypersona_lib.__main__ import quiet_pipes as q; from polypersona_lib.progress import ProgressView as V; q(); print(V('x').live)"
    done = subprocess.run([sys.executable, "-c", f"import os; os.close(1); os.execv({sys.executable!r}, ['python', '-c', {script!r}])"],
                          env=os.environ | {"PYTHONPATH": str(paths.ROOT)}, capture_output=True, text=True)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"profil": "nano"}, "did you mean 'profile'"),
        ({"seed": "42"}, "parameter seed is int (default 42), got str '42'"),
        ({"seed": True}, "got bool"),
        ({"profile": 3}, "parameter profile is str"),
    ],
)
def test_bad_parameters_are_refused_before_any_cell(toy, given, message):
    assert toy.go(parameters=given) == 2
    assert message in toy.lines[-1]
    assert not toy.results.exists()


def test_bad_notebooks_and_stages_are_refused(toy):
    toy.notebook("02_look", "pass", parameters="seed = int('4')")
    assert toy.go(parameters={}) == 2 and "name = literal" in toy.lines[-1]
    toy.write("notebooks/02_look.ipynb", "not json")
    assert toy.go(parameters={}) == 2 and "not a readable notebook" in toy.lines[-1]
    toy.notebook("02_look", "pass")
    toy.notebook("02_twice", "pass")
    assert toy.go(parameters={}) == 2 and "same number" in toy.lines[-1]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("x = 1\nraise KeyError('no such column')\n", 1, "01_data.ipynb, cell 4 of 5: KeyError: 'no such column'"),
        ("import sys\nsys.exit(0)", 1, "cell 4 of 5: the cell called sys.exit(0)"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", 1, "cell 4 of 5: the kernel died"),
        ("finish = lambda number: None", 1, "did not write the end mark"),
        ("class InputError(ValueError):\n    pass\nraise InputError('people.jsonl line 3: age is 210')", 2, "people.jsonl line 3: age is 210"),
    ],
)
def test_failures_name_notebook_cell_and_cause(toy, body, status, message):
    toy.keep_only("01_data", "02_look")
    toy.notebook("01_data", body)
    assert toy.go() == status
    assert message in "\n".join(toy.lines)
    assert toy.ran() == []
    partial = toy.results / "notebooks/01_data.failed.ipynb"
    assert partial.exists() and not (toy.results / "notebooks/01_data.ipynb").exists()
    assert (toy.lines[-1] == message) if status == 2 else (str(partial) in toy.lines[-1])
    assert not toy.kernels()
    assert json.loads((toy.results / "manifest.json").read_text())["stages"]["01"]["status"] == "failed"


def test_only_imported_modules_count(tmp_path):
    library = tmp_path / "toylib"
    (library / "bank").mkdir(parents=True)
    modules = {
        "__init__": "",
        "a": "from toylib.b import f",
        "b": "def f():\n    from .bank import g",
        "c": "import toylib.a",
        "bank/__init__": "from .deep import g",
        "bank/deep": "",
    }
    for name, text in modules.items():
        (library / f"{name}.py").write_text(text)
    found = manifest.library_files(["%matplotlib inline\nfrom toylib import a"], library)
    assert [path.relative_to(library).as_posix() for path in found] == ["a.py", "b.py", "bank/__init__.py", "bank/deep.py"]
    (library / "__init__.py").write_text('"""What the room is."""\n')
    assert library / "__init__.py" not in manifest.library_files(["import toylib"], library), "a sentence about a room changes no result"
    (library / "__init__.py").write_text('"""What the room is."""\n\nSIZE = 1\n')
    assert manifest.library_files(["import toylib"], library) == [library / "__init__.py"]


def test_outputs_of_a_stage_are_no_inputs_of_it(toy):
    """04 reads `runs/` and writes there too: that alone must not make it run again."""
    state = stages.Run(toy.run, stages.Project(toy.root, "toylib", {"04": ("runs/*.json",)}))
    toy.write("results/nano/runs/train.json", "1")
    toy.write("results/nano/runs/evaluate.json", "2")
    state.manifest.stages = {"03": {"outputs": {"results/nano/runs/train.json": "x"}}, "04": {"outputs": {"results/nano/runs/evaluate.json": "y"}}}
    assert list(state.inputs("04", {})) == ["results/nano/runs/train.json"]


def test_progress_goes_to_the_runner(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "progress"))
    view = ProgressView(tmp_path / "progress", every_s=0.0)
    assert list(track([1, 2, 3, 4], "train")) == [1, 2, 3, 4]
    with track(10, "score") as steps:
        steps.update(10, note="loss 1.5")
    view.poll()
    printed = capsys.readouterr().out
    assert "train: 4/4" in printed and "score: 10/10 loss 1.5" in printed
    monkeypatch.delenv(ENVIRONMENT)
    assert sum(1 for _ in track(3, "quiet")) == 3


def test_command_line(tmp_path, capsys):
    options = pipeline.parse(["smoke", "--from", "4", "--data", str(tmp_path), "--out", "elsewhere"])
    assert options.first == "04" and Path(options.data).is_absolute() and options.out == str(Path("elsewhere").resolve())
    (tmp_path / "file").write_text("")
    for option in ("--out", "--data"):
        with pytest.raises(SystemExit):
            pipeline.parse([option, str(tmp_path / "file")])
        assert f"{option}: {tmp_path / 'file'} is a file, not a folder" in capsys.readouterr().err
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for option in ("--out", "--data"):
        for name in ("~nobody-of-that-name/x", "x" * 300, str(tmp_path / "circle")):
            with pytest.raises(SystemExit):
                pipeline.parse([option, name])
            assert "cannot be a folder" in capsys.readouterr().err
    for wrong in (["huge"], ["--split", "rows"], ["--seed", "x"], ["--data", "/no/such/folder"], ["--from", "1", "--only", "2"]):
        with pytest.raises(SystemExit) as stop:
            pipeline.parse(wrong)
        assert stop.value.code == 2


def test_summary_tables(tmp_path):
    (tmp_path / "summary.json").write_text(
        json.dumps(
            {
                "artefacts": [{"artefact": "Table II", "file": "tables/table2.csv", "status": "written"}],
                "headline": [{"subject": "tinyllama-1.1b", "metric": "bleu", "paper": 0.09, "ours": None, "verdict": "not tested at this scale"}],
            }
        )
    )
    lines: list[str] = []
    pipeline.print_summary(tmp_path, seconds=12.3, say=lines.append)
    text = "\n".join(lines)
    assert "Table II  tables/table2.csv  written" in text and "0.09   -     not tested" in text and "total time 12.3 s" in text


@pytest.mark.parametrize("nonce, raw", [("a", False), (None, True)])
def test_a_kernel_that_the_runner_ends_prints_no_traceback_of_its_sockets(nonce, raw):
    """pyzmq logs what an ipykernel's last flush meets (a closed socket) with a traceback: seen once in a run whose every notebook was whole."""
    code = (
        "import logging\nfrom polypersona_lib import config\nconfig.prepare(config.RunConfig(profile='paper'))\n"
        "try:\n    raise OSError('Socket operation on non-socket')\nexcept OSError:\n"
        "    logging.getLogger('tornado.general').error('Uncaught exception in ZMQStream callback', exc_info=True)"
    )
    surroundings = {name: value for name, value in os.environ.items() if name != "POLYPERSONA_NONCE"} | ({"POLYPERSONA_NONCE": nonce} if nonce else {})
    done = subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT, env=surroundings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ("Traceback" in done.stderr) == raw
