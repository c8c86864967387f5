"""The state in words and figures, for `ast3ctl status`, `tasks` and `why`.  Pure; the same functions that decide explain."""

from collections.abc import Iterator
from typing import Any

from ast3d import attempts, claims, intake
from ast3d.common.files import escape
from ast3d.state import State, Waiting
from ast3d.task import Task


def status(state: State, now: float, log_problem: str = "") -> dict[str, Any]:
    """`state`, `reasons` and `tasks` as `ast3ctl status` shows them; `log_problem`: see `ast3d.common.log`."""
    phases = state.phases
    troubles = [*_troubles(state), *([f"the last lines could not be logged: {log_problem}"] if log_problem else [])]
    return {
        "state": _overall(state, now, troubles),
        "reasons": [*_orders(state, now), *troubles],
        "tasks": {
            "ready": len(phases["READY"]) + len(phases["FAILED"]),
            "running": len(phases["RUNNING"]),
            "done": state.done,
            "discarded": state.discarded,
        },
        **({"telescopes": _telescopes(state, now)} if state.policy.node else {}),
    }


def _telescopes(state: State, now: float) -> dict[str, dict[str, Any]]:
    """What this node works for, of several."""
    return {
        name: {
            "own": claim.own,
            "epoch": claim.epoch,
            "token": claim.token,
            "seconds_left": None if claim.deadline is None else round(max(claim.deadline - now, 0.0), 1),
            "state": claims.standing(state, name, now),
        }
        for name, claim in sorted(state.claims.held.items())
    }


def _overall(state: State, now: float, troubles: list[str]) -> str:
    if state.halting:
        return "DRAINING"
    if now < state.paused_until:
        return "PAUSED"
    if not state.scanned:
        return "STARTING"
    return "DEGRADED" if troubles else "READY"


def _orders(state: State, now: float) -> Iterator[str]:
    """What an operator asked for that keeps it from its work."""
    if state.halting:
        yield f"an operator asked it to end, which it does when its {len(state.phases['RUNNING'])} workers have ended"
    if now < state.paused_until:
        yield f"paused for another {state.paused_until - now:.0f} s"


def _troubles(state: State) -> Iterator[str]:
    yield from (f"the {helper} is down and being started again" for helper in sorted(state.lost))
    yield from state.pool_problems
    if state.relog_problem:
        yield f"what happens may be forgotten: {state.relog_problem}"
    for loss in state.losses:
        yield f"forgotten, counts may be too low, until `ast3ctl acknowledge`: {loss}"
    if state.breaker:
        yield f"three frames failed alike, one probe at a time: {state.breaker.reason}"
    fenced = (name for name in sorted(state.claims.held) if claims.is_fenced(state, name))
    yield from (f"{name}: another node works for it under a later claim; `ast3ctl ha status` says which" for name in fenced)
    if state.configuration_problem:
        yield f"configuration: {state.configuration_problem}"
    for task in state.within("FAILED"):
        if task.failures and task.failures[-1].blame == "environment":
            yield f"{task.id}: {task.failures[-1].reason}"
            break
    for task in state.within("DONE", "DISCARDED"):
        if task.filing_problem:
            yield f"{task.id} cannot leave the pool: {task.filing_problem}"
            break


def tasks(state: State, now: float) -> list[dict[str, Any]]:
    """Every frame that is known and has not left the pool, one dict each."""
    waiting = [_row_of_waiting(entry, now) for entry in state.waiting.values()]
    return waiting + [_row(task, now) for task in state.within("RUNNING", "FAILED", "READY", "DONE", "DISCARDED")]


def _row(task: Task, now: float) -> dict[str, Any]:
    return {
        "task": task.id,
        "telescope": task.entry.place.telescope,
        "name": escape(task.entry.place.name),
        "state": task.phase,
        "attempt": task.attempt,
        "size": task.entry.size,
        "seconds": round(now - task.since, 1),
        "reason": task.stage if task.phase == "RUNNING" else task.reason,
    }


