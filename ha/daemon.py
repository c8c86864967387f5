"""The agent's shell: one thread, one loop.  It turns the world into inputs, and carries the effects out.

What can block (etcd, the other nodes, this node's ast3d) is asked by helper processes.  It decides nothing: see `ha.decide`.
"""

import os
import selectors
import signal
import socket
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from functools import singledispatchmethod
from pathlib import Path
from typing import Literal

from ast3d.common.about import VERSION
from ast3d.common.clock import boottime
from ast3d.common.config import Config, ConfigError, load
from ast3d.common.crew import Crew, Kind
from ast3d.common.files import one_line, write_durable
from ast3d.common.layout import Place
from ast3d.common.link import Message
from ast3d.common.log import Logger
from ha import effects, records, translate
from ha import inputs as i
from ha.claims import working
from ha.cluster import Ownership
from ha.decide import act, decide
from ha.desk import Desk
from ha.fold import apply
from ha.state import State
from ha.witness import KeyFileError, Standing, read_key
from ha.witness_server import WitnessServer
from protectd import systemd

PERIOD_SECONDS = 1.0
BUG_SECONDS = 0.2
BUGS_AT_MOST = 25
PING_SECONDS = 2.0
STUCK_SECONDS = 10.0  # a helper that answers nothing for so long is killed

Helper = Literal["courier", "prober", "liaison"]
HELPERS: tuple[Helper, ...] = ("courier", "prober", "liaison")


