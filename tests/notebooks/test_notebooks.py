"""The notebook rules as code, over the numbered notebooks and the solutions: format, opening, map, parameters, size, prose, checks, end; nothing is run."""

from __future__ import annotations

import ast
import copy
import re
import statistics

import nbformat
import pytest

from polypersona_lib import paths
from polypersona_lib.registry import MODELS
from polypersona_lib.runner.stages import find_stages

PARAMETERS = {"profile": "nano", "split": "paper", "seed": 42, "data": "", "faults": "stop", "out": "", "models": ""}
STAGES = ("01", "02", "03", "04", "05", "06", "08", "09", "10", "14", "90")
OPEN_RUN = "run = open_run(profile=profile, split=split, seed=seed, data=data, faults=faults, out=out, models=models)"
OPENING = re.compile(
    r"\A# \S.*\n\n> \S.*\n\n\| *reads *\| *writes *\| *artefact of the paper *\| *time \(smoke, nano, paper\) *\|\n\|[-| :]+\|\n\|.+\|(?:\n|\Z)"
)
PARAMETER = re.compile(r"(\w+) = ('[^']*'|\"[^\"]*\"|\S+)  # ([^=]+)")
MACHINE_PATH = re.compile(r"(?<![\w.<>])/(?:work|tmp|home|root|Users|mnt|opt|var)/|\b[A-Z]:\\")
RENDERED = {"HTML", "HTMLMath", "Markdown", "Javascript", "Latex", "SVG"}
MOST_CELLS, FEWEST_CELLS, PROSE, MOST_LINES, USUAL_LINES, MOST_FUNCTIONS = 45, 20, 0.4, 30, 10, 2
MOST_SOLUTION_CELLS = 200  # of solutions.ipynb: three cells an exercise, and no stage of a run, so no parameters and no sentinel
NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def _lines(source: str) -> int:
    return len(source.strip().splitlines())


def _format(nb, number: str) -> list[str]:
    """nbformat 4, kernel python3, stable ids, no traces of an execution."""
    found = [] if nb.nbformat == 4 else [f"nbformat {nb.nbformat}"]
    if nb.metadata.get("kernelspec", {}).get("name") != "python3":
        found.append("the kernel is not python3")
    ids = [cell.get("id", "") for cell in nb.cells]
    if len(set(ids)) < len(ids) or not all(re.fullmatch(rf"{number}-\d\d\d?", i) for i in ids):
        found.append(f"cell ids must be different and like {number}-01")
    if any(cell.get("outputs") or cell.get("execution_count") for cell in nb.cells if cell.cell_type == "code"):
        found.append("outputs or execution counts are left in it")
    return found


def _size(nb, trees: list[ast.Module], most: int = MOST_CELLS) -> list[str]:
    """Number of cells, share of prose, length of code cells, no class, at most two functions."""
    code = [_lines(cell.source) for cell in nb.cells if cell.cell_type == "code"]
    prose = sum(cell.cell_type == "markdown" for cell in nb.cells) / max(1, len(nb.cells))
    nodes = [node for tree in trees for node in ast.walk(tree)]
    functions = sum(isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) for n in nodes)
    rules = {
        f"{len(nb.cells)} cells, not {FEWEST_CELLS}-{most}": FEWEST_CELLS <= len(nb.cells) <= most,
        f"{prose:.0%} of the cells are prose, less than {PROSE:.0%}": prose >= PROSE,
        f"a code cell of {max(code, default=0)} lines": max(code, default=0) <= MOST_LINES,
        "code cells are usually longer than about ten lines": statistics.median(code or [0]) <= USUAL_LINES,
        "a class": not any(isinstance(n, ast.ClassDef) for n in nodes),
        f"{functions} functions": functions <= MOST_FUNCTIONS,
    }
    return [message for message, kept in rules.items() if not kept]


