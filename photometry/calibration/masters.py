"""Master calibrations: a folder of them, opened for one detector, read rows at a time.

bias.fits, dark.fits and flat.FILTER.fits hold VALUE and VAR, mask.fits holds MASK, all on the trimmed chip; manifest.json
names their sha256.  Units: bias adu, dark adu/s, flat 1 for the typical pixel.  A calibration's version is the sha256 of
those sums: whoever changes a master changes it.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from photometry import manifest
from photometry.detector import Detector
from photometry.errors import EnvironmentFailedError
from photometry.file_plane import FilePlane
from photometry.loops.readout import swap_words

Plane = NDArray[np.float32]

BIAS, DARK, MASK, FLAT = "bias.fits", "dark.fits", "mask.fits", "flat."
ANY_FILTER = "any"
_FLOAT, _BYTE = np.dtype(">f4"), np.dtype("u1")


@dataclass(frozen=True)
class Master:
    """value, variance: (ny, nx) float32 on the chip, arrays or planes of a file; variance None: taken as exact."""

    value: Any
    variance: Any

    def read(self, rows: slice) -> tuple[Plane, Plane]:
        """Value and variance of whole rows; not to be written to."""
        value = _native(self.value[rows])
        return value, np.zeros_like(value) if self.variance is None else _native(self.variance[rows])


@dataclass(frozen=True)
class Masters:
    """What there is to calibrate with; None: there is none.  flats: by filter.

    mask: (ny, nx) uint8, bits of `photometry.mask.Bit`; version: of the whole calibration, '' without any.
    """

    bias: Master | None = None
    dark: Master | None = None
    flats: Mapping[str, Master] = field(default_factory=dict)
    mask: Any = None
    version: str = ""


NO_MASTERS = Masters()


@contextlib.contextmanager
def load_masters(folder: Path, detector: Detector) -> Iterator[Masters]:
    """The masters of a folder, open until the end of the context; those that are not there are None.

    EnvironmentFailedError: no folder, a master that cannot be read, was changed, or is of another chip or instrument.
    """
    facts = _facts(folder)
    if facts.get("instrument") != detector.instrument:
        raise EnvironmentFailedError(
            f"the masters in {folder} are of {facts.get('instrument')!a}, the frame of {detector.instrument!a}"
        )
    files: dict[str, Any] = facts["files"]
    with contextlib.ExitStack() as stack:
        names = [name for name in files if name.endswith(".fits")]
        for name in names:
            _check_size(folder / name, files[name])
        made = {name: open_master(stack, folder / name, detector) for name in names if name != MASK}
        flats = {name[len(FLAT) : -len(".fits")]: master for name, master in made.items() if name.startswith(FLAT)}
        mask = _planes(stack, folder / MASK, detector)["MASK"] if MASK in files else None
        yield Masters(made.get(BIAS), made.get(DARK), flats, mask, version_of(files))


def open_master(stack: contextlib.ExitStack, path: Path, detector: Detector) -> Master:
    """Until the stack is closed.  EnvironmentFailedError: it cannot be read, or is of another chip."""
    planes = _planes(stack, path, detector)
    return Master(planes["VALUE"], planes["VAR"])


def version_of(files: Mapping[str, Any]) -> str:
    """Of a calibration, from the manifest's `files`."""
    sums = [[name, files[name]["sha256"]] for name in sorted(files) if name.endswith(".fits")]
    return hashlib.sha256(json.dumps(sums).encode()).hexdigest()


def _facts(folder: Path) -> dict[str, Any]:
    path = folder / manifest.NAME
    try:
        facts = json.loads(path.read_bytes())
        if not all(isinstance(about["sha256"], str) for about in facts["files"].values()):
            raise TypeError
    except OSError as error:
        raise EnvironmentFailedError(
            f"no masters in {folder}: {error.strerror or error}; make them with calibrate build"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EnvironmentFailedError(f"{path}: is no manifest of masters; make them again with calibrate build") from error
    found: dict[str, Any] = facts
    return found


def _check_size(path: Path, about: Mapping[str, Any]) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise EnvironmentFailedError(f"cannot read the master {path}: {error.strerror or error}") from error
    if size != about.get("bytes"):
        raise EnvironmentFailedError(f"{path}: has {size:,} bytes, not what its manifest says; make the masters again")


def _planes(stack: contextlib.ExitStack, path: Path, detector: Detector) -> dict[str, FilePlane]:
    """By EXTNAME."""
    try:
        file = stack.enter_context(path.open("rb"))
        with fits.open(path, memmap=False) as units:
            found = {unit.name: (unit.header["NAXIS2"], unit.header["NAXIS1"], unit.header["BITPIX"]) for unit in units[1:]}
            places = {unit.name: unit.fileinfo()["datLoc"] for unit in units[1:]}
    except (OSError, KeyError, TypeError) as error:
        raise EnvironmentFailedError(
            f"cannot read the master {path}: {getattr(error, 'strerror', None) or error}"
        ) from error
    planes = {}
    for name, (rows, columns, bits) in found.items():
        if (rows, columns) != detector.chip_shape:
            want = detector.chip_shape
            raise EnvironmentFailedError(
                f"{path}: has {columns} x {rows} pixels, the chip {want[1]} x {want[0]}: masters of another camera"
            )
        planes[name] = FilePlane(file.fileno(), places[name], (rows, columns), _FLOAT if bits < 0 else _BYTE)
    return planes


def _native(values: NDArray[Any]) -> Plane:
    """The values in the machine's own byte order; those of a file are new, and turned in place."""
    if values.dtype != _FLOAT:
        return np.asarray(values, np.float32)
    words = values.view(np.uint32)
    swap_words(words)
    return words.view(np.float32)
