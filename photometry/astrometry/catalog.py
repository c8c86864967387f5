"""The site's star catalog: a file of the operator's, from which only the zone of declination that is asked for is read.

Columns: ra, dec (ICRS, degrees) and mag are needed; epoch (Julian year; needed where there are proper motions), pmra, pmdec
(mas/yr, pmra with cos(dec)), mag_err, band, system, colour (one for all stars, such as g - i; mag) where known.  FITS
table, ECSV or CSV.  A position or motion that is not a number: the star is left out, or stands still; without a magnitude
it counts as the faintest.

What is kept (`kept`) is the table sorted by declination, mapped into memory: a million stars cost what the zone costs.
It can be lost or damaged: then it is made again.
"""

import secrets
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from photometry.astrometry.sphere import moved, unit_vectors
from photometry.errors import BadInputError, EnvironmentFailedError

Array = NDArray[np.float64]

STAR = np.dtype(
    [
        ("ra", "f8"), ("dec", "f8"), ("epoch", "f8"), ("pmra", "f4"), ("pmdec", "f4"),
        ("mag", "f4"), ("mag_err", "f4"), ("colour", "f4"), ("band", "U8"), ("system", "U8"),
    ]
)  # fmt: skip
_NEEDED = ("ra", "dec", "mag")
_FORMATS = {".fits": "fits", ".fit": "fits", ".ecsv": "ascii.ecsv", ".csv": "ascii.csv"}
_LAYOUT = b"2"  # of what is kept
_FASTEST_DEGREES = 0.1  # of proper motion in a century


@dataclass(frozen=True)
class Stars:
    """Some stars of a catalog, the brightest first: unit vectors (n, 3) at the epoch asked for, and their rows (`STAR`)."""

    vectors: Array
    rows: NDArray[np.void]


@dataclass(frozen=True)
class Catalog:
    """rows: `STAR`, sorted by declination."""

    rows: NDArray[np.void]

    def around(self, ra: float, dec: float, radius_degrees: float, epoch: float) -> Stars:
        """The stars within a circle, where they are at that Julian year, the brightest first."""
        reach = radius_degrees + _FASTEST_DEGREES
        first, last = np.searchsorted(self.rows["dec"], [dec - reach, dec + reach])
        zone = np.asarray(self.rows[first:last])
        centre = unit_vectors(ra, dec)
        zone = zone[unit_vectors(zone["ra"], zone["dec"]) @ centre > np.cos(np.deg2rad(min(reach, 180.0)))]
        vectors = moved(zone["ra"], zone["dec"], zone["pmra"], zone["pmdec"], epoch - zone["epoch"])
        inside = vectors @ centre > np.cos(np.deg2rad(min(radius_degrees, 180.0)))
        zone, vectors = zone[inside], vectors[inside]
        order = np.argsort(zone["mag"], kind="stable")  # NaN last
        return Stars(vectors[order], zone[order])


def load_catalog(path: Path, kept: Path | None = None) -> Catalog:
    """The catalog in a file; with a folder `kept`, a sorted copy there is made once and mapped.

    BadInputError: no such format, a column is missing, nothing in it.  EnvironmentFailedError: it cannot be read.
    """
    place = _place(path, kept) if kept is not None else None
    if place is not None and (found := _take(place)) is not None:
        return Catalog(found)
    rows = _sorted_rows(path)
    if place is not None:
        _keep(rows, place)
    return Catalog(rows)


def catalog_of(columns: dict[str, Any]) -> Catalog:
    """A catalog of arrays by the columns' names.  BadInputError as `load_catalog`."""
    missing = [name for name in _NEEDED if name not in columns]
    moving = "pmra" in columns or "pmdec" in columns
    missing += ["epoch"] if moving and "epoch" not in columns else []
    if missing:
        raise BadInputError(f"the star catalog has no column {', '.join(missing)}; it has {', '.join(columns)}")
    rows = np.zeros(len(columns["ra"]), STAR)
    rows["epoch"], rows["mag_err"], rows["colour"] = 2000.0, np.nan, np.nan
    for name in STAR.names or ():
        if name in columns:
            rows[name] = _plain(name, columns[name])
    for name in ("pmra", "pmdec"):
        rows[name][~np.isfinite(rows[name])] = 0.0
    rows = rows[np.isfinite(rows["ra"]) & (np.abs(rows["dec"]) <= 90.0)]
    if not len(rows):
        raise BadInputError("the star catalog holds no star with a position")
    return Catalog(rows[np.argsort(rows["dec"], kind="stable")])


def _plain(name: str, values: Any) -> NDArray[Any]:
    """Without masks: what is masked is NaN, or ''."""
    text = STAR[name].kind == "U"
    if not text:
        values = np.ma.asarray(values, float) if not isinstance(values, np.ndarray) else values
    filled = np.ma.filled(np.ma.asarray(values), "" if text else np.nan)
    return np.asarray(filled, str if text else float)


def _sorted_rows(path: Path) -> NDArray[np.void]:
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise BadInputError(f"{path}: a star catalog is a file named {', '.join(_FORMATS)}")
    try:
        table = Table.read(path, format=kind)
    except OSError as error:
        raise EnvironmentFailedError(f"{path}: cannot read the star catalog: {error}") from error
    except (ValueError, TypeError, KeyError, IndexError) as error:  # what astropy raises for a file that is no table
        raise BadInputError(f"{path}: no table that can be read: {error}") from error
    try:
        return catalog_of({name: table[name] for name in table.colnames}).rows
    except (BadInputError, ValueError) as error:
        raise BadInputError(f"{path}: {error}") from error


def _place(path: Path, kept: Path) -> Path:
    """A name for each version of the file."""
    try:
        found = path.stat()
    except OSError as error:
        raise EnvironmentFailedError(f"{path}: cannot read the star catalog: {error.strerror}") from error
    about = f"{path.resolve()}\0{found.st_size}\0{found.st_mtime_ns}".encode()
    return kept / f"catalog-{sha256(_LAYOUT + about).hexdigest()[:32]}.npy"


def _take(place: Path) -> NDArray[np.void] | None:
    try:
        rows = np.load(place, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return rows if rows.dtype == STAR and rows.ndim == 1 and len(rows) else None


def _keep(rows: NDArray[np.void], place: Path) -> None:
    """Whole or not at all; a folder that cannot be written costs time, not the frame."""
    new = place.with_name(f".{place.name}.{secrets.token_hex(4)}.tmp")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with new.open("wb") as file:
            np.save(file, rows)
        new.replace(place)
    except OSError:
        new.unlink(missing_ok=True)
