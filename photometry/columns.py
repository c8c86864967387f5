"""The tables among the products: what each column is, and writing it as FITS and as ECSV.

Guarantee: every column carries a unit where it has one, a UCD and a description, in both formats; both hold the same rows.
"""

import gzip
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

# Fast, and within a few per cent of the best: digits do not compress well.
_GZIP_LEVEL = 3
_ROWS_AT_A_TIME = 4096


@dataclass(frozen=True)
class Column:
    """unit: FITS spelling, '{unit}' stands for the frame's own; style: how ECSV prints it."""

    name: str
    unit: str
    ucd: str
    description: str
    style: str = "%.10g"


def describe_apertures(radii: tuple[float, ...]) -> tuple[Column, ...]:
    """The columns of the circular apertures."""
    columns: list[Column] = []
    for i, radius in enumerate(radii, start=1):
        where = f"within {radius:g} pixels of x, y, not corrected for the light outside"
        columns.append(Column(f"flux_aper{i}", "{unit}", "phot.count", f"Flux {where}", "%.7g"))
        error = f"Its standard deviation, radius {radius:g}"
        columns.append(Column(f"flux_aper{i}_err", "{unit}", "stat.error;phot.count", error, "%.5g"))
    return tuple(columns)


ID = Column("id", "", "meta.id;meta.main", "Number in this table, 1 the brightest", "%d")
PLACE = (
    Column("x", "pix", "pos.cartesian.x;instr.det", "Column of the centre, 0-based, pixel centres at whole numbers", "%.4f"),
    Column("y", "pix", "pos.cartesian.y;instr.det", "Row of the centre, 0-based, pixel centres at whole numbers", "%.4f"),
)
SKY = (
    Column("ra", "deg", "pos.eq.ra;meta.main", "Right ascension (ICRS) of x, y by the frame's WCS", "%.8f"),
    Column("dec", "deg", "pos.eq.dec;meta.main", "Declination (ICRS) of x, y by the frame's WCS", "%.8f"),
)
FLUX = (
    Column("flux", "{unit}", "phot.count", "Flux within 2.5 Kron radii", "%.7g"),
    Column("flux_err", "{unit}", "stat.error;phot.count", "Its standard deviation, source photons included", "%.5g"),
)
PLACE_ERRORS = (
    Column("x_err", "pix", "stat.error;pos.cartesian.x", "Standard deviation of x; NaN: x is a centroid", "%.4f"),
    Column("y_err", "pix", "stat.error;pos.cartesian.y", "Standard deviation of y; NaN: y is a centroid", "%.4f"),
)
PSF = (
    Column("flux_psf", "{unit}", "phot.count", "Total flux by the PSF, neighbours fitted together", "%.7g"),
    Column("flux_psf_err", "{unit}", "stat.error;phot.count", "Its standard deviation", "%.5g"),
    Column("chi2_psf", "", "stat.fit.chi2", "Reduced, of that fit", "%.4g"),
    Column(
        "flags_psf", "", "meta.code.qual",
        "Bits: 1 not converged, 2 cut by the edge, 4 masked pixels left out, 8 saturated core, 16 blended, 32 place held, "
        "64 not fitted, 128 neighbours not settled, 256 aperture cut", "%d",
    ),
    Column("flux_apcor", "{unit}", "phot.count", "Total flux by an aperture and its growth curve", "%.7g"),
    Column("flux_apcor_err", "{unit}", "stat.error;phot.count", "Its standard deviation", "%.5g"),
    Column("flux_sum", "{unit}", "phot.count", "Total flux by the template's star and the difference", "%.7g"),
    Column("flux_sum_err", "{unit}", "stat.error;phot.count", "Its standard deviation, an upper bound", "%.5g"),
)  # fmt: skip
MAGNITUDES = (
    Column("mag_psf", "mag", "phot.mag", "Of flux_psf, by the zero point at its place; NaN: no positive flux", "%.5f"),
    Column("mag_psf_err", "mag", "stat.error;phot.mag", "Its standard deviation, without the zero point's", "%.5f"),
    Column("mag_apcor", "mag", "phot.mag", "Of flux_apcor, by the zero point at its place", "%.5f"),
    Column("mag_apcor_err", "mag", "stat.error;phot.mag", "Its standard deviation, without the zero point's", "%.5f"),
)
SHAPE = (
    Column("fwhm", "pix", "phys.angSize;instr.det", "Twice the radius that holds half of the core's light", "%.3f"),
    Column("a", "pix", "phys.angSize.smajAxis", "Second moment along the major axis, above the threshold", "%.3f"),
    Column("b", "pix", "phys.angSize.sminAxis", "Second moment along the minor axis, above the threshold", "%.3f"),
    Column("theta", "rad", "pos.posAng;instr.det", "Of the major axis, from x towards y", "%.4f"),
    Column("peak", "{unit}", "phot.count;stat.max", "Brightest pixel above the sky", "%.6g"),
)
FLAGS = Column(
    "flags", "", "meta.code.qual",
    "Bits: 1 blended, 2 cut by the edge, 16 aperture cut, 32 masked pixels in it, 128 no Kron radius, 256 saturated, "
    "512 centre masked", "%d",
)  # fmt: skip
TRANSIENT = (
    Column("id", "", "meta.id;meta.main", "Number in this table and of its stamps, 1 the highest |score|", "%d"),
    *PLACE,
    Column("x_tmpl", "pix", "pos.cartesian.x;instr.det", "Column in the template, 0-based: a source's identity", "%.4f"),
    Column("y_tmpl", "pix", "pos.cartesian.y;instr.det", "Row in the template, 0-based: a source's identity", "%.4f"),
    Column("flux", "{unit}", "phot.count;arith.diff", "Science minus template, by the difference's PSF", "%.7g"),
    Column("flux_err", "{unit}", "stat.error;phot.count", "Its standard deviation", "%.5g"),
    Column("score", "", "stat.snr", "Of the matched filter, in sigmas; negative where light is missing", "%.3f"),
    Column("flags", "", "meta.code.qual", "0 clean; other bits as the difference's mask names them", "%d"),
    Column("mjd", "d", "time.epoch;stat.mean", "Middle of the exposure, UTC", "%.8f"),
)


