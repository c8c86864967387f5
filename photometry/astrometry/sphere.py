"""Places on the sky as unit vectors, and the tangent plane: nothing here minds a pole or the meridian of RA 0.

Vectors are (n, 3) float64, angles degrees (ICRS).
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_MAS = np.deg2rad(1 / 3.6e6)


def unit_vectors(ra: Array | float, dec: Array | float) -> Array:
    """(..., 3)."""
    a, d = np.deg2rad(ra), np.deg2rad(dec)
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d) + 0 * a], axis=-1)


def angles(vectors: Array) -> tuple[Array, Array]:
    """(ra, dec) of vectors of any length; ra in 0..360."""
    x, y, z = np.moveaxis(np.asarray(vectors, float), -1, 0)
    return np.rad2deg(np.arctan2(y, x)) % 360.0, np.rad2deg(np.arctan2(z, np.hypot(x, y)))


def separation(a: Array, b: Array) -> Array:
    """Degrees between unit vectors, exact for small ones too."""
    return np.asarray(np.rad2deg(2 * np.arcsin(np.clip(np.linalg.norm(np.asarray(a) - b, axis=-1) / 2, 0, 1))))


def axes(ra: Array | float, dec: Array | float) -> Array:
    """(..., 3, 3): unit vectors to the east, to the north, and outwards.  At a pole, `ra` says which way is which."""
    a, d = np.deg2rad(ra), np.deg2rad(dec)
    east = np.stack([-np.sin(a), np.cos(a), 0 * a], axis=-1)
    north = np.stack([-np.sin(d) * np.cos(a), -np.sin(d) * np.sin(a), np.cos(d) + 0 * a], axis=-1)
    return np.stack([east, north, unit_vectors(ra, dec)], axis=-2)


def project(vectors: Array, frame: Array) -> Array:
    """(n, 2) degrees east and north on the plane that touches the sphere at frame[2] (FITS TAN); NaN beyond 80 degrees."""
    x, y, z = np.moveaxis(vectors @ frame.T, -1, 0)
    z = np.where(z > np.cos(np.deg2rad(80.0)), z, np.nan)
    return np.asarray(np.rad2deg(np.stack([x / z, y / z], axis=-1)))


def deproject(plane: Array, frame: Array) -> Array:
    """Unit vectors of places on the tangent plane."""
    east, north = np.moveaxis(np.deg2rad(plane), -1, 0)
    out = np.stack([east, north, np.ones_like(east)], axis=-1)
    return np.asarray((out / np.linalg.norm(out, axis=-1, keepdims=True)) @ frame)


def moved(ra: Array, dec: Array, pmra: Array, pmdec: Array, years: Array | float) -> Array:
    """Unit vectors after so many years of proper motion, mas/yr, pmra with cos(dec) in it; no parallax."""
    frame = axes(ra, dec)
    shift = (np.asarray(pmra)[:, None] * frame[:, 0] + np.asarray(pmdec)[:, None] * frame[:, 1]) * _MAS
    out = frame[:, 2] + shift * np.broadcast_to(np.asarray(years, float), len(frame))[:, None]
    return np.asarray(out / np.linalg.norm(out, axis=1, keepdims=True))
