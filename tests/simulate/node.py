"""ast3d: the real core, and what `ast3d.shell` does around it, with an end possible before and after each effect."""

from dataclasses import replace
from functools import partial

from ast3d import effects
from ast3d import inputs as i
from ast3d.state import State
from ast3d.task import Place
from tests.simulate import checks
from tests.simulate.books import ViolationError, WatchedCore, WatchedRelog
from tests.simulate.helpers import Helper, Nursery, Scout, Telling
from tests.simulate.porter import Porter
from tests.simulate.world import Account, Key, Worker, World

SEGMENT_BYTES = 16384
SPINS = 60  # so many turns at one instant, with nothing new, are a loop
KINDS = {"scout": Scout, "porter": Porter, "nursery": Nursery}


class Node:
    """One machine's ast3d, started again whenever it has ended."""

    core: WatchedCore

    def __init__(self, world: World) -> None:
        self.world = world
        self.up = False
        self.life = 0
        self.known = State()  # by this ast3d, or by the last one until this one has recovered
        self.waking = 0
        self.quiet = 0
        self.inputs: list[i.Input] = []
        self.crew: dict[str, Helper] = {}
        self.pauses: dict[str, float] = {}
        self.again: dict[str, float] = {}
        self.watched: dict[Key, int] = {}
        self.porter_begun = self.tidied = False
        self.clean = False  # it was asked to stop
        self.ending = False  # it says that it may end now

    # --- life and death

    def boot(self) -> None:
        if not self.up:
            life = self.life
            self.world.after(0.1 + self.world.rng.random(), lambda: life == self.life and self.start())

    def die(self) -> None:
        """Killed: helpers find out, workers do not care."""
        if self.up:
            self.world.tell("ast3d is gone")
            if self.known is self.core.state:
                self.world.books.compare(self.known)
        self.up = False
        self.life += 1
        self.world.armed = None
        for helper in self.crew.values():
            helper.leave()
        self.crew, self.again, self.pauses, self.watched, self.inputs = {}, {}, {}, {}, []
        self.boot()

    def start(self) -> None:
        world = self.world
        world.tell("ast3d starts")
        self.up, self.clean, self.ending, self.quiet = True, False, False, 0
        self.porter_begun = self.tidied = False
        relog = WatchedRelog(world.disk, world.boot_id, SEGMENT_BYTES)
        relog.books = world.books
        self.core = WatchedCore(relog)
        self.inputs = [i.ConfigurationRead(world.boottime, world.policy, "")]
        if losses := self.core.recover().losses:
            self.inputs.append(i.RecordsLost(world.boottime, losses))
        self.known = self.core.state
        self.count_cuts()
        self.inputs.append(i.DaemonBegan(world.boottime, world.boot_id))
        keep = self.find_workers()
        self.keep = keep
        self.settle()
        self.core.commit(world.boottime)
        self.begin("scout")
        self.wake(0.0)

    def count_cuts(self) -> None:
        """Who was the only one at work when the machine went down."""
        state = self.core.state
        if state.boot_id not in ("", self.world.boot_id) and not state.stopped:
            running = state.phases["RUNNING"]
            self.world.alone_at_cuts.update(list(running) if len(running) == 1 else [])

    def stop(self) -> None:
        """SIGTERM."""
        self.world.point("stopping")
        self.core.take(i.DaemonStops(self.world.boottime))
        self.core.commit(self.world.boottime)
        self.core.close()
        self.clean = True

    def states(self) -> set[str]:
        """Of the tasks that ast3d knows, or knew last."""
        state = self.known
        known = {phase for phase, tasks in state.phases.items() if tasks}
        return known | {"SEEN"} if state.waiting else known

    # --- the loop

    def wake(self, delay: float) -> None:
        """A turn, then, and not at any time that was said before."""
        self.waking += 1
        waking, life = self.waking, self.life
        self.world.after(delay, lambda: (waking, life) == (self.waking, self.life) and self.up and self.turn())

    def hear(self, life: int, helper: Helper, telling: Telling | None) -> None:
        if life != self.life or not self.up or self.crew.get(helper.name) is not helper:
            return None
        now = self.world.boottime
        if helper.name == "porter" and not self.tidied:
            self.tidied = True
            self.begin("nursery")
        if helper.name not in self.core.state.helpers:
            self.put(i.HelperUp(now, helper.name))
        if telling is None:
            return self.wake(0.0)
        said = telling(now)
        self.put(said)
        if isinstance(said, i.WorkerSpawned):
            self.watch(said.task, said.attempt, said.pid)
        return None

    def put(self, given: i.Input) -> None:
        self.inputs.append(given)
        self.quiet = 0
        self.wake(0.0)

    def turn(self) -> None:
        now = self.world.boottime
        for name in [name for name, when in self.again.items() if when <= now]:
            self.begin(name)
        self.inputs.append(i.Tick(now))
        self.settle()
        if not self.porter_begun and self.core.state.scanned and self.core.firm:
            self.porter_begun = True
            self.begin("porter")
        if self.ending:
            self.stop()
            self.world.crash("kill")
            return
        due = min([self.core.next_due(now), *self.again.values()])
        self.quiet += 1
        if due > now:
            self.quiet = 0
        elif self.quiet > SPINS:
            raise ViolationError(f"{SPINS} turns at {now}, and nothing to do")
        if due < 1e12:
            self.wake(min(max(due - now, 0.0), 60.0) + 1e-9 * (due > now))

    def settle(self) -> None:
        while self.inputs:
            self.core.take(self.inputs.pop(0))
        for effect in self.core.settle(self.world.boottime):
            self.world.point(f"effect {type(effect).__name__}")
            self.do(effect)
        self.world.point("turn done")

    # --- effects

    def do(self, effect: effects.Effect) -> None:
        checks.carried_out(self.world, self, effect)
        match effect:
            case effects.Log(_, event, fields):
                self.world.tell(event, fields)
            case effects.Reply():
                pass
            case effects.Kill(task, attempt, _, signal):
                self.signal((task, attempt), signal)
            case effects.End():
                self.ending = True
            case effects.Start():
                self.send("nursery", effect)
            case effects.Identify() | effects.Look() | effects.WatchGrowth():
                self.send("scout", effect)
            case effects.Archive() | effects.Quarantine() | effects.Restore() | effects.Reconsider():
                self.send("porter", effect)

    def signal(self, key: Key, signal: str) -> None:
        worker = self.world.workers.get(self.watched.get(key, 0))
        if worker is None:
            return
        self.world.struck(f"limit_{signal}")
        if signal == "TERM":
            worker.terminate()
        else:
            worker.kill()

    def send(self, name: str, order: object) -> None:
        if helper := self.crew.get(name):
            helper.send(order)

    # --- helpers

    def begin(self, name: str) -> None:
        self.again.pop(name, None)
        helper = self.crew[name] = KINDS[name](self.world, partial(self.hear, self.life))
        if name == "scout":
            helper.send(("scan",))
        elif name == "porter":
            helper.send(("ping",) if self.tidied else ("tidy", self.keep))
        else:
            helper.send(("preload",))

    def lose(self, helper: Helper) -> None:
        """A helper's process has ended."""
        world, name = self.world, helper.name
        helper.alive = False
        if self.crew.get(name) is not helper:
            return
        life = self.life

        def learn() -> None:
            if life != self.life or self.crew.get(name) is not helper:
                return
            del self.crew[name]
            self.pauses[name] = 0.0 if world.now - helper.began > 60 else min(self.pauses.get(name, 0.0) * 2 or 0.1, 60.0)
            self.again[name] = world.boottime + self.pauses[name]
            if name == "nursery":
                for account in self.running():
                    if (account.task, account.attempt) not in self.watched:
                        self.put(i.WorkerSpawned(world.boottime, account.task, account.attempt, account.pid))
                        self.watch(account.task, account.attempt, account.pid)
            self.put(i.HelperDown(world.boottime, name, "ended"))

        world.after(max(helper.told_at - world.now, 0.0) + 0.001, learn)

    def looked(self, place: Place) -> None:
        """The kernel tells the scout that something happened at a place."""
        if scout := self.crew.get("scout"):
            scout.send(("event", place))

    # --- workers

    def running(self) -> list[Account]:
        return [account for _, account in sorted(self.world.accounts.items()) if self.world.stands(account)]

    def find_workers(self) -> set[Key]:
        world, running = self.world, self.running()
        for a in running:
            self.inputs.append(i.WorkerFound(world.boottime, a.task, a.entry, a.attempt, a.pid, a.started))
            self.watch(a.task, a.attempt, a.pid)
        alive = {(account.task, account.attempt) for account in running}
        for task in self.core.state.within("RUNNING"):
            if (task.id, task.attempt) not in alive:
                self.ended((task.id, task.attempt))
        return alive

    def watch(self, task: str, attempt: int, pid: int) -> None:
        if pid in self.world.workers:
            self.watched[task, attempt] = pid
        else:
            self.ended((task, attempt))

    def notice(self, worker: Worker) -> None:
        if self.up and self.watched.get(worker.key) == worker.pid:
            life = self.life
            self.world.after(0.001, lambda: life == self.life and self.up and self.ended(worker.key))

    def ended(self, key: Key) -> None:
        self.watched.pop(key, None)
        a = self.world.accounts.get(key)
        now = self.world.boottime
        under = a.fingerprint if a else ""
        if a is None or not a.ended:
            reason = "the worker was killed, or ended without a word"
            ended = i.WorkerEnded(now, *key, "", reason, "environment", retriable=True, tail="", lost=True)
        else:
            ended = i.WorkerEnded(now, *key, a.night, a.reason, a.blame, retriable=a.retriable, tail="", changed=a.changed)
        self.put(replace(ended, fingerprint=under))
