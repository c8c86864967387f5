"""From science pixels to template pixels, from the two star lists alone.

Guarantees: shifts of any size that leaves common stars, any rotation, scale within 15 % of one, other depths and seeing; a
solution is accepted only where chance would give as many agreeing stars less than once in a thousand frames.  Fails with
TemplateMismatchError, which carries the numbers.  Moving or wrong stars are outliers and do not matter.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import pdtrc

from photometry.errors import TemplateMismatchError

Stars = NDArray[np.void]
Array = NDArray[np.float64]

BRIGHT = 60  # stars of each list that make triangles
NEIGHBOURS = 8  # a star's triangles are made with so many of its bright neighbours
MAX_SCALE = 1.15
COARSE_PIXELS = 3.0  # how far a triangle's extrapolation may miss
CHANCE = 1e-3  # accidental solutions tolerated per frame
MAX_TRIANGLES = 1500
STARS_FOR_AFFINE, STARS_FOR_QUADRATIC, STARS_FOR_CUBIC = 12, 40, 150
REACH_PIXELS = 0.5  # smaller offsets are the kernel's work


@dataclass(frozen=True)
class Transform:
    """Science pixel -> template pixel: X = sum of cx[b, a] u^a v^b, u and v = 2 (x, y) / (n - 1) - 1 over the science frame.

    identity: offsets are under half a pixel everywhere, so nothing need be resampled.  stars: how many agreed; rms_pixels:
    their scatter on one axis.
    """

    cx: Array
    cy: Array
    shape: tuple[int, int]
    identity: bool
    stars: int
    rms_pixels: float

    def __call__(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Template pixels of science pixels, arrays of any one shape."""
        ny, nx = self.shape
        u, v = 2 * np.asarray(x, float) / (nx - 1) - 1, 2 * np.asarray(y, float) / (ny - 1) - 1
        X, Y = (np.polynomial.polynomial.polyval2d(v, u, c) for c in (self.cx, self.cy))
        return np.asarray(X, float), np.asarray(Y, float)

    def inverse(self, X: Array, Y: Array) -> tuple[Array, Array]:
        """Science pixels of template pixels, to 1e-4 pixels where the science frame's neighbourhood is (fixed point)."""
        X, Y = np.asarray(X, float), np.asarray(Y, float)
        matrix = np.linalg.inv(self.jacobian_matrix())
        x, y = X.copy(), Y.copy()
        for _ in range(12):
            ex, ey = self(x, y)
            x = x + matrix[0, 0] * (X - ex) + matrix[0, 1] * (Y - ey)
            y = y + matrix[1, 0] * (X - ex) + matrix[1, 1] * (Y - ey)
        return x, y

    def jacobian_matrix(self) -> Array:
        """d(X, Y)/d(x, y) in the frame's middle."""
        ny, nx = self.shape
        x, y = (nx - 1) / 2, (ny - 1) / 2
        px, py = self(np.array([x + 1, x - 1, x, x]), np.array([y, y, y + 1, y - 1]))
        return np.array([[px[0] - px[1], px[2] - px[3]], [py[0] - py[1], py[2] - py[3]]]) / 2

    def rotation_degrees(self) -> float:
        """Of the template's axes against the science frame's, in the middle."""
        m = self.jacobian_matrix()
        return float(np.degrees(np.arctan2(m[1, 0] - m[0, 1], m[0, 0] + m[1, 1])))

    def scale(self) -> float:
        """Template pixels per science pixel, in the middle."""
        return float(np.sqrt(abs(np.linalg.det(self.jacobian_matrix()))))


