"""Trials with the machine around a run: disk, permissions, network, clock; and what has no right to matter: folder, locale, time zone, hash seed, cores."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from polypersona_lib.files import folder_hash
from polypersona_lib.paths import ROOT

from ..loopback_hub import serve
from .outcome import Fault, Seen, Trial, dice, finish, look
from .small_run import WAIT_S, Bench, Running, results

HUB_MODEL = "llama-2-7b"
FETCH = """
import sys
from polypersona_lib import registry
from polypersona_lib.models import weights
try:
    print(weights.source(registry.get_spec(sys.argv[1]), "paper"))
except weights.Unavailable as error:
    sys.exit(str(error))
"""


def _mount(*options: str) -> bool:
    """Run `mount` with options; whether it did it."""
    return shutil.which("mount") is not None and subprocess.run(["mount", *options], capture_output=True).returncode == 0


@contextmanager
def small_disk(out: Path, kilobytes: int) -> Iterator[bool]:
    """`out` on a disk of so many kB if mounting is allowed (then True)."""
    out.mkdir()
    mounted = os.geteuid() == 0 and _mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(out))
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(out)], check=True)


def _limit_files(kilobytes: int) -> None:
    """In a child: no file may grow beyond so many kB; writing more is an error, not a signal."""
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024,) * 2)


def full_disk(bench: Bench) -> list[Seen]:
    """The disk is full at once, and after the first files; with room again the run goes on. Without the right to mount: files may not grow."""
    out, seen = bench.folder / "full disk", []
    with small_disk(out, 8) as mounted:
        for kilobytes in (8, 64):
            if mounted:
                _mount("-o", f"remount,size={kilobytes}k", str(out))
                seen.append(look(Running(bench, out, light=True)))
            else:
                seen.append(look(Running(bench, out, light=True, preexec_fn=partial(_limit_files, kilobytes // 8))))
        if mounted:
            _mount("-o", "remount,size=1g", str(out))
        return finish(bench, out, seen, light=True)


@contextmanager
def read_only(out: Path) -> Iterator[None]:
    """`out` cannot be written. To root permissions say nothing, so its folder is mounted read-only; where that is not allowed either, a file stands in it."""
    place = results(out)
    if os.geteuid() != 0:
        for folder in (place.parent, place):
            folder.chmod(0o555)
        (place / ".lock").chmod(0o444)
        yield
        for folder in (place.parent, place):
            folder.chmod(0o755)
        (place / ".lock").chmod(0o644)
    elif _mount("-t", "tmpfs", "-o", "ro", "tmpfs", str(place.parent)):
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", str(place.parent)], check=True)
    else:
        print("read-only results: as root and without the right to mount, a file stands where the folder should be")
        with in_its_place(place):
            yield


@contextmanager
def in_its_place(folder: Path) -> Iterator[None]:
    """A file stands where the folder was."""
    folder.rename(folder.with_name("aside"))
    folder.touch()
    yield
    folder.unlink()
    folder.with_name("aside").rename(folder)


def not_writable(bench: Bench) -> list[Seen]:
    """Results of a finished run that cannot be written, and a file where their folder should be; afterwards nothing has to run again."""
    out = bench.copy("closed")
    with read_only(out):
        seen = [look(Running(bench, out, light=True))]
    with in_its_place(results(out)):
        seen.append(look(Running(bench, out, light=True)))
    return finish(bench, out, seen, light=True)


def _fetch(bench: Bench, address: str, home: str, **variables: str) -> tuple[int, str]:
    """(exit status, last line) of a process that fetches a model of the hub at `address` into the cache `home`."""
    environment = {name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "HF_TOKEN")}
    environment |= {"HF_ENDPOINT": address, "HF_HOME": str(bench.folder / home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment |= {"PYTHONPATH": str(ROOT), "HF_HUB_DOWNLOAD_TIMEOUT": "5", "HF_HUB_DISABLE_PROGRESS_BARS": "1"} | variables
    done = subprocess.run([sys.executable, "-P", "-c", FETCH, HUB_MODEL], env=environment, capture_output=True, text=True, timeout=WAIT_S)
    return done.returncode, (done.stdout + done.stderr).strip()


def hub_downloads(bench: Bench) -> list[Seen]:
    """A model of the hub: no network; a connection that ends in the middle of a file; a slow one. What is fetched in the end is what the hub has."""
    from polypersona_lib.registry import get_spec

    spec, folder, chance = get_spec(HUB_MODEL), bench.folder / "hub", dice(bench, "hub")
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(chance.randbytes(300_000))
    seen = [Seen(*_fetch(bench, "http://127.0.0.1:9", "hub cache", **variables)) for variables in ({}, {"HF_HUB_OFFLINE": "1"})]
    for options in ({"most": 100_000}, {"pause_s": 0.1}):
        with serve({spec.hub_id: (spec.revision, folder)}, **options) as (address, _):
            seen.append(Seen(*_fetch(bench, address, "hub cache")))
    if seen[-1].status or folder_hash(Path(seen[-1].says.splitlines()[-1])) != folder_hash(folder):
        seen[-1].trouble.append("the files are not the hub's")
    return seen


def no_network(bench: Bench) -> list[Seen]:
    """A run that can reach this machine alone."""
    out = bench.folder / "no network"
    return finish(bench, out, [look(Running(bench, out, light=True, fault="no network"))], light=True)


def clock_set_back(bench: Bench) -> list[Seen]:
    """The clock of every process goes back by a day, a second after its start."""
    out = bench.folder / "clock"
    return finish(bench, out, [look(Running(bench, out, light=True, fault="clock set back"))], light=True)


def _one_core() -> None:
    """In a child: one core of those it has, so one worker and one thread."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def turkish() -> str:
    """tr_TR.UTF-8, whose small i is another letter, if this machine has it; else C.UTF-8, said in a line."""
    here = subprocess.run(["locale", "-a"], capture_output=True, text=True).stdout.lower().replace("-", "").split() if shutil.which("locale") else []
    if "tr_tr.utf8" in here:
        return "tr_TR.UTF-8"
    print("repeatability: this machine has no locale tr_TR.UTF-8, so C.UTF-8 is taken")
    return "C.UTF-8"


