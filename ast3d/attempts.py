"""Workers: what their end means, whom it blames, and when they have had enough time.  Pure.

Only failures of the frame count against it.  Those of the machine are tried again as often as it takes; when they hit three
different frames in the same way, the breaker opens.  A frame that was at work at a power cut, or that the machine fails
again and again, is a suspect.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from ast3d import claims, effects, records
from ast3d import inputs as i
from ast3d.common.files import escape
from ast3d.policy import ALONE_AT_MOST, BREAKER_FRAMES, KILL_AGAIN_SECONDS, Policy, backoff
from ast3d.state import State
from ast3d.task import Breaker, Failure, Task

Step = records.Record | effects.Effect

ENDED_BY_OPERATOR = "ended by `ast3ctl stop --kill`"

_NUMBER = re.compile("[0-9]+")


def end(state: State, given: i.WorkerEnded) -> Iterator[Step]:
    """A worker is gone.  Published products are the success, and nothing else is."""
    task = state.tasks.get(given.task)
    if task is None or task.phase != "RUNNING" or task.attempt != given.attempt:
        return
    seconds = round(given.now - task.since, 3)
    fingerprint = given.fingerprint or state.policy.fingerprint_of(task.entry.place.telescope)
    if given.night:
        if not given.found:
            yield from claims.credit(state)
        yield records.Done(given.now, task.id, task.entry, given.night, credited=False)
        yield effects.Log("INFO", "task.done", {"task": task.id, "night": given.night, "seconds": seconds})
        if state.breaker:
            yield records.BreakerClosed()
            yield effects.Log("INFO", "breaker.closed", {"task": task.id, "was": state.breaker.reason})
        return
    yield effects.Sweep(task.id, given.attempt)
    if given.fenced:
        yield from claims.refuse(state, task, given.fenced, given.now)
    elif given.changed:
        yield records.Vanished(task.id)
        yield effects.Look(task.entry.place)
        yield claims.miss(state, task, given.reason)
    elif task.cut and given.lost:
        yield from _go_down(state, task, given.now)
    elif task.signal and task.signal_reason == ENDED_BY_OPERATOR:
        failure = Failure(given.attempt, ENDED_BY_OPERATOR, "environment", seconds, given.tail, fingerprint=fingerprint)
        yield records.Failed(given.now, task.id, failure, given.now)
        yield effects.Look(task.entry.place)
        yield effects.Log("INFO", "task.ended", {"task": task.id, "attempt": given.attempt, "reason": ENDED_BY_OPERATOR})
    else:
        reason = f"{task.signal_reason}; {given.reason}" if task.signal else given.reason
        blame = "frame" if task.signal else given.blame
        cause = cause_of(reason, task) if blame == "environment" else ""
        failure = Failure(given.attempt, reason, blame, seconds, given.tail, cause, fingerprint)
        yield from claims.credit(state, failure)
        yield from fail(state, task, failure, given.now, final=not given.retriable and not task.signal)


def cause_of(reason: str, task: Task) -> str:
    """What a failure has in common with those of other frames: the reason without what is this frame's own."""
    for own in (task.id, escape(task.entry.place.name), task.entry.place.name):
        reason = reason.replace(own, "*")
    return _NUMBER.sub("#", reason)


def fail(state: State, task: Task, failure: Failure, now: float, *, final: bool) -> Iterator[Step]:
    """Another attempt after a pause, or no more.  Only the frame's own failures count."""
    failures = (*task.failures, failure)
    counted = sum(f.counts for f in failures)
    fields = {"task": task.id, "attempt": failure.attempt, "seconds": failure.seconds, "reason": failure.reason}
    if failure.counts and (final or counted >= state.policy.attempts):
        yield records.Discarded(now, task.id, task.entry, failure.reason, failure.blame, failure)
        yield effects.Log("ERROR", "task.discarded", {**fields, "attempts": counted})
        return
    pause = backoff(state.policy, len(failures))
    yield records.Failed(now, task.id, failure, now + pause)
    yield effects.Look(task.entry.place)  # is the frame still there?
    yield effects.Log("ERROR", "task.failed", {**fields, "blame": failure.blame, "again_in_seconds": pause})
    if not failure.counts:
        yield from _blame_machine(state, task, failure, now)


