"""One history: nodes, links that fail one way or both, a store that lies, and faults at random; everything by one seed."""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from ha import inputs as i
from ha import translate
from ha.cluster import Home, Settings, Standing
from ha.courier import cycle
from ha.memory import MemoryStore
from ha.plan import Policy
from ha.store import Entry, StoreUnreachableError
from tests.ha.simulation.node import Node
from tests.ha.simulation.sky import Sky

PERIOD = 1.0
CADENCE = 3.0
TIMEOUT = 2.7  # three members asked in vain
MEMBERS = 3


@dataclass(frozen=True)
class Setup:
    """What kind of cluster."""

    nodes: int = 3
    mode: str = "cyclic"
    takeover: str = "temporary"
    no_quorum: str = "provisional"
    telescopes: int = 1  # a node

    def settings(self, node: str) -> Settings:
        names = tuple("ABCD"[: self.nodes])
        spares = frozenset(names[-1:]) if self.mode == "redundant" else frozenset()
        policy = Policy(names, spares, self.mode, self.takeover, self.no_quorum)  # type: ignore[arg-type]
        homes = {f"{name.lower()}{n}": Home(name) for name in names if name not in spares for n in range(self.telescopes)}
        return Settings(node, policy, homes, able_seconds=8.0, handback_after_seconds=15.0, flap_seconds=60.0)


class Door:
    """The store as one node reaches it, or does not; an answer may be lost after the deed."""

    def __init__(self, world: "World", node: str) -> None:
        self.world, self.node = world, node
        self.member = "memory"

    def _enter(self) -> MemoryStore:
        if not self.world.reaches_store(self.node):
            raise StoreUnreachableError("no answer")
        store = self.world.store
        store.now = self.world.now
        return store

    def _leave(self) -> None:
        if self.world.rng.random() < self.world.loss:
            raise StoreUnreachableError("the answer was lost")

    def grant(self, seconds: int) -> int:
        lease = self._enter().grant(seconds)
        self._leave()
        return lease

    def renew(self, lease: int) -> bool:
        return self._enter().renew(lease)

    def txn(self, expect, put, delete=(), lease=0) -> bool:  # type: ignore[no-untyped-def]
        done = self._enter().txn(expect, put, delete, lease)
        self._leave()
        return done

    def read(self) -> dict[str, Entry]:
        return self._enter().read()


