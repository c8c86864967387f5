"""Flags that spread to their neighbours, and means over neighbours: plain sums and ors of shifted planes.

Several times faster on whole frames than the general filters of ndimage, with the same results.
"""

import numpy as np
from numpy.typing import NDArray


def grow(flags: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """(ny, nx) bool, new: what is flagged, and all within `reach` pixels of it along both axes: squares."""
    out = flags.copy()
    for axis in (0, 1):
        done = 0
        while done < reach:
            # from +- done to +- (done + step) without a gap
            step = min(2 * done + 1, reach - done)
            low, high = _shifted(step, axis)
            before = out.copy()
            out[high] |= before[low]
            out[low] |= before[high]
            done += step
    return out


def mean_of_nine(data: NDArray[np.float32]) -> NDArray[np.float32]:
    """(ny, nx) float32: the mean of each pixel and its eight neighbours, the border repeated beyond itself."""
    out = data
    for axis in (0, 1):
        low, high = _shifted(1, axis)
        first, last = _shifted(-1, axis)
        before = out
        out = before.copy()
        out[high] += before[low]
        out[low] += before[high]
        out[first] += before[first]
        out[last] += before[last]
    out *= np.float32(1 / 9)
    return out


def _shifted(step: int, axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where a plane and the plane moved by `step` overlap, along an axis; with step -1 its first and its last line."""
    low, high = (slice(None, -step), slice(step, None)) if step > 0 else (slice(0, 1), slice(-1, None))
    return ((low,), (high,)) if axis == 0 else ((slice(None), low), (slice(None), high))