def _blame_machine(state: State, task: Task, failure: Failure, now: float) -> Iterator[Step]:
    """Is it the machine for all frames alike, or for this one every time?"""
    if breaker := state.breaker:
        probes = breaker.probes + 1
        probe_at = now + backoff(state.policy, probes + 1)
        yield records.BreakerOpened(replace(breaker, reason=failure.reason, probes=probes, probe_at=probe_at))
    elif failure.cause and len({*state.causes.get(failure.cause, ()), task.id}) >= BREAKER_FRAMES:
        yield records.BreakerOpened(Breaker(failure.cause, failure.reason, now, now + backoff(state.policy, 1)))
        yield effects.Log("ERROR", "breaker.open", {"reason": failure.reason, "frames": BREAKER_FRAMES})
    elif not task.suspect and sum(_machines(f) for f in task.failures) + 1 >= state.policy.attempts:
        yield records.Suspected(task.id, task.alone)
        yield effects.Log("ERROR", "task.suspected", {"task": task.id, "reason": failure.reason})


def _machines(failure: Failure) -> bool:
    """The machine's own; what an operator ended is nobody's."""
    return not failure.counts and failure.reason != ENDED_BY_OPERATOR


def _go_down(state: State, task: Task, now: float) -> Iterator[Step]:
    """The machine went down with the worker: by chance, or the frame brings it down."""
    alone = task.alone + task.solo
    reason = "the machine went down while it was at work"
    fingerprint = state.policy.fingerprint_of(task.entry.place.telescope)
    failure = Failure(task.attempt, reason, "environment", 0.0, "", fingerprint=fingerprint)
    if alone >= ALONE_AT_MOST:
        reason = f"{reason}, {alone} times with nothing else at work"
        yield records.Discarded(now, task.id, task.entry, reason, "environment", failure)
        yield effects.Log("ERROR", "task.discarded", {"task": task.id, "reason": reason})
    else:
        yield records.Failed(now, task.id, failure, now + backoff(state.policy, len(task.failures) + 1))
        yield records.Suspected(task.id, alone)
        yield effects.Log("ERROR", "task.suspected", {"task": task.id, "reason": reason})


def lose_unborn(state: State, now: float) -> Iterator[Step]:
    """The nursery is gone; what it was asked to fork and had not is tried again, and blames no frame."""
    for task in state.within("RUNNING"):
        if task.pid == 0:
            reason = "the nursery ended before it forked the worker"
            fingerprint = state.policy.fingerprint_of(task.entry.place.telescope)
            failure = Failure(task.attempt, reason, "environment", 0.0, "", reason, fingerprint)
            yield from claims.credit(state, failure)
            yield from fail(state, task, failure, now, final=False)


def overdue(task: Task, policy: Policy, now: float) -> tuple[Literal["", "TERM", "KILL"], str]:
    """-> (signal, reason) that a running worker has earned now, or two empty strings.

    A worker that is asked to end has the time between the two limits to do so, whenever it is asked.
    """
    due_at, signal, reason = next_limit(task, policy)
    return (signal, reason) if now >= due_at else ("", "")


def next_limit(task: Task, policy: Policy) -> tuple[float, Literal["", "TERM", "KILL"], str]:
    """-> (when, signal, reason): what happens to a running worker if it goes on as it is."""
    if task.pid == 0:
        return math.inf, "", ""
    if task.signal == "KILL":  # it may not have been sent, should ast3d have ended just then
        return task.signal_at + KILL_AGAIN_SECONDS, "KILL", task.signal_reason
    if task.signal == "TERM":
        return task.signal_at + policy.hard_seconds - policy.soft_seconds, "KILL", task.signal_reason
    stage = f" in stage {task.stage}" if task.stage else ""
    slow = task.since + policy.soft_seconds, f"exceeded the soft limit of {policy.soft_seconds:g} s{stage}"
    silence = policy.silence_seconds or math.inf
    silent = task.progress_at + silence, f"hung: no progress for {silence:g} s{stage}"
    due_at, reason = min(slow, silent)
    return due_at, "TERM", reason
