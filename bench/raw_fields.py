"""Raw frames of AST3, or of smaller cameras like it, and all that a site has beside them: made by the commands, once.

Guarantee: what is in the folder is whole, and is used as it is the next time; remove it to have it made again.
"""

import contextlib
import io
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import photometry.cli
import skysim.cli
from photometry.telescope import Telescope
from tests.skysim.cameras import write_camera

AST3_SIDE = 10_560  # pixels, trimmed
ARCSEC = 0.994
PLACE = ("--ra", "120", "--dec", "-70")
FRAME, SOURCES, TRUTH, CATALOG = "frame.fits", "sources.ecsv", "truth.json", "catalog.fits"


@dataclass(frozen=True)
class Camera:
    """instrument: a name or a file; masters: as `calibrate build` makes them from 5 biases, 3 darks and 5 flats."""

    side: int
    instrument: str
    masters: Path

    def telescope(self, exposed: Path) -> Telescope:
        """What `process` is told; exposed: the folder of a frame, with the catalog of its field."""
        return Telescope(self.instrument, self.masters, exposed / CATALOG)


def camera_of(folder: Path, side: int) -> Camera:
    """AST3 itself where the side is AST3's, else a camera of 8 amplifiers on a chip of side x side pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    instrument = "ast3" if side == AST3_SIDE else str(_instrument(folder / f"{side}.yaml", side, ARCSEC))
    return Camera(side, instrument, _once(folder / f"{side}-masters", lambda place: _build(place, instrument)))


def coarser(camera: Camera, folder: Path, arcsec: float) -> Camera:
    """The same small camera with pixels of so many arcsec: as many times more stars on it as there is more sky."""
    path = _instrument(folder / f"{camera.side}-coarse.yaml", camera.side, arcsec)
    return Camera(camera.side, str(path), camera.masters)


def expose(folder: Path, camera: Camera, name: str, *options: str) -> Path:
    """The folder of one frame with its truth; options: of `ast3-skysim frame`, which `name` stands for."""
    words = (*PLACE, "--instrument", camera.instrument, *options)
    return _once(folder / f"{camera.side}-{name}", lambda place: _call(skysim.cli.main, "frame", str(place), *words))


def _instrument(path: Path, side: int, arcsec: float) -> Path:
    return write_camera(path, side=(side // 2, side // 4), across=4, arcsec=arcsec)


def _build(place: Path, instrument: str) -> None:
    raw = place.with_name(f"{place.name}-raw")
    try:
        _call(skysim.cli.main, "calibrations", str(raw), "--instrument", instrument)
        frames = sorted(str(path) for path in raw.iterdir())
        _call(photometry.cli.main, "calibrate", "build", *frames, "--instrument", instrument, "--out", str(place))
    finally:
        shutil.rmtree(raw, ignore_errors=True)


def _call(command: Callable[[list[str]], int], *words: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        status = command(list(words))
    if status:
        raise RuntimeError(f"{' '.join(words)}: exit status {status}")


def _once(place: Path, make: Callable[[Path], None]) -> Path:
    """Let `make` fill a folder that is not there yet, which then appears whole."""
    if not place.exists():
        partial = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
        try:
            make(partial)
            partial.rename(place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return place
