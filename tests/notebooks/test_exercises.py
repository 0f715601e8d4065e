"""The exercises and what belongs to them: three in each notebook, an answer to each in solutions.ipynb, and the glossary; none of them can drift alone."""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatch

import nbformat
import pytest

from polypersona_lib import paths
from polypersona_lib.claims.evidence import VERDICTS
from polypersona_lib.scoring.metric_table import METRICS
from polypersona_lib.survey import distributions, diversity

NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
SOLUTIONS, GLOSSARY = paths.NOTEBOOKS / "solutions.ipynb", paths.NOTEBOOKS / "GLOSSARY.md"
EXERCISE = re.compile(r"^(\d+)\. \*\*(.+?)\*\* (.+)$", re.M)
ENTRY = re.compile(r"^\*\*(.+?)\.\*\* (.+) See (.+)\.$")


def read(path):
    return nbformat.read(path, as_version=4)


def exercises(nb) -> list[tuple[str, str]]:
    """(title, text) of the numbered exercises in the notebook's last text cell. ValueError if they are not numbered from 1 on, one a line."""
    cell = nb.cells[-2].source
    found = EXERCISE.findall(cell)
    if not cell.startswith("### Try it\n") or [n for n, *_ in found] != [str(i) for i in range(1, 1 + len(found))]:
        raise ValueError("not a cell of exercises: '### Try it', then lines '1. **Title.** text'")
    if len(found) != len(re.findall(r"^\d+\.", cell, re.M)):
        raise ValueError("an exercise has no title in bold")
    return [(title.rstrip("."), text) for _, title, text in found]


# --- the exercises ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_three_exercises_that_name_what_to_change(path):
    """Each names a piece of the notebook's own code, so that a renamed variable or a changed cell is noticed here."""
    nb = read(path)
    found = exercises(nb)
    assert len(found) == 3 and len({title for title, _ in found}) == 3
    assert "`solutions.ipynb`" in nb.cells[-2].source
    code = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "code")
    sections = set(re.findall(r"^## (\d+)\.", "\n".join(c.source for c in nb.cells if c.cell_type == "markdown"), re.M))
    for title, text in found:
        assert any(piece in code for piece in re.findall(r"`([^`]{3,})`", text)), f"{title}: none of its code is in the notebook"
        replaced = re.findall(r"(?:`[^`]+`|\*\w+\*|\d) for `([^`]+)`|in place of `([^`]+)`|(?:to|in) `(\w[^`]*[(=][^`]*)`", text)
        assert not [piece for found in replaced for piece in found if piece and piece not in code], f"{title}: {replaced}"
        assert set(re.findall(r"\bsections? (\d+)", text)) <= sections, f"{title}: names a section that is not there"


def always_run(nb) -> str:
    """The lines of a notebook's code that run with the shipped data: without the bodies of an `if` that waits for foreign data or for something rare."""
    kept = []
    for source in (cell.source for cell in nb.cells if cell.cell_type == "code"):
        bodies = [node.body for node in ast.walk(ast.parse(source)) if isinstance(node, ast.If) and re.search(r"^run\.data$|\.any\(\)", ast.unparse(node.test))]
        hidden = {line for body in bodies for line in range(body[0].lineno, body[-1].end_lineno + 1)}
        kept += [line for number, line in enumerate(source.splitlines(), 1) if number not in hidden]
    return "\n".join(kept)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_what_an_exercise_changes_is_there_and_is_run(path):
    """A variable that an exercise names exists; a piece of code that it replaces is not in a branch that the shipped data never enter."""
    nb = read(path)
    run = always_run(nb)
    nodes = [node for cell in nb.cells if cell.cell_type == "code" for node in ast.walk(ast.parse(cell.source))]
    names = {*METRICS, *distributions.METRIC_LIMITS} | {
        getattr(node, field) for node in nodes for field in ("id", "attr", "arg", "name") if isinstance(getattr(node, field, None), str)
    }
    for title, text in exercises(nb):
        missing = [name for name in re.findall(r"`([a-z_]\w+)`(?! for `)", text) if name not in names]
        assert not missing, f"{title}: no {missing} in this notebook"
        replaced = [piece for found in re.findall(r"`[^`]+` for `([^`]+)`|in place of `([^`]+)`", text) for piece in found if piece]
        assert not [piece for piece in replaced if piece not in run], f"{title}: {replaced} would change nothing"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_cells_can_be_run_again(path):
    """A cell that deletes what it needs fails the second time, and exercises ask for a second time."""
    trees = [ast.parse(cell.source) for cell in read(path).cells if cell.cell_type == "code"]
    assert not [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Delete)]


