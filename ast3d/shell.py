"""The shell: one thread, one loop.  It turns the world into inputs for the core, and carries the effects out.

It touches its state directory and its sockets, and nothing that can block.  It decides nothing: see `ast3d.core`.
"""

import os
import selectors
import signal
import socket
import time
import traceback
from collections import deque
from collections.abc import Callable
from functools import singledispatchmethod

from ast3d import claims, effects, translate
from ast3d import inputs as i
from ast3d.common.about import VERSION
from ast3d.common.clock import boot_id, boottime
from ast3d.common.config import Config, ConfigError, load, load_lenient
from ast3d.common.crew import Crew, Kind
from ast3d.common.layout import Place
from ast3d.common.link import Message
from ast3d.common.log import Logger
from ast3d.common.relog.disk import OsDisk
from ast3d.common.relog.relog import Relog
from ast3d.common.run import STOPPED_STATUS
from ast3d.core import Core
from ast3d.desk import Desk
from ast3d.guardian import Call, Guardian
from ast3d.lock import Lock
from ast3d.nursery import ENVIRONMENT
from ast3d.records import Helper
from ast3d.startup import order_for, policy_of
from ast3d.state import State
from ast3d.workers import Workers

LOOK_SECONDS = 1.0  # between looks at the stages of running workers
BUG_SECONDS = 0.2
BUGS_AT_MOST = 25  # turns in a row that failed: another process may fare better with what is on the disk


