"""The core: it decides, remembers, and only then tells what to do.

Guarantee: an effect that rests on a record (see `ast3d.effects.Binding`) is handed out only when that record is durable, or
when the relog cannot be written and the state says so; then one frame at a time goes on.  What was handed out survives a
crash at any instant: the next ast3d folds the same records to the same state.  No content of the relog keeps it from
starting.  It touches nothing but the relog; time arrives as an argument.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ast3d import effects, records
from ast3d import inputs as i
from ast3d.codec import decode, encode
from ast3d.common.relog.relog import Entry, Relog, RelogError
from ast3d.decide import decide, next_due
from ast3d.fold import apply
from ast3d.state import PHASES, State

GROUP_RECORDS = 16
GROUP_SECONDS = 0.005
SNAPSHOT_RECORDS = 1000  # a snapshot is begun after so many records, or twice as many as there are tasks
TOLD_RECORDS = 2000  # folded between two words that it goes on
KEPT_AT_ONCE = 200  # tasks written at a turn, so that a snapshot keeps nothing else waiting
RETRY_SECONDS = 5.0  # until a relog that could not be written is tried again


@dataclass(frozen=True)
class Recovery:
    """What was found in the relog: how many records were folded, and what is wrong, a line each.

    `losses` are the problems by which something may be forgotten: not what is needless since a snapshot, nor what was only
    being written when the power failed.
    """

    records: int
    problems: tuple[str, ...]
    losses: tuple[str, ...]


class Core:
    """One ast3d's mind.  `recover` first; then `take` inputs and `settle` after each batch of them."""

    def __init__(self, relog: Relog) -> None:
        self.state = State()
        self._relog = relog
        self._doings: list[effects.Effect] = []
        self._pending_since = 0.0
        self._broken = False
        self._retry_at = 0.0
        self._first = 0  # where the last snapshot that is whole begins
        self._walk_first = 0
        self._walk: deque[str] | None = None  # the tasks that the snapshot has yet to keep
        self._firm = False

    @property
    def firm(self) -> bool:
        """Whether what was recovered is durable, or cannot be made so and the state says it.

        An earlier ast3d may have written it, failed to sync it, and been killed: it would go with the power.  Until it is
        written anew nobody must be at hand whose work rests on it: no nursery and no porter.
        """
        return self._firm or self._broken

    def recover(self, tell: Callable[[], None] = lambda: None) -> Recovery:
        """Fold the records of all earlier ast3d; `tell` is called now and then, for it may take a while."""
        recovered = self._relog.recover()
        first, report = _beginning(recovered.entries), recovered.report
        if recovered.entries and first < recovered.entries[0].seq:
            report = report.add_missing(first, recovered.entries[0].seq - 1)
        problems, losses = report.problems(), report.losses(first)
        folded = unknown = 0
        for entry in _let_go(recovered.entries):
            if entry.seq >= first:
                record = decode(entry.type, entry.version, entry.payload)
                if record is None:
                    unknown += 1
                else:
                    apply(self.state, record)
                    folded += 1
            if entry.seq % TOLD_RECORDS == 0:
                tell()
        if unknown:
            left_out = f"{unknown} records of another version of ast3d are not understood and left out"
            problems.append(left_out)
            losses.append(left_out)
        self._begin_walk()
        return Recovery(folded, tuple(problems), tuple(losses))

    def forget(self) -> None:
        """Begin anew, where what was recovered could not be folded: the pool and the products are enough."""
        self.state = State()
        self._begin_walk()

    def take(self, given: i.Input) -> None:
        """Decide and apply; what is to be done comes with the next `settle`."""
        facts, doings = decide(self.state, given)
        for record in facts:
            if not isinstance(record, records.Volatile) and not self._broken:
                self._append(record, given.now)
            apply(self.state, record)
        self._doings += doings

    def settle(self, now: float) -> list[effects.Effect]:
        """What is to be done now, the records that it rests on being durable."""
        if self._broken and now >= self._retry_at:
            self._begin_anew(now)
        self._keep(now)
        if self._due(now):
            self.commit(now)
        doings, self._doings = self._doings, []
        return doings

    def next_due(self, now: float) -> float:
        """When to give a Tick and to settle, if nothing happens before."""
        due = next_due(self.state, now)
        if self._relog.pending:
            due = min(due, self._pending_since + GROUP_SECONDS)
        if self._broken:
            due = min(due, self._retry_at)
        return now if self._walk is not None else due

    def commit(self, now: float) -> None:
        """What has been taken is durable now; or the relog cannot be written, and the state says so.

        Where a segment was given up for it, what that one held is written again.
        """
        try:
            self._relog.commit()
        except RelogError as error:
            self._broken, self._walk = True, None
            self._retry_at = now + RETRY_SECONDS
            self.take(i.RelogChanged(now, str(error)))
        else:
            if self._relog.given_up:
                self._begin_walk()
                self.take(i.RelogMoved(now, str(self._relog.given_up)))

    def close(self) -> None:
        """No more records."""
        self._relog.close()

    def _append(self, record: records.Durable, now: float) -> None:
        if not self._relog.pending:
            self._pending_since = now
        self._relog.append(*encode(record), now)

    def _due(self, now: float) -> bool:
        pending = self._relog.pending
        late = pending >= GROUP_RECORDS or now >= self._pending_since + GROUP_SECONDS
        return pending > 0 and (late or any(isinstance(doing, effects.Binding) for doing in self._doings))

    # --- snapshots: what is known, written again, makes all that was written before it needless

    def _begin_walk(self) -> None:
        self._walk_first = self._relog.next_seq
        self._walk = deque(task for phase in PHASES for task in self.state.phases[phase])

    def _keep(self, now: float) -> None:
        """Write a part of a snapshot, or begin one where it is time."""
        if self._broken:
            return
        if self._walk is None:
            if self._relog.next_seq - self._first < max(SNAPSHOT_RECORDS, 2 * len(self.state.tasks)):
                return
            self._begin_walk()
        assert self._walk is not None
        for _ in range(min(KEPT_AT_ONCE, len(self._walk))):
            if task := self.state.tasks.get(self._walk.popleft()):
                self._append(records.Kept(task), now)
        if not self._walk:
            self._end_walk(now)

    def _end_walk(self, now: float) -> None:
        state = self.state
        totals = records.Totals(
            self._walk_first, state.boot_id, state.stopped, state.done, state.discarded, state.paused_until,
            state.breaker, dict(state.causes), dict(state.torn), state.losses, state.claims.assignment,
        )  # fmt: skip
        self._append(totals, now)
        walk = self._walk
        self.commit(now)
        if self._walk is walk:  # neither given up nor begun again
            self._first, self._walk, self._firm = self._walk_first, None, True
            self._relog.forget(self._first)

    def _begin_anew(self, now: float) -> None:
        """After the relog could not be written: all that is known, in a new segment."""
        self._retry_at = now + RETRY_SECONDS
        try:
            self._relog.restart()
        except RelogError:
            return
        self._broken = False
        self._begin_walk()
        while self._walk is not None:
            self._keep(now)
        if not self._broken:
            self.take(i.RelogChanged(now, ""))
            self.take(i.Tick(now))  # there may be room for more now


def _let_go(entries: list[Entry]) -> Iterator[Entry]:
    """In order, each forgotten when the next is asked for: the state takes their room."""
    entries.reverse()
    while entries:
        yield entries.pop()


def _beginning(entries: list[Entry]) -> int:
    """The sequence number from which the records tell all: the last whole snapshot's, or the first there can be.

    Of a snapshot that was being written when the power failed, any part may be there, its end too.
    """
    broken = False
    for index in range(len(entries) - 1, -1, -1):
        entry = entries[index]
        if entry.type == records.Totals.__name__:
            totals = decode(entry.type, entry.version, entry.payload)
            if isinstance(totals, records.Totals):
                begins = index - (entry.seq - totals.first)
                if begins >= 0 and entries[begins].seq == totals.first:
                    return totals.first
                broken = True
    return entries[0].seq if broken else 1
