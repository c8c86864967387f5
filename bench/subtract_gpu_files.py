"""What the subtraction takes with a GPU from files to files: the library call in a process that stays, and the command."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.subtract_pairs import PairError
from bench.subtract_run import THREE_PLANES, cold, warm
from bench.subtract_speed import LARGE, frames
from bench.table import Row, percentile

TIMES = 5
WARM_SECONDS, COLD_SECONDS = 0.5, 2.0


def warm_call(folder: Path, figure: str, goal: str) -> Row:
    """Median of all calls but the first."""
    try:
        place = frames(LARGE.size, folder)
    except PairError as error:
        return Row(figure, goal, str(error), None)
    stays = warm(place, place / "ours", TIMES, gpu="require")
    if isinstance(stays, str):
        return Row(figure, goal, stays, met=False)
    median = percentile(stays.seconds[1:], 50)
    return Row(figure, goal, f"median {median:.2f} s at {LARGE.size}^2, n={TIMES}", median <= WARM_SECONDS)


def commands(folder: Path, workers: int, figure: str, goal: str) -> Row:
    """So many commands side by side, each a worker's start, context and end: median of the slowest one's time."""
    try:
        place = frames(LARGE.size, folder)
    except PairError as error:
        return Row(figure, goal, str(error), None)
    outs = [place / f"ours-{number}" for number in range(workers)]

    def one(out: Path) -> tuple[float, str]:
        shutil.rmtree(out, ignore_errors=True)
        run = cold(place, out, with_masks=False, planes=THREE_PLANES, gpu="require")
        return run.seconds, f"exit status {run.status}: {run.complaint}" if run.status else ""

    with ThreadPoolExecutor(workers) as pool:
        rounds = [list(pool.map(one, outs)) for _ in range(TIMES)]
    failed = [complaint for taken in rounds for _, complaint in taken if complaint]
    if failed:
        return Row(figure, goal, failed[0], met=False)
    median = percentile([max(seconds for seconds, _ in taken) for taken in rounds], 50)
    said = f"median {median:.2f} s at {LARGE.size}^2, n={TIMES}"
    return Row(figure, goal, said, workers > 1 or median <= COLD_SECONDS)
