"""The figures that count what must never happen: each row runs a harness of the tests, and says its n and what it found."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from bench.node import BenchError
from bench.table import Row

JOBS = 2
MUTANTS = Path("tests/mutants/run")


def simulated_histories(_folder: Path, *, short: bool) -> Row:
    """`decide` and `apply` under simulated disks, clocks, workers and crashes."""
    from tests.simulate.campaign import campaign, seeds

    tally = campaign(seeds(1, 2_000 if short else 100_000), JOBS, say)
    measured = tell(tally.lines())
    empty = f", cells not reached {len(tally.empty())}" if tally.empty() else ""
    return Row(
        "simulated histories", "violations 0, no empty cell", measured + empty, not tally.violations and not tally.empty()
    )


def relog_images(_folder: Path, *, short: bool) -> Row:
    """Torn, truncated, stale, swapped and burst images of recovery logs, read back."""
    from tests.simulate.damage import campaign

    tally = campaign(10_000 if short else 1_000_000, 1, JOBS, lambda _: None)
    return Row("relog images", "violations 0, refusals 0", tell(tally.lines()), not tally.violations)


def power_cuts(folder: Path, *, short: bool) -> Row:
    """A copy of a disk taken at random instants under load, mounted, ast3d started on it."""
    from tests.powercut.cuts import campaign
    from tests.powercut.disks import NoDisksError

    try:
        tally = campaign(10 if short else 200, folder / "powercut", progress=say)
    except NoDisksError as error:
        raise BenchError(str(error)) from error
    return Row("real power cuts, ext4 and xfs", "frames lost 0, published twice 0", str(tally), not tally.violations)


def mutants(_folder: Path, *, short: bool) -> Row:  # noqa: ARG001 - there are as many as there are
    """Realistic bugs, each of which a harness must notice."""
    if not MUTANTS.exists():
        raise BenchError(f"{MUTANTS} does not exist")
    done = subprocess.run([MUTANTS], stdout=subprocess.PIPE, text=True, check=False)
    said = done.stdout.splitlines() or [f"exit status {done.returncode}"]
    return Row("mutants caught", "all", tell(said), done.returncode == 0)


def tell(lines: Iterable[str]) -> str:
    """Say all; -> the last, which sums it up."""
    last = ""
    for last in lines:
        say(last)
    return last


def say(line: str) -> None:
    """How it goes."""
    print(line, file=sys.stderr, flush=True)


ALL = (simulated_histories, relog_images, power_cuts, mutants)
