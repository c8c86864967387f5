"""Ten telescopes on three nodes, one of which is cut off and comes back; and a picture of that."""

import time
from dataclasses import dataclass

from bench.table import Row
from tests.cluster import picture
from tests.cluster.paper import Plan
from tests.cluster.stage import LATER_SECONDS, Stage, Take, Timed, kept_promises

TEN = Plan(
    telescopes={f"t{n:02d}": ("a" if n <= 4 else "b" if n <= 7 else "c", None) for n in range(1, 11)},
    cadence=2.0,
    work=0.3,
    ha={"handback_after_seconds": 10.0},
)


@dataclass(frozen=True)
class Times:
    """How long each part of the story is held."""

    before: float
    apart: float
    after: float


def ten_telescopes(stage: Stage) -> list[Row]:
    """4, 3 and 3; a is cut off, from the store too: b works for its telescopes until it is back."""
    figure = "10 telescopes on 3 nodes, one isolated"
    times = Times(10.0, 25.0, 10.0) if stage.size.name == "short" and not stage.picture else Times(20.0, 60.0, 25.0)
    own = [name for name in TEN.telescopes if TEN.owner(name) == "a"]
    with stage.cluster(TEN) as (one, since):
        time.sleep(times.before)
        cut = time.monotonic()
        one.net.cut("a")
        one.nodes["a"].lose_store()
        moved = [one.moved(name, cut, "a") for name in own]
        stage.say(f"{figure}: all four are worked for elsewhere after {max(moved):.1f} s")
        time.sleep(max(times.apart - (time.monotonic() - cut), 0.0))
        healed = time.monotonic()
        one.nodes["a"].find_store()
        one.net.heal("a")
        home = one.at_home()
        alone = time.monotonic()
        stage.say(f"{figure}: at home again {home:.1f} s after it was connected")
        time.sleep(times.after)
        strangers = [r.telescope for r in one.runs().runs if r.began > alone and r.node != TEN.owner(r.telescope)]
        rows = [
            Timed(f"{figure}: its telescopes move on", "4, <= 20 s", f"4, slowest {max(moved):.1f} s",
                max(moved) <= LATER_SECONDS),
            Row(f"{figure}: they come back", "<= 60 s, all", f"{home:.1f} s, {len(strangers)} frames by others later",
                home <= 60.0 and not strangers),
            kept_promises(stage, one, figure, since),
        ]  # fmt: skip
        if stage.picture:
            marks = {"a is cut off": cut, "a is connected again": healed}
            picture.draw(one.books().since(since), TEN, marks, stage.picture)
        return rows


ROWS: tuple[Take, ...] = (ten_telescopes,)
