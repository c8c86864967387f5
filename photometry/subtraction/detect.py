"""Sources on a difference: peaks of SCORE, their places, forced PSF photometry, and whether they look like a star.

Guarantees: a source's `score` is the map's own at its peak; `flux` is PSF-fitted at the refined place, with the error of
correlated noise and the source's own photons.  What is sharper than the PSF (a cosmic ray), one half of a dipole, or shaped
like neither keeps its row and says so in `flags`; `believed` selects the rest.
"""

from enum import IntFlag
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from photometry.mask import BAD_BITS
from photometry.subtraction.difference import Difference
from photometry.subtraction.fourier import convolved
from photometry.subtraction.settings import SubtractionSettings
from photometry.subtraction.significance import noise_filter

Array = NDArray[np.float64]

SOURCE_DTYPE = np.dtype(
    [
        ("x", "f8"),
        ("y", "f8"),
        ("flux", "f8"),
        ("flux_err", "f8"),
        ("score", "f8"),
        ("flags", "i4"),
        ("x_tmpl", "f8"),
        ("y_tmpl", "f8"),
    ]
)


class Doubt(IntFlag):
    """Bits of `flags` above the mask's sixteen: why a detection is not believed."""

    SHARP = 1 << 16  # sharper than the PSF: a cosmic ray or a hot pixel
    DIPOLE = 1 << 17  # as much of the other sign beside it: a star that was not where it was
    SHAPE = 1 << 18  # not like the PSF: a residual of a bright star, a trail, an edge
    CUT = 1 << 19  # too much of it is masked to tell
    RAISED = 1 << 20  # below the threshold without what all its surroundings or its row share: a wing, a streak


_ANY_DOUBT = sum(int(doubt) for doubt in Doubt)

PEAK_ROWS = 256  # looked at together
FIT_HALF = 5  # pixels round the peak that are compared with the PSF
DIPOLE_SHARE = 0.6
CHI2_LIMIT = 3.0
MODEL_SHARE = 0.1  # of the fitted light: how well the PSF is known, pixel by pixel
SEEN_SHARE = 0.6  # of the PSF's light that must be unmasked
SURROUNDINGS_FWHM = (1.2, 3.0)  # the ring that says what a source stands on
LEVEL_ERROR = 0.5  # sigmas that the ring's median score may be off by its own noise
LINE_ERROR = 1.0  # the same of the three rows or columns through the source
FEWEST_SURROUNDINGS = 25  # pixels
DEFAULT_SETTINGS = SubtractionSettings()


def detect_sources(difference: Difference, settings: SubtractionSettings = DEFAULT_SETTINGS) -> NDArray[np.void]:
    """Peaks with |SCORE| >= threshold on unmasked pixels, the most significant first; SOURCE_DTYPE names the columns.

    x, y: 0-based science pixels; x_tmpl, y_tmpl: template pixels; flux: the science frame's unit, negative where it faded;
    score: signed, without the source's own noise, which flux_err includes; flags: mask bits within 3 px, and `Doubt`.
    """
    threshold = _threshold(difference, settings)
    peaks = _peaks(difference.score, threshold)
    rows = np.zeros(len(peaks), SOURCE_DTYPE)
    for row, (yi, xi) in zip(rows, peaks, strict=True):
        _measure(row, difference, int(xi), int(yi))
        if abs(row["score"]) - _raised(difference, int(xi), int(yi)) < threshold:
            row["flags"] |= int(Doubt.RAISED)
    rows["x_tmpl"], rows["y_tmpl"] = difference.transform(rows["x"], rows["y"])
    return rows[np.argsort(-np.abs(rows["score"]), kind="stable")]


def believed(sources: NDArray[np.void]) -> NDArray[np.void]:
    """The detections that look like a star on the difference."""
    return np.asarray(sources[(sources["flags"] & _ANY_DOUBT) == 0])


def _threshold(difference: Difference, settings: SubtractionSettings) -> float:
    """The set one, raised where the self-check says that the frames' noise is larger than their headers claim."""
    width = difference.figures.get("score_width", 1.0)
    return settings.threshold * max(1.0, width if np.isfinite(width) else 1.0)


def _peaks(score: NDArray[Any], threshold: float) -> NDArray[np.int64]:
    """(n, 2) y, x of the local maxima of |SCORE| of either sign within 5 x 5 pixels."""
    ny, nx = score.shape
    found = [np.zeros((0, 2), np.int64)]
    for y0 in range(0, ny, PEAK_ROWS):
        low = max(y0 - 2, 0)
        band = np.asarray(score[low : min(y0 + PEAK_ROWS + 2, ny)], np.float32)
        own = band[y0 - low : y0 - low + PEAK_ROWS]
        for b, a in np.argwhere((own >= threshold) | (own <= -threshold)).tolist():
            value = own[b, a]
            row = b + y0 - low
            box = band[max(row - 2, 0) : row + 3, max(a - 2, 0) : min(a + 3, nx)]
            if abs(value) >= np.max(box * np.sign(value)):
                found.append(np.array([[b + y0, a]]))
    return np.concatenate(found)


