"""The strict reader: what it maps, what it refuses (with place and message), its output."""

from __future__ import annotations

import gzip
import json
import random
import re
from pathlib import Path

import pandas as pd
import pytest
from foreign import CARD, folder, lines, read_records, record

from polypersona_lib import files, paths
from polypersona_lib.errors import MAX_SHOWN, InputError
from polypersona_lib.intake import dataset_import, reading, record_fields
from polypersona_lib.intake.dataset_import import import_dataset
from polypersona_lib.prompts import chat
from polypersona_lib.world import dataset


def errors_of(root: Path, *records, mode: str = "stop") -> list[str]:
    """The lines of the error that these train records cause."""
    with pytest.raises(InputError) as caught:
        import_dataset(folder(root, list(records)), mode)
    return str(caught.value).splitlines()


# --- errors always stop --------------------------------------------------------------------------------------------------------

GOOD = json.dumps(record(0))
BAD = {  # what is wrong -> (a train record, the message)
    "broken JSON": ('{"id": "a", "persona": ', "train.jsonl:2: broken JSON (Expecting value, column 24)"),
    "NaN": (GOOD.replace("20", "NaN").replace("r0", "x"), "train.jsonl:2:persona.age: nan is not a number; leave the field out if it is missing"),
    "Infinity": (GOOD.replace("20", "1e999").replace("r0", "x"), "train.jsonl:2:persona.age: inf is not a number; leave the field out if it is missing"),
    "duplicate id": (record(1, id="r0"), "train.jsonl:2:id: 'r0' was used before, at train.jsonl:1"),
    "duplicate key": ('{"id": "b", ' + GOOD[1:], "train.jsonl:2:id: the key 'id' stands twice in one object"),
    "duplicate key inside": (GOOD.replace('{"age": 20', '{"age": 20, "age": 21'), "train.jsonl:2:persona.age: the key 'age' stands twice in one object"),
    "record is a list": ('["a"]', "train.jsonl:2: a record must be an object, not a list"),
    "persona is a list": (record(1, persona=["nurse"]), "train.jsonl:2:persona: must be text or an object, not a list"),
    "persona is missing": (record(1, persona=...), "train.jsonl:2:persona: missing"),
    "persona is empty": (record(1, persona={}), "train.jsonl:2:persona: empty"),
    "age is an object": (record(1, persona=CARD | {"age": {"a": 1}}), "train.jsonl:2:persona.age: must be a number of years, not a list"),
    "question is nan": (record(1, question="nan"), "train.jsonl:2:question: 'nan' is how programs write a missing value; give the text, or remove the row"),
    "answer is NULL": (record(1, reference="NULL"), "train.jsonl:2:reference: 'NULL' is how programs write a missing value"),
    "persona is None": (record(1, persona="None"), "train.jsonl:2:persona: missing"),
    "two ages": (record(1, years=3, AGE=99, persona="A nurse.") | {"persona": CARD}, "train.jsonl:2:age: '99', but the persona says '34'"),
    "messages are text": (record(1, messages="user: hi"), "train.jsonl:2:messages: must be a list of messages, not text"),
    "message without role": (record(1, messages=[{"text": "hi"}]), "train.jsonl:2:messages[0]: must be an object with the texts 'role' and 'content'"),
    "unknown role": (
        record(1, messages=[{"role": "tool", "content": "x"}]),
        "train.jsonl:2:messages[0].role: unknown role 'tool'; choose from system, user, assistant",
    ),
    "options are text": (record(1, options="yes/no"), "train.jsonl:2:options: must be a list of texts, not text"),
    "options repeat": (record(1, options=["Yes", "yes"]), "train.jsonl:2:options: must be 2 to 11 different labels"),
    "unknown question type": (
        record(1, question_type="lickert"),
        "train.jsonl:2:question_type: unknown type 'lickert'; did you mean 'likert'? choose from open, likert, yesno, agreement",
    ),
    "question type far off": (
        record(1, question_type="matrix9"),
        "train.jsonl:2:question_type: unknown type 'matrix9'; choose from open, likert, yesno, agreement",
    ),
    "no question type": (record(1, question_type=...), "train.jsonl:2:question_type: missing; choose from open, likert, yesno, agreement"),
    "age too high": (record(1, persona=CARD | {"age": 210}), "train.jsonl:2:persona.age: 210 is out of range; must be from 0 to 120"),
    "age negative, as text": (record(1, persona=CARD | {"age": "-3"}), "train.jsonl:2:persona.age: -3 is out of range; must be from 0 to 120"),
    "age is a list": (record(1, persona=CARD | {"age": [3]}), "train.jsonl:2:persona.age: must be a number of years, not a list"),
    "C0 control character": (record(1, reference="Agree.\x1b[31m"), "train.jsonl:2:reference: control character U+001B at position 7"),
    "C1 control character": (record(1, question="It\x92s fine."), "train.jsonl:2:question: control character U+0092 at position 3"),
    "lone carriage return": (record(1, question="a\rb"), "train.jsonl:2:question: control character U+000D at position 2"),
    "lone surrogate": (GOOD.replace("list on", "list \\ud83d on"), "train.jsonl:2:reference: lone surrogate U+D83D at position 16: half of a character"),
    "long persona": (record(1, persona="x" * 4_001), "train.jsonl:2:persona: 4,001 characters; at most 4,000"),
    "long card": (record(1, persona=CARD | {"description": "x" * 4_000}), "characters; at most 4,000"),
    "long question": (record(1, question="x" * 1_001), "train.jsonl:2:question: 1,001 characters; at most 1,000"),
    "long answer": (record(1, reference="x" * 8_001), "train.jsonl:2:reference: 8,001 characters; at most 8,000"),
    "huge text": (record(1, note="x" * 20_001), "train.jsonl:2:note: 20,001 characters; at most 20,000"),
    "empty question": (record(1, question=" \n"), "train.jsonl:2:question: empty"),
    "missing answer": (record(1, reference=None), "train.jsonl:2:reference: missing"),
    "answer is a list": (record(1, reference=["Agree"]), "train.jsonl:2:reference: must be text, not a list"),
    "id is an object": (record(1, id={}), "train.jsonl:2:id: must be text or a whole number, not an object"),
    "two names of one field": (record(1, answer="Something else."), "train.jsonl:2:answer: 'reference' is given twice under different names"),
    "too deep": (record(1, extra=[[[[[[[1]]]]]]]), "train.jsonl:2:extra[0][0][0][0][0]: nested more than 6 deep"),
    "far too deep": ('{"a": ' + "[" * 100_000, "train.jsonl:2: broken JSON (nested too deeply)"),
    "terminal codes in a quoted value": (record(1, question_type="\u202e\u200bx"), "train.jsonl:2:question_type: unknown type '\\u202e\\u200bx'; choose from"),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("mode", ["stop", "drop"])
def test_bad_record_stops_with_its_place(tmp_path, what, mode):
    bad, message = BAD[what]
    found = errors_of(tmp_path, record(0), bad, mode=mode)
    assert len(found) == 1 and message in found[0] and found[0].startswith("train.jsonl:2"), found
    assert sorted(p.name for p in tmp_path.iterdir()) == ["test.jsonl", "train.jsonl", "validation.jsonl"]


def test_bytes_that_are_no_text(tmp_path):
    folder(tmp_path)
    (tmp_path / "train.jsonl").write_bytes(GOOD.encode() + b'\n{"id": "caf\xe9"}\n')
    (tmp_path / "validation.jsonl").write_bytes(GOOD.encode("utf-16") + b"\x00")
    (tmp_path / "test.jsonl").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        import_dataset(tmp_path)
    assert str(caught.value).splitlines() == [
        "train.jsonl:2: not UTF-8 (byte 0xe9); save the file as UTF-8",
        "validation.jsonl: begins as UTF-16 and breaks off; save the file as UTF-8",
        "test.jsonl: no records",
    ]


def test_files_that_cannot_be_unpacked(tmp_path, monkeypatch):
    for name, data in {"a.json.gz": b"no gzip", "b.json.gz": gzip.compress(GOOD.encode())[:-20], "c.parquet": b"PAR1 or not"}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match="cannot be read|not a readable Parquet"):
            read_records(tmp_path / name)
    monkeypatch.setattr(files, "MAX_BYTES", 2**20)
    (tmp_path / "bomb.json.gz").write_bytes(gzip.compress(b" " * 2**21))
    with pytest.raises(InputError, match="bomb.json.gz: more than 1 MB once unpacked"):
        read_records(tmp_path / "bomb.json.gz")


