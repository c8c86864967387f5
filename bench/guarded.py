"""How long it takes until daemons that guard each other, without systemd, are there again."""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.table import Row, percentile
from tests.protect import blows, cron, starve
from tests.protect.blows import HOOKS, PATIENCE_SECONDS, PROTECT
from tests.protect.busy import BIN, DAEMONS, busy
from tests.protect.census import Census
from tests.protect.site import Site, new_site

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Size:
    """How often each thing is done."""

    kills: int
    both: int
    power_cuts: int
    reboots: int
    hangs: int
    stalls: int
    crashes: int
    minutes: int  # of cron
    idle_seconds: float


SHORT, LONG = Size(30, 10, 5, 2, 10, 20, 4, 2, 20.0), Size(500, 100, 50, 10, 100, 300, 30, 50, 200.0)


def summary(times: list[float]) -> str:
    """Of many times."""
    return f"p50 {percentile(times, 50):.2f}, p99 {percentile(times, 99):.2f}, max {max(times):.2f} s, n={len(times)}"


def kill_by_handshake(folder: Path, size: Size) -> Row:
    """By the handshake alone."""
    with busy(folder) as node:
        done = blows.kills(node, size.kills)
    goal = "READY again p99 <= 1.5 s; lost or doubled 0; two of one 0"
    met = percentile(done.times, 99) <= 1.5 and not done.wrong
    return Row("kill -9 of either, by the handshake alone", goal, f"{summary(done.times)}; {done}", met)


def kill_both_with_only_cron(folder: Path, size: Size) -> Row:
    """Both at once: only cron is left to start them."""
    times = []
    with busy(folder) as node, cron.every_minute(folder / "cron", node.root, BIN):
        for _ in range(size.minutes):
            node.wait_up()
            killed, pids = node.strike(*DAEMONS)
            times.append(max(node.wait_other(daemon, pids[daemon]) for daemon in DAEMONS) - killed)
        done = blows.Outcome(times, node.settle(), node.fed)
    return Row(
        "both killed at once, by cron alone", "<= 65 s", f"{summary(times)}; {done}", max(times) <= 65 and not done.wrong
    )


def hang(folder: Path, size: Size) -> list[Row]:
    """Replaced by the other one."""
    rows = []
    for kind, how in blows.HANGS.items():
        with busy(folder / kind, PROTECT, HOOKS) as node:
            done = blows.hangs(node, how, size.hangs)
        met = max(done.times) <= PATIENCE_SECONDS + 1.0 and not done.wrong
        goal = f"replaced within period x misses + 1 s = {PATIENCE_SECONDS + 1:g} s"
        rows.append(Row(f"one of the two is {kind}", goal, f"{summary(done.times)}; {done}", met))
    return rows


def starve_of_the_disk(folder: Path, size: Size) -> Row:
    """Its file system frozen while it writes."""
    with starve.disk(folder / "disk") as place, busy(folder, PROTECT, root=place) as node:
        done = blows.stalls(node, size.stalls, lambda: starve.frozen(place))
    return Row("replaced while starved of the disk", "0", f"n={size.stalls}; {done}", not done.wrong)


def starve_of_the_cpu(folder: Path, size: Size) -> Row:
    """Both with a twentieth of one core between them."""
    with busy(folder, PROTECT) as node:
        done = blows.stalls(node, size.stalls, lambda: starve.throttled([node.pid(daemon) for daemon in DAEMONS], 5.0))
    return Row("replaced while starved of the CPU", "0", f"n={size.stalls}; {done}", not done.wrong)


def crash_at_start(folder: Path, size: Size) -> Row:
    """Until the cause is gone."""
    with busy(folder) as node:
        done = blows.crashes(node, size.crashes)
    measured = f"{min(done.times):.2f} to {max(done.times):.1f} s apart, n={size.crashes}, then up again; {done}"
    return Row("crash at start, again and again", "still tried; >= 1 s apart; recovers", measured, not done.wrong)


