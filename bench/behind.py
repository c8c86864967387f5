"""Starting with a long past: a million finished tasks, remembered by the core that remembers them in the daemon."""

from pathlib import Path

from ast3d import inputs as i
from ast3d.common.clock import boot_id, boottime
from ast3d.common.relog.disk import OsDisk
from ast3d.common.relog.relog import Relog
from ast3d.core import Core
from ast3d.policy import Policy
from ast3d.records import Helper
from ast3d.task import Entry, Place, Sighting
from bench.node import Node
from bench.table import Row, percentile
from bench.timed import Size

AT_ONCE = 200  # tasks that are remembered with the same syncs, lest this take hours
HELPERS: tuple[Helper, ...] = ("scout", "porter", "nursery")


def start_with_many_behind(folder: Path, probe: Path, size: Size) -> Row:
    """From the start of the process to ready, again and again, on a node that has finished so many tasks."""
    node, times = Node(folder / "behind", probe), []
    try:
        relog = node.root / "state" / "relog"
        relog.mkdir(parents=True)
        remember(relog, size.behind)
        kept = sum(path.stat().st_size for path in relog.iterdir()) / (1 << 20)
        for _ in range(size.starts):
            began = boottime()
            node.start()
            times.append(node.wait_for("daemon.ready")[1] - began)
            node.kill()
        node.start()
        node.wait_for("daemon.ready")
        done = node.status()["tasks"]["done"]
    finally:
        node.stop()
    measured = (
        f"p50 {percentile(times, 50):.3f}, max {max(times):.3f} s, n={len(times)} starts, {done} done, relog {kept:.0f} MB"
    )
    return Row(
        f"start with {size.behind} finished tasks behind it", "<= 1 s", measured, max(times) <= 1 and done == size.behind
    )


def remember(relog: Path, tasks: int) -> None:
    """Write the recovery log of so many tasks, from their sighting until they are filed."""
    core = Core(Relog(OsDisk(relog), boot_id()))
    core.recover()
    now = boottime()
    core.take(i.ConfigurationRead(now, Policy(slots=AT_ONCE), ""))
    for helper in HELPERS:
        core.take(i.HelperUp(now, helper))
    for first in range(0, tasks, AT_ONCE):
        live([entry(number) for number in range(first, min(first + AT_ONCE, tasks))], core)
    core.commit(boottime())
    core.close()


def entry(number: int) -> Entry:
    """A frame as the pool shows it."""
    return Entry(
        Place("ast3-1", f"night-2026-06-21-frame-{number:08d}.fits"), 2880 + number, 1_782_000_000_000_000_000 + number
    )


def live(entries: list[Entry], core: Core) -> None:
    """The lives of some tasks, with what the helpers and the workers would say."""
    ids = {one: f"{one.place.name.removesuffix('.fits')}-{one.size:012x}" for one in entries}
    now = boottime()
    core.take(i.Sighted(now, tuple(Sighting(one, "regular", "renamed", 0) for one in entries)))
    step(core)
    for one, task in ids.items():
        core.take(i.Identified(now, one, task, ""))
    step(core)
    for task in ids.values():
        core.take(i.WorkerEnded(now, task, 1, "2026-06-21", "", "frame", retriable=True, tail=""))
    step(core)
    for task in ids.values():
        core.take(i.FrameFiled(now, task, "filed", f"/var/lib/ast3/archive/ast3-1/2026-06-21/{task}.fits"))
    step(core)


def step(core: Core) -> None:
    """What is due, and durable."""
    core.take(i.Tick(boottime()))
    core.settle(boottime())
