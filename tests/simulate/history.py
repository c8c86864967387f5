"""One history: a seed, faults, peace, and the verdict."""

import hashlib
import os
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from ast3d import core
from ast3d.common.relog import relog
from ast3d.policy import Policy
from tests.simulate import checks
from tests.simulate.books import ViolationError
from tests.simulate.faults import Faults
from tests.simulate.node import Node
from tests.simulate.world import World

LOOK_SECONDS = 15.0
PEACE_SECONDS = 20_000.0  # a history that has not settled by then never will
STEPS = 60_000


@dataclass(frozen=True)
class Verdict:
    """How a history went; `violation` is empty when all held."""

    seed: int
    violation: str
    faults: Counter[tuple[str, str]]
    injected: int
    in_flight: int
    frames: int
    losses: int
    justified: int
    digest: str
    history: list[tuple[Any, ...]]


@contextmanager
def constants(world: World) -> Iterator[None]:
    """Of the core, small enough that everything happens; and no randomness but the seed's."""
    rng = world.rng
    before = core.SNAPSHOT_RECORDS, core.KEPT_AT_ONCE, core.GROUP_RECORDS, relog.os
    core.SNAPSHOT_RECORDS, core.KEPT_AT_ONCE, core.GROUP_RECORDS = (
        rng.choice((10, 40, 150)),
        rng.choice((1, 2, 200)),
        rng.choice((2, 16)),
    )
    relog.os = SimpleNamespace(urandom=rng.randbytes, strerror=os.strerror)  # type: ignore[assignment]
    try:
        yield
    finally:
        core.SNAPSHOT_RECORDS, core.KEPT_AT_ONCE, core.GROUP_RECORDS, relog.os = before


def policy(seed: int) -> Policy:
    """Two workers and short times."""
    return Policy(
        slots=2, settle_seconds=2.0, incomplete_seconds=(20.0, 60.0)[seed % 2], soft_seconds=40.0, hard_seconds=50.0,
        silence_seconds=0.0, attempts=3, backoff_seconds=(1.0, 5.0)[seed // 2 % 2], backoff_limit_seconds=60.0,
        fingerprint="1",
    )  # fmt: skip


def run(seed: int) -> Verdict:
    """The history of a seed, always the same."""
    world = World(seed, policy(seed))
    node = world.node = Node(world)
    violation = ""
    with constants(world):
        faults = Faults(world, node)
        node.boot()
        try:
            live(world, node, faults)
            checks.final(world)
        except ViolationError as error:
            violation = str(error)
        except Exception:  # noqa: BLE001  whatever the product raises is a finding
            violation = traceback.format_exc()
    digest = hashlib.sha256(repr(world.history).encode()).hexdigest()
    return Verdict(
        seed, violation, world.faults, world.injected, world.in_flight, len(world.frames), world.books.losses,
        world.justified, digest, world.history,
    )  # fmt: skip


def live(world: World, node: Node, faults: Faults) -> None:
    """Until all is settled."""
    look = until = 0.0
    for _ in range(STEPS):
        if not world.step():
            raise ViolationError("everything sleeps for ever")
        if faults.peace and world.now >= look:
            until = until or world.now + PEACE_SECONDS
            look = world.now + LOOK_SECONDS
            if checks.settled(world, node):
                return
            if world.now > until:
                break
    raise ViolationError(f"no end: {unsettled(world, node)}")


def unsettled(world: World, node: Node) -> str:
    """What there is still to do."""
    tasks = [(task.id, task.phase, task.ready_at) for task in node.core.state.tasks.values()]
    kept = [(task, folder.frame.task) for task, folder in world.quarantine.items() if folder.frame]
    pool, workers = [frame.task for frame in world.pool.values()], [worker.key for worker in world.workers.values()]
    return f"ast3d up {node.up}, tasks {tasks}, workers {workers}, pool {pool}, quarantine {kept}"
