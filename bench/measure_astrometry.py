"""Where frames lie on the sky: how well, how surely and how fast the three rungs tell.

`python -m bench.measure_astrometry [--short] [DATA]`: DATA is the folder of real frames.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from bench.table import Row, show
from photometry.astrometry import (
    AstrometrySettings,
    Catalog,
    Known,
    Solution,
    blind,
    build_indexes,
    carry,
    catalog_of,
    repaired_wcs,
    search,
)
from photometry.astrometry.blind import missing_programs
from photometry.astrometry.plate import sky_of
from photometry.astrometry.sphere import separation
from photometry.errors import AstrometryFailedError
from photometry.frame import read_frame
from photometry.measure import Measured, measure
from photometry.registration import Transform, bright_first, register
from photometry.settings import Settings
from tests.photometry.astrometry.fields import Field, Truth, displaced, misses, shuffled, simulate

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
PLACES = {
    "Dec -89.5": (45.0, -89.5),
    "Dec 90": (0.0, 90.0),
    "RA 0": (0.0, 0.0),
    "RA 359.99": (359.99, 40.0),
    "bulge": (270.0, -29.0),
}
LOWELL_SCALE = 1.107
TYCHO2 = (  # name, frame, catalog, the header's pointing and scale
    (
        "HAT-P-32, 5.2 arcsec/px", "hatp32_microobservatory/light/HATP-32171220013343.fits.fz",
        "hatp32_microobservatory/tycho2.csv", (31.312, 46.769), 5.21,
    ),
    (
        "PANOPTES, 10.3 arcsec/px", "wcs_images/panoptes_unsolved.fits.gz", "wcs_images/panoptes_tycho2.csv",
        (301.564, 44.457), 10.3,
    ),
)  # fmt: skip


def rows(data: Path = DATA, *, short: bool = False) -> list[Row]:
    """All figures; `short`: with small n."""
    out = [*simulated(), *wrong_pointing(2 if short else 10), _carry_time()]
    if (data / "MANIFEST.md").exists():
        out += [lowell(data), *tycho_frames(data)]
    return [*out, believed_shuffled(30 if short else 1000, data), _blind()]


def simulated() -> Iterator[Row]:
    """Fields of 2,000 stars, whose places are known to .02 pixels, against their own truth."""
    for name, field in (
        ("Dec -89.5", Field(1.0, -89.5, 33.0, stars=2000, shape=(2048, 2048), bend=10.0)),
        ("RA 0", Field(0.0, 10.0, 200.0, mirrored=True, stars=2000, shape=(2048, 2048), bend=10.0)),
    ):
        truth = simulate(field)
        solution = search(truth.stars, field.shape, truth.catalog, (field.ra, field.dec), 2000.0, AstrometrySettings(2.0))
        worst = float(misses(solution.header, truth.wcs, field.shape).max())
        said = f"{worst:.4f} px at worst, rms of {solution.stars} stars {solution.rms_pixels:.4f}"
        yield Row(f"simulated, {name}, .02 px noise: fit", "<= 0.02 px", said, bool(worst <= 0.02))


def wrong_pointing(n: int) -> Iterator[Row]:
    """So many fields at each of five places, searched from a pointing that is 2 degrees off."""
    for name, (ra, dec) in PLACES.items():
        solved, wall, cpu = 0, [], []
        for seed in range(n):
            field = Field(ra, dec, 36.0 * seed, bool(seed % 2), 2.0, (2048, 2048), 400, bend=2.0, seed=seed)
            truth = simulate(field)
            pointing = displaced(ra, dec, 2.0, 77.0 * seed)
            (solution, seconds, worked) = timed(
                lambda t=truth, p=pointing: search(t.stars, (2048, 2048), t.catalog, p, 2000.0, AstrometrySettings(2.04))
            )
            wall.append(seconds)
            cpu.append(worked)
            solved += solution is not None and bool(misses(solution.header, truth.wcs, field.shape).max() < 0.2)
        took = f"{np.median(wall):.2f} s, CPU {np.median(cpu):.2f} s, median"
        yield Row(f"2 degrees off at {name}, scale 2 % off", "all, 1-2 s", f"{solved} of {n}, {took}", solved == n)


def _carry_time() -> Row:
    field = Field(stars=38_000, shape=(4000, 4000), spurious=0.0, lost=0.0, bend=5.0)
    truth = simulate(field, reach=1.7)
    ny, nx = field.shape
    cx, cy = np.array([[(nx - 1) / 2, (nx - 1) / 2], [0, 0]]), np.array([[(ny - 1) / 2, 0], [(ny - 1) / 2, 0]])
    known = Known(truth.wcs, truth.stars, Transform(cx, cy, field.shape, identity=True, stars=0, rms_pixels=0.0))
    each = [timed(lambda: carry(truth.stars, field.shape, known, AstrometrySettings(2.0))) for _ in range(5)]
    wall, cpu = (min(one[k] for one in each) for k in (1, 2))
    return Row(
        f"template's solution carried, {len(truth.stars):,} stars",
        "<= 0.3 s",
        f"{wall:.2f} s, CPU {cpu:.2f} s, best of 5",
        bool(cpu <= 0.3),
    )


def lowell(data: Path) -> Row:
    """The night's frames, each carried from the sixth one's header, against their own headers (SCAMP on Gaia)."""
    folder = data / "lowell42_5945"
    names = sorted(frame["file"] for frame in json.loads((folder / "truth.json").read_text()))
    frames = {name: measured(folder / "light" / f"{name}.fz") for name in names}
    wcs = {name: repaired_wcs(found.frame.header, {"strings", "tan_is_tpv"}) for name, found in frames.items()}
    template, squares = names[5], []
    for name, found in frames.items():
        if name != template and wcs[name] is not None:
            shape = found.image.data.shape
            transform = register(found.stars, frames[template].stars, shape, frames[template].image.data.shape)
            known = Known(wcs[template], frames[template].stars, transform)
            solution = carry(found.stars, shape, known, AstrometrySettings(LOWELL_SCALE))
            squares.append(apart(solution, wcs[name], bright_first(found.stars)) ** 2)
    rms = float(np.sqrt(np.mean(squares)))
    return Row(
        "Lowell 42-inch, against the header's solution",
        "<= 0.3 arcsec",
        f"{rms:.3f} arcsec rms, n={len(squares)}",
        bool(rms <= 0.3),
    )


def tycho_frames(data: Path) -> Iterator[Row]:
    """Real frames of two small telescopes against Tycho-2."""
    for name, frame, catalog, pointing, scale in TYCHO2:
        found, stars = measured(data / frame), tycho(data / catalog)
        try:
            solution = search(found.stars, found.image.data.shape, stars, pointing, 2017.0, AstrometrySettings(scale))
        except AstrometryFailedError as refused:
            yield Row(f"{name}, against Tycho-2", "<= 1 px", f"refused: {refused}", False)
            continue
        said = f"{solution.rms_pixels:.3f} px, {solution.rms_arcsec:.2f} arcsec, n={solution.stars}"
        yield Row(f"{name}, against Tycho-2", "<= 1 px", said, bool(solution.rms_pixels <= 1.0))


def believed_shuffled(n: int, data: Path) -> Row:
    """A third each of two simulated fields and, where there are real frames, PANOPTES'."""
    cases: list[tuple[Any, tuple[int, int], Catalog, tuple[float, float], float]] = []
    for field in (Field(350.0, 88.0, stars=60), Field(0.0, 0.0, stars=40, scale=5.0)):
        truth = simulate(field)
        cases.append((truth.stars, field.shape, truth.catalog, (field.ra, field.dec), field.scale))
    if (data / "MANIFEST.md").exists():
        _, frame, catalog, pointing, scale = TYCHO2[1]
        found = measured(data / frame)
        cases.append((found.stars, found.image.data.shape, tycho(data / catalog), pointing, scale))
    false, seconds = 0, []
    for seed in range(n):
        stars, shape, catalog, pointing, scale = cases[seed % len(cases)]
        mixed, known = shuffled(stars, seed), AstrometrySettings(scale)
        solution, _, cpu = timed(lambda m=mixed, h=shape, c=catalog, p=pointing, k=known: search(m, h, c, p, 2000.0, k))
        false += solution is not None
        seconds.append(cpu)
    return Row(
        "shuffled star lists believed", "0 of 1,000", f"{false} of {n:,}, CPU {np.mean(seconds):.2f} s each", false == 0
    )