def test_splits_must_be_there_and_clear(tmp_path):
    (tmp_path / "train.jsonl").write_text(GOOD)
    (tmp_path / "val.json").write_text(GOOD)
    (tmp_path / "dev.jsonl").write_text(GOOD)
    with pytest.raises(InputError) as caught:
        import_dataset(tmp_path)
    assert [line.split(": ", 1)[1] for line in str(caught.value).splitlines()] == [
        "several validation files: dev.jsonl, val.json; keep one",
        "no test file; expected for example test.jsonl (.json, .jsonl, .json.gz, .jsonl.gz, .parquet)",
    ]
    with pytest.raises(InputError, match="must be a folder"):
        import_dataset(tmp_path / "train.jsonl")
    with pytest.raises(ValueError, match="unknown faults 'ignore'; choose from stop, neutralise, drop"):
        import_dataset(tmp_path, "ignore")


def test_a_folder_of_data_sets_names_them():
    with pytest.raises(InputError, match="the data are in 'grouped' or 'paper' in that folder: name one of them"):
        import_dataset(paths.DATASET)


def test_all_errors_are_listed_across_files(tmp_path):
    train = [record(0, persona=["x"], question=""), "{", record(2, question_type="opn", reference=...)]
    folder(tmp_path, train, [record(0), record(1, id="same")], [record(2, id="same"), record(3, persona=CARD | {"age": 121})])
    with pytest.raises(InputError) as caught:
        import_dataset(tmp_path)
    assert [str(p).split(": ")[0] for p in caught.value.problems] == [
        "train.jsonl:1:persona", "train.jsonl:1:question", "train.jsonl:2", "train.jsonl:3:reference", "train.jsonl:3:question_type",
        "test.jsonl:1:id", "test.jsonl:2:persona.age",
    ]  # fmt: skip
    assert "test.jsonl:1:id: 'same' was used before, at validation.jsonl:2" in str(caught.value)


