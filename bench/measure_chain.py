"""A raw frame through the whole of `process`, in a process of its own: how long, how much memory, how that grows.

`python -m bench.measure_chain [--side N] [--keep DIR]`; the frame's camera, masters, catalog and truth are simulated, once.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure_calibration import peak_mb
from bench.raw_fields import AST3_SIDE, CATALOG, FRAME, camera_of, expose
from bench.table import Row, show
from photometry.pipeline import process
from photometry.telescope import Telescope

MOST_SECONDS, MOST_GB = 15.0, 3.0
THREADS = 2
CAREFUL = {"OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": str(THREADS)}
SHOWN_SECONDS = 0.05  # of a stage that is named


@dataclass(frozen=True)
class Run:
    """One frame processed: wall and cpu seconds, by the median of the walls; stages: of that run; report: of the last;
    repeats: how many there were.
    """

    side: int
    exposed: Path
    products: Path
    repeats: int
    wall: float
    cpu: float
    peak_mb: float
    stages: dict[str, float]
    report: dict[str, Any]


def keep_folder() -> Path:
    """Where frames are kept if nobody says."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ast3-bench"


def run(keep: Path, side: int, seed: int, out: Path, repeats: int = 3) -> Run:
    """Process the field's frame once to warm up and `repeats` times for the figures; all products come to lie in `out`."""
    camera = camera_of(keep, side)
    exposed = expose(keep, camera, f"clear-{seed}", "--seed", str(seed), "--satellites", "1")
    told = {"instrument": camera.instrument, "masters": str(camera.masters), "exposed": str(exposed), "out": str(out)}
    command = [sys.executable, "-m", "bench.measure_chain", "--child", json.dumps(told | {"repeats": repeats})]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **CAREFUL})
    return Run(side, exposed, out / str(repeats), repeats, **json.loads(done.stdout.splitlines()[-1]))


def rows(runs: list[Run]) -> list[Row]:
    """Of a small and a large frame; seconds and memory are judged on AST3's own."""
    small, large = runs
    full = large.side == AST3_SIDE
    what = f"raw {large.side}^2 frame to catalog"
    steps = ", ".join(f"{name} {taken:.1f}" for name, taken in large.stages.items() if taken >= SHOWN_SECONDS)
    said = (
        f"{large.wall:.1f} s wall, CPU {large.cpu:.1f} s: {large.cpu / THREADS:.1f} s of two cores ({steps}), "
        f"{large.report['figures']['stars']:,} stars, median of {large.repeats}, load {os.getloadavg()[0]:.1f}"
    )
    memory = f"{large.peak_mb / 1024:.2f} GB"
    share = (large.side / small.side) ** 2
    growth = large.cpu / small.cpu
    grown = (
        f"{growth:.1f} x the CPU seconds, {large.wall / small.wall:.1f} x the wall's, for {share:.0f} x the pixels: "
        f"{_rate(small)} and {_rate(large)} s/Mpx"
    )
    return [
        Row(what, f"<= {MOST_SECONDS:g} s", said, large.wall <= MOST_SECONDS if full else None),
        Row("its peak memory", f"<= {MOST_GB:g} GB", memory, large.peak_mb <= 1024 * MOST_GB if full else None),
        Row(f"growth from {small.side}^2", f"<= {share:.0f} x", grown, growth <= share),
    ]


def _rate(found: Run) -> str:
    return f"{found.cpu / (found.side / 1000) ** 2:.3f}"


def _child(told: dict[str, Any]) -> None:
    exposed, out, repeats = Path(told["exposed"]), Path(told["out"]), told["repeats"]
    telescope = Telescope(told["instrument"], Path(told["masters"]), exposed / CATALOG)
    walls, cpus, reports = [], [], []
    for i in range(1 + repeats):  # the first compiles, and keeps the catalog
        wall, cpu = time.monotonic(), time.process_time()
        reports.append(process(exposed / FRAME, out / str(i), telescope=telescope, kept=out))
        walls.append(time.monotonic() - wall)
        cpus.append(time.process_time() - cpu)
    median = 1 + int(np.argsort(walls[1:])[repeats // 2])
    figures = {
        "wall": walls[median],
        "cpu": cpus[median],
        "peak_mb": peak_mb(),
        "stages": {stage.name: stage.seconds for stage in reports[median].stages},
        "report": reports[-1].as_dict(),
    }
    print(json.dumps(figures))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.measure_chain", description=__doc__)
    parser.add_argument("--side", type=int, default=AST3_SIDE)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=keep_folder(), metavar="DIR", help="of frames (default: %(default)s)")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.child:
        _child(said.child)
        return
    with tempfile.TemporaryDirectory() as place:
        runs = [run(said.keep, side, said.seed, Path(place) / str(side)) for side in (said.side // 4, said.side)]
    print(show(rows(runs)))


if __name__ == "__main__":
    main()
