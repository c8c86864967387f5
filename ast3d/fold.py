"""How each record changes what ast3d knows.

`apply` is total: any record on any state gives a state and never raises; a record about a task that is not there changes
nothing.  It decides nothing.  It owns the state that it is given and changes it in place.
"""

from dataclasses import replace
from functools import singledispatch

from ast3d import claim_fold
from ast3d import claim_records as c
from ast3d import records as r
from ast3d.state import State, Waiting, add, change, drop, put
from ast3d.task import Task

TORN_KEPT = 100  # frames that were discarded as incomplete and may grow on
LOSSES_KEPT = 5
CAUSES_KEPT = 20  # of failures that are the machine's, since a frame was processed


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
def _(record: r.Began, state: State) -> None:
    """What the earlier ast3d saw is forgotten; under another boot id every deadline is due now."""
    for place in list(state.waiting):
        put(state, place, None)
    state.helpers, state.lost, state.scanned, state.pool_problems = set(), set(), False, ()
    for task in list(state.within("RUNNING", "DONE", "DISCARDED")):
        change(state, task.id, filing=False, pid=0, progress_at=record.now)
    if record.boot_id != state.boot_id:
        _survive_reboot(state, record.now)
    state.boot_id, state.stopped, state.halting = record.boot_id, False, None


def _survive_reboot(state: State, now: float) -> None:
    alone = len(state.phases["RUNNING"]) == 1  # or the end of the one before was written and has not survived
    for task in list(state.tasks.values()):
        cut = task.phase == "RUNNING" and not state.stopped
        solo = task.solo and alone
        change(state, task.id, since=now, ready_at=now, progress_at=now, signal_at=now, cut=cut, solo=solo)
    state.paused_until = min(state.paused_until, now)
    if state.breaker:
        state.breaker = replace(state.breaker, since=now, probe_at=now)


@_apply.register
def _(record: r.Halting, state: State) -> None:
    state.halting = record


@_apply.register
def _(_record: r.Stopped, state: State) -> None:
    state.stopped = True


@_apply.register
def _(record: r.RelogChanged, state: State) -> None:
    state.relog_problem = record.problem


@_apply.register
def _(record: r.HelperChanged, state: State) -> None:
    (state.helpers.add if record.up else state.helpers.discard)(record.helper)
    (state.lost.discard if record.up else state.lost.add)(record.helper)
    if record.up:
        return
    if record.helper == "scout":  # what it was asked goes with it
        for place in [place for place, entry in state.waiting.items() if entry.asked]:
            put(state, place, replace(state.waiting[place], asked=False))
    elif record.helper == "porter":
        for task in list(state.within("DONE", "DISCARDED")):
            change(state, task.id, filing=False)


@_apply.register
def _(record: r.Scanned, state: State) -> None:
    state.scanned = True
    state.pool_problems = record.problems


@_apply.register
def _(record: r.Seen, state: State) -> None:
    put(state, record.sighting.entry.place, Waiting(record.sighting, record.now))


@_apply.register
def _(record: r.Asked, state: State) -> None:
    if entry := state.waiting.get(record.place):
        put(state, record.place, replace(entry, asked=True))


@_apply.register
def _(record: r.Unseen, state: State) -> None:
    put(state, record.place, None)


@_apply.register
def _(record: r.Accepted, state: State) -> None:
    add(state, Task(record.task, record.entry, "READY", record.now, record.now))


@_apply.register
def _(record: r.Adopted, state: State) -> None:
    known = state.tasks.get(record.task) or Task(record.task, record.entry, "READY", record.now, record.now)
    add(state, replace(known, phase="RUNNING", since=record.started, attempt=record.attempt, pid=record.pid, stage="",
                        progress_at=record.now, signal="", signal_reason="", solo=False, cut=False))  # fmt: skip


@_apply.register
def _(record: r.Started, state: State) -> None:
    change(state, record.task, phase="RUNNING", since=record.now, attempt=record.attempt, pid=0, stage="",
            progress_at=record.now, signal="", signal_reason="", solo=record.solo, cut=False)  # fmt: skip


@_apply.register
def _(record: r.Spawned, state: State) -> None:
    change(state, record.task, pid=record.pid)


@_apply.register
def _(record: r.Progressed, state: State) -> None:
    change(state, record.task, stage=record.stage, progress_at=record.now)


