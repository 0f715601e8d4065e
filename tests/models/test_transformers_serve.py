"""A real server on the loopback: `transformers serve` with a nano twin. It gives no logprobs, so it proves the share of samples, the cache and the budget."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from polypersona_lib import paths
from polypersona_lib.errors import InputError
from polypersona_lib.models.answer_budget import AnswerCache, Budget, Limits
from polypersona_lib.models.answerers import Prompt, ask_in_orders
from polypersona_lib.models.generation import Draws, Sampling
from polypersona_lib.models.server_answerer import SAMPLES, ServerAnswerer
from polypersona_lib.prompts import chat
from polypersona_lib.systems import ServerSpec
from polypersona_lib.world.questions import SCALES

pytestmark = pytest.mark.timeout(420)
START_S = 240


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of a server that serves a twin (its name is the folder's path): a copy of its folder that samples."""
    folder = tmp_path_factory.mktemp("served") / "twin"
    shutil.copytree(paths.NANO_MODELS / "tinyllama-1.1b", folder)
    samples = {"do_sample": True, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}  # the server samples only if the model's own settings do
    (folder / "generation_config.json").write_text(json.dumps(samples), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from transformers.cli.transformers import main; main()", "serve", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    log = (folder.parent / "log.txt").open("w")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    server = subprocess.Popen([*command, "--device", "cpu"], stdout=log, stderr=subprocess.STDOUT, env=environment)
    try:
        until = time.monotonic() + START_S
        while not _listens(port):
            assert server.poll() is None, (folder.parent / "log.txt").read_text()[-2000:]
            assert time.monotonic() < until, f"the server did not start within {START_S} seconds"
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1", str(folder)
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(20)
        server.kill()
        log.close()


def _listens(port: int) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}/health", timeout=2) as reply:
            return reply.status == 200
    except OSError:
        return False


def rows(count: int):
    import pandas as pd

    options = list(SCALES["yesno"])
    return pd.DataFrame({"id": [f"p{i}" for i in range(count)], "options": [options] * count,
                         "messages": [chat.messages(f"Person {i}.", "Health", "Do you feel well?", options) for i in range(count)]})  # fmt: skip


def test_a_twin_behind_a_real_server(address, tmp_path, monkeypatch):
    monkeypatch.delenv("POLYPERSONA_API_KEY", raising=False)
    spec = ServerSpec(*address)

    def answerer(limits=Limits()):  # noqa: B008 (frozen)
        return ServerAnswerer(spec, AnswerCache(tmp_path), Budget(limits), seed=3)

    first, asked = answerer(Limits(max_requests=20)), rows(2)
    prompts, draws = [Prompt(i, m) for i, m in zip(asked["id"], asked["messages"], strict=True)], Draws(3, [Sampling(0.7, 0.9, 12)] * 2)
    texts = first.write(prompts, draws)
    assert all(isinstance(t.text, str) for t in texts) and first.budget.requests == 2 and first.budget.tokens_in > 20 and 0 < first.budget.tokens_out <= 24
    choices = ask_in_orders(first, asked)
    assert first.budget.requests == 20 and first._top == 0
    assert any("limit of 20 requests" in c.reason for c in choices), "two rows in two orders need 21 requests more, 18 are left"
    again = answerer()
    choices = ask_in_orders(again, asked)
    assert again.budget.requests == 2 + 4 * SAMPLES + 1 - 20 and again.write(prompts, draws) == texts
    assert {c.how for c in choices if c.probs is not None} <= {"samples"}
    third = answerer()
    assert [repr(c) for c in ask_in_orders(third, asked)] == [repr(c) for c in choices] and third.budget.requests == 0
    with pytest.raises(InputError, match="refuses the model|no model"):
        ServerAnswerer(ServerSpec(address[0], "somebody-else"), AnswerCache(tmp_path), Budget(), seed=3).write(prompts, draws)