def test_a_malformed_cell_of_exercises_is_refused():
    for text in ("### Try it\n\n1. **A.** x\n3. **B.** y", "### Try it\n\n1. **A.** x\n2. y", "### Exercises\n\n1. **A.** x"):
        with pytest.raises(ValueError):
            exercises(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell("")]))


# --- the solutions ---------------------------------------------------------------------------------------------------------------


def test_solutions_answer_every_exercise_in_order_under_its_own_title():
    text = [cell.source if cell.cell_type == "markdown" else "" for cell in read(SOLUTIONS).cells]
    wanted = [f"{path.name[:2]}.{i} {title}" for path in NOTEBOOKS for i, (title, _) in enumerate(exercises(read(path)), 1)]
    assert [h for t in text for h in re.findall(r"^### (\d\d\.\d .+)$", t, re.M)] == wanted
    assert [h[:2] for t in text for h in re.findall(r"^## (\d\d .+)$", t, re.M)] == [p.name[:2] for p in NOTEBOOKS]


def test_every_solution_is_a_question_code_and_a_reading():
    cells = read(SOLUTIONS).cells
    places = [i for i, cell in enumerate(cells) if re.match(r"### \d\d\.\d ", cell.source)]
    assert len(places) == 3 * len(NOTEBOOKS)
    for i in places:
        assert re.fullmatch(r"### \d\d\.\d .+\n\n\*[^\n*]+\?\*", cells[i].source), f"{cells[i].source[:40]}: not a heading and a question in one line"
        kinds = [cell.cell_type for cell in cells[i + 1 : i + 3]]
        assert kinds == ["code", "markdown"] and not cells[i + 2].source.startswith("#"), f"{cells[i].source[:40]}: no code with a reading after it"


def test_the_contents_of_the_solutions_lead_to_their_headings():
    nb = read(SOLUTIONS)
    headings = [h for cell in nb.cells if cell.cell_type == "markdown" for h in re.findall(r"^## (\d\d .+)$", cell.source, re.M)]
    links = re.findall(r"^- \[(.+?)\]\(#(.+?)\): (.+)$", nb.cells[0].source, re.M)
    assert [name for name, *_ in links] == headings
    assert all(target == name.replace(" ", "-") for name, target, _ in links)
    titles = [" · ".join(title for title, _ in exercises(read(path))) for path in NOTEBOOKS]
    assert [what for *_, what in links] == titles


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_solutions_run_from_the_published_results(monkeypatch):
    """Without network and without a run of one's own; the last cell checks that nothing was written into the project's results."""
    from nbclient import NotebookClient

    for name, value in {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("POLYPERSONA_NONCE", raising=False)
    nb = read(SOLUTIONS)
    NotebookClient(nb, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(paths.NOTEBOOKS)}}).execute()
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    assert "all checks passed" in code[-1].outputs[0]["text"]
    after = [nb.cells[i + 1] for i, cell in enumerate(nb.cells) if re.match(r"### \d\d\.\d ", cell.source)]
    assert all(cell.outputs for cell in after), "an exercise without an answer"
    printed = "".join(out.get("text", "") for cell in code for out in cell.outputs if out.output_type == "stream" and out.name == "stderr")
    assert not printed, printed[:500]


