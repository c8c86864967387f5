"""Many simulated histories of a cluster, or one with its story."""

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from tests.ha.simulation.history import Outcome, run

CHUNK = 50


def main() -> int:
    """-> 1 where something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.ha.simulation", description=__doc__)
    parser.add_argument("--histories", type=int, default=1000, metavar="N")
    parser.add_argument("--first", type=int, default=0, metavar="S", help="the first seed")
    parser.add_argument("--seed", type=int, metavar="S", help="this one, with its story")
    options = parser.parse_args()
    if options.seed is not None:
        outcome = run(options.seed, story=True)
        print("\n".join(outcome.story))
        print("\n".join(f"VIOLATED {line}" for line in outcome.violations) or "nothing violated")
        return bool(outcome.violations)
    began, outcomes = time.monotonic(), []
    with ProcessPoolExecutor() as pool:
        for n, outcome in enumerate(
            pool.map(run, range(options.first, options.first + options.histories), chunksize=CHUNK), 1
        ):
            outcomes.append(outcome)
            for line in outcome.violations:
                print(f"seed {outcome.seed}: {line}", flush=True)
            if n % 2000 == 0:
                print(f"{n} histories, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return report(outcomes, time.monotonic() - began)


def report(outcomes: list[Outcome], seconds: float) -> int:
    """The table."""
    faults = sum((outcome.faults for outcome in outcomes), Counter[str]())
    violated = sum(bool(outcome.violations) for outcome in outcomes)
    settled = sorted(outcome.settled_seconds for outcome in outcomes)
    frames = sum(outcome.frames for outcome in outcomes)
    print(
        f"{len(outcomes)} histories in {seconds:.0f} s; faults: " + ", ".join(f"{k} {n}" for k, n in sorted(faults.items()))
    )
    doubly, refused = sum(o.doubly for o in outcomes), sum(o.refused for o in outcomes)
    print(f"{frames} frames, computed by two {doubly}, refused by the fence {refused}")
    print(f"settled after: median {settled[len(settled) // 2]:.1f} s, longest {settled[-1]:.1f} s")
    print(f"histories with a violation: {violated}")
    return bool(violated)


if __name__ == "__main__":
    sys.exit(main())