def register(
    science_stars: Stars, template_stars: Stars, science_shape: tuple[int, int], template_shape: tuple[int, int]
) -> Transform:
    """The transform between two frames, from structured star lists with x, y (0-based pixels) and flux.

    Triangles of bright neighbours are compared by their side ratios (Groth 1986), each likeness is tried on the other bright
    stars, the best is refined on all stars by least squares: similarity, affine from 12 stars, then a low polynomial.
    """
    science, template = _sorted_xy(science_stars), _sorted_xy(template_stars)
    if min(len(science), len(template)) < 3:
        raise TemplateMismatchError(
            f"cannot register: {len(science)} stars on the science frame, {len(template)} on the template, 3 needed"
        )
    start = _best_start(science, template, science_shape, template_shape)
    return _refined(science, template, start, science_shape)


def _sorted_xy(stars: Stars) -> Array:
    """(n, 2) places, the brightest first, finite ones only."""
    good = np.isfinite(stars["x"]) & np.isfinite(stars["y"]) & (stars["flux"] > 0)
    chosen = stars[good][np.argsort(-stars["flux"][good], kind="stable")]
    return np.stack([chosen["x"], chosen["y"]], axis=1).astype(float)


def _triangles(xy: Array) -> tuple[Array, NDArray[np.int64]]:
    """Side ratios (n, 2) and vertices (n, 3) ordered by the opposite side's length, of triangles of neighbours."""
    k = min(NEIGHBOURS + 1, len(xy))
    _, near = cKDTree(xy).query(xy, k=k)
    first, second = np.triu_indices(k - 1, 1)
    corners = np.stack(
        [
            np.repeat(np.arange(len(xy)), len(first)),
            near[:, 1:][:, first].ravel(),
            near[:, 1:][:, second].ravel(),
        ],
        axis=1,
    )
    corners = np.unique(np.sort(corners, axis=1), axis=0)
    p = xy[corners]
    sides = np.linalg.norm(p[:, [1, 2, 0]] - p[:, [2, 0, 1]], axis=2)
    order = np.argsort(sides, axis=1)
    sides = np.take_along_axis(sides, order, axis=1)
    corners = np.take_along_axis(corners, order, axis=1)
    keep = (sides[:, 2] > 12) & (sides[:, 0] > 0.1 * sides[:, 2])
    sides, corners = sides[keep], corners[keep]
    return sides[:, :2] / sides[:, 2:], corners


def _similarity(a: Array, b: Array) -> Array:
    """(2, 3) matrices of the proper similarities that take points a (n, m, 2) to b best, by complex least squares."""
    za, zb = a[..., 0] + 1j * a[..., 1], b[..., 0] + 1j * b[..., 1]
    ma, mb = za.mean(axis=-1, keepdims=True), zb.mean(axis=-1, keepdims=True)
    spread = np.maximum((abs(za - ma) ** 2).sum(axis=-1), 1e-9)
    c = ((za - ma).conj() * (zb - mb)).sum(axis=-1) / spread
    t = mb[..., 0] - c * ma[..., 0]
    return np.stack([np.stack([c.real, -c.imag, t.real], -1), np.stack([c.imag, c.real, t.imag], -1)], -2)


def _candidates(a: Array, b: Array) -> Array:
    """(n, 2, 3) similarities worth trying, the identity first, then those of the most alike triangles."""
    identity = np.array([[[1.0, 0, 0], [0, 1.0, 0]]])
    ratios_a, corners_a = _triangles(a)
    ratios_b, corners_b = _triangles(b)
    if not len(ratios_a) or not len(ratios_b):
        return identity
    tree = cKDTree(ratios_b)
    distance, match = tree.query(ratios_a, k=min(4, len(ratios_b)), distance_upper_bound=0.02)
    distance, match = distance.reshape(len(ratios_a), -1), match.reshape(len(ratios_a), -1)
    row, column = np.nonzero(np.isfinite(distance))
    pa, pb = a[corners_a[row]], b[corners_b[match[row, column]]]
    solved = _similarity(pa, pb)
    fitted = np.einsum("nij,nkj->nki", solved[:, :, :2], pa) + solved[:, None, :, 2]
    miss = np.abs(fitted - pb).max(axis=(1, 2))
    scale = np.sqrt(np.abs(np.linalg.det(solved[:, :, :2])))
    good = np.flatnonzero((miss < COARSE_PIXELS) & (scale < MAX_SCALE) & (scale > 1 / MAX_SCALE))
    # large triangles that fit well extrapolate best
    size = np.linalg.norm(pa[good] - pa[good].mean(axis=1, keepdims=True), axis=2).max(axis=1)
    best = good[np.argsort((miss[good] + 0.3) / size, kind="stable")][:MAX_TRIANGLES]
    return np.concatenate([identity, solved[best]])


