"""The shape of `polypersona_lib/`, measured: rooms and their arrows, circles, floors, lengths, modules behind each notebook, names in two rooms.

    python scripts/house.py             # prints the numbers; exit status 1 if a rule is broken
    python scripts/house.py --modules   # also each module with its floor and what it imports

`tests/test_house.py` holds the same rules. A module's imports are all of its imports, those inside functions too.
"""

from __future__ import annotations

import ast
import json
import signal
import statistics
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "polypersona_lib"
GROUND = "ground"
CORE = (GROUND, "prompts", "world", "models", "scoring", "training", "claims", "figures", "report", "runner")
MAY_IMPORT = {  # room -> rooms below it that it may import; `ground` is open to all
    GROUND: (),
    "prompts": (),
    "world": ("prompts",),
    "models": ("prompts",),
    "scoring": ("prompts", "world", "models"),
    "intake": ("prompts", "world", "scoring"),  # `scoring` reads which option an answer names: one rule everywhere
    "training": ("prompts", "world", "models", "scoring"),
    "survey": ("prompts", "world", "models", "scoring", "intake"),
    "people": ("prompts", "world", "survey"),  # real people fill the Sheet that `survey` defines, and no measure asks where its people come from
    "ask": ("prompts", "world", "models", "scoring", "intake", "survey", "people"),
    "score": ("prompts", "world", "scoring", "intake", "survey"),
    "studies.fidelity": ("prompts", "world", "models", "scoring", "survey"),
    "studies.sessions": ("prompts", "world", "models", "scoring", "survey"),
    "studies.ablations": ("prompts", "world", "models", "scoring", "training"),
    "studies.bias": ("prompts", "world", "models", "scoring", "survey", "people"),
    "studies.drift": ("prompts", "models"),
    "rating": ("world", "scoring"),
    "claims": ("world", "scoring"),
    "figures": ("prompts", "world"),
    "report": ("prompts", "world", "scoring", "claims"),
    "pilot": ("prompts", "world", "models", "scoring", "intake", "survey", "people", "report", "ask"),
    "probe": ("prompts", "world", "models", "scoring", "figures", "intake", "ask"),  # the page takes the files of `ask` and leaves its folders
    "runner": ("models", "claims"),
}
LAZY = {("world", "intake")}  # only inside a function: the embedded world needs no reader of foreign files
CORE_NOTEBOOKS = ("01", "02", "03", "04", "05", "06", "90")
GOAL_LINES, MOST_LINES = 18_500, 39_400  # the first for twins alone, without readers, real models and people; only a new capability raises the second
MOST_MODULE, MOST_FUNCTION, MOST_FLOORS, MOST_BEHIND, MEDIAN_BEHIND = 300, 60, 11, 63, 36


@cache
def sources() -> dict[str, tuple[Path, ast.Module]]:
    """Dotted name below the package -> (file, parsed code) of every module; packages by their folder's name, the metric script left out."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT / PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        if "evaluate_metrics" not in name and "__pycache__" not in path.parts:
            found["" if name == "__init__" else name] = (path, ast.parse(path.read_text(encoding="utf-8")))
    return found


def is_room(name: str) -> bool:
    """Whether `name` is a package (its file is an `__init__`)."""
    return sources()[name][0].name == "__init__.py"


def modules() -> list[str]:
    """Every module that holds code: rooms' `__init__` files hold one paragraph and do not count."""
    return [name for name in sources() if not is_room(name)]


def room_of(name: str) -> str:
    """The room of a module: its folder, `ground` for what lies in the package itself."""
    return name.rpartition(".")[0] or GROUND


def _targets(node: ast.stmt, inside: str, package: bool) -> set[str]:
    """Modules of the package that one import statement names; `inside` is the importing module ("" for a notebook)."""
    if isinstance(node, ast.Import):
        full = [alias.name.removeprefix(f"{PACKAGE}.") for alias in node.names if alias.name.startswith(f"{PACKAGE}.")]
        return {name for name in full if name in sources()}
    if node.level:
        parents = inside.split(".") if package else inside.split(".")[:-1]
        base = parents[: len(parents) - node.level + 1] + ([node.module] if node.module else [])
        start = ".".join(p for part in base for p in part.split(".") if p)
    elif (node.module or "").split(".")[0] == PACKAGE:
        start = node.module.removeprefix(PACKAGE).lstrip(".")
    else:
        return set()
    named = {".".join(filter(None, (start, alias.name))) for alias in node.names} & sources().keys()
    return named | ({start} if start and len(named) < len(node.names) else set())


def imports(tree: ast.Module, inside: str = "", *, package: bool = False, top_only: bool = False) -> set[str]:
    """Modules (no rooms) that code imports; `top_only`: without imports inside functions."""
    nodes = tree.body if top_only else ast.walk(tree)
    named = set().union(*(_targets(n, inside, package) for n in nodes if isinstance(n, ast.Import | ast.ImportFrom)), set())
    return {name for name in named if not is_room(name)}


@cache
def graph() -> dict[str, set[str]]:
    """Module -> modules it imports."""
    return {name: imports(sources()[name][1], name) - {name} for name in modules()}


def behind(start: set[str]) -> set[str]:
    """All modules that `start` needs, directly or through each other, itself included."""
    seen, todo = set(), list(start)
    while todo:
        if (name := todo.pop()) not in seen:
            seen.add(name)
            todo += graph()[name]
    return seen


