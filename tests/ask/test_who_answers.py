"""What `--models` may name: each kind gets a name, an identity and an address, and nothing is loaded or sent by naming it."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from polypersona_lib.ask.who_answers import who_answers
from polypersona_lib.errors import InputError
from polypersona_lib.intake.survey_format import Item, Questionnaire
from polypersona_lib.models import published_adapters
from polypersona_lib.models.weights import BEGUN

SURVEY = Questionnaire(title="t", items=(Item(id="a", text="Well?", kind="yes_no", labels=("No", "Yes")),))

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture()
def model_folder(tmp_path):
    folder = tmp_path / "my model"
    folder.mkdir()
    for name in ("config.json", "tokenizer_config.json"):
        (folder / name).write_text("{}")
    save_file({"w": np.zeros(2, dtype=np.float32)}, folder / "model.safetensors")
    return folder


def named(entries) -> list:
    return who_answers(entries, SURVEY, seed=1)


def test_every_kind_of_entry_has_a_name_and_only_a_server_has_an_address(model_folder, tmp_path):
    (tmp_path / "w.gguf").write_bytes(b"GGUF")
    entries = [str(model_folder), str(tmp_path / "w.gguf"), f"owner/name@{COMMIT}", "phi-2--base", "phi-2", "server:http://127.0.0.1:9/v1#toy"]
    systems = named(entries)
    assert [who.system for who in systems] == ["my-model", "w", "owner-name", "phi-2--base", "phi-2", "server-toy--base"]
    assert [who.address for who in systems] == [""] * 5 + ["http://127.0.0.1:9/v1"]
    begins = f"; its answers to closed questions begin with {BEGUN!r}"
    assert systems[2].identity == f"owner/name@{COMMIT}{begins}" and [who.identity.endswith(begins) for who in systems] == [True] * 3 + [False] * 3
    assert systems[3].identity != systems[4].identity and systems[4].identity.startswith(systems[3].identity) and "1.7 M" in systems[4].label


def test_other_weights_are_another_identity(model_folder):
    before = named([str(model_folder)])[0].identity
    save_file({"w": np.ones(2, dtype=np.float32)}, model_folder / "model.safetensors")
    assert named([str(model_folder)])[0].identity != before


def test_what_lacks_is_one_line(model_folder, tmp_path, monkeypatch):
    (model_folder / "config.json").unlink()
    with pytest.raises(InputError, match="lacks config.json"):
        named([str(model_folder)])
    monkeypatch.setattr(published_adapters, "RUNS", ())
    with pytest.raises(InputError, match="no adapter of phi-2 here; train it"):
        named(["phi-2"])
    with pytest.raises(InputError, match="two of them are called 'owner-name'"):
        named([f"owner/name@{COMMIT}", f"owner/name@{COMMIT[::-1]}"])


def test_a_table_with_conditions_answers_by_the_persona(tmp_path):
    (tmp_path / "t.csv").write_text("question_id,option,probability,when\na,Yes,0.9,\na,No,0.1,\na,2,1,nurse\n")
    answerer, _ = named([f"table:{tmp_path}/t.csv"])[0].opened()
    shares = [answerer.truth(SURVEY.items[0].messages(card), ["No", "Yes"]).round(6).tolist() for card in ("A judge.", "A nurse.")]
    assert shares == [[0.1, 0.9], [0.0, 1.0]]


def test_the_wordings_of_a_pilots_table_are_left_out_and_counted(tmp_path):
    (tmp_path / "t.csv").write_text("question_id,option,probability\na,Yes,1\na~1,Yes,1\na~2,No,1\n")
    assert named([f"table:{tmp_path}/t.csv"])[0].label == "table t.csv (2 rows of other wordings, called X~N, left out)"
    (tmp_path / "t.csv").write_text("question_id,option,probability\nb~1,Yes,1\n")
    with pytest.raises(InputError, match="line 2: question_id 'b~1' is no item"):
        named([f"table:{tmp_path}/t.csv"])


def test_what_a_table_leaves_open_is_said(tmp_path):
    items = tuple(Item(id=name, text=f"{name}?", kind="yes_no", labels=("No", "Yes")) for name in "abcdef")
    (tmp_path / "t.csv").write_text("question_id,option,probability,when\na,Yes,0.4\na,No,0.2\nb,Yes,1\nb,No,0.9,nurse\n")
    who = who_answers([f"table:{tmp_path}/t.csv"], Questionnaire(title="t", items=items), seed=1)[0]
    assert who.label == "table t.csv (4 questions that it lacks are answered evenly: 'c', 'd', 'e', …; scaled to 1: 'a' 0.6)"
    (tmp_path / "t.csv").write_text("question_id,option,probability\na,Vielleicht,0.4\n")
    with pytest.raises(InputError, match="line 2: needs an option of 'a' .'No', 'Yes'. and a probability from 0 to 1, not 'Vielleicht', '0.4'"):
        who_answers([f"table:{tmp_path}/t.csv"], Questionnaire(title="t", items=items), seed=1)


def test_two_items_of_one_wording_have_one_row_of_a_table_or_stop_it(tmp_path):
    labels = ("No", "Yes")
    before, after, other = (
        Item(id=i, text="Do you smoke?", kind="yes_no", labels=names) for i, names in (("pre", labels), ("post", labels), ("x", ("n", "y")))
    )
    survey, table = Questionnaire(title="t", items=(before, after, other)), tmp_path / "t.csv"
    table.write_text("question_id,option,probability\npre,Yes,0.1\npre,No,0.9\npost,Yes,0.9\npost,No,0.1\n")
    with pytest.raises(InputError, match="^t.csv: 'pre' and 'post' have the same wording and options, .*; give them the same probabilities, or tell"):
        who_answers(f"table:{table}", survey, seed=1)
    table.write_text("question_id,option,probability\npre,Yes,0.1\npre,No,0.9\npost,No,0.9\npost,Yes,0.1\nx,y,1\n")
    answerer, _ = who_answers(f"table:{table}", survey, seed=1)[0].opened()
    assert [answerer.truth(item.messages("A."), list(item.labels)).round(6).tolist() for item in survey.items] == [[0.9, 0.1], [0.9, 0.1], [0, 1]]
