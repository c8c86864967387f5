"""ast3d's part in staying up: it tells protectd and systemd that its loop turns, and looks whether protectd lives.

Whoever starts ast3d again finds in the run folder how.  What says that it goes on is the loop itself: `turned` is called
once per turn, after every source was served, and not after a turn that raised, so that a loop which hangs, spins or fails
is silent, and replaced.  The judging is `protectd.judge`'s, the same for both sides.
"""

import contextlib
import selectors
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ast3d.common.clock import boot_id
from ast3d.common.layout import Layout
from ast3d.common.log import Logger
from ast3d.common.run import make_run
from ast3d.common.schema import Protect
from ast3d.lock import Lock
from ast3d.state import State
from protectd import faults, files, spawn, starts, systemd
from protectd.message import DEFAULT, Settings
from protectd.watch import Watch

FACTS = "ast3d.json"
CHECK_SECONDS = 1.0  # between looks at its own files, and words to systemd


@dataclass(frozen=True)
class Call:
    """How this ast3d was called, by `--root` and `--config`."""

    root: str | None
    config: str | None

    def __post_init__(self) -> None:
        """Before a daemon leaves the folder that it was called in."""
        for name in ("root", "config"):
            path = getattr(self, name)
            object.__setattr__(self, name, path and str(Path(path).absolute()))

    def again(self) -> list[str]:
        """How to start it again, from anywhere."""
        return [sys.executable, "-P", "-m", "ast3d", *self._where(), "--foreground", "--again"]

    def peer(self) -> list[str]:
        """How to start its protectd."""
        return [sys.executable, "-P", "-m", "protectd", *self._where(), "--foreground"]

    def _where(self) -> list[str]:
        given = (("--root", self.root), ("--config", self.config))
        return [word for name, path in given if path is not None for word in (name, path)]


class Guardian:
    """Of one ast3d, which holds its lock."""

    def __init__(self, layout: Layout, call: Call, lock: Lock, selector: selectors.BaseSelector, log: Logger) -> None:
        self._layout, self._call, self._lock, self._log = layout, call, lock, log
        self._told_systemd = ""
        self._progress = 0
        self._says = "starting"
        self._next_check = 0.0
        faults.allow()
        self.superseded = False  # somebody took the lock's file away, and another ast3d may run
        self._settings = DEFAULT
        self._described = True
        self._is_of_cluster = False
        self._describe()
        start_peer = None if systemd.is_unit("ast3d") else self._start_peer
        self._watch = Watch(
            layout.run, "ast3d", "protectd", selector, self._say, start_peer, generation=lock.generation
        )  # fmt: skip

    def turned(self, now: float, protect: Protect, state: State) -> None:
        """The loop has turned."""
        self._progress += 1
        settings = Settings(protect.enabled, protect.period_seconds, protect.misses)
        self._watch.turn(now, self._progress, self._says, settings)
        is_of_cluster = bool(state.policy.node)
        if (settings, is_of_cluster) != (self._settings, self._is_of_cluster):
            self._settings, self._is_of_cluster = settings, is_of_cluster
            self._describe()
        if now >= self._next_check:
            self._next_check = now + CHECK_SECONDS
            self._check(state)

    def next_due(self, now: float) -> float:
        """When the loop is to turn, if nothing happens before."""
        return min(self._watch.next_due(now), self._next_check)

    def ready(self, now: float) -> None:
        """The first scan is over: this start has not failed, and now it is looked for its protectd."""
        self._says = "ready"
        self._progress += 1
        # protectd first: whoever hangs while it is thought to be starting is given far longer
        self._watch.turn(now, self._progress, self._says, self._settings)
        self._watch.seek(now)
        with contextlib.suppress(OSError):  # the next start may wait without need
            starts.mark_ready(self._layout.run / "ast3d.starts", boot_id())
        systemd.notify("READY=1")

    def about(self) -> dict[str, Any]:
        """What `ast3ctl status` says of protectd."""
        return self._watch.about()

    def mark_stopped(self) -> None:
        """From here on nobody starts ast3d again unless on purpose.  Raises OSError."""
        files.replace(self._layout.stopped, {"boot": boot_id()})

    def close(self, now: float) -> None:
        """ast3d ends because it was asked to: nobody is to start it again for that."""
        systemd.notify("STOPPING=1")
        self._progress += 1
        self._watch.turn(now, self._progress, "stopping")
        self._watch.close()

    def _describe(self) -> None:
        """Tell who starts ast3d again how; where it cannot be told, it is at the next look."""
        facts = {
            "root": files.whole(Path(self._call.root) if self._call.root is not None else None),
            "argv": self._call.again(),
            "lock": str(self._layout.lock),
            "log": str(self._layout.log_file),
            "generation": self._lock.generation,
            "protect": self._settings._asdict(),
            "ha": self._is_of_cluster,
        }
        try:
            make_run(self._layout.run)
            files.replace(self._layout.run / FACTS, facts)
        except OSError as error:
            if self._described:
                self._log.error("run.unwritten", reason=f"{error.filename}: {error.strerror}", so="it is tried again")
            self._described = False
        else:
            self._described = True

    def _check(self, state: State) -> None:
        """Its files are still there; systemd is told of the turn."""
        self.superseded = not self._lock.still_held()
        if not self._described or not (self._layout.run / FACTS).exists():
            self._describe()
        phases = state.phases
        waiting = len(phases["READY"]) + len(phases["FAILED"])
        counts = f"{len(phases['RUNNING'])} frames at work, {waiting} wait, {state.done} done, {state.discarded} discarded"
        status = f"STATUS={counts}"
        systemd.notify("WATCHDOG=1" if status == self._told_systemd else f"WATCHDOG=1\n{status}")
        self._told_systemd = status

    def _start_peer(self) -> int:
        return spawn.start(self._call.peer())

    def _say(self, level: str, event: str, fields: dict[str, Any]) -> None:
        getattr(self._log, level.lower())(event, **fields)
