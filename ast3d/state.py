"""What ast3d knows, and how each record changes it.

`apply` is total: any record on any state gives a state and never raises; a record about a task that is not there changes
nothing.  It decides nothing.  It owns the state that it is given and changes it in place.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import singledispatch
from typing import Any, Literal

from ast3d import records as r
from ast3d.policy import Policy
from ast3d.records import Blame, Entry, Failure, Place, Sighting

Phase = Literal["READY", "RUNNING", "FAILED", "DONE", "DISCARDED"]
PHASES: tuple[Phase, ...] = ("READY", "RUNNING", "FAILED", "DONE", "DISCARDED")


TORN_KEPT = 100  # frames that were discarded as incomplete and may grow on


@dataclass(frozen=True)
class Waiting:
    """A pool entry that is not a task yet.  `since`: when it last changed; `asked`: the scout is looking at it."""

    sighting: Sighting
    since: float
    asked: bool = False


@dataclass(frozen=True)
class Task:
    """A frame on its way.  DONE and DISCARDED last only until the frame has left the pool."""

    id: str
    entry: Entry
    phase: Phase
    since: float
    ready_at: float
    attempt: int = 0
    pid: int = 0
    stage: str = ""
    progress_at: float = 0.0
    signal: Literal["", "TERM", "KILL"] = ""
    signal_reason: str = ""
    signal_at: float = 0.0
    failures: tuple[Failure, ...] = ()
    night: str = ""
    reason: str = ""
    blame: Blame = "frame"
    incomplete: bool = False
    filing: bool = False  # the porter is at it
    filing_problem: str = ""
    unfiled: int = 0  # how often it could not be moved


@dataclass
class State:
    """Everything that decisions rest on.  `phases` indexes `tasks`, each phase in the order of entering it."""

    policy: Policy = field(default_factory=Policy)
    configuration_problem: str = ""
    waiting: dict[Place, Waiting] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    phases: dict[Phase, dict[str, None]] = field(default_factory=lambda: {phase: {} for phase in PHASES})
    places: dict[Place, str] = field(default_factory=dict)
    helpers: set[r.Helper] = field(default_factory=set)  # that are up
    lost: set[r.Helper] = field(default_factory=set)  # that went down and are being started again
    torn: dict[str, tuple[str, int]] = field(default_factory=dict)  # incomplete, in quarantine: where, how long
    scanned: bool = False
    pool_problems: tuple[str, ...] = ()
    paused_until: float = 0.0
    done: int = 0
    discarded: int = 0

    def within(self, *phases: Phase) -> Iterator[Task]:
        """The tasks in some phases."""
        return (self.tasks[task] for phase in phases for task in self.phases[phase])


def apply(state: State, record: r.Record) -> State:
    """The state after the record."""
    _apply(record, state)
    return state


@singledispatch
def _apply(record: r.Record, state: State) -> None:
    """A record of a type that this version does not know changes nothing."""


@_apply.register
def _(record: r.Configured, state: State) -> None:
    state.policy = record.policy
    state.configuration_problem = record.problem


@_apply.register
def _(record: r.HelperChanged, state: State) -> None:
    (state.helpers.add if record.up else state.helpers.discard)(record.helper)
    (state.lost.discard if record.up else state.lost.add)(record.helper)
    if record.up:
        return
    if record.helper == "scout":  # what it was asked goes with it
        state.waiting = {place: replace(entry, asked=False) for place, entry in state.waiting.items()}
    elif record.helper == "porter":
        for task in list(state.within("DONE", "DISCARDED")):
            _change(state, task.id, filing=False)


@_apply.register
def _(record: r.Scanned, state: State) -> None:
    state.scanned = True
    state.pool_problems = record.problems


@_apply.register
def _(record: r.Seen, state: State) -> None:
    state.waiting[record.sighting.entry.place] = Waiting(record.sighting, record.now)


@_apply.register
def _(record: r.Asked, state: State) -> None:
    if record.place in state.waiting:
        state.waiting[record.place] = replace(state.waiting[record.place], asked=True)


@_apply.register
def _(record: r.Unseen, state: State) -> None:
    state.waiting.pop(record.place, None)


@_apply.register
def _(record: r.Accepted, state: State) -> None:
    _add(state, Task(record.task, record.entry, "READY", record.now, record.now))


@_apply.register
def _(record: r.Adopted, state: State) -> None:
    task = Task(record.task, record.entry, "RUNNING", record.started, record.now)
    _add(state, replace(task, attempt=record.attempt, pid=record.pid, progress_at=record.now))


@_apply.register
def _(record: r.Started, state: State) -> None:
    _change(state, record.task, phase="RUNNING", since=record.now, attempt=record.attempt, pid=0, stage="",
            progress_at=record.now, signal="", signal_reason="", filing=False)  # fmt: skip


@_apply.register
def _(record: r.Spawned, state: State) -> None:
    _change(state, record.task, pid=record.pid)


@_apply.register
def _(record: r.Progressed, state: State) -> None:
    _change(state, record.task, stage=record.stage, progress_at=record.now)


@_apply.register
def _(record: r.Signalled, state: State) -> None:
    _change(state, record.task, signal=record.signal, signal_reason=record.reason,
            signal_at=record.now)  # fmt: skip


@_apply.register
def _(record: r.Failed, state: State) -> None:
    if task := state.tasks.get(record.task):
        _change(state, record.task, phase="FAILED", since=record.now, ready_at=record.ready_at, pid=0,
                reason=record.failure.reason, failures=(*task.failures, record.failure))  # fmt: skip


@_apply.register
def _(record: r.Hurried, state: State) -> None:
    _change(state, record.task, ready_at=record.now)


@_apply.register
def _(record: r.Done, state: State) -> None:
    _ensure(state, record)
    state.discarded -= state.tasks[record.task].phase == "DISCARDED"  # a late success
    _change(state, record.task, phase="DONE", filing=False, since=record.now, ready_at=record.now, pid=0, night=record.night)
    state.done += not record.credited


@_apply.register
def _(record: r.Discarded, state: State) -> None:
    _ensure(state, record)
    failures = state.tasks[record.task].failures + ((record.failure,) if record.failure else ())
    _change(state, record.task, phase="DISCARDED", since=record.now, ready_at=record.now, pid=0, failures=failures,
            reason=record.reason, blame=record.blame, incomplete=record.incomplete)  # fmt: skip
    state.discarded += 1


@_apply.register
def _(record: r.FilingAsked, state: State) -> None:
    _change(state, record.task, filing=True)


@_apply.register
def _(record: r.FilingFailed, state: State) -> None:
    if task := state.tasks.get(record.task):
        _change(state, record.task, filing=False, ready_at=record.ready_at, filing_problem=record.reason,
                unfiled=task.unfiled + 1)  # fmt: skip


@_apply.register
def _(record: r.Filed, state: State) -> None:
    task = state.tasks.get(record.task)
    if task and task.incomplete and record.where:
        state.torn[task.id] = (record.where, task.entry.size)
        for oldest in list(state.torn)[:-TORN_KEPT]:
            del state.torn[oldest]
    _drop(state, record.task)


@_apply.register
def _(record: r.Grown, state: State) -> None:
    state.torn.pop(record.task, None)


@_apply.register
def _(record: r.Vanished, state: State) -> None:
    _drop(state, record.task)


@_apply.register
def _(record: r.Paused, state: State) -> None:
    state.paused_until = record.until


@_apply.register
def _(_record: r.Resumed, state: State) -> None:
    state.paused_until = 0.0


def _add(state: State, task: Task) -> None:
    _drop(state, task.id)
    state.tasks[task.id] = task
    state.phases[task.phase][task.id] = None
    state.places[task.entry.place] = task.id
    waiting = state.waiting.get(task.entry.place)
    if waiting and waiting.sighting.entry == task.entry:
        del state.waiting[task.entry.place]


def _ensure(state: State, record: r.Done | r.Discarded) -> None:
    """Frames that are refused, or found published, were never READY."""
    if record.task not in state.tasks:
        _add(state, Task(record.task, record.entry, "READY", record.now, record.now))


def _change(state: State, task_id: str, **changes: Any) -> None:
    if task := state.tasks.get(task_id):
        changed = replace(task, **changes)
        state.tasks[task_id] = changed
        if changed.phase != task.phase:
            del state.phases[task.phase][task_id]
            state.phases[changed.phase][task_id] = None


def _drop(state: State, task_id: str) -> None:
    if task := state.tasks.pop(task_id, None):
        del state.phases[task.phase][task_id]
        if state.places.get(task.entry.place) == task_id:
            del state.places[task.entry.place]
