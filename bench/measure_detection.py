"""The front half of measuring a frame: sky, noise, sources, cosmic rays; how fast, how lean, how complete, how right.

    python -m bench.measure_detection

Frames are simulated with known truth; sep, on the same frame in the same run, is the peer.
"""

import gc
import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_THREADING_LAYER", "workqueue")

import numpy as np
import sep
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bench.table import Row, show
from photometry.background import subtract_background
from photometry.cosmics import mark_cosmic_rays
from photometry.detection import detect
from photometry.image import Image
from photometry.settings import Settings
from skysim.optics import Psf, draw

TILE = 2640  # pixels: a larger frame is this one repeated
STARS = 38_000 // 16  # of a tile
SKY, READ_NOISE, FWHM, TOP = 300.0, 6.0, 4.0, 90_000.0
BINS = ((5.0, 7.0, 75.0), (7.0, 10.0, 97.0), (10.0, np.inf, 99.0))  # S/N from, to, and the per cent to be found
MOST_FALSE = 1.0  # a megapixel
MOST_RATIO = 1.15  # of the error of a centroid to the Cramer-Rao bound
LIMITS = {TILE: (0.6, 0.1), 10560: (10.0, 0.8)}  # CPU seconds, GB above the frame
GIGABYTE = 1e9

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """A frame in electrons and its stars."""

    image: Image
    x: Values
    y: Values
    flux: Values


