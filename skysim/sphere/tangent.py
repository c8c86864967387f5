"""Sky to detector and back: a gnomonic projection, turned, possibly mirrored, with a radial distortion.

For a star of unit vector s, with east e and north n at the tangent point p (Calabretta & Greisen 2002, A&A 395, 1077),

    xi = s.e / s.p,  eta = s.n / s.p,        (xi, eta) = CD (U, V),        (U, V) = (u, v) (1 + k (u^2 + v^2)),

u, v the pixel's offset from the tangent point.  The distortion is a cubic in u and v, so a TAN-SIP header says all of it
(Shupe et al. 2005, ASP Conf. 347, 491): `header` is exact, not fitted.
"""

import math
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from numpy.typing import ArrayLike

from skysim.optics import FloatArray

_NEWTON_STEPS = 6  # a distortion of some pixels needs three


@dataclass(frozen=True)
class Projection:
    """Where the sky falls on a detector of `shape` (ny, nx), whose middle looks at ra_deg, dec_deg.

    rotation_degrees   position angle of the detector's +y, from north through east
    mirrored           east is to the right of north, as after an odd number of mirrors
    distortion_pixels  how much nearer to the middle than without distortion a star falls in the detector's corner
    """

    shape: tuple[int, int]
    ra_deg: float
    dec_deg: float
    arcsec_per_pixel: float
    rotation_degrees: float = 0.0
    mirrored: bool = False
    distortion_pixels: float = 0.0

    @property
    def centre(self) -> tuple[float, float]:
        """x, y of the tangent point."""
        return (self.shape[1] - 1) / 2, (self.shape[0] - 1) / 2

    @property
    def radius_degrees(self) -> float:
        """Of a circle on the sky that holds the detector."""
        reach = math.hypot(*self.centre) + abs(self.distortion_pixels) + 1
        return math.degrees(math.atan(math.radians(reach * self.arcsec_per_pixel / 3600)))

    def to_pixels(self, ra: ArrayLike, dec: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """x, y of places on the sky; NaN for those 90 degrees and more from the tangent point."""
        east, north, middle = axes(self.ra_deg, self.dec_deg)
        star = vectors(ra, dec)
        depth = middle @ star
        with np.errstate(divide="ignore", invalid="ignore"):
            plane = np.where(depth > 0, np.stack([east @ star, north @ star]) / depth, np.nan)
        u, v = np.linalg.inv(self._cd()) @ np.degrees(plane).reshape(2, -1)
        shrink = self._undistorted_to_pixel(np.hypot(u, v))
        x, y = (axis + at for axis, at in zip((u * shrink, v * shrink), self.centre, strict=True))
        return x.reshape(depth.shape), y.reshape(depth.shape)

    def to_sky(self, x: ArrayLike, y: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """The places (ra 0 to 360, dec) of pixels."""
        u, v = np.asarray(x, np.float64) - self.centre[0], np.asarray(y, np.float64) - self.centre[1]
        stretch = 1 + self._cubic() * (u * u + v * v)
        xi, eta = np.radians(self._cd() @ np.stack([u * stretch, v * stretch]).reshape(2, -1))
        east, north, middle = axes(self.ra_deg, self.dec_deg)
        ra, dec = places(middle[:, None] + east[:, None] * xi + north[:, None] * eta)
        return ra.reshape(u.shape), dec.reshape(u.shape)

    def header(self) -> fits.Header:
        """The projection as a WCS: TAN, or TAN-SIP where there is a distortion."""
        sip = "-SIP" if self.distortion_pixels else ""
        x, y = self.centre
        cd = self._cd()
        cards: list[tuple[str, str | float]] = [
            ("WCSAXES", 2), ("CTYPE1", "RA---TAN" + sip), ("CTYPE2", "DEC--TAN" + sip), ("CUNIT1", "deg"), ("CUNIT2", "deg"),
            ("RADESYS", "ICRS"), ("CRVAL1", self.ra_deg), ("CRVAL2", self.dec_deg), ("CRPIX1", x + 1), ("CRPIX2", y + 1),
            ("CD1_1", cd[0, 0]), ("CD1_2", cd[0, 1]), ("CD2_1", cd[1, 0]), ("CD2_2", cd[1, 1]),
            ("LONPOLE", 180.0),  # the default but at the north pole itself
        ]  # fmt: skip
        if sip:
            k = self._cubic()
            cards += [("A_ORDER", 3), ("A_3_0", k), ("A_1_2", k), ("B_ORDER", 3), ("B_0_3", k), ("B_2_1", k)]
        return fits.Header(cards)

    def _cd(self) -> FloatArray:
        c, s = math.cos(math.radians(self.rotation_degrees)), math.sin(math.radians(self.rotation_degrees))
        side = 1 if self.mirrored else -1
        return self.arcsec_per_pixel / 3600 * np.array([[side * c, s], [-side * s, c]])

    def _cubic(self) -> float:
        """k, pixels^-2."""
        return float(self.distortion_pixels / math.hypot(*self.centre) ** 3)

    def _undistorted_to_pixel(self, radius: FloatArray) -> FloatArray:
        """The ratio r / radius, where r (1 + k r^2) = radius; NaN beyond the radius at which the distortion folds over."""
        k, r = self._cubic(), radius.copy()
        for _ in range(_NEWTON_STEPS):
            r -= (r * (1 + k * r * r) - radius) / (1 + 3 * k * r * r)
        r[~(np.abs(r * (1 + k * r * r) - radius) < 1e-6)] = np.nan
        return np.divide(r, radius, out=np.ones_like(r), where=radius > 0)


def vectors(ra: ArrayLike, dec: ArrayLike) -> FloatArray:
    """Unit vectors (3, ...) of places in degrees."""
    a, d = np.radians(np.asarray(ra, np.float64)), np.radians(np.asarray(dec, np.float64))
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])


def places(vector: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The places (ra 0 to 360, dec) of vectors (3, ...) of any length."""
    x, y, z = vector
    return np.degrees(np.arctan2(y, x)) % 360.0, np.degrees(np.arctan2(z, np.hypot(x, y)))


def axes(ra: ArrayLike, dec: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """East, north and outward unit vectors (3, ...) at places; at a pole they turn with ra, as the coordinates do."""
    a, d = np.radians(np.asarray(ra, np.float64)), np.radians(np.asarray(dec, np.float64))
    zero = np.zeros_like(a * d)
    east = np.stack([-np.sin(a) + zero, np.cos(a) + zero, zero])
    north = np.stack([-np.sin(d) * np.cos(a), -np.sin(d) * np.sin(a), np.cos(d) + zero])
    return east, north, vectors(a * 180 / math.pi, d * 180 / math.pi)
