"""What to do: `decide(state, input) -> records, effects`.  Pure; it reads the state and never changes it.

What happened is judged by `ast3d.intake` (frames that come), `ast3d.attempts` (workers) and `ast3d.filing` (frames that go);
`ast3d.starts` says who is next.  A Tick asks for what is due, and is given after every batch of inputs: nothing else sends
work to the scout, the nursery or the porter, so a helper that comes back is asked anew for all that is open.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import singledispatch

from ast3d import attempts, claims, effects, filing, halt, intake, records, starts
from ast3d import inputs as i
from ast3d.policy import PAUSE_SECONDS
from ast3d.state import State

ASKED_AT_ONCE = 1000  # frames that the scout is asked about at once

Step = records.Record | effects.Effect


def decide(state: State, given: i.Input) -> tuple[list[records.Record], list[effects.Effect]]:
    """What the input means: facts to remember, then things to do.  Raises nothing for any input on any state."""
    facts: list[records.Record] = []
    doings: list[effects.Effect] = []
    for step in _steps(given, state):
        if isinstance(step, effects.Effect):
            doings.append(step)
        else:
            facts.append(step)
    return facts, doings


def next_due(state: State, now: float) -> float:
    """When the next Tick can find something to do, if nothing else happens before; infinity: never.

    A Tick was given at `now`: what was due by then and is still there waits for something else than time.
    """
    times = [attempts.next_limit(task, state.policy)[0] for task in state.within("RUNNING")]
    times += [task.ready_at for task in state.within("FAILED")]
    times.append(halt.next_due(state))
    times += claims.next_due(state)
    if state.paused_until:
        times.append(state.paused_until)
    if state.breaker:
        times.append(state.breaker.probe_at)
    if "scout" in state.helpers:
        times += intake.next_due(state)
    if "porter" in state.helpers:
        times += [task.ready_at for task in state.within("DONE", "DISCARDED") if not task.filing]
    return min((time for time in times if time > now), default=math.inf)


@singledispatch
def _steps(given: i.Input, state: State) -> Iterator[Step]:
    raise TypeError(f"not an input: {given!r}, while {len(state.tasks)} tasks are known")


@_steps.register
def _(given: i.Tick, state: State) -> Iterator[Step]:
    if state.paused_until and given.now >= state.paused_until:
        yield records.Resumed()
        yield effects.Log("INFO", "daemon.resumed", {"reason": "the pause has lapsed"})
    yield from claims.tend(state, given.now)
    yield from _ask_scout(state, given.now)
    if state.halting:
        yield from halt.go_on(state, state.halting, given.now)
    if not (state.halting and state.halting.mode == "kill"):
        yield from _limit_workers(state, given.now)
    yield from _start_workers(state, given.now)
    yield from filing.ask(state, given.now)


def _ask_scout(state: State, now: float) -> Iterator[Step]:
    if "scout" in state.helpers:
        for entry in list(intake.due(state, now, ASKED_AT_ONCE)):
            yield records.Asked(entry.place)
            yield effects.Identify(entry)


def _limit_workers(state: State, now: float) -> Iterator[Step]:
    for task in state.within("RUNNING"):
        signal, reason = attempts.overdue(task, state.policy, now)
        if signal:
            yield records.Signalled(now, task.id, signal, reason)
            yield effects.Kill(task.id, task.attempt, task.pid, signal)
            yield effects.Log("ERROR", "task.limit", {"task": task.id, "signal": signal, "reason": reason})


def _start_workers(state: State, now: float) -> Iterator[Step]:
    if "nursery" not in state.helpers or now < state.paused_until or state.halting:
        return
    for task in starts.next_starts(state, now):
        yield records.Started(now, task.id, task.attempt + 1, solo=task.suspect)
        claim = claims.claim_of(state, task.entry.place.telescope)
        yield effects.Start(task.id, task.entry, task.attempt + 1, claim)
        yield effects.Log("INFO", "task.start", {"task": task.id, "attempt": task.attempt + 1})


@_steps.register
def _(given: i.DaemonBegan, state: State) -> Iterator[Step]:
    yield records.Began(given.now, given.boot_id)
    rebooted = bool(state.boot_id) and given.boot_id != state.boot_id
    counts = {phase.lower(): len(tasks) for phase, tasks in state.phases.items() if tasks}
    if rebooted and not state.stopped:
        yield effects.Log("ERROR", "daemon.recovered", {**counts, "reason": "the machine went down without warning"})
    else:
        yield effects.Log("INFO", "daemon.recovered", {**counts, "reboot": rebooted})


@_steps.register
def _(_given: i.DaemonStops, _state: State) -> Iterator[Step]:
    yield records.Stopped()


@_steps.register
def _(given: i.RelogChanged, state: State) -> Iterator[Step]:
    if given.problem == state.relog_problem:
        return
    yield records.RelogChanged(given.problem)
    if given.problem:
        hint = "what happens now may be forgotten; one frame at a time"
        yield effects.Log("ERROR", "relog.failed", {"reason": given.problem, "so": hint})
    else:
        yield effects.Log("INFO", "relog.healed")


@_steps.register
def _(given: i.RelogMoved, _state: State) -> Iterator[Step]:
    so = "all that is known is written again, elsewhere"
    yield effects.Log("ERROR", "relog.moved", {"reason": given.reason, "so": so})


@_steps.register
def _(given: i.RecordsLost, _state: State) -> Iterator[Step]:
    yield records.Lost(given.reasons)


@_steps.register
def _(given: i.ConfigurationRead, state: State) -> Iterator[Step]:
    yield records.Configured(given.policy or state.policy, given.problem)
    if given.problem:
        yield effects.Log("ERROR", "config.problem", {"reason": given.problem})
    if given.policy:
        yield effects.Log("INFO", "config.read", {"slots": given.policy.slots})
        yield from claims.configure(state, given.policy)
        if given.policy.differs_in_work_from(state.policy):
            yield filing.reconsider(state, given.policy, given.now)


@_steps.register
def _(given: i.HelperUp, state: State) -> Iterator[Step]:
    if given.helper not in state.helpers:
        yield records.HelperChanged(given.helper, up=True)
        yield effects.Log("DEBUG", "helper.up", {"helper": given.helper})
    if given.helper in ("scout", "porter"):  # the porter may have ended before it brought back what had grown
        yield from (effects.WatchGrowth(task, path, size) for task, (path, size) in state.torn.items())
    if given.helper == "porter":
        yield filing.reconsider(state, state.policy, given.now)


@_steps.register
def _(given: i.HelperDown, state: State) -> Iterator[Step]:
    yield records.HelperChanged(given.helper, up=False)
    yield effects.Log("ERROR", "helper.down", {"helper": given.helper, "reason": given.reason})
    if given.helper == "nursery":
        yield from attempts.lose_unborn(state, given.now)


@_steps.register
def _(given: i.Sighted, state: State) -> Iterator[Step]:
    yield from intake.sight(state, given)


@_steps.register
def _(given: i.Gone, state: State) -> Iterator[Step]:
    yield from intake.lose(state, given)


@_steps.register
def _(given: i.Identified, state: State) -> Iterator[Step]:
    yield from intake.judge(state, given)


@_steps.register
def _(given: i.ScanEnded, state: State) -> Iterator[Step]:
    yield records.Scanned(given.problems)
    for problem in given.problems:
        if problem not in state.pool_problems:
            yield effects.Log("ERROR", "pool.problem", {"reason": problem})


@_steps.register
def _(given: i.WorkerFound, state: State) -> Iterator[Step]:
    task = state.tasks.get(given.task)
    if task and task.phase == "RUNNING" and task.attempt == given.attempt:
        yield records.Spawned(given.task, given.attempt, given.pid)
    elif task is None or task.phase not in ("DONE", "DISCARDED"):  # it was forgotten, or what came before it is remembered
        yield records.Adopted(given.now, given.task, given.entry, given.attempt, given.pid, given.started)
    yield effects.Log("INFO", "task.adopted", {"task": given.task, "attempt": given.attempt, "pid": given.pid})


@_steps.register
def _(given: i.WorkerSpawned, state: State) -> Iterator[Step]:
    task = state.tasks.get(given.task)
    if task and task.phase == "RUNNING" and task.attempt == given.attempt:
        yield records.Spawned(given.task, given.attempt, given.pid)


@_steps.register
def _(given: i.WorkerProgressed, state: State) -> Iterator[Step]:
    task = state.tasks.get(given.task)
    if task and task.phase == "RUNNING" and task.attempt == given.attempt and task.stage != given.stage:
        yield records.Progressed(given.now, given.task, given.stage)


@_steps.register
def _(given: i.WorkerEnded, state: State) -> Iterator[Step]:
    yield from attempts.end(state, given)


@_steps.register
def _(given: i.FrameFiled, state: State) -> Iterator[Step]:
    yield from filing.end(state, given)


@_steps.register
def _(given: i.FrameRestored, state: State) -> Iterator[Step]:
    yield from filing.return_to_pool(state, given)


@_steps.register
def _(given: i.FrameGrew, state: State) -> Iterator[Step]:
    yield from filing.grow(state, given)


@_steps.register
def _(given: i.Sought, _state: State) -> Iterator[Step]:
    yield claims.find(given)


@_steps.register
def _(given: i.Assigned, state: State) -> Iterator[Step]:
    yield from claims.assign(state, given)


@_steps.register
def _(given: i.Retry, state: State) -> Iterator[Step]:
    task = state.tasks.get(given.task)
    if task is None and "porter" not in state.helpers:
        yield effects.Reply(given.request, None, "the porter is being started again; ask once more in a moment")
    elif task is None:
        yield effects.Restore(given.task, given.request)
    elif task.phase == "FAILED":
        yield records.Hurried(given.now, task.id)
        if state.breaker:
            yield records.BreakerOpened(replace(state.breaker, probe_at=given.now))
            so = f"one frame is tried first, for the machine failed three alike: {state.breaker.reason}"
            yield effects.Reply(given.request, {"task": task.id, "state": "FAILED", "so": so})
        else:
            yield effects.Reply(given.request, {"task": task.id, "state": "READY"})
    else:
        yield effects.Reply(given.request, None, f"{task.id} is {task.phase}: there is nothing to retry")


@_steps.register
def _(given: i.Pause, state: State) -> Iterator[Step]:
    seconds = given.seconds or PAUSE_SECONDS
    yield records.Paused(given.now + seconds)
    yield effects.Log("INFO", "daemon.paused", {"seconds": seconds, "running": len(state.phases["RUNNING"])})
    yield effects.Reply(given.request, {"for_seconds": seconds})


@_steps.register
def _(given: i.Resume, state: State) -> Iterator[Step]:
    if state.paused_until:
        yield records.Resumed()
        yield effects.Log("INFO", "daemon.resumed", {"reason": "an operator"})
    yield effects.Reply(given.request, {})


@_steps.register
def _(given: i.Stop, state: State) -> Iterator[Step]:
    yield from halt.ask(state, given)


@_steps.register
def _(given: i.Acknowledge, state: State) -> Iterator[Step]:
    if state.losses:
        yield records.Acknowledged()
        yield effects.Log("INFO", "relog.acknowledged", {"losses": len(state.losses)})
    yield effects.Reply(given.request, {"losses": list(state.losses)})
