"""Trials with signals: what is killed, stopped, interrupted, or started twice."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from .outcome import Fault, Seen, Trial, dice, finish, flip_bit, look
from .small_run import MODEL, Bench, Running, results, stages

GOES_ON = r"stopped by {}; no kernel is left running; the same command goes on from here"


def at_work(run: Running) -> list:
    """Wait for a kernel of the run; returns it."""
    return run.until(lambda: run.descendants("kernel"), "kernel")


def short_s(bench: Bench) -> float:
    """About how long a run of the stages without training takes."""
    return bench.took_s if bench.full else sum(stages(bench.whole)[number]["wall_time_s"] for number in ("01", "03")) + 1


def _worst(seen: list[Seen], statuses: tuple[int, ...]) -> Seen:
    """Of several tries of one fault the least right one."""
    return max(seen, key=lambda one: (one.status not in statuses, len(one.trouble)))


def killed_drivers(bench: Bench) -> list[Seen]:
    """kill -9 of the driver at random moments of a run, one after the other in one folder."""
    out, chance, seen = bench.folder / "killed drivers", dice(bench, "drivers"), []
    for _ in range(bench.kills):
        run = Running(bench, out, light=True)
        time.sleep(chance.uniform(0, short_s(bench)))
        below = run.descendants()
        run.process.kill()
        seen.append(look(run, below))
    return finish(bench, out, [_worst(seen, KILLED)], light=True)


def killed_kernels(bench: Bench) -> list[Seen]:
    """kill -9 of the kernel: as it starts, and at work."""
    out, chance, seen = bench.folder / "killed kernels", dice(bench, "kernels"), []
    for begun in (0, 1):
        run = Running(bench, out, light=True)
        run.until(lambda: len(list(results(out).glob("notebooks/.*.running.ipynb"))) >= begun, "notebook")  # noqa: B023 (called at once)
        time.sleep(begun * chance.uniform(0, 0.4))
        at_work(run)[0].kill()
        seen.append(look(run))
    return finish(bench, out, seen, light=True)


def stopped(bench: Bench) -> list[Seen]:
    """SIGTERM, then Ctrl-C twice in the next start: a terminal sends it to the driver's whole group."""
    out, seen = bench.folder / "stopped", []
    for number, times in ((signal.SIGTERM, 1), (signal.SIGINT, 2)):
        run = Running(bench, out, light=True)
        at_work(run)
        below = run.descendants()
        for _ in range(times):
            os.killpg(run.process.pid, number)
            time.sleep(0.1)
        seen.append(look(run, below))
    return finish(bench, out, seen, light=True)


