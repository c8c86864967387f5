"""ast3d and protectd in a world without processes: two guards, a kernel that is made up, and a seeded run of faults.

The world knows what really is the matter with each process, and so what no guard may ever do.  It raises AssertionError.
"""

import random
from dataclasses import dataclass, field

from protectd import events as e
from protectd.guard import Guard
from protectd.judge import decide, next_due
from protectd.message import Message, Settings
from protectd.proc import Look
from protectd.starts import Starts, begun, wait_before
from protectd.verdict import START_SECONDS

STEP = 0.05
BAD = {"stopped": "T", "spinning": "R", "deadlocked": "S"}  # no guard may leave them
STARVED = {"disk": "D", "core": "R"}  # no guard may end them
OTHER = {"ast3d": "protectd", "protectd": "ast3d"}
SLACK = 1.0


@dataclass
class Process:
    name: str
    pid: int
    born: float
    guard: Guard
    generation: int = 0
    phase: str = "python"  # then "backing off", "starting", "ready", "stopping"
    phase_ends: float = 0.0
    crashes: bool = False
    mode: str = "fine"
    mode_since: float = 0.0
    mode_ends: float = 0.0
    cpu: float = 0.0
    delay: float = 0.0
    seq: int = 0
    progress: int = 0
    next_beat: float = 0.0
    settings: Settings = field(default_factory=Settings)
    until: float = 0.0
    said: str = ""  # last, to anybody: it is in a file
    gone: bool = False
    made_by: "Process | None" = None
    followed: tuple[int, int] | None = None
    inbox: list[Message] = field(default_factory=list)

    @property
    def ticks(self) -> int:
        return int(self.born * 100)

    @property
    def identity(self) -> tuple[int, int]:
        return self.pid, self.ticks


