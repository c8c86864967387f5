"""The functions a matching kernel is made of: Gaussians times polynomials (Alard & Lupton 1998; Alard 2000).

The first has unit sum, all others sum zero, so the first alone carries the flux scale.  All are separable, but for a
share of the first.
"""

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

WIDTHS = (0.5, 1.0, 2.0, 4.0)  # of the Gaussians, in units of the width that turns one PSF into the other
DEGREES = (6, 4, 2, 2)  # of the polynomials on each
SMALLEST_SIGMA = 0.6  # pixels; a narrower Gaussian is not sampled
NEGLIGIBLE = 1e-10  # of a filter's middle


@dataclass(frozen=True)
class Basis:
    """Kernel n is sum over its terms of outer(filters[fy], filters[fx]), scaled; kernels (n, k, k) float64.

    filters (f, k): the 1-D filters; pairs (n, 2): each kernel's (fy, fx) before the zero-sum correction; norms, zero (n,):
    kernel n = norms[n] * outer(filters[fy], filters[fx]) - zero[n] * kernel 0.
    """

    kernels: Array
    filters: Array
    pairs: NDArray[np.int64]
    norms: Array
    zero: Array

    @property
    def half(self) -> int:
        """The kernels are 2 half + 1 pixels wide."""
        return int(self.kernels.shape[-1] // 2)


def make_basis(sigmas: tuple[float, float], half: int) -> Basis:
    """The basis for frames whose PSFs differ by a Gaussian of `sigmas` pixels along x and y."""
    axis = np.arange(-half, half + 1.0)
    filters: list[Array] = []
    pairs: list[tuple[int, int]] = []
    for width, degree in zip(WIDTHS, DEGREES, strict=True):
        first = len(filters)
        for sigma in sigmas:
            s = min(max(width * sigma, SMALLEST_SIGMA * (1 + width) / 1.5), half / 2.5)
            gauss = np.exp(-0.5 * (axis / s) ** 2)
            filters.extend(gauss * (axis / s) ** d for d in range(degree + 1))
        along_y = first + degree + 1
        pairs.extend((along_y + j, first + i) for i in range(degree + 1) for j in range(degree + 1 - i))
    bank = np.array(filters)
    main = sum(d + 1 for d in range(DEGREES[0] + 1))  # the plain Gaussian of the matching width leads
    pairs.insert(0, pairs.pop(main))
    index = np.array(pairs, np.int64)
    plain = bank[index[:, 0]][:, :, None] * bank[index[:, 1]][:, None, :]
    sums = plain.sum(axis=(1, 2))
    lead = plain[0] / sums[0]
    norms, zero = np.ones(len(index)), np.zeros(len(index))
    norms[0] = 1 / sums[0]
    kernels = np.empty_like(plain)
    kernels[0] = lead
    for n in range(1, len(index)):
        flat = plain[n] - sums[n] * lead
        norms[n] = 1 / np.sqrt((flat**2).sum())
        zero[n] = norms[n] * sums[n]
        kernels[n] = norms[n] * flat
    return Basis(kernels, bank, index, norms, zero)


def toeplitz_filters(basis: Basis, size: int) -> NDArray[np.float32]:
    """(f, size, size + 2 half): matrices that convolve a window of size + 2 half pixels along one axis."""
    k = 2 * basis.half + 1
    out = np.zeros((len(basis.filters), size, size + 2 * basis.half), np.float32)
    # tails that float32 holds only as denormal numbers cost ten times the work
    filters = np.where(np.abs(basis.filters) < NEGLIGIBLE, 0, basis.filters)
    for row in range(size):
        out[:, row, row : row + k] = filters[:, ::-1]
    return out


def basis_images(
    basis: Basis, windows: NDArray[np.float32], matrices: NDArray[np.float32], threads: Executor
) -> NDArray[np.float32]:
    """(stamps, n + 1, size, size): each window (stamps, size + 2 half, size + 2 half) convolved with each kernel, and 1."""
    size = matrices.shape[1]
    f, wide = len(basis.filters), size + 2 * basis.half
    out = np.empty((len(windows), len(basis.pairs) + 1, size, size), np.float32)
    out[:, -1] = 1
    norms, zero = (part.astype(np.float32)[:, None, None] for part in (basis.norms, basis.zero))
    along_x = [(fx, np.flatnonzero(basis.pairs[:, 1] == fx)) for fx in np.unique(basis.pairs[:, 1])]

    def fill(s: int) -> None:
        along_y = (matrices.reshape(-1, wide) @ windows[s]).reshape(f, size, wide)
        for fx, mine in along_x:
            rows = along_y[basis.pairs[mine, 0]].reshape(-1, wide)
            out[s, mine] = (rows @ matrices[fx].T).reshape(-1, size, size)
        out[s, :-1] *= norms
        out[s, 1:-1] -= zero[1:] * out[s, 0]

    for _ in threads.map(fill, range(len(windows))):
        pass
    return out
