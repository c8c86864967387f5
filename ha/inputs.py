"""What the world told the agent, each with the time (CLOCK_BOOTTIME seconds) at which it was told."""

from collections.abc import Mapping
from dataclasses import dataclass

from ha.cluster import Daemon, Ownership, Settings, Standing, View


@dataclass(frozen=True)
class AgentBegan:
    """At start, with what an earlier agent remembered."""

    now: float
    remembered: Mapping[str, Ownership]


@dataclass(frozen=True)
class ConfigurationRead:
    """At start and on SIGHUP."""

    now: float
    settings: Settings


@dataclass(frozen=True)
class Tick:
    """A period has passed."""

    now: float


@dataclass(frozen=True)
class Cycled:
    """The courier's answer; see `ha.courier`.

    `gone`: etcd said that the lease is; `renewed_at` is None where it could be neither renewed nor granted, `view` where
    nothing could be read; `namesake`: somebody else has put this node's presence since.
    """

    now: float
    lease: int
    gone: bool
    granted: bool
    renewed_at: float | None
    view: View | None
    problem: str
    namesake: bool = False


@dataclass(frozen=True)
class CourierLost:
    """The courier ended; what it was sent for may have been done."""

    now: float


@dataclass(frozen=True)
class RoundEnded:
    """Every other node was asked on the second path."""

    now: float
    standings: Mapping[str, Standing]


@dataclass(frozen=True)
class DaemonTold:
    """ast3d was told the claims `claimed`; None: it did not answer, for `problem`."""

    now: float
    claimed: frozenset[str]
    daemon: Daemon | None
    problem: str


@dataclass(frozen=True)
class Handover:
    """An operator: what `what` (a node, a telescope, an array) works for, or is, goes to another node."""

    now: float
    request: int
    what: str
    to: str
    permanent: bool


@dataclass(frozen=True)
class Handback:
    """An operator: the telescopes of a node, wherever they are, go back to it."""

    now: float
    request: int
    node: str


Input = AgentBegan | ConfigurationRead | Tick | Cycled | CourierLost | RoundEnded | DaemonTold | Handover | Handback
