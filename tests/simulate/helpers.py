"""Scout and nursery, order by order and step by step; each can end between any two, and its orders with it."""

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from ast3d import effects
from ast3d import inputs as i
from ast3d.task import Place, Sighting
from tests.simulate.runner import Runner
from tests.simulate.world import World

Telling = Callable[[float], i.Input]
Order = Any  # an effect, or a tuple of what the shell tells by itself
SCAN_SECONDS = 30.0


class Helper:
    """A process that serves one ast3d.  When that dies, it may still do what it has been sent.

    It does so at once, and the next ast3d's helpers find it done.
    """

    name: str

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
        hasty = self.orphan
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
                    if night:
                        self.world.sync()
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
