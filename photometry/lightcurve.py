"""The light curve of one place in the template, from published differences.

Guarantee: every difference that can be read gives one row; where the place lies outside the frame or is masked, flux and
flux_err are NaN.  Fluxes are those of the difference's PSF at the place, not of a detection: no peak is searched for.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray
from scipy.ndimage import shift

from photometry.columns import Column, make_table
from photometry.errors import BadInputError
from photometry.products import DIFFERENCE
from photometry.registration import Transform
from photometry.subtraction.files import read_psf
from photometry.transform_cards import from_cards

_COLUMNS = (
    Column("mjd", "d", "time.epoch;stat.mean", "Middle of the exposure, UTC", "%.8f"),
    Column("flux", "{unit}", "phot.count;arith.diff", "Frame minus template, on the frame's flux scale", "%.7g"),
    Column("flux_err", "{unit}", "stat.error;phot.count", "Scatter of the same measure around, and its photons", "%.5g"),
    Column("flux_scale", "", "arith.factor", "Flux of a constant star in the frame over that in the template", "%.6g"),
    Column("flux_tmpl", "{unit}", "phot.count;arith.diff", "flux / flux_scale: comparable between frames", "%.7g"),
    Column("flux_tmpl_err", "{unit}", "stat.error;phot.count", "Its standard deviation", "%.5g"),
    Column("x", "pix", "pos.cartesian.x;instr.det", "Column of the place in the frame, 0-based", "%.3f"),
    Column("y", "pix", "pos.cartesian.y;instr.det", "Row of the place in the frame, 0-based", "%.3f"),
    Column("frame", "", "meta.id", "The frame's file name", "%s"),
)
# The scatter is taken from places on rings of these radii, in widths of the PSF stamp's half.
_RINGS = (0.8, 1.2, 1.6, 2.0)
_PLACES_PER_RING = 16
_FEWEST_PLACES = 12
# A place is measured where at least this share of the PSF's weight is unmasked.
_SEEN_SHARE = 0.6


@dataclass(frozen=True)
class Epoch:
    """What is needed of one difference."""

    data: NDArray[np.float32]
    bad: NDArray[np.bool_]
    psf: Any
    transform: Transform
    mjd: float
    flux_scale: float
    gain: float
    unit: str
    frame: str


def light_curve(products: Iterable[Path], x_tmpl: float, y_tmpl: float) -> Table:
    """Forced photometry at a place in template pixels (0-based) on each difference, sorted by time.

    products: folders of published products, or difference.fits files.  BadInputError: none can be read.
    """
    rows = []
    unit = "adu"
    for path in products:
        epoch = read_epoch(path)
        unit = epoch.unit
        x, y = epoch.transform.inverse(np.array(x_tmpl), np.array(y_tmpl))
        flux, error = forced(epoch, float(x), float(y))
        scale = epoch.flux_scale
        rows.append((epoch.mjd, flux, error, scale, flux / scale, error / scale, float(x), float(y), epoch.frame))
    if not rows:
        raise BadInputError("no products named: give the folders that hold difference.fits")
    rows.sort(key=lambda row: (np.isnan(row[0]), row[0], row[-1]))
    values = {column.name: np.array(value) for column, value in zip(_COLUMNS, zip(*rows, strict=True), strict=True)}
    return make_table(_COLUMNS, values, unit, {"x_tmpl": x_tmpl, "y_tmpl": y_tmpl})


def read_epoch(path: Path) -> Epoch:
    """One difference.  BadInputError with the name where it cannot be read."""
    file = path / DIFFERENCE if path.is_dir() else path
    try:
        with fits.open(file) as hdus:
            header = hdus["DIFF"].header
            data = np.asarray(hdus["DIFF"].data, np.float32)
            bad = ~np.isfinite(data)
            if "MASK" in hdus:
                bad |= (np.asarray(hdus["MASK"].data) & hdus["MASK"].header["BADBITS"]) != 0
            psf = read_psf(hdus["PSF"], (data.shape[0], data.shape[1]))
            return Epoch(
                data=np.where(bad, np.float32(0.0), data),
                bad=bad,
                psf=psf,
                transform=from_cards(header),
                mjd=float(header.get("MJD-MID", "nan")),
                flux_scale=float(header["FLXSCALE"]),
                gain=float(header.get("GAIN", 1.0)),
                unit=str(header.get("BUNIT", "adu")),
                frame=str(header.get("FRAME", file.parent.name)),
            )
    except BadInputError as error:
        raise BadInputError(f"{file}: {error}") from error
    except (OSError, KeyError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadInputError(f"{file}: not a difference that can be measured: {reason}") from error


def forced(epoch: Epoch, x: float, y: float) -> tuple[float, float]:
    """(flux, standard deviation) at a place; NaN where it cannot be measured.

    F = sum(P D) / sum(P^2) over unmasked pixels.  Its noise is the scatter of F at places around, which holds the correlated
    noise of a convolved frame, and the source's own photons.
    """
    flux, weight = _fit(epoch, x, y)
    if not np.isfinite(flux):
        return float("nan"), float("nan")
    half = epoch.psf.half
    around = [
        _fit(epoch, x + r * half * np.cos(angle), y + r * half * np.sin(angle))[0]
        for r in _RINGS
        for angle in np.arange(_PLACES_PER_RING) * 2 * np.pi / _PLACES_PER_RING + r
    ]
    values = np.array([value for value in around if np.isfinite(value)])
    if len(values) < _FEWEST_PLACES:
        return flux, float("nan")
    low, high = np.percentile(values, (15.87, 84.13))
    photons = max(flux, 0.0) * weight / epoch.gain
    return flux, float(np.sqrt(((high - low) / 2) ** 2 + photons))


def _fit(epoch: Epoch, x: float, y: float) -> tuple[float, float]:
    """The flux at a place and sum(P^3) / sum(P^2)^2, what its photons' variance is multiplied with."""
    ny, nx = epoch.data.shape
    half = epoch.psf.half
    if not (np.isfinite(x) and np.isfinite(y)):
        return float("nan"), 0.0
    xi, yi = round(x), round(y)
    if not (half <= xi < nx - half and half <= yi < ny - half):
        return float("nan"), 0.0
    psf = shift(epoch.psf.at(x, y), (y - yi, x - xi), order=3)
    window = (slice(yi - half, yi + half + 1), slice(xi - half, xi + half + 1))
    weight = np.where(epoch.bad[window], 0.0, psf)
    norm = float((weight**2).sum())
    if norm < _SEEN_SHARE * float((psf**2).sum()):
        return float("nan"), 0.0
    return float((weight * epoch.data[window]).sum()) / norm, float((weight**2 * psf.clip(0)).sum()) / norm**2
