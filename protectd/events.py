"""What the guard is told, and what it answers; `protectd.judge` decides, `protectd.watch` carries out."""

from typing import Any, NamedTuple

from protectd.message import Message, Settings
from protectd.proc import Look

# --- what comes in


class Heard(NamedTuple):
    """A datagram."""

    now: float
    message: Message


class Gone(NamedTuple):
    """This process, the peer, ended."""

    now: float
    pid: int
    ticks: int


class Looked(NamedTuple):
    """The answer to LookAt; no look: there is no such process."""

    now: float
    pid: int
    ticks: int
    look: Look | None


class Seen(NamedTuple):
    """The answer to SeeWho: which process holds the peer's lock, whether the marker of a stop on purpose is there, and what
    that process last said to anybody ("": nothing).
    """

    now: float
    holder: tuple[int, int] | None
    stopped: bool
    says: str = ""


class Began(NamedTuple):
    """The answer to Start: this process was made; or one that is not known, which has UNKNOWN_SECONDS to speak."""

    now: float
    pid: int | None
    ticks: int = 0


class Failed(NamedTuple):
    """The other answer to Start."""

    now: float
    reason: str


class Tick(NamedTuple):
    """One turn of the loop; everything that came before has been put in."""

    now: float


class Told(NamedTuple):
    """The configuration changed."""

    now: float
    settings: Settings


Input = Heard | Gone | Looked | Seen | Began | Failed | Tick | Told


# --- what goes out


class LookAt(NamedTuple):
    """Look at this process."""

    pid: int
    ticks: int


class Follow(NamedTuple):
    """This is the peer from now on: say when it ends (at once, where there is no such process)."""

    pid: int
    ticks: int


class Kill(NamedTuple):
    """SIGKILL, if it is still this process."""

    pid: int
    ticks: int
    reason: str


class SeeWho(NamedTuple):
    """See who holds the peer's lock."""


class Start(NamedTuple):
    """Start the peer."""

    reason: str


class Say(NamedTuple):
    """An event for the log."""

    level: str
    event: str
    fields: dict[str, Any]


Action = LookAt | Follow | Kill | SeeWho | Start | Say