@_apply.register
def _(record: r.Signalled, state: State) -> None:
    change(state, record.task, signal=record.signal, signal_reason=record.reason,
            signal_at=record.now)  # fmt: skip


@_apply.register
def _(record: r.Failed, state: State) -> None:
    if task := state.tasks.get(record.task):
        change(state, record.task, phase="FAILED", since=record.now, ready_at=record.ready_at, pid=0, cut=False,
                reason=record.failure.reason, failures=(*task.failures, record.failure))  # fmt: skip
        if cause := record.failure.cause:
            hit = dict.fromkeys((*state.causes.pop(cause, ()), record.task))
            state.causes[cause] = tuple(hit)[-CAUSES_KEPT:]
            for oldest in list(state.causes)[:-CAUSES_KEPT]:
                del state.causes[oldest]


@_apply.register
def _(record: r.Suspected, state: State) -> None:
    change(state, record.task, suspect=True, alone=record.alone)


@_apply.register
def _(record: r.BreakerOpened, state: State) -> None:
    state.breaker = record.breaker


@_apply.register
def _(_record: r.BreakerClosed, state: State) -> None:
    state.breaker = None
    state.causes = {}


@_apply.register
def _(record: r.Hurried, state: State) -> None:
    change(state, record.task, ready_at=record.now)


@_apply.register
def _(record: r.Done, state: State) -> None:
    _ensure(state, record)
    state.discarded -= state.tasks[record.task].phase == "DISCARDED"  # a late success
    change(state, record.task, phase="DONE", filing=False, since=record.now, ready_at=record.now, pid=0, night=record.night)
    state.done += not record.credited
    if not record.credited:
        state.causes = {}


@_apply.register
def _(record: r.Discarded, state: State) -> None:
    _ensure(state, record)
    failures = state.tasks[record.task].failures + ((record.failure,) if record.failure else ())
    change(state, record.task, phase="DISCARDED", since=record.now, ready_at=record.now, pid=0, failures=failures,
            reason=record.reason, blame=record.blame, incomplete=record.incomplete)  # fmt: skip
    state.discarded += 1


@_apply.register
def _(record: r.FilingAsked, state: State) -> None:
    change(state, record.task, filing=True)


@_apply.register
def _(record: r.FilingFailed, state: State) -> None:
    if task := state.tasks.get(record.task):
        change(state, record.task, filing=False, ready_at=record.ready_at, filing_problem=record.reason,
                unfiled=task.unfiled + 1)  # fmt: skip


@_apply.register
def _(record: r.Filed, state: State) -> None:
    task = state.tasks.get(record.task)
    if task and task.incomplete and record.where:
        state.torn[task.id] = (record.where, task.entry.size)
        for oldest in list(state.torn)[:-TORN_KEPT]:
            del state.torn[oldest]
    drop(state, record.task)


@_apply.register
def _(record: r.Grown, state: State) -> None:
    state.torn.pop(record.task, None)


@_apply.register
def _(record: r.Vanished, state: State) -> None:
    drop(state, record.task)


@_apply.register
def _(record: r.Paused, state: State) -> None:
    state.paused_until = record.until


@_apply.register
def _(_record: r.Resumed, state: State) -> None:
    state.paused_until = 0.0


@_apply.register
def _(record: r.Lost, state: State) -> None:
    state.losses = (*state.losses, *record.reasons)[-LOSSES_KEPT:]


@_apply.register
def _(_record: r.Acknowledged, state: State) -> None:
    state.losses = ()


@_apply.register
def _(record: r.Kept, state: State) -> None:
    add(state, record.task)


@_apply.register
def _(record: r.Totals, state: State) -> None:
    state.boot_id, state.stopped = record.boot_id, record.stopped
    state.done, state.discarded = record.done, record.discarded
    state.paused_until, state.breaker = record.paused_until, record.breaker
    state.causes, state.torn, state.losses = dict(record.causes), dict(record.torn), record.losses
    state.claims = replace(state.claims, assignment=record.assignment)


@_apply.register
def _(record: c.DurableOfClaims | c.VolatileOfClaims, state: State) -> None:
    claim_fold.apply(record, state)


def _ensure(state: State, record: r.Done | r.Discarded) -> None:
    """Frames that are refused, or found published, were never READY."""
    if record.task not in state.tasks:
        add(state, Task(record.task, record.entry, "READY", record.now, record.now))
