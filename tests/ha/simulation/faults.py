"""What goes wrong, at random: each fault begins now and ends by itself, or when the world is healed."""

from itertools import combinations

from tests.ha.simulation.world import World

KINDS = (
    "power", "power", "partition", "directed", "directed", "agent", "pause", "crash", "ill", "leader", "leader", "lie",
    "loss", "outage", "freeze",
)  # fmt: skip


def strike(world: World) -> str:
    """-> which kind."""
    kind = world.rng.choice(KINDS)
    rng, name = world.rng, world.rng.choice(list(world.nodes))
    node, seconds = world.nodes[name], world.rng.choice((0.5, 2.0, 5.0, 9.0, 15.0, 25.0)) * world.rng.uniform(0.5, 1.2)
    match kind:
        case "power":
            if node.up:
                node.cut()
                world.after(seconds + 1.0, lambda: node.up or node.restart(world.now))
        case "partition":
            _part(world, rng.choice(list(_splits(list(world.nodes)))), seconds)
        case "directed":
            pair = tuple(rng.sample(list(world.nodes), 2))
            world.cut.add(pair)
            world.after(seconds, lambda: world.cut.discard(pair))
        case "agent":
            if node.up:
                node.restart_agent(world.now)
        case "pause":
            node.paused_until = world.now + seconds
        case "crash":
            node.ast3d.up = False
            world.after(seconds, lambda: setattr(node.ast3d, "up", True))
        case "ill":
            node.ast3d.ill = True
            world.after(2.0 * seconds, lambda: setattr(node.ast3d, "ill", False))
        case "leader":
            _pause_leader(world, min(seconds, 9.0))
        case "lie":
            world.lie(rng.random())
        case "loss":
            world.loss = rng.random() * 0.5
            world.after(seconds, lambda: setattr(world, "loss", 0.0))
        case "outage":
            world.blocked_until = max(world.blocked_until, world.now + seconds)
        case "freeze":  # the whole machine, and it comes back as if nothing had been
            node.paused_until = world.now + seconds
    world.tell(f"{kind} {name} {seconds:.1f}")
    return kind


def _part(world: World, group: tuple[str, ...], seconds: float) -> None:
    pairs = {(a, b) for a in world.nodes for b in world.nodes if (a in group) != (b in group)}
    world.cut |= pairs
    world.after(seconds, lambda: world.cut.difference_update(pairs))
    world.tell(f"apart: {' '.join(group)}")


def _splits(names: list[str]) -> list[tuple[str, ...]]:
    return [group for size in range(1, len(names) // 2 + 1) for group in combinations(names, size)]


def _pause_leader(world: World, seconds: float) -> None:
    """The members choose another; when it resumes, it revokes leases that the new one has kept."""
    world.blocked_until = max(world.blocked_until, world.now + min(seconds, world.rng.uniform(1.0, 2.5)))
    world.after(seconds, lambda: world.lie(world.rng.random()))
    world.at(world.blocked_until, world.store.extend)
