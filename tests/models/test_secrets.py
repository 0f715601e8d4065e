"""A server's key reaches its server and nothing else: no file, no print, no log, no error, whatever the server answers."""

from __future__ import annotations

import base64
import json
import logging
import traceback

import pytest
from stub_server import StubServer

from polypersona_lib.errors import InputError
from polypersona_lib.models import answer_budget, server_connection
from polypersona_lib.models.answer_budget import AnswerCache, Budget
from polypersona_lib.models.answerers import Prompt
from polypersona_lib.models.generation import Draws, Sampling
from polypersona_lib.models.server_answerer import NAME_TOKENS, ServerAnswerer
from polypersona_lib.models.server_connection import Connection
from polypersona_lib.prompts import chat
from polypersona_lib.systems import ServerSpec

KEY = 'sk-canary"/+\\0123456789'
SPELLED = (KEY, json.dumps(KEY)[1:-1], base64.b64encode(KEY.encode()).decode())
ASKED = Prompt("p-q", chat.messages("A nurse.", "Health", "Well?", ("Agree", "Disagree")))
FAILURES = (None, 400, 401, 403, 404, 408, 422, 429, 500, "half", "json", "text", "empty", "drop", 307)


def outcome(server: StubServer, folder, *, ask: str, model: str = "toy") -> str:
    """Everything that asking leaves: what is returned and recorded, or the error with its traceback, as a notebook would show it."""
    spec, budget = ServerSpec(server.address, model), Budget()
    seen: list[str] = []
    try:
        one = ServerAnswerer(spec, AnswerCache(folder), budget, seed=1, connection=Connection(spec, budget, timeout_s=5, sleep=lambda s: None))
        if ask == "options":
            given = one.option_probabilities([ASKED], [("Agree", "Disagree")])
        else:
            given = one.write([ASKED], Draws(1, [Sampling(0.7, 0.9, 30)]), watch=(lambda texts: seen.append(texts[0])) if ask == "stream" else None)
        return "\n".join([repr(given), json.dumps(one.record()), repr(one), repr(one.connection), str(vars(one)), *seen])
    except InputError:
        return traceback.format_exc()


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("POLYPERSONA_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.mark.parametrize("failure", FAILURES, ids=str)
def test_the_key_is_in_no_file_log_print_or_error(failure, key, tmp_path, capsys, caplog):
    caplog.set_level(logging.DEBUG)
    for number, ask in enumerate(("texts", "stream", "options")):
        location = f"http://{KEY[:9]}.example/" if failure == 307 else ""
        with StubServer(
            failures=[failure] * 9 if failure else (), retry_after="0", location=location, says=f"Agree {KEY}." if ask != "options" else None
        ) as server:
            left = outcome(server, tmp_path / str(number), ask=ask)
            assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
        left += "".join(capsys.readouterr()) + caplog.text
        left += "".join(path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file())
        assert not [text for text in SPELLED if text in left]


@pytest.mark.parametrize("setting", [{"model": "other"}, {"answers_as": "toy-" + KEY}, {"model": KEY}])
def test_a_server_that_repeats_the_key_in_a_name_is_quoted_without_it(setting, key, tmp_path, capsys):
    with StubServer(**setting) as server:
        left = outcome(server, tmp_path, ask="texts") + capsys.readouterr().out
    left += "".join(path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file())
    assert not [text for text in SPELLED if text in left]


@pytest.mark.parametrize("given", ["sk-canary\nX-Evil: 1", "sk-canäry", "sk canary", "sk-\x1bcanary"])
def test_a_key_that_no_header_can_hold_is_named_not_shown(given, monkeypatch):
    monkeypatch.setenv("POLYPERSONA_API_KEY", given)
    with pytest.raises(InputError, match="POLYPERSONA_API_KEY holds a blank, a line end or a letter that no key has") as error:
        Connection(ServerSpec("http://127.0.0.1:1/v1", "toy"), Budget())
    assert "can" not in str(error.value).replace("that no key", "") and error.value.__cause__ is None


def test_a_reply_without_end_or_packed_is_no_reply(tmp_path, monkeypatch):
    monkeypatch.setattr(answer_budget, "MOST_REPLY_BYTES", 1_000)
    monkeypatch.delenv("POLYPERSONA_API_KEY", raising=False)
    with StubServer(says="x" * 5_000) as server:
        assert f"a packed or endless reply ({server_connection.TRIES} times)" in outcome(server, tmp_path, ask="texts")
        assert {headers["Accept-Encoding"] for headers in server.headers} == {"identity"}


class TokenServer(StubServer):
    """Every answer is these tokens, whatever was asked for, two more listed beside each."""

    tokens: tuple[str, ...] = ()

    def reply(self, body: dict) -> dict:
        reply = super().reply(body)
        listed = [{"token": token, "logprob": -0.5} for token in ("x", "y")]
        places = [{"token": token, "logprob": -0.1, "top_logprobs": listed} for token in self.tokens]
        reply["choices"][0] |= {"message": {"role": "assistant", "content": "".join(self.tokens)[:1000]}, "logprobs": {"content": places}}
        return reply


def kept_places(folder) -> list[list]:
    """The tokens of every reply that is kept."""
    kept = [json.loads(file.read_text(encoding="utf-8"))["reply"] for file in folder.rglob("*.json")]
    return [reply["places"] or [] for reply in kept if "places" in reply]


def test_a_key_that_is_repeated_token_by_token_is_kept_nowhere(key, tmp_path):
    with TokenServer() as server:
        server.tokens = tuple(KEY[start : start + 4] for start in range(0, len(KEY), 4))
        left = outcome(server, tmp_path, ask="options")
    assert kept_places(tmp_path) and KEY not in left and not any(KEY in "".join(token for token, *_ in places) for places in kept_places(tmp_path))


def test_more_tokens_than_were_asked_for_are_not_looked_at(tmp_path, monkeypatch):
    """Else every one of them would be a text as long as all before it: gigabytes from a reply of megabytes."""
    monkeypatch.delenv("POLYPERSONA_API_KEY", raising=False)
    with TokenServer() as server:
        server.tokens = (" ",) * 5_000
        outcome(server, tmp_path, ask="options")
    assert {len(places) for places in kept_places(tmp_path)} == {NAME_TOKENS}