class Daemon:
    """One agent.  `run` returns when it was asked to stop.  OSError where its sockets cannot be made."""

    def __init__(self, place: Place, config: Config, log: Logger) -> None:
        self.place, self.config, self._log = place, config, log
        self.file = place.layout.state / "ha.json"
        self.state = State()
        self.inputs: deque[i.Input] = deque()
        self.stopping = ""
        self.next_tick = 0.0
        self.cycles = 0
        self.told = False  # ast3d's answer is awaited
        self.selector = selectors.DefaultSelector()
        kind = Kind("ha", ping_seconds=PING_SECONDS, stuck_seconds=STUCK_SECONDS)
        self.crew: Crew[Helper] = Crew(kind, self.selector, place.layout.log / "helpers.err", self.hear, self.lose)
        self.desk = Desk(place.layout.ha_socket, self.selector, lambda: self.state, self.inputs.append)
        self.witness = self.listen(config)

    # --- the loop

    def run(self, on_ready: Callable[[], None]) -> int:
        """Until SIGTERM or SIGINT; -> the exit status."""
        self.listen_to_signals()
        self.inputs.append(i.AgentBegan(boottime(), self.recall()))
        self.configure(self.config)
        for helper in HELPERS:
            self.begin(helper)
        self._log.info("daemon.start", version=VERSION, node=self.config.ha.node)
        on_ready()
        systemd.notify("READY=1")
        bugs = 0
        while not self.stopping:
            try:
                self.turn()
                bugs = 0
            except Exception:  # noqa: BLE001  the daemon's outermost loop: it says so and goes on
                self._log.fatal("daemon.bug", trace=traceback.format_exc())
                bugs += 1
                if bugs == BUGS_AT_MOST:
                    return 1
                time.sleep(BUG_SECONDS)
        self._log.info("daemon.stop", reason=self.stopping)
        self.crew.close()
        self.desk.close()
        self.witness.close()
        return 0

    def turn(self) -> None:
        """Wait for something, then do all that it means."""
        now = boottime()
        due = min(self.next_tick, self.crew.next_due())
        for key, mask in self.selector.select(max(due - now, 0.0) if not self.inputs else 0.0):
            key.data(mask)
        now = boottime()
        for helper in self.crew.due(now):
            self.begin(helper)
        self.settle()
        if now >= self.next_tick:
            self.next_tick = max(self.next_tick + PERIOD_SECONDS, now)
            self.inputs.append(i.Tick(now))
            self.settle()
            self.act()
            self.desk.tend(now)
            self.witness.expire(now)
            systemd.notify("WATCHDOG=1")
        self.crew.tend(now)

    def settle(self) -> None:
        """Decide all that was put in."""
        while self.inputs:
            given = self.inputs.popleft()
            facts, doings = decide(self.state, given)
            for record in facts:
                apply(self.state, record)
            for effect in doings:
                self.do(effect)

    def act(self) -> None:
        """Tell etcd and ast3d what is to be told, by all that is known now."""
        for effect in act(self.state, boottime()):
            self.do(effect)
        if self.config.ha.serial:  # the prober answers there
            self.crew.send("prober", {"standing": asdict(self.standing())})

    # --- effects

    @singledispatchmethod
    def do(self, effect: effects.Effect) -> None:
        """Carry an effect out."""
        raise TypeError(f"not an effect: {effect!r}")

    @do.register
    def _(self, effect: effects.Log) -> None:
        getattr(self._log, effect.level.lower())(effect.event, **effect.fields)

    @do.register
    def _(self, effect: effects.Reply) -> None:
        self.desk.reply(effect)

    @do.register
    def _(self, effect: effects.Cycle) -> None:
        self.cycles += 1
        apply(self.state, records.Asked(boottime(), effect.lease_seconds))
        self.crew.send("courier", translate.cycle_order(effect, self.state.settings.node, self.cycles))

    @do.register
    def _(self, effect: effects.Tell) -> None:
        if not self.told:
            self.told = True
            about = {"socket": str(self.place.layout.control_socket), "claims": translate.claims_of(effect)}
            self.crew.send("liaison", {"tell": about})

    @do.register
    def _(self, effect: effects.Save) -> None:
        try:
            write_durable(self.file, translate.remember(effect.telescopes))
        except OSError as error:
            self._log.error("ha.unsaved", reason=one_line(error), so="after a reboot this node may not know what moved")

    # --- helpers

    def begin(self, helper: Helper) -> None:
        """Start a helper and tell it what it needs.  What was sent while there was none is lost."""
        self.crew.start(helper, boottime())
        self.forget_errand(helper)
        self.instruct(helper)

    def forget_errand(self, helper: Helper) -> None:
        """No answer will come."""
        if helper == "courier":
            self.inputs.append(i.CourierLost(boottime()))
        elif helper == "liaison":
            self.told = False

    def instruct(self, helper: Helper) -> None:
        """Tell a helper whom to ask."""
        if helper == "courier":
            self.crew.send(helper, translate.store_order(self.config))
        elif helper == "prober":
            self.crew.send(helper, translate.probe_order(self.config, PERIOD_SECONDS))

    def hear(self, _helper: Helper, message: Message) -> None:
        """A helper spoke."""
        now = boottime()
        if said := message.get("cycled"):
            if said["n"] == self.cycles:
                self.inputs.append(translate.cycled(said, now))
        elif (said := message.get("answers")) is not None:
            self.inputs.append(translate.round_ended(said, now))
        elif said := message.get("told"):
            self.told = False
            self.inputs.append(translate.daemon_told(said, now))

    def lose(self, helper: Helper, reason: str) -> None:
        """A helper ended."""
        self._log.error("helper.down", helper=helper, reason=reason)
        self.forget_errand(helper)

    def standing(self) -> Standing:
        """What the other nodes are answered on the second path."""
        now = boottime()
        return Standing(self.state.able, self.state.reason, tuple(sorted(working(self.state, now))))

    # --- signals, configuration, memory

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
        """SIGTERM, SIGINT: stop.  SIGHUP: read the configuration."""
        for number in numbers:
            if number == signal.SIGHUP:
                self.read_configuration()
            elif number in (signal.SIGTERM, signal.SIGINT):
                self.stopping = signal.Signals(number).name

    def read_configuration(self) -> None:
        """A file with an error, or one without a cluster, leaves everything as it is."""
        try:
            config = load(self.place.config_file)
        except ConfigError as error:
            self._log.error("config.problem", reason=f"{error}; the old configuration stays")
            return
        if config.ha.node != self.config.ha.node:
            so = "a node keeps its name while ast3-ha runs, and everything stays as it is; restart ast3-ha"
            self._log.error("config.problem", reason=f"ha.node is {config.ha.node}", so=so)
            return
        self.witness.close()
        try:
            self.witness = self.listen(config)
        except (OSError, KeyFileError) as error:
            self._log.error("config.problem", reason=f"{error}; the old configuration stays")
            self.witness = self.listen(self.config)
            return
        if config.ha.node != self.config.ha.node:
            self._log.error(
                "config.problem", reason=f"ha.node is {config.ha.node} now: another name needs a restart of ast3-ha"
            )
            return
        self.configure(config)
        self.instruct("courier")
        self.instruct("prober")

    def listen(self, config: Config) -> WitnessServer:
        """Answer the other nodes.  OSError or KeyFileError where that cannot be."""
        me = config.ha.node
        assert me is not None, "a node of a cluster has a name"
        address, key = config.nodes[me].address, read_key(Path(config.ha.key_file))
        return WitnessServer(address, me, key, self.standing, self.selector)

    def configure(self, config: Config) -> None:
        """By this configuration from now on."""
        self.config = config
        self._log.set_level(config.roulog.level)
        self.desk.admit(config.control.group, config.control.operators)
        self.inputs.append(i.ConfigurationRead(boottime(), translate.settings_of(config)))

    def recall(self) -> dict[str, Ownership]:
        """What an earlier agent knew; nothing where it left nothing that can be read."""
        try:
            with os.fdopen(os.open(self.file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                return translate.recall(file.read() or b"")  # without waiting, should the name mean a FIFO
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            so = "who works for what is as configured until etcd answers"
            self._log.error("ha.forgotten", reason=f"{self.file}: {one_line(error)}", so=so)
            return {}
