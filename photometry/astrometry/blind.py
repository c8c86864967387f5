"""Where on the whole sky a pattern of stars lies: astrometry.net's solver, on indexes built from the site's own catalog.

Guarantees: bounded in time, no network, nothing left running; the programs are this process's own children.
`solve-field` only writes the solver's input here: as a grandchild, the solver would be out of a time-out's reach.
"""

import shutil
import subprocess
import tempfile
import warnings
from hashlib import sha256
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from photometry.astrometry.catalog import Catalog
from photometry.astrometry.plate import Array, Plate, copied, sky_of
from photometry.astrometry.solution import AstrometrySettings
from photometry.astrometry.sphere import angles, moved
from photometry.errors import AstrometryFailedError, EnvironmentFailedError

PROGRAMS = ("build-astrometry-index", "solve-field", "astrometry-engine")
INDEX_SECONDS = 900.0
PRESETS_BELOW = (2, 0)  # quads half as large as the frame's preset, and the preset itself
SMALLEST_FIELD_ARCMIN = 6.0  # preset 0; a preset's fields are sqrt(2) times as large as the one's before
BRIGHT = 200  # stars of the frame that the solver gets
_LAYOUT = b"1"  # of what is kept


def missing_programs() -> tuple[str, ...]:
    """Those of astrometry.net's that are not installed."""
    return tuple(name for name in PROGRAMS if shutil.which(name) is None)


def build_indexes(
    catalog: Catalog, epoch: float, shape: tuple[int, int], settings: AstrometrySettings, kept: Path
) -> tuple[Path, ...]:
    """Indexes of the catalog at that year for frames of that size, in the folder `kept`; made once, in seconds to minutes.

    EnvironmentFailedError: the programs are not installed, or fail.
    """
    absent = missing_programs()
    if absent:
        raise EnvironmentFailedError(f"not installed: {', '.join(absent)}; install the package astrometry.net")
    year = round(epoch)
    side = min(shape) * settings.scale_arcsec / 60
    preset = max(round(2 * np.log2(side / SMALLEST_FIELD_ARCMIN)), 0)
    rows = catalog.rows
    about = sha256(_LAYOUT + str(year).encode())
    for name in ("ra", "dec", "pmra", "pmdec", "epoch", "mag"):
        about.update(rows[name].tobytes())
    presets = sorted({max(preset - below, 0) for below in PRESETS_BELOW})
    paths = tuple(kept / f"index-{about.hexdigest()[:32]}-{each}.fits" for each in presets)
    for each, path in zip(presets, paths, strict=True):
        if not path.exists():
            _build(catalog, year, each, path)
    return paths


def indexes_of(catalog: Path) -> tuple[Path, ...]:
    """Those that stand beside a catalog's file, in the folder NAME.indexes; none where there are none, or no solver."""
    if missing_programs():
        return ()
    return tuple(sorted(index_folder(catalog).glob("index-*.fits")))


def index_folder(catalog: Path) -> Path:
    """Where a catalog's indexes are."""
    return catalog.with_name(catalog.name + ".indexes")


def blind_start(xy: Array, shape: tuple[int, int], indexes: tuple[Path, ...], settings: AstrometrySettings) -> Plate:
    """The plate that the solver finds for stars at pixels xy (n, 2), the brightest first.

    AstrometryFailedError: none in the time allowed.  EnvironmentFailedError: the programs fail.
    """
    with tempfile.TemporaryDirectory(prefix="astrometry-") as name:
        folder = Path(name)
        bright = xy[:BRIGHT] + 1
        Table({"X": bright[:, 0], "Y": bright[:, 1], "FLUX": -np.arange(len(bright), dtype=float)}).write(
            folder / "stars.fits"
        )
        (folder / "engine.cfg").write_text("inparallel\n" + "".join(f"index {path.absolute()}\n" for path in indexes))
        low, high = (settings.scale_arcsec * (1 + sign * settings.scale_tolerance) for sign in (-1, 1))
        prepare = [
            "solve-field", "--just-augment", "--no-plots", "--no-tweak", "--no-remove-lines", "--uniformize", "0",
            "--width", str(shape[1]), "--height", str(shape[0]), "-X", "X", "-Y", "Y", "--sort-column", "FLUX",
            "--scale-units", "arcsecperpix", "--scale-low", f"{low:.6g}", "--scale-high", f"{high:.6g}",
            "--config", "engine.cfg", "--dir", ".", "stars.fits",
        ]  # fmt: skip
        _run(prepare, folder, settings.blind_seconds)
        _run(["astrometry-engine", "--config", "engine.cfg", "stars.axy"], folder, settings.blind_seconds)
        if not (folder / "stars.wcs").exists():
            raise AstrometryFailedError(f"astrometry.net knows no such pattern of the {len(bright)} brightest stars")
        return copied(sky_of(_wcs(fits.getheader(folder / "stars.wcs"))), shape, 1)


def _wcs(header: fits.Header) -> WCS:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is the header of no image
        return WCS(header, naxis=2)


def _build(catalog: Catalog, year: int, preset: int, path: Path) -> None:
    """Whole or not at all."""
    rows = catalog.rows
    ra, dec = angles(moved(rows["ra"], rows["dec"], rows["pmra"], rows["pmdec"], year - rows["epoch"]))
    mag = np.where(np.isfinite(rows["mag"]), rows["mag"], 99.0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".index-", dir=path.parent) as name:
            folder = Path(name)
            Table({"RA": ra, "DEC": dec, "MAG": mag}).write(folder / "stars.fits")
            words = [
                "-i",
                "stars.fits",
                "-o",
                "index.fits",
                "-S",
                "MAG",
                "-P",
                str(preset),
                "-E",
                "-t",
                ".",
                "-I",
                str(preset),
            ]
            _run(["build-astrometry-index", *words], folder, INDEX_SECONDS)
            (folder / "index.fits").replace(path)
    except OSError as error:
        raise EnvironmentFailedError(f"{path}: no index of the star catalog could be built: {error}") from error


def _run(command: list[str], folder: Path, seconds: float) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=seconds, stdin=subprocess.DEVNULL,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise AstrometryFailedError(f"{command[0]} took longer than the {seconds:g} s allowed and was stopped") from error
    except OSError as error:
        raise EnvironmentFailedError(f"{command[0]}: cannot be run: {error}") from error
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise EnvironmentFailedError(f"{command[0]} failed with status {done.returncode}: {' '.join(last)[:200]}")
