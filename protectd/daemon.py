"""protectd: one thread, one loop, which only watches ast3d.

It guarantees: one protectd in a run folder; while it runs, an ast3d that is dead, stopped, spinning or deadlocked is
replaced (see `protectd.judge`); SIGTERM ends it at once with 0.  It ends with 80 when a stop on purpose was asked for while
it ran, and ast3d has ended, so that systemd leaves it at that.  It reads nothing but the small files of the run folder, and
writes only those and its log.
"""

import os
import selectors
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ast3d.common.clock import boot_id, boottime
from ast3d.common.run import STOPPED_STATUS, make_run
from protectd import faults, files, spawn, starts, systemd
from protectd.lock import Lock
from protectd.log import Log
from protectd.node import Node
from protectd.watch import Watch

LONGEST_CHECK_SECONDS = 1.0  # `ensure` must see it come round


class Daemon:
    """The one protectd of a node; AlreadyRunningError or OSError where it cannot be.  `on_ready` is called once."""

    def __init__(self, node: Node, on_ready: Callable[[], None], *, stderr: bool) -> None:
        self.node, self._on_ready = node, on_ready
        make_run(node.run)
        self.log = Log(node.log_file, stderr=stderr)
        self._lock = Lock(node.run / "protectd.lock", "protectd")
        self._selector = selectors.DefaultSelector()
        self._signals = self._listen_to_signals()
        faults.allow()
        self._started = boottime()
        self._progress = 0
        self._status: int | None = None
        self._marked = self._marker()
        self._next_check = self._next_notice = self._started
        self._told_systemd = ""
        as_unit = systemd.is_unit("protectd")
        start = None if as_unit else self._start_ast3d
        self._watch = Watch(
            node.run, "protectd", "ast3d", self._selector, self.log, start, settings=node.settings(),
            generation=self._lock.generation, locks=node.locks,
        )  # fmt: skip

    def run(self) -> int:
        """Until it is told to end; -> the exit status."""
        where = {"pid": os.getpid(), "run": str(self.node.run), "starts_ast3d": self._watch.guard.may_start}
        if starts.begin(self._starts, boot_id(), boottime, self._rest):
            self.log("INFO", "daemon.start", where)
            self._tell_ready()
        while self._status is None:
            self._turn(self._watch.next_due(boottime()), "ready")
        self.log("INFO", "daemon.stop", {"status": self._status})
        systemd.notify("STOPPING=1")
        if self._status == STOPPED_STATUS:  # else it is missed, and ast3d starts another
            self._progress += 1
            self._watch.turn(boottime(), self._progress, "stopping")
        self._watch.close()
        return self._status

    @property
    def _starts(self) -> Path:
        return self.node.run / "protectd.starts"

    def _tell_ready(self) -> None:
        self._on_ready()
        # ast3d first: whoever hangs while it is thought to be starting is given far longer
        self._progress += 1
        self._watch.turn(boottime(), self._progress, "ready")
        self._watch.seek(boottime())  # an ast3d that dies before it is known would be missed only after a while
        systemd.notify("READY=1")
        try:
            starts.mark_ready(self._starts, boot_id())
        except OSError as error:
            self.log("ERROR", "daemon.starts", {"file": str(self._starts), "reason": error.strerror})

    def _rest(self, _seconds: float, until: float) -> bool:
        """One turn of the back-off."""
        self._turn(min(until, self._watch.next_due(boottime())), "backing off", until)
        return self._status is not None

    def _turn(self, due: float, says: str, until: float = 0.0) -> None:
        """Wait until `due` or for something; then do what it means."""
        for key, _mask in self._selector.select(max(min(due, self._next_check) - boottime(), 0.0)):
            if key.fileobj is self._signals:
                self._signalled()
        if self._status is not None:
            return
        now = boottime()
        self._progress += 1
        self._watch.turn(now, self._progress, says, until=until)
        if now >= self._next_check:
            self._next_check = now + self._check_seconds()
            self._check(until)

    def _check_seconds(self) -> float:
        """Between looks at its own files and words to systemd."""
        watchdog = systemd.watchdog_seconds()
        period = min(self._watch.guard.settings.period_seconds, LONGEST_CHECK_SECONDS)
        return min(period, watchdog / 3) if watchdog else period

    def _check(self, until: float) -> None:
        """Whether it is still wanted; systemd is told that it is here."""
        if not self._lock.still_held():
            self.log("ERROR", "daemon.superseded", {"reason": "its lock was taken away, and another protectd may run"})
            self._status = 1
        elif self._marker() not in {None, self._marked} and self._watch.guard.pid is None:  # while it drains, it may hang
            self._status = STOPPED_STATUS
        about = self._watch.about()
        status = (
            "STATUS=waits, for its last starts failed" if until else f"STATUS=ast3d {about['pid'] or ''} {about['state']}"
        )
        more = "\nEXTEND_TIMEOUT_USEC=5000000" if until else ""
        systemd.notify("WATCHDOG=1" + ("" if status == self._told_systemd else "\n" + status) + more)
        self._told_systemd = status

    def _marker(self) -> tuple[int, int] | None:
        """Which stop on purpose there is: one that is younger than this protectd is meant for it."""
        marker = self.node.run / "stopped"
        try:
            status = marker.lstat()
        except OSError:
            return None
        return (status.st_ino, status.st_mtime_ns) if files.is_stopped(self.node.run, boot_id()) else None

    def _start_ast3d(self) -> int:
        return spawn.start(self.node.argv())

    def _listen_to_signals(self) -> socket.socket:
        """Handlers only wake the loop."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        self._wakeup = theirs
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, _nothing)
        self._selector.register(ours, selectors.EVENT_READ)
        return ours

    def _signalled(self) -> None:
        numbers = self._signals.recv(64)
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            self._status = 0


def _nothing(_number: int, _frame: Any) -> None:
    """SIGHUP too: there is no configuration to read again."""
