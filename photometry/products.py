"""The files of one frame, from what the stages found.

Guarantee: each function writes new files only, into a folder that is the caller's alone; what fails half-way is the
caller's to discard with the folder.  Nothing here changes an array.
"""

from pathlib import Path
from typing import Any

import numpy as np
from astropy.wcs import WCS
from numpy.lib.recfunctions import structured_to_unstructured
from numpy.typing import NDArray

from photometry import columns
from photometry.columns import make_table, write_ecsv, write_fits
from photometry.facts import Described, difference_cards, fact_cards, facts_of
from photometry.frame import Frame
from photometry.settings import Settings
from photometry.stamps import Look, write_stamps
from photometry.subtraction.difference import Difference
from photometry.subtraction.files import write_compressed
from photometry.times import exposure_of

CATALOG_FITS, CATALOG_ECSV = "catalog.fits", "catalog.ecsv.gz"
DIFFERENCE, TRANSIENTS, STAMPS, PREVIEW = "difference.fits", "transients.ecsv", "stamps", "preview.png"
"""Names of the products."""


def write_catalog(out: Path, frame: Frame, stars: NDArray[Any], settings: Settings) -> None:
    """catalog.fits and catalog.ecsv.gz: the same rows, brightest first."""
    values = {name: stars[name] for name in stars.dtype.names or ()}
    values["id"] = np.arange(1, len(stars) + 1, dtype=np.int32)
    values |= _sky(frame.wcs, stars)
    apertures = columns.describe_apertures(settings.aperture_radii_pixels)
    layout = (columns.ID, *columns.PLACE, *columns.SKY, *columns.FLUX, *apertures, *columns.SHAPE, columns.FLAGS)
    table = make_table(layout, values, frame.image.unit, facts_of(frame))
    write_fits(table, out / CATALOG_FITS, "CATALOG")
    write_ecsv(table, out / CATALOG_ECSV)


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
    values |= _sky(frame.wcs, sources)
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


def _sky(wcs: WCS | None, places: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    if wcs is None:
        return {}
    pixels = structured_to_unstructured(places[["x", "y"]]).astype(np.float64)
    sky = wcs.all_pix2world(pixels, 0) if len(pixels) else np.zeros((0, 2))
    return {"ra": sky[:, 0] % 360.0, "dec": sky[:, 1]}
