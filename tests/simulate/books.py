"""What was said to the relog, kept beside it: what every recovery must give back."""

from collections import defaultdict
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any

from ast3d import inputs as i
from ast3d import records as r
from ast3d.attempts import ENDED_BY_OPERATOR
from ast3d.codec import decode
from ast3d.common.relog.relog import Recovered, Relog, RelogError
from ast3d.core import Core, Recovery
from ast3d.fold import apply
from ast3d.state import State
from ast3d.task import Task


class ViolationError(Exception):
    """Something that must never be."""


_VOLATILE = ("pid", "stage", "progress_at", "filing")  # what a task tells of this ast3d alone
_durable = attrgetter(*(field.name for field in fields(Task) if field.name not in _VOLATILE))


def view(state: State) -> dict[str, Any]:
    """The part of the state that outlives ast3d."""
    return {
        "tasks": {task.id: _durable(task) for task in state.tasks.values()},
        "done": state.done,
        "discarded": state.discarded,
        "paused_until": state.paused_until,
        "breaker": state.breaker,
        "causes": state.causes,
        "torn": state.torn,
        "losses": state.losses,
        "boot_id": state.boot_id,
        "stopped": state.stopped,
    }


def _copied(state: State) -> State:
    """Tasks never change; what holds them does."""
    phases = {phase: dict(tasks) for phase, tasks in state.phases.items()}
    return replace(
        state,
        tasks=dict(state.tasks),
        phases=phases,
        places=dict(state.places),
        torn=dict(state.torn),
        causes=dict(state.causes),
    )


def differences(wanted: dict[str, Any], found: dict[str, Any]) -> str:
    """In words."""
    parts = [
        f"{key}: {wanted[key]!r} became {found[key]!r}" for key in wanted if key != "tasks" and wanted[key] != found[key]
    ]
    before, after = wanted["tasks"], found["tasks"]
    parts += [
        f"{task}: {before.get(task)} became {after.get(task)}"
        for task in sorted({*before, *after})
        if before.get(task) != after.get(task)
    ]
    return "; ".join(parts)


