"""`python -m bench.measure`: from raw counts to calibrated measurements, all that is promised of it in one table.

Prints `figure | goal | measured | met`, `met N of M` at the end.  What lies behind a row is in the module that takes it:
`bench.measure_chain`, `_calibration`, `_stars`, `_truth`, `_astrometry`, `_bad_input`.  Raw frames are simulated once, six
minutes and 4 GB for the large ones, and kept in a folder for the next time; real ones are those of $AST3_TESTDATA.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench import measure_astrometry as astrometry
from bench import measure_bad_input as bad_input
from bench import measure_calibration as calibration
from bench import measure_chain as chain
from bench import measure_stars as stars
from bench import measure_truth as truth
from bench.calibration_picture import draw
from bench.raw_fields import AST3_SIDE
from bench.recovery import about
from bench.table import Row, show


@dataclass(frozen=True)
class Size:
    """sides: pixels, of the frames that growth is taken between, which are processed `repeats` times; noise, field: of those
    that the noise and the speed of fits are taken on; widths: FWHM of simulated fields, pixels; shuffled, pointings: how
    many are tried; bad: which.
    """

    sides: tuple[int, int] = (2_640, AST3_SIDE)
    repeats: int = 3
    noise: int = 2_640
    field: int = 2_048
    widths: tuple[float, ...] = stars.FWHM
    shuffled: int = 1_000
    pointings: int = 10
    bad: tuple[bad_input.Case, ...] = bad_input.CASES


SHORT = Size(sides=(1_056, 2_640), noise=1_056, field=1_024, widths=(2.5, 4.0), shuffled=30, pointings=2)


class Figures:
    """Takes the rows, in the issue's order; what several of them need is made once.

    keep: of raw frames; place: an empty folder for all else.
    """

    def __init__(self, size: Size, seed: int, keep: Path, place: Path, picture: Path | None = None) -> None:
        self.size, self.seed, self.keep, self.place, self.picture = size, seed, keep, place, picture

    def takes(self) -> dict[str, Callable[[], list[Row]]]:
        """What can be taken, by name."""
        return {
            "chain": lambda: chain.rows(self._runs),
            "noise": self._noise,
            "fits": self._fits,
            "truth": lambda: truth.rows(self._alone),
            "fields": self._fields,
            "astrometry": self._astrometry,
            "sky": lambda: [truth.sky_row(self._alone)],
            "flatness": self._flatness,
            "bad-input": lambda: [bad_input.row(self.keep, self.seed, self.size.bad)],
        }

    @cached_property
    def _runs(self) -> list[chain.Run]:
        size = self.size
        return [chain.run(self.keep, side, self.seed, self.place / str(side), size.repeats) for side in size.sides]

    @cached_property
    def _alone(self) -> truth.Stars:
        return truth.compare(self._runs[-1].exposed, self._runs[-1].products)

    def _noise(self) -> list[Row]:
        (noise, *_), _ = calibration.medium(self.place / "noise", self.size.noise)
        return [noise]

    def _fits(self) -> list[Row]:
        with ThreadPoolExecutor(chain.THREADS) as threads:
            found = stars.speed(self.size.field, threads)
        return [found[0], found[-1]]  # speed; agreement with photutils, or that it is not there

    def _fields(self) -> list[Row]:
        with ThreadPoolExecutor(chain.THREADS) as threads:
            found = [row for width in self.size.widths for row in stars.truth(width, threads)]
        what = f"simulated fields, FWHM {', '.join(f'{width:g}' for width in self.size.widths)} px: "
        return [
            gather(what + "bright end", [row for row in found if "bright end" in row.figure and "flux" in row.figure]),
            gather(what + "noise over theory", [row for row in found if "noise" in row.figure]),
            gather(what + "pulls of flux, x, y", [row for row in found if "pull" in row.figure]),
        ]

    def _astrometry(self) -> list[Row]:
        real = astrometry.DATA
        found = [gather("astrometry, simulated at Dec -89.5 and RA 0", list(astrometry.simulated()))]
        if (real / "MANIFEST.md").exists():
            found += [astrometry.lowell(real), *astrometry.tycho_frames(real)]
        return [
            *found,
            astrometry.believed_shuffled(self.size.shuffled, real),
            gather("pointing wrong by 2 degrees, five places", list(astrometry.wrong_pointing(self.size.pointings))),
        ]

    def _flatness(self) -> list[Row]:
        if self.picture is not None:
            self.picture.parent.mkdir(parents=True, exist_ok=True)
            draw(self.picture)
        read_noise, *sky = calibration.saao()
        return [*calibration.lowell(), gather("saao_ste3 raw, no masters in the set: sky, read noise", [*sky, read_noise])]


def gather(figure: str, rows: Sequence[Row]) -> Row:
    """One row of several: met if all are, not taken if one is not and none is missed."""
    met = [row.met for row in rows]
    whole = False if False in met else None if None in met else True
    goals, measured = dict.fromkeys(row.goal for row in rows), [row.measured for row in rows]
    return Row(figure, "; ".join(goals), "; ".join(measured), whole)


def rows(figures: Figures, wanted: Sequence[str] = ()) -> list[Row]:
    """The table, or the rows that are taken with one of these words in their name."""
    found: list[Row] = []
    for name, take in figures.takes().items():
        if not wanted or any(word in name for word in wanted):
            began = time.monotonic()
            found += take()
            print(f"{name}: {time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    return found


def main(words: Sequence[str] | None = None) -> int:
    """-> 0 all goals are met, 1 some are not."""
    parser = argparse.ArgumentParser(prog="python -m bench.measure", description=__doc__)
    parser.add_argument("--short", action="store_true", help="small frames and small n: does it run, and roughly how well")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the raw frames' sky (default %(default)s)")
    parser.add_argument("--rows", default="", metavar="WORD,...", help="only those with a WORD in their name, as on stderr")
    parser.add_argument(
        "--keep", type=Path, default=chain.keep_folder(), metavar="DIR", help="of raw frames (default %(default)s)"
    )
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write a frame, raw and calibrated, as a PNG")
    said = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as place:
        figures = Figures(SHORT if said.short else Size(), said.seed, said.keep, Path(place), said.picture)
        table = rows(figures, [word for word in said.rows.split(",") if word])
    print(f"\n{about(said.keep)}\n\n{show(table)}")
    return int(any(row.met is not True for row in table))


if __name__ == "__main__":
    raise SystemExit(main())
