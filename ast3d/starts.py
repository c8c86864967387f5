"""Who starts next, and how many at once.  Pure.

The node's own telescopes come before those of others that it stands in for.  Second attempts that are due come first, then
the frames in the order in which they came.  A suspect runs last and alone.  While the breaker is open one probe runs at a
time; while nothing can be remembered, one frame.
"""

from collections.abc import Iterator
from itertools import chain, islice

from ast3d import claims
from ast3d.state import State
from ast3d.task import Phase, Task


def next_starts(state: State, now: float) -> Iterator[Task]:
    """The tasks to start now, as many as there is room for."""
    running = list(state.within("RUNNING"))
    if any(task.solo for task in running):
        return
    if state.breaker:
        if not running and now >= state.breaker.probe_at:
            yield from islice(_probes(state, state.breaker.probes, now), 1)
        return
    free = (1 if state.relog_problem else state.policy.slots) - len(running)
    chosen = list(islice((task for task in _due(state, now) if not task.suspect), max(free, 0)))
    if not chosen and not running:
        chosen = list(islice((task for task in _due(state, now) if task.suspect), 1))
    yield from chosen


def _due(state: State, now: float) -> Iterator[Task]:
    for turn in claims.turns(state, now):
        yield from (task for task in _among(state, "FAILED", turn) if task.ready_at <= now)
        yield from _among(state, "READY", turn)


def _probes(state: State, probes: int, now: float) -> Iterator[Task]:
    """A frame that has failed already, rather than one more; whatever its own pause, the breaker has the longer one.

    Every other time it is one that has not, or else a suspect: some frames fail on a machine that is well.
    """
    for turn in claims.turns(state, now):
        failed = sorted(_among(state, "FAILED", turn), key=lambda task: task.ready_at)
        if probes % 2:
            yield from chain(_among(state, "READY", turn), failed)
        else:
            yield from chain((task for task in failed if not task.suspect), _among(state, "READY", turn), failed)


def _among(state: State, phase: Phase, telescopes: frozenset[str] | None) -> Iterator[Task]:
    """The tasks of these telescopes; None: of all."""
    return (task for task in state.within(phase) if telescopes is None or task.entry.place.telescope in telescopes)
