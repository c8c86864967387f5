"""What goes wrong, at random: each fault begins now and ends by itself, or when the world is healed."""

from collections.abc import Callable
from itertools import combinations

from tests.ha.simulation.node import Node
from tests.ha.simulation.world import World

Fault = Callable[[World, Node, float], None]
LONGEST_PAUSE_SECONDS = 9.0  # of etcd's leader


def strike(world: World) -> str:
    """One fault of any kind, on any node, for a while -> its kind."""
    kind = world.rng.choice(list(KINDS))
    name = world.rng.choice(list(world.nodes))
    seconds = world.rng.choice((0.5, 2.0, 5.0, 9.0, 15.0, 25.0)) * world.rng.uniform(0.5, 1.2)
    world.tell(f"{kind} {name} {seconds:.1f}")
    KINDS[kind](world, world.nodes[name], seconds)
    return kind


def _cut_power(world: World, node: Node, seconds: float) -> None:
    if node.up:
        node.cut()
        world.after(seconds + 1.0, lambda: None if node.up else node.restart(world.now))


def _part(world: World, _node: Node, seconds: float) -> None:
    names = list(world.nodes)
    sizes = range(1, len(names) // 2 + 1)
    group = world.rng.choice([group for size in sizes for group in combinations(names, size)])
    pairs = {(a, b) for a in names for b in names if (a in group) != (b in group)}
    world.cut |= pairs
    world.after(seconds, lambda: world.cut.difference_update(pairs))
    world.tell(f"apart: {' '.join(group)}")


def _cut_one_way(world: World, _node: Node, seconds: float) -> None:
    a, b = world.rng.sample(list(world.nodes), 2)
    world.cut.add((a, b))
    world.after(seconds, lambda: world.cut.discard((a, b)))
    world.tell(f"nothing from {a} reaches {b}")


def _kill_agent(world: World, node: Node, _seconds: float) -> None:
    if node.up:
        node.restart_agent(world.now)


def _freeze(world: World, node: Node, seconds: float) -> None:
    """The agent, and it comes back as if nothing had been; its ast3d goes on."""
    node.paused_until = world.now + seconds


def _crash(world: World, node: Node, seconds: float) -> None:
    node.ast3d.up = False
    world.after(seconds, lambda: setattr(node.ast3d, "up", True))


def _sicken(world: World, node: Node, seconds: float) -> None:
    node.ast3d.ill = True
    world.after(2.0 * seconds, lambda: setattr(node.ast3d, "ill", False))


def _pause_leader(world: World, _node: Node, seconds: float) -> None:
    """The members choose another; when it resumes, it revokes leases that the new one has kept."""
    seconds = min(seconds, LONGEST_PAUSE_SECONDS)
    world.blocked_until = max(world.blocked_until, world.now + min(seconds, world.rng.uniform(1.0, 2.5)))
    world.after(seconds, lambda: world.lie(world.rng.random()))
    world.at(world.blocked_until, world.extend)


def _lie(world: World, _node: Node, _seconds: float) -> None:
    world.lie(world.rng.random())


def _lose_answers(world: World, _node: Node, seconds: float) -> None:
    world.loss = world.rng.random() * 0.5
    world.after(seconds, lambda: setattr(world, "loss", 0.0))


def _block_store(world: World, _node: Node, seconds: float) -> None:
    world.blocked_until = max(world.blocked_until, world.now + seconds)


KINDS: dict[str, Fault] = {
    "power": _cut_power,
    "partition": _part,
    "one way": _cut_one_way,
    "agent": _kill_agent,
    "freeze": _freeze,
    "crash": _crash,
    "ill": _sicken,
    "leader": _pause_leader,
    "lie": _lie,
    "lost answers": _lose_answers,
    "no store": _block_store,
}
