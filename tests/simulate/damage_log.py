"""A relog that the real writer has written through crashes, failed syncs and snapshots; and what is known of it.

`fold` is what its records mean, told without the product's own fold and without its codec: from the records as they were
made.  The same seed writes the same bytes.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace

from ast3d import records as r
from ast3d.codec import encode
from ast3d.common.relog import relog
from ast3d.common.relog.relog import Entry, Relog, RelogError
from ast3d.state import State
from ast3d.task import Breaker, Failure, Place, Task
from ast3d.task import Entry as PoolEntry
from tests.simulate.damage_disk import KeepingDisk, StopError

BOOTS = tuple(f"c0ffee00-0000-4000-8000-{number:012}" for number in range(4))
SEGMENT = 7168
FRAMES = 8


@contextmanager
def seeded_uuids(rng: Random) -> Iterator[None]:
    """The UUIDs of segments are the only thing in a log that a seed would not repeat."""
    before = relog.os
    relog.os = SimpleNamespace(urandom=rng.randbytes, strerror=os.strerror)  # type: ignore[assignment]
    try:
        yield
    finally:
        relog.os = before


@dataclass
class Meaning:
    """What a list of records amounts to."""

    tasks: dict[str, tuple[str, int, int, bool]] = field(default_factory=dict)  # phase, attempt, failures, suspect
    done: int = 0
    discarded: int = 0
    paused_until: float = 0.0
    breaker: Breaker | None = None


def meaning_of(state: State) -> Meaning:
    """The same of a state of ast3d."""
    tasks = {task.id: _brief(task) for task in state.tasks.values()}
    return Meaning(tasks, state.done, state.discarded, state.paused_until, state.breaker)


def _brief(task: Task) -> tuple[str, int, int, bool]:
    return task.phase, task.attempt, len(task.failures), task.suspect


def fold(records: Iterable[r.Durable]) -> Meaning:  # noqa: C901 - a table of cases
    """What is known after these records."""
    m = Meaning()
    for record in records:
        match record:
            case r.Kept(task):
                m.tasks[task.id] = _brief(task)
            case r.Totals():
                m.done, m.discarded = record.done, record.discarded
                m.paused_until, m.breaker = record.paused_until, record.breaker
            case r.Accepted():
                m.tasks[record.task] = ("READY", 0, 0, False)
            case r.Filed() | r.Vanished():
                m.tasks.pop(record.task, None)
            case r.Paused():
                m.paused_until = record.until
            case r.Resumed():
                m.paused_until = 0.0
            case r.BreakerOpened():
                m.breaker = record.breaker
            case r.BreakerClosed():
                m.breaker = None
            case r.Done():
                phase, attempt, failures, suspect = m.tasks.get(record.task, ("READY", 0, 0, False))
                m.discarded -= phase == "DISCARDED"
                m.done += not record.credited
                m.tasks[record.task] = ("DONE", attempt, failures, suspect)
            case r.Discarded():
                _, attempt, failures, suspect = m.tasks.get(record.task, ("READY", 0, 0, False))
                m.discarded += 1
                m.tasks[record.task] = ("DISCARDED", attempt, failures + (record.failure is not None), suspect)
            case r.Started() | r.Failed() | r.Suspected() if record.task in m.tasks:
                m.tasks[record.task] = _worked(m.tasks[record.task], record)
    return m


def _worked(task: tuple[str, int, int, bool], record: r.Started | r.Failed | r.Suspected) -> tuple[str, int, int, bool]:
    phase, attempt, failures, suspect = task
    if isinstance(record, r.Started):
        return "RUNNING", record.attempt, failures, suspect
    if isinstance(record, r.Failed):
        return "FAILED", attempt, failures + 1, suspect
    return phase, attempt, failures, True


class Log:
    """What was done with one relog.  `acknowledged`: numbers whose commit returned, and that were not let go.

    Each process begins with a snapshot, as ast3d does (`ast3d.core.Core.firm`): what it has read may never have been synced.
    `violation` is empty, or says what its own processes have not found of each other.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = Random(f"log {seed}")
        self.disk = KeepingDisk(self.rng)
        self.appended: dict[int, list[tuple[Entry, r.Durable]]] = {}
        self.acknowledged: set[int] = set()
        self.highest = 0  # that was ever acknowledged
        self.now = 100.0
        self.violation = ""
        with seeded_uuids(self.rng):
            self._write()

    def record(self, entry: Entry) -> r.Durable | None:
        """The record that was appended as this entry, bit for bit; None if none was."""
        return next((record for known, record in self.appended.get(entry.seq, ()) if known == entry), None)

    def _write(self) -> None:
        processes = self.rng.randint(1, 4)
        for process in range(processes):
            log = self._begin(BOOTS[process])
            try:
                while process and not self._snapshot(log):
                    pass
                for _ in range(self.rng.randint(8, 40)):
                    self.disk.full = self.rng.random() < 0.6
                    self._group(log)
                self._last_words(log, final=process == processes - 1)
            except StopError:
                pass
            if process < processes - 1:
                self.rng.choice((self.disk.cut_power, self.disk.kill))()

    def _begin(self, boot: str) -> Relog:
        log = Relog(self.disk, boot, SEGMENT)
        self.boot = boot
        recovered = log.recover()
        found = {entry.seq for entry in recovered.entries}
        if lost := self.acknowledged - found:
            self.violation = f"{sorted(lost)[:5]} were lost while it was written, without damage"
        for entry in recovered.entries:
            if (record := self.record(entry)) is None:
                self.violation = f"record {entry.seq} is not as it was appended, without damage"
            else:
                self.appended[entry.seq] = [(entry, record)]  # whatever else had this number was lost
        self.highest = max([self.highest, *found])
        return log

    def _group(self, log: Relog) -> None:
        """Some records, one commit; sometimes its sync fails, and the next one too."""
        if self.rng.random() < 0.12:
            self._snapshot(log)
            return
        for _ in range(self.rng.randint(1, 4)):
            self._append(log, self._a_record())
        self.disk.failing = self.rng.choices((0, 1, 2), (20, 3, 1))[0]
        self._commit(log)

    def _snapshot(self, log: Relog) -> bool:
        first = log.next_seq
        for number in range(FRAMES):
            if self.rng.random() < 0.5:
                task = Task(f"frame{number}", _entry(number), "FAILED", self.now, self.now, attempt=self.rng.randint(1, 3))
                self._append(log, r.Kept(task))
        self._append(log, r.Totals(first, self.boot, stopped=False, done=self.rng.randint(0, 99), discarded=3,
                                   paused_until=0.0, breaker=None))  # fmt: skip
        if not self._commit(log):
            return False
        log.forget(first)
        left = {entry.seq for entry in Relog(self.disk, self.boot, SEGMENT)._read().entries}
        self.acknowledged = {seq for seq in self.acknowledged if seq >= first or seq in left}
        return True

    def _last_words(self, log: Relog, *, final: bool) -> None:
        """The process ends in the middle of something, or has ended well."""
        if self.rng.random() < 0.1:
            log.close()
            return
        for _ in range(self.rng.randint(3, 9) if final else self.rng.randint(1, 4)):
            self._append(log, self._a_record())
        self.disk.failing = self.rng.random() < 0.15
        self.disk.full = False
        before_sync, anywhere = 2, self.rng.randint(1, 12)
        self.disk.calls = self.rng.choices((1, before_sync, anywhere), (2, 6, 2))[0]
        self._commit(log)

    def _append(self, log: Relog, record: r.Durable) -> None:
        self.now += 0.5
        kind, version, payload = encode(record)
        seq = log.append(kind, version, payload, self.now)
        self.appended.setdefault(seq, []).append((Entry(seq, kind, version, self.now, self.boot, payload), record))

    def _commit(self, log: Relog) -> bool:
        pending = set(range(log.next_seq - log.pending, log.next_seq))
        try:
            log.commit()
        except RelogError:
            self.disk.full, self.disk.failing = False, 0
            log.restart()
            return False
        self._acknowledge(pending)
        return True

    def _acknowledge(self, seqs: set[int]) -> None:
        self.acknowledged |= seqs
        self.highest = max([self.highest, *seqs])

    def _a_record(self) -> r.Durable:
        rng, now = self.rng, self.now
        number = rng.randrange(FRAMES)
        task, entry, attempt = f"frame{number}", _entry(number), rng.randint(1, 3)
        failure = Failure(attempt, "exit status 1 " * rng.randint(0, 4), "frame", 1.5, "x" * rng.randint(0, 300))
        makers = (
            lambda: r.Accepted(now, task, entry),
            lambda: r.Started(now, task, attempt),
            lambda: r.Failed(now, task, failure, now + 60),
            lambda: r.Done(now, task, entry, "20261120", credited=rng.random() < 0.3),
            lambda: r.Discarded(now, task, entry, "it never worked", "frame", failure if rng.random() < 0.7 else None),
            lambda: r.Suspected(task, 1),
            lambda: r.Filed(task),
            lambda: rng.choice((r.Paused(now + 900), r.Resumed(), r.Vanished(task))),
            lambda: rng.choice((r.BreakerOpened(Breaker("full", "no room", now, now + 60)), r.BreakerClosed())),
        )
        return rng.choices(makers, (5, 5, 4, 3, 1, 1, 2, 1, 1))[0]()


def _entry(number: int) -> PoolEntry:
    return PoolEntry(Place("north", f"frame{number}.fits"), 1000 + number, 10**18 + number)
