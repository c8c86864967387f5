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
from photometry.polynomials import best_fit, evaluate, mutual_pairs, similarity, transformed
from photometry.triangles import neighbour_triangles

Stars = NDArray[np.void]
Array = NDArray[np.float64]

BRIGHT = 60  # stars of each list that make triangles
NEIGHBOURS = 8  # a star's triangles are made with so many of its bright neighbours
SMALLEST_PIXELS = 12.0  # longest side of a triangle that still says something
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
        return evaluate(self.cx, self.cy, self.shape, x, y)

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
    science, template = bright_first(science_stars), bright_first(template_stars)
    if min(len(science), len(template)) < 3:
        raise TemplateMismatchError(
            f"cannot register: {len(science)} stars on the science frame, {len(template)} on the template, 3 needed"
        )
    start = _best_start(science, template, science_shape, template_shape)
    return _refined(science, template, start, science_shape)


def bright_first(stars: Stars) -> Array:
    """(n, 2) places, the brightest first, finite ones only."""
    good = np.isfinite(stars["x"]) & np.isfinite(stars["y"]) & (stars["flux"] > 0)
    chosen = stars[good][np.argsort(-stars["flux"][good], kind="stable")]
    return np.stack([chosen["x"], chosen["y"]], axis=1).astype(float)


def _triangles(xy: Array) -> tuple[Array, NDArray[np.int64]]:
    """Side ratios (n, 2) and vertices (n, 3) ordered by the opposite side's length, of triangles of neighbours."""
    sides, corners = neighbour_triangles(xy, NEIGHBOURS)
    keep = sides[:, 2] > SMALLEST_PIXELS
    return sides[keep, :2] / sides[keep, 2:], corners[keep]


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
    solved = similarity(pa, pb)
    fitted = np.einsum("nij,nkj->nki", solved[:, :, :2], pa) + solved[:, None, :, 2]
    miss = np.abs(fitted - pb).max(axis=(1, 2))
    scale = np.sqrt(np.abs(np.linalg.det(solved[:, :, :2])))
    good = np.flatnonzero((miss < COARSE_PIXELS) & (scale < MAX_SCALE) & (scale > 1 / MAX_SCALE))
    # large triangles that fit well extrapolate best
    size = np.linalg.norm(pa[good] - pa[good].mean(axis=1, keepdims=True), axis=2).max(axis=1)
    best = good[np.argsort((miss[good] + 0.3) / size, kind="stable")][:MAX_TRIANGLES]
    return np.concatenate([identity, solved[best]])


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
            moved = transformed(candidate, a)
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


def _order(n: int) -> int:
    """Polynomial order that so many stars carry."""
    return int(np.searchsorted([STARS_FOR_AFFINE, STARS_FOR_QUADRATIC, STARS_FOR_CUBIC], n, side="right"))


def _refined(science: Array, template: Array, start: Array, shape: tuple[int, int]) -> Transform:
    """Least squares on ever closer pairs, the order rising with their number; 3 sigma outliers dropped."""
    depth = 4000
    science, template = science[:depth], template[:depth]
    tree = cKDTree(template)
    moved = transformed(start, science)
    radius, rms, n = COARSE_PIXELS, COARSE_PIXELS, 0
    cx, cy = np.zeros((2, 2)), np.zeros((2, 2))
    transform = Transform(cx, cy, shape, identity=False, stars=0, rms_pixels=rms)
    for step in range(6):
        i, j = mutual_pairs(moved, template, tree, radius)
        if len(i) < 3:
            raise TemplateMismatchError(f"registration fell apart: {len(i)} stars agree within {radius:.2f} px")
        highest = min(_order(len(i)), step)
        keep = np.ones(len(i), bool)
        for _ in range(4):
            cx, cy = best_fit(science[i][keep], template[j][keep], shape, min(highest, 1), highest)
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
