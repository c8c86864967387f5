"""What the shell is told to do.  Effects are data; `ast3d.shell` carries them out after the records are applied."""

from dataclasses import dataclass, field
from typing import Any, Literal

from ast3d.claim import Claim
from ast3d.task import Entry, Failure, Place

Level = Literal["DEBUG", "INFO", "ERROR", "FATAL"]


@dataclass(frozen=True)
class Identify:
    """Ask the scout: is it still as it was seen, what is its frame-id, are its products published?"""

    entry: Entry


@dataclass(frozen=True)
class Look:
    """Have the scout forget what it told of a pool entry and tell it anew."""

    place: Place


@dataclass(frozen=True)
class Watch:
    """Have the scout look at the pools of the telescopes that are this node's business now, and at no other."""


@dataclass(frozen=True)
class Seek:
    """Ask the scout where a frame has gone that left the pool; `reason`: how it was missed."""

    task: str
    place: Place
    reason: str


@dataclass(frozen=True)
class WatchGrowth:
    """Have the scout tell when a frame that was discarded as incomplete grows on."""

    task: str
    path: str
    size: int


@dataclass(frozen=True)
class Start:
    """Have the nursery fork a worker, which publishes under the claim, if there is one."""

    task: str
    entry: Entry
    attempt: int
    claim: Claim | None = None


@dataclass(frozen=True)
class Kill:
    """Send a signal to the worker's whole process group."""

    task: str
    attempt: int
    pid: int
    signal: Literal["TERM", "KILL"]


@dataclass(frozen=True)
class Archive:
    """Have the porter move the frame into the archive."""

    task: str
    entry: Entry
    night: str


@dataclass(frozen=True)
class Quarantine:
    """Have the porter move the frame into the quarantine, with why.json beside it."""

    task: str
    entry: Entry
    reason: str
    blame: str
    failures: tuple[Failure, ...]
    incomplete: bool


@dataclass(frozen=True)
class Restore:
    """Have the porter move a quarantined frame back into its pool; `request` is the operator's, or 0."""

    task: str
    request: int


@dataclass(frozen=True)
class Reconsider:
    """Have the porter move all quarantined frames back that were tried with other code or configuration than this.

    `but`: those that have yet to arrive there; see `ast3d.filing`.  `telescopes`: those of no other, each with its own
    fingerprint; None: those of all.
    """

    fingerprint: str
    but: tuple[str, ...]
    telescopes: dict[str, str] | None = None


@dataclass(frozen=True)
class Sweep:
    """Have the porter remove what an attempt left half-written."""

    task: str
    attempt: int


@dataclass(frozen=True)
class Reply:
    """Answer an operator."""

    request: int
    result: dict[str, Any] | None
    error: str = ""


@dataclass(frozen=True)
class End:
    """End this ast3d: an operator asked for it, and what was to be waited for is over."""


@dataclass(frozen=True)
class Log:
    """A line in the routine log."""

    level: Level
    event: str
    fields: dict[str, Any] = field(default_factory=dict)


Binding = Start | Archive | Quarantine | Restore | Reconsider | Reply  # only when what they rest on is durable
Effect = Binding | Identify | Look | Watch | Seek | WatchGrowth | Kill | Sweep | End | Log
