"""The picture in docs/calibration.md: a frame of lowell42, its overscan subtracted and no more, and calibrated.

`python -m bench.calibration_picture OUT.png`; the frames are those of AST3_TESTDATA.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from PIL import Image

from bench.measure_calibration import DATA
from photometry.calibration.commands import apply, build
from photometry.mask import Bit

LIGHT = "20190326.0130.fits.fz"  # a satellite crosses it
BIN = 3
GREYS = 48
RANGE = 0.12  # of the sky's level, black to white


def draw(path: Path) -> None:
    """Write it to a file."""
    folder = DATA / "lowell42_5945"
    light = folder / "light" / LIGHT
    with tempfile.TemporaryDirectory() as place:
        masters = Path(place) / "masters"
        masters.mkdir()
        build(
            [*(folder / "bias").glob("*.fz"), *(folder / "flat_VR").glob("*.fz")],
            "lowell42",
            masters,
            dark_from_science=False,
        )
        apply(light, "lowell42", None, Path(place) / "before.fits")
        apply(light, "lowell42", masters, Path(place) / "after.fits")
        panels = [_shown(Path(place) / name) for name in ("before.fits", "after.fits")]
        trail = (fits.getdata(Path(place) / "after.fits", "MASK") & int(Bit.TRAIL)) != 0
    ny, nx = panels[0].shape
    picture = np.concatenate([panels[0], np.full((ny, 6), 255, np.uint8), panels[1]], axis=1)
    colours = np.repeat(picture[:, :, None], 3, axis=2)
    marked = trail[: ny * BIN, : nx * BIN].reshape(ny, BIN, nx, BIN).any(axis=(1, 3))
    colours[:, nx + 6 :][marked] = (224, 96, 64)
    Image.fromarray(colours[::-1]).quantize(GREYS + 8).save(path, optimize=True)


def _shown(path: Path) -> NDArray[np.uint8]:
    data = fits.getdata(path, "SCI").astype(np.float32)
    level = float(np.median(data))
    ny, nx = (side // BIN for side in data.shape)
    small = data[: ny * BIN, : nx * BIN].reshape(ny, BIN, nx, BIN).mean(axis=(1, 3))
    grey = np.clip((small / level - 1) / RANGE + 0.5, 0, 1)
    return np.asarray(np.rint(grey * GREYS) * (255 / GREYS), np.uint8)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
