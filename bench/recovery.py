"""`python -m bench.recovery`: what ast3d promises about remembering, measured; from the root of the repository.

Prints the table `figure | goal | measured | met`, which ends with `met N of M`.  Machines are shared and noisy: the load is
printed with it.  Everything is made below a folder on a real disk, and removed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import proofs, timed
from bench.behind import start_with_many_behind
from bench.node import BenchError, build_probe
from bench.table import Row, show

Take = Callable[[], Row | list[Row]]


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.recovery", description=__doc__)
    parser.add_argument("--short", action="store_true", help="small n: does it run, and roughly how fast")
    parser.add_argument("--only", choices=("timed", "proofs"), help="timed: nothing but the clock and the scales")
    parser.add_argument(
        "--row", metavar="WORD", help="only the rows that are taken by the functions with WORD in their name"
    )
    parser.add_argument("--folder", type=Path, default=Path("build/bench"), help="on a real disk (default: build/bench)")
    return parser.parse_args()


def main() -> int:
    """-> 0 all goals are met, 1 some are not."""
    options = parse()
    folder = options.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    size = timed.SHORT if options.short else timed.Size()
    probe = build_probe(folder)
    takes: dict[str, Take] = {}
    if options.only != "proofs":
        for function in (timed.ready_after_kill, start_with_many_behind, timed.memory, timed.rename_to_running, timed.rate):
            takes[function.__name__] = lambda function=function: function(folder, probe, size)  # type: ignore[misc]
    if options.only != "timed":
        for proof in proofs.ALL:
            takes[proof.__name__] = lambda proof=proof: proof(folder, short=options.short)  # type: ignore[misc]
    rows: list[Row] = []
    for name, take in takes.items():
        if not options.row or options.row in name:
            rows += tell(name, take)
    print(f"\n{about(folder)}\n\n{show(rows)}")
    shutil.rmtree(folder, ignore_errors=True)
    return 0 if all(row.met for row in rows) else 1


def tell(name: str, take: Take) -> list[Row]:
    """Take a figure, and say on stderr how long that took."""
    began = time.monotonic()
    try:
        taken = take()
    except BenchError as error:
        taken = Row(name, "", str(error), None)
    print(f"{name}: {time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    return taken if isinstance(taken, list) else [taken]


def about(folder: Path) -> str:
    """The machine and the disk."""
    found = subprocess.run(["findmnt", "-no", "FSTYPE,SOURCE", "-T", folder], capture_output=True, text=True, check=False)
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{os.cpu_count()} cores, load {load}, {folder} on {' '.join(found.stdout.split())}, Linux {os.uname().release}"


if __name__ == "__main__":
    sys.exit(main())
