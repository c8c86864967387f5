"""Scout, porter and nursery, order by order and step by step; each can end between any two, and its orders with it."""

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from ast3d import effects
from ast3d import inputs as i
from ast3d.task import Place, Sighting
from tests.simulate.frames import Frame
from tests.simulate.runner import Runner
from tests.simulate.world import Folder, World

Telling = Callable[[float], i.Input]
Order = Any  # an effect, or a tuple of what the shell tells by itself
SCAN_SECONDS = 30.0


class Helper:
    """A process that serves one ast3d.  When that dies, it may still do what it has been sent.

    It does so at once, and the next ast3d's helpers find it done.  `tardy`: it is still at it when those begin.
    """

    name: str
    tardy = False

    def __init__(self, world: World, hear: Callable[["Helper", Telling | None], None]) -> None:
        self.world, self.hear = world, hear
        self.orders: deque[Order] = deque()
        self.alive, self.orphan, self.busy = True, False, False
        self.turn = 0
        self.doing: Iterator[float] | None = None
        self.told_at = 0.0
        self.began = world.now

    def send(self, order: Order) -> None:
        self.orders.append(order)
        self.wake()

    def wake(self) -> None:
        if self.alive and not self.busy:
            self.rest(self.world.soon())

    def rest(self, delay: float) -> None:
        """Until the next step."""
        self.busy = True
        self.turn += 1
        hasty = self.orphan and not self.tardy
        self.world.after(min(delay, 0.002) if hasty else delay, partial(self.go_on, self.turn))

    def go_on(self, turn: int) -> None:
        """The next step of an order, or the next order."""
        if not self.alive or turn != self.turn:
            return
        self.busy = False
        if self.doing is None:
            if not self.orders:
                self.alive = not self.orphan
                return
            self.doing = self.serve(self.orders.popleft())
        delay = next(self.doing, None)
        if delay is None:
            self.doing, delay = None, 0.0
        self.rest(delay)

    def tell(self, what: Telling | None) -> None:
        """To ast3d, in order; None: nothing that means anything to the core."""
        self.told_at = max(self.told_at, self.world.now + self.world.soon(0.0002, 0.003))
        self.world.after(self.told_at - self.world.now, lambda: self.hear(self, what))

    def leave(self) -> None:
        """ast3d is gone: what was sent and read already is still done."""
        self.orphan = True
        for _ in range(self.world.rng.randrange(len(self.orders) + 1)):
            self.orders.pop()
        self.rest(self.world.soon())

    def serve(self, order: Order) -> Iterator[float]:
        raise NotImplementedError


class Scout(Helper):
    """Looks."""

    name = "scout"

    def __init__(self, world: World, hear: Callable[[Helper, Telling | None], None]) -> None:
        super().__init__(world, hear)
        self.known: dict[Place, tuple[int, int]] = {}
        self.growing: dict[str, int] = {}

    def serve(self, order: Order) -> Iterator[float]:
        match order:
            case ("scan",):
                yield from self.scan()
            case ("event", place):
                self.look([place])
            case effects.Look(place):
                self.look_again(place)
            case effects.Identify(entry):
                frame = self.world.pool.get(entry.place)
                if frame is None or frame.entry != entry:
                    self.look_again(entry.place)
                else:
                    task = frame.task
                    yield self.world.soon()
                    night = "night" if task in self.world.products else ""
                    self.tell(lambda now: i.Identified(now, entry, task, night))
            case effects.WatchGrowth(task, _, size):
                self.growing[task] = size

    def scan(self) -> Iterator[float]:
        self.look(sorted({*self.world.pool, *self.known}, key=lambda place: place.name))
        yield self.world.soon()
        for task, size in list(self.growing.items()):
            folder = self.world.quarantine.get(task)
            if folder is None or folder.frame is None:
                del self.growing[task]
            elif folder.frame.size != size:
                del self.growing[task]
                self.tell(lambda now, task=task: i.FrameGrew(now, task))
        self.tell(lambda now: i.ScanEnded(now, ()))
        self.world.after(SCAN_SECONDS, lambda: self.alive and not self.orphan and self.send(("scan",)))

    def look(self, places: list[Place]) -> None:
        seen, gone = [], []
        for place in places:
            frame = self.world.pool.get(place)
            if frame is None:
                if self.known.pop(place, None):
                    gone.append(place)
            elif self.known.get(place) != (frame.size, frame.mtime):
                self.known[place] = (frame.size, frame.mtime)
                seen.append(Sighting(frame.entry, "regular", frame.arrival, frame.needs))
        if gone:
            self.tell(lambda now: i.Gone(now, tuple(gone)))
        if seen:
            self.tell(lambda now: i.Sighted(now, tuple(seen)))

    def look_again(self, place: Place) -> None:
        self.known.pop(place, None)
        if place in self.world.pool:
            self.look([place])
        else:
            self.tell(lambda now: i.Gone(now, (place,)))


