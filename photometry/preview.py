"""A picture of the frame for a person: the frame in grey, transients circled.

North is wherever the camera puts it; row 0 is at the bottom, as astronomers show frames.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw

# Black is a little under the sky, white this many sky sigmas above it, with most of the greys near the sky.
_BLACK_SIGMA = -2.0
_WHITE_SIGMA = 100.0
_SOFTENING_SIGMA = 3.0
_CIRCLE_PIXELS = 9
_POSITIVE, _NEGATIVE = (255, 80, 40), (70, 150, 255)


def write_preview(
    path: Path, data: NDArray[np.float32], rms: float, longer_side: int, transients: NDArray[Any] | None = None
) -> None:
    """A PNG of background-subtracted `data` (ny, nx) whose longer side has at most `longer_side` pixels.

    transients: x, y, score; orange where light was added, blue where it is missing.
    """
    factor = max(1, -(-max(data.shape) // longer_side))
    small = _shrink(data, factor)
    picture = Picture.fromarray(_grey(small, rms / factor**0.5)).convert("RGB")
    if transients is not None:
        draw = ImageDraw.Draw(picture)
        for row in transients:
            x = (row["x"] + 0.5) / factor
            y = picture.height - (row["y"] + 0.5) / factor
            r = _CIRCLE_PIXELS
            draw.ellipse((x - r, y - r, x + r, y + r), outline=_POSITIVE if row["score"] > 0 else _NEGATIVE, width=2)
    picture.save(path, optimize=False, compress_level=6)


def _shrink(data: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Means of factor x factor pixels; an incomplete block at the far edges is left out."""
    if factor == 1:
        return data
    ny, nx = (max(1, n // factor) for n in data.shape)
    cut = data[: ny * factor, : nx * factor]
    return np.asarray(cut.reshape(ny, cut.shape[0] // ny, nx, cut.shape[1] // nx).mean(axis=(1, 3)), np.float32)


def _grey(data: NDArray[np.float32], sigma: float) -> NDArray[np.uint8]:
    soft = _SOFTENING_SIGMA * sigma
    black, white = np.arcsinh(_BLACK_SIGMA * sigma / soft), np.arcsinh(_WHITE_SIGMA * sigma / soft)
    scaled = (np.arcsinh(data / soft) - black) / (white - black)
    return np.asarray(np.clip(scaled, 0, 1)[::-1] * 255, np.uint8)
