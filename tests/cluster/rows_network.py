"""Networks that fall apart: every partition of three and of four nodes, every cut of one direction."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from bench.table import Row
from tests.cluster.cluster import Cluster
from tests.cluster.paper import Plan
from tests.cluster.rows_power import THREE
from tests.cluster.stage import OWN_GAP_SECONDS, Missed, Stage, Timed, double_holders, kept_promises, own_gaps

FOUR = Plan(
    nodes=("a", "b", "c", "d"),
    spares=("d",),
    ha={"mode": "redundant"},
)
Groups = tuple[tuple[str, ...], ...]


def set_partitions(names: Sequence[str]) -> Iterator[Groups]:
    """All of a set, the whole one first: 5 of three, 15 of four."""
    if not names:
        yield ()
        return
    first, rest = names[0], names[1:]
    for groups in set_partitions(rest):
        yield from ((*groups[:n], (first, *group), *groups[n + 1 :]) for n, group in enumerate(groups))
        yield ((first,), *groups)


def chosen(all_of: Sequence[Groups], count: int, stage: Stage) -> list[Groups]:
    """So many, by the seed, in their order; not the undivided one unless all are wanted."""
    if count >= len(all_of):
        return list(all_of)
    divided = [groups for groups in all_of if len(groups) > 1]
    return sorted(stage.random().sample(divided, count), key=divided.index)


def partitions(stage: Stage, plan: Plan, count: int) -> list[Row]:
    """Each set partition for a while, healed between; where no part has a quorum, telescopes wait."""
    cases = chosen(list(set_partitions(plan.nodes)), count, stage)
    parked = replace(plan, ha={**plan.ha, "no_quorum": "park"})
    return apart(
        stage, parked, f"{len(cases)} set partitions of {len(plan.nodes)} nodes", [_cut(groups) for groups in cases]
    )


def _cut(groups: Groups) -> tuple[str, Callable[[Cluster], None]]:
    return "|".join("".join(group) for group in groups), lambda one: one.net.partition(*groups)


def without_quorum(names: Sequence[str]) -> list[Groups]:
    """The partitions in which no part has most of the nodes."""
    return [groups for groups in set_partitions(names) if max(map(len, groups)) <= len(names) // 2]


def partitions_provisional(stage: Stage) -> list[Row]:
    """Those without a quorum, where telescopes do not wait: two nodes may help one telescope, and each frame counts once."""
    cases = chosen(without_quorum(FOUR.nodes), stage.size.partitions4, stage)
    figure = f"{len(cases)} partitions without a quorum, provisional"
    return apart(stage, FOUR, figure, [_cut(groups) for groups in cases], alone=False)


def directed(stage: Stage, plan: Plan, count: int) -> list[Row]:
    """Packets of one node to one other are lost."""
    pairs = list(itertools.permutations(plan.nodes, 2))
    cases = pairs if count >= len(pairs) else stage.random().sample(pairs, count)
    what = [(f"{a}->{b}", lambda one, a=a, b=b: one.net.block(a, b)) for a, b in cases]
    return apart(stage, plan, f"{len(cases)} directed cuts of {len(plan.nodes)} nodes", what)


def apart(
    stage: Stage, plan: Plan, figure: str, cases: Sequence[tuple[str, Callable[[Cluster], None]]], *, alone: bool = True
) -> list[Row]:
    """The network is cut in each way, held so, and healed; `alone`: no two nodes help one telescope under one token."""
    gaps, homes, doubles = {}, [], []
    with stage.cluster(plan) as (one, since):
        for name, cut in cases:
            at = time.monotonic()
            cut(one)
            time.sleep(stage.size.hold / 2)
            doubles += [f"{name}: {text}" for text in double_holders(one)]
            time.sleep(stage.size.hold / 2)
            doubles += [f"{name}: {text}" for text in double_holders(one)]
            gaps[name] = max(own_gaps(one, one.runs(), at, time.monotonic()).values())
            one.net.clear()
            homes.append(one.at_home())
            stage.say(f"{figure}: {name}: own gap {gaps[name]:.1f} s, all at home after {homes[-1]:.1f} s")
        worst = max(gaps, key=lambda name: gaps[name])
        measured = f"longest gap {gaps[worst]:.1f} s ({worst}); home within {max(homes):.1f} s; seed {stage.seed}"
        kind = Row if alone else Missed
        return [
            Timed(f"{figure}: own work on every node", "no gap > 5 s", measured, gaps[worst] <= OWN_GAP_SECONDS),
            kind(f"{figure}: two nodes under one token", "never", f"{len(doubles)} seen {doubles[:1] or ''}", not doubles),
            kept_promises(stage, one, figure, since),
        ]


def partitions_of_three(stage: Stage) -> list[Row]:
    """Five there are."""
    return partitions(stage, THREE, stage.size.partitions3)


def directed_cuts_of_three(stage: Stage) -> list[Row]:
    """Six there are."""
    return directed(stage, THREE, stage.size.directed3)


def partitions_of_four(stage: Stage) -> list[Row]:
    """Fifteen there are."""
    return partitions(stage, FOUR, stage.size.partitions4)


def directed_cuts_of_four(stage: Stage) -> list[Row]:
    """Twelve there are."""
    return directed(stage, FOUR, stage.size.directed4)
