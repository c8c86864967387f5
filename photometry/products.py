"""The files of one frame, from what the stages found.

Guarantee: each function writes new files only, into a folder that is the caller's alone; what fails half-way is the
caller's to discard with the folder.  Nothing here changes an array.
"""

from pathlib import Path
from typing import Any

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from photometry import columns
from photometry.columns import make_table, write_ecsv, write_fits
from photometry.facts import Described, catalog_cards, difference_cards, fact_cards, facts_of
from photometry.frame import Frame
from photometry.settings import Settings
from photometry.stamps import Look, write_stamps
from photometry.standards import Calibration
from photometry.stars.brightness import Brightness, placed_stars
from photometry.stars.magnitudes import magnitudes
from photometry.subtraction.difference import Difference
from photometry.subtraction.files import write_compressed
from photometry.times import exposure_of
from photometry.zero_point import ZeroPoint

CATALOG_FITS, CATALOG_ECSV = "catalog.fits", "catalog.ecsv.gz"
DIFFERENCE, TRANSIENTS, STAMPS, PREVIEW = "difference.fits", "transients.ecsv", "stamps", "preview.png"
"""Names of the products."""


def write_catalog(
    out: Path,
    frame: Frame,
    stars: NDArray[Any],
    bright: Brightness | None,
    sums: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
    calibration: Calibration | None,
    settings: Settings,
) -> None:
    """catalog.fits and catalog.ecsv.gz: the same rows, brightest first; without what could not be measured."""
    values = {name: stars[name] for name in stars.dtype.names or ()}
    values["id"] = np.arange(1, len(stars) + 1, dtype=np.int32)
    meta = catalog_cards(frame)
    if bright is not None:
        values |= _fitted(stars, bright)
        meta |= _psf_cards(bright)
    if sums is not None:
        values |= {"flux_sum": sums[0], "flux_sum_err": sums[1]}
    if bright is not None and calibration is not None:
        values |= _magnitudes(values, calibration.zero)
        meta |= _zero_point_cards(calibration)
    values |= _sky(frame.wcs, values["x"], values["y"])
    apertures = columns.describe_apertures(settings.aperture_radii_pixels)
    layout = (
        columns.ID, *columns.PLACE, *columns.PLACE_ERRORS, *columns.SKY, *columns.PSF, *columns.MAGNITUDES, *columns.FLUX,
        *apertures, *columns.SHAPE, columns.FLAGS,
    )  # fmt: skip
    table = make_table(layout, values, frame.image.unit, meta)
    write_fits(table, out / CATALOG_FITS, "CATALOG")
    write_ecsv(table, out / CATALOG_ECSV)


def _fitted(stars: NDArray[Any], bright: Brightness) -> dict[str, NDArray[Any]]:
    """The columns of the fit; x, y of what was not fitted stay as they were found."""
    fits, places = bright.stars, placed_stars(stars, bright)
    return {
        **{name: places[name] for name in ("x", "y", "x_err", "y_err")},
        "flux_psf": fits["psf"], "flux_psf_err": fits["psf_err"], "chi2_psf": fits["chi2"], "flags_psf": fits["flags"],
        "flux_apcor": fits["circle"], "flux_apcor_err": fits["circle_err"],
    }  # fmt: skip


def _magnitudes(values: dict[str, NDArray[Any]], zero: ZeroPoint) -> dict[str, NDArray[Any]]:
    level = zero.at(values["x"], values["y"])
    found: dict[str, NDArray[Any]] = {}
    for kind in ("psf", "apcor"):
        flux, error = values[f"flux_{kind}"], values[f"flux_{kind}_err"]
        found[f"mag_{kind}"], found[f"mag_{kind}_err"] = magnitudes(flux, error, level)
    return found


def _psf_cards(bright: Brightness) -> dict[str, Any]:
    growth = bright.growth
    cards = {"PSFFWHM": bright.quality.fwhm, "PSFELL": bright.quality.ellipticity, "PSFCHI2": bright.quality.chi2}
    return cards if growth is None else cards | {"APRADIUS": float(growth.radii[growth.best]), "APERROR": growth.error}


def _zero_point_cards(calibration: Calibration) -> dict[str, Any]:
    zero = calibration.zero
    said: dict[str, Any] = {
        "ZP": zero.value,
        "ZPERR": zero.error,
        "ZPRMS": zero.rms,
        "ZPSTARS": zero.stars,
        "ZPCOLOUR": zero.colour,
    }
    said |= {"ZPBAND": calibration.band, "ZPSYSTEM": calibration.system}
    return {name: value for name, value in said.items() if not (isinstance(value, float) and not np.isfinite(value))}


def write_compressed_difference(out: Path, frame: Frame, difference: Difference, template: str, settings: Settings) -> None:
    """difference.fits, tile-compressed, with the planes that the settings name."""
    cards = difference_cards(frame, difference, template)
    write_compressed(out / DIFFERENCE, difference, cards=cards, planes=settings.difference_planes)


def write_transients(path: Path, frame: Frame, difference: Difference, sources: NDArray[Any], template: str) -> NDArray[Any]:
    """transients.ecsv, the highest |score| first, with zero rows when nothing was found; the rows with their `id`."""
    ordered = sources[np.argsort(-np.abs(sources["score"]), kind="stable")]
    table = transient_table(frame, difference, ordered, template)
    write_ecsv(table, path)
    rows: NDArray[Any] = table.as_array()
    return rows


def write_transient_stamps(
    out: Path, frame: Frame, science: NDArray[np.float32], difference: Difference, transients: NDArray[Any]
) -> int:
    """stamps/NNNN.fits by the transients' `id`; how many."""
    planes: dict[str, Look] = {
        "SCIENCE": lambda y0, y1, x0, x1: science[y0:y1, x0:x1],
        "TEMPLATE": difference.template,
        "DIFFERENCE": lambda y0, y1, x0, x1: difference.planes.data[y0:y1, x0:x1],
    }
    return write_stamps(out / STAMPS, planes, difference.shape, transients, frame.image.unit, fact_cards(frame))


def transient_table(frame: Described, difference: Difference, sources: NDArray[Any], template: str) -> Any:
    """An astropy Table of sources on the difference."""
    values = {name: sources[name] for name in sources.dtype.names or ()}
    values["id"] = np.arange(1, len(sources) + 1, dtype=np.int32)
    values |= _sky(frame.wcs, sources["x"], sources["y"])
    middle = exposure_of(frame.header).mid_mjd
    values["mjd"] = np.full(len(sources), np.nan if middle is None else middle)
    layout = (*columns.TRANSIENT[:3], *columns.SKY, *columns.TRANSIENT[3:])
    facts = facts_of(frame)
    meta = {
        "frame": facts["frame"],
        "template": template,
        "flux_scale": float(difference.kernel_sum),
        "mjd_mid": middle,
        "exptime": facts["exptime"],
    }
    return make_table(layout, values, frame.image.unit, meta)


def _sky(wcs: WCS | None, x: NDArray[Any], y: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    if wcs is None:
        return {}
    pixels = np.column_stack([x, y]).astype(np.float64)
    sky = wcs.all_pix2world(pixels, 0) if len(pixels) else np.zeros((0, 2))
    return {"ra": sky[:, 0] % 360.0, "dec": sky[:, 1]}