def _parameters(nb) -> list[str]:
    """One tagged cell with exactly the seven parameters, one a line with a comment, and `open_run` in the next code cell."""
    places = [i for i, cell in enumerate(nb.cells) if "parameters" in cell.metadata.get("tags", [])]
    if len(places) != 1:
        return [f"{len(places)} cells tagged parameters"]
    lines = [PARAMETER.fullmatch(line) for line in nb.cells[places[0]].source.splitlines()]
    if not all(lines):
        return ["a line of the parameters cell is not: name = literal  # comment without an equals sign"]
    values = {m[1]: ast.literal_eval(m[2]) for m in lines}
    if list(values.items()) != list(PARAMETERS.items()) or any(type(values[k]) is not type(v) for k, v in PARAMETERS.items()):
        return [f"the parameters are {values}, not {PARAMETERS}"]
    after = [cell.source for cell in nb.cells[places[0] + 1 :] if cell.cell_type == "code"]
    return [] if after and after[0].strip().startswith(OPEN_RUN) else ["the parameters are not followed by open_run"]


def _map(nb, number: str) -> list[str]:
    """The cell that opens the run ends with the map of the pipeline, "you are here" at this notebook."""
    opening = next((cell.source.strip() for cell in nb.cells if cell.cell_type == "code" and cell.source.strip().startswith(OPEN_RUN)), "")
    return [] if opening.endswith(f'\nplot_map("{number}")[0]') else [f'the cell of open_run does not end with plot_map("{number}")[0]']


def _story(nb, number: str, trees: list[ast.Module]) -> list[str]:
    """What every notebook has; then the exercises, and the sentinel last."""
    text = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    rules = {
        "no 'Try it' exercises": bool(re.search(r"^#+ Try it", text, re.M)),
        f'the last cell is not run.finish("{number}")': nb.cells[-1].cell_type == "code" and nb.cells[-1].source.strip() == f'run.finish("{number}")',
    }
    return _frame(nb, trees) + [message for message, kept in rules.items() if not kept]


def _frame(nb, trees: list[ast.Module]) -> list[str]:
    """Opening table, checks with asserts, the library found from anywhere."""
    text = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    rules = {
        "the opening is not: title, blockquote, table reads / writes / artefact / time": bool(OPENING.match(nb.cells[0].source.strip())),
        "no 'Checks' heading": bool(re.search(r"^#+ Checks", text, re.M)),
        "no assert": any(isinstance(n, ast.Assert) for tree in trees for n in ast.walk(tree)),
        "the library is not found from another working directory": "sys.path.insert" in "".join(c.source for c in nb.cells[:4]),
    }
    return [message for message, kept in rules.items() if not kept]


