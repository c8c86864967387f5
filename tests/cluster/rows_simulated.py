"""What no real cluster can be made to do often enough: simulated histories of the same decisions.

Quick tests run the short forms by themselves (tests/ha), so these rows are for the command line alone.
"""

from concurrent.futures import ProcessPoolExecutor

from bench.table import Row
from tests.cluster.stage import SHORT, Stage
from tests.ha.simulation.history import run

SHORT_HISTORIES, LONG_HISTORIES = 1000, 100_000
SETTLED_SECONDS = 30.0
TOLD = 5000  # histories between two words


def simulation(stage: Stage) -> list[Row]:
    """Kills, cuts, pauses, reboots, and leases that etcd gives up without reason."""
    count = SHORT_HISTORIES if stage.size is SHORT else LONG_HISTORIES
    violated: list[str] = []
    slowest, frames, doubly = 0.0, 0, 0
    with ProcessPoolExecutor() as pool:
        seeds = range(stage.seed, stage.seed + count)
        for number, outcome in enumerate(pool.map(run, seeds, chunksize=50), 1):
            violated += [f"seed {outcome.seed}: {what}" for what in outcome.violations[:1]]
            slowest = max(slowest, outcome.settled_seconds)
            frames, doubly = frames + outcome.frames, doubly + outcome.doubly
            if number % TOLD == 0:
                stage.say(f"{number} histories, {len(violated)} with a violation")
    for line in violated[:10]:
        stage.say(line)
    said = f"{len(violated)} of {count}; {frames} frames, computed twice {doubly}; first seed {stage.seed}"
    return [
        Row("simulated histories with a violation", "0", said, not violated),
        Row(
            "the same: settled after the last fault",
            f"<= {SETTLED_SECONDS:g} s",
            f"{slowest:.1f} s at most",
            slowest <= SETTLED_SECONDS,
        ),
    ]
