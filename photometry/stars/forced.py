"""Fluxes at known places of a difference: nothing is searched for, nothing moves.

    F = sum(P D / V) / sum(P^2 / V),    var F = c / sum(P^2 / V) + max(F, 0) / gain * sum(P^3 / V^2) / sum(P^2 / V)^2,

c for noise that a convolution has correlated; the second term for the photons of what changed, which V does not hold.
"""

from collections.abc import Callable
from concurrent.futures import Executor
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from photometry.loops.starlight import force_fluxes
from photometry.mask import BAD_BITS
from photometry.psf import PsfModel
from photometry.stars.fit import spline_of
from photometry.subtraction.detect import noise_at
from photometry.subtraction.difference import Difference

Array = NDArray[np.float64]

SEEN_SHARE = 0.3  # of the PSF's squares that must be usable
GRID = 5  # places along each side where what changes slowly is computed
_PIECES = 32


def forced_fluxes(
    data: NDArray[np.float32],
    variance: NDArray[np.float32],
    useless: NDArray[np.bool_],
    psf: PsfModel,
    x: Array,
    y: Array,
    gain: float,
    threads: Executor,
    correlation: Array | float = 1.0,
) -> tuple[Array, Array]:
    """(flux, standard deviation) (n,) at 0-based pixels x, y, in the unit of data (ny, nx); NaN off the frame and where
    less than SEEN_SHARE of the PSF is usable.  gain: electrons per unit; correlation: c.  Never raises on arrays of one
    shape.
    """
    places = np.column_stack([x, y]).astype(float)
    out = np.empty((len(places), 3))
    spline = spline_of(psf, psf.half)
    planes = [np.ascontiguousarray(plane, np.float32) for plane in (data, variance)]
    flags = np.ascontiguousarray(useless, bool)
    cuts = np.unique(np.linspace(0, len(places), _PIECES + 1).astype(int)).tolist()

    def piece(cut: tuple[int, int]) -> None:
        part = slice(*cut)
        force_fluxes(planes[0], planes[1], flags, spline, places[part], SEEN_SHARE, out[part])

    list(threads.map(piece, pairwise(cuts)))
    flux = out[:, 0]
    return flux, np.sqrt(correlation * out[:, 1] + np.maximum(flux, 0) * out[:, 2] / gain)


def difference_fluxes(difference: Difference, x: Array, y: Array, threads: Executor) -> tuple[Array, Array]:
    """The same of a difference, with its own PSF, noise and mask."""
    ny, nx = difference.shape
    data, variance = difference.planes.data[0:ny, 0:nx], difference.variance[0:ny, 0:nx]
    useless = (difference.planes.mask[0:ny, 0:nx] & np.uint16(BAD_BITS)) != 0
    correlation = correlation_at(difference, variance, x, y)
    return forced_fluxes(data, variance, useless, difference.psf, x, y, difference.gain, threads, correlation)


def correlation_at(difference: Difference, variance: NDArray[np.float32], x: Array, y: Array) -> Array:
    """(n,): var(sum P D) over sum(P^2 V)."""
    half = difference.psf.half

    def ratio(a: int, b: int) -> float:
        squares = difference.psf.at(a, b) ** 2
        naive = float((squares * variance[b - half : b + half + 1, a - half : a + half + 1]).sum())
        return noise_at(difference, a, b) / naive if naive > 0 else 1.0

    return over_frame(difference, x, y, ratio)


def over_frame(difference: Difference, x: Array, y: Array, value: Callable[[int, int], float | tuple[float, ...]]) -> Array:
    """(n,) or (n, values) at 0-based pixels x, y: value(x, y) at GRID x GRID pixels, and linear between.

    For what changes slowly and costs too much to know at each star.
    """
    half = difference.psf.half
    rows, columns = (np.linspace(half, n - 1 - half, GRID).astype(int) for n in difference.shape)
    table = np.array([[value(a, b) for a in columns.tolist()] for b in rows.tolist()])
    inside = np.column_stack([np.clip(y, rows[0], rows[-1]), np.clip(x, columns[0], columns[-1])])
    return np.asarray(RegularGridInterpolator((rows, columns), table)(np.nan_to_num(inside)))