def _safety(nb, trees: list[ast.Module]) -> list[str]:
    """Nothing rendered from text that is not written in the cell; no paths of a machine, and no family known but by way of the registry."""
    found = [f"cell {cell.id}: a path of one machine" for cell in nb.cells if MACHINE_PATH.search(cell.source)]
    texts = [n.value for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    found += [f"code names the family {key}" for key in MODELS if any(key in text for text in texts)]
    for call in (n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        values = [*call.args, *(k.value for k in call.keywords if k.arg in (None, "value", "data"))]
        if name in RENDERED and not all(isinstance(v, ast.Constant) for v in values):
            found.append(f"{name}(...) of text that is not a literal")
        if name in ("exit", "quit", "_exit", "system"):
            found.append(f"calls {name}")
    return found


def violations(nb, number: str) -> list[str]:
    """Every rule that the notebook breaks, in words; [] for a good one."""
    try:
        trees = [ast.parse(cell.source) for cell in nb.cells if cell.cell_type == "code"]
    except SyntaxError as error:
        return [f"a code cell is not plain Python: {error.msg}"]
    return _format(nb, number) + _size(nb, trees) + _parameters(nb) + _map(nb, number) + _story(nb, number, trees) + _safety(nb, trees)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_follows_the_rules(path):
    nb = nbformat.read(path, as_version=4)
    nbformat.validate(nb)
    assert violations(nb, path.name[:2]) == []


def test_the_solutions_follow_the_rules_of_a_notebook_that_is_no_stage():
    path = paths.NOTEBOOKS / "solutions.ipynb"
    nb = nbformat.read(path, as_version=4)
    nbformat.validate(nb)
    trees = [ast.parse(cell.source) for cell in nb.cells if cell.cell_type == "code"]
    assert _format(nb, "solutions") + _size(nb, trees, MOST_SOLUTION_CELLS) + _frame(nb, trees) + _safety(nb, trees) == []
    assert path.stem not in {p.stem for p in find_stages(paths.NOTEBOOKS).values()} and "run.finish" not in nb.cells[-1].source


def test_every_stage_has_one_notebook():
    assert [p.name[:2] for p in NOTEBOOKS if p.name[:2] in STAGES] == list(STAGES)


def _good() -> nbformat.NotebookNode:
    """A notebook of 24 cells that keeps every rule."""
    parameters = "\n".join(f"{name} = {value!r}  # what it is" for name, value in PARAMETERS.items())
    opening = "# Title\n\n> What one learns.\n\n| reads | writes | artefact of the paper | time (smoke, nano, paper) |\n|---|---|---|---|\n| a | b | c | d |"
    cells = [("markdown", opening), ("code", "import sys\nsys.path.insert(0, '..')"), ("code", parameters), ("code", OPEN_RUN + '\nplot_map("07")[0]')]
    cells += [("markdown", "A question."), ("code", "x = 1"), ("markdown", "A reading.")] * 5
    cells += [("markdown", "## Checks"), ("code", "assert x == 1"), ("markdown", "## Try it"), ("code", 'run.finish("07")')]
    make = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    nb = nbformat.v4.new_notebook(cells=[make[kind](text, id=f"07-{i:02d}") for i, (kind, text) in enumerate(cells)])
    nb.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nb.cells[2].metadata["tags"] = ["parameters"]
    return nb


def test_a_good_notebook_passes():
    assert violations(_good(), "07") == []


@pytest.mark.parametrize(
    ("cell", "change", "message"),
    [
        (2, lambda s: s.replace("seed = 42", "seed = '42'"), "the parameters are"),
        (2, lambda s: s.replace("what it is", "a = b", 1), "equals sign"),
        (2, lambda s: s.replace("profile", "profil", 1), "the parameters are"),
        (2, lambda s: s + "\nmore = 1  # more", "the parameters are"),
        (3, lambda s: "x = 2", "not followed by open_run"),
        (3, lambda s: s.replace("07", "08"), "does not end with plot_map"),
        (3, lambda s: OPEN_RUN, "does not end with plot_map"),
        (0, lambda s: s.replace("> What", "What"), "the opening is not"),
        (5, lambda s: "class A:\n    pass", "a class"),
        (5, lambda s: "x = 1\n" * 31, "a code cell of 31 lines"),
        (5, lambda s: "\n".join(f"def f{i}():\n    pass" for i in range(3)), "3 functions"),
        (5, lambda s: "display(HTML(x))", "HTML(...)"),
        (5, lambda s: "mine = rows.query('system == \\'phi-2\\'')", "code names the family phi-2"),
        (5, lambda s: "display(Markdown(f'{x}'))", "Markdown(...)"),
        (5, lambda s: "widgets.HTML(value=x)", "HTML(...)"),
        (5, lambda s: "open('/" + "home/someone/file')", "a path of one machine"),
        (5, lambda s: "%pip install x", "not plain Python"),
        (5, lambda s: "import sys\nsys.exit(0)", "calls exit"),
        (20, lambda s: "print(x)", "no assert"),
        (-1, lambda s: 'run.finish("08")', "the last cell is not"),
    ],
)
def test_each_broken_rule_is_found(cell, change, message):
    nb = _good()
    nb.cells[cell].source = change(nb.cells[cell].source)
    assert any(message in found for found in violations(nb, "07"))


def test_traces_of_an_execution_and_too_little_prose_are_found():
    nb = _good()
    nb.cells[5].outputs = [nbformat.v4.new_output("stream", text="1")]
    assert any("outputs" in found for found in violations(nb, "07"))
    nb = _good()
    nb.cells[4:19] = [copy.deepcopy(nb.cells[5]) for _ in range(16)]
    assert any("prose" in found for found in violations(nb, "07"))
    nb = _good()
    del nb.cells[6:12]
    assert any("18 cells" in found or "17 cells" in found for found in violations(nb, "07"))