def _vertex(low: float, middle: float, high: float) -> float:
    """Where the parabola through three points has its top, -0.5 ... 0.5."""
    curve = low - 2 * middle + high
    return float(np.clip(0.5 * (low - high) / curve, -0.5, 0.5)) if curve < 0 else 0.0


def _measure(row: np.void, difference: Difference, xi: int, yi: int) -> None:
    """Fill one row from the neighbourhood of a peak."""
    score = difference.score
    ny, nx = score.shape
    peak = float(score[yi, xi])
    sign = np.sign(peak)
    dx = dy = 0.0
    if 0 < xi < nx - 1 and 0 < yi < ny - 1:
        cross = sign * np.asarray(score[yi - 1 : yi + 2, xi - 1 : xi + 2], np.float32)
        if (cross != 0).all():
            dx, dy = _vertex(*cross[1].astype(float)), _vertex(*cross[:, 1].astype(float))
    row["x"], row["y"], row["score"] = xi + dx, yi + dy, peak
    near = difference.planes.mask[max(yi - 3, 0) : yi + 4, max(xi - 3, 0) : xi + 4]
    row["flags"] = int(np.bitwise_or.reduce(near, axis=None))
    data, variance, usable = _cut(difference, xi, yi)
    model = _psf_at(difference, xi, yi, dx, dy)
    row["flux"], row["flux_err"] = _forced(difference, xi, yi, dx, dy)
    row["flags"] |= int(_doubts(difference, row, data, variance, usable, model, (xi, yi)))


def _raised(difference: Difference, xi: int, yi: int) -> float:
    """Sigmas of a peak's score that its surroundings have too, all round or along its row or column; >= 0.

    Their unmasked pixels' median, less its error.
    """
    near, far = (int(np.ceil(factor * difference.psf.fwhm)) for factor in SURROUNDINGS_FWHM)
    box = slice(max(yi - far, 0), yi + far + 1), slice(max(xi - far, 0), xi + far + 1)
    score = difference.score
    values = np.sign(score[yi, xi]) * np.asarray(score[box], np.float32)
    dy = np.arange(values.shape[0])[:, None] + box[0].start - yi
    dx = np.arange(values.shape[1])[None, :] + box[1].start - xi
    distance = np.hypot(dy, dx)
    ring = (distance > near) & (distance <= far) & (values != 0)
    level = 0.0
    for place, error in (
        (ring, LEVEL_ERROR),
        (ring & (np.abs(dy) <= 1), LINE_ERROR),
        (ring & (np.abs(dx) <= 1), LINE_ERROR),
    ):
        if np.count_nonzero(place) >= FEWEST_SURROUNDINGS:
            level = max(level, float(np.median(values[place])) - error)
    return level


