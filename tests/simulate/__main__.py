"""`python -m tests.simulate --histories 100000`: the long form, from the root of the repository."""

import argparse
import sys
import time

from tests.simulate.campaign import campaign, seeds
from tests.simulate.history import run


def main() -> int:
    """-> 0 all held, 1 something was violated, or a cell of the table was not reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulate", description=__doc__)
    parser.add_argument("--histories", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1, help="the first; each history has the next")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--replay", type=int, metavar="SEED", help="one history, step by step, twice")
    options = parser.parse_args()
    if options.replay is not None:
        return replay(options.replay)
    began = time.monotonic()
    chosen = seeds(options.seed, options.histories)
    tally = campaign(chosen, options.jobs, lambda line: print(f"{time.monotonic() - began:7.1f} s  {line}", flush=True))
    for line in tally.lines():
        print(line)
    return 1 if tally.violations or tally.empty() else 0


def replay(seed: int) -> int:
    """Print a history; a second one from the same seed must be the same."""
    verdict, again = run(seed), run(seed)
    for when, *what in verdict.history:
        print(f"{when:10.3f}", *what)
    same = verdict.digest == again.digest
    print(verdict.violation or "all held", "" if same else "-- and the second time it went otherwise")
    return 1 if verdict.violation or not same else 0


if __name__ == "__main__":
    sys.exit(main())
