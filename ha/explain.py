"""What the agent knows in words and figures, for `ast3ctl ha`.  Pure; the same functions that decide explain."""

from collections.abc import Iterable, Iterator
from typing import Any

from ha import judge, moves
from ha.claims import working
from ha.cluster import Ownership
from ha.plan import Membership, line, plan
from ha.state import State


def status(state: State, now: float) -> dict[str, Any]:
    """How the cluster is, as this node sees it."""
    settings = state.settings
    return {
        "node": settings.node,
        "mode": settings.policy.mode,
        "quorum": judge.has_quorum(state, now) and state.view is not None,
        "nodes": {node: _node(state, node, now) for node in settings.policy.nodes},
        "telescopes": {telescope: _telescope(state, telescope, now) for telescope in settings.telescopes},
        "lease": {"id": state.lease, "regrants": state.regrants, "last_gap_seconds": state.last_gap},
        "problems": list(_problems(state, now)),
    }


def _node(state: State, node: str, now: float) -> dict[str, Any]:
    me = node == state.settings.node
    presence = state.view.presences.get(node) if state.view and judge.is_fresh(state, now) else None
    standing = state.standings.get(node)
    own = "able" if state.able else "unable"
    reason = state.reason if me else presence.reason if presence else standing.reason if standing else ""
    return {
        "state": judge.seen(state, node, now),
        "lease": presence is not None,
        "witness": own if me else judge.answers(state, node, now),
        "reason": reason,
    }


def _telescope(state: State, telescope: str, now: float) -> dict[str, Any]:
    home = state.settings.telescopes[telescope]
    known = state.ownership(telescope)
    order = state.view.orders.get(telescope) if state.view else None
    others = [node for node in line(known.owner, state.settings.policy) if node != known.holder]
    return {
        "owner": known.owner,
        "holder": known.holder,
        "token": known.token,
        "epoch": known.epoch,
        "array": home.array,
        "flaps": known.flaps,
        "pinned": known.pinned,
        "why": known.why,
        "works_here": telescope in working(state, now),
        "provisional": telescope in state.lent,
        "releasing_to": state.releasing.get(telescope),
        "ordered_to": order.to if order else None,
        "backup": next((node for node in others if judge.seen(state, node, now) == "able"), None),
        "returns_in_seconds": _returns_in(state, known, now),
    }


def _returns_in(state: State, known: Ownership, now: float) -> float | None:
    """Until its owner has been well for long enough; None where nothing is to return, or its owner is not well."""
    since = state.well_since.get(known.owner)
    if known.owner == known.holder or known.pinned or since is None:
        return None
    return round(max(since + moves.wait_seconds(state, known) - now, 0.0), 1)


def _problems(state: State, now: float) -> Iterator[str]:
    if not state.able:
        yield f"this node cannot work: {state.reason}"
    if state.trouble:
        yield state.trouble
    if state.usurped >= judge.NAMESAKE_TIMES:
        yield f"another node says that it is {state.settings.node} too: give one of them its own ha.node"
    if not judge.has_quorum(state, now):
        yield "etcd has no quorum, or cannot be reached: own work goes on, no telescope is handed over"
    for node in state.settings.policy.nodes:
        standing = state.standings.get(node)
        if node != state.settings.node and judge.answers(state, node, now) == "silent":
            why = standing.problem if standing else "it has never answered"
            yield f"{node} does not answer on the second path: {why or 'no answer'}"
    for telescope in sorted(state.daemon.fenced if state.daemon else ()):
        yield f"{telescope}: what this node makes is refused by the store, for another has taken over since"


def what_if(state: State, down: Iterable[str], now: float) -> dict[str, Any]:
    """Who would work for what if some nodes were gone (none: as it is now), and what would stay undone.

    etcd is taken to keep its quorum: its members may be elsewhere.
    """
    gone = set(down)
    able = frozenset(
        node
        for node in state.settings.policy.nodes
        if node not in gone and judge.seen(state, node, now) in ("able", "unsure")
    )
    assignments = {telescope: known.assignment for telescope, known in state.telescopes.items()}
    assignments = {telescope: assignments[telescope] for telescope in state.settings.telescopes if telescope in assignments}
    planned = plan(Membership(able), assignments, state.settings.policy)
    to = {move.telescope: move for move in planned}
    nobody = [name for name, now_ in assignments.items() if (to[name].to if name in to else now_.holder) not in able]
    return {
        "able": sorted(able),
        "moves": [
            {"telescope": move.telescope, "from": assignments[move.telescope].holder, "to": move.to, "kind": move.kind}
            for move in planned
        ],
        "nobody": nobody,
    }
