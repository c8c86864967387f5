"""Nodes that lose their power, and come back: when is the next frame begun elsewhere, and when at home again."""

import time
from itertools import pairwise

from bench.table import Row
from tests.cluster import etcd
from tests.cluster.paper import Plan
from tests.cluster.stage import LATER_SECONDS, Stage, Timed, kept_promises, spread

THREE = Plan()
AS_IT_IS = Plan(ha={"lease_seconds": 6, "quorum_seconds": 8.0})  # the defaults: its times are promised
PERMANENT = Plan(ha={"takeover": "permanent"})
NO_QUORUM = {word: Plan(ha={"no_quorum": word}) for word in ("provisional", "park")}
PROVISIONAL_SECONDS = 30.0
PARKED_SECONDS = 30.0


def power_cuts(stage: Stage) -> list[Row]:
    """Of each node in turn, first of the one that leads etcd."""
    times, leaders, random = [], 0, stage.random()
    with stage.cluster(AS_IT_IS) as (one, since):
        order: list[str] = []
        for number in range(stage.size.cuts):
            leader = etcd.leader(one.nodes).name
            order = order or random.sample(one.plan.nodes, 3)
            victim = leader if number == 0 else order.pop()
            if victim in order:
                order.remove(victim)
            leaders += victim == leader
            at = time.monotonic()
            one.nodes[victim].power_cut()
            own = [name for name in one.plan.telescopes if one.plan.owner(name) == victim]
            times += [one.moved(name, at, victim) for name in own]
            stage.say(f"power cut {number + 1} of {victim}{' (leader)' * (victim == leader)}: {times[-1]:.1f} s")
            one.calm()
        figure = "a node's power is cut"
        measured = f"n {len(times)} ({leaders} with etcd's leader): {spread(times)}; seed {stage.seed}"
        row = Timed(f"{figure}: next frame begins elsewhere", "<= 20 s", measured, max(times) <= LATER_SECONDS)
        return [row, kept_promises(stage, one, figure, since)]


def two_dead(stage: Stage, word: str) -> list[Row]:
    """Two of three at once: no quorum is left."""
    figure = f"two of three dead, no_quorum {word}"
    with stage.cluster(NO_QUORUM[word]) as (one, since):
        survivor = one.nodes[stage.random().choice(one.plan.nodes)]
        own = [name for name in one.plan.telescopes if one.plan.owner(name) == survivor.name]
        others = [name for name in one.plan.telescopes if name not in own]
        at = time.monotonic()
        for node in one.nodes.values():
            if node is not survivor:
                node.power_cut()
        if word == "provisional":
            times = [one.worked(name, survivor.name, at) for name in others]
            goal, measured, met = "<= 30 s", spread(times), max(times) <= PROVISIONAL_SECONDS
        else:
            time.sleep(PARKED_SECONDS)  # that nothing happens cannot be waited for otherwise
            begun = [run.name for run in one.runs().runs if run.telescope in others and run.began > at + 1.0]
            goal, measured, met = "not begun", f"{len(begun)} begun in {PARKED_SECONDS:g} s", not begun
        gap = max(one.runs().gap(name, at, time.monotonic(), survivor.name) for name in own)
        stage.say(f"{figure}: survivor {survivor.name}, its own gap {gap:.1f} s, the others' {measured}")
        one.calm()
        seed = f"; seed {stage.seed}"
        return [
            Timed(f"{figure}: the survivor's own work", "no gap > 3 s", f"longest gap {gap:.1f} s{seed}", gap <= 3.0),
            (Row if word == "park" else Timed)(f"{figure}: the others' frames", goal, measured + seed, met),
            kept_promises(stage, one, figure, since),
        ]


def two_dead_provisional(stage: Stage) -> list[Row]:
    """The survivor works for all, perhaps not alone."""
    return two_dead(stage, "provisional")


def two_dead_park(stage: Stage) -> list[Row]:
    """The survivor works for its own only."""
    return two_dead(stage, "park")


def returns_temporary(stage: Stage) -> list[Row]:
    """It returns again and again, and is waited for longer each time; nothing is cut short when it is given its own back."""
    figure, waits = "a node returns, temporary, flapping", []
    with stage.cluster(Plan(ha={"flap_seconds": 600.0, "handback_after_seconds": 3.0})) as (one, since):
        for number in range(stage.size.flaps):
            at = time.monotonic()
            one.nodes["a"].power_cut()
            one.moved("t1", at, "a")
            up = time.monotonic()
            one.nodes["a"].reboot()
            waits.append(one.came_home("t1", up, 600.0))
            stage.say(f"return {number + 1}: its own again after {waits[-1]:.1f} s")
        after = float(one.plan.ha["handback_after_seconds"])
        grown = [b - a for a, b in pairwise(waits)]
        damped = all(more >= 0.6 * after * 2**number for number, more in enumerate(grown))  # by that much it is doubled
        row = Timed(
            f"{figure}: handed back after",
            f">= {after:g} s, then twice as long each time",
            f"n {len(waits)}: " + ", ".join(f"{wait:.1f}" for wait in waits) + f" s; seed {stage.seed}",
            waits[0] >= after and damped,
        )
        frames = kept_promises(stage, one, figure, since)
        runs = one.runs().runs
        done = {run.name for run in runs if run.ended < float("inf")}  # a frame that another has published first may go away
        torn = [run.name for run in runs if run.node != "a" and run.ended == float("inf") and run.name not in done]
        edge = Row(f"{figure}: work that a hand-back cut short", "0", f"{len(torn)} in {len(waits)} hand-backs", not torn)
    rows = [row, edge, frames]
    stage.spend()  # it remembers how often its node flapped
    return rows


def returns_permanent(stage: Stage) -> list[Row]:
    """It boots cut off, and with an assignment of yesterday; then it is connected, and nothing goes back by itself."""
    figure = "a node returns, permanent, booting cut off"
    with stage.cluster(PERMANENT) as (one, since):
        at = time.monotonic()
        one.nodes["a"].power_cut()
        one.moved("t1", at, "a")
        up = time.monotonic()
        one.nodes["a"].reboot(cut_off=True)
        time.sleep(stage.size.hold)
        connected = time.monotonic()
        one.net.heal("a")
        time.sleep(stage.size.hold)
        books = one.books()
        first = min((p.at for p in books.products if p.telescope == "t1" and p.node != "a" and p.at > at), default=up)
        ours = [p.name for p in books.products if p.telescope == "t1" and p.node == "a" and p.at > max(first, up)]
        later = [r.name for r in books.runs if r.telescope == "t1" and r.node == "a" and r.began > connected + 8.0]
        stage.say(f"{figure}: accepted from a {len(ours)}, begun by it once connected {len(later)}")
        rows = [
            Row(f"{figure}: accepted from it while cut off and after", "0", f"{len(ours)}; seed {stage.seed}", not ours),
            Row(f"{figure}: it works for it again", "no", f"{len(later)} begun", not later),
            kept_promises(stage, one, figure, since),
        ]
    stage.spend()
    return rows
