"""Every reader of the project with what is given to it. `TARGETS`: name -> (strategy, what reads one case in a folder)."""

from __future__ import annotations

import io
import json
import struct
from contextlib import redirect_stdout
from pathlib import Path

import httpx2
import numpy as np
from hypothesis import strategies as st

from polypersona_lib.errors import safe_line
from polypersona_lib.intake.dataset_import import import_dataset
from polypersona_lib.intake.people_file import read_people
from polypersona_lib.intake.personahub import read_cards
from polypersona_lib.intake.predictions_file import read_predictions
from polypersona_lib.intake.question_rows import parse_map
from polypersona_lib.intake.questionnaire_file import read_questionnaire
from polypersona_lib.intake.skip_rules import read_rule
from polypersona_lib.intake.survey_format import Item, Questionnaire
from polypersona_lib.models import answer_budget, server_connection
from polypersona_lib.models.answer_budget import AnswerCache, Budget, read_limits
from polypersona_lib.models.answerers import Prompt
from polypersona_lib.models.generation import Draws, Sampling
from polypersona_lib.models.server_answerer import ServerAnswerer
from polypersona_lib.models.weights import check_gguf, check_safetensors
from polypersona_lib.probe import questionnaire
from polypersona_lib.prompts import chat
from polypersona_lib.rating.session import read_ratings
from polypersona_lib.records import read_run
from polypersona_lib.report.parts import stages
from polypersona_lib.runner.manifest import Manifest, reason_to_run
from polypersona_lib.runner.pipeline import print_summary
from polypersona_lib.systems import ServerSpec, read_models

from .inputs import KINDS, damaged, files, hostile, json_text, rows, scalars, texts, values

ASKED = Questionnaire(title="t", items=(Item(id="q1", text="Well?", kind="single", labels=("Yes", "No")), Item(id="q2", text="Why?")))
_word = st.sampled_from(("a nurse from Ohio", "Do you agree?", "Yes", "I do, most days, and gladly."))
_card = st.fixed_dictionaries({"age": st.integers(18, 99)}, optional={"occupation": _word, "values": st.lists(_word, max_size=2), "region": _word})
_RECORD = {
    "id": st.integers(0, 10**9), "persona": _word | _card, "domain": st.sampled_from(("Health", "=1")), "question": _word,
    "question_type": st.sampled_from(("open", "likert", "yesno")), "reference": _word, "options": st.just(["Yes", "No"]) | st.none(),
}  # fmt: skip
_MORE = {
    "messages": st.lists(st.fixed_dictionaries({"role": st.sampled_from(("user", "assistant")), "content": texts}), max_size=2), "meta": values,
    "occupation": _word,
}  # fmt: skip
_PREDICTION = _RECORD | {"prediction": _word, "status": st.sampled_from(("ok", "failed")), "persona_id": st.integers(0, 9), "question_id": _word}
_PERSON = {
    "id": st.integers(0, 10**9),
    "persona": _word | _card,
    "age": st.integers(0, 130),
    "weight": st.floats(0, 9),
    "q1": _word,
    "q2": texts,
    "unit": _word,
}
_ITEM = {
    "id": st.sampled_from(("q1", "q2", "q3", "q4", "q5")), "text": _word,
    "kind": st.sampled_from(("single", "agreement", "number", "ranking", "open", "rating", "nps")),
    "options": st.sampled_from(("Yes|No|Don't know", "0-10", "agreement", "1=a;2=b")) | st.lists(_word, max_size=3), "least": st.integers(0, 3),
    "most": st.integers(4, 9), "key": st.sampled_from((1, -1)), "battery": _word, "ordered": st.booleans(), "asked_if": st.sampled_from(("", "${q1} = 1")),
}  # fmt: skip
_ODD_ITEM = _ITEM | {
    "codes": st.lists(st.integers(0, 9)) | values, "option_kinds": texts, "asked_if": hostile, "paraphrases": values, "reversed": scalars, "option_1": _word,
    "option_2": texts,
}  # fmt: skip
_FORM = {"type": st.sampled_from(("select_one a", "integer", "begin group", "end group", "range", "note")) | texts, "name": _word, "label": texts,
         "relevant": hostile, "constraint": texts, "parameters": texts, "choice_filter": texts}  # fmt: skip
_RATING = {"item": _word, "scale": st.sampled_from(("realism", "consistency")), "value": st.integers(1, 5), "seconds": st.floats(0, 99)}


