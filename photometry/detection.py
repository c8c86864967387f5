"""Sources on a frame: where they are, how wide and how bright.

A source is a top of the frame's score (`photometry.score`) above the threshold that stands out of its surroundings
(`photometry.hills`); each is then measured on its own (`photometry.loops.sources`).  Bertin & Arnouts 1996.
"""

from concurrent.futures import Executor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photometry.background import Background
from photometry.cosmics import brightest_near
from photometry.hills import Tops, find_tops
from photometry.image import Image
from photometry.loops.apertures import CUT, MASKED
from photometry.loops.sources import Frame, Near, measure_sources, measure_widths
from photometry.mask import Bit
from photometry.mesh import Mesh
from photometry.score import HIDDEN, Score, structure_of, widths_of
from photometry.settings import Settings
from photometry.threads import start_threads

# Bits of `flags`.
FLAG_BLENDED = 0x1
FLAG_EDGE = 0x2
FLAG_CUT = CUT
FLAG_MASKED_LIGHT = MASKED
FLAG_SATURATED = 0x100
FLAG_MASKED = 0x200

FWHM_PER_SIGMA = 2.3548
# Narrower than a star: 6 % of its significance for pairs that are told apart when 1 FWHM from each other.
_FILTER_SHARE = 0.7
_FILTER_SIGMAS = (0.6, 3.0)  # pixels
_FIRST_SIGMA = 1.0  # pixels: of the filter that finds the stars by which the seeing is known
_FIRST_THRESHOLD = 20.0
_FEWEST_FIRST = 5
_WIDTH_PERCENTILE = 35.0  # as `photometry.measure.seeing`
_STRIPS, _STRIP_ROWS = 4, 256  # of a frame that are looked at first
_STRIP_MARGIN = 16
_RATIO_PERCENTILE, _RATIO_MARGIN = 25.0, 0.5  # as `photometry.cosmics`
_SHARP_SIGMA = 2.0
_SINGLE_SHARE = 0.5  # of the score that a warm pixel has of itself
_SOURCES_AT_A_TIME = 512
_PIXEL_VARIANCE = 1 / 12  # of a source of one pixel


def star_dtype(radii: int) -> np.dtype[Any]:
    """One source: positions in pixels (0-based), fluxes in the image's unit, theta in radians from x towards
    y.
    """
    names = ["x", "y", "flux", "flux_err"]
    for i in range(1, radii + 1):
        names += [f"flux_aper{i}", f"flux_aper{i}_err"]
    layout: list[tuple[str, str]] = [(name, "f8") for name in names]
    layout += [(name, "f4") for name in ("fwhm", "a", "b", "theta", "peak")]
    return np.dtype([*layout, ("flags", "i4")])


def detect(image: Image, sky: Background, settings: Settings) -> NDArray[Any]:
    """Sources of an image without its sky, brightest first; `star_dtype` has the columns.

    flux is the Kron-like (AUTO) flux, flux_aperN those of `settings.aperture_radii_pixels`; errors from the
    image's variance.  x, y are windowed centroids.  fwhm is twice the half-light radius.  Never raises on a
    valid image.
    """
    with start_threads() as threads:
        score, least = _score(image, sky, threads)
        tops = find_tops(score, sky, settings.detection_threshold_sigma, slice(0, image.shape[0]), threads)
        tops = tops.only(~_sharper(score, sky, tops, least))
        stars = _measure(score, tops, settings.aperture_radii_pixels, threads)
    return stars[np.argsort(-stars["flux"], kind="stable")]


def _score(image: Image, sky: Background, threads: Executor) -> tuple[Score, float]:
    """The score with a filter of the frame's own seeing and noise, and the least `_ratio` of a star; from a few strips."""
    quiet = Mesh(np.float32(1) / sky.rms.nodes, sky.rms.side)
    first = Score(image, _FIRST_SIGMA, structure_of(image, threads), quiet)
    strips = _strips(image.shape[0])
    widths, ratios = (
        np.concatenate(part) for part in zip(*(_stars(first, sky, rows, threads) for rows in strips), strict=True)
    )
    sigma, least = _FIRST_SIGMA, 0.0
    if len(widths) >= _FEWEST_FIRST:
        sigma = float(np.percentile(widths, _WIDTH_PERCENTILE)) * _FILTER_SHARE / FWHM_PER_SIGMA
        least = _RATIO_MARGIN * float(np.percentile(ratios, _RATIO_PERCENTILE))
    score = Score(image, float(np.clip(sigma, *_FILTER_SIGMAS)), first.structure, quiet)
    noise = np.concatenate([widths_of(score, sky, rows.start, rows.stop) for rows in strips])
    wider = max(float(np.median(noise)), 1.0) if len(noise) else 1.0
    return Score(image, score.sigma_pixels, score.structure, Mesh(quiet.nodes / np.float32(wider), quiet.side)), least


def _strips(ny: int) -> list[slice]:
    if ny <= _STRIPS * _STRIP_ROWS:
        return [slice(0, ny)]
    starts = np.linspace(0, ny - _STRIP_ROWS, _STRIPS + 2).astype(int)[1:-1]
    return [slice(y, y + _STRIP_ROWS) for y in starts.tolist()]


