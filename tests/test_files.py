"""Files are whole or not there, hashes are what they were, and what a user is told fits one line."""

from __future__ import annotations

import hashlib
import os

import pytest
import yaml

from polypersona_lib import files
from polypersona_lib.errors import MAX_SHOWN, InputError, Problem, one_line, quoted
from polypersona_lib.paths import ROOT
from polypersona_lib.runner import manifest


def test_a_file_is_the_old_one_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "made" / "table.csv"
    files.write_atomically(path, "naïve\n")
    assert path.read_bytes() == "naïve\n".encode()
    with pytest.raises(RuntimeError), files.replacing(path) as beside:
        beside.write_bytes(b"half of")
        raise RuntimeError("killed")
    assert path.read_bytes() == "naïve\n".encode() and list(path.parent.iterdir()) == [path]
    files.write_atomically(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff" and list(path.parent.iterdir()) == [path]


def test_what_a_killed_writer_left_goes_and_nothing_else(tmp_path):
    nobody, me = 99_999_999, os.getpid()  # no system counts that far
    for name in (f"a/.table.csv.{nobody}", f"a/.table.csv.{me}", f".adapter.{nobody}/weights", "a/.phi-2.unfinished/step", "a/table.csv.12", ".lock"):
        files.write_atomically(tmp_path / name, "x")
    manifest.remove_unfinished(tmp_path, tmp_path / "no such folder")
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {f"a/.table.csv.{me}", "a/.phi-2.unfinished/step", "a/table.csv.12", ".lock"}


def test_what_a_living_process_writes_stays(tmp_path):
    """Another process's, too: a run starts while a notebook in JupyterLab writes."""
    with files.replacing(tmp_path / "table.csv") as beside:
        beside.write_text("x")
        manifest.remove_unfinished(tmp_path)
    assert (tmp_path / "table.csv").read_text() == "x"


def test_a_folder_stays_until_the_new_one_stands(tmp_path):
    files.write_atomically(tmp_path / "kept" / "a", "old")
    with pytest.raises(OSError):
        files.replace_folder(tmp_path / "never written", tmp_path / "kept")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"] and (tmp_path / "kept" / "a").read_text() == "old"
    files.write_atomically(tmp_path / "new" / "b", "new")
    files.replace_folder(tmp_path / "new", tmp_path / "kept")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["kept", "kept/b"]


def test_hashes_of_equal_things_are_equal_and_of_no_others(tmp_path):
    (tmp_path / "a").write_text("one")
    assert files.sha256("é") == files.sha256("é".encode()) == hashlib.sha256("é".encode()).hexdigest()
    before = files.file_hash(tmp_path / "a"), files.folder_hash(tmp_path)
    assert before[0] == files.sha256("one")
    (tmp_path / "a").rename(tmp_path / "b")
    assert files.file_hash(tmp_path / "b") == before[0] and files.folder_hash(tmp_path) != before[1]
    assert files.fingerprint({"a": 1, "b": 2}) == files.fingerprint({"b": 2, "a": 1}) != files.fingerprint({"a": 1, "b": 3})
    assert files.value_hash(["\ud800"]) != files.value_hash(["?"])


def test_our_yaml_files_read_as_pyyaml_s_own_reader_reads_them():
    written = sorted((ROOT / "data").rglob("*.yaml"))
    assert len(written) > 10
    for path in written:
        assert files.read_yaml(path) == yaml.safe_load(path.read_text(encoding="utf-8")), path.name


def test_an_input_error_lists_so_many_problems_and_counts_the_rest():
    problems = [Problem("a.csv", line, "age", "must be a number") for line in range(1, MAX_SHOWN + 3)]
    lines = str(InputError("the data have faults", problems=problems, footer="save them as UTF-8")).splitlines()
    assert lines[0] == "the data have faults" and lines[1] == "a.csv:1:age: must be a number" and lines[-1] == "save them as UTF-8"
    assert lines[-2] == f"... and 2 more ({MAX_SHOWN + 2} in all)" and len(lines) == MAX_SHOWN + 3
    assert str(InputError("one line")) == "one line" and InputError("one line").problems == []


def test_untrusted_text_stays_in_one_line():
    assert one_line(" a\n\tQuestion: b\u2028c\r ") == "a  Question: b c"
    assert quoted("a\x1b[31m\u202eb") == r"'a\x1b[31m\u202eb'" and quoted("x" * 99) == "'" + "x" * 37 + "...'"