def test_long_lists_are_cut_but_counted(tmp_path):
    found = errors_of(tmp_path, *[record(n, question_type="x") for n in range(120)])
    assert len(found) == MAX_SHOWN + 1 and found[-1] == "... and 70 more (120 in all)"


def test_json_array_keeps_lines_and_finds_breaks(tmp_path):
    path = tmp_path / "train.json"
    path.write_text(json.dumps([record(0), record(1)], indent=2))
    assert [r["line"] for r in read_records(path)[0]] == [2, path.read_text().split('"r1"')[0].count("\n")]
    for text, message in {
        f"[{GOOD},\n {GOOD[:-9]}": "train.json:2: broken JSON",
        f"[{GOOD}\n{GOOD}]": "train.json:2: broken JSON (Expecting ',' or ']' after a record",
        f"[{GOOD},\n]": "train.json:2: broken JSON (Comma after the last record",
        f"[{GOOD}]\n{GOOD}": "train.json:1: broken JSON (Text after the end of the array",
        "[]": "train.json: no records",
    }.items():
        path.write_text(text)
        with pytest.raises(InputError, match=re.escape(message)):
            read_records(path)


# --- tolerance -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alias, name", [(alias, name) for name, aliases in record_fields.FIELD_ALIASES.items() for alias in aliases])
def test_every_documented_field_name_is_read(tmp_path, alias, name):
    full = record(1, messages=chat.messages(CARD, "Healthcare", "q", None, "a"), meta={}, options=["Disagree", "Agree"], persona_id="p", question_id="q")
    changed = {alias if k == name else k: v for k, v in (full | {"id": "b"}).items()}
    (tmp_path / "x.jsonl").write_text(lines([full, changed]))
    (one, two), notes = read_records(tmp_path / "x.jsonl")
    assert {k: v for k, v in one.items() if k not in ("id", "line")} == {k: v for k, v in two.items() if k not in ("id", "line")}
    assert notes[f"field '{alias}' read as '{name}'"] == 1


@pytest.mark.parametrize(
    "given, kind",
    [
        ("likert_scale", "likert"),
        ("Likert", "likert"),
        ("yes_no", "yesno"),
        ("Yes/No", "yesno"),
        ("statement", "agreement"),
        ("open-ended", "open"),
        ("rating scale", "likert"),
    ],
)
def test_question_type_aliases(tmp_path, given, kind):
    (tmp_path / "x.jsonl").write_text(lines([record(0, question_type=given)]))
    (found,), notes = read_records(tmp_path / "x.jsonl")
    assert found["question_type"] == kind and notes[f"question type '{given}' read as '{kind}'"] == 1