@dataclass
class World:
    """A history as it goes on."""

    seed: int
    setup: Setup
    now: float = 0.0
    rng: random.Random = field(init=False)
    loss: float = 0.0
    story: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.sky, self.store = Sky(), MemoryStore()
        names = "ABCD"[: self.setup.nodes]
        self.nodes = {name: Node(self.setup.settings(name), self.sky, self.rng) for name in names}
        self.telescopes = list(self.setup.settings("A").telescopes)
        self.cut: set[tuple[str, str]] = set()  # packets from the first do not reach the second
        self.blocked_until = 0.0
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self.watchers: list[Callable[[], None]] = []
        for name in names:
            self.at(self.rng.uniform(0.0, PERIOD), lambda name=name: self.tick(name))  # type: ignore[misc]
        for telescope in self.telescopes:
            self.at(self.rng.uniform(0.0, CADENCE), lambda telescope=telescope: self.deliver(telescope))  # type: ignore[misc]
        self.delivering = True
        self.moves = 0

    # --- time

    def at(self, when: float, do: Callable[[], None]) -> None:
        """Do something then."""
        heapq.heappush(self._events, (when, next(self._order), do))

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        """Do something later."""
        self.at(self.now + seconds, do)

    def run(self, until: float, stop: Callable[[], bool] = lambda: False) -> None:
        """Until then, or `stop` says so; the watchers look once a second."""
        look = self.now + 1.0
        while self._events and self._events[0][0] <= until and not stop():
            if self._events[0][0] >= look:
                self.now = look
                look += 1.0
                for watch in self.watchers:
                    watch()
                continue
            self.now, _, do = heapq.heappop(self._events)
            do()
        if not stop():
            self.now = until

    def tell(self, what: str) -> None:
        """For the story."""
        self.story.append(f"{self.now:8.2f}   {what}")

    # --- what reaches what

    def reaches(self, a: str, b: str) -> bool:
        """Whether a question goes there, and the answer back."""
        return a == b or not {(a, b), (b, a)} & self.cut

    def reaches_store(self, node: str) -> bool:
        """Whether some member that sees most of the members does answer."""
        if self.now < self.blocked_until:
            return False
        members = [name for name in list(self.nodes)[:MEMBERS] if self.nodes[name].up]
        return any(self.reaches(node, m) and 2 * sum(self.reaches(m, other) for other in members) > MEMBERS for m in members)

    # --- what happens by itself

    def tick(self, name: str) -> None:
        """A period of one node."""
        self.after(PERIOD * self.rng.uniform(0.98, 1.05), lambda: self.tick(name))
        node = self.nodes[name]
        if not node.up:
            return
        mine = self.now + node.offset
        node.ast3d.turn(mine, self.rng.uniform(0.3, 3.0))
        if self.now < node.paused_until:
            return
        self.probe(node)
        for order in node.tick(self.now):
            lag = self.rng.uniform(0.003, 0.3)
            self.after(lag if self.reaches_store(name) else TIMEOUT, lambda order=order: self.visit(node, order))  # type: ignore[misc]

    def visit(self, node: Node, order: dict) -> None:  # type: ignore[type-arg]
        """The courier at the store."""
        if not node.up or order["n"] != node.cycles:
            return
        answer = cycle(Door(self, node.name), order, lambda: self.now + node.offset)
        if answer["renewed_at"] is not None:
            node.renewed = self.now
        seconds = self.rng.uniform(0.003, 0.2)
        self.after(seconds, lambda: self.cycled(node, answer))

    def cycled(self, node: Node, answer: dict) -> None:  # type: ignore[type-arg]
        """The courier is back."""
        if node.up and answer["n"] == node.cycles and self.now >= node.paused_until:
            node.hear(translate.cycled(answer, self.now + node.offset))
        elif node.up and answer["n"] == node.cycles:
            self.at(node.paused_until, lambda: self.cycled(node, answer))

    def probe(self, node: Node) -> None:
        """A round on the second path."""
        asked, state = self.now + node.offset, node.state

        def end() -> None:
            if not node.up or state is not node.state:
                return
            standings: dict[str, Standing] = dict(state.standings)
            for name, peer in self.nodes.items():
                if name != node.name and peer.up and self.now >= peer.paused_until and self.reaches(node.name, name):
                    standings[name] = peer.standing(self.now, asked)
            node.hear(i.RoundEnded(self.now + node.offset, standings))

        self.after(self.rng.uniform(0.002, 0.5), end)

    def deliver(self, telescope: str) -> None:
        """A camera."""
        if self.delivering:
            self.sky.take(telescope)
        self.after(CADENCE * self.rng.uniform(0.9, 1.1), lambda: self.deliver(telescope))

    # --- what is done to it

    def lie(self, share: float) -> None:
        """etcd gives up leases that were renewed in time."""
        self.store.now = self.now
        for lease in [lease for lease in self.store.leases if self.rng.random() < share]:
            self.store.revoke(lease)

    def extend(self) -> None:
        """A new leader gives every lease its whole time again."""
        self.store.now = self.now
        self.store.extend()

    def heal(self) -> None:
        """All that was broken works."""
        self.cut.clear()
        self.loss = self.blocked_until = 0.0
        for node in self.nodes.values():
            node.paused_until = 0.0
            node.ast3d.ill, node.ast3d.up = False, True
            if not node.up:
                node.restart(self.now)


def setups(rng: random.Random) -> Setup:
    """Any kind of cluster."""
    return Setup(
        rng.choice((3, 3, 4)), rng.choice(("cyclic", "redundant")), rng.choice(("temporary", "temporary", "permanent")),
        rng.choice(("provisional", "park")), rng.choice((1, 1, 2)),
    )  # fmt: skip
