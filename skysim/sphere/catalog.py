"""The star catalog that a site has of a field: what a survey of some years ago measured, with its errors and gaps.

Places scatter by `PLACE_ERROR_ARCSEC` at the bright end and more where the survey ends, magnitudes by what `mag_err` says;
the brightest stars are missing (they saturated), of the faint ones ever more, of all others a few per cent, and a few
entries are no stars.
"""

import numpy as np
from astropy.table import Table

from skysim.optics import FloatArray
from skysim.seeds import Purpose, stream
from skysim.sphere.stars import EPOCH, Stars

SYSTEM = "AB"
BRIGHT_END_MAG, FAINT_END_MAG = 8.0, 18.0
FAINT_END_WIDTH_MAG = 0.25  # of the roll-off of the counts
MISSED_FRACTION = 0.03
SPURIOUS_FRACTION = 0.005
PLACE_ERROR_ARCSEC = 0.03
MAG_ERROR_FLOOR, MAG_ERROR_AT_FAINT_END = 0.012, 0.07
MOTION_ERROR_MAS_PER_YEAR = 1.0
_MOTION = "mas / yr"
_UNITS = {
    "ra": "deg", "dec": "deg", "epoch": "yr", "pmra": _MOTION, "pmdec": _MOTION, "mag": "mag", "mag_err": "mag",
}  # fmt: skip


def site_catalog(stars: Stars, band: str, seed: int) -> Table:
    """Columns ra, dec (deg, ICRS, at `epoch`), epoch (yr), pmra (with cos dec), pmdec (mas/yr), mag, mag_err, band, system.

    The rows are in the order of `stars`, without the stars that are missing, and the spurious ones last.
    """
    rng = stream(seed, Purpose.CATALOG)
    mag = stars.magnitude(band)
    seen = (mag > BRIGHT_END_MAG) & (rng.uniform(0, 1, mag.size) > MISSED_FRACTION)
    seen &= rng.uniform(0, 1, mag.size) < 1 / (1 + np.exp((mag - FAINT_END_MAG) / FAINT_END_WIDTH_MAG))
    known = stars.only(seen)
    faintness = 10 ** (0.4 * (known.magnitude(band) - FAINT_END_MAG))
    mag_err = np.hypot(MAG_ERROR_FLOOR, MAG_ERROR_AT_FAINT_END * faintness**0.75)
    place_err = PLACE_ERROR_ARCSEC / 3600 * (1 + faintness)
    columns = {
        "ra": (known.ra + rng.normal(0, place_err) / np.cos(np.radians(known.dec))) % 360.0,
        "dec": np.clip(known.dec + rng.normal(0, place_err), -90.0, 90.0),
        "pmra": known.pmra + rng.normal(0, MOTION_ERROR_MAS_PER_YEAR, known.ra.size),
        "pmdec": known.pmdec + rng.normal(0, MOTION_ERROR_MAS_PER_YEAR, known.ra.size),
        "mag": known.magnitude(band) + rng.normal(0, mag_err),
        "mag_err": mag_err,
    }
    return _table(_with_spurious(columns, rng), band)


def _with_spurious(columns: dict[str, FloatArray], rng: np.random.Generator) -> dict[str, FloatArray]:
    """With entries like the others, each near one of them but where there is nothing."""
    count = columns["ra"].size
    model = rng.choice(count, int(SPURIOUS_FRACTION * count), replace=False)
    spurious = {name: column[model] for name, column in columns.items()}
    off = rng.uniform(10, 60, model.size) / 3600
    spurious["dec"] = np.where(spurious["dec"] > 0, spurious["dec"] - off, spurious["dec"] + off)
    return {name: np.concatenate([column, spurious[name]]) for name, column in columns.items()}


def _table(columns: dict[str, FloatArray], band: str) -> Table:
    count = columns["ra"].size
    table = Table(
        {
            "ra": columns["ra"],
            "dec": columns["dec"],
            "epoch": np.full(count, EPOCH),
            "pmra": columns["pmra"].astype(np.float32),
            "pmdec": columns["pmdec"].astype(np.float32),
            "mag": columns["mag"].astype(np.float32),
            "mag_err": columns["mag_err"].astype(np.float32),
            "band": np.full(count, band),
            "system": np.full(count, SYSTEM),
        }
    )
    for name, unit in _UNITS.items():
        table[name].unit = unit
    table.meta["COMMENT"] = "simulated: ICRS, pmra holds cos(dec)"
    return table
