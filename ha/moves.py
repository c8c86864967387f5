"""What this node changes in etcd, and which telescopes it stops working for first.  Pure, from what is known each time.

Each change expects the revision that was seen, so that of several nodes which see the same one succeeds.
"""

from collections.abc import Iterator
from dataclasses import replace

from ha import judge
from ha.cluster import Order, Ownership
from ha.effects import Txn
from ha.keys import order_key, telescope_key, write_order, write_ownership
from ha.plan import Move, plan
from ha.state import NEVER, State

START_GRACE_SECONDS = 4.0  # beyond a lease: after a power cut of all, nodes come up one after the other
LONGEST_WAIT_SECONDS = 86400.0  # for a node that flaps


def changes(state: State, now: float) -> list[Txn]:
    """What is to be changed now; nothing while etcd's word is old, or this node has no lease."""
    if not judge.is_fresh(state, now) or now >= state.lease_until:
        return []
    found = [*_wishes(state)]
    for telescope in state.settings.telescopes:
        assert state.view is not None
        ownership = state.view.telescopes.get(telescope)
        known = state.ownership(telescope)
        if ownership is None:
            change: Txn | None = _write_anew(telescope, known, state.view.unreadable.get(telescope, 0))
        elif known.rank > ownership.rank:
            change = _write_anew(telescope, replace(known, epoch=max(known.epoch, ownership.epoch)), ownership.token)
        else:
            change = _change(state, telescope, ownership, now)
        if change:
            found.append(change)
    return found


def releases(state: State, now: float) -> dict[str, str]:
    """The telescopes that this node holds and that are to go elsewhere, and where.  While etcd is silent they stay."""
    if not judge.is_fresh(state, now):
        return {}
    view, me = state.view, state.settings.node
    assert view is not None
    found = {}
    for telescope in state.settings.telescopes:
        ownership = view.telescopes.get(telescope)
        if ownership is None or ownership.holder != me:
            continue
        order = view.orders.get(telescope)
        ordered = order is not None and judge.seen(state, order.to, now) == "able"
        to = order.to if order and ordered else _return_to(state, telescope, ownership, now)
        if to not in ("", me) and judge.seen(state, to, now) == "able":
            found[telescope] = to
    return found


def wait_seconds(state: State, ownership: Ownership) -> float:
    """How long an owner must have been well to get its telescope back."""
    waits = state.settings.handback_after_seconds * 2.0 ** min(max(ownership.flaps - 1, 0), 20)
    return min(waits, LONGEST_WAIT_SECONDS)


def _wishes(state: State) -> Iterator[Txn]:
    assert state.view is not None
    for telescope, order in state.wishes.items():
        there = state.view.orders.get(telescope)
        yield Txn({order_key(telescope): there.revision if there else 0}, {order_key(telescope): write_order(order)})


def _write_anew(telescope: str, known: Ownership, revision: int) -> Txn:
    """It is new in etcd; or etcd has forgotten what this node remembers, and that is the beginning of another epoch."""
    why = "registered" if known.epoch == 0 else "etcd had forgotten it"
    ownership = replace(known, epoch=known.epoch + 1, why=why)
    return Txn({telescope_key(telescope): revision}, {telescope_key(telescope): write_ownership(ownership)})


def _is_fenced(state: State, telescope: str, ownership: Ownership) -> bool:
    """Whether the products' store knows of a later claim than etcd does, which must have forgotten it."""
    return state.daemon is not None and state.daemon.fenced.get(telescope) == ownership.rank


def _change(state: State, telescope: str, ownership: Ownership, now: float) -> Txn | None:
    assert state.view is not None
    me, order = state.settings.node, state.view.orders.get(telescope)
    if ownership.holder == me:
        if _is_fenced(state, telescope, ownership):
            return _write_anew(telescope, ownership, ownership.token)
        if telescope in state.releasing:
            return _hand_over(state, telescope, ownership, order) if _at_rest(state, telescope) else None
        return _carry_out(telescope, ownership, order) if order and order.to == me else None
    if not state.able or judge.serves(state, telescope, ownership, now):
        return None
    if order and order.to == me:
        return _carry_out(telescope, replace(ownership, holder=me, why=_why(state, ownership, now)), order)
    return _take(state, telescope, ownership, now)


