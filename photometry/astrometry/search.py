"""Where on the sky a pattern of stars lies, from a catalog, within degrees of where the header says.

Triangles of neighbouring bright stars are compared by their angular sides, on the sphere: pixels become directions of a
camera by the instrument's scale, and each likeness is a rotation of the sphere (Wahba's problem; Kabsch 1976), mirrored
where the two triangles turn the other way.  So a pole or RA 0 is a place like any other.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from photometry.astrometry.plate import Plate, copied
from photometry.astrometry.solution import AstrometrySettings, log_odds
from photometry.astrometry.sphere import deproject
from photometry.triangles import neighbour_triangles

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

DEPTHS = (15, 40, 100, 250)  # bright stars of the frame that make triangles
CATALOG_SURPLUS = 1.3  # bright catalog stars for each bright star of the frame, on equal areas
MOST_PAIRS = 1.5e6  # of a star of the frame and one of the catalog
NEIGHBOURS = 8
LIKENESS = 0.01  # two triangles' side ratios
COARSE_PIXELS, COARSE_SHARE = 3.0, 0.002  # how far a triangle's extrapolation may miss, at least and of the diagonal
MOST_ALIKE = 20_000  # pairs of triangles that are turned onto each other
MOST_STARTS = 2000  # of them, that are held against all bright stars
FREE_STARS = 2.0  # that a rotation and a scale bend into place
BEST_STARTS = 3  # of each depth, worth a fit
_CAMERA = np.eye(3)


@dataclass(frozen=True)
class Start:
    """A plate worth refining, wrong by up to `coarse_pixels`, and how many were tried to find it."""

    plate: Plate
    tried: int


@dataclass(frozen=True)
class _Field:
    """The frame's stars as directions of the camera, the z axis through the middle of the frame."""

    xy: Array
    shape: tuple[int, int]
    scale_degrees: float

    def vectors(self, xy: Array, scale: Array | float, parity: Array | float) -> Array:
        """(..., 3) of pixels (..., 2); scale: over the known one; parity -1: mirrored."""
        ny, nx = self.shape
        plane = (xy - np.array([(nx - 1) / 2, (ny - 1) / 2])) * self.scale_degrees
        factor = np.stack(np.broadcast_arrays(np.asarray(scale) * parity, scale), axis=-1)
        return deproject(plane * factor, _CAMERA)


def coarse_pixels(shape: tuple[int, int]) -> float:
    """How far a start without distortion may be wrong on a frame of that shape."""
    return max(COARSE_PIXELS, COARSE_SHARE * float(np.hypot(*shape)))


def starts(
    xy: Array, shape: tuple[int, int], vectors: Array, radius_degrees: float, settings: AstrometrySettings
) -> Iterator[Start]:
    """Plates worth refining, the likeliest of each depth first, for stars xy (n, 2) among the catalog's vectors (m, 3).

    Both the brightest first; vectors: of all catalog stars within radius_degrees of the header's place.
    """
    field = _Field(xy, shape, settings.scale_arcsec / 3600)
    ny, nx = shape
    share = 2 * np.pi * (1 - np.cos(np.deg2rad(radius_degrees)))
    share /= nx * ny * np.deg2rad(field.scale_degrees) ** 2
    radius = coarse_pixels(shape)
    tried, before = 0, (0, 0)
    for depth in DEPTHS:
        n = min(depth, len(xy), int(np.sqrt(MOST_PAIRS / (CATALOG_SURPLUS * max(share, 1.0)))))
        m = min(int(CATALOG_SURPLUS * n * max(share, 1.0)) + 1, len(vectors))
        if min(n, m) < 4 or (n, m) == before:
            continue
        before = (n, m)
        rotations, scales, parities = _rotations(field, xy[:n], vectors[:m], radius, settings.scale_tolerance)
        tried += len(rotations)
        if not len(rotations):
            continue
        agree = _agreeing(field, xy[:n], vectors[:m], rotations, scales, parities, radius)
        expected = n * m / share / (nx * ny) * np.pi * radius**2
        for k in np.argsort(-agree, kind="stable")[:BEST_STARTS]:
            if log_odds(agree[k] - FREE_STARS, expected) > np.log(tried):
                plate = _plate(field, rotations[k], scales[k], parities[k])
                yield Start(plate, tried)