def notebooks() -> dict[str, set[str]]:
    """Notebook number -> modules it imports itself."""
    found = {}
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        lines = ["pass" if line.lstrip().startswith(("%", "!")) else line for line in code.splitlines()]
        found[path.name[:2]] = imports(ast.parse("\n".join(lines)))
    return found


def circles() -> list[str]:
    """Modules that need themselves through others."""
    return [name for name in graph() if name in behind(graph()[name])]


@cache
def floor(name: str) -> int:
    """1 for a module that imports none, else one more than the highest of those it imports. Only without circles."""
    return 1 + max(map(floor, graph()[name]), default=0)


def wrong_arrows() -> list[str]:
    """Imports that go up or sideways between rooms, against `MAY_IMPORT`."""
    found = []
    for name, needs in graph().items():
        room, top = room_of(name), imports(sources()[name][1], name, top_only=True)
        if name == "__main__":
            continue
        for other in needs:
            allowed = room_of(other) in (room, GROUND, *MAY_IMPORT.get(room, ())) or ((room, room_of(other)) in LAZY and other not in top)
            found += [] if allowed else [f"{name} -> {other}"]
    return sorted(found)


def public_names() -> dict[str, list[str]]:
    """Public functions, classes and constants that are defined in two rooms (or in two modules of the ground): name -> modules. `main` is every command's."""
    homes = defaultdict(set)
    for name in modules():
        for node in sources()[name][1].body:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
            named = [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)] if targets else [getattr(node, "name", "_")]
            for public in named:
                if not public.startswith("_") and public != "main":
                    homes[public].add(name)
    return {public: sorted(where) for public, where in homes.items() if len({room_of(w) for w in where}) > 1}


def lengths() -> tuple[dict[str, int], dict[str, int]]:
    """Lines of every file of the package, and of every function (`module.function`, methods by their class)."""
    files, functions = {}, {}
    for name, (path, tree) in sources().items():
        files[name or "__init__"] = len(path.read_text(encoding="utf-8").splitlines())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                functions[f"{name}.{node.name}:{node.lineno}"] = node.end_lineno - node.lineno + 1
    return files, functions


def optional_in_core() -> dict[str, list[str]]:
    """Core notebook -> modules of optional rooms that it cannot do without (imported when a module is imported, not inside a function)."""
    top = {name: imports(sources()[name][1], name, top_only=True) for name in modules()}
    found = {}
    for number in CORE_NOTEBOOKS:
        seen, todo = set(), list(notebooks().get(number, ()))
        while todo:
            if (name := todo.pop()) not in seen:
                seen.add(name)
                todo += top[name]
        if strangers := sorted(name for name in seen if room_of(name) not in CORE):
            found[number] = strangers
    return found


def broken() -> list[str]:
    """Every rule that the house breaks, in words."""
    files, functions = lengths()
    reach = {number: len(behind(needs)) for number, needs in notebooks().items()}
    rules = [f"{name}: {n} lines, more than {MOST_MODULE}" for name, n in files.items() if n > MOST_MODULE]
    rules += [f"{name}: a function of {n} lines, more than {MOST_FUNCTION}" for name, n in functions.items() if n > MOST_FUNCTION]
    rules += [f"{sum(files.values()):,} lines, more than {MOST_LINES:,}"] if sum(files.values()) > MOST_LINES else []
    rules += [f"wrong arrow: {arrow}" for arrow in wrong_arrows()]
    rules += [f"circle through {name}" for name in circles()]
    if not circles() and (top := max(map(floor, graph()))) > MOST_FLOORS:
        rules.append(f"{top} floors, more than {MOST_FLOORS}")
    rules += [f"notebook {number}: {n} modules behind it, more than {MOST_BEHIND}" for number, n in reach.items() if n > MOST_BEHIND]
    if (median := statistics.median(reach.values())) > MEDIAN_BEHIND:
        rules.append(f"modules behind a notebook: median {median}, more than {MEDIAN_BEHIND}")
    rules += [f"notebook {number} needs optional rooms: {', '.join(names)}" for number, names in optional_in_core().items()]
    rules += [f"public name in two rooms: {name} ({', '.join(where)})" for name, where in public_names().items()]
    return rules


def main(argv: list[str]) -> int:
    """Print the numbers, then the rules that are broken."""
    files, functions = lengths()
    reach = {number: len(behind(needs)) for number, needs in notebooks().items()}
    rooms = sorted({room_of(name) for name in modules()})
    print(f"modules {len(modules())} in {len(rooms)} rooms, lines {sum(files.values()):,} (goal {GOAL_LINES:,})")
    for what, found in (("longest modules", files), ("longest functions", functions)):
        print(f"{what}: " + ", ".join(f"{name} {n}" for name, n in sorted(found.items(), key=lambda item: -item[1])[:5]))
    print(f"circles {len(circles())}, floors {'-' if circles() else max(map(floor, graph()))}, wrong arrows {len(wrong_arrows())}")
    print("modules behind each notebook: " + ", ".join(f"{number} {n}" for number, n in reach.items()) + f"; median {statistics.median(reach.values())}")
    print(f"public names in two rooms: {len(public_names())}")
    if "--modules" in argv:
        for name in sorted(modules()):
            print(f"  {name}: {files[name]} lines" + ("" if circles() else f", floor {floor(name)}") + f"; imports {', '.join(sorted(graph()[name]))}")
    problems = broken()
    print("\n".join([f"\n{len(problems)} rules broken:", *problems] if problems else ["\nevery rule is kept"]))
    return bool(problems)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `house.py | head` ends quietly
    sys.exit(main(sys.argv[1:]))
