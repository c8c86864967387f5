"""Simulated fields with known truth: stars strewn over the sky, a catalog of them, and what a frame shows of them.

The truth is astropy's WCS, not the code under test.
"""

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS

from photometry.astrometry.catalog import Catalog, catalog_of

STARS = np.dtype([("x", "f8"), ("y", "f8"), ("flux", "f8")])


@dataclass(frozen=True)
class Field:
    """What a frame looks at and how: degrees, arcsec per pixel; stars: about how many of the sky's lie on it.

    bend: pixels that a cubic distortion moves the corners; noise: pixels, of a bright star on either axis; spurious, lost:
    shares of the frame's stars that are none, and that are not found; deep: catalog stars on the frame for each of its own.
    """

    ra: float = 120.0
    dec: float = 30.0
    rotation: float = 0.0
    mirrored: bool = False
    scale: float = 2.0
    shape: tuple[int, int] = (1000, 1200)
    stars: int = 150
    bend: float = 0.0
    noise: float = 0.02
    spurious: float = 0.1
    lost: float = 0.1
    deep: float = 1.5
    seed: int = 1


@dataclass(frozen=True)
class Truth:
    """The frame's stars, its WCS, and the catalog over `reach` degrees round the frame."""

    stars: np.ndarray
    wcs: WCS
    catalog: Catalog


def wcs_of(field: Field) -> WCS:
    """TAN-SIP."""
    ny, nx = field.shape
    wcs = WCS(naxis=2)
    bent = "-SIP" if field.bend else ""
    wcs.wcs.ctype = [f"RA---TAN{bent}", f"DEC--TAN{bent}"]
    wcs.wcs.crval = [field.ra, field.dec]
    wcs.wcs.crpix = [(nx + 1) / 2, (ny + 1) / 2]
    angle = np.deg2rad(field.rotation)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wcs.wcs.cd = field.scale / 3600 * turn @ np.diag([1.0 if field.mirrored else -1.0, 1.0])
    if field.bend:
        from astropy.wcs import Sip

        k = field.bend / np.hypot(nx / 2, ny / 2) ** 3
        a, b = np.zeros((4, 4)), np.zeros((4, 4))
        a[3, 0] = a[1, 2] = b[0, 3] = b[2, 1] = k
        wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    wcs.wcs.set()
    return wcs


def strewn(field: Field, reach: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """ra, dec of stars as dense as the field's within `reach` degrees of it."""
    ny, nx = field.shape
    cap = 2 * np.pi * (1 - np.cos(np.deg2rad(reach)))
    n = int(field.deep * field.stars * cap / (nx * ny * np.deg2rad(field.scale / 3600) ** 2))
    z = 1 - rng.uniform(0, 1, n) * (1 - np.cos(np.deg2rad(reach)))
    turn = rng.uniform(0, 2 * np.pi, n)
    r = np.sqrt(1 - z**2)
    local = np.stack([r * np.cos(turn), r * np.sin(turn), z], axis=1)
    a, d = np.deg2rad(field.ra), np.deg2rad(field.dec)
    out = np.array([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    east = np.array([-np.sin(a), np.cos(a), 0.0])
    x, y, z = (local @ np.stack([east, np.cross(out, east), out])).T
    return np.rad2deg(np.arctan2(y, x)) % 360, np.rad2deg(np.arctan2(z, np.hypot(x, y)))


def simulate(field: Field, reach: float | None = None) -> Truth:
    """The catalog knows `deep` stars for each that the frame shows, the brightest of both the same but for .1 mag."""
    rng = np.random.default_rng(field.seed)
    ny, nx = field.shape
    half = np.hypot(nx, ny) / 2 * field.scale / 3600
    wcs = wcs_of(field)
    ra, dec = strewn(field, half + 4.1 if reach is None else reach, rng)
    mag = 8 + np.log10(rng.uniform(1e-4, 1, len(ra))) / 0.4 + 10  # N(< m) ~ 10^(.4 m)
    near = np.cos(np.deg2rad(dec)) * np.cos(np.deg2rad(field.dec)) * np.cos(np.deg2rad(ra - field.ra))
    near = np.flatnonzero(near + np.sin(np.deg2rad(dec)) * np.sin(np.deg2rad(field.dec)) > np.cos(np.deg2rad(1.5 * half)))
    x, y = wcs.all_world2pix(np.stack([ra[near], dec[near]], axis=1), 0).T
    on = near[(x > 0) & (x < nx - 1) & (y > 0) & (y < ny - 1)]
    on = on[np.argsort(mag[on])][: max(int(len(on) / field.deep), 5)]
    on = on[rng.uniform(size=len(on)) >= field.lost]
    x, y = wcs.all_world2pix(np.stack([ra[on], dec[on]], axis=1), 0).T
    extra = int(field.spurious * len(on))
    stars = np.zeros(len(on) + extra, STARS)
    stars["x"] = np.append(x + rng.normal(0, field.noise, len(on)), rng.uniform(0, nx - 1, extra))
    stars["y"] = np.append(y + rng.normal(0, field.noise, len(on)), rng.uniform(0, ny - 1, extra))
    stars["flux"] = 10 ** (-0.4 * (np.append(mag[on], rng.choice(mag[on], extra)) + rng.normal(0, 0.1, len(stars)) - 25))
    return Truth(stars, wcs, catalog_of({"ra": ra, "dec": dec, "mag": mag}))


def shuffled(stars: np.ndarray, seed: int) -> np.ndarray:
    """The same columns, rows and brightnesses, but each star's put together from three."""
    rng = np.random.default_rng(seed)
    out = stars.copy()
    for name in ("x", "y"):
        out[name] = rng.permutation(stars[name])
    return out


def displaced(ra: float, dec: float, degrees: float, towards: float) -> tuple[float, float]:
    """A place so many degrees off, in that direction (degrees from north through east)."""
    a, d, s, t = np.deg2rad([ra, dec, degrees, towards])
    dec2 = np.arcsin(np.sin(d) * np.cos(s) + np.cos(d) * np.sin(s) * np.cos(t))
    ra2 = a + np.arctan2(np.sin(t) * np.sin(s) * np.cos(d), np.cos(s) - np.sin(d) * np.sin(dec2))
    return float(np.rad2deg(ra2) % 360), float(np.rad2deg(dec2))


def misses(header: dict[str, object], truth: WCS, shape: tuple[int, int]) -> np.ndarray:
    """Pixels between where a solution's header and the truth put the sky, all over the frame."""
    from astropy.io import fits

    ny, nx = shape
    x, y = np.meshgrid(np.linspace(0, nx - 1, 9), np.linspace(0, ny - 1, 9))
    sky = np.stack(truth.all_pix2world(x.ravel(), y.ravel(), 0), axis=1)
    X, Y = WCS(fits.Header(header)).all_world2pix(sky, 0).T
    return np.hypot(X - x.ravel(), Y - y.ravel())