class Books:
    """Every record since the last whole snapshot, and which of them were acknowledged."""

    def __init__(self) -> None:
        self.records: dict[int, r.Record] = {}
        self.payloads: dict[int, set[bytes]] = {}  # ever appended under a number, by whichever ast3d
        self.newest = 0  # the last whole snapshot's end
        self.acknowledged: set[int] = set()
        self.pending: list[int] = []
        self.floor = 0  # records before it are needless
        self.fold = State()  # of all that was acknowledged, or recovered
        self.broken = False  # the relog could not be written, and has said so, since the last whole snapshot
        self.losses = 0  # how often acknowledged records were lost and reported, or a broken relog forgot
        self.read_failed = False  # the disk refused to read during this recovery
        self.started: set[tuple[str, int]] = set()  # durable
        self.judged: set[str] = set()  # DONE or DISCARDED, durable
        self.pardoned: defaultdict[str, set[int]] = defaultdict(set)  # attempts that an operator ended, whatever they say

    def appended(self, seq: int, record: r.Record, payload: bytes) -> None:
        if seq in self.records:
            raise ViolationError(f"the sequence number {seq} was given twice")
        self.records[seq] = record
        self.payloads.setdefault(seq, set()).add(payload)
        self.pending.append(seq)

    def committed(self) -> None:
        """All that is pending is acknowledged."""
        pending, self.pending = self.pending, []
        self.acknowledged.update(pending)
        for seq in pending:
            record = self.records[seq]
            apply(self.fold, record)
            self._note(record)
            if isinstance(record, r.Totals):
                self.newest = seq
                self._begin_at(record.first)

    def given_up(self) -> None:
        """The relog said that it could not write."""
        self.pending, self.broken = [], True

    def _note(self, record: r.Record) -> None:
        if isinstance(record, r.Started):
            self.started.add((record.task, record.attempt))
        elif isinstance(record, (r.Done, r.Discarded)):
            self.judged.add(record.task)
        elif isinstance(record, r.Kept):
            self._note_kept(record.task)

    def _note_kept(self, task: Task) -> None:
        if task.phase == "RUNNING":
            self.started.add((task.id, task.attempt))
        elif task.phase in ("DONE", "DISCARDED"):
            self.judged.add(task.id)

    def _begin_at(self, first: int) -> None:
        """A snapshot is whole: it tells what everything before it told."""
        told = self._refold(first, max(self.records))
        if not self.broken and view(told) != view(self.fold):
            raise ViolationError(f"a snapshot tells something else: {differences(view(self.fold), view(told))}")
        self.fold, self.broken, self.floor = told, False, first
        for seq in [seq for seq in self.records if seq < first]:
            del self.records[seq]
        self.acknowledged = {seq for seq in self.acknowledged if seq >= first}

    def _refold(self, first: int, last: int, among: set[int] | None = None) -> State:
        state = State()
        for seq in sorted(self.records):
            if first <= seq <= last and (seq in self.acknowledged if among is None else seq in among):
                apply(state, self.records[seq])
        return state

    def found(self, recovered: Recovered) -> None:
        """Nothing that was never appended; everything that was acknowledged, or a report."""
        numbers = {entry.seq for entry in recovered.entries if entry.seq >= self.floor}
        for entry in recovered.entries:
            if entry.payload not in self.payloads.get(entry.seq, ()):
                raise ViolationError(f"record {entry.seq} ({entry.type}) came out and was never put in like this")
        lost = {seq for seq in self.acknowledged if seq not in numbers}
        told = [*recovered.report.missing]
        silent = [seq for seq in lost if not any(a <= seq <= b for a, b in told)]
        if silent and not self.read_failed:
            raise ViolationError(f"the acknowledged records {min(silent)} to {max(silent)} are gone without a report")
        if lost and not self.read_failed:
            raise ViolationError(f"the acknowledged records {min(lost)} to {max(lost)} are gone, and the disk had them")
        risen = numbers - self.records.keys()  # could not be read the last time
        snapshots = [entry.seq for entry in recovered.entries if entry.type == "Totals"]
        if self.newest in self.acknowledged and snapshots and max(snapshots) in risen:
            raise ViolationError(f"the snapshot {max(snapshots)} is back and hides the newer one, {self.newest}")
        if lost or risen or self.broken:
            self.losses += 1
        self.pending = []
        self.expected = None
        if not lost and not risen and not self.broken:
            self.expected = self.fold
            if numbers != self.acknowledged:
                self.expected = self._refold(self._last_whole(numbers), max(numbers, default=0), numbers)

    def _last_whole(self, numbers: set[int]) -> int:
        """Where the last snapshot begins of which everything is there."""
        for seq in sorted(numbers, reverse=True):
            record = self.records[seq]
            if isinstance(record, r.Totals) and numbers.issuperset(range(record.first, seq)):
                return record.first
        return self.floor

    def folded(self, recovered: Recovered, state: State) -> None:
        """The state after a recovery is the one that was remembered."""
        if self.expected is not None and view(self.expected) != view(state):
            raise ViolationError(f"another state was recovered: {differences(view(self.expected), view(state))}")
        self.fold = _copied(state)
        self.records = {entry.seq: self._record(entry) for entry in recovered.entries}
        self.acknowledged &= self.records.keys()
        self.broken = self.read_failed = False
        for task in state.tasks.values():
            self._note_kept(task)

    def _record(self, entry: Any) -> Any:
        return self.records.get(entry.seq) or decode(entry.type, entry.version, entry.payload)

    def compare(self, state: State) -> None:
        """Between two turns: what ast3d knows is what it has written down."""
        if not self.broken and not self.pending and view(state) != view(self.fold):
            raise ViolationError(f"known and not written down: {differences(view(self.fold), view(state))}")


class WatchedRelog(Relog):
    """Tells the books."""

    books: Books

    def recover(self) -> Recovered:
        recovered = super().recover()
        self.books.found(recovered)
        self.recovered = replace(recovered, entries=list(recovered.entries))  # the core lets go of them
        return recovered

    def append(self, kind: str, version: int, payload: bytes, now: float) -> int:
        self.payload = payload
        return super().append(kind, version, payload, now)

    def commit(self) -> None:
        try:
            super().commit()
        except RelogError:
            self.books.given_up()
            raise
        self.books.committed()


class WatchedCore(Core):
    """Tells the books."""

    _relog: WatchedRelog

    def recover(self) -> Recovery:
        found = super().recover()
        self._relog.books.folded(self._relog.recovered, self.state)
        return found

    def take(self, given: i.Input) -> None:
        super().take(given)
        if isinstance(given, i.WorkerEnded) and (task := self.state.tasks.get(given.task)):
            self._relog.books.pardoned[task.id].update(f.attempt for f in task.failures if f.reason == ENDED_BY_OPERATOR)

    def _append(self, record: r.Durable, now: float) -> None:
        super()._append(record, now)
        self._relog.books.appended(self._relog.next_seq - 1, record, self._relog.payload)