def _at_rest(state: State, telescope: str) -> bool:
    """ast3d has been told that it is not to work for it any more, and has no worker left that does."""
    daemon = state.daemon
    answering = daemon is not None and state.deaf_since == NEVER
    return answering and telescope not in state.claimed and not (daemon and daemon.running.get(telescope, 0))


def _hand_over(state: State, telescope: str, ownership: Ownership, order: Order | None) -> Txn:
    """The holder gives: to whom an operator wants, or back to the owner."""
    to = state.releasing[telescope]
    why = f"handed over by {ownership.holder}" if order else f"{to} is well again"
    given = replace(ownership, holder=to, why=why, pinned=False)
    if order and order.to == to:
        return _carry_out(telescope, given, order)
    return Txn({telescope_key(telescope): ownership.token}, {telescope_key(telescope): write_ownership(given)})


def _carry_out(telescope: str, ownership: Ownership, order: Order) -> Txn:
    """As an operator wants it; the order goes with it."""
    if order.permanent and ownership.owner != order.to:
        ownership = replace(ownership, owner=order.to, epoch=ownership.epoch + 1, flaps=0)
    ownership = replace(ownership, pinned=order.pinned and ownership.owner != order.to)
    key = telescope_key(telescope)
    expect = {key: ownership.token, order_key(telescope): order.revision}
    return Txn(expect, {key: write_ownership(ownership)}, (order_key(telescope),))


def _take(state: State, telescope: str, ownership: Ownership, now: float) -> Txn | None:
    """The holder is given up, and this node is next in line."""
    me = state.settings.node
    if ownership.owner != me and now < state.began + state.settings.lease_seconds + START_GRACE_SECONDS:
        return None
    assignment = {telescope: ownership.assignment}
    moves = plan(judge.membership(state, telescope, ownership, now), assignment, state.settings.policy)
    if not moves or moves[0].to != me:
        return None
    taken = replace(ownership, holder=me, why=_why(state, ownership, now), pinned=False)
    taken = replace(taken, flaps=_flaps(state, telescope, ownership, now))
    if moves[0].permanent:
        taken = replace(taken, owner=me, epoch=ownership.epoch + 1, flaps=0)
    return Txn({telescope_key(telescope): ownership.token}, {telescope_key(telescope): write_ownership(taken)})


def _why(state: State, ownership: Ownership, now: float) -> str:
    presence = state.view.presences.get(ownership.holder) if state.view else None
    if presence:
        return f"{ownership.holder} cannot work: {presence.reason}"
    said = judge.answers(state, ownership.holder, now)
    silent = "does not answer" if said == "silent" else f"says that it cannot: {state.standings[ownership.holder].reason}"
    return f"{ownership.holder} lost its lease and {silent}"


def _flaps(state: State, telescope: str, ownership: Ownership, now: float) -> int:
    """An owner that loses it again soon after it got it back flaps once more; who was not watched may have just got it."""
    if ownership.holder != ownership.owner:
        return ownership.flaps
    soon = now - state.held_since.get(telescope, now) < state.settings.flap_seconds
    return ownership.flaps + 1 if soon else 1


def _return_to(state: State, telescope: str, ownership: Ownership, now: float) -> str:
    """The owner, where the plan wants it back and it has been well for long enough."""
    moves: list[Move] = plan(
        judge.membership(state, telescope, ownership, now), {telescope: ownership.assignment}, state.settings.policy
    )
    if not moves or moves[0].kind != "return":
        return ""
    since = state.well_since.get(ownership.owner)
    return ownership.owner if since is not None and now - since >= wait_seconds(state, ownership) else ""