def _triangles(vectors: Array, least: float) -> tuple[Array, Indices]:
    """(n, 3) of two side ratios and the logarithm of the longest side; corners."""
    sides, corners = neighbour_triangles(vectors, NEIGHBOURS)
    keep = sides[:, 2] > least
    sides, corners = sides[keep], corners[keep]
    return np.column_stack([sides[:, :2] / sides[:, 2:], np.log(sides[:, 2])]), corners


def _rotations(field: _Field, xy: Array, vectors: Array, radius: float, tolerance: float) -> tuple[Array, Array, Array]:
    """From the most alike triangles: (n, 3, 3) rotations from camera to sky, (n,) scales over the known, (n,) parities."""
    pixel = np.deg2rad(field.scale_degrees)
    camera = field.vectors(xy, 1.0, 1.0)
    mine, my_corners = _triangles(camera, 4 * radius * pixel)
    theirs, their_corners = _triangles(vectors, 3.5 * radius * pixel)
    row, match = _alike(mine, theirs, tolerance)
    a, b = xy[my_corners[row]], vectors[their_corners[match]]
    scale = np.exp(theirs[match, 2] - mine[row, 2])
    parity = np.where(np.linalg.det(camera[my_corners[row]]) * np.linalg.det(b) > 0, 1.0, -1.0)
    seen = field.vectors(a, scale[:, None], parity[:, None])
    rotation = _rotation(seen, b)
    miss = np.linalg.norm(np.einsum("nij,nkj->nki", rotation, seen) - b, axis=2).max(axis=1) / pixel
    size = np.linalg.norm(a - a.mean(axis=1, keepdims=True), axis=2).max(axis=1)
    good = np.flatnonzero(miss < radius)
    best = good[np.argsort((miss[good] + 0.3) / size[good], kind="stable")][:MOST_STARTS]  # large ones extrapolate best
    return rotation[best], scale[best], parity[best]


def _alike(mine: Array, theirs: Array, tolerance: float) -> tuple[Indices, Indices]:
    """The most alike triangles: ratios differ by less than LIKENESS, longest sides by less than the tolerance."""
    none = np.zeros(0, np.int64)
    if not len(mine) or not len(theirs):
        return none, none
    units = np.array([1.0, 1.0, LIKENESS / np.log1p(tolerance)])
    found = cKDTree(theirs * units).query_ball_point(mine * units, LIKENESS, p=np.inf)
    counts = np.array([len(each) for each in found])
    match = np.concatenate([np.asarray(each, np.int64) for each in found]) if counts.sum() else none
    row = np.repeat(np.arange(len(mine)), counts)
    unlike = np.abs(mine[row, :2] - theirs[match, :2]).max(axis=1)
    best = np.argsort(unlike, kind="stable")[:MOST_ALIKE]
    return row[best], match[best]


def _rotation(a: Array, b: Array) -> Array:
    """(n, 3, 3): the proper rotations that bring vectors a (n, k, 3) nearest to b."""
    u, _, vt = np.linalg.svd(np.einsum("nki,nkj->nij", b, a))
    turn = np.broadcast_to(np.eye(3), u.shape).copy()
    turn[:, 2, 2] = np.sign(np.linalg.det(u @ vt))
    return np.asarray(u @ turn @ vt)


def _agreeing(
    field: _Field, xy: Array, vectors: Array, rotations: Array, scales: Array, parities: Array, radius: float
) -> Indices:
    """(n,): catalog stars that each start brings a star of the frame to."""
    seen = field.vectors(xy[None], scales[:, None], parities[:, None])
    sky = np.einsum("nij,nkj->nki", rotations, seen)
    limit = np.deg2rad(field.scale_degrees) * radius
    _, which = cKDTree(vectors).query(sky, distance_upper_bound=limit)
    which.sort(axis=1)
    fresh = np.diff(which, axis=1, prepend=-1) > 0
    return np.asarray((fresh & (which < len(vectors))).sum(axis=1))


def _plate(field: _Field, rotation: Array, scale: float, parity: float) -> Plate:
    return copied(lambda xy: field.vectors(xy, scale, parity) @ rotation.T, field.shape, 1)
