"""The world around ast3d: clock, machine, pool, products, archive, quarantine, accounts, and who runs.

Nothing here decides.  Folders are journaled, as ext4 and xfs do it: a power cut undoes the last changes that nobody synced.
Everything is driven by one seeded generator and one queue of what happens when, so that a seed is a history.
"""

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Protocol
from uuid import UUID

from ast3d.policy import Policy
from ast3d.task import Blame, Entry, Failure, Place
from tests.simulate.books import Books, ViolationError
from tests.simulate.disk import CrashError, SimDisk
from tests.simulate.frames import Frame

Key = tuple[str, int]  # task, attempt


@dataclass(frozen=True, slots=True)
class Account:
    """state/attempts/TASK.N.json"""

    task: str
    attempt: int
    entry: Entry
    pid: int
    started: float
    ended: bool = False
    night: str = ""
    reason: str = ""
    blame: Blame = "frame"
    retriable: bool = True
    changed: bool = False
    fingerprint: str = ""


@dataclass(slots=True)
class Lock:
    """state/attempts/TASK.lock, the file; removed, it still locks who has it open."""

    pid: int = 0


@dataclass(slots=True)
class Folder:
    """quarantine/TELESCOPE/FRAME-ID/"""

    place: Place
    failures: tuple[Failure, ...]
    incomplete: bool
    fingerprint: str
    frame: Frame | None = None


class Worker(Protocol):
    """A runner, as the world needs it."""

    pid: int
    key: Key
    working: bool

    def kill(self) -> None: ...
    def terminate(self) -> None: ...


class Daemon(Protocol):
    """ast3d, as the world needs it."""

    up: bool

    def notice(self, worker: Worker) -> None: ...
    def looked(self, place: Place) -> None: ...
    def die(self) -> None: ...
    def boot(self) -> None: ...
    def states(self) -> set[str]: ...


