"""Sources on a frame: where they are and how bright, with sep, in overlapping tiles that cannot abort the
frame.

sep gives up on a whole array for one bad object (more than 1,024 sub-objects, pixel buffer full).  Each tile
is therefore tried plainly, then without deblending, then with higher thresholds, and at worst is left out;
each object belongs to the one tile whose core holds its centre.  Bertin & Arnouts 1996; Barbary 2016.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import sep
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from photometry.background import UNUSABLE
from photometry.errors import EnvironmentFailedError
from photometry.image import Image
from photometry.mask import Bit
from photometry.settings import Settings

# Saturated cores still belong to a source; the other unusable pixels do not.
_HIDDEN = UNUSABLE & ~int(Bit.SATURATED)

TILE_PIXELS = 1024
OVERLAP_PIXELS = 64

# Bits of `flags`; those below 0x100 are sep's own:
# 1 blended, 2 touches the edge, 0x10 aperture cut, 0x20 has masked pixels.
FLAG_SATURATED = 0x100
FLAG_MASKED = 0x200
FLAG_COARSE = 0x400  # found with a fallback: neighbours may be merged, faint ones missed

# The ladder that a tile climbs down: factor on the threshold, deblending contrast (1 = off).
_LADDER = ((1.0, 0.005), (1.0, 1.0), (4.0, 1.0), (20.0, 1.0))
_SMALLEST_AREA = 5
_DUPLICATE_PIXELS = 1.5
_PIXEL_STACK = 1_000_000
_LARGEST_KRON = 6.0
_STRUCTURE_PIXELS = 32
_CORE = 3.5  # in isophotal sigmas; 98 % of a star


@dataclass(frozen=True)
class _Tile:
    """Half-open pixel ranges: the core that owns objects, and the window that sep sees."""

    core: tuple[int, int, int, int]
    window: tuple[int, int, int, int]


def star_dtype(radii: int) -> np.dtype[Any]:
    """One source: positions in pixels (0-based), fluxes in the image's unit, theta in radians from x towards
    y.
    """
    names = ["x", "y", "flux", "flux_err"]
    for i in range(1, radii + 1):
        names += [f"flux_aper{i}", f"flux_aper{i}_err"]
    layout: list[tuple[str, str]] = [(name, "f8") for name in names]
    layout += [(name, "f4") for name in ("fwhm", "a", "b", "theta", "peak")]
    return np.dtype([*layout, ("flags", "i4")])


def detect(image: Image, settings: Settings) -> NDArray[Any]:
    """Sources of a background-subtracted image, brightest first; `star_dtype` has the columns.

    flux is the Kron-like (AUTO) flux, flux_aperN those of `settings.aperture_radii_pixels`; errors from the
    image's variance.  x, y are windowed centroids.  fwhm is twice the half-light radius.  Never raises on a
    valid image.
    """
    sep.set_extract_pixstack(_PIXEL_STACK)
    unusable = (image.mask & _HIDDEN) != 0
    sigma = np.sqrt(_sky_variance(image))
    flat = _without_structure(image.data, unusable)
    found: list[NDArray[Any]] = []
    for tile in _tiles(image.shape):
        objects, coarse = _extract(flat, sigma, unusable, tile, settings.detection_threshold_sigma)
        if objects is not None:
            found.append(_own(objects, tile, coarse=coarse))
    objects = np.concatenate(found) if found else np.zeros(0, _OBJECT)
    objects = _without_duplicates(objects)
    stars = _measure(image, unusable, objects, settings.aperture_radii_pixels)
    return stars[np.argsort(-stars["flux"], kind="stable")]


_OBJECT = np.dtype([
    ("x", "f8"), ("y", "f8"), ("a", "f8"), ("b", "f8"), ("theta", "f8"), ("peak", "f8"), ("cflux", "f8"),
    ("xpeak", "i4"), ("ypeak", "i4"),
    ("tile", "i4"), ("flags", "i4"),
])  # fmt: skip


def _without_structure(data: NDArray[np.float32], unusable: NDArray[np.bool_]) -> NDArray[np.float32]:
    """For finding only: what is larger than any star (dust, an unflattened field, a galaxy's outskirts) taken away.

    Above the threshold it would tie hundreds of stars into one object.  Fluxes are measured on the data themselves.
    """
    side = max(8, min(_STRUCTURE_PIXELS, min(data.shape) // 2))
    structure = sep.Background(data, mask=unusable, bw=side, bh=side).back(dtype=np.float32)
    return np.asarray(data - structure, np.float32)


def _sky_variance(image: Image) -> NDArray[np.float32]:
    """The variance without the sources' photons, so that a star does not raise its own threshold."""
    photons = np.maximum(image.data, 0.0) / np.float32(image.gain)
    floor = np.float32(0.5) * np.median(image.variance[::7, ::7])
    return np.maximum(image.variance - photons, floor)


def _tiles(shape: tuple[int, int]) -> Iterator[_Tile]:
    ny, nx = shape
    for y0, y1 in _spans(ny):
        for x0, x1 in _spans(nx):
            window = (
                max(0, y0 - OVERLAP_PIXELS),
                min(ny, y1 + OVERLAP_PIXELS),
                max(0, x0 - OVERLAP_PIXELS),
                min(nx, x1 + OVERLAP_PIXELS),
            )
            yield _Tile((y0, y1, x0, x1), window)


def _spans(n: int) -> list[tuple[int, int]]:
    count = max(1, round(n / TILE_PIXELS))
    edges = [round(i * n / count) for i in range(count + 1)]
    return list(pairwise(edges))


def _extract(
    data: NDArray[np.float32],
    sigma: NDArray[np.float32],
    unusable: NDArray[np.bool_],
    tile: _Tile,
    threshold: float,
) -> tuple[NDArray[Any] | None, bool]:
    """What sep finds in the window, and whether a fallback was needed; None when every rung failed."""
    y0, y1, x0, x1 = tile.window
    window = np.ascontiguousarray(data[y0:y1, x0:x1])
    noise = np.ascontiguousarray(sigma[y0:y1, x0:x1])
    hidden = np.ascontiguousarray(unusable[y0:y1, x0:x1])
    for rung, (factor, contrast) in enumerate(_LADDER):
        try:
            limit = threshold * factor
            objects = sep.extract(window, limit, err=noise, mask=hidden, minarea=_SMALLEST_AREA, deblend_cont=contrast)
        except MemoryError as error:
            raise EnvironmentFailedError("not enough memory to find the sources") from error
        except Exception as error:
            if type(error) is not Exception:  # sep gives up with a bare Exception; anything else is a fault
                raise
            continue
        return objects, rung > 0
    return None, True


def _own(objects: NDArray[Any], tile: _Tile, *, coarse: bool) -> NDArray[Any]:
    """The objects whose centre is in the tile's core, in frame coordinates."""
    cy0, cy1, cx0, cx1 = tile.core
    own = np.zeros(len(objects), _OBJECT)
    own["x"] = objects["x"] + tile.window[2]
    own["y"] = objects["y"] + tile.window[0]
    own["xpeak"] = objects["xpeak"] + tile.window[2]
    own["ypeak"] = objects["ypeak"] + tile.window[0]
    for name in ("a", "b", "theta", "peak", "cflux"):
        own[name] = objects[name]
    own["flags"] = objects["flag"] | (FLAG_COARSE if coarse else 0)
    own["tile"] = cy0 * 100_000 + cx0
    # Pixel i covers i - 0.5 .. i + 0.5
    inside = (own["x"] >= cx0 - 0.5) & (own["x"] < cx1 - 0.5)
    inside &= (own["y"] >= cy0 - 0.5) & (own["y"] < cy1 - 0.5)
    good = np.isfinite(own["x"]) & np.isfinite(own["y"]) & (own["a"] > 0) & (own["b"] > 0)
    kept: NDArray[Any] = own[inside & good]
    return kept


def _without_duplicates(objects: NDArray[Any]) -> NDArray[Any]:
    """A centre on a border may fall into each tile's core by a hair: of such a pair the brighter stays."""
    if len(objects) < 2:
        return objects
    keep = np.ones(len(objects), np.bool_)
    tree = cKDTree(np.column_stack([objects["x"], objects["y"]]))
    for i, j in tree.query_pairs(_DUPLICATE_PIXELS, output_type="ndarray"):
        if objects["tile"][i] != objects["tile"][j]:
            keep[i if objects["cflux"][i] < objects["cflux"][j] else j] = False
    return objects[keep]


def _measure(image: Image, unusable: NDArray[np.bool_], objects: NDArray[Any], radii: tuple[float, ...]) -> NDArray[Any]:
    stars = np.zeros(len(objects), star_dtype(len(radii)))
    if not len(objects):
        return stars
    data = np.ascontiguousarray(image.data)
    error = np.sqrt(image.variance)
    x, y, a, b = (objects[name] for name in ("x", "y", "a", "b"))
    theta = np.clip(np.nan_to_num(objects["theta"]), -np.pi / 2, np.pi / 2)

    kron, kron_flag = sep.kron_radius(data, x, y, a, b, theta, _LARGEST_KRON, mask=unusable)
    # 2.5 Kron radii hold 94 % of a galaxy's light; never under 3.5 pixels, as in SExtractor's defaults.
    scale = np.maximum(2.5 * np.nan_to_num(kron), 3.5 / np.sqrt(a * b))
    flux, flux_err, flag = sep.sum_ellipse(data, x, y, a, b, theta, scale, err=error, mask=unusable, subpix=5)
    # Half of the light within a circle that neighbours hardly reach, not of the Kron ellipse.
    half, _ = sep.flux_radius(data, x, y, _CORE * np.sqrt(a * b), 0.5, mask=unusable, subpix=5)
    fwhm = np.where(np.isfinite(half) & (half > 0), 2.0 * half, 2.3548 * np.sqrt(a * b))
    wx, wy, w_flag = sep.winpos(data, x, y, np.clip(fwhm, 1.0, 20.0) / 2.3548, mask=unusable)
    # A windowed centroid that ran off to a neighbour is worse than the isophotal one.
    better = (w_flag == 0) & (np.hypot(wx - x, wy - y) < np.maximum(1.0, 0.5 * fwhm))
    stars["x"], stars["y"] = np.where(better, wx, x), np.where(better, wy, y)
    stars["flux"], stars["flux_err"], stars["fwhm"] = flux, flux_err, fwhm
    stars["a"], stars["b"], stars["theta"], stars["peak"] = a, b, theta, objects["peak"]
    stars["flags"] = objects["flags"] | kron_flag | flag
    for i, radius in enumerate(radii, start=1):
        sums = sep.sum_circle(data, stars["x"], stars["y"], radius, err=error, mask=unusable, subpix=5)
        stars[f"flux_aper{i}"], stars[f"flux_aper{i}_err"] = sums[0], sums[1]
    flag_masked(image.mask, stars)
    # The brightest pixel of a bled or blended source may lie off its centre.
    bright = image.mask[objects["ypeak"], objects["xpeak"]] & np.uint16(Bit.SATURATED)
    stars["flags"][bright != 0] |= FLAG_SATURATED
    return stars


def flag_masked(mask: NDArray[np.uint16], stars: NDArray[Any]) -> None:
    """Add to the stars' flags, in place, what the mask says within one pixel of their centres."""
    ny, nx = mask.shape
    flags = np.zeros(len(stars), np.int32)
    column, row = np.rint(stars["x"]).astype(int), np.rint(stars["y"]).astype(int)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            bits = mask[np.clip(row + dy, 0, ny - 1), np.clip(column + dx, 0, nx - 1)]
            flags |= np.where(bits & Bit.SATURATED, FLAG_SATURATED, 0)
            flags |= np.where(bits & _HIDDEN, FLAG_MASKED, 0)
    stars["flags"] |= flags
