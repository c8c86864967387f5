"""Who starts next, and how many at once.  Pure.

Second attempts that are due come first, then the frames in the order in which they came.  A suspect runs last and alone.
While the breaker is open one probe runs at a time; while nothing can be remembered, one frame.
"""

from collections.abc import Iterator
from itertools import chain, islice

from ast3d.state import State
from ast3d.task import Task


def next_starts(state: State, now: float) -> Iterator[Task]:
    """The tasks to start now, as many as there is room for."""
    running = list(state.within("RUNNING"))
    if any(task.solo for task in running):
        return
    if state.breaker:
        if not running and now >= state.breaker.probe_at:
            yield from islice(_probes(state, state.breaker.probes), 1)
        return
    free = (1 if state.relog_problem else state.policy.slots) - len(running)
    chosen = list(islice((task for task in _due(state, now) if not task.suspect), max(free, 0)))
    if not chosen and not running:
        chosen = list(islice((task for task in _due(state, now) if task.suspect), 1))
    yield from chosen


def _due(state: State, now: float) -> Iterator[Task]:
    return chain((task for task in state.within("FAILED") if task.ready_at <= now), state.within("READY"))


def _probes(state: State, probes: int) -> Iterator[Task]:
    """A frame that has failed already, rather than one more; whatever its own pause, the breaker has the longer one.

    Every other time it is one that has not, or else a suspect: some frames fail on a machine that is well.
    """
    failed = sorted(state.within("FAILED"), key=lambda task: task.ready_at)
    if probes % 2:
        return chain(state.within("READY"), failed)
    return chain((task for task in failed if not task.suspect), state.within("READY"), failed)
