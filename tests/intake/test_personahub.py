"""The command `build`: PersonaHub texts, files that are none, and a published data set that is replaced only on purpose."""

import gzip
import json

import pandas as pd
import pytest

from polypersona_lib import paths
from polypersona_lib.errors import InputError
from polypersona_lib.intake import personahub
from polypersona_lib.world import build, simulation
from polypersona_lib.world.personas import draw_population, population

NEEDED = sum(population()["category_personas"].values())


def texts(count, kind="A person", more=""):
    return [f"{kind} who lives near bridge number {i} and keeps bees.{more}" for i in range(count)]


def lines(path, values):
    path.write_text("".join(json.dumps({"persona": v}) + "\n" for v in values), encoding="utf-8")
    return path


def test_texts_become_the_papers_personas(tmp_path):
    path = lines(tmp_path / "many.jsonl", [*texts(NEEDED + 40), *texts(3), None, "short", "A person with a <tag> who lives here."])
    cards, funnel = personahub.read_cards(path, 7)
    assert len(cards) == NEEDED == funnel["kept"] and {c["description"] for c in cards} < set(texts(NEEDED + 40))
    assert (funnel["rows"], funnel["distinct"], funnel["usable"]) == (NEEDED + 46, NEEDED + 42, NEEDED + 40)
    assert funnel["left_out"] == {"shorter than 20 characters": 1, "with the character '<'": 1, "rows without a text": 1}
    with gzip.open(tmp_path / "many.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(path.read_text())
    pd.DataFrame({"input persona": texts(NEEDED + 40)}).to_csv(tmp_path / "many.csv", index=False)
    assert personahub.read_cards(tmp_path / "many.jsonl.gz", 7)[0] == cards == personahub.read_cards(tmp_path / "many.csv", 7)[0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (texts(300), "300 of 433 personas; lacking: "),
        (texts(5), "5 of 433 personas; lacking: "),
        (texts(600, "An architect"), "77 of 433 personas; lacking: 61 educator, 54 student, "),
        (texts(600, "An architect"), "600 usable; 523 of them name a kind of occupation of which there are enough"),
        (texts(500, more=" She reads." * 20), "0 of 433 personas; lacking: 77 professional, "),
        (texts(500, more=" She reads." * 20), "500 rows, 500 different texts, 0 usable (not usable: 500 longer than 200 characters)"),
    ],
)
def test_too_few_texts_stop_the_build_with_the_counts(tmp_path, capsys, values, message):
    path, out = lines(tmp_path / "few.jsonl", values), tmp_path / "out"
    assert build.main(["--personahub", str(path), "--out", str(out)]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"build: {path}: ") and message in shown.err and shown.err.count("\n") == 1 and not shown.out and not out.exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("b.jsonl", '{"persona": "A nurse who likes tea."}\n{"persona": "x"', "b.jsonl:2: broken JSON ("),
        ("e.jsonl", "", "e.jsonl: holds no rows"),
        ("n.jsonl", '{"text": "A nurse who likes tea."}', "no column 'persona' or 'input persona' (columns there: 'text')"),
        ("l.jsonl", '["A nurse who likes tea."]', "l.jsonl: line 1: must be an object with the field 'persona'"),
        ("t.jsonl", '{"persona": {"job": "nurse"}}', "t.jsonl: line 1: persona: must be text, not an object"),
        ("c.csv", 'persona\n"A nurse\n', "c.csv:2: broken table ("),
        ("u.jsonl", '{"persona": "A nurse."}'.encode("utf-16") + b"x", "u.jsonl: begins as UTF-16 and breaks off; save the file as UTF-8"),
        ("p.parquet", "no parquet", "p.parquet: not a readable Parquet file ("),
        ("g.jsonl.gz", "no gzip", "g.jsonl.gz: cannot be read (BadGzipFile"),
    ],
)
def test_broken_files_get_one_line(tmp_path, capsys, name, content, message):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert build.main(["--personahub", str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr()
    assert message in shown.err and shown.err.count("\n") == 1 and not shown.out and not (tmp_path / "out").exists()


def test_no_file_and_the_environments_file(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no such file"):
        personahub.read_cards(tmp_path / "none.jsonl", 1)
    monkeypatch.setenv("POLYPERSONA_PERSONAHUB", str(lines(tmp_path / "few.jsonl", texts(5))))
    with pytest.raises(InputError, match="5 of 433"):
        build.from_environment(1)


def test_the_hub_out_of_reach_is_one_line(monkeypatch):
    import datasets

    def refuse(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(InputError, match="cannot be read from the hub .ConnectionError: 'no route'"):
        personahub.read_cards(personahub.HUB, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "name a folder with --out DIR, or give --publish to replace the published data set"),
        (["--publish", "--out", "x"], "goes with neither --out nor --personahub"),
        (["--publish", "--personahub", "x"], "goes with neither --out nor --personahub"),
    ],
)
def test_the_published_data_set_is_replaced_only_on_purpose(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.setattr(paths, "DATASET", tmp_path / "published")
    assert build.main(options) == 2 and message in capsys.readouterr().err and not (tmp_path / "published").exists()


def test_a_folder_of_other_files_is_not_built_into(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    assert build.main(["--out", str(tmp_path)]) == 2
    assert "holds other files; name a new folder with --out" in capsys.readouterr().err and len(list(tmp_path.iterdir())) == 1


def test_publish_and_out_write_the_same_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "DATASET", tmp_path / "published")
    assert build.main(["--publish"]) == 0 and build.main(["--out", str(tmp_path / "own")]) == 0
    own, published = ({p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in (tmp_path / "own", tmp_path / "published"))
    assert own == published and len(own) == 7 and f"written to {tmp_path / 'own'}" in capsys.readouterr().out
    (tmp_path / "file").write_text("")
    assert build.main(["--out", str(tmp_path / "file" / "under")]) == 2 and "is no folder" in capsys.readouterr().err


def test_records_need_the_papers_personas_and_never_fall_back_on_others():
    cards = draw_population(3)
    for wrong in ([], cards[:308], [*cards, cards[0]], [card | {"category": "home"} for card in cards]):
        with pytest.raises(ValueError, match=f"{len(wrong)} personas .*need {NEEDED}"):
            simulation.simulate_records(3, cards=wrong)
