"""What failover asks of the store that all nodes share, in four verbs, and the ways in which the store fails.

    grant(seconds) -> lease       a new lease; keys that are put with it go when nobody renews it for so long
    renew(lease) -> bool          False: the store says that it is gone, and what was put with it too
    txn(expect, put, delete, lease) -> bool
                                  all of it or nothing: only if each key of `expect` has that revision, 0 for none;
                                  keys put get the lease, 0 for none
    read() -> {key: Entry}        all that is there, as most members have it now

`read`, once a period, takes the place of a watch: a watch that died in silence looks like one with nothing to tell.
Keys are those below the prefix, such as `node/a`.  Whatever goes wrong is a `StoreError`, one line for people.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Entry:
    """A key's value, when it was last written (greater is later, never used twice) and its lease, 0 for none."""

    value: str
    revision: int
    lease: int


class StoreError(Exception):
    """The store did not do what it was asked; where that was a txn, nobody knows whether it will."""


class StoreUnreachableError(StoreError):
    """No member answered.  Worth asking again: `tried` says who was asked and what came of it."""

    def __init__(self, message: str, tried: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.tried = tuple(tried)


class StoreRefusedError(StoreError):
    """A member answered that it will not: wrong user, certificate or permission.  Somebody must put that right."""

    def __init__(self, message: str, member: str = "") -> None:
        super().__init__(message)
        self.member = member


class StoreFullError(StoreError):
    """There is no room in the store: it can be read, and leases renewed, but nothing is written."""

    def __init__(self, member: str) -> None:
        super().__init__(f"etcd's disk or quota is full (alarm NOSPACE) on {member}; make room, then `etcdctl alarm disarm`")
        self.member = member


class LeaseGoneError(StoreError):
    """Something was to be put with a lease that the store does not have; it was not put."""

    def __init__(self, lease: int) -> None:
        super().__init__(f"lease {lease:x} is gone")
        self.lease = lease


class Store(Protocol):
    """The verbs; each raises `StoreError`."""

    @property
    def member(self) -> str:
        """Who answered last; empty if nobody has."""

    def grant(self, seconds: int) -> int:
        """A new lease; raises `StoreFullError` where there is no room."""

    def renew(self, lease: int) -> bool:
        """Whether the lease lives on, from when this was asked."""

    def txn(self, expect: Mapping[str, int], put: Mapping[str, str], delete: Sequence[str] = (), lease: int = 0) -> bool:
        """False: a revision was another, and nothing was done.  Raises `LeaseGoneError` too."""

    def read(self) -> dict[str, Entry]:
        """Everything below the prefix."""
