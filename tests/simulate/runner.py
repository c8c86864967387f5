"""The runner, step by step as `ast3d.runner` does it; it can be killed between any two."""

from collections.abc import Iterator

from ast3d.effects import Start
from tests.simulate.books import ViolationError
from tests.simulate.frames import Frame, outcome
from tests.simulate.world import Account, Lock, World, finished


class Runner:
    """One attempt."""

    def __init__(self, world: World, order: Start, pid: int) -> None:
        self.world, self.order, self.pid = world, order, pid
        self.key = (order.task, order.attempt)
        self.fingerprint = world.fingerprint
        self.working = self.deaf = self.asked = False
        self.turn = 0
        world.workers[pid] = self
        self.steps = self.run()
        self.lock = Lock()
        self.go_on(world.rng.random() * 0.02)  # until its account is written

    def go_on(self, delay: float) -> None:
        self.turn += 1
        turn = self.turn
        self.world.after(delay, lambda: self.advance(turn))

    def advance(self, turn: int) -> None:
        if turn != self.turn:
            return
        delay = next(self.steps, None)
        if self.turn < 0:
            return  # it was killed in this very step
        if delay is None:
            self.over()
        else:
            self.go_on(delay)

    def over(self) -> None:
        self.turn = -1
        if self.lock.pid == self.pid:
            self.lock.pid = 0
        self.world.ended(self)

    def kill(self) -> None:
        """SIGKILL to all of it, or the machine is down."""
        self.world.tell("worker", self.key, "is killed")
        self.over()

    def terminate(self) -> None:
        """SIGTERM ends the work; the runner tells."""
        self.asked = True
        if self.working and not self.deaf:
            self.go_on(0.01)

    def run(self) -> Iterator[float]:
        world, order = self.world, self.order
        account = Account(order.task, order.attempt, order.entry, self.pid, world.boottime, fingerprint=self.fingerprint)
        if world.trouble and world.rng.random() < 0.3:
            return  # no room even for the account
        world.account(account)
        yield world.soon()
        frame = world.pool.get(order.entry.place)
        if frame is None:
            return world.account(finished(account, reason="the frame has left the pool", blame="environment", changed=True))
        self.lock = world.locks.setdefault(order.task, self.lock)
        if self.lock.pid:
            return world.account(finished(account, reason="another worker is at this frame already", blame="environment"))
        self.lock.pid = self.pid
        yield world.soon()
        if order.task in world.products:
            world.sync()
            return world.account(finished(account, night="night"))
        if not self.unchanged(frame):
            return world.account(finished(account, reason="the frame was changed", blame="environment", changed=True))
        yield from self.work(account, frame)
        return None

    def work(self, account: Account, frame: Frame) -> Iterator[float]:
        """The work proper, and what it comes to."""
        world = self.world
        self.check_alone()
        self.working = True
        ends = outcome(frame, world.rng)
        frame.tried_under = self.fingerprint
        self.deaf = ends.deaf
        world.tell("worker", self.key, frame.kind, ends.what, round(ends.seconds, 2))
        yield 1e9 if ends.what == "never" else ends.seconds
        self.working = False
        if ends.what == "down" and not self.asked:
            world.struck("killer")
            world.cut_power()
            return
        if ends.what == "lost":
            world.struck("worker_lost")
            return
        if not self.unchanged(frame):
            world.account(finished(account, reason="the frame was changed", blame="environment", changed=True))
        elif world.trouble:
            world.struck("trouble")
            world.account(finished(account, reason="no space left for products", blame="environment"))
        elif self.asked:
            self.fail(account, frame, "ended by SIGTERM", retriable=True)
        elif ends.what in ("failed", "killed") and ends.blame == "frame":
            self.fail(account, frame, ends.reason, ends.retriable)
        elif ends.what in ("failed", "killed"):
            world.struck("out_of_memory" if ends.what == "killed" else "sloppy_worker")
            world.account(finished(account, reason=f"{ends.reason} {account.task}", blame="environment"))
        else:
            yield from self.publish(account)

    def fail(self, account: Account, frame: Frame, reason: str, retriable: bool) -> None:
        frame.failed += 1
        self.world.account(finished(account, reason=reason, retriable=retriable))

    def publish(self, account: Account) -> Iterator[float]:
        world = self.world
        yield world.soon()
        world.publish(account.task)
        world.tell("worker", self.key, "published")
        yield world.soon()
        world.sync()
        yield world.soon()
        world.account(finished(account, night="night"))
        yield world.soon()

    def unchanged(self, frame: Frame) -> bool:
        named = self.world.pool.get(frame.place)
        return frame.task == self.order.task and frame.entry == self.order.entry and named in (None, frame)

    def check_alone(self) -> None:
        for other in self.world.workers.values():
            if other is not self and other.key[0] == self.key[0] and other.working:
                raise ViolationError(f"two workers are at {self.key[0]}: {other.key} and {self.key}")
