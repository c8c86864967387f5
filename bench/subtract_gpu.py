"""`python -m bench.subtract_gpu`: what the GPU path of the subtraction takes; from the root of the repository.

Prints the table `figure | goal | measured | met`, which ends with `met N of M`.  Rows that need a GPU say so where there is
none, and are then not met; registers and spills need no more than nvcc.  Rows from files to files need the pairs of
`bench.subtract`.  Goals are for an H200 on PCIe 5, frames of 10560 x 10560 and a kernel of 31 x 31 pixels.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import subtract_gpu_device as on
from bench.table import Row, percentile, show
from photometry.errors import GpuUnavailableError
from photometry.subtraction.gpu import cubin

ARCHITECTURE = "sm_90"
TIMES = 5
_OPEN = """
import time
began = time.monotonic()
from photometry.subtraction.gpu.lend import lend
with lend():
    print(time.monotonic() - began)
"""

Take = Callable[[], Row]


def main() -> int:
    """-> 0 all goals are met, 1 some are not."""
    parser = argparse.ArgumentParser(prog="python -m bench.subtract_gpu", description=__doc__)
    parser.add_argument("--row", metavar="WORD", help="only the rows with WORD in their figure")
    parser.add_argument("--pairs", type=Path, metavar="DIR", default=Path("build/pairs"), help="where they are kept")
    options = parser.parse_args()
    folder = options.pairs.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    rows = [tell(*named) for named in takes(folder) if not options.row or options.row in named[0]]
    print(show(rows))
    return 0 if all(row.met for row in rows) else 1


def takes(folder: Path) -> list[tuple[str, str, Callable[[str, str], Row]]]:
    """(figure, goal, what takes it), in order."""
    return [
        ("convolve: registers and spills", "0 spilled", _spills),
        ("GPU and CPU, the worst pixel", f"<= {on.ALLOWED_SIGMA:g} sigma", on.parity),
        ("convolve, variance, finish", "<= 12 ms", partial(on.milliseconds, 12.0, on.compute)),
        ("convolve: share of the fp32 peak", ">= 60 %", on.share),
        ("host to host", "<= 40 ms", partial(on.milliseconds, 40.0, on.round_trip)),
        ("transfers and overlap", "said", on.overlap),
        ("peak device memory", "< 4 GB", on.memory),
        ("energy of a frame, host to host", "said", on.energy),
        ("context and kept code, a new process", "said", _opened),
        ("file to file, warm library call", "<= 0.5 s", partial(_warm, folder)),
        ("file to file, cold worker with context", "<= 2 s", partial(_cold, folder, 1)),
        ("file to file, two cold workers at once", "both", partial(_cold, folder, 2)),
    ]


def tell(figure: str, goal: str, take: Callable[[str, str], Row]) -> Row:
    """Take a figure, or say why not."""
    try:
        row = take(figure, goal)
    except GpuUnavailableError as error:
        row = Row(figure, goal, f"no GPU here: {error}", None)
    except (ModuleNotFoundError, OSError) as error:
        row = Row(figure, goal, str(error), None)
    print(f"{figure}: {row.measured}", file=sys.stderr, flush=True)
    return row


def _spills(figure: str, goal: str) -> Row:
    """As ptxas says."""
    try:
        said = cubin.compiled(ARCHITECTURE)[1]
    except GpuUnavailableError as error:  # of the compiler
        return Row(figure, goal, str(error), None)
    words = re.search(r"entry function 'convolve'.*?(\d+) bytes spill stores, (\d+) bytes.*?Used (\d+) reg", said, re.DOTALL)
    assert words is not None
    spilled = int(words[1]) + int(words[2])
    return Row(figure, goal, f"{words[3]} registers, {spilled} bytes spilled, {ARCHITECTURE}", spilled == 0)


def _opened(figure: str, goal: str) -> Row:
    """Seconds from a process that has numpy to a context with its code; the first made and kept the code."""
    seconds = []
    on.require()
    for _ in range(TIMES + 1):
        done = subprocess.run([sys.executable, "-c", _OPEN], capture_output=True, text=True, check=True)
        seconds.append(float(done.stdout))
    return Row(figure, goal, f"median {percentile(seconds[1:], 50):.2f} s, n={TIMES}", met=True)


def _warm(folder: Path, figure: str, goal: str) -> Row:
    """The library call in a process that stays."""
    on.require()
    from bench import subtract_gpu_files as files  # needs all that the tests need; the device's rows do not

    return files.warm_call(folder, figure, goal)


def _cold(folder: Path, workers: int, figure: str, goal: str) -> Row:
    """The command, so many of them side by side."""
    on.require()
    from bench import subtract_gpu_files as files

    return files.commands(folder, workers, figure, goal)


if __name__ == "__main__":
    sys.exit(main())
