"""Polynomials that take a frame's pixels to a plane, and their fit through matched points.

A map is two tables cx, cy [b, a] of the coefficients of u^a v^b, u and v = 2 (x, y) / (n - 1) - 1 over the frame: all terms
are of the size of what they move at the frame's edge, so fits are well conditioned.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


def evaluate(cx: Array, cy: Array, shape: tuple[int, int], x: Array, y: Array) -> tuple[Array, Array]:
    """The map of pixels x, y, arrays of any one shape."""
    ny, nx = shape
    u, v = 2 * np.asarray(x, float) / (nx - 1) - 1, 2 * np.asarray(y, float) / (ny - 1) - 1
    X, Y = (np.polynomial.polynomial.polyval2d(v, u, c) for c in (cx, cy))
    return np.asarray(X, float), np.asarray(Y, float)


def similarity(a: Array, b: Array) -> Array:
    """(2, 3) matrices of the proper similarities that take points a (n, m, 2) to b best, by complex least squares."""
    za, zb = a[..., 0] + 1j * a[..., 1], b[..., 0] + 1j * b[..., 1]
    ma, mb = za.mean(axis=-1, keepdims=True), zb.mean(axis=-1, keepdims=True)
    spread = np.maximum((abs(za - ma) ** 2).sum(axis=-1), 1e-9)
    c = ((za - ma).conj() * (zb - mb)).sum(axis=-1) / spread
    t = mb[..., 0] - c * ma[..., 0]
    return np.stack([np.stack([c.real, -c.imag, t.real], -1), np.stack([c.imag, c.real, t.imag], -1)], -2)


def transformed(matrix: Array, xy: Array) -> Array:
    """Points (n, 2) under a (2, 3) matrix."""
    return np.asarray(xy @ matrix[:, :2].T + matrix[:, 2])


def design(xy: Array, shape: tuple[int, int], order: int) -> tuple[Array, list[tuple[int, int]]]:
    """(n, terms) of u^a v^b with a + b <= order, and the (a, b)."""
    ny, nx = shape
    u, v = 2 * xy[:, 0] / (nx - 1) - 1, 2 * xy[:, 1] / (ny - 1) - 1
    powers = [(t - b, b) for t in range(order + 1) for b in range(t + 1)]
    return np.stack([u**a * v**b for a, b in powers], axis=1), powers


def solve(a: Array, b: Array, shape: tuple[int, int], order: int) -> tuple[Array, Array]:
    """Coefficients cx, cy [b, a] of the polynomial of that order (0: a proper similarity) through matched points (n, 2)."""
    if order == 0:
        m = similarity(a, b)
        ny, nx = shape
        hx, hy = (nx - 1) / 2, (ny - 1) / 2
        middle = transformed(m, np.array([[hx, hy]]))[0]
        return (
            np.array([[middle[0], m[0, 0] * hx], [m[0, 1] * hy, 0.0]]),
            np.array([[middle[1], m[1, 0] * hx], [m[1, 1] * hy, 0.0]]),
        )
    terms, powers = design(a, shape, order)
    # normal equations: 20 times faster on ten thousand stars, and their condition is still far from what numbers hold
    solved = np.linalg.lstsq(terms.T @ terms, terms.T @ b, rcond=None)[0]
    cx, cy = np.zeros((order + 1, order + 1)), np.zeros((order + 1, order + 1))
    for (pu, pv), (sx, sy) in zip(powers, solved, strict=True):
        cx[pv, pu], cy[pv, pu] = sx, sy
    return cx, cy


def best_fit(a: Array, b: Array, shape: tuple[int, int], lowest: int, highest: int) -> tuple[Array, Array]:
    """The polynomial of lowest..highest order whose extra terms earn their keep (Bayesian information criterion)."""
    best, answer = np.inf, None
    for order in range(lowest, highest + 1):
        cx, cy = solve(a, b, shape, order)
        rss = float(((np.stack(evaluate(cx, cy, shape, *a.T), axis=1) - b) ** 2).sum())
        terms = (order + 1) * (order + 2) if order else 4
        criterion = 2 * len(a) * np.log(max(rss, 1e-12)) + terms * np.log(2 * len(a))
        if answer is None or criterion < best:
            best, answer = criterion, (cx, cy)
    assert answer is not None
    return answer


def mutual_pairs(places: Array, others: Array, tree: cKDTree, radius: float) -> tuple[Indices, Indices]:
    """Which of `places` (n, 2) and of `others` (whose tree is `tree`) are each other's nearest within the radius."""
    distance, there = tree.query(places, distance_upper_bound=radius)
    i = np.flatnonzero(np.isfinite(distance))
    if not len(i):
        return i, i
    _, back = cKDTree(places, balanced_tree=False, compact_nodes=False).query(others[there[i]])
    keep = back == i
    return i[keep], there[i][keep]
