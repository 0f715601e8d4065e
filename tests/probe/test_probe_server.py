"""The probe and models on servers: who is listed, what is said before anything is sent, answers, refusals. The server is a stub on the loopback."""

from __future__ import annotations

import threading

import pytest
from stub_server import StubServer

from polypersona_lib.config import RunConfig
from polypersona_lib.errors import InputError
from polypersona_lib.models.answer_budget import VARIABLES
from polypersona_lib.probe import asking, interview, page, questionnaire
from polypersona_lib.world.questions import load_questions

CLOSED, OPEN = "healthcare.agreement.1", "healthcare.open.1"
SYSTEM = asking.System("server-toy--base")


@pytest.fixture
def talk(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYPERSONA_CACHE", str(tmp_path / "cache"))
    for name in ("POLYPERSONA_API_KEY", *VARIABLES.values()):
        monkeypatch.delenv(name, raising=False)

    def open_talk(address: str) -> interview.Interviewer:
        run = RunConfig(models=f"server:{address}#toy", out=str(tmp_path))
        return interview.Interviewer(run, interview.load_parts(run))

    return open_talk


def ask(talk: interview.Interviewer, question: str) -> asking.Ask:
    return asking.ask_bank(talk.cards["p001"], load_questions()[question], seed=42)


def test_the_models_listed_end_with_the_server_and_a_twin_comes_first_without_a_tuned_real_model(tmp_path):
    run = RunConfig(models="server:http://127.0.0.1:1/v1#toy", out=str(tmp_path))
    here = interview.models_here(run)
    assert here[-1] == SYSTEM.key and set(run.model_keys) < set(here) and SYSTEM.label("nano") == "toy on a server, untuned"
    assert "smollm2-135m" in here or interview.lacking(interview.get_spec("smollm2-135m"))
    tuned = bool(interview.adapter_folders(run, "smollm2-135m"))
    assert interview.first_choice(run) == ("smollm2-135m" if tuned else "tinyllama-1.1b")
    assert interview.adapter_folders(run, SYSTEM.key) == {}


def test_a_server_answers_closed_and_open_questions_and_the_second_time_from_the_cache(talk):
    with StubServer() as server:
        here = talk(server.address)
        streamed = []
        closed, again = (here.answer([ask(here, CLOSED)], SYSTEM, on_text=streamed.append)[0] for _ in range(2))
        asked = len(server.seen)
        (spoken,) = here.answer([ask(here, OPEN)], SYSTEM)
    assert sum(closed.option_probs) == pytest.approx(1) and closed.text and closed.option_probs == again.option_probs and closed.text == again.text
    assert closed.tokens > 0 and again.tokens == 0 and len(server.seen) > asked and streamed[-1] == closed.text
    assert spoken.option_probs is None and spoken.text
    sent = server.seen[0]["messages"][-1]["content"]
    assert ask(here, CLOSED).text in sent


def test_what_a_server_will_not_answer_is_one_line_and_stop_is_heard(talk):
    with StubServer(failures=[400] * 20) as server:
        here = talk(server.address)
        with pytest.raises(RuntimeError, match=r"^toy: status 400") as error:
            here.answer([ask(here, OPEN)], SYSTEM)
        assert "\n" not in str(error.value)
    with StubServer(failures=[401] * 20) as server:
        here = talk(server.address)
        with pytest.raises(InputError, match="it wants a key; put it into POLYPERSONA_API_KEY"):
            here.answer([ask(here, CLOSED)], SYSTEM)
    with StubServer() as server:
        here, stop = talk(server.address), threading.Event()
        stop.set()
        with pytest.raises(asking.Stopped):
            here.answer([ask(here, CLOSED)], SYSTEM, stop=stop)
        assert not server.seen
        with pytest.raises(ValueError, match="no server for server-other--base; open the page with"):
            here.answer([ask(here, CLOSED)], asking.System("server-other--base"))


def test_two_servers_share_the_limits_of_the_command(talk, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLES["max_requests"], "2")
    with StubServer() as one, StubServer(model="other") as two:
        run = RunConfig(models=f"server:{one.address}#toy,server:{two.address}#other", out=str(tmp_path))
        here = interview.Interviewer(run, interview.load_parts(run))
        here.answer([ask(here, OPEN)], SYSTEM), here.answer([ask(here, OPEN)], asking.System("server-other--base"))
        with pytest.raises(RuntimeError, match="the limit of 2 requests is reached"):
            here.answer([ask(here, "healthcare.open.2")], asking.System("server-other--base"))
        assert (len(one.seen), len(two.seen)) == (1, 1)


def test_the_page_says_where_answers_go_before_anything_is_sent_and_shows_the_messages(talk):
    with StubServer() as server:
        here = talk(server.address)
        shown = page.Page(here)
        assert shown.models.sends.value == ""
        shown.models.family.value = SYSTEM.key
        assert shown.models.sends.value == f"{server.address} gets persona, question and options; nobody else does" and not server.seen
        assert shown.models.systems() == [SYSTEM] and shown.models.adapter.options == (asking.NO_ADAPTER,)
        one = ask(here, CLOSED)
        shown.prompt.show(one, SYSTEM)
        texts = [box.value for box in shown.prompt.boxes if box.value]
        assert texts == [m["content"] for m in one.messages] and "its own template" in shown.prompt.facts.value


def test_an_export_with_a_server_can_be_read_again(talk, tmp_path):
    with StubServer() as server:
        here = talk(server.address)
        replies = here.answer([ask(here, CLOSED)], SYSTEM)
        _, jsonl = questionnaire.write(replies, tmp_path / "out", "mine", here.run)
    asks, systems, answers = questionnaire.read(jsonl)
    assert systems == [SYSTEM] and answers == [replies[0].text] and asks[0].text == replies[0].ask.text


def test_own_people_are_asked_of_a_server_and_the_page_says_so_before(talk):
    with StubServer() as server:
        shown = page.Page(talk(server.address))
        shown.models.family.value = SYSTEM.key
        shown.own.example.click()
        shown.own.count.value = 2
        assert shown.own.plan.value.endswith(f"; {server.address} gets all cards and questions") and not server.seen
        shown.own.bar.buttons["Ask everybody"].click()
        shown.worker.thread.join(60)
        assert shown.own.bar.status.value.startswith("12 answers in ") and {row[0][:3] for row in shown.own.table.rows} == {"r01", "r02"}
        sent = " ".join(message["content"] for body in server.seen for message in body["messages"])
        assert "Persona: woman, 68, suburban Ohio, USA" in sent and "The library is too loud to read in." in sent
