"""A small hub on the loopback interface: serves folders under hub ids, as far as `snapshot_download` needs it, and notes what was asked for."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REFUSALS = {"gated": (403, "GatedRepo"), "no revision": (404, "RevisionNotFound"), "no repository": (404, "RepoNotFound"), "broken": (500, "")}


@contextmanager
def serve(models: dict[str, tuple[str, Path]], refusal: str = ""):
    """Serve `{hub id: (revision, folder)}`. Yields (address, list of the paths asked for so far).

    With a `refusal` (a key of REFUSALS) every question about a model is answered by it.
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
                self.wfile.write(body)

        def do_GET(self):
            path = self.path.partition("?")[0].strip("/")
            asked.append(path)
            if refusal:
                status, code = REFUSALS[refusal]
                return self.answer(status, b"{}", **({"X_Error_Code": code} if code else {}))
            for hub_id, (revision, folder) in models.items():
                if path == f"api/models/{hub_id}/revision/{revision}":
                    return self.answer(200, json.dumps({"id": hub_id, "sha": revision, "siblings": []}).encode(), Content_Type="application/json")
                if path == f"api/models/{hub_id}/tree/{revision}":
                    files = [{"type": "file", "path": p.name, "size": p.stat().st_size, "oid": _tag(p)} for p in sorted(folder.iterdir())]
                    return self.answer(200, json.dumps(files).encode(), Content_Type="application/json")
                file = folder / path.removeprefix(f"{hub_id}/resolve/{revision}/")
                if path.startswith(f"{hub_id}/resolve/{revision}/") and file.is_file():
                    return self.answer(200, file.read_bytes(), ETag=f'"{_tag(file)}"', X_Repo_Commit=revision)
            return self.answer(404, b"{}", X_Error_Code="RevisionNotFound")

        do_HEAD = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()


def _tag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()
