"""What stands in etcd, below /PREFIX/: node/NODE, tel/TELESCOPE and order/TELESCOPE, each a JSON object.

Whatever else stands there, or stands there wrongly, is as if it did not.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ha.cluster import Order, Ownership, Presence, View

MOST = 1 << 53  # of an epoch or a token: exact in whatever reads JSON
Entries = Mapping[str, tuple[str, int]]  # key -> (value, revision)


def presence_key(node: str) -> str:
    """There as long as the node's lease."""
    return f"node/{node}"


def telescope_key(telescope: str) -> str:
    """Its revision is the fencing token."""
    return f"tel/{telescope}"


def order_key(telescope: str) -> str:
    """An operator's, until it is carried out."""
    return f"order/{telescope}"


def write_presence(presence: Presence) -> str:
    """The value under `presence_key`."""
    about = {"able": presence.able, "reason": presence.reason, "telescopes": sorted(presence.telescopes)}
    return json.dumps(about)


def write_ownership(ownership: Ownership) -> str:
    """The value under `telescope_key`; the token is etcd's to give."""
    return json.dumps(
        {
            "owner": ownership.owner,
            "epoch": ownership.epoch,
            "holder": ownership.holder,
            "why": ownership.why,
            "flaps": ownership.flaps,
            "pinned": ownership.pinned,
        }
    )


def write_order(order: Order) -> str:
    """The value under `order_key`."""
    return json.dumps({"to": order.to, "permanent": order.permanent, "pinned": order.pinned})


def read_view(at: float, entries: Entries) -> View:
    """All of it."""
    view = View(at, {}, {}, {}, {})
    for key, (value, revision) in entries.items():
        kind, _, name = key.partition("/")
        match _read(kind, value, revision):
            case Ownership() as ownership:
                view.telescopes[name] = ownership
            case Presence() as presence:
                view.presences[name] = presence
            case Order() as order:
                view.orders[name] = order
            case None if kind == "tel":
                view.unreadable[name] = revision
    return view


def read_ownership(said: Mapping[str, Any], token: int) -> Ownership | None:
    """None for what is none."""
    owner, holder, epoch, flaps = (said.get(name) for name in ("owner", "holder", "epoch", "flaps"))
    if not (isinstance(owner, str) and isinstance(holder, str) and type(epoch) is int and type(flaps) is int):
        return None
    if not (0 <= epoch <= MOST and 0 <= token <= MOST):
        return None
    return Ownership(owner, epoch, holder, token, str(said.get("why", "")), max(flaps, 0), said.get("pinned") is True)


@lru_cache(maxsize=1024)  # the same is read every second
def _read(kind: str, value: str, revision: int) -> Ownership | Presence | Order | None:
    try:
        said = json.loads(value)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    if kind == "tel":
        return read_ownership(said, revision)
    if kind == "node" and type(said.get("able")) is bool:
        names = said.get("telescopes")
        known = frozenset(name for name in names if isinstance(name, str)) if isinstance(names, list) else frozenset()
        return Presence(said["able"], str(said.get("reason", "")), known)
    if kind == "order" and isinstance(said.get("to"), str):
        return Order(said["to"], said.get("permanent") is True, said.get("pinned") is True, revision)
    return None
