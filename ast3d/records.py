"""What happened, as facts: the only things that change the state.  `ast3d.fold.apply` folds them.

A record says what was decided, never how; `now` is CLOCK_BOOTTIME seconds.  Durable records are written to the relog before
anything is done that rests on them, and folded again by the next ast3d.  Volatile ones say what this ast3d sees of the
pools, its helpers and its configuration; the next one looks anew.
"""

from dataclasses import dataclass, field
from typing import Literal

from ast3d.claim import Assignment
from ast3d.claim_records import DurableOfClaims, VolatileOfClaims
from ast3d.policy import Policy
from ast3d.task import Blame, Breaker, Entry, Failure, Place, Sighting, Task

Helper = Literal["scout", "porter", "nursery"]
Halt = Literal["now", "drain", "kill"]


@dataclass(frozen=True)
class Configured:
    """The configuration was read; `problem` is empty or says what is wrong with the file."""

    policy: Policy
    problem: str


@dataclass(frozen=True)
class Seen:
    """A pool entry is new, or has changed since it was last looked at."""

    now: float
    sighting: Sighting


@dataclass(frozen=True)
class Asked:
    """The scout was asked for the frame-id of a complete frame."""

    place: Place


@dataclass(frozen=True)
class Unseen:
    """A pool entry is gone, or is not waited for any longer."""

    place: Place


@dataclass(frozen=True)
class Accepted:
    """A complete frame became a task: READY."""

    now: float
    task: str
    entry: Entry


@dataclass(frozen=True)
class Started:
    """An attempt was handed to the nursery: RUNNING.  `solo`: no other may run beside it."""

    now: float
    task: str
    attempt: int
    solo: bool = False


@dataclass(frozen=True)
class Adopted:
    """A worker of an earlier ast3d was found running."""

    now: float
    task: str
    entry: Entry
    attempt: int
    pid: int
    started: float


@dataclass(frozen=True)
class Spawned:
    """The nursery told the worker's process id."""

    task: str
    attempt: int
    pid: int


@dataclass(frozen=True)
class Progressed:
    """The worker entered another stage."""

    now: float
    task: str
    stage: str


@dataclass(frozen=True)
class Signalled:
    """The worker was asked to end (SIGTERM) or ended (SIGKILL), and why."""

    now: float
    task: str
    signal: Literal["TERM", "KILL"]
    reason: str


@dataclass(frozen=True)
class Failed:
    """An attempt ended without products; the next is due at `ready_at`: FAILED."""

    now: float
    task: str
    failure: Failure
    ready_at: float


@dataclass(frozen=True)
class Done:
    """The products are published; the frame has yet to leave the pool: DONE.  `night` is the products' folder."""

    now: float
    task: str
    entry: Entry
    night: str
    credited: bool


@dataclass(frozen=True)
class Discarded:
    """The frame is given up; it has yet to move into quarantine: DISCARDED.

    `failure` is the last attempt's, None where it was never tried;
    `incomplete`: it was shorter than its header says; should it grow on, it returns.
    """

    now: float
    task: str
    entry: Entry
    reason: str
    blame: Blame
    failure: Failure | None = None
    incomplete: bool = False


@dataclass(frozen=True)
class FilingAsked:
    """The porter was asked to move the frame."""

    task: str


@dataclass(frozen=True)
class Filed:
    """The frame has left the pool for `where` in the archive or the quarantine; the task leaves the state."""

    task: str
    where: str = ""


@dataclass(frozen=True)
class Grown:
    """A frame that was discarded as incomplete is not waited for any longer: it has grown."""

    task: str


@dataclass(frozen=True)
class FilingFailed:
    """The frame could not leave the pool; tried again at `ready_at`."""

    now: float
    task: str
    reason: str
    ready_at: float


@dataclass(frozen=True)
class Vanished:
    """The frame disappeared from the pool before its products were published."""

    task: str


@dataclass(frozen=True)
class Hurried:
    """An operator asked for a waiting task to be tried now."""

    now: float
    task: str


@dataclass(frozen=True)
class Paused:
    """No task starts before `until`."""

    until: float


@dataclass(frozen=True)
class Resumed:
    """Tasks start again."""


@dataclass(frozen=True)
class HelperChanged:
    """A helper process came up or went down."""

    helper: Helper
    up: bool


@dataclass(frozen=True)
class Scanned:
    """The scout has looked at every pool once; `problems` are what it could not watch or list."""

    problems: tuple[str, ...]


@dataclass(frozen=True)
class Began:
    """An ast3d has begun, knowing what the records before this one say; another boot id: the machine was down."""

    now: float
    boot_id: str


@dataclass(frozen=True)
class Halting:
    """An operator asked ast3d to end: nothing starts any more."""

    now: float
    mode: Halt


@dataclass(frozen=True)
class Stopped:
    """ast3d ends because it was asked to: should the machine go down next, that is no power cut."""


@dataclass(frozen=True)
class Suspected:
    """A frame may be what brings the machine down; `alone`: at how many power cuts it was the only one at work."""

    task: str
    alone: int


@dataclass(frozen=True)
class BreakerOpened:
    """Too many frames failed in the same way, or a probe did: one probe may start at `breaker.probe_at`."""

    breaker: Breaker


@dataclass(frozen=True)
class BreakerClosed:
    """A frame was processed: the machine is well."""


@dataclass(frozen=True)
class RelogChanged:
    """The relog cannot be written, for `problem`; or, if that is empty, can be again."""

    problem: str


@dataclass(frozen=True)
class Lost:
    """Records were lost, for these reasons; it is told until it is Acknowledged."""

    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Acknowledged:
    """An operator has seen what was lost."""


@dataclass(frozen=True)
class Kept:
    """A part of a snapshot: the task as it was when this was written."""

    task: Task


@dataclass(frozen=True)
class Totals:
    """The end of a snapshot: what is known beside the tasks.

    With it, all records before the sequence number `first` are needless: each task was Kept, or came, after it.
    """

    first: int
    boot_id: str
    stopped: bool
    done: int
    discarded: int
    paused_until: float
    breaker: Breaker | None
    causes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    torn: dict[str, tuple[str, int]] = field(default_factory=dict)
    losses: tuple[str, ...] = ()
    assignment: Assignment | None = None


Durable = (
    Began
    | Stopped
    | Accepted
    | Started
    | Adopted
    | Signalled
    | Failed
    | Done
    | Discarded
    | Suspected
    | BreakerOpened
    | BreakerClosed
    | Filed
    | FilingFailed
    | Grown
    | Vanished
    | Hurried
    | Paused
    | Resumed
    | Lost
    | Acknowledged
    | Kept
    | Totals
    | DurableOfClaims
)
Volatile = (
    Configured
    | Seen
    | Asked
    | Unseen
    | Spawned
    | Progressed
    | FilingAsked
    | HelperChanged
    | Scanned
    | RelogChanged
    | Halting
    | VolatileOfClaims
)
Record = Durable | Volatile
