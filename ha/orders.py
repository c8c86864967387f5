"""What operators want: telescopes handed over, and back.  Pure.

A wish is written into etcd, so that whoever holds the telescope reads it there, and stands until it is carried out.
"""

from collections.abc import Iterator

from ha import effects, judge, records
from ha import inputs as i
from ha.cluster import Order
from ha.state import State

Step = records.Record | effects.Effect


def hand_over(state: State, given: i.Handover) -> Iterator[Step]:
    """What a node works for, or one telescope, or those of an array, to another node."""
    nodes = state.settings.policy.nodes
    chosen = [telescope for telescope in state.settings.telescopes if _is_meant(state, telescope, given.what)]
    if given.to not in nodes:
        yield effects.Reply(given.request, None, f"{given.to} is no node; there are {', '.join(nodes)}")
    elif not chosen:
        known = sorted({*nodes, *state.settings.telescopes, *_arrays(state)})
        yield effects.Reply(given.request, None, f"{given.what} holds or is no telescope; known are {', '.join(known)}")
    else:
        orders = {
            telescope: Order(given.to, given.permanent, not given.permanent, 0)
            for telescope in chosen
            if _differs(state, telescope, given.to, given.permanent)
        }
        yield from _wish(state, given, orders)


def hand_back(state: State, given: i.Handback) -> Iterator[Step]:
    """All telescopes of a node: those that it owns, and those that are its by the configuration, as its own again."""
    if given.node not in state.settings.policy.nodes:
        nodes = ", ".join(state.settings.policy.nodes)
        yield effects.Reply(given.request, None, f"{given.node} is no node; there are {nodes}")
        return
    orders = {}
    for telescope, home in state.settings.telescopes.items():
        known = state.telescopes.get(telescope)
        elsewhere = known and (known.owner, known.holder) != (given.node, given.node)
        if known and given.node in (known.owner, home.node) and (elsewhere or _is_ordered(state, telescope, given.node)):
            orders[telescope] = Order(given.node, known.owner != given.node, pinned=False, revision=0)
    yield from _wish(state, given, orders)


def _wish(state: State, given: i.Handover | i.Handback, orders: dict[str, Order]) -> Iterator[Step]:
    if not judge.is_fresh(state, given.now):
        yield effects.Reply(given.request, None, f"etcd does not answer, so nothing can be moved: {state.trouble or 'wait'}")
        return
    to = {order.to for order in orders.values()}
    if orders:
        yield records.Wished(state.wishes | orders)
        yield effects.Log("INFO", "ha.ordered", {"telescopes": " ".join(orders), "to": " ".join(to)})
    waits = [node for node in to if judge.seen(state, node, given.now) != "able"]
    so = f"as soon as {' '.join(waits)} is able" if waits else "when the frames at work have ended"
    yield effects.Reply(given.request, {"telescopes": sorted(orders), "to": " ".join(to), "when": so if orders else ""})


def _is_meant(state: State, telescope: str, what: str) -> bool:
    home, known = state.settings.telescopes[telescope], state.telescopes.get(telescope)
    return what in (telescope, home.array) or what == (known.holder if known else home.node)


def _differs(state: State, telescope: str, to: str, permanent: bool) -> bool:
    known = state.telescopes.get(telescope)
    there = known and known.holder == to and (known.owner == to or not permanent)
    return not there or _is_ordered(state, telescope, to)


def _is_ordered(state: State, telescope: str, to: str) -> bool:
    """Whether an order that has yet to be carried out says otherwise."""
    order = state.view.orders.get(telescope) if state.view else None
    return order is not None and order.to != to


def _arrays(state: State) -> set[str]:
    return {home.array for home in state.settings.telescopes.values() if home.array}