class World:
    """Everything but ast3d itself."""

    node: Daemon

    def __init__(self, seed: int, policy: Policy) -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.policy = policy
        self.now = 1000.0
        self.boot = 0
        self.up = True
        self.long_suspend = False  # so long that workers seem to hang
        self.boot_began = 990.0
        self.queue: list[tuple[float, int, int, Callable[[], None]]] = []
        self.count = 0
        self.history: list[tuple[Any, ...]] = []
        self.faults: Counter[tuple[str, str]] = Counter()  # kind x state
        self.injected = self.in_flight = 0
        self.disk = SimDisk(self.rng, self.point, self.struck)
        self.books = Books()
        self.armed: tuple[int, str, str] | None = None  # (so many points on, kill or power, where)
        self.trouble = False
        self.fingerprint = "1"
        self.frames: list[Frame] = []
        self.pool: dict[Place, Frame] = {}
        self.archive: dict[str, Frame] = {}
        self.quarantine: dict[str, Folder] = {}
        self.products: set[str] = set()
        self.accounts: dict[Key, Account] = {}
        self.locks: dict[str, Lock] = {}
        self.workers: dict[int, Worker] = {}
        self.journal: list[Callable[[], None]] = []
        self.alone_at_cuts: Counter[str] = Counter()  # at which a task was the only one at work, by what ast3d knew
        self.justified = 0  # frames given up for bringing the machine down
        self.late: Counter[str] = Counter()  # executions that ast3d could not know of when it gave the attempt up

    # --- time

    @property
    def boottime(self) -> float:
        return self.now - self.boot_began

    @property
    def boot_id(self) -> str:
        return str(UUID(int=self.boot + 1))

    def at(self, delay: float, do: Callable[[], None]) -> None:
        """In some seconds, whatever happens meanwhile."""
        self.count += 1
        heapq.heappush(self.queue, (self.now + delay, self.count, -1, do))

    def after(self, delay: float, do: Callable[[], None]) -> None:
        """In some seconds, if the machine is up until then."""
        self.count += 1
        heapq.heappush(self.queue, (self.now + delay, self.count, self.boot, do))

    def step(self) -> bool:
        """The next thing happens; False: nothing will."""
        while self.queue:
            when, _, boot, do = heapq.heappop(self.queue)
            if boot in (-1, self.boot):
                self.now = max(self.now, when)
                try:
                    do()
                except CrashError as crash:
                    self.crash(crash.kind)
                return True
        return False

    def tell(self, *what: Any) -> None:
        """For the one who reads the history."""
        self.history.append((round(self.now, 3), *what))

    def soon(self, least: float = 0.0005, most: float = 0.02) -> float:
        """A little while; now and then a long one."""
        random = self.rng.random()
        return least + random * most if random < 0.97 else random * 3.0

    def suspend(self, seconds: float) -> None:
        """All that runs stands still; the clock does not."""
        self.queue = [(when if boot < 0 else when + seconds, count, boot, do) for when, count, boot, do in self.queue]
        heapq.heapify(self.queue)
        self.now += seconds
        self.long_suspend |= seconds > self.policy.soft_seconds / 4

    # --- faults

    def struck(self, kind: str) -> None:
        """A fault takes effect."""
        states = self.node.states()
        for state in states or {"none"}:
            self.faults[kind, state] += 1
        self.injected += 1
        self.in_flight += "RUNNING" in states
        self.tell("FAULT", kind)
        if kind == "read_error":
            self.books.read_failed = True

    def point(self, where: str) -> None:
        """A place where ast3d may end."""
        if self.armed:
            points, kind, wanted = self.armed
            if wanted == "disk" or not where.startswith(("before", "after", "in")):
                self.armed = (points - 1, kind, wanted) if points else None
                if not points:
                    self.struck(f"{kind}_at_{wanted}")
                    self.tell("where", where)
                    raise CrashError(kind)

    def crash(self, kind: str) -> None:
        """ast3d is killed, or the power fails."""
        if kind == "kill":
            self.node.die()
            self.disk.kill()
        else:
            self.cut_power()

    def cut_power(self) -> None:
        """Everything that runs is gone, and what was not synced, maybe."""
        self.node.die()
        self.disk.cut_power()
        at_work = len(self.workers)
        for worker in list(self.workers.values()):
            worker.kill()
        keep = self.rng.randrange(len(self.journal) + 1)
        for undo in reversed(self.journal[keep:]):
            undo()
        self.journal.clear()
        self.tell("the machine is down", f"{at_work} at work")
        self.look_for_lost()
        self.boot += 1
        self.up = False
        self.locks.clear()
        self.at(5.0 + self.rng.random() * 40, self.come_up)

    def come_up(self) -> None:
        self.up = True
        self.boot_began = self.now - 10.0
        self.node.boot()

    # --- the folders

    def look_for_lost(self) -> None:
        """Every frame is in the pool, the archive or the quarantine."""
        for frame in self.frames:
            if frame.links <= 0 and not frame.doomed:
                raise ViolationError(f"{frame.task} is lost")

    def sync(self) -> None:
        """A journal is written from its beginning."""
        self.journal.clear()

    def link(self, names: dict[Any, Frame], name: Any, frame: Frame) -> None:
        names[name] = frame
        frame.links += 1

        def undo() -> None:
            if names.get(name) is frame:
                del names[name]
                frame.links -= 1

        self.journal.append(undo)

    def unlink(self, names: dict[Any, Frame], name: Any) -> None:
        frame = names.pop(name)
        frame.links -= 1
        if frame.links <= 0 and not frame.doomed:
            raise ViolationError(f"the last name of {frame.task} is removed")

        def undo() -> None:
            if name not in names:
                names[name] = frame
                frame.links += 1

        self.journal.append(undo)

    def publish(self, task: str) -> None:
        """By one rename that replaces nothing."""
        if task not in self.products:
            self.products.add(task)
            self.journal.append(lambda: self.products.discard(task))

    def drop(self, frame: Frame) -> None:
        """Somebody puts a file into the pool, over the one that may be there."""
        if before := self.pool.get(frame.place):
            before.doomed = True
            before.links -= 1
        self.frames.append(frame)
        self.pool[frame.place] = frame
        self.node.looked(frame.place)

    def account(self, account: Account) -> None:
        """Written durable; the disk of the state may be in trouble."""
        self.accounts[account.task, account.attempt] = account

    def ended(self, worker: Worker) -> None:
        """A runner's process is gone."""
        del self.workers[worker.pid]
        self.node.notice(worker)

    def is_held(self, task: str) -> bool:
        """Whether a runner has the lock that has this name."""
        return task in self.locks and self.locks[task].pid != 0

    def remove_lock(self, task: str) -> None:
        """Whoever holds it goes on holding a file that has no name any more."""
        self.locks.pop(task, None)

    def take_away(self, frame: Frame) -> None:
        """Somebody removes a frame from the pool."""
        del self.pool[frame.place]
        frame.doomed = True
        frame.links -= 1
        self.node.looked(frame.place)

    def alive(self, key: Key) -> list[Worker]:
        return [worker for worker in self.workers.values() if worker.key == key]

    def stands(self, account: Account) -> bool:
        """Whether the very process that wrote it is alive."""
        return not account.ended and account.pid in self.workers


def finished(account: Account, **result: Any) -> Account:
    """The account, when all is over."""
    return replace(account, ended=True, **result)
