"""Rings round saturated stars: how far out the wing that no kernel models is still seen."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Plane = NDArray[np.float32]

REACH_PIXELS = 60
RING_PIXELS = 3
TELLING_SIGMA = 0.15  # of a pixel: one sigma of a PSF's score
MEDIAN_ERROR = 3.0  # over the root of the pixels: 2.4 sigmas of their median
QUIET_RINGS = 2  # in a row end the halo in a direction
SECTORS = 8
FEWEST = 10  # pixels whose median says something


def halos(
    resid: Plane, sigma: Plane, cores: NDArray[np.bool_], masked: NDArray[np.bool_], nearest: float
) -> NDArray[np.bool_]:
    """Round each core, from `nearest` pixels on, out to where no ring or eighth of one has a median of TELLING_SIGMA.

    resid, sigma (ny, nx) in one unit; masked pixels do not count in the medians.  Rings within `nearest` are left alone.
    """
    out = np.zeros(resid.shape, bool)
    labels, count = ndimage.label(cores, structure=np.ones((3, 3)))
    for number, place in enumerate(ndimage.find_objects(labels, max_label=count), start=1):
        box = tuple(
            slice(max(s.start - REACH_PIXELS, 0), min(s.stop + REACH_PIXELS, n))
            for s, n in zip(place, resid.shape, strict=True)
        )
        middle = tuple((s.start + s.stop - 1) / 2 - b.start for s, b in zip(place, box, strict=True))
        distance = ndimage.distance_transform_edt(labels[box] != number)
        reach = _reach(distance, _sector(distance.shape, middle), resid[box] / sigma[box], ~masked[box], nearest)
        out[box] |= (distance <= reach) & (distance >= nearest)
    return out


def _sector(shape: tuple[int, ...], middle: tuple[float, ...]) -> NDArray[np.int64]:
    """Which eighth of the circle each pixel is in, 0 ... 7."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    turn = np.arctan2(y - middle[0], x - middle[1]) / (2 * np.pi) + 0.5
    return np.asarray((turn * SECTORS).astype(np.int64) % SECTORS)


def _reach(
    distance: NDArray[np.float64],
    sector: NDArray[np.int64],
    ratio: Plane,
    usable: NDArray[np.bool_],
    nearest: float,
) -> float:
    """Pixels from the core to the outermost ring that is not quiet; 0 where all are.

    Each direction ends for itself: along a masked column it is quiet long before it is beside the star.
    """
    first, rings = int(nearest / RING_PIXELS), REACH_PIXELS // RING_PIXELS
    seen = usable & (distance < REACH_PIXELS)
    cell = (distance[seen] / RING_PIXELS).astype(np.int64) * SECTORS + sector[seen]
    order = np.argsort(cell, kind="stable")
    values = ratio[seen][order]
    start = np.searchsorted(cell[order], np.arange(rings * SECTORS + 1))
    reach, quiet = 0.0, np.zeros(SECTORS + 1, np.int64)
    for number in range(first, rings):
        edges = start[number * SECTORS : (number + 1) * SECTORS + 1]
        parts = [*(values[a:b] for a, b in pairwise(edges)), values[edges[0] : edges[-1]]]
        for direction, part in enumerate(parts):
            if part.size < FEWEST or quiet[direction] >= QUIET_RINGS:
                continue
            if _loud(part):
                reach, quiet[direction] = (number + 1.0) * RING_PIXELS, 0
            else:
                quiet[direction] += 1
        if (quiet >= QUIET_RINGS).all():
            break
    return reach


def _loud(values: Plane) -> bool:
    """Whether a median is beyond TELLING_SIGMA and its own error."""
    return bool(abs(float(np.median(values))) > TELLING_SIGMA + MEDIAN_ERROR / np.sqrt(values.size))