def _written(folder: Path, file: tuple[str, bytes]) -> Path:
    path = folder / file[0]
    path.write_bytes(file[1])
    return path


def _reading(read):
    """A reader of one file, and what it gives only if that can be walked through."""
    return lambda case, folder: repr(read(_written(folder, case)))[:0]


def _records(case: tuple, folder: Path) -> None:
    files_of_splits, faults = case
    for name, (_, contents) in zip(("train", "val", "test"), files_of_splits, strict=True):
        (folder / f"{name}.jsonl").write_bytes(contents)
    import_dataset(folder, faults)


# --- Qualtrics, exports of the probe, manifests, records ---------------------------------------------------------------------------------

_choices = st.dictionaries(st.sampled_from(("1", "2", "²", "x")), st.fixed_dictionaries({}, optional={"Display": texts | values}), max_size=3)
_logic = st.recursive(
    st.fixed_dictionaries({}, optional={"Type": st.sampled_from(("Expression", "If", "OrIf")) | values, "LogicType": st.just("Question"),
        "Operator": st.sampled_from(("Selected", "NotSelected")) | values, "LeftOperand": st.just("q://QID1/SelectableChoice/1") | texts}),
    lambda inner: st.dictionaries(st.sampled_from(("0", "1", "Type", "Conjunction")), inner | values, max_size=3), max_leaves=4,
)  # fmt: skip
_payload = st.fixed_dictionaries({}, optional={
    "QuestionType": st.sampled_from(("MC", "Matrix", "TE", "RO", "Slider", "DB")) | values,
    "Selector": st.sampled_from(("SAVR", "MAVR", "Likert", "FORM", "NPS")),
    "SubSelector": st.sampled_from(("SingleAnswer", "MultipleAnswer")), "QuestionText": texts | values, "DataExportTag": texts | values,
    "Choices": _choices | st.lists(_choices, max_size=2) | values, "ChoiceOrder": values, "Answers": _choices | values, "AnswerOrder": values,
    "RecodeValues": values, "AnalyzeChoices": values, "Validation": values, "Configuration": values, "DisplayLogic": _logic | values,
    "ChoiceDataExportTags": values,
})  # fmt: skip
_flow = st.recursive(
    st.fixed_dictionaries({"Type": st.sampled_from(("Block", "Standard", "Branch", "Group", "Odd")) | values}, optional={"ID": st.just("B1") | values}),
    lambda inner: st.fixed_dictionaries({"Type": st.sampled_from(("Root", "Branch", "Group"))},
        optional={"Flow": st.lists(inner, max_size=3) | values, "BranchLogic": _logic, "FlowID": values}), max_leaves=4,
)  # fmt: skip
_element = st.one_of(
    st.builds(lambda p, n: {"Element": "SQ", "PrimaryAttribute": n, "Payload": p}, _payload | values, st.sampled_from(("QID1", "QID2"))),
    st.builds(lambda p: {"Element": "FL", "Payload": p}, _flow | values),
    st.builds(lambda e: {"Element": "BL", "Payload": [{"ID": "B1", "Type": "Default", "BlockElements": e}]},
              st.lists(st.just({"Type": "Question", "QuestionID": "QID1"}) | values, max_size=2) | values),
    values,
)  # fmt: skip
_qsf = st.fixed_dictionaries({"SurveyElements": st.lists(_element, max_size=4) | values}, optional={"SurveyEntry": values}).map(json_text).map(str.encode)
_questionnaire = st.fixed_dictionaries({"items": rows(_ITEM) | rows(_ODD_ITEM) | values}, optional={"format": values, "title": values, "not_used": values})
_EXPORT = {
    "ask": {"card": {"age": 30}, "text": "Well?", "kind": "yesno", "domain": "Health", "options": ["Yes", "No"], "persona_id": "p1", "question_id": "q1",
            "seed": 1, "sample": 0, "sampling": {"temperature": 0.7, "top_p": 0.9, "max_tokens": 30}},
    "system": {"key": "phi-2", "adapter": ""}, "answer": "Yes.",
}  # fmt: skip
_STAGE = {"status": "done", "parts": {"code": "x"}, "outputs": {"a": "b"}, "wall_time_s": 1.0, "peak_memory_mb": 2.0, "executed": "y"}
_MANIFEST = {"run": "nano", "stages": {"01": _STAGE, "02": _STAGE}}


