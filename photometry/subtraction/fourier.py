"""Stamps convolved with stamps."""

import numpy as np
from numpy.typing import NDArray

Stamp = NDArray[np.float64]
Kernel = NDArray[np.floating]


def convolved(a: Stamp, b: Kernel) -> Stamp:
    """Two square stamps of m and n pixels, m and n odd: their convolution, m + n - 1 pixels, nothing cut off."""
    size = (a.shape[0] + b.shape[0] - 1,) * 2
    return np.asarray(np.fft.irfft2(np.fft.rfft2(a, size) * np.fft.rfft2(b, size), size))
