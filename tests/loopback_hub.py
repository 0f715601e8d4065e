"""A small hub on the loopback interface: serves folders under hub ids as far as `snapshot_download` needs it, takes what `upload_folder` sends, notes both."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

PIECE = 2**16  # bytes of a file that are sent at once
REFUSALS = {"gated": (403, "GatedRepo"), "no revision": (404, "RevisionNotFound"), "no repository": (404, "RepoNotFound"), "broken": (500, "")}


@contextmanager
def serve(
    models: dict[str, tuple[str, Path]], refusals: dict[str, str] | None = None, received: dict[str, bytes] | None = None, *, pause_s: float = 0.0,
    most: int | None = None,
):  # fmt: skip
    """Serve `{hub id: (revision, folder)}`; the branch main is at that revision. Yields (address, list of the paths asked for so far).

    `refusals` (hub id -> a key of REFUSALS): every question about such a model is answered by it. `received` gets the files of a commit by path.
    A slow server waits `pause_s` before every piece of a file; a bad one hangs up after `most` bytes of it, whatever it promised.
    """
    asked: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **{k.replace("_", "-"): v for k, v in headers.items()}}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                for begin in range(0, len(body[:most]), PIECE):
                    time.sleep(pause_s)
                    self.wfile.write(body[:most][begin : begin + PIECE])
                self.close_connection = most is not None and len(body) > most

        def do_GET(self):
            path = self.path.partition("?")[0].strip("/")
            asked.append(path)
            for hub_id, refusal in (refusals or {}).items():
                if path.removeprefix("api/models/").startswith(f"{hub_id}/"):
                    status, code = REFUSALS[refusal]
                    return self.answer(status, b"{}", **({"X_Error_Code": code} if code else {}))
            for hub_id, (revision, folder) in models.items():
                if path in (f"api/models/{hub_id}/revision/{revision}", f"api/models/{hub_id}/revision/main"):
                    return self.answer(200, json.dumps({"id": hub_id, "sha": revision, "siblings": []}).encode(), Content_Type="application/json")
                if path == f"api/models/{hub_id}/tree/{revision}":
                    files = [{"type": "file", "path": p.name, "size": p.stat().st_size, "oid": _tag(p)} for p in sorted(folder.iterdir())]
                    return self.answer(200, json.dumps(files).encode(), Content_Type="application/json")
                file = folder / path.removeprefix(f"{hub_id}/resolve/{revision}/")
                if path.startswith(f"{hub_id}/resolve/{revision}/") and file.is_file():
                    begin, content = int(self.headers.get("Range", "bytes=0-")[6:].partition("-")[0]), file.read_bytes()
                    part = {"Content_Range": f"bytes {begin}-{len(content) - 1}/{len(content)}"} if begin else {}
                    return self.answer(206 if begin else 200, content[begin:], ETag=f'"{_tag(file)}"', X_Repo_Commit=revision, **part)
            return self.answer(404, b"{}", X_Error_Code="RevisionNotFound")

        do_HEAD = do_GET

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kind = self.path.partition("?")[0].strip("/").removeprefix("api/").rsplit("/", 2)
            answer = {"url": f"http://{self.headers['Host']}/x/y", "id": "x/y", "name": "x/y"}
            if "preupload" in kind:
                answer = {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]]}
            elif kind == ["validate-yaml"]:
                answer = {"errors": [{"message": fault} for fault in _card_faults(json.loads(body)["content"])], "warnings": []}
            elif "commit" in kind:
                files = [line["value"] for line in map(json.loads, body.splitlines()) if line["key"] == "file"]
                received.update({f["path"]: base64.b64decode(f["content"]) for f in files})
                answer = {"commitUrl": f"http://{self.headers['Host']}/x/y/commit/{'1' * 40}", "commitOid": "1" * 40, "success": True}
            return self.answer(200, json.dumps(answer).encode(), Content_Type="application/json")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()


def _card_faults(card: str) -> list[str]:
    """What the hub refuses in a model card: no metadata, or a base model that is no hub id."""
    found = re.match(r"---\n(.*?)\n---\n", card, flags=re.DOTALL)
    if not found:
        return ["no metadata"]
    base = yaml.safe_load(found.group(1)).get("base_model", "x/y")
    return [] if re.fullmatch(r"[\w.-]+/[\w.-]+", base) else [f"base_model with value {base!r} is not valid"]


def _tag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()