def _ignoring_ctrl_c() -> None:
    """In a child: as `run_all.sh` starts the runner."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def early_ctrl_c(bench: Bench) -> list[Seen]:
    """Ctrl-C from a random moment on, while Python still starts and imports, until it is heard."""
    chance, seen = dice(bench, "early"), []
    for number in range(bench.kills):
        run = Running(bench, bench.folder / f"early {number}", light=True, preexec_fn=_ignoring_ctrl_c)
        time.sleep(chance.uniform(0, 0.6))
        while run.process.poll() is None:
            os.killpg(run.process.pid, signal.SIGINT)
            time.sleep(0.1)
        seen.append(look(run))
    return [_worst(seen, EARLY)]


def suspended(bench: Bench) -> list[Seen]:
    """SIGSTOP for driver and kernel, then SIGCONT: nothing has happened. Meanwhile a second run of the folder is turned away."""
    out = bench.folder / "suspended"
    run = Running(bench, out, light=True)
    at_work(run)
    asleep = [*run.descendants(), run.process]
    for process in asleep:
        process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    second = look(Running(bench, out, light=True))
    time.sleep(max(0.0, (60 if bench.full else 2) - (time.monotonic() - began)))
    for process in asleep:
        process.send_signal(signal.SIGCONT)
    return finish(bench, out, [look(run), second], light=True)


def _trained(out: Path, step: int) -> bool:
    """Whether a training in `out` has a checkpoint of at least `step`, or is through."""
    newest = [int(path.name.partition("-")[2]) for path in results(out).glob("adapters/.*.unfinished/step-*")]
    return max(newest, default=0) >= step or any(results(out).glob("runs/*.json"))


def _kill_in_training(bench: Bench, out: Path, kind: str, step: int, delay: float) -> Seen:
    """Start or go on with a training and kill its worker, its kernel or the driver after the checkpoint of `step`."""
    run = Running(bench, out)
    run.until(lambda: _trained(out, step) and run.descendants("worker"), f"worker with a checkpoint of step {step}")
    time.sleep(delay)
    below = run.descendants()
    if kind == "driver":
        run.process.kill()
    else:
        (run.descendants(kind) or [run.process])[-1].kill()
    return look(run, below)


def killed_trainings(bench: Bench) -> list[Seen]:
    """One training loses its memory, its worker, its kernel and its driver, then a bit of its newest checkpoint; the next run ends with the same adapter."""
    chance, out = dice(bench, "trainings"), bench.folder / "killed trainings"
    seen = [look(Running(bench, out, fault="little memory"))]
    steps = (0, 0, 0) if bench.full else (0, 2, 4)  # smoke trains for ten steps and has no checkpoint before the last one
    for kind, step in zip(("worker", "kernel", "driver"), steps, strict=True):
        seen.append(_kill_in_training(bench, out, kind, step, chance.uniform(0, 0.3)))
    newest = sorted(results(out).glob("adapters/.*.unfinished/step-*"))[-1:]
    harmed = [flip_bit(folder / "optimizer.pt", chance.random()) for folder in newest]
    finish(bench, out, seen)
    flipped = Seen(0, "\n".join(path.read_text(encoding="utf-8") for path in results(out).glob("runs/*.json")), list(seen[-1].trouble))
    flipped.says = "\n".join(line.strip() for line in flipped.says.splitlines() if "was changed" in line) if harmed else "no checkpoint to harm"
    return [*seen, flipped]


EARLY, KILLED = (130, -signal.SIGINT), (-signal.SIGKILL, 0)  # a moment can come after the end
TRIALS = (
    Trial(killed_drivers, (Fault("driver killed", "kill -9 at random moments, one start after the other", KILLED),)),
    Trial(
        killed_kernels,
        (
            Fault("kernel killed as it starts", "kill -9 as soon as it is there", (1,), "the kernel died"),
            Fault("kernel killed at work", "kill -9 at a random moment", (1,), "the kernel died"),
        ),
    ),
    Trial(
        stopped,
        (
            Fault("SIGTERM", "to the driver's group", (130,), GOES_ON.format("SIGTERM")),
            Fault("Ctrl-C twice", "SIGINT to the driver's group, and again .1 s later", (130,), GOES_ON.format("SIGINT")),
        ),
    ),
    Trial(early_ctrl_c, (Fault("Ctrl-C at once", "SIGINT while Python starts, from a random moment on until it ends", EARLY),)),
    Trial(
        suspended,
        (
            Fault("SIGSTOP, SIGCONT", "driver and kernel stand still", (0,), "total time"),
            Fault("two runs at once", "the same command while the first one runs", (3,), "another run is using .* started "),
        ),
    ),
    Trial(
        killed_trainings,
        (
            Fault("no memory in a worker", "an address space that cannot grow (RLIMIT_AS)", (1,), "not enough memory"),
            Fault("worker killed in training", "kill -9 at a random moment", (1,), "a worker process was killed"),
            Fault("kernel killed in training", "kill -9 after a checkpoint", (1,), "the kernel died"),
            Fault("driver killed in training", "kill -9 after a later checkpoint", KILLED),
            Fault(f"checkpoint, one bit ({MODEL})", "flipped in the newest one", (0,), "optimizer.pt was changed|no checkpoint to harm"),
        ),
    ),
)
