"""What the world told ast3d, each with the time (CLOCK_BOOTTIME seconds) at which it was told."""

from dataclasses import dataclass
from typing import Literal

from ast3d.claim import Claim, Rank
from ast3d.policy import Policy
from ast3d.records import Halt, Helper
from ast3d.task import Blame, Entry, Place, Sighting


@dataclass(frozen=True)
class Tick:
    """Time has passed: deadlines, and work to start."""

    now: float


@dataclass(frozen=True)
class DaemonBegan:
    """At start, after the records of earlier ones were folded; then each worker that was running is found, or has ended."""

    now: float
    boot_id: str


@dataclass(frozen=True)
class DaemonStops:
    """ast3d was asked to end."""

    now: float


@dataclass(frozen=True)
class RelogChanged:
    """The relog cannot be written, for `problem`; or, if that is empty, can be again."""

    now: float
    problem: str


@dataclass(frozen=True)
class RelogMoved:
    """A segment could not be written any more and was given up for another, for `reason`; nothing is lost by it."""

    now: float
    reason: str


@dataclass(frozen=True)
class RecordsLost:
    """At start: the relog does not tell all that it was told; `reasons` say what is missing, a line each."""

    now: float
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class ConfigurationRead:
    """At start and on SIGHUP.  `policy` is None where the file was refused and the old one stays."""

    now: float
    policy: Policy | None
    problem: str


@dataclass(frozen=True)
class HelperUp:
    """A helper process is there, knowing nothing."""

    now: float
    helper: Helper


@dataclass(frozen=True)
class HelperDown:
    """A helper process ended; what it was asked and did not answer was not done, or will be found done."""

    now: float
    helper: Helper
    reason: str


@dataclass(frozen=True)
class Sighted:
    """The scout looked at pool entries that are new to it or have changed."""

    now: float
    sightings: tuple[Sighting, ...]


@dataclass(frozen=True)
class Gone:
    """Pool entries are no longer there."""

    now: float
    places: tuple[Place, ...]


@dataclass(frozen=True)
class ScanEnded:
    """The scout has looked at every pool."""

    now: float
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Identified:
    """The scout's answer to Identify.  `published`: the NIGHT under which products stand already, or empty."""

    now: float
    entry: Entry
    task: str
    published: str


@dataclass(frozen=True)
class WorkerFound:
    """At start: a worker of an earlier ast3d that is still running.  `started` on this boot's clock."""

    now: float
    task: str
    entry: Entry
    attempt: int
    pid: int
    started: float


@dataclass(frozen=True)
class WorkerSpawned:
    """The nursery forked the worker."""

    now: float
    task: str
    attempt: int
    pid: int


@dataclass(frozen=True)
class WorkerProgressed:
    """The worker entered a stage."""

    now: float
    task: str
    attempt: int
    stage: str


@dataclass(frozen=True)
class WorkerEnded:
    """The worker's process is gone.  Published under `night`, or failed for `reason`.

    `retriable` False: trying again cannot help.  `changed`: it was another frame by then than the one that was meant.
    `lost`: it ended without a word.  `fingerprint`: of the code and configuration that it was given; empty if unknown.
    `found`: the products stood already.  `fenced`: the claim whose work is accepted no more, None where that was not it.
    """

    now: float
    task: str
    attempt: int
    night: str
    reason: str
    blame: Blame
    retriable: bool
    tail: str
    changed: bool = False
    lost: bool = False
    fingerprint: str = ""
    found: bool = False
    fenced: Rank | None = None


@dataclass(frozen=True)
class FrameFiled:
    """The porter's answer to Archive and Quarantine; `detail` is where the frame is now, or what went wrong.

    changed: another file has taken its name, which stays; vanished: it is not in the pool any more;
    published: its products stand, so it is no failure (`detail` is the night); failed: to be tried again.
    """

    now: float
    task: str
    outcome: Literal["filed", "changed", "vanished", "published", "failed"]
    detail: str


@dataclass(frozen=True)
class FrameRestored:
    """The porter's answer to Restore."""

    now: float
    task: str
    request: int
    problem: str


@dataclass(frozen=True)
class FrameGrew:
    """A frame that was discarded as incomplete has grown."""

    now: float
    task: str


@dataclass(frozen=True)
class Sought:
    """The scout's answer to Seek: where the frame went, or empty; `reason`: how it was missed."""

    now: float
    task: str
    where: str
    reason: str


@dataclass(frozen=True)
class Assigned:
    """ast3-ha: all that this node works for, with deadlines on the clock of this boot."""

    now: float
    request: int
    boot_id: str
    claims: dict[str, Claim]


@dataclass(frozen=True)
class Retry:
    """An operator: try this task now, also one in quarantine."""

    now: float
    request: int
    task: str


@dataclass(frozen=True)
class Pause:
    """An operator: start no task for some time; 0: for as long as is usual."""

    now: float
    request: int
    seconds: float


@dataclass(frozen=True)
class Resume:
    """An operator: start tasks again."""

    now: float
    request: int


@dataclass(frozen=True)
class Stop:
    """An operator: end, and stay ended until you are started on purpose; see `ast3d.halt`."""

    now: float
    request: int
    mode: Halt


@dataclass(frozen=True)
class Acknowledge:
    """An operator: it has been seen that records were lost."""

    now: float
    request: int


Input = (
    Tick
    | DaemonBegan
    | DaemonStops
    | RelogChanged
    | RelogMoved
    | RecordsLost
    | ConfigurationRead
    | HelperUp
    | HelperDown
    | Sighted
    | Gone
    | ScanEnded
    | Identified
    | WorkerFound
    | WorkerSpawned
    | WorkerProgressed
    | WorkerEnded
    | FrameFiled
    | FrameRestored
    | FrameGrew
    | Sought
    | Assigned
    | Retry
    | Pause
    | Resume
    | Stop
    | Acknowledge
)
