"""`python -m polypersona_lib probe`: the probe as a page in the browser, without code. Voilà serves it on this machine alone, behind a token."""

import argparse
import json
import os
import secrets
import shutil
import socket
import sys
import tempfile
import threading
from pathlib import Path
from urllib.parse import urlsplit

from .. import paths
from ..config import DEFAULT_SEED, PROFILES, RunConfig
from ..models.answer_budget import add_limits, limit_variables
from ..processes import kernel_environment
from ..systems import EXAMPLE, absolute_folders

LOCAL = ("127.0.0.1", "localhost", "::1")  # what a browser on this machine calls it
HOST, PORT, IDLE_S = "127.0.0.1", 8866, 600  # a page that nobody has had open for ten minutes gives its memory back, however it went


def page(**parameters):
    """What the served notebook calls: show the probe at once, and fetch libraries and models while the user chooses. Returns the `Page`."""
    from .interview import Interviewer, load_parts
    from .page import Page, show_page

    run = RunConfig(**parameters)
    shown = Page(Interviewer(run, load_parts(run)))
    show_page(shown)

    def warm() -> None:
        for system in shown.models.systems():
            shown.interviewer.generator.load(system)

    threading.Thread(target=warm, daemon=True).start()
    return shown


def free_port(wanted: int = PORT) -> int:
    """`wanted` if it is free, else any free port of this machine."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
                return probe.getsockname()[1]
            except OSError:
                continue
    raise OSError("no free port on this machine")


def prepare_folder(folder: Path, source: str) -> Path:
    """Write the one-cell notebook and Voilà's template into `folder`; set the variables of this process so that kernels are this interpreter."""
    import nbformat

    earlier = os.environ.get("JUPYTER_PATH", "")
    os.environ.update(kernel_environment(folder, python_path=paths.ROOT, extra={}))
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, (os.environ["JUPYTER_PATH"], earlier)))
    template = folder / "share" / "voila" / "templates" / "polypersona"
    template.mkdir(parents=True)
    (template / "conf.json").write_text(json.dumps({"base_template": "lab"}), encoding="utf-8")
    shutil.copy(Path(__file__).with_name("probe_page.html.j2"), template / "index.html.j2")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    notebook.metadata |= {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}, "title": "Talk to a simulated respondent"}
    served = folder / "page" / "probe.ipynb"
    served.parent.mkdir()
    nbformat.write(notebook, served)
    return served


def end_closed_pages() -> None:
    """Let a page that is closed end its kernel (half a gigabyte). Voilà 0.5 posts that without the XSRF token which its own server then asks for;
    the address of this post holds the kernel's id, which only the page knows, and it still needs the login.
    """
    from voila.shutdown_kernel_handler import VoilaShutdownKernelHandler

    VoilaShutdownKernelHandler.check_xsrf_cookie = lambda self: None


def _host_name(host: str) -> str | None:
    """The name of a request's host without its port; None for what is no host."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def refuse_strangers(application) -> None:
    """Let a tornado application answer only requests that name this machine as their host, and come from its own pages if a browser sends them.

    Without it a page of another site could reach the server through a host name of its own that leads to this machine (DNS rebinding): Voila switches the
    check off that its handlers have. Static files, pages and websockets are all looked at.
    """
    from tornado.web import ErrorHandler

    chosen = application.find_handler

    def find(request, **options):
        host, origin = request.host.lower(), request.headers.get("Origin")
        if _host_name(host) in LOCAL and origin in (None, f"http://{host}"):
            return chosen(request, **options)
        return application.get_handler_delegate(request, ErrorHandler, {"status_code": 403})

    application.find_handler = find


def serve(source: str, *, port: int = PORT, token: str = "", browser: bool = True) -> None:
    """Serve a notebook of one cell until interrupted; prints the address with its token."""
    from voila.app import Voila

    class LocalVoila(Voila):
        def listen(self) -> None:
            refuse_strangers(self.app)
            super().listen()

    end_closed_pages()
    port, token = free_port(port), token or secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory(prefix="polypersona-probe-") as folder:
        served = prepare_folder(Path(folder), source)
        print(f"the probe: http://{HOST}:{port}/?token={token}\n(this machine only; Ctrl-C ends it)", flush=True)
        options = [f"--port={port}", f"--Voila.ip={HOST}", "--template=polypersona", "--Voila.log_level=ERROR"]
        options += [f"--MappingKernelManager.cull_idle_timeout={IDLE_S}", "--MappingKernelManager.cull_interval=60"]
        LocalVoila.launch_instance([str(served), *options, *([] if browser else ["--no-browser"])], token=token)


def main(argv: list[str]) -> int:
    """The command. Exit status 2 for bad usage, 1 if Voilà is not installed."""
    parser = argparse.ArgumentParser(prog="python -m polypersona_lib probe", description="Talk to a simulated respondent in the browser (this machine only).")
    parser.add_argument("--port", type=int, default=PORT, help=f"default {PORT}, another one if that is taken")
    parser.add_argument("--no-browser", action="store_true", help="print the address, open nothing")
    parser.add_argument("--profile", choices=tuple(PROFILES), default="nano", help="whose models and adapters (default nano: the shipped twins)")
    parser.add_argument("--models", default="", help=f"other models than the profile's; a model on a server is added: {EXAMPLE}")
    add_limits(parser)
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help=f"of the adapters (default {DEFAULT_SEED})")
    parser.add_argument("--out", default="", help="folder that a run's results lie in; default: the project")
    chosen = parser.parse_args(argv)
    if not 0 <= chosen.port <= 65_535:
        parser.error(f"--port {chosen.port}: choose 0 (any free port) to 65535")
    out = str(Path(chosen.out).expanduser().resolve()) if chosen.out else ""
    parameters = {"profile": chosen.profile, "seed": chosen.seed, "out": out, "models": absolute_folders(chosen.models)}  # the page works in another folder
    try:
        os.environ.update(limit_variables(chosen))
        RunConfig(**parameters)
    except ValueError as error:
        parser.error(str(error))
    source = f"from polypersona_lib.probe import server\nshown = server.page(**{parameters!r})"
    try:
        serve(source, port=chosen.port, browser=not chosen.no_browser)
    except ModuleNotFoundError as error:
        if error.name != "voila":
            raise
        print(
            "the probe needs voila; set up the environment with ./run_all.sh --help, or open notebooks/00_probe_a_persona.ipynb in JupyterLab", file=sys.stderr
        )
        return 1
    except KeyboardInterrupt:
        pass
    return 0
