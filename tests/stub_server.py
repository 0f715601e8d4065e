"""A server with the OpenAI routes on the loopback, without a model: it answers by a rule and can fail in every way that real ones do."""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OPTION_WEIGHTS = {"Strongly disagree": 0.1, "Disagree": 0.2, "Neither agree nor disagree": 0.15, "Agree": 0.35, "Strongly agree": 0.2, "Yes": 0.7, "No": 0.3}


def listed(body: dict) -> list[str]:
    """The options of the question in a request."""
    _, mark, options = body["messages"][-1]["content"].rpartition("\nOptions: ")
    return options.split(" / ") if mark else []


def pieces(name: str) -> list[str]:
    """An option's name in tokens: words, each after the first with its blank."""
    words = name.split(" ")
    return [words[0], *(f" {word}" for word in words[1:])]


class StubServer:
    """`with StubServer() as server:` listens (port 0: any). `weights` (prompt -> option weights) decides the answers; `logprobs` whether it lists tokens.

    `failures`: what the next requests meet, first to last: a status, "timeout", "half", "json", "text", "empty", "drop". `seen` holds every body,
    `headers` every request's headers, `counts` the paths. `most_top`: the largest top_logprobs it accepts. `refuses`: body -> why it answers
    with status 400 ("": it does not).
    """

    def __init__(self, *, weights=None, logprobs=True, model="toy", answers_as=None, most_top=20, failures=(), retry_after="0", says=None, location="",
                 refuses=None, port=0):  # fmt: skip
        self.weights, self.logprobs, self.model, self.answers_as, self.most_top = weights, logprobs, model, answers_as or model, most_top
        self.failures, self.retry_after, self.says, self.location = list(failures), retry_after, says, location
        self.port, self.refuses = port, refuses or (lambda body: "")
        self.seen, self.headers, self.counts, self.lock = [], [], Counter(), threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> StubServer:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *arguments) -> None:
                pass

            def do_GET(self) -> None:
                stub.counts[self.path] += 1
                self._json(200, {"object": "list", "data": [{"id": stub.model, "object": "model"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with stub.lock:
                    stub.counts[self.path] += 1
                    stub.seen.append(body)
                    stub.headers.append({name.title(): value for name, value in self.headers.items()})
                    failure = stub.failures.pop(0) if stub.failures else None
                if failure is not None:
                    return self._fail(failure)
                if body["model"] != stub.model:
                    return self._json(404, {"error": {"message": f"no {body['model']}, your key was {self.headers.get('Authorization')}"}})
                if why := stub.refuses(body):
                    return self._json(400, {"error": {"message": why}})
                if body.get("top_logprobs", 0) > stub.most_top:
                    return self._json(400, {"error": {"message": f"top_logprobs must be at most {stub.most_top}"}})
                if body.get("stream"):
                    return self._stream(stub.reply(body))
                self._json(200, stub.reply(body))

            def _fail(self, failure) -> None:
                if isinstance(failure, int):
                    message = {"error": {"message": f"failure {failure}, your key was {self.headers.get('Authorization')}"}}
                    return self._json(failure, message, {"Retry-After": stub.retry_after, "Location": stub.location})
                if failure == "timeout":
                    time.sleep(3)
                whole = json.dumps(stub.reply(stub.seen[-1])).encode()
                contents = {"half": whole, "json": whole[: len(whole) // 2], "text": b"hello", "empty": b'{"choices": []}', "timeout": whole, "drop": b""}
                if failure == "drop":
                    return self.connection.close()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain" if failure == "text" else "application/json")
                self.send_header("Content-Length", str(len(contents[failure])))
                self.end_headers()
                self.wfile.write(contents[failure][: len(whole) // 2] if failure == "half" else contents[failure])
                self.close_connection = True

            def _stream(self, reply: dict) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                words = reply["choices"][0]["message"]["content"].split(" ")
                half = stub.says == "half a stream"
                chunks = [{"delta": {"content": word if i == 0 else f" {word}"}, "index": 0} for i, word in enumerate(words)]
                chunks = chunks[: len(chunks) // 2] if half else [*chunks, {"delta": {}, "index": 0, "finish_reason": "stop"}]
                for chunk in chunks:
                    event = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": stub.answers_as, "choices": [chunk]}
                    self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
                if not half:
                    self.wfile.write(b"data: [DONE]\n\n")
                self.close_connection = True

            def _json(self, status: int, content: dict, headers: dict | None = None) -> None:
                data = json.dumps(content).encode()
                self.send_response(status)
                for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(data))} | (headers or {})).items():
                    if value:
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *exception) -> None:
        self._http.shutdown()
        self._http.server_close()

    def shares(self, body: dict) -> dict[str, float]:
        """The probability of each listed option, summing to 1."""
        options = listed(body)
        weights = self.weights(body["messages"][-1]["content"], options) if self.weights else {name: OPTION_WEIGHTS.get(name, 0.1) for name in options}
        return {name: weights[name] / sum(weights.values()) for name in options}

    def reply(self, body: dict) -> dict:
        """A whole chat completion: the option is drawn by the request's seed and prompt."""
        shares = self.shares(body)
        text = self.says if self.says is not None else "I think about this now and then."
        logprobs = None
        if shares and self.says is None:
            mark = int(hashlib.sha256(f"{body['seed']}|{body['messages'][-1]['content']}".encode()).hexdigest()[:12], 16) / 16**12
            edges = [sum(list(shares.values())[: i + 1]) for i in range(len(shares))]
            name = next((n for n, edge in zip(shares, edges, strict=True) if mark < edge), list(shares)[-1])
            text = f"{name}. I said so."
            logprobs = {"content": self._places(name, shares, body.get("top_logprobs", 0))} if self.logprobs and body.get("logprobs") else None
        usage = {"prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60}
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", "logprobs": logprobs}
        return {"id": "x", "object": "chat.completion", "created": 0, "model": self.answers_as, "choices": [choice], "usage": usage}

    def _places(self, name: str, shares: dict[str, float], top: int) -> list[dict]:
        """Token by token: what could have been said there, and how probable it was."""
        places, said = [], ""
        for token in [*pieces(name), "."]:
            chances: dict[str, float] = {}
            for option, share in shares.items():
                whole = "".join([*pieces(option), "."])
                if whole.startswith(said):
                    rest = whole[len(said) :]
                    follows = next(p for p in [*pieces(option), "."] if rest.startswith(p))
                    chances[follows] = chances.get(follows, 0.0) + share
            total = sum(chances.values())
            ranked = sorted(((t, math.log(c / total)) for t, c in chances.items()), key=lambda pair: -pair[1])[:top]
            places.append({"token": token, "logprob": math.log(chances[token] / total), "top_logprobs": [{"token": t, "logprob": p} for t, p in ranked]})
            said += token
        return places
