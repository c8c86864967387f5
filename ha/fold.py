"""How each record changes what the agent knows.  Total: any record on any state gives a state."""

from functools import singledispatch

from ha import records as r
from ha.cluster import later
from ha.state import NEVER, State


def apply(state: State, record: r.Record) -> State:
    """The state after the record; it owns the state and changes it in place."""
    _apply(record, state)
    return state


@singledispatch
def _apply(record: r.Record, state: State) -> None:
    raise TypeError(f"not a record: {record!r}, of an agent that knows {len(state.telescopes)} telescopes")


@_apply.register
def _(record: r.Configured, state: State) -> None:
    state.settings = record.settings


@_apply.register
def _(record: r.Began, state: State) -> None:
    state.began = state.progress = record.now


@_apply.register
def _(record: r.Remembered, state: State) -> None:
    state.telescopes = dict(record.telescopes)


@_apply.register
def _(record: r.Viewed, state: State) -> None:
    view, now = record.view, record.now
    for node in state.settings.policy.nodes:
        presence = view.presences.get(node)
        if presence:
            state.gone_since.pop(node, None)
        else:
            state.gone_since.setdefault(node, now)
        if presence and presence.able:
            state.well_since.setdefault(node, now)
        else:
            state.well_since.pop(node, None)
    before = state.view.telescopes if state.view else {}
    for telescope, ownership in view.telescopes.items():
        known = before.get(telescope)
        if known is None or known.holder != ownership.holder:
            state.held_since[telescope] = now
    state.telescopes = later(state.telescopes, view.telescopes)
    state.view = view


@_apply.register
def _(record: r.Leased, state: State) -> None:
    state.lease, state.lease_until, state.lease_seconds = record.lease, record.until, record.seconds
    if record.lease:
        state.lease_lost = NEVER


@_apply.register
def _(record: r.LeaseLost, state: State) -> None:
    state.lease_lost = record.now


@_apply.register
def _(record: r.LeaseAgain, state: State) -> None:
    state.regrants += 1
    state.last_gap = record.seconds


@_apply.register
def _(record: r.Usurped, state: State) -> None:
    state.usurped = record.times


@_apply.register
def _(record: r.StoreTrouble, state: State) -> None:
    if record.problem and not state.trouble:
        state.trouble_since = record.now
    state.trouble, state.trouble_told = record.problem, record.told


@_apply.register
def _(record: r.Asked, state: State) -> None:
    state.asked, state.asked_seconds = record.now, record.lease_seconds


@_apply.register
def _(_record: r.Returned, state: State) -> None:
    state.asked = NEVER


@_apply.register
def _(record: r.Probed, state: State) -> None:
    state.probed, state.standings = record.now, dict(record.standings)


@_apply.register
def _(record: r.Told, state: State) -> None:
    if record.daemon is None:
        state.deaf_since = record.now if state.deaf_since == NEVER else state.deaf_since
        state.deaf_reason = record.problem
        return
    if state.daemon is None or state.deaf_since != NEVER:
        state.answering_since = record.now
    state.daemon, state.claimed, state.deaf_since = record.daemon, record.claimed, NEVER


@_apply.register
def _(record: r.Able, state: State) -> None:
    state.able, state.reason = record.able, record.reason


@_apply.register
def _(record: r.Progressed, state: State) -> None:
    state.progress = record.now


@_apply.register
def _(record: r.Releasing, state: State) -> None:
    state.releasing[record.telescope] = record.to


@_apply.register
def _(record: r.Kept, state: State) -> None:
    state.releasing.pop(record.telescope, None)


@_apply.register
def _(record: r.Wished, state: State) -> None:
    state.wishes = dict(record.orders)


@_apply.register
def _(record: r.Lent, state: State) -> None:
    state.lent = record.telescopes