def _blind() -> Row:
    what, goal = "blind, catalog of one field's surroundings", "solved"
    if missing_programs():
        return Row(what, goal, f"not installed: {', '.join(missing_programs())}", None)
    field = Field(45.0, -89.5, 33.0, stars=150, bend=3.0)
    truth: Truth = simulate(field, reach=2.0)
    known = AstrometrySettings(2.03)
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        indexes = build_indexes(truth.catalog, 2000.0, field.shape, known, Path(folder))
        built = time.monotonic() - start
        solution, wall, _ = timed(lambda: blind(truth.stars, field.shape, truth.catalog, indexes, 2000.0, known))
    right = solution is not None and bool(misses(solution.header, truth.wcs, field.shape).max() < 0.3)
    said = (
        f"{'solved' if right else 'not solved'} in {wall:.2f} s; indexes of {len(truth.catalog.rows):,} stars {built:.1f} s"
    )
    return Row(what, goal, said, right)


def timed(call: Callable[[], Solution]) -> tuple[Solution | None, float, float]:
    """What it returns, None where it refuses; wall and CPU seconds."""
    start, worked = time.monotonic(), time.process_time()
    try:
        solution = call()
    except AstrometryFailedError:
        solution = None
    return solution, time.monotonic() - start, time.process_time() - worked


def measured(path: Path) -> Measured:
    """A frame and its stars."""
    return measure(read_frame(path), Settings())


def tycho(path: Path) -> Catalog:
    """A test file's stars."""
    table = np.genfromtxt(path, delimiter=",", names=True, skip_header=1)
    return catalog_of({"ra": table["ra_deg"], "dec": table["dec_deg"], "mag": table["vt_mag"]})


def apart(solution: Solution, wcs: WCS, places: Any) -> float:
    """Arcsec, rms, between a solution and another WCS at those pixels."""
    ours = sky_of(WCS(fits.Header(solution.header)))(places)
    return 3600 * float(np.sqrt((separation(ours, sky_of(wcs)(places)) ** 2).mean()))


def main(words: Sequence[str] | None = None) -> int:
    """The table; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.measure_astrometry", description=__doc__)
    parser.add_argument("data", nargs="?", type=Path, default=DATA)
    parser.add_argument("--short", action="store_true", help="with small n")
    said = parser.parse_args(words)
    table = rows(said.data, short=said.short)
    print(show(table))
    return int(any(row.met is False for row in table))


if __name__ == "__main__":
    raise SystemExit(main())