# --- the glossary ----------------------------------------------------------------------------------------------------------------


def entries() -> list[tuple[str, str, str]]:
    """(term, definition, where) of every line that begins in bold."""
    lines = [line for line in GLOSSARY.read_text(encoding="utf-8").splitlines() if line.startswith("**")]
    found = [ENTRY.match(line) for line in lines]
    assert all(found), [line for line, m in zip(lines, found, strict=True) if not m]
    return [m.groups() for m in found]


def folded(term: str) -> str:
    return re.sub(r"[^a-z0-9]", "", term.lower().replace("é", "e"))


def test_the_glossary_is_in_alphabetical_order_under_its_letters():
    terms = [term for term, *_ in entries()]
    assert [folded(t) for t in terms] == sorted({folded(t) for t in terms})
    letter, shown = "", []
    for line in GLOSSARY.read_text(encoding="utf-8").splitlines():
        letter = line[3:] if line.startswith("## ") else letter
        shown += [folded(line[2:])[0].upper() == letter] if line.startswith("**") else []
    assert all(shown) and len(shown) == len(terms)


def test_every_entry_is_short_and_names_places_that_exist():
    headings = {path.name[:2]: {m for c in read(path).cells for m in re.findall(r"^## (\d+)\.", c.source, re.M)} for path in NOTEBOOKS}
    for term, text, where in entries():
        assert 15 < len(text) < 420, f"{term}: {len(text)} characters"
        sections, modules = re.findall(r"\b(\d\d)\.(\d+)", where), re.findall(r"`([\w/]+\.py)`", where)
        assert sections and modules and ", ".join([*(f"{a}.{b}" for a, b in sections), *(f"`{m}`" for m in modules)]) == where, f"{term}: {where}"
        assert all(section in headings[number] for number, section in sections), f"{term}: {where}"
        assert all((paths.ROOT / "polypersona_lib" / module).is_file() for module in modules), f"{term}: {where}"
    for name in re.findall(r"\]\(([^)]+)\)", GLOSSARY.read_text(encoding="utf-8")):
        assert (paths.NOTEBOOKS / name).is_file(), name


def test_the_glossary_covers_every_metric_and_every_verdict():
    text = GLOSSARY.read_text(encoding="utf-8")
    known = set(re.findall(r"`([\w*]+)`", text))
    wanted = {*METRICS, *distributions.METRIC_LIMITS, *diversity.DIVERSITY_METRICS} - {"distinct3"}
    assert not [m for m in wanted if not any(fnmatch(m, name) for name in known)]
    terms = [term.lower() for term, *_ in entries()]
    assert all(f"*{verdict}*" in text for verdict in VERDICTS) and all(v in terms for v in VERDICTS if "paper" not in v)


@pytest.mark.parametrize("term", ["TF-IDF", "k-means", "type-token ratio", "learning rate", "AdamW", "gradient checkpointing", "master copy", "activations",
                                  "singular values", "stop token", "rank correlation", "dropout", "turn of phrase", "tokenizer", "persona_sim"])  # fmt: skip
def test_the_glossary_has_the_technical_terms_of_the_prose(term):
    prose = "\n".join(cell.source for path in NOTEBOOKS for cell in read(path).cells if cell.cell_type == "markdown")
    assert term.lower() in prose.lower(), "no notebook uses it any more"
    assert any(term.lower() in f"{name} {text}".lower() for name, text, _ in entries())


def test_readers_find_the_solutions_and_the_glossary():
    readme = (paths.ROOT / "README.md").read_text(encoding="utf-8")
    assert "notebooks/solutions.ipynb" in readme and "notebooks/GLOSSARY.md" in readme
    assert "GLOSSARY.md" in "".join(cell.source for cell in read(SOLUTIONS).cells)