def _stars(score: Score, sky: Background, rows: slice, threads: Executor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """FWHM in pixels and `_ratio` of the bright sources of some rows that are neither saturated nor masked nor blended."""
    tops = find_tops(score, sky, _FIRST_THRESHOLD, rows, threads)
    y, x = tops.bright_at.T
    clean = (score.image.mask[y, x] & np.uint16(HIDDEN | Bit.SATURATED) == 0) & ~tops.crowded
    # What a strip's border cuts off may be a neighbour.
    clean &= (y >= rows.start + _STRIP_MARGIN) & (y < rows.stop - _STRIP_MARGIN)
    tops = tops.only(clean)
    out = np.zeros(len(tops.height))
    measure_widths(_frame(score.image), _shapes(tops), _star_fwhm(score), out)
    return out[out > 0], _ratio(score.image, tops)[out > 0]


def _ratio(image: Image, tops: Tops) -> NDArray[np.float64]:
    """(n,): the mean of the four neighbours of the brightest pixel at the top, over it."""
    value, beside = _core(image, tops)
    return beside / np.maximum(value, 1e-30)


def _core(image: Image, tops: Tops) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n,): the brightest pixel at the top, and the mean of its four neighbours."""
    ny, nx = image.shape
    y, x = brightest_near(image.data, *tops.place.T)
    sides = (
        (np.maximum(y - 1, 0), x),
        (np.minimum(y + 1, ny - 1), x),
        (y, np.maximum(x - 1, 0)),
        (y, np.minimum(x + 1, nx - 1)),
    )
    return image.data[y, x].astype(np.float64), np.mean([image.data[at] for at in sides], axis=0, dtype=np.float64)


def _sharper(score: Score, sky: Background, tops: Tops, least: float) -> NDArray[np.bool_]:
    """Which are one pixel, and that sharper than a star by more than noise: warm pixels and cosmic rays.

    least: the `_ratio` that a star has at the least.  Saturated pixels say nothing.
    """
    y, x = tops.place.T
    noise = sky.noise_at(y, x)
    value, beside = _core(score.image, tops)
    single = score.weights()[0] ** 2 * value > _SINGLE_SHARE * tops.height * noise
    sharp = least * value - beside > _SHARP_SIGMA * noise / 2  # the mean of four has half a pixel's noise
    return np.asarray(single & sharp & (score.image.mask[y, x] & np.uint16(Bit.SATURATED) == 0))


def _star_fwhm(score: Score) -> float:
    """In pixels, of the stars that the score's filter is made for."""
    return score.sigma_pixels * FWHM_PER_SIGMA / _FILTER_SHARE


def _frame(image: Image) -> Frame:
    return Frame(np.ascontiguousarray(image.data), np.ascontiguousarray(image.variance), image.mask, HIDDEN)


def _shapes(tops: Tops) -> NDArray[np.float64]:
    """(n, 5): x, y, a, b, theta; the second moments about the light's own middle."""
    light = np.maximum(tops.moments[:, 0], 1e-30)
    x, y, xx, yy, xy = (tops.moments[:, 1:] / light[:, None]).T
    xx, yy, xy = xx - x * x, yy - y * y, xy - x * y
    thin = xx * yy - xy * xy < _PIXEL_VARIANCE**2
    xx, yy = xx + thin * _PIXEL_VARIANCE, yy + thin * _PIXEL_VARIANCE
    half, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    a, b = np.sqrt(half + spread), np.sqrt(np.maximum(half - spread, _PIXEL_VARIANCE))
    return np.stack([tops.vertex[:, 1], tops.vertex[:, 0], np.maximum(a, b), b, np.arctan2(2 * xy, xx - yy) / 2], axis=1)


def _measure(score: Score, tops: Tops, radii: tuple[float, ...], threads: Executor) -> NDArray[Any]:
    stars = np.zeros(len(tops.height), star_dtype(len(radii)))
    image, shapes = score.image, _shapes(tops)
    # The brightest pixel of a bled or blended source may lie off its centre, and a flat core has its top anywhere.
    saturated = image.mask[tops.bright_at[:, 0], tops.bright_at[:, 1]] & np.uint16(Bit.SATURATED) != 0
    light = np.maximum(tops.moments[:, :1], 1e-30)
    middle = tops.place[:, ::-1] + tops.moments[:, 1:3] / light
    shapes[saturated, :2] = middle[saturated]
    values, flags = np.zeros((len(stars), 5 + 2 * len(radii))), np.zeros(len(stars), np.int32)
    frame, circles, star = _frame(image), np.array(radii, float), _star_fwhm(score)

    def measure(start: int) -> None:
        some = slice(start, start + _SOURCES_AT_A_TIME)
        measure_sources(
            frame, shapes[some], Near(tops.crowded[some], tops.leaning[some]), star, circles, values[some], flags[some]
        )

    list(threads.map(measure, range(0, len(stars), _SOURCES_AT_A_TIME)))
    names = ["x", "y", "fwhm", "flux", "flux_err"]
    for i in range(1, len(radii) + 1):
        names += [f"flux_aper{i}", f"flux_aper{i}_err"]
    for name, column in zip(names, values.T, strict=True):
        stars[name] = column
    for name, column in zip(("a", "b", "theta"), shapes[:, 2:].T, strict=True):
        stars[name] = column
    stars["peak"], stars["flags"] = tops.brightest, flags
    stars["flags"][tops.crowded] |= FLAG_BLENDED
    flag_masked(image.mask, stars)
    stars["flags"][saturated] |= FLAG_SATURATED
    return stars


def flag_masked(mask: NDArray[np.uint16], stars: NDArray[Any]) -> None:
    """Add to the stars' flags, in place, what the mask says within one pixel of their centres."""
    ny, nx = mask.shape
    flags = np.zeros(len(stars), np.int32)
    column, row = np.rint(stars["x"]).astype(int), np.rint(stars["y"]).astype(int)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            bits = mask[np.clip(row + dy, 0, ny - 1), np.clip(column + dx, 0, nx - 1)]
            flags |= np.where(bits & Bit.SATURATED, FLAG_SATURATED, 0)
            flags |= np.where(bits & HIDDEN, FLAG_MASKED, 0)
    stars["flags"] |= flags