def stop_on_purpose(folder: Path, size: Size) -> Row:
    """By `ast3ctl stop`; cron goes on."""
    minutes = min(size.minutes, 5)
    with busy(folder) as node, cron.every_minute(folder / "cron", node.root, BIN):
        node.ctl("stop")
        time.sleep(60.0 * minutes + 5.0)  # nothing is to happen
        came = [daemon for daemon in DAEMONS if node.pid(daemon)]
        node.ctl("start")
        node.wait_up()
        done = blows.Outcome([], node.settle(), node.fed)
    measured = f"{len(came)} came back in {minutes} minutes of cron; {done}"
    return Row("stopped by ast3ctl", "stays stopped, until started", measured, not came and not done.wrong)


def kill_with_systemd(_folder: Path, size: Size) -> list[Row]:
    """The units, in a machine of their own, each time with a frame that has just come."""
    with new_site() as site:
        census = Census("machine", site.machine.leader)
        census.start()
        try:
            one = [_kill(site, number, DAEMONS[number % len(DAEMONS)]) for number in range(size.kills)]
            both = [_kill(site, number, *DAEMONS) for number in range(size.kills, size.kills + size.both)]
            site.wait(lambda: len(site.published()) == size.kills + size.both, "all published")
            doubled = [frame for frame, runs in Counter(site.runs()).items() if runs > 1]
            wrong = [f"{frame} was processed twice" for frame in doubled] + census.doubles()
        finally:
            census.close()
    done = blows.Outcome(one, wrong, size.kills + size.both)
    return [
        Row(
            "kill -9 of one, with systemd", "READY again p99 <= 1 s; lost or doubled 0; two of one 0",
            f"{summary(one)}; {done}", percentile(one, 99) <= 1.0 and not wrong,
        ),
        Row("kill -9 of both, with systemd", "<= 1.5 s", summary(both), max(both) <= 1.5),
    ]  # fmt: skip


def _kill(site: Site, number: int, *names: str) -> float:
    """-> seconds until they were READY again."""
    site.settle()
    site.expose(f"kill-{number}.fits")
    return site.ready(*names, since=site.kill("KILL", *names))


def boot_with_systemd(_folder: Path, size: Size) -> list[Row]:
    """With a frame in the pool each time; at the end all of them are published."""
    with new_site() as site:
        for number in range(size.power_cuts + size.reboots):
            site.expose(f"boot-{number}.fits")
            if number < size.power_cuts:
                site.machine.power_cut()
                site.machine.boot()
            else:
                site.machine.reboot()
            site.ready(*DAEMONS)
        exposed = size.power_cuts + size.reboots
        site.wait(lambda: len(site.published()) == exposed, "all published")
    measured = f"READY and all {exposed} frames published once"
    return [
        Row("power cut, the container's init killed", "READY without a hand", f"{measured}, n={size.power_cuts}", met=True),
        Row("clean reboot", "READY without a hand", f"{measured}, n={size.reboots}", met=True),
    ]


def weigh(folder: Path, size: Size) -> list[Row]:
    """Both, with nothing to do."""
    with busy(folder) as node:
        node.settle()
        processes = {daemon: psutil.Process(node.pid(daemon)) for daemon in DAEMONS}
        before = {daemon: sum(process.cpu_times()[:2]) for daemon, process in processes.items()}
        time.sleep(size.idle_seconds)
        used = {d: (sum(p.cpu_times()[:2]) - before[d]) / size.idle_seconds * 100 for d, p in processes.items()}
        memory = processes["protectd"].memory_info().rss / MEGABYTE
    told = ", ".join(f"{daemon} {share:.2f} %" for daemon, share in used.items())
    return [
        Row("memory of protectd", "<= 15 MB", f"{memory:.1f} MB", memory <= 15.0),
        Row("idle CPU of each", "<= 0.5 %", f"{told} in {size.idle_seconds:g} s", max(used.values()) <= 0.5),
    ]


ALL = (
    kill_by_handshake, kill_with_systemd, boot_with_systemd, hang, starve_of_the_disk, starve_of_the_cpu, crash_at_start,
    weigh, stop_on_purpose, kill_both_with_only_cron,
)  # fmt: skip
