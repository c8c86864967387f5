"""What a frame and its task are: the nouns that records, state and decisions share.

Names of files are str with surrogate escapes; times are CLOCK_BOOTTIME seconds.
"""

from dataclasses import dataclass
from typing import Literal

Phase = Literal["READY", "RUNNING", "FAILED", "DONE", "DISCARDED"]
Blame = Literal["frame", "environment"]
FileKind = Literal["regular", "fifo", "link", "device", "socket"]
Arrival = Literal["listed", "renamed", "done"]
Helper = Literal["scout", "porter", "nursery"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a frame lies in the task pool."""

    telescope: str
    name: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A pool entry as it was when it was looked at; another size or mtime is another file."""

    place: Place
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one look at a pool entry showed.

    `needs` is the number of bytes that its FITS headers promise, 0 where they promise nothing;
    `arrival` is how it came: a rename that was observed, a sidecar NAME.done, or merely listed.
    """

    entry: Entry
    kind: FileKind
    arrival: Arrival
    needs: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one attempt did not end in published products.  `counts`: it was the frame's fault.

    `cause`: what failures of the machine have in common that would hit other frames too; empty where it was none.
    `fingerprint`: of the code and configuration that the attempt was made with.
    """

    attempt: int
    reason: str
    blame: Blame
    seconds: float
    tail: str
    cause: str = ""
    fingerprint: str = ""

    @property
    def counts(self) -> bool:
        return self.blame == "frame"


@dataclass(frozen=True, slots=True)
class Task:
    """A frame on its way.  DONE and DISCARDED last only until the frame has left the pool.

    `suspect`: it was running at a power cut, or the machine has failed it again and again; it runs last and alone.
    `alone`: at how many power cuts it was the only one at work.  `cut`: its worker went down with the machine.
    """

    id: str
    entry: Entry
    phase: Phase
    since: float
    ready_at: float
    attempt: int = 0
    pid: int = 0
    stage: str = ""
    progress_at: float = 0.0
    signal: Literal["", "TERM", "KILL"] = ""
    signal_reason: str = ""
    signal_at: float = 0.0
    failures: tuple[Failure, ...] = ()
    night: str = ""
    reason: str = ""
    blame: Blame = "frame"
    incomplete: bool = False
    filing: bool = False  # the porter is at it
    filing_problem: str = ""
    unfiled: int = 0  # how often it could not be moved
    suspect: bool = False
    solo: bool = False  # this attempt runs alone
    cut: bool = False
    alone: int = 0


@dataclass(frozen=True, slots=True)
class Breaker:
    """The machine failed three different frames in the same way: one probe at a time until one succeeds.

    `probes`: how many have failed; the next may start at `probe_at`.
    """

    cause: str
    reason: str
    since: float
    probe_at: float
    probes: int = 0