def _row_of_waiting(entry: Waiting, now: float) -> dict[str, Any]:
    seen = entry.sighting.entry
    return {
        "task": "",
        "telescope": seen.place.telescope,
        "name": escape(seen.place.name),
        "state": "SEEN",
        "attempt": 0,
        "size": seen.size,
        "seconds": round(now - entry.since, 1),
        "reason": intake.refuse(entry.sighting) or "is it complete?",
    }


def find(state: State, prefix: str) -> list[str]:
    """The tasks whose id starts so."""
    return [prefix] if prefix in state.tasks else sorted(task for task in state.tasks if task.startswith(prefix))


def why(state: State, task_id: str, now: float) -> dict[str, Any]:
    """What happened to a task and what happens next, in sentences."""
    task = state.tasks[task_id]
    return {"task": task.id, "state": task.phase, "story": list(_story(state, task, now))}


def _story(state: State, task: Task, now: float) -> Iterator[str]:
    place = task.entry.place
    yield f"{escape(place.name)} of {place.telescope}, {task.entry.size} bytes."
    for failure in task.failures:
        fault = "the frame's" if failure.blame == "frame" else "the machine's"
        yield f"Attempt {failure.attempt} ended after {failure.seconds:.1f} s, {fault} fault: {failure.reason}."
    yield from _what_next(state, task, now)


def _what_next(state: State, task: Task, now: float) -> Iterator[str]:
    slots = f"{len(state.phases['RUNNING'])} of {state.policy.slots} workers are busy"
    if task.phase == "RUNNING":
        stage = f", stage {task.stage}" if task.stage else ""
        yield f"Attempt {task.attempt} has run for {now - task.since:.1f} s, pid {task.pid}{stage}."
        when, signal, reason = attempts.next_limit(task, state.policy)
        if signal:
            yield f"In {when - now:.0f} s it would get SIG{signal}: {reason}."
    elif task.phase == "FAILED" and not state.breaker:
        yield f"It is tried again in {max(task.ready_at - now, 0):.0f} s ({slots}); `ast3ctl retry {task.id}` does it now."
    elif task.phase == "READY":
        ahead = list(state.phases["READY"]).index(task.id)
        yield f"It waits for {ahead} frames before it; {slots}."
    elif task.phase == "FAILED":
        yield f"It is tried again when the machine has processed a frame; {slots}."
    elif task.phase == "DONE":
        yield f"Its products are published under {task.night}; the frame is on its way to the archive."
    else:
        yield f"Discarded: {task.reason}. The frame is on its way to the quarantine."
    yield from _what_hinders(state, task, now)


def _what_hinders(state: State, task: Task, now: float) -> Iterator[str]:
    if task.phase in ("READY", "FAILED"):
        yield from _why_not_here(state, task.entry.place.telescope, now)
    if task.suspect and task.phase == "FAILED":
        yield "It is suspected of bringing the machine down, so it runs last and alone."
    if state.breaker and task.phase in ("READY", "FAILED"):
        wait = f"goes as a probe in {max(state.breaker.probe_at - now, 0):.0f} s"
        probe = "is at work as a probe" if state.phases["RUNNING"] else wait
        yield f"The machine failed three frames alike ({state.breaker.reason}): one frame {probe}."
    if state.halting and task.phase in ("READY", "FAILED"):
        yield "Nothing starts any more: an operator asked ast3d to end."
    elif now < state.paused_until and task.phase in ("READY", "FAILED"):
        yield f"Nothing starts for another {state.paused_until - now:.0f} s: an operator paused ast3d."


def _why_not_here(state: State, telescope: str, now: float) -> Iterator[str]:
    """What keeps all frames of a telescope from this node."""
    if not claims.holds(state, telescope):
        yield f"This node does not work for {telescope} until ast3-ha says so."
        return
    claim = claims.claim_of(state, telescope)
    standing = claims.standing(state, telescope, now) if claim else "working"
    if standing == "parked":
        yield f"{telescope} is parked: it is another node's, and ast3-ha has not said of late that this one stands in."
    elif standing == "fenced":
        yield f"{telescope} is fenced: another node works for it under a later claim; `ast3ctl ha status` says which."
