"""Pixels of a row looked at together, for most have no flag."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

RUN = 64


@njit(nogil=True, cache=True)
def some_bits(part: NDArray[np.uint8]) -> np.uint8:
    """All bits that are set anywhere."""
    some = np.uint8(0)
    for x in range(part.size):
        some |= part[x]
    return some
