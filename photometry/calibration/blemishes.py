"""What is on a calibrated frame and not of the sky: cosmic rays, trails; and whether its stars are trailed.

Sky, noise and star shapes are those of `photometry.subtraction.survey`, sharpness that of `photometry.loops.sharp`.
"""

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photometry.calibration.trails import HIDDEN, Residual, Trail, cell_side, find_trails, mark_trails
from photometry.image import Image
from photometry.loops.mesh import add_mesh
from photometry.loops.radon import bin_residual
from photometry.loops.sharp import flag_sharp
from photometry.mask import Bit
from photometry.subtraction.raw import Raw
from photometry.subtraction.sides import Exposure
from photometry.subtraction.survey import survey

Plane = NDArray[np.float32]

BAND_CELLS = 24  # rows of cells that are looked at together
MARGIN = 3  # pixels beside a band that its cosmic rays depend on
STAMP = 12  # pixels from a star's middle
STARS = 200
FEWEST_STARS = 10
ELONGATED = 2.5  # longer over shorter axis of the mean star
BIN_PIXEL_CLIP = 4.0


@dataclass(frozen=True)
class Blemishes:
    """elongation: of the mean star, NaN with too few; trailed: whether the telescope did not follow its stars."""

    cosmic_ray_pixels: int
    trails: tuple[Trail, ...]
    trail_pixels: int
    elongation: float
    trailed: bool

    def figures(self) -> dict[str, Any]:
        """For the manifest."""
        shown = [
            {"ends": [round(end, 1) for end in trail.ends], "width": trail.width, "peak_sigma": round(trail.peak, 2)}
            for trail in self.trails
        ]
        return {
            "cosmic_ray_pixels": self.cosmic_ray_pixels,
            "trails": shown,
            "trail_pixels": self.trail_pixels,
            "elongation": self.elongation,
            "stars_trailed": self.trailed,
        }


def mark_blemishes(image: Image, threads: Executor) -> Blemishes:
    """Set COSMIC_RAY and TRAIL in the image's mask, in place.  BadFrameError: nothing but masked pixels on it."""
    mask = image.mask

    def known(rows: slice, columns: slice) -> NDArray[np.uint8]:
        return (mask[rows, columns] & np.uint16(0xFF)).astype(np.uint8)

    raw = Raw(image.data, image.gain, image.read_noise, np.inf, image.unit, known=known)
    exposure, _ = survey(raw, threads)
    side = cell_side(image.shape)
    cells = np.zeros((image.shape[0] // side, image.shape[1] // side), np.float32)
    hits = sum(threads.map(lambda j: _look(image, exposure, cells, side, j), range(0, len(cells), BAND_CELLS)))
    sigma = float(np.sqrt(exposure.plate.sky_variance))
    trails = find_trails(cells, Residual(image.data, image.mask, exposure.plate.sky, sigma), side, threads)
    pixels = mark_trails(image.mask, trails)
    stretch = _elongation(exposure)
    return Blemishes(hits, tuple(trails), pixels, stretch, bool(stretch > ELONGATED))


def _look(image: Image, exposure: Exposure, cells: Plane, side: int, first: int) -> int:
    """Flag the cosmic rays of a band and bin it; how many pixels were hit."""
    ny, nx = image.shape
    last = min(first + BAND_CELLS, len(cells))
    y0, y1 = first * side, ny if last == len(cells) else last * side
    b0, b1 = max(y0 - MARGIN, 0), min(y1 + MARGIN, ny)
    plate = exposure.plate
    data = image.data[b0:b1].copy()
    add_mesh(data, plate.sky.nodes, plate.sky.side, b0, 0, -1.0)
    # not what another thread may be flagging beside this band
    bits = (image.mask[b0:b1] & np.uint16(HIDDEN)).astype(np.uint8)
    hit = 0
    if plate.fractions is not None:
        before = bits.copy()
        flag_sharp(data, bits, plate.noise.nodes, plate.noise.side, b0, 0, image.gain, plate.fractions)
        new = (bits & ~before)[y0 - b0 : y1 - b0]
        image.mask[y0:y1] |= new
        hit = int(np.count_nonzero(new))
    middle = plate.noise.window((y0 + y1) // 2, (y0 + y1) // 2 + 1, 0, nx)[0]
    sigma = np.sqrt(middle[side // 2 :: side][: cells.shape[1]])
    part = data[y0 - b0 : y0 - b0 + (last - first) * side]
    flags = image.mask[y0 : y0 + len(part)]
    bin_residual(part, flags, HIDDEN | int(Bit.COSMIC_RAY), sigma, side, BIN_PIXEL_CLIP, cells[first:last])
    return hit


def _elongation(exposure: Exposure) -> float:
    """Longer over shorter axis of the mean of the brightest stars' stamps."""
    stars = exposure.stars[:STARS]
    if len(stars) < FEWEST_STARS:
        return float("nan")
    x, y = np.rint(stars["x"]).astype(np.int64), np.rint(stars["y"]).astype(np.int64)
    ny, nx = exposure.plate.shape
    inside = (x >= STAMP) & (x < nx - STAMP) & (y >= STAMP) & (y < ny - STAMP)
    stamps, masked = exposure.plate.cut(x[inside], y[inside], STAMP)
    clean = ~masked[:, STAMP - 2 : STAMP + 3, STAMP - 2 : STAMP + 3].any(axis=(1, 2))
    if np.count_nonzero(clean) < FEWEST_STARS:
        return float("nan")
    scaled = stamps[clean] / stamps[clean][:, STAMP, STAMP][:, None, None]
    mean = np.median(scaled, axis=0)
    mean = np.where(mean > 0.1 * mean.max(), mean, 0)  # the wings of neighbours are round
    b, a = np.mgrid[-STAMP : STAMP + 1, -STAMP : STAMP + 1]
    total = mean.sum()
    cx, cy = float((a * mean).sum() / total), float((b * mean).sum() / total)
    moments = [float((f * mean).sum() / total) for f in ((a - cx) ** 2, (a - cx) * (b - cy), (b - cy) ** 2)]
    axes = np.linalg.eigvalsh(np.array([[moments[0], moments[1]], [moments[1], moments[2]]]))
    return float(np.sqrt(max(axes[1], 0) / max(axes[0], 1e-3)))
