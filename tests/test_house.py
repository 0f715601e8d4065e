"""The shape of the library, held: `scripts/house.py` measures it, and each of its rules is shown to find what it is for."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys

import pytest

from polypersona_lib import paths


def _load():
    spec = importlib.util.spec_from_file_location("house", paths.ROOT / "scripts" / "house.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


house = _load()
ROOMS = sorted({house.room_of(name) for name in house.modules()} - {house.GROUND})


def test_every_rule_is_kept():
    assert house.broken() == []


def test_every_room_is_in_the_table_and_arrows_point_down():
    assert set(ROOMS) <= set(house.MAY_IMPORT), "a new room needs a line in MAY_IMPORT of scripts/house.py"
    order = list(house.MAY_IMPORT)
    for room, below in house.MAY_IMPORT.items():
        assert all(order.index(other) < order.index(room) for other in below), f"{room}: the table itself has an arrow that goes up"


@pytest.mark.parametrize("room", [*ROOMS, "studies"])
def test_a_room_says_what_it_is_and_imports_nothing(room):
    tree = house.sources()[room][1]
    text = ast.get_docstring(tree)
    assert text and len(tree.body) == 1, f"{room}/__init__.py holds one paragraph and nothing else"
    assert 80 < len(" ".join(text.split())) and "\n\n" not in text, f"{room}/__init__.py: one paragraph: what it is, what it reads, what may call it"


@pytest.mark.parametrize("room", [room for room in ROOMS if "." not in room])
def test_the_tests_mirror_the_rooms(room):
    assert list((paths.ROOT / "tests" / room).glob("test_*.py")), f"tests/{room} has no test"


WITHOUT_OPTIONAL_ROOMS = """
import importlib.abc, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        parts = name.split(".")
        if parts[0] == "polypersona_lib" and len(parts) > 1 and parts[1] in {optional!r}:
            raise ModuleNotFoundError(f"optional room: {{name}}", name=name)
sys.meta_path.insert(0, Refuse())
import importlib
for name in {names!r}:
    importlib.import_module("polypersona_lib." + name)
"""


def test_the_core_notebooks_import_without_the_optional_rooms():
    """Not read off the code: the rooms are really refused."""
    optional = sorted({room.split(".")[0] for room in ROOMS} - set(house.CORE))
    names = sorted(set().union(*(house.notebooks()[number] for number in house.CORE_NOTEBOOKS)))
    assert "probe" in optional and "claims.ledger" in names
    code = WITHOUT_OPTIONAL_ROOMS.format(optional=optional, names=names)
    done = subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-1500:]


# --- the rules find what they are for ------------------------------------------------------------------------------------------------


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A package of four modules in two rooms with one notebook; `write` changes a file and forgets what was measured."""
    fresh = _load()
    monkeypatch.setattr(fresh, "ROOT", tmp_path)
    monkeypatch.setattr(fresh, "MAY_IMPORT", {"ground": (), "low": (), "high": ("low",)})
    monkeypatch.setattr(fresh, "CORE", ("ground", "low"))
    monkeypatch.setattr(fresh, "CORE_NOTEBOOKS", ("01",))

    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        for measured in (fresh.sources, fresh.graph, fresh.floor):
            measured.cache_clear()

    for name, text in {
        "__init__": '"""P."""', "paths": "ROOT = 1", "low/__init__": '"""L."""', "low/a": "from .. import paths\n\n\ndef one():\n    return paths.ROOT",
        "high/__init__": '"""H."""', "high/b": "from ..low.a import one\n\nTWO = one()",
    }.items():  # fmt: skip
        write(f"polypersona_lib/{name}.py", text + "\n")
    write("notebooks/01_toy.ipynb", '{"cells": [{"cell_type": "code", "source": ["%time\\n", "from polypersona_lib.low import a"]}]}')
    fresh.write = write
    return fresh


def test_a_good_house_has_no_fault(toy):
    assert toy.broken() == [] and toy.modules() == ["high.b", "low.a", "paths"]
    assert toy.graph() == {"high.b": {"low.a"}, "low.a": {"paths"}, "paths": set()} and toy.floor("high.b") == 3
    assert toy.notebooks() == {"01": {"low.a"}} and toy.behind({"low.a"}) == {"low.a", "paths"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("low/c.py", "from ..high import b", "wrong arrow: low.c -> high.b"),
        ("low/c.py", "def f():\n    from ..high.b import TWO\n    return TWO", "wrong arrow: low.c -> high.b"),
        ("low/c.py", "import polypersona_lib.high.b", "wrong arrow: low.c -> high.b"),
        ("paths.py", "from polypersona_lib.low.a import one", "circle through low.a"),
        ("paths.py", "def f():\n    from .low import a\n    return a", "circle through paths"),
        ("low/c.py", "x = 1\n" * 300, "low.c: 301 lines"),
        ("low/c.py", "def f():\n" + "    x = 1\n" * 60, "a function of 61 lines"),
        ("high/c.py", "def one():\n    pass", "public name in two rooms: one (high.c, low.a)"),
        ("high/c.py", "ROOT: int = 2", "public name in two rooms: ROOT (high.c, paths)"),
    ],
)
def test_each_fault_is_found(toy, name, text, message):
    toy.write(f"polypersona_lib/{name}", text + "\n")
    assert any(message in rule for rule in toy.broken()), toy.broken()


def test_a_core_notebook_that_needs_an_optional_room_is_found(toy):
    toy.write("notebooks/01_toy.ipynb", '{"cells": [{"cell_type": "code", "source": ["from polypersona_lib.high.b import TWO"]}]}')
    assert "notebook 01 needs optional rooms: high.b" in toy.broken()


def test_private_names_commands_and_names_of_one_room_are_no_fault(toy):
    toy.write("polypersona_lib/high/c.py", "_one = 1\n\n\ndef main():\n    pass\n")
    toy.write("polypersona_lib/low/d.py", "def main():\n    pass\n\n\ndef one():\n    pass\n")
    assert toy.broken() == []
