"""Run histories and say what was seen in them."""

import random
from collections import Counter
from dataclasses import dataclass, field

from tests.ha.simulation.checks import SETTLED_SECONDS, Checks
from tests.ha.simulation.faults import strike
from tests.ha.simulation.world import World, setups

CALM_SECONDS = 14.0
RETURN_SECONDS = 20.0  # in which telescopes go back to their owners
FRAMES_SECONDS = 150.0  # for what is left in the pools when the cluster has settled; one that is bounded by no fault


@dataclass
class Outcome:
    """Of one history."""

    seed: int
    violations: list[str]
    faults: Counter[str]
    frames: int
    doubly: int
    refused: int
    settled_seconds: float
    story: list[str] = field(default_factory=list)


def run(seed: int, *, story: bool = False) -> Outcome:
    """One history: calm, faults, all healed, settled, all frames processed."""
    world = World(seed, setups(random.Random(seed)))
    checks = Checks(world)
    world.watchers.append(checks.look)
    world.run(CALM_SECONDS)
    struck: Counter[str] = Counter()
    for _ in range(world.rng.randint(1, 5)):
        struck[strike(world)] += 1
        world.run(world.now + world.rng.choice((0.5, 3.0, 10.0)) * world.rng.uniform(0.2, 1.5))
    world.run(world.now + world.rng.uniform(0.0, 20.0))
    world.heal()
    world.tell("healed")
    healed = world.now
    world.run(healed + SETTLED_SECONDS, checks.settled)
    settled = world.now - healed
    if not checks.settled():
        checks.say(f"not settled {SETTLED_SECONDS:g} s after the last fault")
    world.run(world.now + RETURN_SECONDS)
    world.delivering = False
    world.run(world.now + FRAMES_SECONDS, lambda: world.sky.taken == len(world.sky.accepted))
    checks.end()
    world.run(world.now + SETTLED_SECONDS, checks.settled)
    if not checks.settled():
        checks.say("settled, and not any more")
    told = sorted([*world.story, *(line for node in world.nodes.values() for line in node.log)]) if story else []
    return Outcome(
        seed, checks.violations, struck, world.sky.taken, world.sky.doubly, world.sky.refused, settled, told
    )  # fmt: skip
