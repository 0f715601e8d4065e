"""The probe's server answers this machine alone: no other host name, no page of another origin, nobody without the token."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import time

import pytest

from polypersona_lib import paths
from polypersona_lib.probe import server

TOKEN = "a-token-that-nobody-guesses-0123456789"
PAGE = "print('the page of this test')"


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """The port of a served page without any model."""
    wanted, folder = server.free_port(0), tmp_path_factory.mktemp("home")
    code = f"from polypersona_lib.probe import server; server.serve({PAGE!r}, port={wanted}, token={TOKEN!r}, browser=False)"
    environment = os.environ | {"HOME": str(folder), "PYTHONPATH": str(paths.ROOT), "JUPYTER_CONFIG_DIR": str(folder)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for _ in range(300):
        try:
            ask(wanted, "/voila/static/voila.js")
            break
        except OSError:
            assert process.poll() is None, process.stdout.read().decode()
            time.sleep(0.1)
    yield wanted
    process.terminate()
    process.wait(20)


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str]]:
    """(status, headers) of one request, its Host header as given."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in {"Host": f"127.0.0.1:{port}", **headers}.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    reply = connection.getresponse()
    status, given = reply.status, {name.lower(): value for name, value in reply.getheaders()}
    connection.close()
    return status, given


WEBSOCKET = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec_WebSocket_Version": "13"}
CHANNELS = "/api/kernels/0a0a0a0a-0000-0000-0000-000000000000/channels"


def test_it_listens_on_the_loopback_alone(port):
    import psutil

    listening = {c.laddr.ip for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr.port == port}
    assert listening == {"127.0.0.1"}


def test_without_the_token_there_is_no_page(port):
    for path in ("/", "/?token=wrong", "/voila/render/probe.ipynb"):
        status, headers = ask(port, path)
        assert status in (302, 403) and "set-cookie" not in {k for k in headers if "token" in headers[k]}, (path, status)
        assert status == 403 or "/login" in headers["location"]
    assert ask(port, CHANNELS, **WEBSOCKET)[0] == 403


@pytest.mark.parametrize("path", ["/?token=" + TOKEN, "/voila/static/voila.js", CHANNELS + "?token=" + TOKEN, "/voila/files/probe.ipynb?token=" + TOKEN])
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"}, {"Host": "evil.example:{port}"}, {"Host": "127.0.0.1.evil.example"}, {"Host": "10.0.0.1:{port}"},
        {"Host": "[::ffff:8.8.8.8]"}, {"Host": ""}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}, {"Origin": "https://127.0.0.1:{port}"},
        {"Host": "localhost:{port}", "Origin": "http://127.0.0.1:{port}"},
    ],
)  # fmt: skip
def test_other_hosts_and_other_origins_are_refused_even_with_the_token(port, path, headers):
    given = {name: value.format(port=port) for name, value in headers.items()}
    assert ask(port, path, **given)[0] == 403
    assert ask(port, path, **WEBSOCKET | given)[0] == 403
    assert ask(port, path, "POST", **given)[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:{port}", "[::1]:{port}", "localhost:9000"])
def test_this_machine_gets_its_files_under_each_of_its_names(port, host):
    host = host.format(port=port)
    assert ask(port, "/voila/static/voila.js", Host=host)[0] == 200
    assert ask(port, "/voila/static/voila.js", Host=host, Origin=f"http://{host.lower()}")[0] == 200


def test_with_the_token_the_page_is_there(port):
    status, headers = ask(port, f"/?token={TOKEN}", Origin=f"http://127.0.0.1:{port}")
    assert status in (200, 302) and "/login" not in headers.get("location", "")
    assert "frame-ancestors 'self'" in headers.get("content-security-policy", "")