def elsewhere(bench: Bench) -> list[Seen]:
    """A run in another folder, locale, time zone, with another hash seed and one core; then with LC_ALL=C. With `--full` adapters and answers too."""
    out, plain = bench.folder / "Ordner été 2", bench.folder / "plain"
    variables = {"LC_ALL": turkish(), "TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "7"}
    seen = finish(bench, out, [look(Running(bench, out, light=True, variables=variables, preexec_fn=_one_core))], light=True)
    variables = {"LC_ALL": "C", "TZ": "America/St_Johns", "PYTHONHASHSEED": "11"}
    return [*seen, *finish(bench, plain, [look(Running(bench, plain, light=True, variables=variables))], light=True)]


FULL = "no space left on device|file too large"
TRIALS = (
    Trial(
        full_disk,
        (
            Fault("disk full at once", "a tmpfs of 8 kB, else a limit on files", (1,), FULL),
            Fault("disk full in a stage", "64 kB, else a limit on files", (1,), f"(?i){FULL}"),
        ),
    ),
    Trial(
        not_writable,
        (
            Fault("read-only results", "mounted read-only (root), else chmod", (1,), "cannot write to .*(read-only|permission denied).* --out DIR"),
            Fault("a file in the folder's place", "results/smoke is a file", (1,), "cannot write to .* --out DIR"),
        ),
    ),
    Trial(
        hub_downloads,
        (
            Fault("download without network", "a closed port", (1,), "not in the cache, and the hub cannot be reached; check the network"),
            Fault("download forbidden", "HF_HUB_OFFLINE is set", (1,), "the hub cannot be reached; check the network and that HF_HUB_OFFLINE is not set"),
            Fault("download cut off", "the server hangs up in the middle of a file", (1,), "the download failed .*goes on with it$"),
            Fault("slow download", "a tenth of a second between pieces", (0,)),
        ),
    ),
    Trial(no_network, (Fault("run without network", "only this machine can be reached", (0,), "total time"),)),
    Trial(clock_set_back, (Fault("clock set back", "by a day in every process, injected", (0,), "total time"),)),
    Trial(
        elsewhere,
        (
            Fault("elsewhere", "other folder, locale, time zone, hash seed; one core", (0,), "total time"),
            Fault("elsewhere, LC_ALL=C", "other time zone and hash seed again", (0,), "total time"),
        ),
    ),
)
