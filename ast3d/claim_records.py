"""Records about what a node works for, where several work together: see `ast3d.records`, which has the others."""

from dataclasses import dataclass

from ast3d.claim import Assignment, Claim


@dataclass(frozen=True)
class Owned:
    """The node's own telescopes, as it was told: they are also the next ast3d's until that is told."""

    assignment: Assignment


@dataclass(frozen=True)
class Released:
    """Frames that wait and are no more this node's business: tasks no longer.  They stay in the pool, for another node."""

    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Returned:
    """An attempt was kept out by a fence, which counts for nothing: READY again."""

    now: float
    task: str


@dataclass(frozen=True)
class Claimed:
    """All that the node works for from now on; `heard`: the agent said so."""

    held: dict[str, Claim]
    heard: bool


@dataclass(frozen=True)
class Parked:
    """The deadline of a claim has passed; or it has a new one."""

    telescope: str
    parked: bool


@dataclass(frozen=True)
class Fenced:
    """Work under this claim is accepted no more."""

    telescope: str
    epoch: int
    token: int


@dataclass(frozen=True)
class Served:
    """An attempt has ended that the machine is not to blame for."""


@dataclass(frozen=True)
class Sickened:
    """An attempt has failed by the machine's fault."""

    reason: str


DurableOfClaims = Owned | Released | Returned
VolatileOfClaims = Claimed | Parked | Fenced | Served | Sickened