def _cut(difference: Difference, xi: int, yi: int) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Data, variance, unmasked of the square round a pixel; nothing is usable beyond the border."""
    size = 2 * FIT_HALF + 1
    data, variance, usable = np.zeros((size, size)), np.ones((size, size)), np.zeros((size, size), bool)
    ny, nx = difference.shape
    y0, y1, x0, x1 = max(yi - FIT_HALF, 0), min(yi + FIT_HALF + 1, ny), max(xi - FIT_HALF, 0), min(xi + FIT_HALF + 1, nx)
    there = (slice(y0, y1), slice(x0, x1))
    here = (slice(y0 - yi + FIT_HALF, y1 - yi + FIT_HALF), slice(x0 - xi + FIT_HALF, x1 - xi + FIT_HALF))
    data[here] = difference.planes.data[there]
    variance[here] = difference.variance[there]
    usable[here] = (difference.planes.mask[there] & np.uint16(BAD_BITS)) == 0
    return data, variance, usable


def _psf_at(difference: Difference, xi: int, yi: int, dx: float, dy: float) -> Array:
    """The PSF at a place, on the square round its pixel."""
    psf = np.asarray(ndimage.shift(difference.psf.at(xi, yi), (dy, dx), order=3))
    k = psf.shape[0] // 2
    if k < FIT_HALF:
        return np.pad(psf, FIT_HALF - k)
    return psf[k - FIT_HALF : k + FIT_HALF + 1, k - FIT_HALF : k + FIT_HALF + 1]


def forced_flux(difference: Difference, x: float, y: float) -> tuple[float, float]:
    """PSF flux of the difference at a place (0-based pixels) and its error, the science frame's unit; NaN where masked.

    The error includes the photons of a positive source.
    """
    ny, nx = difference.shape
    if not (0 <= x <= nx - 1 and 0 <= y <= ny - 1):
        return float("nan"), float("nan")
    xi, yi = int(np.rint(x)), int(np.rint(y))
    return _forced(difference, xi, yi, x - xi, y - yi)


def _forced(difference: Difference, xi: int, yi: int, dx: float, dy: float) -> tuple[float, float]:
    """F = sum(P D) / sum(P^2) over unmasked pixels; the error as SCORE's denominator has it, and the source's photons."""
    data, _, usable = _cut(difference, xi, yi)
    psf = _psf_at(difference, xi, yi, dx, dy)
    weight = np.where(usable, psf, 0)
    norm = float((weight * psf).sum())
    if norm <= 0.2 * float((psf**2).sum()):
        return float("nan"), float("nan")
    flux = float((weight * data).sum()) / norm
    noise = noise_at(difference, xi, yi)
    # the filters have the whole PSF's shape, the flux that of the square: their norms differ little, but for what is masked
    whole = float((difference.psf.at(xi, yi) ** 2).sum())
    seen = norm / float((psf**2).sum())
    photons = max(flux, 0) * float((weight**2 * psf).sum()) / norm**2 / difference.gain
    return flux, float(np.sqrt(noise / whole**2 / seen + photons))


def noise_at(difference: Difference, xi: int, yi: int) -> float:
    """Variance of P * D at a pixel: each frame's own under the squares of what P sees of it, the border's repeated."""
    swept, optics = difference.swept, difference.optics
    ny, nx = difference.shape
    total = 0.0
    for kernel in (None, optics.kernel):
        squares = noise_filter(optics, kernel, xi, yi)[::-1, ::-1] ** 2
        half = squares.shape[0] // 2
        y = np.clip(np.arange(yi - half, yi + half + 1), 0, ny - 1) // 2
        x = np.clip(np.arange(xi - half, xi + half + 1), 0, nx - 1) // 2
        y0, x0 = int(y[0]), int(x[0])
        part = swept.own if kernel is None else swept.through_at
        total += float((part(y0, int(y[-1]) + 1, x0, int(x[-1]) + 1)[np.ix_(y - y0, x - x0)] * squares).sum())
    return total


def _doubts(
    difference: Difference,
    row: np.void,
    data: Array,
    variance: Array,
    usable: NDArray[np.bool_],
    psf: Array,
    place: tuple[int, int],
) -> Doubt:
    """Compare the square with the PSF and with what a single hit pixel would look like."""
    doubt = Doubt(0)
    if not np.isfinite(row["flux"]) or psf[usable].sum() < SEEN_SHARE * psf.sum():
        return Doubt.CUT
    flux = float(row["flux"])
    noise = variance + (MODEL_SHARE * flux * psf) ** 2 + np.abs(flux) * psf.clip(0) / difference.gain
    core = usable & (psf > 0.1 * psf.max())
    chi2 = float((((data - flux * psf) ** 2 / noise)[core]).mean())
    hit = _hit(difference, place, psf.shape[0])
    if _sharper(data, variance, usable, psf, hit):
        doubt |= Doubt.SHARP
    elif chi2 > CHI2_LIMIT:
        doubt |= Doubt.SHAPE
    if _dipole(difference.score, place, float(row["score"]), difference.psf.fwhm):
        doubt |= Doubt.DIPOLE
    return doubt


def _hit(difference: Difference, place: tuple[int, int], size: int) -> Array:
    """What a single hit pixel of the science frame becomes on the difference, unit sum."""
    kernel = None
    if difference.convolved == "science":
        kernel = difference.optics.kernel_at(*place)
    elif difference.optics.wide is not None:
        kernel = difference.optics.wide.astype(float)
    out = np.zeros((size, size))
    out[size // 2, size // 2] = 1.0
    if kernel is None:
        return out
    edge = kernel.shape[0] // 2
    return convolved(out, kernel / kernel.sum())[edge : edge + size, edge : edge + size]


def _sharper(data: Array, variance: Array, usable: NDArray[np.bool_], psf: Array, hit: Array) -> bool:
    """Whether a hit pixel (moved to the brightest one) explains the square better than the PSF does."""
    sign = 1.0 if (data * psf)[usable].sum() > 0 else -1.0
    inner = slice(FIT_HALF - 2, FIT_HALF + 3)
    middle = np.where(usable, sign * data, -np.inf)[inner, inner]
    y, x = np.unravel_index(int(np.argmax(middle)), middle.shape)
    moved = ndimage.shift(hit, (y - 2, x - 2), order=0)
    weight = np.where(usable, 1 / variance, 0)

    def gain(model: Array) -> float:
        return float((weight * model * data).sum() ** 2 / max((weight * model**2).sum(), 1e-30))

    # two more hits beside the first: tracks
    track = gain(moved)
    left = data - moved * (weight * moved * data).sum() / max((weight * moved**2).sum(), 1e-30)
    best = gain(psf)
    again = max(
        float((weight * m * left).sum() ** 2 / max((weight * m**2).sum(), 1e-30))
        for m in (ndimage.shift(moved, s, order=0) for s in ((0, 1), (1, 0), (0, -1), (-1, 0)))
    )
    return track + 0.5 * again > best


def _dipole(score: NDArray[Any], place: tuple[int, int], peak: float, fwhm: float) -> bool:
    """Whether the other sign is as strong within a FWHM and a pixel."""
    reach = int(np.ceil(fwhm)) + 1
    xi, yi = place
    box = np.asarray(score[max(yi - reach, 0) : yi + reach + 1, max(xi - reach, 0) : xi + reach + 1], np.float32)
    other = float((-np.sign(peak) * box).max())
    return other > DIPOLE_SHARE * abs(peak) and other > 4
