"""What happened, as facts: the only things that change the state.  `ast3d.state.apply` folds them.

A record says what was decided, never how; `now` is CLOCK_BOOTTIME seconds.  Names are str with surrogate escapes.
"""

from dataclasses import dataclass
from typing import Literal

from ast3d.policy import Policy

Blame = Literal["frame", "environment"]
FileKind = Literal["regular", "fifo", "link", "device", "socket"]
Arrival = Literal["listed", "renamed", "done"]
Helper = Literal["scout", "porter", "nursery"]


@dataclass(frozen=True)
class Place:
    """Where a frame lies in the task pool."""

    telescope: str
    name: str


@dataclass(frozen=True)
class Entry:
    """A pool entry as it was when it was looked at; another size or mtime is another file."""

    place: Place
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Sighting:
    """What one look at a pool entry showed.

    `needs` is the number of bytes that its FITS headers promise, 0 where they promise nothing;
    `arrival` is how it came: a rename that was observed, a sidecar NAME.done, or merely listed.
    """

    entry: Entry
    kind: FileKind
    arrival: Arrival
    needs: int


@dataclass(frozen=True)
class Failure:
    """Why one attempt did not end in published products.  `counts`: it was the frame's fault."""

    attempt: int
    reason: str
    blame: Blame
    seconds: float
    tail: str

    @property
    def counts(self) -> bool:
        return self.blame == "frame"


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
    """An attempt was handed to the nursery: RUNNING."""

    now: float
    task: str
    attempt: int


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


Record = (
    Configured
    | Seen
    | Asked
    | Unseen
    | Accepted
    | Started
    | Adopted
    | Spawned
    | Progressed
    | Signalled
    | Failed
    | Done
    | Discarded
    | FilingAsked
    | Filed
    | Grown
    | FilingFailed
    | Vanished
    | Hurried
    | Paused
    | Resumed
    | HelperChanged
    | Scanned
)
