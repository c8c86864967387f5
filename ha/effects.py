"""What the agent's shell is told to do.  Effects are data; `ha.daemon` carries them out after the records are applied."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ha.cluster import Claim, Ownership, Presence

Level = Literal["DEBUG", "INFO", "ERROR", "FATAL"]


@dataclass(frozen=True)
class Txn:
    """A change in etcd, whole or not at all: only if the keys have these revisions (0: are not there)."""

    expect: Mapping[str, int]
    put: Mapping[str, str] = field(default_factory=dict)
    delete: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cycle:
    """Send the courier to etcd: renew the lease (0: get one), say how this node is, make the changes, read everything."""

    lease: int
    lease_seconds: int
    presence: Presence
    changes: tuple[Txn, ...]


@dataclass(frozen=True)
class Tell:
    """Tell ast3d all that it may work for."""

    claims: Mapping[str, Claim]


@dataclass(frozen=True)
class Save:
    """Write down, durably, who owns and holds what."""

    telescopes: Mapping[str, Ownership]


@dataclass(frozen=True)
class Reply:
    """Answer an operator."""

    request: int
    result: dict[str, Any] | None
    error: str = ""


@dataclass(frozen=True)
class Log:
    """A line in the log."""

    level: Level
    event: str
    fields: dict[str, Any] = field(default_factory=dict)


Effect = Cycle | Tell | Save | Reply | Log
