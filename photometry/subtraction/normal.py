"""The normal equations of the whole frame: which unknowns there are, their matrix, and the regularised solution."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from photometry.psf import polynomial_powers

Array = NDArray[np.float64]

SCALE_ORDER = 1  # at most, of the flux scale over the frame
SPATIAL_FREEDOM = 0.3  # how much less a term of the next degree over the frame is expected to be
NOISE_SHARE = 0.7  # of a direction of the solution that may be put down to the noise of the source


@dataclass(frozen=True)
class Layout:
    """Which (basis image, spatial term) each unknown is.  The last basis image is the constant 1: the sky."""

    powers: list[tuple[int, int]]
    n: NDArray[np.int64]
    j: NDArray[np.int64]
    penalised: NDArray[np.bool_]


def layout_of(bases: int, order: int, background_order: int) -> Layout:
    """The unknowns of a kernel of `bases` functions and a sky, polynomials of these orders over the frame."""
    powers = polynomial_powers(max(order, background_order))
    degree = np.array([a + b for a, b in powers])
    allowed = np.full(bases + 1, order)
    allowed[0] = min(order, SCALE_ORDER)
    allowed[-1] = background_order
    n, j = np.nonzero(degree[None, :] <= allowed[:, None])
    return Layout(powers, n, j, (n > 0) & (n < bases))


def assemble(gram: Array, right: Array, phi: Array, layout: Layout) -> tuple[Array, Array]:
    """The frame's normal equations: Kronecker sums of the stamps' with their places' monomials phi (s, terms)."""
    s, b = right.shape
    terms = phi.shape[1]
    pair = (phi[:, :, None] * phi[:, None, :]).reshape(s, -1)
    whole = (gram.reshape(s, -1).T @ pair).reshape(b, b, terms, terms)
    vector = right.T @ phi
    n, j = layout.n, layout.j
    return whole[n[:, None], n[None, :], j[:, None], j[None, :]], vector[n, j]


def unattenuated(matrix: Array, noise: Array) -> Array:
    """The normal matrix without the noise's share, which would pull the solution towards zero (Fuller 1987).

    Taken out along the directions of matrix^-1 noise, from each at most NOISE_SHARE, so that it stays positive.
    """
    jitter = 1e-12 * np.trace(matrix) / len(matrix)
    lower = np.linalg.cholesky(matrix + jitter * np.eye(len(matrix)))
    left = linalg.solve_triangular(lower, noise, lower=True)
    shares = linalg.solve_triangular(lower, left.T, lower=True)
    # most directions lose all that noise gave them; only those beyond the limit, which are few, must be known one by one
    share, directions = linalg.eigh(shares, driver="evr", subset_by_value=(NOISE_SHARE, np.inf))
    turned = lower @ directions
    return np.asarray(matrix - noise + (turned * (share - NOISE_SHARE)) @ turned.T)


def ridge(matrix: Array, vector: Array, total: float, pixels: float, layout: Layout, floor: float) -> Array:
    """Least squares with a ridge on the zero-sum bases, its strength by generalised cross-validation (Golub et al. 1979).

    The strength is at least `floor`: what no star determines stays small, for it would only add the source's noise.
    """
    penalised = layout.penalised
    degree = np.array([a + b for a, b in layout.powers])[layout.j]
    half = np.where(penalised, SPATIAL_FREEDOM**degree, 1e4)
    scaled = matrix * half[:, None] * half[None, :]
    values, vectors = np.linalg.eigh(scaled)
    values = np.maximum(values, 0)
    b = vectors.T @ (vector * half)
    top = values.max() if len(values) else 1.0
    anchor = float(np.trace(matrix[penalised][:, penalised]) / max(penalised.sum(), 1)) if penalised.any() else top
    best, answer = np.inf, np.zeros(len(b))
    for strength in np.maximum(anchor * 10.0 ** np.arange(-9.0, 0.1, 0.5), floor):
        shrunk = values + strength + 1e-13 * top
        rss = total - (b**2 * (values + 2 * (shrunk - values)) / shrunk**2).sum()
        free = (values / shrunk).sum()
        score = rss / max(pixels - free, 1.0) ** 2
        if score < best:
            best, answer = score, half * (vectors @ (b / shrunk))
    return answer
