"""What a row of figures is taken on: a cluster as its plan says, how much of it, a seed; and what all rows ask."""

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.table import Row
from tests.cluster.cluster import Cluster, cluster
from tests.cluster.ledger import Books
from tests.cluster.paper import Plan

OWN_GAP_SECONDS = 5.0  # own work goes on: at a frame a second, no longer time without one
LATER_SECONDS = 20.0  # a takeover's goal


@dataclass(frozen=True)
class Timed(Row):
    """A figure that is a time: the bench judges it, for tests that share their cores measure those."""


@dataclass(frozen=True)
class Missed(Row):
    """A goal that is known to be missed: the bench counts it, and docs/failover.md says why; tests have nothing to add."""


@dataclass(frozen=True)
class Size:
    """How much of each; `able`: ha.able_seconds where nodes are to become unable; `ha`: where a plan does not say."""

    name: str
    cuts: int
    partitions3: int
    partitions4: int
    directed3: int
    directed4: int
    hold: float
    pauses: int
    flaps: int
    able: float
    steps: int
    ha: Mapping[str, Any] = field(default_factory=dict)
    takeovers: bool = True  # also after each trouble of etcd


QUICK = {"lease_seconds": 3, "quorum_seconds": 4.0, "handback_after_seconds": 2.0}
SHORT = Size("short", 3, 2, 1, 1, 1, 10.0, 4, 3, 5.0, 8, QUICK, takeovers=False)
LONG = Size("long", 60, 5, 15, 6, 12, 30.0, 40, 5, 40.0, 60)


class Stage:
    """Where rows are taken; one cluster at a time, kept for the next row where that has the same plan.

    `picture`: where the timeline of ten telescopes is to be drawn, if anywhere.
    """

    def __init__(self, folder: Path, size: Size, seed: int = 1, say: Callable[[str], None] = print) -> None:
        self.folder, self.size, self.seed, self._say = folder, size, seed, say
        self.picture: Path | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._open = contextlib.ExitStack()
        self._now: Cluster | None = None
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """A line of progress."""
        self._say(f"{time.monotonic() - self._began:7.1f} s  {text}")

    def random(self) -> random.Random:
        """The same numbers for each row of a seed."""
        return random.Random(self.seed)

    @contextlib.contextmanager
    def cluster(self, plan: Plan) -> Iterator[tuple[Cluster, float]]:
        """-> one that is at home and has frames coming; since when.  One in which something failed is not used again."""
        plan = replace(plan, ha={**self.size.ha, **plan.ha})
        if self._now is None or self._now.plan.key() != plan.key():
            self.close()
            self._now = self._open.enter_context(cluster(plan, self.folder))
        one = self._now
        one.camera.start()
        try:
            one.calm()
            since = time.monotonic()
            yield one, since
        except BaseException:
            with contextlib.suppress(OSError):
                self.keep_logs(one)
            self.close()
            raise
        finally:
            with contextlib.suppress(OSError):
                one.camera.stop()

    def spend(self) -> None:
        """The cluster of now is not as it was: the next row has another."""
        self.close()

    def keep_logs(self, one: Cluster) -> None:
        """What its nodes said, for whoever looks why a row failed."""
        shelf = self.folder / "failed"
        shelf.mkdir(exist_ok=True)
        for node in one.nodes.values():
            (shelf / f"{one.site.name}-{node.name}.log").write_text(node.said(100_000))
        if one.ledger.exists():
            (shelf / f"{one.site.name}-ledger").write_bytes(one.ledger.read_bytes())

    def close(self) -> None:
        """End the cluster."""
        self._now = None
        self._open.close()


Take = Callable[[Stage], list[Row]]


def kept_promises(stage: Stage, one: Cluster, figure: str, since: float, more: tuple[str, ...] = ()) -> Row:
    """The row that all troubles share: nothing lost, nothing accepted twice, no token for two.  Stops the camera."""
    books = one.settle(since)
    wrong = [*books.wrong(), *more]
    if wrong:
        stage.say(f"{figure}: wrong: {wrong[:5]}")
        stage.keep_logs(one)
    shown = f"{len(wrong)} wrong, such as: {wrong[0]}" if wrong else "lost 0, accepted twice 0"
    measured = f"{books.frames} frames: {shown}; computed twice {len(books.computed_twice())}; seed {stage.seed}"
    return Row(f"{figure}: frames", "lost 0, accepted twice 0, tokens rise", measured, not wrong and books.frames > 0)


def own_gaps(one: Cluster, books: Books, since: float, until: float) -> dict[str, float]:
    """Telescope -> the longest time without work of its own node on it."""
    return {name: books.gap(name, since, until, one.plan.owner(name)) for name in one.plan.telescopes}


def moves(one: Cluster, books: Books, since: float) -> list[str]:
    """Telescopes that another node than their own began a frame of."""
    return sorted({r.telescope for r in books.runs if r.began > since and r.node != one.plan.owner(r.telescope)})


def double_holders(one: Cluster) -> list[str]:
    """Foreign work under one token by two nodes, as they say themselves now."""
    held: dict[tuple[str, int], list[str]] = {}
    for node in one.nodes.values():
        told = node.ctl("ha", "status") if node.is_on else None
        for name, about in ((told or {}).get("telescopes") or {}).items():
            if about["works_here"] and about["owner"] != node.name:
                held.setdefault((name, about["token"]), []).append(node.name)
    return [f"{name} under {token} by {nodes}" for (name, token), nodes in held.items() if len(nodes) > 1]


def spread(seconds: list[float]) -> str:
    """A few times, shown whole; of many, the middle and the longest."""
    ordered = sorted(seconds)
    if len(ordered) <= 4:
        return ", ".join(f"{value:.1f}" for value in seconds) + " s"
    return f"median {ordered[len(ordered) // 2]:.1f} s, longest {ordered[-1]:.1f} s"
