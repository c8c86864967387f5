"""The figures that are timed or weighed, each on an ast3d of its own."""

import os
import random
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ast3d.common.clock import boottime
from bench.node import BenchError, Node
from bench.table import Row, percentile

LIVES_SECONDS = 1.0  # an ast3d lives at most so long before the next kill -9
BUSY_SECONDS = 80_000.0
IN_POOL = 40
FRAME_BYTES = 2880
STRACED = 100
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Size:
    """How often each thing is measured."""

    kills: int = 200
    latencies: int = 500
    tasks: int = 3000
    frames: int = 100_000
    behind: int = 1_000_000
    starts: int = 20


SHORT = Size(kills=20, latencies=50, tasks=300, frames=5_000, behind=10_000, starts=5)


def fresh(number: int) -> bytes:
    """A frame unlike all others."""
    return f"frame {number} ".encode().ljust(FRAME_BYTES, b".")


def ready_after_kill(folder: Path, probe: Path, size: Size) -> Row:
    """After a kill -9, started again at once, until its log says ready; half of them idle, half with two workers busy."""
    idle, busy = (_kills(folder, probe, size.kills // 2, busy=busy) for busy in (False, True))
    worst = max(percentile(idle, 99), percentile(busy, 99))
    measured = "; ".join(
        f"{what}: p50 {percentile(times, 50):.3f}, p99 {percentile(times, 99):.3f}, max {max(times):.3f} s, n={len(times)}"
        for what, times in (("idle", idle), ("busy", busy))
    )
    return Row("kill -9 of ast3d -> READY", "p99 <= 0.6 s", measured, worst <= 0.6)


def _kills(folder: Path, probe: Path, n: int, *, busy: bool) -> list[float]:
    node, random_, times = Node(folder / "kill", probe, BUSY_SECONDS), random.Random(1), []
    try:
        node.up()
        for number in range(2 * busy):
            node.write_aside(f"busy{number}.fits", fresh(number)).rename(node.pool / f"busy{number}.fits")
        while len(node.runs()) < 2 * busy:
            time.sleep(0.01)
        for _ in range(n):
            time.sleep(random_.uniform(0.0, LIVES_SECONDS))
            killed = node.kill()
            node.start()
            times.append(node.wait_for("daemon.ready")[1] - killed)
        if len(node.runs()) != 2 * busy:
            raise BenchError(f"{len(node.runs())} runs of {2 * busy} frames: work was done again")
    finally:
        node.stop()
    return times


def rename_to_running(folder: Path, probe: Path, size: Size) -> Row:
    """From just before the rename into the pool of an idle ast3d to the first act of the program."""
    node, random_, sent = Node(folder / "latency", probe), random.Random(2), {}
    try:
        node.up()
        for number in range(size.latencies):
            name = f"l{number}.fits"
            aside = node.write_aside(name, fresh(number))
            sent[f"l{number}"] = boottime()
            aside.rename(node.pool / name)
            node.empty()
            time.sleep(random_.uniform(0.01, 0.06))
        times = [run.began - sent[run.task.rpartition("-")[0]] for run in node.runs()]
    finally:
        node.stop()
    p50, p99 = percentile(times, 50) * 1000, percentile(times, 99) * 1000
    measured = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {max(times) * 1000:.1f} ms, n={len(times)} (static C program)"
    return Row(
        "frame renamed into the pool -> worker running", "p50 <= 15 ms, p99 <= 60 ms", measured, p50 <= 15 and p99 <= 60
    )


def feed(node: Node, frames: int) -> None:
    """Keep the pool full until so many frames have gone through it."""
    asides = [node.write_aside(f"t{number}.fits", fresh(number)) for number in range(frames)]
    for first in range(0, frames, IN_POOL // 2):
        while len(os.listdir(node.pool)) > IN_POOL // 2:
            time.sleep(0.005)
        for aside in asides[first : first + IN_POOL // 2]:
            aside.rename(node.pool / aside.name)
    node.empty()


def rate(folder: Path, probe: Path, size: Size) -> list[Row]:
    """Tasks of a no-op command, the pool always full; their rate, whether it stays, and what they sync."""
    node, third = Node(folder / "rate", probe), size.tasks // 3
    try:
        node.up()
        feed(node, size.tasks)
        began = [run.began for run in node.runs()]
    finally:
        node.stop()
    if len(began) != size.tasks:
        raise BenchError(f"{len(began)} runs of {size.tasks} frames")
    whole = (size.tasks - 1) / (began[-1] - began[0])
    first, last = (third - 1) / (began[third - 1] - began[0]), (third - 1) / (began[-1] - began[-third])
    synced = syncs_a_task(folder, probe)
    count = sum(synced.values())
    what = ", ".join(f"{name} {number:.2f}" for name, number in synced.most_common())
    return [
        Row("tasks of a no-op command", ">= 30 a second", f"{whole:.1f} a second, n={size.tasks}", whole >= 30),
        Row(
            f"the last {third} as fast as the first",
            "within 10 %",
            f"{first:.1f} -> {last:.1f} a second",
            last >= 0.9 * first,
        ),
        Row("syncs a task (fsync, fdatasync)", "counted", f"{count:.2f}: {what}, n={STRACED}", met=count > 0),
    ]


def syncs_a_task(folder: Path, probe: Path) -> Counter[str]:
    """How many a task, by where; counted by strace on a run of its own."""
    node = Node(folder / "strace", probe)
    trace = node.root / "trace"
    node.prefix = ["strace", "-f", "-y", "-q", "-e", "trace=fsync,fdatasync", "-e", "signal=none", "-o", str(trace)]
    try:
        node.up()
        before = len(trace.read_text().splitlines())
        feed(node, STRACED)
        lines = trace.read_text().splitlines()[before:]
    finally:
        node.stop()
    found: Counter[str] = Counter()
    for line in lines:
        call, _, path = line.partition("<")
        if "sync(" in call:
            below = path.partition(">")[0].removeprefix(str(node.root)).split("/")
            found["/".join(below[1:3]) if len(below) > 2 else below[-1]] += 1
    return Counter({name: number / STRACED for name, number in found.items() if number >= STRACED / 20})


def memory(folder: Path, probe: Path, size: Size) -> list[Row]:
    """Of the ast3d process: idle, and with the pool full of frames that wait."""
    node = Node(folder / "memory", probe, more="pool: {settle_seconds: 0.05, scan_seconds: 5}")
    try:
        node.up()
        time.sleep(2)  # what it needed for starting is over
        idle = weigh(node)
        node.ctl("pause", "--for", "2h")
        for number in range(size.frames):
            (node.pool / f"m{number}.fits").write_bytes(b"%d" % number)
        began, ready = boottime(), 0
        while ready < size.frames:
            time.sleep(1)
            ready = node.status()["tasks"]["ready"]
            if boottime() > began + 600:
                raise BenchError(f"{ready} of {size.frames} frames are ready after 600 s")
        took, full = boottime() - began, weigh(node)
    finally:
        node.stop()
    taken = f"n={size.frames} (all READY {took:.0f} s after the last was written)"
    return [
        Row("memory, idle", "<= 40 MB", str(idle), idle.rss <= 40),
        Row(f"memory, {size.frames} frames in the pool", "<= 120 MB", f"{full}, {taken}", full.rss <= 120),
    ]


@dataclass(frozen=True)
class Weight:
    """Megabytes of the ast3d process, and of its helpers."""

    rss: float
    pss: float
    peak: float
    helpers: dict[str, float]

    def __str__(self) -> str:
        helpers = ", ".join(f"{name} {rss:.0f}" for name, rss in self.helpers.items())
        return f"{self.rss:.1f} MB (PSS {self.pss:.1f}, peak {self.peak:.1f}; RSS of {helpers})"


def weigh(node: Node) -> Weight:
    """Now."""
    assert node.process is not None
    pid = node.process.pid
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    helpers = {}
    for child in map(int, children):
        words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        name = next((word.decode().removeprefix("ast3d.") for word in words if word.startswith(b"ast3d.")), "?")
        helpers[name] = _kilobytes(child, "smaps_rollup", "Rss") / 1024
    return Weight(
        _kilobytes(pid, "smaps_rollup", "Rss") / 1024,
        _kilobytes(pid, "smaps_rollup", "Pss") / 1024,
        _kilobytes(pid, "status", "VmHWM") / 1024,
        helpers,
    )


def _kilobytes(pid: int, file: str, key: str) -> int:
    lines = Path(f"/proc/{pid}/{file}").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key + ":"))
