"""What ast3d knows: frames that wait, tasks, helpers, totals; and the indexes by which they are found.

Only `ast3d.fold` changes it, by the four functions below, which keep the indexes right.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ast3d import records as r
from ast3d.claim import Claims
from ast3d.policy import Policy
from ast3d.task import Breaker, Phase, Place, Sighting, Task

PHASES: tuple[Phase, ...] = ("READY", "RUNNING", "FAILED", "DONE", "DISCARDED")

Patience = Literal["none", "settle", "incomplete"]  # how long an entry that does not change is waited for
PATIENCES: tuple[Patience, ...] = ("none", "settle", "incomplete")


@dataclass(frozen=True, slots=True)
class Waiting:
    """A pool entry that is not a task yet.  `since`: when it last changed; `asked`: the scout is looking at it."""

    sighting: Sighting
    since: float
    asked: bool = False

    @property
    def patience(self) -> Patience:
        """What is no regular file, and what arrived by a rename or with a sidecar, is not waited for.

        A frame that is shorter than its header says is given its time however it arrived.
        """
        if self.sighting.kind != "regular":
            return "none"
        if self.sighting.entry.size < self.sighting.needs:
            return "incomplete"
        return "settle" if self.sighting.arrival == "listed" else "none"


@dataclass
class State:
    """Everything that decisions rest on.

    `phases` indexes `tasks`, each phase in the order of entering it; `queues` indexes the part of `waiting` that nobody
    has been asked about and whose place no task holds, in the order of coming.
    """

    policy: Policy = field(default_factory=Policy)
    configuration_problem: str = ""
    waiting: dict[Place, Waiting] = field(default_factory=dict)
    queues: dict[Patience, dict[Place, None]] = field(default_factory=lambda: {patience: {} for patience in PATIENCES})
    asked: int = 0  # of those waiting
    tasks: dict[str, Task] = field(default_factory=dict)
    phases: dict[Phase, dict[str, None]] = field(default_factory=lambda: {phase: {} for phase in PHASES})
    places: dict[Place, str] = field(default_factory=dict)
    helpers: set[r.Helper] = field(default_factory=set)  # that are up
    lost: set[r.Helper] = field(default_factory=set)  # that went down and are being started again
    torn: dict[str, tuple[str, int]] = field(default_factory=dict)  # incomplete, in quarantine: where, how long
    scanned: bool = False
    pool_problems: tuple[str, ...] = ()
    relog_problem: str = ""
    losses: tuple[str, ...] = ()  # of records, that no operator has acknowledged
    paused_until: float = 0.0
    done: int = 0
    discarded: int = 0
    boot_id: str = ""
    halting: r.Halting | None = None  # an operator asked this ast3d to end
    stopped: bool = False  # the last ast3d ended on purpose
    breaker: Breaker | None = None
    claims: Claims = field(default_factory=Claims)  # of nothing where there is only this node
    causes: dict[str, tuple[str, ...]] = field(default_factory=dict)  # the machine's failures -> the tasks they hit

    def within(self, *phases: Phase) -> Iterator[Task]:
        """The tasks in some phases."""
        return (self.tasks[task] for phase in phases for task in self.phases[phase])


def put(state: State, place: Place, entry: Waiting | None) -> None:
    """What waits at a place from now on, None for nothing."""
    if before := state.waiting.pop(place, None):
        state.asked -= before.asked
    for queue in state.queues.values():
        queue.pop(place, None)
        if not queue:
            queue.clear()  # what is empty would keep the room for all that ever waited
    if not state.waiting:
        state.waiting.clear()
    if entry:
        state.waiting[place] = entry
        state.asked += entry.asked
        if not entry.asked and place not in state.places:
            state.queues[entry.patience][place] = None


def add(state: State, task: Task) -> None:
    """A task that is new, or known otherwise from now on; another one at its place is none any more."""
    drop(state, task.id)
    if holder := state.places.get(task.entry.place):
        drop(state, holder)
    state.tasks[task.id] = task
    state.phases[task.phase][task.id] = None
    state.places[task.entry.place] = task.id
    waiting = state.waiting.get(task.entry.place)
    if waiting:
        put(state, task.entry.place, None if waiting.sighting.entry == task.entry else waiting)


def change(state: State, task_id: str, **changes: Any) -> None:
    """Fields of a task, if it is there."""
    if task := state.tasks.get(task_id):
        changed = replace(task, **changes)
        state.tasks[task_id] = changed
        if changed.phase != task.phase:
            del state.phases[task.phase][task_id]
            state.phases[changed.phase][task_id] = None


def drop(state: State, task_id: str) -> None:
    """A task is none any more; what waits at its place waits for nobody else now."""
    if task := state.tasks.pop(task_id, None):
        del state.phases[task.phase][task_id]
        if state.places.get(task.entry.place) == task_id:
            del state.places[task.entry.place]
            if waiting := state.waiting.get(task.entry.place):
                put(state, task.entry.place, waiting)
