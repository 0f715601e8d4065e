"""What a fault changes inside the processes of a run: Python imports this file at its start; `POLYPERSONA_FAULT` names the fault."""

import os
import sys


def clock_set_back() -> None:
    """One second after the start of each process its clock goes back by a day."""
    import time

    began, now = time.monotonic(), time.time

    def jump() -> float:
        return 86_400.0 if time.monotonic() - began > 1 else 0.0

    time.time = lambda: now() - jump()
    time.time_ns = lambda: int(time.time() * 1e9)


def no_network() -> None:
    """Every address but this machine's own is out of reach."""
    import errno
    import socket

    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def near(host: object) -> bool:
        return not isinstance(host, (str, bytes)) or host in ("127.0.0.1", "::1", "localhost", "", b"127.0.0.1")

    def only_near(self, address):
        if isinstance(address, tuple) and not near(address[0]):
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
        return connect(self, address)

    def known_near(host, *given, **named):
        if not near(host):
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return look_up(host, *given, **named)

    socket.socket.connect, socket.getaddrinfo = only_near, known_near


def little_memory() -> None:
    """A worker may grow by 10 MB once it has all that it needs to train."""
    import resource
    import threading
    import time

    def limit() -> None:
        while not hasattr(sys.modules.get("polypersona_lib.training.answer_trainer"), "trainer_of"):
            time.sleep(0.005)
        pages = int(open("/proc/self/statm").read().split()[0])
        most = pages * resource.getpagesize() + 10 * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    if "--multiprocessing-fork" in sys.orig_argv:
        threading.Thread(target=limit, daemon=True).start()


FAULTS = {"clock set back": clock_set_back, "no network": no_network, "little memory": little_memory}

if fault := FAULTS.get(os.environ.get("POLYPERSONA_FAULT", "")):
    fault()