def test_persona_as_text_card_or_json_text(tmp_path):
    cards = ["A nurse from Ohio.\nShe likes\tcards.", {"Age": "34", "job": "nurse", "shoe size": 38}, json.dumps(CARD), {"bio": "A nurse."}]
    (tmp_path / "x.jsonl").write_text(lines([record(n, persona=c) for n, c in enumerate(cards)]))
    found, notes = read_records(tmp_path / "x.jsonl")
    mapped = {"age": 34, "occupation": "nurse", "description": "shoe size: 38."}
    assert [r["persona"] for r in found] == ["A nurse from Ohio. She likes cards.", mapped, CARD, "A nurse."]
    assert notes["field 'persona.job' read as 'persona.occupation'"] == 1
    assert notes["persona given as JSON text"] == 1 and notes["ages written as text"] == 1


def test_fields_come_from_messages_and_from_beside(tmp_path):
    triplet = chat.messages(CARD, "Finance", "Do you save?", ("No", "Yes"), "Yes, monthly.")
    prompt = "Persona:\n  Age: 5\n\nDomain: finance\nQuestion: Why?\nAnswer briefly."
    replica = [{"role": "system", "content": "x"}, {"role": "user", "content": prompt}, triplet[2]]
    plain = [{"role": r, "content": c} for r, c in (("system", "You are a baker."), ("user", "Hi?"), ("assistant", "Yes."))]
    rows = [
        {"question_type": "yesno", "messages": triplet},
        {"type": "open", "conversations": [{"from": "human", "value": "What do you eat?"}, {"from": "gpt", "value": "Bread."}], "age": 40, "job": "baker"},
        {"type": "open", "messages": replica},
        {"type": "open", "messages": plain},
        record(0, messages=triplet),
    ]
    (tmp_path / "x.jsonl").write_text(lines(rows))
    found, notes = read_records(tmp_path / "x.jsonl")
    assert [(r["question"], r["reference"], r["domain"]) for r in found[:4]] == [
        ("Do you save?", "Yes, monthly.", "finance"), ("What do you eat?", "Bread.", "unspecified"),
        ("Why?", "Yes, monthly.", "finance"), ("Hi?", "Yes.", "unspecified"),
    ]  # fmt: skip
    assert found[0]["options"] == ["No", "Yes"] and found[0]["persona"] == chat.render_card(CARD)
    assert found[1]["persona"] == {"age": 40, "occupation": "baker"} and found[2]["persona"] == "Age: 5" and found[3]["persona"] == "You are a baker."
    assert found[4]["reference"] == record(0)["reference"]
    assert notes["messages say something else than the fields: the fields are used"] == 1 and notes["reference taken from messages"] == 4


def test_what_stands_beside_a_persona_goes_into_its_card(tmp_path):
    """Sixty people under five texts, told apart by columns; fifty-nine others have the same text and card, and are told apart by their ids alone."""
    jobs, given = ("nurse", "pilot", "judge", "baker", "farmer"), []
    for n in range(60):
        person = {"age": 20 + n, "sex": ("Male", "Female")[n % 2], "state": "Ohio", "education_level": "bachelors", "score": n}
        given.append(record(n, persona=f"A calm {jobs[n % 5]}.", question=f"Statement {n % 4}?", question_type="open") | person)
    parts, report = import_dataset(folder(tmp_path, given[:40], given[40:50], given[50:]))
    every = pd.concat(parts.values())
    cards = [json.loads(card) for card in every["persona"]]
    assert len({json.loads(m)["persona_id"] for m in every["meta"]}) == 60 == every["persona"].nunique() and report.total("leaked_pair") == 0
    assert cards[7] == {"description": "A calm judge.", "age": 27, "gender": "Female", "region": "Ohio", "education": "bachelors"}
    assert report.notes["field 'age' put into the persona's card"] == 60 and report.notes["field 'score' not used"] == 60
    alike = [record(n, id=f"x{n}", persona="A respondent.", persona_id=f"p{n}", question=f"{n}?") for n in range(60)]
    parts, report = import_dataset(folder(tmp_path, alike[:40], alike[40:50], alike[50:]))
    assert len({json.loads(m)["persona_id"] for p in parts.values() for m in p["meta"]}) == 60
    assert report.notes["persona_id kept though another one has the same card"] == 59


