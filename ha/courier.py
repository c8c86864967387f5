"""The courier: the helper process that does the agent's errands at etcd, which may take its time.

Every order is answered within about four seconds whatever etcd does, in the order of their coming; one that a newer order
has overtaken meanwhile is answered without having been carried out.
"""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ast3d.common.clock import boottime
from ast3d.common.link import HelperEnd, Message
from ast3d.common.parent import die_with_parent
from ha.etcd import EtcdStore, Members
from ha.store import Entry, LeaseGoneError, Store, StoreError, StoreFullError

CYCLE_SECONDS = 3.4  # for all calls of an order together
LAST_SECONDS = 4.0  # a call that trickles is cut off
NO_MEMBERS = "no members of etcd are configured (ha.etcd)"

Order = dict[str, Any]
Answer = dict[str, Any]


def unanswered(order: Order, problem: str = "") -> Answer:
    """The answer to an order of which nothing is known yet."""
    return {
        "n": order["n"], "lease": order["lease"], "granted": False, "gone": False, "renewed_at": None, "read_at": None,
        "entries": None, "done": [None] * len(order["txns"]), "problem": problem, "member": "",
        "namesake": False,
    }  # fmt: skip


def cycle(store: Store, order: Order, clock: Callable[[], float]) -> Answer:
    """Renew or grant -> presence where it is not as ordered -> the txns -> read all.  Never raises a `StoreError`.

    Times are taken before what they date was sent.  A txn of which no answer came is unknown, and those after it are not
    sent; the reading is tried all the same, for it may tell.  namesake: somebody else has put this node's presence since.
    """
    answer = unanswered(order)
    try:
        try:
            _renew(store, order, clock, answer)
        except StoreFullError as error:  # there is no lease to put anything with, but others' keys are still to be seen
            answer["problem"] = str(error)
        entries = _read(store, clock, answer)
        found = entries.get(order["presence"][0])
        answer["namesake"] = found is not None and not answer["granted"] and found.lease not in (0, answer["lease"])
        if not answer["problem"] and _write(store, order, clock, answer, entries):
            _read(store, clock, answer)
    except StoreError as error:
        answer["problem"] = answer["problem"] or str(error)
    answer["member"] = store.member
    return answer


def _renew(store: Store, order: Order, clock: Callable[[], float], answer: Answer) -> None:
    """The lease of the order, or a new one in its place."""
    sent = clock()
    if order["lease"] and store.renew(order["lease"]):
        answer["renewed_at"] = sent
        return
    answer["gone"] = bool(order["lease"])
    _grant(store, order, clock, answer)


def _grant(store: Store, order: Order, clock: Callable[[], float], answer: Answer) -> None:
    answer["lease"], answer["renewed_at"] = 0, None  # as long as there is none
    sent = clock()
    answer["lease"] = store.grant(order["seconds"])
    answer["renewed_at"], answer["granted"] = sent, True


def _read(store: Store, clock: Callable[[], float], answer: Answer) -> dict[str, Entry]:
    """What was read before is no answer once something was written: gone until it is read again."""
    answer["read_at"] = answer["entries"] = None
    sent = clock()
    entries = store.read()
    answer["entries"] = {key: [entry.value, entry.revision, entry.lease] for key, entry in entries.items()}
    answer["read_at"] = sent
    return entries


def _write(store: Store, order: Order, clock: Callable[[], float], answer: Answer, entries: dict[str, Entry]) -> bool:
    """Presence and txns -> whether anything may be otherwise than it was read."""
    try:
        written = _put_presence(store, order, clock, answer, entries)
        for number, txn in enumerate(order["txns"]):
            written = True
            answer["done"][number] = store.txn(txn["expect"], txn["put"], txn["delete"])
    except StoreError as error:
        answer["problem"] = str(error)
        return True
    return written


def _put_presence(store: Store, order: Order, clock: Callable[[], float], answer: Answer, entries: dict[str, Entry]) -> bool:
    """-> whether it had to be put.  An etcd that renews a lease which it has revoked is found out here."""
    key, value = order["presence"]
    found = entries.get(key)
    if found is not None and (found.value, found.lease) == (value, answer["lease"]):
        return False
    try:
        store.txn({}, {key: value}, (), answer["lease"])
    except LeaseGoneError:
        answer["gone"] = True
        _grant(store, order, clock, answer)
        store.txn({}, {key: value}, (), answer["lease"])
    return True


class Courier:
    """Serves one agent until it is gone."""

    def __init__(self, link: HelperEnd) -> None:
        self.link = link
        self.store: EtcdStore | None = None
        self.problem = NO_MEMBERS

    def run(self) -> None:
        """Until the agent is gone: EOFError."""
        while True:
            messages = self.link.receive()
            newest = max((number for number, message in enumerate(messages) if "cycle" in message), default=-1)
            for number, message in enumerate(messages):
                if "cycle" in message and number < newest:
                    self.link.send({"cycled": unanswered(message["cycle"], "overtaken by a newer order; not carried out")})
                else:
                    self.serve(message)

    def serve(self, message: Message) -> None:
        """Do what the agent asks."""
        if "ping" in message:
            self.link.send({"pong": message["ping"]})
        elif asked := message.get("etcd"):
            self.store = EtcdStore(Members.of(asked)) if asked["endpoints"] else None
        elif order := message.get("cycle"):
            self.link.send({"cycled": self.cycle(order)})

    def cycle(self, order: Order) -> Answer:
        """As `cycle`, in bounded time."""
        if self.store is None:
            return unanswered(order, NO_MEMBERS)
        self.store.deadline = boottime() + CYCLE_SECONDS
        try:
            with cut_off(LAST_SECONDS):
                return cycle(self.store, order, boottime)
        except TimeoutError as error:  # between two calls: within one, it is that call's
            return unanswered(order, str(error))


@contextmanager
def cut_off(seconds: float) -> Iterator[None]:
    """TimeoutError in what takes longer: sockets have time-outs for silence only, not for those who trickle."""

    def raise_timeout(*_: object) -> None:
        raise TimeoutError(f"no whole answer within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, raise_timeout)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def main() -> None:
    """The socket to the agent, and its pid: what outlived it would renew its lease beside its successor."""
    die_with_parent(int(sys.argv[2]))
    try:
        Courier(HelperEnd(int(sys.argv[1]))).run()
    except EOFError:
        return


if __name__ == "__main__":
    main()