@st.composite
def _changed(draw, whole: dict) -> bytes:
    """The JSON of `whole` with some of its values replaced or left out, whole or damaged."""
    value = json.loads(json.dumps(whole))
    for _ in range(draw(st.integers(0, 3))):
        at = value
        while isinstance(at, dict) and at:
            name = draw(st.sampled_from(sorted(at)))
            if not isinstance(at[name], dict) or draw(st.booleans()):
                at.update({name: draw(values)}) if draw(st.integers(0, 3)) else at.pop(name)
                break
            at = at[name]
    return draw(damaged(json_text(value).encode()))


def _manifest(case: bytes, folder: Path) -> None:
    (folder / "manifest.json").write_bytes(case)
    (folder / "summary.json").write_bytes(case.replace(b"stages", b"headline").replace(b"run", b"artefacts"))
    known = Manifest(folder / "manifest.json", "nano").stages
    for entry in known.values():
        reason_to_run(entry, {"code": "x"}, folder, set())
    stages(folder / "manifest.json")
    with redirect_stdout(io.StringIO()) as said:
        print_summary(folder, seconds=1.0)
    assert said.getvalue()


def _cache(case: bytes, folder: Path) -> None:
    cache, request = AnswerCache(folder), {"address": "a"}
    cache.path(request).parent.mkdir()
    cache.path(request).write_bytes(case)
    assert cache.get(request) is None and cache.corrupt == 1


# --- servers ------------------------------------------------------------------------------------------------------------------------

_logprob = st.fixed_dictionaries({"token": texts | values, "logprob": st.floats() | values}, optional={"top_logprobs": values | st.lists(values, max_size=2)})
_choice = st.fixed_dictionaries(
    {"index": st.just(0), "message": st.fixed_dictionaries({"role": st.just("assistant"), "content": texts | values})},
    optional={"finish_reason": values, "logprobs": st.fixed_dictionaries({"content": st.lists(_logprob, max_size=2) | values}) | values},
)
_completion = st.fixed_dictionaries(
    {"choices": st.lists(_choice, min_size=1, max_size=2) | values, "model": st.just("toy") | values},
    optional={"usage": values | st.fixed_dictionaries({"prompt_tokens": values, "completion_tokens": values}), "system_fingerprint": values, "id": values},
)
_reply = st.tuples(
    st.sampled_from((200, 200, 200, 200, 400, 404, 418, 429, 500, 307)), (_completion | values).map(json_text).map(str.encode).flatmap(damaged),
    st.sampled_from(({}, {"content-type": "application/json"}, {"content-encoding": "gzip"}, {"retry-after": "nan"}, {"location": "http://[x"})),
)  # fmt: skip


def _server(case: tuple, folder: Path) -> None:
    replies, asks = case
    sent = iter(replies * 100)

    def answer(request: httpx2.Request) -> httpx2.Response:
        status, body, headers = next(sent)
        return httpx2.Response(status, stream=httpx2.ByteStream(body), headers={"content-type": "application/json", **headers})

    spec, budget = ServerSpec("http://127.0.0.1:1/v1", "toy"), Budget()
    before = answer_budget.transport
    answer_budget.transport = lambda: httpx2.MockTransport(answer)
    try:
        connection = server_connection.Connection(spec, budget, sleep=lambda seconds: None)
    finally:
        answer_budget.transport = before
    asked = ServerAnswerer(spec, AnswerCache(folder), budget, seed=1, connection=connection)
    prompt = Prompt("p", chat.messages("A nurse.", "Health", "Well?", ("Yes", "No")))
    try:
        with redirect_stdout(io.StringIO()) as said:
            if asks == "texts":
                written = asked.write([prompt], Draws(1, [Sampling(0.7, 0.9, 30)]))
                notes = [written[0].text, written[0].reason]
                assert bool(written[0].text) != bool(written[0].reason)
            else:
                shares = asked.option_probabilities([prompt], [("Yes", "No")])[0]
                notes = [shares.reason]
                assert shares.probs is None or (np.isfinite(shares.probs).all() and abs(shares.probs.sum() - 1) < 1e-6 and (shares.probs >= 0).all())
        json.dumps(asked.record())
        assert all(note == safe_line(note) or note.isprintable() or "\x1b" not in note for note in [*notes, said.getvalue()])
        assert all("\n" not in note for note in notes)
        "".join(notes).encode()
    finally:
        connection.close()


# --- weight files --------------------------------------------------------------------------------------------------------------------