class Porter(Helper):
    """Moves, by link, sync, unlink, sync."""

    name = "porter"
    fingerprint = ""

    def serve(self, order: Order) -> Iterator[float]:
        match order:
            case ("fingerprint", text):
                self.fingerprint = text
            case ("ping",):
                self.tell(None)
            case ("tidy", keep):
                yield from self.tidy(keep)
            case effects.Archive(task, entry):
                yield from self.file(task, entry.place, self.world.archive, task)
            case effects.Quarantine():
                yield from self.set_aside(order)
            case effects.Restore(task, request):
                problem = yield from self.bring_back(task)
                self.tell(lambda now: i.FrameRestored(now, task, request, problem))
            case effects.Reconsider():
                for task, folder in sorted(self.world.quarantine.items()):
                    if folder.failures and not folder.incomplete and folder.fingerprint != self.fingerprint:
                        problem = yield from self.bring_back(task)
                        self.tell(lambda now, task=task, problem=problem: i.FrameRestored(now, task, 0, problem))

    def tidy(self, keep: set[tuple[str, int]]) -> Iterator[float]:
        world = self.world
        for worker in world.workers.values():
            if worker.key not in keep:
                worker.robbed = True
        for key in [key for key in world.accounts if key not in keep]:
            world.accounts.pop(key, None)
            yield 0.0002
        for task in [task for task in world.locks if task not in {task for task, _ in keep}]:
            world.remove_lock(task)
        self.tell(None)

    def file(self, task: str, place: Place, names: dict[str, Any], name: str) -> Iterator[float]:
        """Move a frame out of the pool, tidy up behind it, and answer."""
        outcome, detail = yield from self.move(task, place, names, name)
        if outcome == "changed" and isinstance(names, _Inside):
            names.clear_folder()
        if outcome == "vanished" and isinstance(names, _Inside):
            names.clear_folder()
        if outcome != "failed":
            for key in [key for key in self.world.accounts if key[0] == task]:
                self.world.accounts.pop(key, None)
            self.world.remove_lock(task)
        self.world.tell("porter", task, outcome, detail)
        self.tell(lambda now: i.FrameFiled(now, task, outcome, detail))

    def move(self, task: str, place: Place, names: dict[str, Any], name: str) -> Iterator[float]:
        world = self.world
        frame = world.pool.get(place)
        if frame is None:
            return ("filed", name) if name in names else ("vanished", "")
        if frame.task != task:
            return "changed", ""
        yield world.soon()
        if world.trouble and world.rng.random() < 0.5:
            world.struck("porter_trouble")
            return "failed", "no space left on device"
        if frame.links and name not in names:
            world.link(names, name, frame)
        yield world.soon()
        world.sync()
        yield world.soon()
        if world.pool.get(place) is frame:
            world.unlink(world.pool, place)
            world.node.looked(place)
        yield world.soon()
        world.sync()
        return "filed", name

    def set_aside(self, order: effects.Quarantine) -> Iterator[float]:
        world, task = self.world, order.task
        if task in world.products:
            self.tell(lambda now: i.FrameFiled(now, task, "published", "night"))
            return
        folder = world.quarantine.setdefault(task, Folder(order.entry.place, (), False, ""))
        folder.failures, folder.incomplete, folder.fingerprint = order.failures, order.incomplete, self.fingerprint
        yield world.soon()
        yield from self.file(task, order.entry.place, _Inside(world.quarantine, task), task)

    def bring_back(self, task: str) -> Iterator[float]:
        world = self.world
        folder = world.quarantine.get(task)
        if folder is None:
            return "no such task"
        frame, place = folder.frame, folder.place
        if frame is not None:
            if world.pool.get(place, frame) is not frame:
                return "the pool holds another"
            frame.failed = 0
            if place not in world.pool:
                world.link(world.pool, place, frame)
                world.node.looked(place)
            yield world.soon()
            world.sync()
            yield world.soon()
            inside = _Inside(world.quarantine, task)
            if task in inside:
                world.unlink(inside, task)
            yield world.soon()
            world.sync()
        if folder.frame is None and world.quarantine.get(task) is folder:
            del world.quarantine[task]
        return ""


class _Inside(dict[str, Frame]):
    """The one place for a frame in a quarantine folder, as a mapping."""

    def __init__(self, quarantine: dict[str, Folder], task: str) -> None:
        super().__init__()
        self.quarantine, self.task = quarantine, task

    def __contains__(self, name: object) -> bool:
        folder = self.quarantine.get(self.task)
        return folder is not None and folder.frame is not None

    def __setitem__(self, name: str, frame: Frame) -> None:
        self.quarantine.setdefault(self.task, Folder(frame.place, (), False, "")).frame = frame

    def __delitem__(self, name: str) -> None:
        self.quarantine[self.task].frame = None

    def get(self, name: str, default: Any = None) -> Any:
        return self.quarantine[self.task].frame if name in self else default

    def pop(self, name: str, default: Any = None) -> Any:
        frame = self.get(name, default)
        self.quarantine[self.task].frame = None
        return frame

    def clear_folder(self) -> None:
        if self.task in self.quarantine and self.task not in self:
            del self.quarantine[self.task]


class Nursery(Helper):
    """Forks."""

    name = "nursery"

    def serve(self, order: Order) -> Iterator[float]:
        match order:
            case ("preload",):
                yield 0.5 + self.world.rng.random()
                self.tell(None)
            case effects.Start():
                yield self.world.soon()
                self.fork(order)

    def fork(self, order: effects.Start) -> None:
        """A runner, that outlives us all; and its pid to ast3d, if there is one."""
        world, task, attempt = self.world, order.task, order.attempt
        world.count += 1
        pid = world.count
        world.tell("fork", task, attempt, pid, "orphan" if self.orphan else "")
        Runner(world, order, pid)
        if self.orphan:
            world.late[task] += 1
            world.struck("late_worker")
        self.tell(lambda now: i.WorkerSpawned(now, task, attempt, pid))
