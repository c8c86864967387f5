"""Before a convolution: what is masked is filled, and how wrong the filling may be is kept; after it: what to flag.

Guarantees: the filled plane is finite everywhere, and each filled value comes with its doubt.  What is masked is lost: no
more may be flagged than what that doubt spoils.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from photometry.grow import grow
from photometry.image import Image
from photometry.mask import Bit
from photometry.psf import PsfModel

Plane = NDArray[np.float32]

# Bits that make a pixel's value worthless.  EDGE and HALO say something about it, but it is there.
WORTHLESS = Bit.SATURATED | Bit.BAD | Bit.COSMIC_RAY | Bit.TRAIL | Bit.FILLED

FILL_SHARE = 0.3  # how wrong a value filled from its neighbours may be, of the local light
RIM_PIXELS = 3  # round a saturated core, to fit the PSF to
SCALES = (1.0, 2.0, 4.0, 10.0)  # pixels: Gaussians that fill ever larger holes


@dataclass(frozen=True)
class Filled:
    """data (ny, nx) float32, finite; holes (ny, nx) bool: what was filled; doubt (ny, nx) float32: how wrong it may be."""

    data: Plane
    holes: NDArray[np.bool_]
    doubt: Plane


def unusable(image: Image) -> NDArray[np.bool_]:
    """Pixels whose value or variance means nothing."""
    bad = (image.mask & np.uint16(WORTHLESS)) != 0
    bad |= ~np.isfinite(image.data) | ~np.isfinite(image.variance) | (image.variance <= 0)
    return np.asarray(bad)


def fill(image: Image, psf: PsfModel) -> Filled:
    """Columns and cosmic rays interpolated from their neighbours, saturated cores from the PSF fitted to their rims."""
    holes = unusable(image)
    data = np.where(holes, 0, image.data).astype(np.float32)
    if not holes.any():
        return Filled(data, holes, np.zeros_like(data))
    _fill_smoothly(data, holes)
    saturated = (image.mask & np.uint16(Bit.SATURATED)) != 0
    _fill_cores(data, holes, saturated, psf)
    return Filled(data, holes, doubt_of(data, holes, image.variance))


def doubt_of(data: Plane, holes: NDArray[np.bool_], variance: Plane) -> Plane:
    """How wrong filled values may be: a share of the light there, and half a sigma of the sky; 0 elsewhere."""
    sample = variance[::5, ::5][~holes[::5, ::5]]
    sky = float(np.median(sample)) if sample.size else 1.0
    doubt = np.zeros(data.shape, np.float32)
    doubt[holes] = FILL_SHARE * np.abs(data[holes]) + 0.5 * np.sqrt(sky)
    return doubt


def grown_holes(image: Image, pixels: int) -> NDArray[np.bool_]:
    """Saturated pixels and their neighbours, which are near saturation and no longer linear."""
    return grow((image.mask & np.uint16(Bit.SATURATED)) != 0, pixels)


def _fill_smoothly(data: Plane, holes: NDArray[np.bool_]) -> None:
    """Each hole from the good pixels round it, weighted by Gaussians, the narrowest that reaches; zero where none does."""
    labels, count = ndimage.label(holes, structure=np.ones((3, 3)))
    left = holes.copy()
    for scale in SCALES:
        if not left.any():
            return
        reach = int(3 * scale) + 1
        for number, place in enumerate(ndimage.find_objects(labels, max_label=count), start=1):
            if place is None or not left[place].any():
                continue
            box = tuple(slice(max(s.start - reach, 0), s.stop + reach) for s in place)
            good = (~holes[box]).astype(np.float32)
            weight = ndimage.gaussian_filter(good, scale, mode="constant", truncate=3)
            value = ndimage.gaussian_filter(data[box] * good, scale, mode="constant", truncate=3)
            able = (labels[box] == number) & left[box] & (weight > 0.02)
            data[box][able] = value[able] / weight[able]
            left[box][able] = False


def _fill_cores(data: Plane, holes: NDArray[np.bool_], saturated: NDArray[np.bool_], psf: PsfModel) -> None:
    """Saturated cores that the PSF's stamp can hold, with the star that their rim belongs to."""
    labels, count = ndimage.label(saturated, structure=np.ones((3, 3)))
    half = psf.half
    ny, nx = data.shape
    for number, place in enumerate(ndimage.find_objects(labels, max_label=count), start=1):
        mine = labels[place] == number
        yc, xc = ndimage.center_of_mass(mine)
        x, y = place[1].start + xc, place[0].start + yc
        radius = max(mine.shape) / 2
        xi, yi = int(np.rint(x)), int(np.rint(y))
        if radius + RIM_PIXELS > half or not (half <= xi < nx - half and half <= yi < ny - half):
            continue
        box = (slice(yi - half, yi + half + 1), slice(xi - half, xi + half + 1))
        model = ndimage.shift(psf.at(x, y), (y - yi, x - xi), order=3)
        core = labels[box] == number
        rim = ndimage.binary_dilation(core, iterations=RIM_PIXELS) & ~holes[box]
        if rim.sum() < 8 or (model[rim] ** 2).sum() <= 0:
            continue
        flux = float((data[box][rim] * model[rim]).sum() / (model[rim] ** 2).sum())
        floor = float(np.percentile(data[box][rim], 90))
        data[box][core] = np.maximum(flux * model[core], floor)