def test_parts_of_a_persona_object_are_joined_and_missing_ones_named(tmp_path):
    card = {"name": "Ana", "occupation": {"title": "architect", "at": ["Acme", "Ltd"]}, "age": "nan", "traits": [{"kind": "calm"}, "warm"], "region": "None"}
    (tmp_path / "x.jsonl").write_text(lines([record(0, persona=card), record(1, persona_id="nan", reference="None")]))
    (first, second), notes = read_records(tmp_path / "x.jsonl")
    assert first["persona"] == {"occupation": ["title: architect", "at: Acme, Ltd"], "traits": ["kind: calm", "warm"], "description": "name: Ana."}
    assert chat.render_card(first["persona"]).startswith("title: architect, at: Acme, Ltd; kind: calm, warm. name: Ana.")
    assert notes["persona.age 'nan' left out as missing"] == 1 == notes["persona.region 'None' left out as missing"]
    assert second["persona_id"] is None and notes["persona_id 'nan' read as missing"] == 1 and second["reference"] == "None"
    assert notes["reference 'None' kept as an answer; if it stands for a missing one, remove the row"] == 1


@pytest.mark.parametrize(
    ("prompt", "question", "options"),
    [
        ("Question: Tea?\nOptions: No / Perhaps / Yes\nAnswer:", "Tea?", ["No", "Perhaps", "Yes"]),
        ("Question: Tea?\nOptions: No / Yes\nReply with one of them.", "Tea?", ["No", "Yes"]),
        ("Question: Tea?\nOptions:\n- No\n- Perhaps\n- Yes\n\nAnswer:", "Tea?", ["No", "Perhaps", "Yes"]),
        ("Question: Tea?\nOptions: A. No\nB. Yes\nAnswer with a letter.", "Tea?", ["A. No", "B. Yes"]),
        ("Question: Tea?\nOptions: No|Yes\nDomain: Food", "Tea?", ["No", "Yes"]),
        ("Tea is good.\nOptions: Disagree / Agree\nAnswer:", "Tea is good.", ["Disagree", "Agree"]),
        ("Options: Disagree / Agree\nQuestion: Tea is good.\nAnswer:", "Tea is good.", ["Disagree", "Agree"]),
        ("Is tea good?\nAnswer:", "Is tea good?", None),
    ],
)
def test_options_end_where_their_line_or_list_ends(tmp_path, prompt, question, options):
    messages = [{"role": "user", "content": f"Persona: a nurse\n{prompt}"}, {"role": "assistant", "content": "Yes"}]
    if not prompt.startswith(("Question", "Options")):
        messages[0]["content"] = prompt
    (tmp_path / "x.jsonl").write_text(lines([{"question_type": "yesno", "messages": messages, "persona": "a nurse"}]))
    (found,), notes = read_records(tmp_path / "x.jsonl")
    assert (found["question"], found["options"]) == (question, options)
    assert notes.get("text after the options of messages left out", 0) == prompt.count("Reply with")


def test_domains_keep_their_names_or_become_slugs(tmp_path):
    given = ["Work Experience", "work-experience", "SOCIAL_ISSUES", "Pets & Care", None]
    (tmp_path / "x.jsonl").write_text(lines([record(n, domain=d) for n, d in enumerate(given)]))
    found, notes = read_records(tmp_path / "x.jsonl")
    assert [r["domain"] for r in found] == ["work_experience", "work_experience", "social_issues", "pets_care", "unspecified"]
    assert [r["domain_name"] for r in found] == ["Work Experience", "Work Experience", "Social Issues", "Pets & Care", "Unspecified"]
    assert notes["domain 'Pets & Care' is none of the paper's ten: kept as 'pets_care'"] == 1


