"""Where a frame lies on the sky, from all that is known of it: its header, its camera, its template, the star catalog."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.typing import NDArray

from photometry.acquire import Acquired
from photometry.astrometry import AstrometrySettings, Catalog, Known, Solution, solve
from photometry.cards import wcs_names
from photometry.frame import Frame
from photometry.times import Exposure

HEADER_TOLERANCE = 0.1  # of the pixel scale that a header's WCS gives
_ARCSEC = 3600.0
_J2000_MJD, _DAYS_A_YEAR = 51544.5, 365.25


def locate(
    frame: Acquired, stars: NDArray[np.void], known: Known | None, catalog: Catalog | None, indexes: tuple[Path, ...]
) -> Solution | None:
    """The frame's solution from stars with x, y, flux; None where there is nothing to solve from.

    known: the template's, where it has one.  AstrometryFailedError: none is believed, and why.
    """
    settings = _settings(frame)
    if settings is None or (known is None and catalog is None):
        return None
    pointing = frame.pointing
    if pointing is None and frame.frame.wcs is not None:
        pointing = _middle(frame.frame.wcs, frame.frame.image.shape)
    return solve(stars, frame.frame.image.shape, julian_year(frame.exposure), settings, known, catalog, pointing, indexes)


def placed(frame: Frame, solution: Solution | None) -> Frame:
    """The frame with the solution for its WCS, in its header too; without one, with none."""
    header = frame.header.copy()
    for name in wcs_names(header):
        del header[name]
    if solution is None:
        return replace(frame, header=header, wcs=None)
    for card, value in solution.header.items():
        header[card] = value
    return replace(frame, header=header, wcs=wcs_from(fits.Header(solution.header)))


def wcs_from(header: fits.Header) -> WCS:
    """The WCS of cards that this suite wrote."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is the header of no image
        return WCS(header, naxis=2)


def julian_year(when: Exposure) -> float:
    """Of the middle of the exposure; 2000 where that is not known."""
    return 2000.0 if when.mid_mjd is None else 2000.0 + (when.mid_mjd - _J2000_MJD) / _DAYS_A_YEAR


def _settings(frame: Acquired) -> AstrometrySettings | None:
    """By the camera's file, else by the header's WCS."""
    if frame.camera is not None and frame.camera.scale is not None:
        return AstrometrySettings(frame.camera.scale.arcsec_per_pixel, frame.camera.scale.tolerance)
    if frame.frame.wcs is None:
        return None
    scale = _ARCSEC * float(np.sqrt(np.prod(proj_plane_pixel_scales(frame.frame.wcs.celestial))))
    return AstrometrySettings(scale, HEADER_TOLERANCE)


def _middle(wcs: WCS, shape: tuple[int, int]) -> tuple[float, float]:
    ny, nx = shape
    ra, dec = wcs.all_pix2world([[(nx - 1) / 2, (ny - 1) / 2]], 0)[0]
    return float(ra), float(dec)