_gguf = st.builds(
    lambda magic, version, tensors, entries, rest: magic + struct.pack("<IQQ", version, tensors, entries) + rest,
    st.sampled_from((b"GGUF", b"GGUF", b"GGML", b"\x1b[2J")), st.integers(0, 4) | st.integers(0, 2**32 - 1),
    st.integers(0, 3) | st.integers(0, 2**64 - 1), st.integers(0, 3) | st.integers(0, 2**64 - 1), st.binary(max_size=80),
)  # fmt: skip
_tensor = st.fixed_dictionaries({"dtype": st.sampled_from(("F32", "BF16", "X")) | values, "shape": st.lists(st.integers(-1, 2**70), max_size=3) | values,
                                 "data_offsets": st.lists(st.integers(-1, 2**70), max_size=3) | values})  # fmt: skip


def _safetensors_file(header: object, rest: bytes, longer: int) -> bytes:
    text = json_text(header).encode()
    return struct.pack("<Q", min(max(len(text) + longer, 0), 2**64 - 1)) + text + rest


_safetensors = st.builds(_safetensors_file, st.dictionaries(texts | st.just("__metadata__"), _tensor | values, max_size=3), st.binary(max_size=16),
                         st.sampled_from((0, 0, 0, -1, 5, 2**40, 2**63)))  # fmt: skip


def _named(name: str, contents: st.SearchStrategy) -> st.SearchStrategy:
    return contents.map(lambda made: (name, made))


_split = files(rows(_RECORD) | rows(_RECORD | _MORE), (".jsonl", ".json"))
_sound = st.lists(st.fixed_dictionaries(_RECORD), min_size=1, max_size=3).map(lambda listed: ("x.jsonl", KINDS[".jsonl"](listed)))
TARGETS = {
    "records": (st.tuples(st.tuples(_sound, _sound | _split, _sound | _split), st.sampled_from(("stop", "neutralise", "drop"))), _records),
    "people": (files(rows(_PERSON)), _reading(lambda path: read_people(path, questionnaire=ASKED))),
    "questionnaires": (files(rows(_ITEM) | rows(_ODD_ITEM)), _reading(read_questionnaire)),
    "questionnaire objects": (_named("q.json", _questionnaire.map(json_text).map(str.encode).flatmap(damaged)), _reading(read_questionnaire)),
    "XLSForms": (files(rows(_FORM), (".xlsx",)), _reading(read_questionnaire)),
    "Qualtrics": (_named("s.qsf", _qsf.flatmap(damaged)), _reading(read_questionnaire)),
    "skip rules": (texts | st.lists(st.sampled_from("${q1} q1 ( ) not and or = 'Yes' 1 selected ,".split()), max_size=30).map(" ".join),
                   lambda case, folder: read_rule(case, {item.id: item for item in ASKED.items}).holds({"q1": ["1"]})),
    "predictions": (files(rows(_PREDICTION)), _reading(lambda path: read_predictions(path).to_dict())),
    "PersonaHub": (files(rows({"persona": _word | texts}), (".jsonl", ".csv", ".parquet")), _reading(lambda path: read_cards(path, 1))),
    "ratings": (files(rows(_RATING), (".jsonl",)).map(lambda file: ("rater-1.jsonl", file[1])), _reading(read_ratings)),
    "server replies": (st.tuples(st.lists(_reply, min_size=1, max_size=3), st.sampled_from(("texts", "options"))), _server),
    "kept replies": (_changed({"request": "x", "sha256": "y", "reply": {"text": "z"}}), _cache),
    "server names": (st.tuples(texts, texts, texts), lambda case, folder: read_models(f"server:{case[0]}://{case[1]}#{case[2]}")),
    "limits": (st.tuples(texts, texts, texts), lambda case, folder: read_limits(case)),
    "column maps": (st.lists(texts, max_size=3), lambda case, folder: parse_map(case)),
    "manifests": (_changed(_MANIFEST), _manifest),
    "run records": (_named("r.json", _changed({"model": "phi-2", "fingerprint": "x", "versions": {}})), _reading(read_run)),
    "exports of the probe": (_named("e.jsonl", _changed(_EXPORT)), _reading(questionnaire.read)),
    "GGUF heads": (_named("m.gguf", _gguf.flatmap(damaged)), _reading(check_gguf)),
    "safetensors heads": (_named("m.safetensors", _safetensors.flatmap(damaged)), _reading(check_safetensors)),
}  # fmt: skip
