"""A plate: where a frame's pixels lie on the sky, as a polynomial into a tangent plane; and as the cards of a FITS WCS.

Guarantee: the cards are TAN where the polynomial is linear, else TAN-SIP with its inverse (Shupe et al. 2005), which holds
to 0.01 pixels over the frame where an order up to 6 can.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from photometry.astrometry.sphere import angles, axes, deproject, project, unit_vectors
from photometry.polynomials import evaluate, solve

Array = NDArray[np.float64]
Cards = dict[str, str | int | float]
SkyMap = Callable[[Array], Array]

_GRID = 21  # places along a side on which a map is copied
_INVERSE_PIXELS = 0.01
_HIGHEST_INVERSE = 6


@dataclass(frozen=True)
class Plate:
    """Pixel x, y (0-based) -> degrees east and north on the plane touching at ra, dec: maps of `photometry.polynomials`."""

    ra: float
    dec: float
    cx: Array
    cy: Array
    shape: tuple[int, int]

    def frame(self) -> Array:
        """`sphere.axes` of the point of touch."""
        return axes(self.ra, self.dec)

    def plane(self, xy: Array) -> Array:
        """(n, 2) degrees east and north of pixels (n, 2)."""
        return np.stack(evaluate(self.cx, self.cy, self.shape, xy[:, 0], xy[:, 1]), axis=1)

    def sky(self, xy: Array) -> Array:
        """Unit vectors (n, 3) of pixels (n, 2)."""
        return deproject(self.plane(xy), self.frame())

    def linear(self) -> Array:
        """(2, 2) d(east, north)/d(x, y) in the middle of the frame, degrees per pixel."""
        ny, nx = self.shape
        half = np.array([(nx - 1) / 2, (ny - 1) / 2])
        return np.asarray(np.array([[self.cx[0, 1], self.cx[1, 0]], [self.cy[0, 1], self.cy[1, 0]]]) / half)

    def scale_degrees(self) -> float:
        """Of a pixel's side, in the middle."""
        return float(np.sqrt(abs(np.linalg.det(self.linear()))))

    def pixels(self, plane: Array) -> Array:
        """Pixels (n, 2) of places on the plane by the linear terms alone: good to the distortion."""
        ny, nx = self.shape
        offset = plane - np.array([self.cx[0, 0], self.cy[0, 0]])
        return np.asarray(offset @ np.linalg.inv(self.linear()).T + np.array([(nx - 1) / 2, (ny - 1) / 2]))

    def corrected(self, dx: Array, dy: Array) -> "Plate":
        """With another polynomial, degrees, added."""
        return replace(self, cx=_sum(self.cx, dx), cy=_sum(self.cy, dy))

    def centred(self) -> "Plate":
        """The same map from the tangent plane that touches where the middle of the frame is."""
        order = len(self.cx) - 1
        plate = self
        for _ in range(3):
            plate = copied(plate.sky, plate.shape, order)
        return plate


def grid(shape: tuple[int, int]) -> Array:
    """(n, 2) pixels all over a frame, to its edges."""
    ny, nx = shape
    x, y = np.meshgrid(np.linspace(0, nx - 1, _GRID), np.linspace(0, ny - 1, _GRID))
    return np.stack([x.ravel(), y.ravel()], axis=1)


def copied(sky: SkyMap, shape: tuple[int, int], order: int) -> Plate:
    """The plate of that order which is nearest to any map from pixels (n, 2) to unit vectors (n, 3)."""
    ny, nx = shape
    places = grid(shape)
    ra, dec = (float(angle[0]) for angle in angles(sky(np.array([[(nx - 1) / 2, (ny - 1) / 2]]))))
    return Plate(ra, dec, *solve(places, project(sky(places), axes(ra, dec)), shape, order), shape)


def _sum(a: Array, b: Array) -> Array:
    side = max(len(a), len(b))
    out = np.zeros((side, side))
    out[: len(a), : len(a)] += a
    out[: len(b), : len(b)] += b
    return out


def wcs_cards(plate: Plate) -> Cards:
    """CTYPE, CRVAL, CRPIX, CD, and SIP with its inverse, of a centred plate: name -> value."""
    ny, nx = plate.shape
    cd = plate.linear()
    order = len(plate.cx) - 1
    kind = "-SIP" if order > 1 else ""
    cards: Cards = {
        "WCSAXES": 2, "CTYPE1": f"RA---TAN{kind}", "CTYPE2": f"DEC--TAN{kind}", "CUNIT1": "deg", "CUNIT2": "deg",
        "CRVAL1": plate.ra, "CRVAL2": plate.dec, "CRPIX1": (nx + 1) / 2, "CRPIX2": (ny + 1) / 2,
        "CD1_1": cd[0, 0], "CD1_2": cd[0, 1], "CD2_1": cd[1, 0], "CD2_2": cd[1, 1],
        "LONPOLE": 180.0, "RADESYS": "ICRS",
    }  # fmt: skip
    if order > 1:
        forward = _distortion(plate, cd)
        cards |= _sip("A", "B", forward, order) | _sip("AP", "BP", *_inverse(forward, plate.shape))
    return {name: value if isinstance(value, str | int) else float(value) for name, value in cards.items()}


def _distortion(plate: Plate, cd: Array) -> tuple[Array, Array]:
    """SIP's f and g [b, a], pixels: what is added to u, v, pixels from the middle, before the linear map."""
    ny, nx = plate.shape
    side = len(plate.cx)
    a, b = np.meshgrid(np.arange(side), np.arange(side))
    terms = np.stack([plate.cx, plate.cy]) / (((nx - 1) / 2) ** a * ((ny - 1) / 2) ** b)
    terms[:, a + b < 2] = 0.0
    f, g = np.einsum("ij,jba->iba", np.linalg.inv(cd), terms)
    return f, g


def _inverse(forward: tuple[Array, Array], shape: tuple[int, int]) -> tuple[tuple[Array, Array], int]:
    """The polynomial in the undistorted pixels that takes the distortion off again, and its order."""
    ny, nx = shape
    middle = np.array([(nx - 1) / 2, (ny - 1) / 2])
    uv = grid(shape) - middle
    shift = np.stack([np.polynomial.polynomial.polyval2d(uv[:, 1], uv[:, 0], table) for table in forward], axis=1)
    bent = uv + shift
    order = len(forward[0]) - 1
    while True:
        tables = solve(bent + middle, -shift, shape, order)
        left = np.stack(evaluate(*tables, shape, *(bent + middle).T), axis=1) + shift
        if np.abs(left).max() < _INVERSE_PIXELS or order >= _HIGHEST_INVERSE:
            break
        order += 1
    a, b = np.meshgrid(np.arange(order + 1), np.arange(order + 1))
    ap, bp = (table / (middle[0] ** a * middle[1] ** b) for table in tables)
    return (ap, bp), order


def _sip(first: str, second: str, tables: tuple[Array, Array], order: int) -> Cards:
    cards: Cards = {}
    for name, table in zip((first, second), tables, strict=True):
        cards[f"{name}_ORDER"] = order
        for (b, a), value in np.ndenumerate(table):
            if a + b <= order and value:
                cards[f"{name}_{a}_{b}"] = float(value)
    return cards


def sky_of(wcs: WCS) -> SkyMap:
    """Pixels (n, 2), 0-based -> unit vectors (n, 3) of an astropy WCS, whichever distortion it has."""
    return lambda xy: unit_vectors(*wcs.all_pix2world(xy, 0).T)
