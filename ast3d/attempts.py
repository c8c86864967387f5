"""Workers: what their end means, when they have had enough time, and who starts next."""

import math
from collections.abc import Iterator
from typing import Literal

from ast3d import effects, records
from ast3d import inputs as i
from ast3d.policy import Policy, backoff
from ast3d.state import State
from ast3d.task import Failure, Task

Step = records.Record | effects.Effect


def end(state: State, given: i.WorkerEnded) -> Iterator[Step]:
    """A worker is gone.  Published products are the success, and nothing else is."""
    task = state.tasks.get(given.task)
    if task is None or task.phase != "RUNNING" or task.attempt != given.attempt:
        return
    seconds = round(given.now - task.since, 3)
    if given.night:
        yield records.Done(given.now, task.id, task.entry, given.night, credited=False)
        yield effects.Log("INFO", "task.done", {"task": task.id, "night": given.night, "seconds": seconds})
        return
    if given.changed:
        yield effects.Sweep(task.id, given.attempt)
        yield records.Vanished(task.id)
        yield effects.Look(task.entry.place)
        yield effects.Log("ERROR", "task.vanished", {"task": task.id, "reason": given.reason})
        return
    reason = f"{task.signal_reason}; {given.reason}" if task.signal else given.reason
    blame = "frame" if task.signal else given.blame
    failure = Failure(given.attempt, reason, blame, seconds, given.tail)
    yield effects.Sweep(task.id, given.attempt)
    yield from fail(state.policy, task, failure, given.now, final=not given.retriable and not task.signal)


def fail(policy: Policy, task: Task, failure: Failure, now: float, *, final: bool) -> Iterator[Step]:
    """Another attempt after a pause, or no more.  Only the frame's own failures count."""
    failures = (*task.failures, failure)
    counted = sum(f.counts for f in failures)
    fields = {"task": task.id, "attempt": failure.attempt, "seconds": failure.seconds, "reason": failure.reason}
    if failure.counts and (final or counted >= policy.attempts):
        yield records.Discarded(now, task.id, task.entry, failure.reason, failure.blame, failure)
        yield effects.Log("ERROR", "task.discarded", {**fields, "attempts": counted})
    else:
        pause = backoff(policy, len(failures))
        yield records.Failed(now, task.id, failure, now + pause)
        yield effects.Look(task.entry.place)  # is the frame still there?
        yield effects.Log("ERROR", "task.failed", {**fields, "blame": failure.blame, "again_in_seconds": pause})


def lose_unborn(state: State, now: float) -> Iterator[Step]:
    """The nursery is gone; what it was asked to fork and had not is tried again, and blames no frame."""
    for task in state.within("RUNNING"):
        if task.pid == 0:
            failure = Failure(task.attempt, "the nursery ended before it forked the worker", "environment", 0.0, "")
            yield from fail(state.policy, task, failure, now, final=False)


def overdue(task: Task, policy: Policy, now: float) -> tuple[Literal["", "TERM", "KILL"], str]:
    """-> (signal, reason) that a running worker has earned now, or two empty strings.

    A worker that is asked to end has the time between the two limits to do so, whenever it is asked.
    """
    due_at, signal, reason = next_limit(task, policy)
    return (signal, reason) if now >= due_at else ("", "")


def next_limit(task: Task, policy: Policy) -> tuple[float, Literal["", "TERM", "KILL"], str]:
    """-> (when, signal, reason): what happens to a running worker if it goes on as it is."""
    if task.pid == 0 or task.signal == "KILL":
        return math.inf, "", ""
    if task.signal == "TERM":
        return task.signal_at + policy.hard_seconds - policy.soft_seconds, "KILL", task.signal_reason
    stage = f" in stage {task.stage}" if task.stage else ""
    slow = task.since + policy.soft_seconds, f"exceeded the soft limit of {policy.soft_seconds:g} s{stage}"
    silence = policy.silence_seconds or math.inf
    silent = task.progress_at + silence, f"hung: no progress for {silence:g} s{stage}"
    due_at, reason = min(slow, silent)
    return due_at, "TERM", reason
