"""Nodes that are alive and cannot work, clocks that are wrong: the first lose their telescope, the second change nothing."""

import time
from collections.abc import Callable

from bench.table import Row
from tests.cluster.cluster import PATIENCE_SECONDS, Cluster
from tests.cluster.paper import Plan
from tests.cluster.stage import LATER_SECONDS, Stage, Take, Timed, kept_promises, moves, own_gaps

BACK_SECONDS = 60.0
FLAP_SECONDS = 600.0  # whoever cannot work finds that out anew by working, less and less often
CLOCKS = Plan(clocks=True)
STEPS = (3600, -3600, 0, 86400, -5)
Act = Callable[[Cluster], object]


def unable(stage: Stage, figure: str, plan: Plan, begin: Act, end: Act) -> list[Row]:
    """Node a cannot work any more; it can again."""
    goal = stage.size.able + LATER_SECONDS
    with stage.cluster(plan) as (one, since):
        at = time.monotonic()
        begin(one)
        lost = one.moved("t1", at, "a", goal + 60.0) if plan.work is not None else one.taken("t1", goal + 60.0)
        stage.say(f"{figure}: its telescope is worked for elsewhere after {lost:.1f} s")
        time.sleep(stage.size.hold / 2)
        gaps = own_gaps(one, one.runs(), at, time.monotonic())
        unhurt = max(gap for name, gap in gaps.items() if name != "t1")
        able = time.monotonic()
        end(one)
        back = one.came_home("t1", able, 2 * PATIENCE_SECONDS)
        stage.say(f"{figure}: it has its telescope back after {back:.1f} s")
        able_seconds = f"able_seconds {stage.size.able:g}; seed {stage.seed}"
        return [
            Timed(f"{figure}: loses its telescope", f"<= {goal:g} s", f"{lost:.1f} s ({able_seconds})", lost <= goal),
            Timed(f"{figure}: gets it back when able", f"<= {BACK_SECONDS:g} s", f"{back:.1f} s", back <= BACK_SECONDS),
            Timed(f"{figure}: the others' own work", f"no gap > {3 * plan.cadence + 2:g} s", f"longest gap {unhurt:.1f} s",
                unhurt <= 3 * plan.cadence + 2),
            kept_promises(stage, one, figure, since),
        ]  # fmt: skip


def cannot_work(stage: Stage) -> Plan:
    """Node a has a disk of its own."""
    return Plan(
        disks=("a",), ha={"able_seconds": stage.size.able, "flap_seconds": FLAP_SECONDS, "handback_after_seconds": 10.0}
    )


def disk_read_only(stage: Stage) -> list[Row]:
    """The disk with its state has an error, and is read-only until it is repaired."""
    begin, end = (lambda one: one.nodes["a"].break_disk()), (lambda one: one.repair("a"))
    return unable(stage, "a state disk is read-only", cannot_work(stage), begin, end)


def crash_loop(stage: Stage) -> list[Row]:
    """ast3d ends as soon as it begins; its agent lives."""

    def begin(one: Cluster) -> None:
        one.nodes["a"].poison()
        one.nodes["a"].kill_ast3d()

    return unable(
        stage, "ast3d crashes at each start", cannot_work(stage), begin, lambda one: one.nodes["a"].poison(on=False)
    )


def gpu_lost(stage: Stage) -> list[Row]:
    """Real photometry that must have a GPU, and has none any more."""
    plan = Plan(
        work=None,
        cadence=10.0,
        ha={"able_seconds": stage.size.able, "flap_seconds": FLAP_SECONDS, "handback_after_seconds": 10.0},
    )

    def gpu(word: str) -> Act:
        return lambda one: one.nodes["a"].configure({"photometry": {"gpu": word}})

    return unable(stage, "the GPU is required and lost", plan, gpu("require"), gpu("auto"))


def clock_wrong(stage: Stage) -> list[Row]:
    """An hour off, and stepping: nothing moves; and a power cut's telescope is taken over by the very node, in time."""
    figure, random = "a node's clock is off by an hour and steps", stage.random()
    with stage.cluster(CLOCKS) as (one, since):
        at = time.monotonic()
        for number in range(stage.size.steps):
            one.nodes["b"].set_clock(STEPS[number] if number < len(STEPS) else random.randrange(-7200, 7200))
            time.sleep(1.0)
        moved = moves(one, one.runs(), at)
        gap = max(own_gaps(one, one.runs(), at, time.monotonic()).values())
        one.nodes["b"].set_clock(3600)
        cut = time.monotonic()
        one.nodes["a"].power_cut()
        after = one.worked("t1", "b", cut)
        one.calm()
        one.nodes["b"].set_clock(0)
        stage.say(f"{figure}: moved {moved}, own gap {gap:.1f} s, takeover {after:.1f} s")
        steps = f"{stage.size.steps} steps: moved {moved}, longest gap {gap:.1f} s; seed {stage.seed}"
        return [
            Row(f"{figure}: telescopes moved", "none; own work without a gap > 3 s", steps, not moved and gap <= 3.0),
            Timed(f"{figure}: it takes over", "<= 20 s", f"{after:.1f} s", after <= LATER_SECONDS),
            kept_promises(stage, one, figure, since),
        ]


ROWS: tuple[Take, ...] = (disk_read_only, crash_loop, gpu_lost, clock_wrong)
