"""What goes wrong, and when: drawn from the seed, mostly while something is at work."""

from dataclasses import replace

from ast3d import inputs as i
from ast3d.records import Halt
from ast3d.task import Place
from tests.simulate.frames import KINDS, SIZE, WEIGHTS, Frame
from tests.simulate.node import Node
from tests.simulate.world import World

WEIGHED = {
    "kill": 3, "kill_at_effect": 4, "kill_at_disk": 4, "power_cut": 2, "power_at_effect": 2, "power_at_disk": 3,
    "scout_crash": 2, "porter_crash": 3, "nursery_crash": 3, "worker_kill": 3,
    "sync_error": 3, "write_error": 2, "disk_full": 2, "disk_dead": 3, "read_error": 1,
    "trouble": 1, "frame_changed": 2, "frame_replaced": 2, "frame_vanished": 2,
    "stop": 1, "reboot": 1, "suspend": 1, "operator": 4,
}  # fmt: skip
RELOG_FAULTS = ("disk_full", "disk_dead", "read_error")  # after them something may be forgotten, as is said
TELESCOPE = "east"
HALTING = 10_000_000  # from this seed on operators stop ast3d in every way there is


class Faults:
    """Frames come and faults strike until there were enough; then there is peace."""

    def __init__(self, world: World, node: Node) -> None:
        self.world, self.node, self.rng = world, node, world.rng
        self.wanted = self.rng.randrange(20, 30)
        self.peace = False
        self.halting = world.seed >= HALTING
        self.suspends = 0
        self.keys = self.mtime = 0
        self.names = 0
        forgetful = self.rng.random() < 0.4
        self.weights = {kind: weight for kind, weight in WEIGHED.items() if forgetful or kind not in RELOG_FAULTS}
        if self.halting:
            self.weights["stop"] = 12
        for _ in range(self.rng.randrange(5, 8)):
            world.at(self.rng.random() * 20, self.bring)
        world.at(1.0 + self.rng.random() * 5, self.next)

    def make(self, place: Place) -> Frame:
        self.keys += 1
        self.mtime += 1
        kind = self.rng.choices(KINDS, WEIGHTS)[0]
        return Frame(place, self.keys, kind, self.rng, self.mtime)

    def bring(self) -> None:
        """A frame arrives."""
        self.names += 1
        frame = self.make(Place(TELESCOPE, f"f{self.names}.fits"))
        self.world.tell("frame", frame.task, frame.kind, frame.times, frame.arrival, frame.size)
        self.world.drop(frame)
        if frame.kind == "torn" and self.rng.random() < 0.6:
            self.world.at(self.rng.random() * 150, lambda: self.grow(frame))

    def grow(self, frame: Frame) -> None:
        if not frame.doomed:
            frame.kind = "good"
            self.change(frame, SIZE)

    def change(self, frame: Frame, size: int) -> None:
        self.keys += 1
        self.mtime += 1
        frame.key, frame.mtime, frame.size, frame.failed, frame.attempted = self.keys, self.mtime, size, 0, 0
        self.world.tell("changed", frame.place.name, "is now", frame.task)
        if self.world.pool.get(frame.place) is frame:
            self.node.looked(frame.place)

    def next(self) -> None:
        """The next fault, or peace."""
        if self.world.injected >= self.wanted:
            self.make_peace()
            return
        self.world.at(self.rng.choice((0.01, 0.3, 2.0, 6.0, 15.0)) * (0.5 + self.rng.random()), self.next)
        busy = bool(self.world.workers)
        if busy or self.rng.random() < 0.3:
            if self.rng.random() < 0.3:
                self.world.at(self.rng.random() * 10, self.bring)
            kind = self.rng.choices(list(self.weights), list(self.weights.values()))[0]
            getattr(self, kind, self.generic)(kind)

    def make_peace(self) -> None:
        self.peace = True
        self.world.tell("PEACE")
        self.world.disk.heal()
        self.world.trouble = False
        self.world.armed = None

    # --- of ast3d and the machine

    def generic(self, kind: str) -> None:
        """Those that need one line each."""
        world, rng = self.world, self.rng
        what, _, where = kind.partition("_at_")
        if where and self.node.up:
            world.armed = (rng.randrange(20), what, where)
        elif kind.endswith("_crash"):
            if helper := self.node.crew.get(kind.removesuffix("_crash")):
                world.struck(kind)
                self.node.lose(helper)
        elif kind == "sync_error":
            world.disk.sync_errors = rng.choice((1, 1, 1, 2, 3))
        elif kind == "write_error":
            world.disk.write_errors = rng.choice((1, 1, 2, 3))

    def kill(self, kind: str) -> None:
        if self.node.up:
            self.world.struck(kind)
            self.world.crash("kill")

    def power_cut(self, kind: str) -> None:
        if self.world.up:
            self.world.struck(kind)
            self.world.cut_power()

    def stop(self, kind: str) -> None:
        """By SIGTERM, or by `ast3ctl stop`; it is started again at once."""
        mode: Halt | None = self.rng.choice((None, "now", "drain", "kill")) if self.halting else None
        if self.node.up and mode:
            self.world.struck(kind)
            self.world.tell("operator", "stop", mode)
            self.node.put(i.Stop(self.world.boottime, 1, mode))
        elif self.node.up:
            self.world.struck(kind)
            self.node.stop()
            self.world.crash("kill")

    def reboot(self, kind: str) -> None:
        if self.node.up:
            self.world.struck(kind)
            self.node.stop()
            self.world.disk.sync_all()
            self.world.sync()
            self.world.cut_power()

    def suspend(self, kind: str) -> None:
        """The clock jumps; a long jump is taken by workers for a hang, so that there are few."""
        long = self.suspends < 2 and self.rng.random() < 0.3
        self.suspends += long
        self.world.struck(kind)
        self.world.suspend(self.rng.random() * (3000 if long else 10))

    # --- of the disks

    def disk_full(self, _: str) -> None:
        self.world.disk.begin("full")
        self.world.at(self.rng.random() * 60, self.world.disk.end)

    def disk_dead(self, _: str) -> None:
        self.world.disk.begin("dead")
        self.world.at(self.rng.random() * 30, self.world.disk.end)

    def read_error(self, _: str) -> None:
        if self.node.up:
            self.world.disk.read_errors = self.rng.choice((1, 1, 2))
            self.world.crash("kill")

    def trouble(self, _: str) -> None:
        self.world.trouble = True

        def over() -> None:
            self.world.trouble = False

        self.world.at(self.rng.random() * 90, over)

    # --- of workers and frames

    def worker_kill(self, kind: str) -> None:
        if self.world.workers:
            worker = self.world.workers[self.rng.choice(sorted(self.world.workers))]
            self.world.struck(kind)
            worker.kill()

    def victim(self) -> Frame | None:
        """A frame in the pool that the porter is not at."""
        porter = self.node.crew.get("porter")
        free = [frame for frame in self.world.pool.values() if frame.links == 1]
        return self.rng.choice(free) if free and not (porter and porter.doing) else None

    def frame_changed(self, kind: str) -> None:
        if frame := self.victim():
            self.world.struck(kind)
            self.change(frame, frame.size)

    def frame_replaced(self, kind: str) -> None:
        if frame := self.victim():
            self.world.struck(kind)
            other = self.make(frame.place)
            self.world.tell("replaced", frame.task, "by", other.task, other.kind)
            self.world.drop(other)

    def frame_vanished(self, kind: str) -> None:
        if frame := self.victim():
            self.world.struck(kind)
            self.world.tell("vanished", frame.task)
            self.world.take_away(frame)

    def operator(self, _: str) -> None:
        """No fault: somebody asks for something."""
        if not self.node.up:
            return
        now, what = self.world.boottime, self.rng.choice(("retry", "retry", "pause", "resume", "configure"))
        self.world.tell("operator", what)
        if what == "retry":
            tasks = sorted({*self.node.core.state.tasks, *self.world.quarantine})
            if tasks:
                self.node.put(i.Retry(now, 1, self.rng.choice(tasks)))
        elif what == "pause":
            self.node.put(i.Pause(now, 1, 1.0 + self.rng.random() * 30))
        elif what == "resume":
            self.node.put(i.Resume(now, 1))
        elif self.rng.random() < 0.3:
            self.world.fingerprint += "1"
            self.world.policy = replace(self.world.policy, fingerprint=self.world.fingerprint)
            self.node.put(i.ConfigurationRead(now, self.world.policy, ""))