class World:
    def __init__(self, seed: int, *, systemd: bool = False, loss: float = 0.0, faults: float = 0.1) -> None:
        self.random = random.Random(seed)
        self.systemd, self.loss, self.faults = systemd, loss, faults
        self.now = 1000.0
        self.alive: dict[str, list[Process]] = {"ast3d": [], "protectd": []}
        self.generation = {"ast3d": 0, "protectd": 0}
        self.starts = {"ast3d": Starts(), "protectd": Starts()}
        self.begins: dict[str, list[float]] = {"ast3d": [], "protectd": []}
        self.spawned: dict[str, list[float]] = {"ast3d": [], "protectd": []}
        self.next_pid = 100
        self.marker = False
        self.settings = Settings()
        self.old: list[tuple[str, Message]] = []  # that was sent once
        self.failing = {"ast3d": False, "protectd": False}  # they crash at start
        self.kills: list[str] = []
        self.lacking: dict[str, tuple[str, float]] = {}
        self.run_by_hand("ast3d")
        self.run_by_hand("protectd")

    # --- the kernel

    def run_by_hand(self, name: str) -> Process:
        self.next_pid += 1
        guard = Guard(self.now, OTHER[name], may_start=not self.systemd, obeys=name == "protectd")
        made = Process(name, self.next_pid, self.now, guard, crashes=self.failing[name])
        made.phase_ends = self.now + self.random.choice((0.05, 0.1, 0.3))
        if name == "ast3d":
            made.settings = self.settings
        self.alive[name].append(made)
        self.spawned[name].append(self.now)
        return made

    def holder(self, name: str) -> Process | None:
        return next((p for p in self.alive[name] if p.generation), None)

    def end(self, process: Process) -> None:
        self.alive[process.name].remove(process)
        for watcher in self.alive[OTHER[process.name]]:
            if watcher.followed == process.identity:
                watcher.gone = True
        if self.systemd and not self.marker:
            self.run_by_hand(process.name).phase_ends += 0.1

    def find(self, identity: tuple[int, int]) -> Process | None:
        return next((p for role in self.alive.values() for p in role if p.identity == identity), None)

    def look(self, identity: tuple[int, int]) -> Look | None:
        process = self.find(identity)
        if process is None:
            return None
        state = (BAD | STARVED).get(process.mode, self.random.choice("SSSR") if process.mode == "fine" else "S")
        return Look(process.ticks, state, process.cpu, process.delay)

    # --- time

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            self.now += STEP
            for name in ("ast3d", "protectd"):
                for process in list(self.alive[name]):
                    self.live(process)
            if self.random.random() < self.faults * STEP:
                self.fault()
            if round(self.now / STEP) % round(20 / STEP) == 0:
                self.cron()
            self.check()

    def live(self, p: Process) -> None:
        if p.mode == "spinning":
            p.cpu += STEP * self.random.uniform(0.45, 1.0)
        elif p.mode == "core":
            p.cpu, p.delay = p.cpu + 0.05 * STEP, p.delay + 0.9 * STEP
        if p.mode != "fine":
            if p.mode_ends and self.now >= p.mode_ends:
                p.mode = "fine"
            return
        if p.phase in {"python", "backing off", "starting"} and self.now >= p.phase_ends:
            self.advance(p)
        if p not in self.alive[p.name] or p.phase == "python":
            return
        if p.gone or p.inbox or self.now >= min(p.next_beat, next_due(p.guard)):
            self.turn(p)

    def advance(self, p: Process) -> None:
        """What a daemon does by itself at its start."""
        if p.phase == "starting":
            if p.crashes:
                self.end(p)
            else:
                p.phase, p.next_beat = "ready", self.now
                self.starts[p.name] = Starts(0, self.starts[p.name].last)
            return
        if any(q is not p for q in self.alive[p.name] if q.phase != "python" or q.born < p.born):
            self.end(p)  # another one runs, or begins
            return
        wait = wait_before(self.starts[p.name], self.now)
        if wait > 1e-9:
            p.phase, p.phase_ends, p.until = "backing off", self.now + wait, self.now + wait
            return
        self.starts[p.name] = begun(self.starts[p.name], self.now)
        self.begins[p.name].append(self.now)
        self.generation[p.name] += 1
        p.generation, p.phase, p.until = self.generation[p.name], "starting", 0.0
        p.phase_ends = self.now + self.random.choice((0.1, 0.3, 0.6))

    def turn(self, p: Process) -> None:
        """As `protectd.watch` does it."""
        p.cpu += 0.0004
        p.delay += 0.00001
        p.progress += 1
        given: list[e.Input] = []
        if p.name == "ast3d" and p.settings != p.guard.settings:
            given.append(e.Told(self.now, p.settings))
            p.next_beat = self.now
        given += [e.Heard(self.now, message) for message in p.inbox]
        p.inbox.clear()
        if p.gone and p.followed:
            given.append(e.Gone(self.now, *p.followed))
            p.gone, p.followed = False, None
        given.append(e.Tick(self.now))
        for step in range(1000):
            if not given:
                break
            assert step < 100, "the guard goes round and round"
            for action in decide(p.guard, given.pop(0)):
                answer = self.act(p, action)
                if answer is not None:
                    given.append(answer)
        if self.now >= p.next_beat:
            expected = p.guard.stated or Settings()
            p.next_beat = self.now + min(p.guard.settings.period_seconds, expected.period_seconds)
            self.say(p)

    def say(self, p: Process) -> None:
        p.seq += 1
        says = p.said = p.phase
        message = Message(p.name, *p.identity, p.generation, p.seq, p.progress, says, p.until, p.guard.settings)
        to = OTHER[p.name]
        self.old.append((to, message))
        if self.random.random() >= self.loss:
            self.deliver(to, message)
        if self.random.random() < self.loss:  # twice, late, or from another time
            self.deliver(*self.random.choice(self.old[-200:]))

    def deliver(self, to: str, message: Message) -> None:
        for listener in self.alive[to][-1:]:
            if listener.mode == "fine" or len(listener.inbox) < 10:
                listener.inbox.insert(
                    self.random.randint(0, len(listener.inbox)) if self.loss else len(listener.inbox), message
                )

    # --- what a guard does, and may do

    def act(self, p: Process, action: e.Action) -> e.Input | None:
        now = self.now
        if isinstance(action, e.LookAt):
            return e.Looked(now, action.pid, action.ticks, self.look((action.pid, action.ticks)))
        if isinstance(action, e.Follow):
            p.followed = (action.pid, action.ticks)
            return None if self.find(p.followed) else e.Gone(now, action.pid, action.ticks)
        if isinstance(action, e.SeeWho):
            there = self.holder(OTHER[p.name])
            return e.Seen(now, there.identity if there else None, self.marker, there.said if there else "")
        if isinstance(action, e.Kill):
            self.kill(p, (action.pid, action.ticks), action.reason)
        if isinstance(action, e.Start):
            return self.start(OTHER[p.name], p)
        return None

    def kill(self, by: Process, identity: tuple[int, int], reason: str) -> None:
        victim = self.find(identity)
        assert self.settings.enabled or by.guard.settings != self.settings, "killed, and not enabled"
        if victim is None:
            return
        assert victim.mode in BAD, f"killed as {reason}, and it was {victim.mode} in {victim.phase}"
        assert victim.mode == reason, (victim.mode, reason)
        self.kills.append(reason)
        self.end(victim)

    changed = 0.0

    def start(self, name: str, by: Process) -> e.Input:
        assert not self.systemd, "started under systemd"
        assert not self.marker, "started in spite of the marker"
        assert self.settings.enabled or by.guard.settings != self.settings, "started, and not enabled"
        in_flight = [q for q in self.alive[name] if not q.seq and q.made_by is by]
        assert not in_flight, f"a second start of {name}"
        made = self.run_by_hand(name)
        made.made_by = by
        return e.Began(self.now, made.pid, made.ticks)

    # --- faults

    def fault(self) -> None:
        kind = self.random.choice(
            (
                "kill",
                "kill",
                "stopped",
                "spinning",
                "deadlocked",
                "disk",
                "core",
                "pause",
                "settings",
                "stop",
                "fail",
                "ends",
            )
        )
        running = [p for role in self.alive.values() for p in role if p.phase != "python"]
        if kind == "settings":
            period, misses = self.random.choice((0.5, 1.0, 2.0, 5.0)), self.random.choice((2, 3, 4))
            self.settings = Settings(self.random.random() < 0.8, period, misses)
            self.changed = self.now
            for p in self.alive["ast3d"]:
                p.settings = self.settings
        elif kind == "stop":
            self.stop_on_purpose()
        elif kind == "fail":
            name = self.random.choice(("ast3d", "protectd"))
            self.failing[name] = not self.failing[name]
        elif running:
            self.harm(self.random.choice(running), kind)

    def harm(self, p: Process, kind: str) -> None:
        if p.mode != "fine":
            return
        if kind == "kill":
            self.end(p)
        elif kind == "ends":
            if p.phase == "ready":
                self.end(p)
        elif kind == "pause":  # stopped and continued; the other may end it when it lasts
            p.mode, p.mode_since, p.mode_ends = "stopped", self.now, self.now + self.random.uniform(0.5, 20)
        elif kind in STARVED:
            p.mode, p.mode_since, p.mode_ends = kind, self.now, self.now + self.random.uniform(0.5, 5 * 3.0)
        elif p.phase == "ready":
            p.mode, p.mode_since, p.mode_ends = kind, self.now, 0.0

    def stop_on_purpose(self) -> None:
        if self.marker:
            self.marker = False
            for name in ("ast3d", "protectd"):
                if not self.alive[name]:
                    self.run_by_hand(name)
            return
        self.marker = True
        for name in ("ast3d", "protectd"):
            for p in list(self.alive[name]):
                if p.mode == "fine":
                    p.phase = "stopping"
                    p.progress += 1
                    self.say(p)
                    self.end(p)

    def cron(self) -> None:
        for name in ("ast3d", "protectd"):
            if not self.alive[name] and not self.marker and not self.systemd:
                self.run_by_hand(name)

    # --- what must be

    def check(self) -> None:
        for name in ("ast3d", "protectd"):
            assert sum(1 for p in self.alive[name] if p.generation) <= 1
        if self.now - self.changed < 60 or self.loss:
            self.lacking.clear()
            return
        for name in ("ast3d", "protectd"):
            self.check_replaced(name)

    def check_replaced(self, name: str) -> None:
        """A process that is bad, or missing, is replaced while the other one runs and watches."""
        watcher = next((p for p in self.alive[OTHER[name]] if p.phase == "ready"), None)
        bad = [p for p in self.alive[name] if p.mode in BAD and p.said == "ready" and not p.mode_ends]
        missing = (
            not self.alive[name] and not self.systemd and not self.marker and watcher and watcher.guard.says != "stopping"
        )
        knows = watcher and (watcher.guard.pid if bad else self.now - watcher.born > START_SECONDS)
        watches = knows and watcher and watcher.mode == "fine" and self.settings.enabled
        lacks = "bad" if bad else "missing" if missing else ""
        if not watches or not lacks or self.lacking.get(name, ("", 0.0))[0] != lacks:
            self.lacking[name] = (lacks if watches else "", self.now)
            return
        since = self.lacking[name][1]
        limit = self.settings.period_seconds * self.settings.misses + SLACK if bad else SLACK + 2 * STEP
        if missing and watcher and self.now < watcher.guard.start_not_before + STEP:
            return
        assert self.now - since <= limit + STEP, f"{name} was not replaced in {self.now - since:.2f} s"
