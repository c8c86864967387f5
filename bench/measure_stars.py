"""How fast, how true and how quiet the photometry of stars is: simulated fields with known truth, photutils beside it.

python -m bench.measure_stars
"""

import resource
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.table import Row, show
from photometry.background import subtract_background
from photometry.detection import detect
from photometry.image import Image
from photometry.psf import PsfModel
from photometry.settings import Settings
from photometry.stars.agreement import agreement
from photometry.stars.aperture import aperture_fluxes, measure_growth
from photometry.stars.fit import fit_stars
from photometry.stars.forced import forced_fluxes
from photometry.stars.magnitudes import MAG_PER_LN
from photometry.stars.psf import measure_psf
from photometry.stars.sums import isolated, judge, summed_fluxes
from photometry.subtraction import subtract
from photometry.zero_point import measure_zero_point
from skysim.optics import Psf, draw, stamp

Array = NDArray[np.float64]

SKY, READ_NOISE = 400.0, 6.0
GOAL_RATE = 50_000.0
REPEATS = 5
PHOTUTILS_STARS = 400
FWHM = (2.5, 4.0, 8.0)
FORCED_PLACES = 40_000
PULL_FIELDS = 6
PAIRS = ((4.0, 3.4), (3.4, 4.2), (4.0, 3.98))  # FWHM of science frame and template: each kind of convolution


@dataclass(frozen=True)
class Field:
    """A frame of electrons without its sky, and the truth."""

    image: Image
    x: Array
    y: Array
    flux: Array
    psf: Psf


def field(fwhm: float, shape: tuple[int, int], apart: float, seed: int, *, steady: bool = False) -> Field:
    """Stars on a jittered grid `apart` FWHM from each other, fluxes even in their logarithm."""
    rng = np.random.default_rng(seed)
    step = apart * fwhm
    axes = (np.arange(step, n - step / 2, step) for n in (shape[1], shape[0]))
    x, y = (grid.ravel() + rng.uniform(-0.1, 0.1, grid.size) * step for grid in np.meshgrid(*axes))
    flux = 10 ** rng.uniform(3.2, 5.7, len(x))
    psf = Psf(fwhm, 0.03, -0.02, (0.0, 0.0, 0.0), 0.0) if steady else Psf(fwhm, 0.03, -0.02)
    light = np.zeros(shape)
    draw(light, x, y, flux, psf)
    data = (rng.poisson(light + SKY) - SKY + rng.normal(0, READ_NOISE, shape)).astype(np.float32)
    variance = (light + SKY + READ_NOISE**2).astype(np.float32)
    return Field(Image(data, variance, np.zeros(shape, np.uint16), "electron", 1.0, READ_NOISE, 1e9), x, y, flux, psf)


def rows(size: int = 2048) -> list[Row]:
    """All figures; size: of the frame that the speed is taken on."""
    with ThreadPoolExecutor(2) as threads:
        found = [*speed(size, threads), *_forced(threads), _zero_point()]
        for fwhm in FWHM:
            found += truth(fwhm, threads)
        found += [_third(*pair, threads) for pair in PAIRS]
    return found


def _width(values: Array) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def _spent(work: object) -> tuple[float, float]:
    """(wall, CPU) seconds of the quickest of several calls."""
    assert callable(work)
    taken = []
    for _ in range(REPEATS):
        wall, cpu = time.monotonic(), time.process_time()
        work()
        taken.append((time.monotonic() - wall, time.process_time() - cpu))
    return min(taken)[0], min(cpu for _, cpu in taken)


def _steady_psf(sky: Field) -> PsfModel:
    ny, nx = sky.image.shape
    pixels = stamp(sky.psf, nx / 2, ny / 2, (ny, nx), 10)
    return PsfModel(pixels[None] / pixels.sum(), (0,), (0,), (ny, nx))