def _moved(matrix: Array, xy: Array) -> Array:
    return np.asarray(xy @ matrix[:, :2].T + matrix[:, 2])


def _inside(xy: Array, shape: tuple[int, int]) -> NDArray[np.bool_]:
    ny, nx = shape
    return np.asarray((xy[:, 0] > -1) & (xy[:, 0] < nx) & (xy[:, 1] > -1) & (xy[:, 1] < ny))


def _best_start(science: Array, template: Array, shape: tuple[int, int], template_shape: tuple[int, int]) -> Array:
    """The similarity with which the most bright stars agree; TemplateMismatchError where chance would do as well."""
    tried, best, matrix = 0, (0.0, 0), np.eye(2, 3)
    for depth in (BRIGHT, 3 * BRIGHT):
        a, b = science[:depth], template[:depth]
        tree = cKDTree(b)
        density = len(b) / max(template_shape[0] * template_shape[1], 1)
        for number, candidate in enumerate(_candidates(a, b)):
            tried += 1
            chosen_by = 0 if number == 0 else 2  # stars that agree by construction: none with the identity
            moved = _moved(candidate, a)
            moved = moved[_inside(moved, template_shape)]
            if len(moved) < 3:
                continue
            distance, which = tree.query(moved, distance_upper_bound=COARSE_PIXELS)
            agree = len(set(which[np.isfinite(distance)].tolist()))
            expected = len(moved) * density * np.pi * COARSE_PIXELS**2
            chance = float(pdtrc(agree - 1 - chosen_by, expected)) if agree > 2 else 1.0  # of as many or more by accident
            surprise = -np.log(max(chance, np.finfo(float).tiny))
            if surprise > best[0]:
                best, matrix = (surprise, agree), candidate
            if agree > max(0.5 * len(moved), 10):
                break
        if best[0] > -np.log(CHANCE / tried):
            return matrix
        if min(len(science), len(template)) <= BRIGHT:
            break
    raise TemplateMismatchError(
        f"no common pattern of stars: {len(science)} stars on the science frame, {len(template)} on the template,"
        f" at best {best[1]} agree within {COARSE_PIXELS:g} px, which chance explains ({tried} solutions tried);"
        f" is this the template of this field ({shape[1]} x {shape[0]} px)?"
    )


def _design(xy: Array, shape: tuple[int, int], order: int) -> tuple[Array, list[tuple[int, int]]]:
    ny, nx = shape
    u, v = 2 * xy[:, 0] / (nx - 1) - 1, 2 * xy[:, 1] / (ny - 1) - 1
    powers = [(t - b, b) for t in range(order + 1) for b in range(t + 1)]
    return np.stack([u**a * v**b for a, b in powers], axis=1), powers


def _solve(a: Array, b: Array, shape: tuple[int, int], order: int) -> tuple[Array, Array]:
    """Coefficients cx, cy [b, a] of the polynomial of that order (0: similarity) through matched points."""
    if order == 0:
        m = _similarity(a, b)
        ny, nx = shape
        hx, hy = (nx - 1) / 2, (ny - 1) / 2
        middle = _moved(m, np.array([[hx, hy]]))[0]
        return (
            np.array([[middle[0], m[0, 0] * hx], [m[0, 1] * hy, 0.0]]),
            np.array([[middle[1], m[1, 0] * hx], [m[1, 1] * hy, 0.0]]),
        )
    design, powers = _design(a, shape, order)
    solved = np.linalg.lstsq(design, b, rcond=None)[0]
    cx, cy = np.zeros((order + 1, order + 1)), np.zeros((order + 1, order + 1))
    for (pu, pv), (sx, sy) in zip(powers, solved, strict=True):
        cx[pv, pu], cy[pv, pu] = sx, sy
    return cx, cy


