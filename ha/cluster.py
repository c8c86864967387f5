"""The nouns of a cluster: what etcd says, what other nodes say, what is known of a telescope.

Times are CLOCK_BOOTTIME seconds of the node that keeps them; no node ever compares its clock with another's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ha.plan import Assignment, Policy


@dataclass(frozen=True, slots=True)
class Ownership:
    """Who owns and who holds a telescope, as etcd has it under tel/TELESCOPE.

    `epoch` rises with the owner, `token` (the key's mod_revision) with each change; `why` says in words what made the
    last one; `flaps`: how often its owner lost it again soon after it got it back.
    """

    owner: str
    epoch: int
    holder: str
    token: int
    why: str = ""
    flaps: int = 0
    pinned: bool = False

    @property
    def rank(self) -> tuple[int, int]:
        """Of two the greater is the later."""
        return self.epoch, self.token

    @property
    def assignment(self) -> Assignment:
        return Assignment(self.owner, self.holder, self.pinned)


def later(known: Mapping[str, Ownership], seen: Mapping[str, Ownership]) -> dict[str, Ownership]:
    """Of each telescope what is later: an etcd that was restored from a copy may have forgotten what is known."""
    return {**known, **{name: new for name, new in seen.items() if name not in known or new.rank >= known[name].rank}}


@dataclass(frozen=True, slots=True)
class Order:
    """An operator wants a telescope's work at a node, as etcd has it under order/TELESCOPE.

    `permanent`: as its own; `pinned`: it stays there, although its owner is able.
    """

    to: str
    permanent: bool
    pinned: bool
    revision: int


@dataclass(frozen=True, slots=True)
class Presence:
    """What a node says of itself under node/NAME, there as long as its lease; `telescopes`: that its configuration has."""

    able: bool
    reason: str
    telescopes: frozenset[str]

    def can(self, telescope: str) -> bool:
        """Whether it can work for a telescope."""
        return self.able and telescope in self.telescopes


@dataclass(frozen=True, slots=True)
class View:
    """All that etcd had at `at` (before it was asked); `unreadable`: telescopes with nonsense, and its revision."""

    at: float
    telescopes: dict[str, Ownership]
    orders: dict[str, Order]
    presences: dict[str, Presence]
    unreadable: dict[str, int]


@dataclass(frozen=True, slots=True)
class Standing:
    """A node's last answer on the second path, to what was asked at `at`; `problem`: why there is none since.

    `works`: the telescopes that it works for now.
    """

    at: float
    able: bool
    reason: str
    works: frozenset[str]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Home:
    """A telescope as the configuration has it: the node whose it is when it is new, and its array."""

    node: str
    array: str | None = None


@dataclass(frozen=True)
class Settings:
    """What decisions need of the configuration; see `ast3d.common.cluster_schema` for the numbers."""

    node: str = ""
    policy: Policy = field(default_factory=Policy)
    telescopes: dict[str, Home] = field(default_factory=dict)
    lease_seconds: int = 6
    able_seconds: float = 40.0
    handback_after_seconds: float = 120.0
    flap_seconds: float = 1800.0
    quorum_seconds: float = 8.0


@dataclass(frozen=True, slots=True)
class Claim:
    """That ast3d may work for a telescope: its own until further notice, another's until `deadline`."""

    epoch: int
    token: int
    own: bool
    deadline: float | None


@dataclass(frozen=True, slots=True)
class Daemon:
    """What ast3d answered: see `ast3d.claims`.

    `served`: attempts that ended well or by their frame's fault; `ill`: the machine's last failure since then; `broken`:
    what is wrong with the machine now, work or not; `waiting` and `running` count frames by telescope; `fenced`: the
    claims, each as (epoch, token), whose work the products' store refuses.
    """

    served: int
    ill: str
    broken: str
    running: dict[str, int]
    waiting: dict[str, int]
    fenced: dict[str, tuple[int, int]]