def test_output_is_our_own_shape_whatever_the_file(tmp_path):
    rows = [record(n) for n in range(4)]
    folder(tmp_path)
    (tmp_path / "train.jsonl").unlink()
    results = []
    for name, write in {
        "train.json": lambda p: p.write_text(json.dumps(rows)),
        "train.jsonl": lambda p: p.write_bytes(b"\xef\xbb\xbf" + lines(rows).replace("\n", "\r\n").encode()),
        "train.json.gz": lambda p: p.write_bytes(gzip.compress(lines(rows).encode())),
        "train.parquet": lambda p: pd.DataFrame(rows).to_parquet(p),
    }.items():
        write(tmp_path / name)
        parts, report = import_dataset(tmp_path)
        assert {k: len(v) for k, v in parts.items()} == {"train": 4, "validation": 4, "test": 4} and tuple(parts["train"].columns) == dataset.COLUMNS
        results.append(parts["train"].drop(columns="meta").to_json())
        assert report.files["train"] == name and report.read == report.kept
        (tmp_path / name).unlink()
    assert len(set(results)) == 1
    row = parts["train"].iloc[1]
    assert row["messages"] == chat.messages(CARD | {"age": 21}, "Healthcare", "I trust my doctor.", None, row["reference"])
    assert set(json.loads(row["meta"])) == {"persona_id", "question_id", "options", "source_file", "source_line"} and json.loads(row["persona"])["age"] == 21


def test_ids_are_safe_unique_and_stand_for_the_content(tmp_path):
    train = [record(0, id="../../etc/passwd"), record(1, id="a/b"), record(2, id=...), record(3, id="train-3"), record(7, id="  ", persona="A nurse.")]
    parts, report = import_dataset(folder(tmp_path, train))
    every = pd.concat(parts.values())
    assert every["id"].is_unique and all(dataset_import.SAFE_ID.fullmatch(i) for i in every["id"]) and "train-3x" in set(every["id"])
    metas = [json.loads(m) for m in every["meta"]]
    assert len({m["question_id"] for m in metas}) == 4 and report.notes["question_id missing: made from the content"] == len(every)
    given = [record(n, meta={"persona_id": f"p{n % 2}/x", "question_id": f"q{n % 4}"}, persona=f"Person {n % 2}") for n in range(12)]
    parts, report = import_dataset(folder(tmp_path, given[:4], given[4:8], given[8:]), "neutralise")
    assert set(json.loads(m)["question_id"] for m in parts["test"]["meta"]) == {"q0", "q1", "q2", "q3"}
    assert report.notes["persona_id with unsafe characters rewritten"] == 12 and report.total("leaked_pair") == 8


def test_our_own_data_set_can_be_read_back(tmp_path):
    source = paths.DATASET / "grouped"
    if not source.exists():
        pytest.skip("the data set is not built")
    parts, report = import_dataset(source, "neutralise")
    ours = pd.read_parquet(source / "test.parquet")
    assert [list(m) for m in parts["test"]["messages"]] == [list(m) for m in ours["messages"]] and list(parts["test"]["id"]) == list(ours["id"])
    for kind in ("control_text", "empty_answer", "copied_row", "leaked_pair"):
        assert report.total(kind) == 0


# --- one quick look at a whole record ------------------------------------------------------------------------------------------


def _any_value(rng: random.Random, depth: int = 0) -> object:
    """A value as a reader may meet it, good or bad."""
    if depth < 8 and rng.random() < 0.45:
        if rng.random() < 0.5:
            return [_any_value(rng, depth + 1) for _ in range(rng.randint(0, 3))]
        pairs = [(rng.choice(["a", "b", "c", 1, None, "x\x07", "\ud800", "d\r\n"]), _any_value(rng, depth + 1)) for _ in range(rng.randint(0, 3))]
        return rng.choice([dict, reading.Pairs])(pairs)
    long = "x" * rng.choice([1, 20_000, 20_001])
    return rng.choice(["x", "y\r\nz", "\r", "\ud800", "\udc00", "a\x85", "é", long, 1, 2.5, float("nan"), float("-inf"), None, True, {1}, b"x"])


def test_a_quick_look_at_a_record_says_what_a_walk_through_it_says(monkeypatch):
    rng, quick, walked, whole = random.Random(0), reading._is_plain, [], 0
    values = [_any_value(rng) for _ in range(3_000)]
    for looks in (quick, lambda *_: False):
        monkeypatch.setattr(reading, "_is_plain", looks)
        places = [reading.Place("file") for _ in values]
        walked.append([(repr(reading.clean(v, "", at)), [str(e) for e in at.errors]) for v, at in zip(values, places, strict=True)])
        whole += sum(not at.errors for at in places)
    assert walked[0] == walked[1] and 1_000 < whole < 5_000, "good and bad values"
