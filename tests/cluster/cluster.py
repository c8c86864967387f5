"""A cluster: nodes on one network, with frames that come all the time; and what a test waits for.

Everything is below one folder and ends with `with`, whatever happened in it: first the nodes' first processes, then the
networks.  Waits are bounded, and a wait in vain raises `ClusterError` with the ends of all logs.
"""

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.cluster import clock, disk, etcd, ledger
from tests.cluster.camera import Camera, noise, real_frames
from tests.cluster.ledger import Books
from tests.cluster.network import Network, NoNetworkError, demand_tools
from tests.cluster.node import BIN, SHARED, Node
from tests.cluster.paper import Plan

PATIENCE_SECONDS = 90.0
COMPILE_SECONDS = 240.0  # photometry's first frame, where nothing is kept of an earlier one
POLL_SECONDS = 0.1
QUIET_SECONDS = 3.0


class ClusterError(Exception):
    """What was waited for did not come; the text holds the ends of the logs."""


class Cluster:
    """`nodes` by name, all booted; `camera` does not deliver yet."""

    def __init__(self, plan: Plan, site: Path, net: Network) -> None:
        self.plan, self.site, self.net = plan, site, net
        self.shared, self.ledger = site / "shared", site / "ledger"
        for folder in SHARED:
            (self.shared / folder).mkdir(parents=True)
        key = site / "ha.key"
        key.write_bytes(os.urandom(32))
        key.chmod(0o600)
        if plan.tls:
            etcd.make_certificates(site / "tls", [net.address(name) for name in plan.members])
        if plan.clocks:
            clock.build(site)
        self.nodes = {name: Node(plan, name, net, site) for name in plan.nodes}
        expose = noise if plan.work is not None else real_frames(self.shared, plan.telescopes)
        self.camera = Camera(self.shared / "incoming", plan.telescopes, plan.cadence, expose)

    # --- what is waited for

    def wait(self, holds: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> float:
        """-> after how many seconds it held.  Raises ClusterError."""
        began = time.monotonic()
        while not holds():
            if time.monotonic() > began + seconds:
                said = "\n".join(node.said() for node in self.nodes.values())
                raise ClusterError(f"not {what} after {seconds:g} s\n{said}")
            time.sleep(POLL_SECONDS)
        return time.monotonic() - began

    def books(self) -> Books:
        """As they are now."""
        provisional = {
            (name, line.fields["telescope"]) for name, node in self.nodes.items() for line in node.events("ha.provisional")
        }
        return ledger.read(self.shared, self.ledger, self.camera.sent, frozenset(provisional))

    def runs(self) -> Books:
        """The same without what is published: quick."""
        if self.plan.work is None:
            return self.books()
        return Books({}, tuple(ledger.runs(self.ledger)), ())

    def moved(self, telescope: str, since: float, besides: str, seconds: float = PATIENCE_SECONDS) -> float:
        """-> how many seconds after `since` a frame of it began at another node than `besides`."""
        what = f"{telescope} at another node than {besides}"
        self.wait(lambda: self.runs().next_begin(telescope, since, besides) is not None, what, seconds)
        run = self.runs().next_begin(telescope, since, besides)
        assert run
        return run.began - since

    def taken(self, telescope: str, seconds: float = PATIENCE_SECONDS) -> float:
        """-> after how many seconds from now a node says that it took it over: for work that takes its time."""
        marks = {name: len(node.log("ast3-ha")) for name, node in self.nodes.items()}

        def is_taken() -> bool:
            new = [line for name, node in self.nodes.items() for line in node.events("ha.took", marks[name])]
            return any(line.fields["telescope"] == telescope for line in new)

        return self.wait(is_taken, f"{telescope} taken over", seconds)

    def worked(self, telescope: str, node: str, since: float, seconds: float = PATIENCE_SECONDS) -> float:
        """-> how many seconds after `since` a frame of it began at that node."""

        def first() -> float | None:
            found = [r.began for r in self.runs().runs if (r.telescope, r.node) == (telescope, node) and r.began > since]
            return min(found, default=None)

        self.wait(lambda: first() is not None, f"{telescope} at {node}", seconds)
        began = first()
        assert began
        return began - since

    def at_home(self, seconds: float = 0.0) -> float:
        """Until each telescope is worked for by its owner and by nobody else; -> how long that took.

        Nobody else means for a while: a node that is back begins with its own before it hears who works for it.
        """
        began = time.monotonic()
        quiet = max(QUIET_SECONDS, 1.5 * self.plan.cadence)
        seconds = seconds or (COMPILE_SECONDS if self.plan.work is None else PATIENCE_SECONDS)

        def all_are() -> bool:
            now, runs = time.monotonic(), self.runs().runs
            lately: dict[str, set[str]] = {name: set() for name in self.plan.telescopes}
            for run in runs:
                if run.began > max(began, now - quiet):
                    lately[run.telescope].add(run.node)
            alone = now > began + quiet and all(lately[name] == {self.plan.owner(name)} for name in lately)
            return alone and all(map(self._keeps_to_its_own, self.nodes.values()))

        return max(self.wait(all_are, "every telescope at home", seconds) - quiet, 0.0)

    def _keeps_to_its_own(self, node: Node) -> bool:
        """As it says itself: a busy node may be entitled to another's telescope, and not have got round to it."""
        told = node.ctl("ha", "status") or {}
        works = {name for name, about in told.get("telescopes", {}).items() if about["works_here"]}
        return works == {name for name in self.plan.telescopes if self.plan.owner(name) == node.name}

    def came_home(self, telescope: str, since: float, seconds: float) -> float:
        """-> how many seconds after `since` somebody else began its last frame, when its owner has it to itself again."""
        self.at_home(seconds)
        owner = self.plan.owner(telescope)
        others = [r.began for r in self.runs().runs if r.telescope == telescope and r.node != owner and r.began > since]
        return max(others, default=since) - since

    def settle(self, since: float = 0.0, seconds: float = 2 * PATIENCE_SECONDS) -> Books:
        """No more frames; the books of those since an instant, when all have left the pools.  Frames that stay are lost."""
        self.camera.stop()
        pools = [self.shared / "incoming" / name for name in self.plan.telescopes]
        with contextlib.suppress(ClusterError):
            self.wait(lambda: not any(os.listdir(pool) for pool in pools), "empty pools", seconds)
        return self.books().since(since)

    # --- what is done

    def boot(self) -> None:
        """Switch on whatever is off."""
        for node in self.nodes.values():
            if not node.is_on:
                node.boot()

    def calm(self) -> None:
        """As at the beginning: nothing is cut, everything is on and every telescope at home."""
        self.net.clear()
        for node in self.nodes.values():
            node.poison(on=False)
            if not node.is_on:
                node.reboot()
        self.at_home()

    def repair(self, name: str) -> None:
        """A node whose disk had an error is switched off, its disk repaired, and switched on."""
        node = self.nodes[name]
        node.power_cut()
        disk.repair(node.root)
        node.reboot()

    def end(self) -> None:
        """Nothing of it runs any more."""
        with contextlib.suppress(OSError):
            self.camera.stop()
        for node in self.nodes.values():
            with contextlib.suppress(OSError):
                node.power_cut()


@contextlib.contextmanager
def cluster(plan: Plan, folder: Path) -> Iterator[Cluster]:
    """One whose nodes have all been switched on; below `folder` in a folder of its own, which is removed if all went well.

    Raises NoNetworkError where none can be made.
    """
    demand(plan)
    site = folder / f"site-{secrets.token_hex(3)}"
    site.mkdir(parents=True)
    with Network(plan.nodes) as net:
        one = Cluster(plan, site, net)
        try:
            one.boot()
            yield one
        finally:
            one.end()
    shutil.rmtree(site, ignore_errors=True)


def demand(plan: Plan) -> None:
    """Raises NoNetworkError with what is missing here."""
    demand_tools()
    tools = {"etcd": "etcd-server", "etcdctl": "etcd-client"} if plan.members else {}
    tools |= {"faketime": "faketime", "openssl": "openssl"} if plan.tls else {}
    tools |= {"cc": "gcc"} if plan.clocks else {}
    tools |= {"mkfs.ext4": "e2fsprogs"} if plan.disks else {}
    if missing := [package for tool, package in tools.items() if not shutil.which(tool)]:
        raise NoNetworkError(f"not installed: {', '.join(missing)}")


def has_ha() -> bool:
    """Whether there is an ast3-ha to be tested."""
    return (BIN / "ast3-ha").exists()
