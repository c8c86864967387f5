"""Rings round saturated stars: how far out the wing that no kernel models is still seen."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Plane = NDArray[np.float32]

REACH_PIXELS = 60
RING_PIXELS = 3
TELLING_SIGMA = 0.5
QUIET_RINGS = 2  # in a row end the halo


def halos(
    resid: Plane, sigma: Plane, saturated: NDArray[np.bool_], masked: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Discs round each saturated core out to where the ring's median residual stays below half a sigma.

    resid, sigma (ny, nx) in one unit; masked pixels do not count in the medians.
    """
    out = np.zeros(resid.shape, bool)
    labels, count = ndimage.label(saturated, structure=np.ones((3, 3)))
    ny, nx = resid.shape
    for number, place in enumerate(ndimage.find_objects(labels, max_label=count), start=1):
        box = tuple(
            slice(max(s.start - REACH_PIXELS, 0), min(s.stop + REACH_PIXELS, n))
            for s, n in zip(place, (ny, nx), strict=True)
        )
        distance = ndimage.distance_transform_edt(labels[box] != number)
        reach = _reach(distance, resid[box] / sigma[box], masked[box])
        out[box] |= distance <= reach
    return out


def _reach(distance: NDArray[np.float64], ratio: Plane, masked: NDArray[np.bool_]) -> float:
    """Pixels from the core to the outermost ring that is not quiet; rings with too few pixels count as not quiet."""
    usable = ~masked
    ring = np.minimum((distance / RING_PIXELS).astype(int), REACH_PIXELS // RING_PIXELS)
    quiet, reach = 0, 0.0
    for number in range(REACH_PIXELS // RING_PIXELS):
        mine = usable & (ring == number)
        n = int(mine.sum())
        if n >= 12:
            middle = abs(float(np.median(ratio[mine])))
            if middle < TELLING_SIGMA + 2.5 / np.sqrt(n):
                quiet += 1
                if quiet >= QUIET_RINGS:
                    return reach
                continue
        elif not (ring == number).any():
            return reach
        if n >= 12:
            quiet, reach = 0, (number + 1.0) * RING_PIXELS
    return reach