def _best_fit(a: Array, b: Array, shape: tuple[int, int], highest: int) -> tuple[Array, Array]:
    """The polynomial, up to the highest order, whose extra terms earn their keep (Bayesian information criterion)."""
    best, answer = np.inf, _solve(a, b, shape, 0)
    for order in range(min(highest, 1), highest + 1):
        cx, cy = _solve(a, b, shape, order)
        transform = Transform(cx, cy, shape, identity=False, stars=len(a), rms_pixels=0.0)
        rss = float(((np.stack(transform(*a.T), axis=1) - b) ** 2).sum())
        terms = (order + 1) * (order + 2) if order else 4
        criterion = 2 * len(a) * np.log(max(rss, 1e-12)) + terms * np.log(2 * len(a))
        if criterion < best:
            best, answer = criterion, (cx, cy)
    return answer


def _order(n: int) -> int:
    """Polynomial order that so many stars carry."""
    return int(np.searchsorted([STARS_FOR_AFFINE, STARS_FOR_QUADRATIC, STARS_FOR_CUBIC], n, side="right"))


def _mutual(moved: Array, template: Array, tree: cKDTree, radius: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of stars that are each other's nearest within the radius."""
    distance, there = tree.query(moved, distance_upper_bound=radius)
    i = np.flatnonzero(np.isfinite(distance))
    _, back = cKDTree(moved).query(template[there[i]])
    keep = back == i
    return i[keep], there[i][keep]


def _refined(science: Array, template: Array, start: Array, shape: tuple[int, int]) -> Transform:
    """Least squares on ever closer pairs, the order rising with their number; 3 sigma outliers dropped."""
    depth = 4000
    science, template = science[:depth], template[:depth]
    tree = cKDTree(template)
    moved = _moved(start, science)
    radius, rms, n = COARSE_PIXELS, COARSE_PIXELS, 0
    cx, cy = np.zeros((2, 2)), np.zeros((2, 2))
    transform = Transform(cx, cy, shape, identity=False, stars=0, rms_pixels=rms)
    for step in range(6):
        i, j = _mutual(moved, template, tree, radius)
        if len(i) < 3:
            raise TemplateMismatchError(f"registration fell apart: {len(i)} stars agree within {radius:.2f} px")
        highest = min(_order(len(i)), step)
        keep = np.ones(len(i), bool)
        for _ in range(4):
            cx, cy = _best_fit(science[i][keep], template[j][keep], shape, highest)
            transform = Transform(cx, cy, shape, identity=False, stars=int(keep.sum()), rms_pixels=rms)
            miss = np.hypot(*(np.stack(transform(*science[i].T)) - template[j].T))
            sigma = max(float(np.median(miss[keep])) / 1.1774, 0.01)
            closer = miss < 3.5 * sigma
            if closer.sum() < 3 or (closer == keep).all():
                break
            keep = closer
        rms, n = sigma, int(keep.sum())
        radius = float(np.clip(6 * rms, 0.3, radius))
        moved = np.stack(transform(*science.T), axis=1)
    return Transform(cx, cy, shape, identity=_is_identity(transform), stars=n, rms_pixels=rms)


def _is_identity(transform: Transform) -> bool:
    """Whether no place of the frame moves by half a pixel."""
    ny, nx = transform.shape
    x, y = np.meshgrid(np.linspace(0, nx - 1, 9), np.linspace(0, ny - 1, 9))
    X, Y = transform(x, y)
    return bool(np.hypot(X - x, Y - y).max() < REACH_PIXELS)
