"""Frames leave the pool, for the archive or the quarantine, and some come back from there.  Pure.

A frame comes back when an operator asks for it, when it was discarded as incomplete and has grown, and when it was tried
with other code, or under another configuration, than is at work now.
"""

from collections.abc import Iterator

from ast3d import claims, effects, records
from ast3d import inputs as i
from ast3d.policy import REFILE_LIMIT_SECONDS, REFILE_SECONDS, Policy
from ast3d.state import State
from ast3d.task import Task

Step = records.Record | effects.Effect


def ask(state: State, now: float) -> Iterator[Step]:
    """Have the porter move what is ready to go."""
    if "porter" not in state.helpers:
        return
    for task in state.within("DONE", "DISCARDED"):
        if task.filing or task.ready_at > now:
            continue
        yield records.FilingAsked(task.id)
        if task.phase == "DONE":
            yield effects.Archive(task.id, task.entry, task.night)
        else:
            yield effects.Quarantine(task.id, task.entry, task.reason, task.blame, task.failures, task.incomplete)


def end(state: State, given: i.FrameFiled) -> Iterator[Step]:
    """The porter has moved a frame, or could not."""
    task = state.tasks.get(given.task)
    if task is None or task.phase not in ("DONE", "DISCARDED"):
        return
    if given.outcome == "failed":
        yield from _try_again(task, given)
        return
    if given.outcome == "published":
        yield records.Done(given.now, task.id, task.entry, given.detail, credited=False)
        yield effects.Log("INFO", "task.done", {"task": task.id, "night": given.detail, "late": True})
        return
    filed = given.outcome == "filed"
    yield records.Filed(given.task, given.detail if filed else "")
    yield effects.Log("INFO" if filed else "ERROR", "task.filed", _fields(given))
    if filed and task.incomplete:
        yield effects.WatchGrowth(task.id, given.detail, task.entry.size)
    elif filed and _was_tried_otherwise(task, state):
        yield effects.Restore(task.id, request=0)
    yield effects.Look(task.entry.place)  # what came under its name by now was taken for it


def _try_again(task: Task, given: i.FrameFiled) -> Iterator[Step]:
    pause = min(REFILE_SECONDS * 2.0 ** min(task.unfiled, 10), REFILE_LIMIT_SECONDS)
    yield records.FilingFailed(given.now, task.id, given.detail, given.now + pause)
    if given.detail != task.filing_problem:
        yield effects.Log("ERROR", "task.unfiled", _fields(given))


def _fields(given: i.FrameFiled) -> dict[str, str]:
    return {"task": given.task, "outcome": given.outcome, "detail": given.detail}


def _was_tried_otherwise(task: Task, state: State) -> bool:
    telescope = task.entry.place.telescope
    if task.phase != "DISCARDED" or not task.failures or not claims.holds(state, telescope):
        return False
    return task.failures[-1].fingerprint != state.policy.fingerprint_of(telescope)


def reconsider(state: State, policy: Policy, now: float) -> effects.Reconsider:
    """Those that are on their way into the quarantine are judged when they have arrived."""
    but = tuple(task.id for task in state.within("DISCARDED"))
    return effects.Reconsider(policy.fingerprint, but, claims.retried(state, policy, now))


def return_to_pool(state: State, given: i.FrameRestored) -> Iterator[Step]:
    """The porter has brought a frame back, or could not."""
    if given.problem:
        yield effects.Log("ERROR", "task.unrestored", {"task": given.task, "reason": given.problem})
    else:
        yield effects.Log("INFO", "task.restored", {"task": given.task})
        if given.task in state.torn:
            yield records.Grown(given.task)
    if given.request:
        result = None if given.problem else {"task": given.task, "state": "SEEN"}
        yield effects.Reply(given.request, result, given.problem)


def grow(state: State, given: i.FrameGrew) -> Iterator[Step]:
    """A frame that was incomplete has grown in the quarantine."""
    if "porter" not in state.helpers:
        path, size = state.torn.get(given.task, ("", 0))
        yield effects.WatchGrowth(given.task, path, size)  # told again at the next look
    elif given.task not in state.tasks:
        yield effects.Log("INFO", "task.grew", {"task": given.task})
        yield effects.Restore(given.task, request=0)
