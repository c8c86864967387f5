"""Who is to work for which telescope: `plan(membership, assignments, policy) -> moves`.  Pure.

It knows neither time nor doubt: the agents say who is able, and when a move is due (`ha.moves`).  Every node that sees the
same plans the same.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Mode = Literal["cyclic", "redundant"]
Takeover = Literal["temporary", "permanent"]
NoQuorum = Literal["provisional", "park"]
Kind = Literal["takeover", "return", "own", "provisional", "park"]


@dataclass(frozen=True)
class Policy:
    """How the site wants it: see `ast3d.common.cluster_schema`.  `nodes` in the order of the ring."""

    nodes: tuple[str, ...] = ()
    spares: frozenset[str] = frozenset()
    mode: Mode = "cyclic"
    takeover: Takeover = "temporary"
    no_quorum: NoQuorum = "provisional"


@dataclass(frozen=True)
class Assignment:
    """`owner`: whose telescope it is; `holder`: who works for it; `pinned`: an operator wants it there."""

    owner: str
    holder: str
    pinned: bool = False


@dataclass(frozen=True)
class Membership:
    """The nodes that can work; `quorum`: whether etcd decides."""

    able: frozenset[str]
    quorum: bool = True


@dataclass(frozen=True)
class Move:
    """A telescope's work goes to a node.

    takeover: from one that is not able; return: to its owner; and, without quorum, own: its owner works although the last
    thing known is that another does; provisional: somebody works unasked; park (`to` is empty): nobody does.
    `permanent`: it becomes that node's own.
    """

    telescope: str
    to: str
    kind: Kind
    permanent: bool = False


def plan(membership: Membership, assignments: Mapping[str, Assignment], policy: Policy) -> list[Move]:
    """The moves that leave every telescope with a node that is able, as far as there is one; in the order given."""
    choose = _with_quorum if membership.quorum else _without_quorum
    moves = (choose(membership.able, telescope, now, policy) for telescope, now in assignments.items())
    return [move for move in moves if move]


def line(owner: str, policy: Policy) -> Iterator[str]:
    """Who works for the telescopes of `owner`, the first that is able.

    Cyclic: itself, then the ring from it on.  Redundant: itself, the spare ones, then the ring of the others.
    """
    yield owner
    at = policy.nodes.index(owner) if owner in policy.nodes else -1
    ring = [node for node in policy.nodes[at + 1 :] + policy.nodes[: max(at, 0)] if node != owner]
    if policy.mode == "redundant":
        ring.sort(key=lambda node: node not in policy.spares)  # stable: each part stays in the ring's order
    yield from ring


def _first(able: frozenset[str], owner: str, policy: Policy) -> str:
    return next((node for node in line(owner, policy) if node in able), "")


def _with_quorum(able: frozenset[str], telescope: str, now: Assignment, policy: Policy) -> Move | None:
    if now.holder in able:
        due = now.holder != now.owner and now.owner in able and not now.pinned
        return Move(telescope, now.owner, "return") if due else None
    to = _first(able, now.owner, policy)
    if not to:
        return None
    if to == now.owner:
        return Move(telescope, to, "return")
    return Move(telescope, to, "takeover", permanent=policy.takeover == "permanent")


def _without_quorum(able: frozenset[str], telescope: str, now: Assignment, policy: Policy) -> Move | None:
    if now.owner in able:
        return Move(telescope, now.owner, "own") if now.holder != now.owner else None
    to = _first(able, now.owner, policy) if policy.no_quorum == "provisional" else ""
    return Move(telescope, to, "provisional" if to else "park")
