"""`python -m bench.protection`: does anything stay down; from the root of the repository, as root.

Prints the table `figure | goal | measured | met`, which ends with `met N of M`.  Real daemons, real signals, work in the
pool; a third process looks all the time whether there are two of one.  Everything is made below a folder on a real disk,
and removed.
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import guarded
from bench.recovery import about
from bench.table import Row, show
from tests.protect.busy import BusyError
from tests.protect.census import CensusError
from tests.protect.cron import NoCronError
from tests.protect.machine import NoMachineError, StuckError
from tests.protect.starve import NoStarvingError

Take = Callable[[Path, guarded.Size], Row | list[Row]]


def main() -> int:
    """-> 0 all goals are met, 1 some are not."""
    parser = argparse.ArgumentParser(prog="python -m bench.protection", description=__doc__)
    parser.add_argument("--short", action="store_true", help="small n: does it run, and roughly how fast")
    parser.add_argument(
        "--row", metavar="WORD", help="only the rows that are taken by the functions with WORD in their name"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("build/protection"), help="on a real disk (default: build/protection)"
    )
    options = parser.parse_args()
    folder = options.folder.resolve()
    size = guarded.SHORT if options.short else guarded.LONG
    rows: list[Row] = []
    for take in guarded.ALL:
        if not options.row or options.row in take.__name__:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            rows += tell(take, folder, size)
    print(f"\n{about(folder)}\n\n{show(rows)}")
    shutil.rmtree(folder, ignore_errors=True)
    return 0 if all(row.met for row in rows) else 1


def tell(take: Take, folder: Path, size: guarded.Size) -> list[Row]:
    """Take a figure, and say on stderr how long that took."""
    began = time.monotonic()
    try:
        taken = take(folder, size)
    except (BusyError, CensusError, NoStarvingError, NoCronError, NoMachineError, StuckError) as error:
        taken = Row(take.__name__, "", str(error), None)
    print(f"{take.__name__}: {time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    return taken if isinstance(taken, list) else [taken]


if __name__ == "__main__":
    sys.exit(main())
