"""`python -m tests.simulate.damage --images 1000000`: damaged relogs by the million, from the root of the repository.

Each log is damaged in about `PER_LOG` seeded ways; one in `EXHAUSTIVE` in every way there is.  See `damage_images` for what
must hold.
"""

import argparse
import itertools
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field

from tests.simulate.damage_images import RefusalError, ViolationError, check, recipes
from tests.simulate.damage_log import Log

PER_LOG = 2000
EXHAUSTIVE = 20
SHARE = 2000  # images a job
DEEP = 8  # every so many images, ast3d goes on with a whole snapshot


@dataclass
class Tally:
    """What all the images showed; `kinds`: how many of each; `alarms`: reports that name what never was acknowledged."""

    images: int = 0
    refusals: int = 0
    lost: int = 0
    alarms: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    violations: dict[str, str] = field(default_factory=dict)

    def add(self, other: "Tally") -> None:
        self.images += other.images
        self.refusals += other.refusals
        self.lost += other.lost
        self.alarms += other.alarms
        self.kinds += other.kinds
        self.violations |= other.violations

    def lines(self) -> Iterator[str]:
        for recipe, what in sorted(self.violations.items()):
            yield f"{recipe}: {what}"
        yield "images of each kind: " + ", ".join(f"{kind} {n}" for kind, n in self.kinds.most_common())
        yield f"images that lost acknowledged records, and said so: {self.lost}; that also named others: {self.alarms}"
        n, wrong = self.images, len(self.violations) - self.refusals
        yield f"relog images: n={n}, violations {wrong}, refusals {self.refusals}"


def examine(job: tuple[int, int, int]) -> Tally:
    """The recipes number `start` to `stop` of one log."""
    seed, start, stop = job
    log, tally = Log(seed), Tally()
    for number, recipe in enumerate(plan(log)[start:stop]):
        tally.images += 1
        tally.kinds[kind(recipe)] += 1
        try:
            outcome = check(log, recipe, deep=number % DEEP == 0)
        except RefusalError as error:
            tally.refusals += 1
            tally.violations[recipe] = str(error)
        except ViolationError as error:
            tally.violations[recipe] = str(error)
        else:
            tally.lost += outcome.lost > 0
            tally.alarms += outcome.false_alarms > 0
    return tally


def plan(log: Log) -> list[str]:
    return recipes(log, PER_LOG if log.seed % EXHAUSTIVE else None)


def kind(recipe: str) -> str:
    """What is done: "cut", "burst", "cut+swap"."""
    steps = [step.split(",")[0] for step in recipe.partition(":")[2].split("+")]
    return "+".join(steps).removeprefix("kill+")


def jobs(images: int, seed: int) -> Iterator[tuple[int, int, int]]:
    """Shares of the plans of one log after another, until there are enough images."""
    for number in itertools.count(seed):
        length = len(plan(Log(number)))
        for start in range(0, length, SHARE):
            stop = min(start + SHARE, length, start + images)
            yield number, start, stop
            images -= stop - start
            if not images:
                return


def campaign(images: int, seed: int, workers: int, progress: Callable[[str], None]) -> Tally:
    tally = Tally()
    shares = jobs(images, seed)
    with ProcessPoolExecutor(workers) as pool:
        running: set[Future[Tally]] = {pool.submit(examine, job) for job in itertools.islice(shares, 2 * workers)}
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                tally.add(future.result())
                running |= {pool.submit(examine, job) for job in itertools.islice(shares, 1)}
            progress(f"{tally.images} images, {len(tally.violations)} violations")
    return tally


def main() -> int:
    """-> 0 all held, 1 something was violated; its recipes are printed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulate.damage", description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1, help="of the first log; each log has the next")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--replay", metavar="RECIPE", help="one image, both ways of going on")
    options = parser.parse_args()
    if options.replay:
        return replay(options.replay)
    began = time.monotonic()

    def progress(line: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {line}", flush=True)

    tally = campaign(options.images, options.seed, options.jobs, progress)
    for line in tally.lines():
        print(line)
    return 1 if tally.violations else 0


def replay(recipe: str) -> int:
    log = Log(int(recipe.partition(":")[0]))
    for deep in (False, True):
        try:
            print(check(log, recipe, deep=deep))
        except ViolationError as error:
            print(f"violated: {error}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