def speed(size: int, threads: Executor) -> list[Row]:
    """Stars a second, photutils' in the same run on some of the same stars, and whether both say the same."""
    sky = field(3.0, (size, size), 5.0, 1, steady=True)
    psf = _steady_psf(sky)
    x, y = np.rint(sky.x), np.rint(sky.y)
    fit_stars(sky.image, psf, x, y, threads)
    wall, cpu = _spent(lambda: fit_stars(sky.image, psf, x, y, threads))
    n = len(x)
    said = (
        f"{n / wall:,.0f} by wall, {2 * n / cpu:,.0f} by CPU seconds (both cores busy), n={n}, one star in {size**2 // n} px"
    )
    found = [Row("stars/s, two threads", f">= {GOAL_RATE:,.0f}", said, 2 * n / cpu >= GOAL_RATE)]
    try:
        sky = field(3.0, (size // 2, size // 2), 10.0, 1, steady=True)  # alone: photutils takes no neighbours off
        psf = _steady_psf(sky)
        fits = fit_stars(sky.image, psf, np.rint(sky.x), np.rint(sky.y), threads)
        seconds, theirs = _photutils(sky, psf, fits.model, PHOTUTILS_STARS)
    except ImportError:
        return [*found, Row("photutils beside", "ratio", "photutils is not installed", None)]
    ratio = seconds / PHOTUTILS_STARS / (cpu / n)
    found.append(
        Row(
            "CPU a star, photutils' over ours",
            ">= 20",
            f"{ratio:.0f} x ({PHOTUTILS_STARS / seconds:.0f} stars/s)",
            ratio >= 20,
        )
    )
    some = fits.stars[:PHOTUTILS_STARS]
    off = np.abs(some["flux"] - theirs) / some["flux_err"]
    measured = f"median {np.median(off):.1e}, 95 % {np.percentile(off, 95):.1e}, most {off.max():.1e}"
    return [
        *found,
        Row("flux, ours less photutils', over the error", "<= 1e-3 median", measured, bool(np.median(off) <= 1e-3)),
    ]


def _photutils(sky: Field, psf: PsfModel, model: NDArray[np.float32], count: int) -> tuple[float, Array]:
    """CPU seconds and fluxes of the first stars: the same PSF sampled five times as finely, the same pixels and weights."""
    from astropy.table import Table
    from photutils.psf import ImagePSF, PSFPhotometry
    from scipy import ndimage

    oversampling, pad = 5, 12
    grid = np.arange(2 * psf.half * oversampling + 1) / oversampling + pad
    fine = ndimage.map_coordinates(
        np.pad(psf.planes[0], pad), np.meshgrid(grid, grid, indexing="ij"), order=5, mode="mirror"
    )
    start = {"x_init": np.rint(sky.x[:count]), "y_init": np.rint(sky.y[:count]), "flux_init": sky.flux[:count]}
    side = 2 * int(np.ceil(1.5 * psf.fwhm)) + 1
    error = np.sqrt(SKY + READ_NOISE**2 + np.maximum(model, 0).astype(float))
    photometry = PSFPhotometry(ImagePSF(fine, oversampling=oversampling), (side, side), aperture_radius=4)
    cpu = time.process_time()
    table = photometry(sky.image.data.astype(float), error=error, init_params=Table(start))
    return time.process_time() - cpu, np.asarray(table["flux_fit"])


def _forced(threads: Executor) -> list[Row]:
    """Forced fluxes at many places."""
    sky = field(3.0, (2048, 2048), 5.0, 2, steady=True)
    psf = _steady_psf(sky)
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, 2047, (2, FORCED_PLACES))
    useless = np.zeros(sky.image.shape, bool)
    planes = sky.image.data, sky.image.variance
    wall, cpu = _spent(lambda: forced_fluxes(*planes, useless, psf, x, y, 1.0, threads))
    return [Row(f"forced fluxes, {FORCED_PLACES:,} places", "<= 2 s", f"{wall:.2f} s, CPU {cpu:.2f} s", cpu / 2 <= 2)]


def truth(fwhm: float, threads: Executor) -> list[Row]:
    """The bright end, the noise, the pulls and the agreement, with the PSF measured on the frame itself."""
    side = round(170 * fwhm) + 300
    sky = field(fwhm, (side, side), 8.0, 3)
    _, level = subtract_background(sky.image, Settings(), keep_variance=True)
    psf, quality = measure_psf(sky.image, detect(sky.image, level, Settings()), threads)
    off = np.random.default_rng(3).normal(0, 0.15, (2, len(sky.x)))
    fits = fit_stars(sky.image, psf, sky.x + off[0], sky.y + off[1], threads)
    growth = measure_growth(sky.image, psf, fits)
    assert growth is not None
    stars, tied = fits.stars, growth.psf_correction(sky.x, sky.y)
    flux, error = stars["flux"] * tied, stars["flux_err"] * tied
    aperture, aperture_err, _ = aperture_fluxes(sky.image, psf, fits, growth)
    name = f"FWHM {fwhm:g} px: "
    bright = sky.flux > 5e4
    found = [
        _mmag(name + "PSF flux, bright end", flux[bright], error[bright], sky.flux[bright]),
        _mmag(name + "aperture, bright end", aperture[bright], aperture_err[bright], sky.flux[bright]),
        _noise(name, sky, flux, error),
    ]
    found += _pulls(name, psf, fwhm, threads)
    place = np.median(np.hypot(stars["x"] - sky.x, stars["y"] - sky.y)[sky.flux > 2e5])
    found.append(Row(name + "place, bright end", "<= .02 px", f"median {place:.4f} px", bool(place <= 0.02)))
    both = agreement(aperture, aperture_err, flux, error)
    said = f"{1e3 * both.offset:+.2f} +- {1e3 * both.error:.2f} mmag {both.reason}".rstrip()
    found.append(Row(name + "aperture less PSF", "<= 2 mmag", said, both.agrees))
    said = f"chi2 {quality.chi2:.3f}, residual {quality.residual:.4f}, n={quality.stars}"
    return [*found, Row(name + "PSF's residual over the peak", "<= .01", said, quality.residual <= 0.01)]


def _third(wide: float, narrow: float, threads: Executor) -> Row:
    """Three photometries of a pair of frames whose stars are the same."""
    frames = [field(fwhm, (900, 900), 30 / fwhm, 4) for fwhm in (wide, narrow)]
    science = frames[0]
    assert np.array_equal(science.flux, frames[1].flux)
    lists = []
    for sky in frames:
        _, level = subtract_background(sky.image, Settings(), keep_variance=True)
        lists.append(detect(sky.image, level, Settings()))
    difference = subtract(science.image, frames[1].image, lists[0], lists[1])
    psfs = [measure_psf(sky.image, stars, threads)[0] for sky, stars in zip(frames, lists, strict=True)]
    fits, matched = (fit_stars(sky.image, psf, sky.x, sky.y, threads) for sky, psf in zip(frames, psfs, strict=True))
    growth = measure_growth(science.image, psfs[0], fits)
    assert growth is not None
    aperture, aperture_err, _ = aperture_fluxes(science.image, psfs[0], fits, growth)
    template = matched.stars["flux"], matched.stars["flux_err"]
    third = summed_fluxes(*template, psfs[0], psfs[1], difference, science.x, science.y, threads)
    tie = growth.psf_correction(science.x, science.y)
    fluxes = {
        "aperture": (aperture, aperture_err),
        "PSF": (fits.stars["flux"] * tie, fits.stars["flux_err"] * tie),
        "template + difference": (third[0] * tie, third[1] * tie),
    }
    alone = isolated(fits, psfs[0].fwhm) & (science.flux > 2e4)
    found = judge(fluxes, alone)
    worst = max((pair.offset for pair in found.pairs.values()), key=abs)
    said = f"worst {1e3 * worst:+.2f} mmag, n={alone.sum()}, flux scale {difference.kernel_sum:.4f} {found.reason}".rstrip()
    figure = f"FWHM {wide:g} and {narrow:g} px: three photometries, two by two"
    return Row(figure, "<= 2 mmag", said, found.agrees and abs(worst) <= 0.002)


def _pulls(name: str, psf: PsfModel, fwhm: float, threads: Executor) -> list[Row]:
    """Widths of the pulls of faint stars, several fields pooled, with one measured PSF."""
    pulls: list[Array] = []
    for seed in range(10, 10 + PULL_FIELDS):
        sky = field(fwhm, psf.shape, 8.0, seed)
        off = np.random.default_rng(seed).normal(0, 0.15, (2, len(sky.x)))
        fits = fit_stars(sky.image, psf, sky.x + off[0], sky.y + off[1], threads)
        growth = measure_growth(sky.image, psf, fits)
        assert growth is not None
        stars, tied = fits.stars, growth.psf_correction(sky.x, sky.y)
        pull = [(stars["flux"] * tied - sky.flux) / (stars["flux_err"] * tied)]
        pull += [(stars["x"] - sky.x) / stars["x_err"], (stars["y"] - sky.y) / stars["y_err"]]
        pulls.append(np.array(pull)[:, sky.flux < 3e4])
    pooled = np.concatenate(pulls, axis=1)
    rows = []
    for label, values in zip(("flux", "x", "y"), pooled, strict=True):
        width = _width(values[np.isfinite(values)])
        said = f"{width:.3f} +- {1.17 / np.sqrt(values.size):.3f}, n={values.size}"
        rows.append(Row(f"{name}pull of {label}", ".95-1.05", said, 0.95 <= width <= 1.05))
    return rows


def _mmag(figure: str, flux: Array, error: Array, truth: Array) -> Row:
    off = MAG_PER_LN * np.log(flux / truth)
    median, scatter = float(np.median(off)), _width(off)
    photons = float(np.median(MAG_PER_LN * error / flux))
    said = f"{1e3 * median:+.2f} mmag, scatter {1e3 * scatter:.2f} (its noise {1e3 * photons:.2f}), n={len(off)}"
    return Row(figure, "<= 2 mmag", said, abs(median) <= 0.002)


def _noise(name: str, sky: Field, flux: Array, error: Array) -> Row:
    """Robust scatter in bins of flux over the Cramer-Rao bound of a star whose place is known."""
    ny, nx = sky.image.shape
    whole = stamp(sky.psf, nx / 2, ny / 2, (ny, nx), 40)
    ratios = []
    for low in np.arange(3.2, 4.4, 0.3):
        chosen = (sky.flux > 10**low) & (sky.flux <= 10 ** (low + 0.3))
        bound = np.array([1 / np.sqrt((whole**2 / (SKY + READ_NOISE**2 + f * whole)).sum()) for f in sky.flux[chosen]])
        ratios.append(_width((flux - sky.flux)[chosen] / bound))
    claimed = float(
        np.median(error / np.array([1 / np.sqrt((whole**2 / (SKY + READ_NOISE**2 + f * whole)).sum()) for f in sky.flux]))
    )
    ratio = float(np.median(ratios))
    return Row(name + "noise over Cramer-Rao", "<= 1.15", f"{ratio:.3f} (errors say {claimed:.3f})", ratio <= 1.15)


def _zero_point() -> Row:
    """Recovered against a known zero point with a slope, a colour term, and every seventh match wrong."""
    offs, claimed = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        n = 500
        x, y = rng.uniform(0, 1999, (2, n))
        magnitude, colour = rng.uniform(12, 18, n), rng.normal(0, 0.4, n)
        flux = 10 ** (-0.4 * (magnitude - 25.0 - 0.02 * (x / 1000 - 1) - 0.05 * colour))
        error = np.hypot(0.005 * flux, 20)
        flux += rng.normal(0, 1, n) * error
        flux[::7] *= 10 ** rng.normal(0.1, 0.4, len(flux[::7]))
        listed = magnitude + rng.normal(0, 0.01, n)
        found = measure_zero_point(flux, error, listed, np.full(n, 0.01), x, y, (2000, 2000), colour)
        offs.append(found.value - 25.0)
        claimed.append(found.error)
    worst = 1e3 * float(np.abs(offs).max())
    said = f"rms {1e3 * np.std(offs):.2f} mmag (claimed {1e3 * np.median(claimed):.2f}), worst {worst:.2f} of {len(offs)}"
    return Row("zero point against the truth", "<= 5 mmag", said, worst <= 5)


if __name__ == "__main__":
    print(show(rows()))
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB")
