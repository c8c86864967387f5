"""Stamps: a transient's surroundings on the science frame, the matched template and the difference.

Always SIDE x SIDE pixels with the transient's pixel in the middle; what lies outside the frame is NaN.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

Look = Callable[[int, int, int, int], NDArray[np.float32]]
"""The pixels of a plane [y0:y1, x0:x1]."""

SIDE = 63
# A frame with more transients than this has another problem, and the satellite link has little room.
MOST_STAMPS = 100


def cut(look: Look, shape: tuple[int, int], x: float, y: float, side: int = SIDE) -> NDArray[np.float32]:
    """(side, side) float32 round the pixel that holds x, y; NaN outside a frame of `shape` (ny, nx)."""
    ny, nx = shape
    half = side // 2
    column, row = round(x) - half, round(y) - half
    stamp = np.full((side, side), np.nan, np.float32)
    y0, y1 = max(row, 0), min(row + side, ny)
    x0, x1 = max(column, 0), min(column + side, nx)
    if y0 < y1 and x0 < x1:
        stamp[y0 - row : y1 - row, x0 - column : x1 - column] = look(y0, y1, x0, x1)
    return stamp


def write_stamps(
    folder: Path, planes: dict[str, Look], shape: tuple[int, int], transients: NDArray[Any], unit: str, cards: dict[str, Any]
) -> int:
    """One multi-extension FITS a transient, NNNN.fits by its `id`, for the first MOST_STAMPS rows; how many.

    planes: by the extension's name, on one grid of `shape` (ny, nx).  cards: for every primary header.
    """
    folder.mkdir()
    for row in transients[:MOST_STAMPS]:
        primary = fits.PrimaryHDU()
        for key, value in cards.items():
            primary.header[key] = value
        for key, name in (("ID", "id"), ("XPIX", "x"), ("YPIX", "y"), ("XTMPL", "x_tmpl"), ("YTMPL", "y_tmpl"),
                          ("FLUX", "flux"), ("FLUXERR", "flux_err"), ("SCORE", "score"), ("FLAGS", "flags")):  # fmt: skip
            value = row[name].item()
            if np.isfinite(value):
                primary.header[key] = value
        hdus = [primary]
        for name, look in planes.items():
            hdu = fits.ImageHDU(cut(look, shape, row["x"], row["y"]), name=name)
            hdu.header["BUNIT"] = unit
            hdus.append(hdu)
        fits.HDUList(hdus).writeto(folder / f"{row['id']:04d}.fits", checksum=True)
    return min(len(transients), MOST_STAMPS)