def make_table(columns: tuple[Column, ...], values: dict[str, NDArray[Any]], unit: str, meta: dict[str, Any]) -> Table:
    """The columns that have values, with their descriptions."""
    table = Table(meta=meta)
    for column in columns:
        if column.name in values:
            table[column.name] = np.asarray(values[column.name])
            spelt = column.unit.format(unit=unit)
            if spelt:
                table[column.name].unit = spelt
            table[column.name].description = column.description
            table[column.name].meta["ucd"] = column.ucd
            table[column.name].meta["style"] = column.style
    return table


def write_fits(table: Table, path: Path, name: str) -> None:
    """One binary table `name` with TUNIT, TUCD and TCOMM of each column, checksums, and the meta as cards."""
    hdu = fits.BinTableHDU(table.as_array(), name=name)
    for i, column in enumerate(table.itercols(), start=1):
        if column.unit is not None:
            hdu.header[f"TUNIT{i}"] = column.unit.to_string()  # 'electron' is not in the FITS standard's list
        hdu.header[f"TUCD{i}"] = column.meta["ucd"]
        hdu.header[f"TCOMM{i}"] = column.description
    for key, value in table.meta.items():
        if value is not None:
            hdu.header[key.replace("_", "-").upper()] = value
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path, checksum=True)


def write_ecsv(table: Table, path: Path) -> None:
    """ECSV, compressed when the name ends in .gz.  astropy's header; the rows are printed here, 20 times faster."""
    styles = [column.meta["style"] for column in table.itercols()]
    bare = table[:0]
    for column in bare.itercols():
        column.meta = {"ucd": column.meta["ucd"]}
    text = io.StringIO()
    bare.write(text, format="ascii.ecsv")
    line = " ".join(styles)
    names = table.colnames
    parts = [text.getvalue().rstrip("\n") + "\n"]
    for start in range(0, len(table), _ROWS_AT_A_TIME):
        rows = zip(*(table[name][start : start + _ROWS_AT_A_TIME].tolist() for name in names), strict=True)
        parts.append("".join(line % row + "\n" for row in rows))
    content = "".join(parts).encode()
    if path.suffix == ".gz":
        content = gzip.compress(content, _GZIP_LEVEL, mtime=0)
    path.write_bytes(content)
