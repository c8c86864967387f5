"""What happened, as facts: the only things that change the agent's state.  `ha.fold.apply` folds them.

Only Remembered outlives the agent (state/ha.json): what it last knew of who owns and holds what.  All else is seen anew.
"""

from dataclasses import dataclass

from ha.cluster import Daemon, Order, Ownership, Settings, Standing, View


@dataclass(frozen=True)
class Configured:
    """The configuration was read."""

    settings: Settings


@dataclass(frozen=True)
class Began:
    """An agent has begun."""

    now: float


@dataclass(frozen=True)
class Remembered:
    """Who owns and holds what, as it was last known."""

    telescopes: dict[str, Ownership]


@dataclass(frozen=True)
class Viewed:
    """etcd answered with all that it has."""

    now: float
    view: View


@dataclass(frozen=True)
class Leased:
    """The node's lease, which lasts so many seconds, and until when etcd keeps it at least; `lease` 0: there is none."""

    lease: int
    until: float
    seconds: int


@dataclass(frozen=True)
class LeaseLost:
    """etcd says that the lease is gone, which it may say wrongly."""

    now: float


@dataclass(frozen=True)
class LeaseAgain:
    """There is another one, so many seconds after it was found gone."""

    seconds: float


@dataclass(frozen=True)
class Usurped:
    """How often in a row another has put this node's presence; 0: nobody does."""

    times: int


@dataclass(frozen=True)
class StoreTrouble:
    """What is wrong with etcd; empty: nothing any more.  `told`: a line in the log says so."""

    now: float
    problem: str
    told: bool


@dataclass(frozen=True)
class Asked:
    """The courier was sent to etcd, to ask for a lease of so many seconds; until it is back it is not sent again."""

    now: float
    lease_seconds: int


@dataclass(frozen=True)
class Returned:
    """The courier is back, or gone."""


@dataclass(frozen=True)
class Probed:
    """A round of questions on the second path has ended."""

    now: float
    standings: dict[str, Standing]


@dataclass(frozen=True)
class Told:
    """ast3d was told to work for `claimed`, and answered; `daemon` None: it did not, for `problem`."""

    now: float
    claimed: frozenset[str]
    daemon: Daemon | None
    problem: str


@dataclass(frozen=True)
class Progressed:
    """ast3d got on with its work, or has none."""

    now: float


@dataclass(frozen=True)
class Able:
    """Whether this node can work, and why not."""

    now: float
    able: bool
    reason: str


@dataclass(frozen=True)
class Releasing:
    """This node stops working for a telescope, at a task boundary, for the benefit of another."""

    telescope: str
    to: str


@dataclass(frozen=True)
class Kept:
    """It goes on after all, or has handed over."""

    telescope: str


@dataclass(frozen=True)
class Wished:
    """Operators want telescopes elsewhere; etcd has yet to be told.  Without the revisions, which that gives."""

    orders: dict[str, Order]


@dataclass(frozen=True)
class Lent:
    """The telescopes that this node works for without etcd's word: another's (provisional), or its own."""

    telescopes: frozenset[str]


Record = (
    Configured
    | Began
    | Remembered
    | Viewed
    | Leased
    | LeaseLost
    | LeaseAgain
    | Usurped
    | StoreTrouble
    | Asked
    | Returned
    | Probed
    | Told
    | Progressed
    | Able
    | Releasing
    | Kept
    | Wished
    | Lent
)
