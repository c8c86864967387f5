"""`python -m bench.subtract`: how fast and how clean the subtraction is; from the root of the repository.

Prints the table `figure | goal | measured | met`, which ends with `met N of M`.  Pairs are simulated with their truth and
scored by the tools in $AST3_TOOLS (else ../shared/tools), and kept in a folder for the next time.  HOTPANTS is timed where
it is on PATH or $HOTPANTS names it.  Machines are shared and noisy: the load is printed with it.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import subtract_quality as quality
from bench import subtract_robust as robust
from bench import subtract_speed as speed
from bench.recovery import about
from bench.subtract_pairs import PairError
from bench.table import Row, show

Take = Callable[[], Row | list[Row]]


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.subtract", description=__doc__)
    parser.add_argument("--short", action="store_true", help="small frames and one seed: does it run, and roughly how well")
    parser.add_argument("--row", metavar="WORD", help="only the rows that are taken with WORD in their name, as on stderr")
    parser.add_argument(
        "--seeds", type=int, metavar="N", help="pairs of each field that are pooled (default: 5; 2 of the odd)"
    )
    parser.add_argument("--no-masks", action="store_true", help="do not give the frames' own masks to the program")
    parser.add_argument(
        "--pairs", type=Path, metavar="DIR", default=Path("build/pairs"), help="where they are kept (default: build/pairs)"
    )
    return parser.parse_args()


def main() -> int:
    """-> 0 all goals are met, 1 some are not."""
    options = parse()
    folder = options.pairs.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for name, take in takes(options, folder).items():
        if not options.row or options.row in name:
            rows += tell(name, take)
    print(f"\n{about(folder)}\n\n{show(rows)}")
    return 0 if all(row.met for row in rows) else 1


def takes(options: argparse.Namespace, folder: Path) -> dict[str, Take]:
    """What can be taken, by name: speed, quality, robustness."""
    fields, odd, sizes = quality.FIELDS, robust.FIELDS, speed.FIELDS
    if options.short:
        fields, odd, sizes = quality.SHORT, robust.SHORT, speed.SHORT
    seeds = options.seeds or (1 if options.short else 5)
    few = options.seeds or (1 if options.short else 2)
    with_masks = not options.no_masks
    found: dict[str, Take] = {f"speed{limits.size}": partial(speed.at, limits, folder) for limits in sizes}
    if not options.short:
        found["speed-growth"] = partial(speed.growth, speed.SMALL.size, speed.LARGE.size, folder)
    for goals in fields:
        found[f"quality-{goals.field.name}"] = partial(quality.rows, goals, folder, seeds, with_masks=with_masks)
    for field in odd:
        found[f"robust-{field.name}"] = partial(robust.row, field, folder, few, with_masks=with_masks)
    return found


def tell(name: str, take: Take) -> list[Row]:
    """Take a figure, and say on stderr how long that took."""
    began = time.monotonic()
    try:
        taken = take()
    except (PairError, quality.SubtractError) as error:
        taken = Row(name, "", str(error), None)
    print(f"{name}: {time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    return taken if isinstance(taken, list) else [taken]


if __name__ == "__main__":
    sys.exit(main())
