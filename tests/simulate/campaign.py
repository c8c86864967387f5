"""Many histories: the table of fault x state, and the seeds of those that went wrong."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from tests.simulate.faults import HALTING, WEIGHED
from tests.simulate.history import Verdict, run

STATES = ("none", "SEEN", "READY", "RUNNING", "FAILED", "DONE", "DISCARDED")
STRUCK = (
    *(kind for kind in WEIGHED if kind != "operator"),
    "killer", "late_worker", "limit_TERM", "limit_KILL", "out_of_memory", "sloppy_worker", "worker_lost", "porter_trouble",
)  # fmt: skip

# Cells that cannot be reached, and why.  An empty cell that is not named here is a hole in the simulation.
_AT_WORK = (
    "worker_kill", "trouble", "killer", "late_worker", "limit_TERM", "limit_KILL", "out_of_memory", "sloppy_worker",
    "worker_lost",
)  # fmt: skip
UNREACHABLE = {
    **dict.fromkeys(((kind, "none") for kind in _AT_WORK), "whose worker is alive is known, unless all was just forgotten"),
    ("porter_trouble", "none"): "what the porter moves is known, unless all was just forgotten",
}


@dataclass
class Tally:
    """What all the histories showed together."""

    histories: int = 0
    frames: int = 0
    injected: int = 0
    in_flight: int = 0
    losses: int = 0
    justified: int = 0
    least: int = 10**9  # faults in the history with the fewest
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)
    violations: dict[int, str] = field(default_factory=dict)

    def add(self, verdict: Verdict) -> None:
        self.histories += 1
        self.frames += verdict.frames
        self.injected += verdict.injected
        self.in_flight += verdict.in_flight
        self.losses += verdict.losses
        self.justified += verdict.justified
        self.least = min(self.least, verdict.injected)
        self.faults += verdict.faults
        if verdict.violation:
            self.violations[verdict.seed] = verdict.violation

    def empty(self) -> list[tuple[str, str]]:
        """The cells that nothing reached and something could have."""
        cells = [(kind, state) for kind in STRUCK for state in STATES]
        return [cell for cell in cells if not self.faults[cell] and cell not in UNREACHABLE]

    def lines(self) -> Iterator[str]:
        """The table, and what it amounts to."""
        yield f"{'':16}" + "".join(f"{state:>11}" for state in STATES)
        for kind in STRUCK:
            cells = (str(self.faults[kind, state] or "-") for state in STATES)
            yield f"{kind:16}" + "".join(f"{cell:>11}" for cell in cells)
        for kind, state in self.empty():
            yield f"nothing reached {kind} x {state}"
        for (kind, state), why in UNREACHABLE.items():
            yield f"unreachable: {kind} x {state}: {why}"
        yield f"faults that hit work in flight: {self.in_flight} of {self.injected}; at least {self.least} in a history"
        yield f"frames {self.frames}, suspects given up {self.justified}"
        yield f"recoveries that had to forget, and said so {self.losses}"
        for seed, violation in sorted(self.violations.items()):
            yield f"seed {seed}: {violation.strip().splitlines()[-1]}"
        n, wrong = self.histories, len(self.violations)
        yield f"simulated histories: n={n}, faults {self.injected}, violations {wrong}"


def seeds(first: int, count: int) -> Iterator[int]:
    """One after the other; in every fifth history operators stop ast3d in every way there is."""
    return (seed if seed % 5 else HALTING + seed for seed in range(first, first + count))


def light(seed: int) -> Verdict:
    """A history without its story, which need not travel between processes."""
    verdict = run(seed)
    verdict.history.clear()
    return verdict


def campaign(seeds: Iterable[int], jobs: int, progress: Callable[[str], None]) -> Tally:
    """All of them."""
    tally = Tally()
    with ProcessPoolExecutor(jobs) as pool:
        for verdict in pool.map(light, seeds, chunksize=50):
            tally.add(verdict)
            if tally.histories % 1000 == 0:
                progress(f"{tally.histories} histories, {tally.injected} faults, {len(tally.violations)} violations")
    return tally