def scene(n: int, stars: int, seed: int = 1, faintest: float = 250.0) -> Scene:
    """N(> flux) ~ flux^-0.7 on a flat sky."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(8, n - 9, (2, stars))
    flux = np.minimum(faintest * rng.uniform(size=stars) ** (-1 / 0.7), 3e6)
    light = np.zeros((n, n))
    draw(light, x, y, flux, Psf(FWHM))
    data = rng.poisson(light + SKY) + rng.normal(0, READ_NOISE, (n, n))
    data = np.minimum(data, TOP).astype(np.float32)
    return Scene(_image(data), x, y, flux)


def _image(data: NDArray[np.float32]) -> Image:
    mask = (data >= TOP).astype(np.uint16)
    variance = np.maximum(data, 0) + np.float32(READ_NOISE**2)
    return Image(data, variance, mask, "electron", 1.0, READ_NOISE, TOP)


def measure(image: Image) -> NDArray[np.void]:
    """What the pipeline does with a calibrated frame, up to its list of sources."""
    left, sky = subtract_background(image, Settings(), keep_variance=True)
    stars = detect(left, sky, Settings())
    mark_cosmic_rays(left, stars)
    return stars


def measure_with_sep(image: Image) -> tuple[Values, Values]:
    """The same steps with sep: x, y."""
    sky = sep.Background(image.data, mask=image.mask != 0)
    left = image.data - sky
    found = sep.extract(left, 5.0, err=sky.rms())
    x, y, _ = sep.winpos(left, found["x"], found["y"], np.full(len(found), FWHM / 2.3548))
    return x, y


def speed(n: int, times: int = 3) -> list[Row]:
    """CPU and wall seconds, and the most memory above the frame's planes, of a frame of n^2 pixels."""
    tile = scene(TILE, STARS, faintest=1200.0).image  # all of which are found
    measure(tile)  # compiles
    image = tile if n == TILE else _image(np.tile(tile.data, (n // TILE, n // TILE)))
    cpu, wall, peak = [], [], []
    for _ in range(times):
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak
        before, began, used = _status("VmRSS"), time.monotonic(), _cpu()
        stars = measure(image)
        cpu.append(_cpu() - used)
        wall.append(time.monotonic() - began)
        peak.append(_status("VmHWM") - before)
    most_cpu, most_memory = LIMITS[n]
    took = f"CPU {min(cpu):.2f} s, wall {min(wall):.2f} s, best of {times}, {len(stars):,} sources"
    if n == TILE:
        used = _cpu()
        measure_with_sep(image)
        took += f"; sep CPU {_cpu() - used:.2f} s"
    return [
        Row(f"{n}^2, sky, sources, cosmic rays", f"<= {most_cpu:g} CPU s", took, min(cpu) <= most_cpu),
        Row(f"{n}^2, memory above the frame", f"<= {most_memory:g} GB", f"{max(peak):.2f} GB", max(peak) <= most_memory),
    ]


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024 / GIGABYTE


def quality(name: str, n: int, stars: int) -> list[Row]:
    """Completeness of stars without a neighbour, false sources, and centroids, against the truth."""
    made = scene(n, stars, seed=2)
    profile = np.zeros((61, 61))
    draw(profile, np.array([30.0]), np.array([30.0]), np.array([1.0]), Psf(FWHM))
    blank = SKY + READ_NOISE**2
    snr = made.flux / np.sqrt(blank / np.sum(profile**2) + made.flux)
    tree = cKDTree(np.column_stack([made.x, made.y]))
    near, which = tree.query(np.column_stack([made.x, made.y]), k=6)
    alone = ~((near[:, 1:] < 3 * FWHM) & (made.flux[which[:, 1:]] > 0.2 * made.flux[:, None])).any(axis=1)
    found = measure(made.image)
    ours, theirs = (found["x"], found["y"]), measure_with_sep(made.image)
    rows = []
    for low, high, least in BINS:
        some = alone & (snr >= low) & (snr < high)
        share, peer = (100 * np.mean(_near(made, xy)[some] < FWHM / 2) for xy in (ours, theirs))
        measured = f"{share:.1f} %, n={some.sum()}; sep {peer:.1f} %"
        rows.append(Row(f"{name}: found of S/N {low:g} to {high:g}", f">= {least:g} %", measured, bool(share >= least)))
    real = snr > 2
    wrong = [_false(made, real, xy) / made.image.data.size * 1e6 for xy in (ours, theirs)]
    said = f"{wrong[0]:.2f} a megapixel; sep {wrong[1]:.2f}"
    rows.append(Row(f"{name}: false sources", f"<= {MOST_FALSE:g} a megapixel", said, wrong[0] <= MOST_FALSE))
    slope = np.gradient(profile, axis=1)
    some = np.flatnonzero(alone & (snr > 10) & (snr < 100))
    bound = np.array([(f * f * slope**2 / (f * profile + blank)).sum() ** -0.5 for f in made.flux[some]])
    ratios = [_ratio(made, some, bound, xy) for xy in (ours, theirs)]
    said = f"{ratios[0]:.2f}, n={len(some)}; sep {ratios[1]:.2f}"
    goal = f"<= {MOST_RATIO:g}"
    return [*rows, Row(f"{name}: centroid error over Cramer-Rao's", goal, said, bool(ratios[0] <= MOST_RATIO))]


def _near(made: Scene, xy: tuple[Values, Values]) -> Values:
    """Of each star, how far the nearest source is."""
    return np.asarray(cKDTree(np.column_stack(xy)).query(np.column_stack([made.x, made.y]))[0])


def _false(made: Scene, real: NDArray[np.bool_], xy: tuple[Values, Values]) -> int:
    """How many sources have no star that may be seen near them."""
    tree = cKDTree(np.column_stack([made.x, made.y])[real])
    return int(np.sum(tree.query(np.column_stack(xy))[0] > 0.75 * FWHM))


def _ratio(made: Scene, some: NDArray[np.int64], bound: Values, xy: tuple[Values, Values]) -> float:
    """Robust width of the error along x in units of the bound."""
    distance, index = cKDTree(np.column_stack(xy)).query(np.column_stack([made.x, made.y])[some])
    error = (xy[0][index] - made.x[some]) / bound
    return float(1.4826 * np.median(np.abs(error[distance < FWHM / 2])))


def rows(sizes: tuple[int, ...] = (TILE, 10560)) -> list[Row]:
    """All of them."""
    made = [row for n in sizes for row in speed(n)]
    return [*made, *quality("sparse", 2640, 2640**2 // 2500), *quality("rich", 2640, 2640**2 // 600)]


if __name__ == "__main__":
    print(show(rows()))