class Shell:
    """One ast3d.  `run` returns when it was asked to stop; `on_ready` is called once, after the first scan."""

    def __init__(self, place: Place, call: Call, lock: Lock, log: Logger, on_ready: Callable[[], None]) -> None:
        self.layout = layout = place.layout
        self.config_file, self.config_optional, self.log = place.config_file, place.config_optional, log
        self.on_ready: Callable[[], None] | None = on_ready
        self.attempts = layout.state / "attempts"
        self.started = boottime()
        self.core = Core(Relog(OsDisk(layout.relog), boot_id()))
        self.config = Config()
        self.inputs: deque[i.Input] = deque()
        self.stopping = ""
        self.status = 0
        self.porter_begun = self.tidied = False
        self.running: list[str] = []
        self.next_look = 0.0
        self.selector = selectors.DefaultSelector()
        self.workers = Workers(self.attempts, self.selector, self.inputs.append)
        self.crew: Crew[Helper] = Crew(
            Kind("ast3d", ENVIRONMENT), self.selector, layout.log / "helpers.err", self.hear, self.lose
        )
        self.guardian = Guardian(layout, call, lock, self.selector, log)
        self.desk = Desk(layout.control_socket, self.selector, log, lambda: self.state, self.inputs.append,
                         self.guardian.about, self.guardian.mark_stopped)  # fmt: skip

    @property
    def state(self) -> State:
        """What is known."""
        return self.core.state

    # --- the loop

    def run(self) -> int:
        """Until SIGTERM, SIGINT or an operator's `ast3ctl stop`; -> the exit status."""
        self.listen_to_signals()
        self.read_configuration(at_start=True)
        alone = self.config.ha.node is None
        if alone:
            self.begin(
                "scout", boottime()
            )  # it looks while this recovers; the others begin later: they would keep it from that
            self.crew.tend(boottime())
        self.recover()
        if not alone:
            self.begin("scout", boottime())  # what it is to look at is among what was remembered
        self.log.info("daemon.start", version=VERSION, pid=os.getpid(), root=str(self.layout.state.parent))
        bugs = 0
        while not self.stopping and not self.guardian.superseded:
            try:
                self.turn()
                self.tell()
                bugs = 0
            except Exception:  # noqa: BLE001  the daemon's outermost loop: it says so and goes on
                self.log.fatal("daemon.bug", trace=traceback.format_exc())
                bugs += 1
                if bugs == BUGS_AT_MOST:
                    return 1
                time.sleep(BUG_SECONDS)  # it may come with every turn
        if self.guardian.superseded:  # what is in the folder is another's
            self.log.fatal("daemon.superseded", reason="its lock was removed, and another ast3d holds one of that name")
            return 1
        self.log.info("daemon.stop", reason=self.stopping, running=len(self.state.phases["RUNNING"]))
        self.core.take(i.DaemonStops(boottime()))
        self.core.commit(boottime())
        self.core.close()
        self.guardian.close(boottime())
        self.desk.close()
        self.crew.close()
        return self.status

    def recover(self) -> None:
        """Fold what earlier ast3d remembered, and learn what became of the workers that they left.

        It is durable when this returns: the porter, which is started next, removes the accounts of workers that have ended.
        """
        try:
            found = self.core.recover(self.tell)
            for problem in found.problems:
                self.log.error("relog.damaged", reason=problem)
            if found.losses:
                self.inputs.append(i.RecordsLost(boottime(), found.losses))
        except Exception:  # noqa: BLE001  a bug in what is folded at each start would keep ast3d from ever starting
            self.log.fatal("daemon.bug", trace=traceback.format_exc())
            self.core.forget()
        self.inputs.append(i.DaemonBegan(boottime(), boot_id()))
        self.running = self.workers.find(self.state.within("RUNNING"))
        self.settle()
        self.core.commit(boottime())

    def tell(self) -> None:
        """The loop goes on."""
        self.guardian.turned(boottime(), self.config.protect, self.state)

    def turn(self) -> None:
        """Wait for something, then do all that it means."""
        for key, mask in self.selector.select(self.patience()):
            key.data(mask)
        now = boottime()
        for helper in self.crew.due(now):
            self.begin(helper, now)
        if now >= self.next_look:
            self.next_look = now + LOOK_SECONDS
            self.workers.look(self.state.within("RUNNING"))
            self.desk.tend(now)
        self.inputs.append(i.Tick(now))
        self.settle()
        self.crew.tend(now)

    def patience(self) -> float:
        """Seconds until something is due."""
        if self.inputs:
            return 0.0
        now = boottime()
        due = min(self.core.next_due(now), self.crew.next_due(), self.guardian.next_due(now))
        if self.state.phases["RUNNING"] or self.desk.busy:
            due = min(due, self.next_look)
        return max(due - now, 0.0)

    def settle(self) -> None:
        """Decide all that was put in, remember, then do."""
        while self.inputs:
            self.core.take(self.inputs.popleft())
        for effect in self.core.settle(boottime()):
            self.do(effect)
        if self.on_ready and self.state.scanned:
            ready, self.on_ready = self.on_ready, None
            self.guardian.ready(boottime())  # first: who reads that it is ready may kill it, and no start has failed by that
            self.log.info("daemon.ready", seconds=round(boottime() - self.started, 3))
            ready()
        if not (self.on_ready or self.porter_begun) and self.core.firm:
            self.porter_begun = True
            self.begin("porter", boottime())

    # --- effects

    @singledispatchmethod
    def do(self, effect: effects.Effect) -> None:
        """Carry an effect out; most are orders for a helper."""
        order = translate.asked(effect)
        assert order is not None, effect
        self.crew.send(*order)

    @do.register
    def _(self, effect: effects.Log) -> None:
        getattr(self.log, effect.level.lower())(effect.event, **translate.shown(effect.fields))

    @do.register
    def _(self, effect: effects.Reply) -> None:
        self.desk.reply(effect)

    @do.register
    def _(self, _effect: effects.End) -> None:
        self.stopping, self.status = "ast3ctl stop", STOPPED_STATUS

    @do.register
    def _(self, effect: effects.Kill) -> None:
        self.workers.kill(effect)

    @do.register
    def _(self, effect: effects.Start) -> None:
        self.crew.send("nursery", {"start": order_for(effect, self.config, self.layout)})

    @do.register
    def _(self, _effect: effects.Watch) -> None:
        self.crew.send("scout", self.watch_order())

    # --- helpers

    def begin(self, helper: Helper, now: float) -> None:
        """Start a helper and tell it what it needs to begin; its first answer makes it up.

        The porter first sweeps what earlier attempts left, and only then the nursery starts: workers write where it sweeps.
        """
        self.crew.start(helper, now)
        if helper == "scout":
            self.crew.send("scout", self.watch_order())
        elif helper == "porter":
            folders = ("incoming", "products", "archive", "quarantine", "state")
            paths = {name: str(getattr(self.layout, name)) for name in folders}
            self.crew.send("porter", {"folders": paths, "node": self.config.ha.node})
            self.crew.send("porter", {"ping": 0} if self.tidied else {"tidy": {"keep": self.running}})
        elif not self.config.pipeline.command:
            self.crew.send("nursery", {"photometry": {}})

    def hear(self, helper: Helper, message: Message) -> None:
        """A helper spoke."""
        now = boottime()
        if helper == "porter" and not self.tidied:
            self.tidied = True
            self.begin("nursery", now)
        if helper not in self.state.helpers:
            self.inputs.append(i.HelperUp(now, helper))
        if "spawned" in message:
            said = message["spawned"]
            self.inputs.append(i.WorkerSpawned(now, said["task"], said["attempt"], said["pid"]))
            self.workers.watch(said["task"], said["attempt"], said["pid"], said["ticks"])
        elif "log" in message:
            said = message["log"]
            self.log.error(said["event"], reason=said["reason"])
        elif given := translate.heard(message, now):
            self.inputs.append(given)

    def lose(self, helper: Helper, reason: str) -> None:
        """A helper ended."""
        if helper == "nursery":
            self.workers.find_untold()
        self.inputs.append(i.HelperDown(boottime(), helper, reason))

    # --- signals and configuration

    def listen_to_signals(self) -> None:
        """Handlers only wake the loop; the loop acts."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        self._wakeup = theirs
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        self.selector.register(ours, selectors.EVENT_READ, lambda _mask: self.signalled(ours.recv(64)))

    def signalled(self, numbers: bytes) -> None:
        """SIGTERM, SIGINT: stop; workers stay.  SIGHUP: read the configuration."""
        for number in numbers:
            if number == signal.SIGHUP:
                self.read_configuration(at_start=False)
            elif number in (signal.SIGTERM, signal.SIGINT):
                self.stopping = signal.Signals(number).name

    def read_configuration(self, *, at_start: bool) -> None:
        """At start whatever can be used is used; later a file with an error leaves everything as it is."""
        complaints: list[str] = []
        try:
            if self.config_optional and not self.config_file.exists():
                self.config = Config()
            elif at_start:
                self.config, complaints = load_lenient(self.config_file)
            else:
                self.config = load(self.config_file)
        except ConfigError as error:
            self.inputs.append(i.ConfigurationRead(boottime(), None, f"{error}; the old configuration stays"))
            return
        self.log.set_level(self.config.roulog.level)
        self.desk.admit(self.config.control.group, self.config.control.operators)
        self.inputs.append(i.ConfigurationRead(boottime(), policy_of(self.config), "; ".join(complaints)))
        if self.config.ha.node is None:  # or else when it is decided
            self.crew.send("scout", self.watch_order())  # at start nobody hears it: see `begin`

    def watch_order(self) -> Message:
        """What the scout is to look at."""
        layout, pool, held = self.layout, self.config.pool, claims.held(self.state)
        names = [name for name in self.config.telescopes if self.config.ha.node is None or name in (held or ())]
        order = {"pools": {name: str(layout.pool(name)) for name in names}, "ignore": list(pool.ignore)}
        folders = {"products": str(layout.products), "quarantine": str(layout.quarantine)}
        return {"watch": order | folders | {"scan_seconds": pool.scan_seconds}}
