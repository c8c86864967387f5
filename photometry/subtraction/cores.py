"""Saturated stars: what their cores would be, from the PSF fitted to their rims."""

from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from photometry.loops.groups import label_groups
from photometry.mask import WORTHLESS, Bit
from photometry.psf import PsfModel
from photometry.subtraction.plate import Cores, Plate
from photometry.subtraction.raw import Plane

RIM_PIXELS = 3  # round a saturated core, to fit the PSF to
FEWEST_RIM = 8  # pixels


def groups(places: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """(m, 2) each: the connected groups of pixels among places (n, 2) y, x, none twice; corners count."""
    if not len(places):
        return []
    places = places[np.lexsort((places[:, 1], places[:, 0]))]
    label = label_groups(places)
    order = np.argsort(label, kind="stable")
    return np.split(places[order], np.flatnonzero(np.diff(label[order])) + 1)


def fit_cores(plate: Plate, saturated: NDArray[np.int64], psf: PsfModel, threads: Executor) -> Cores | None:
    """The cores among saturated pixels (n, 2) y, x that the PSF's stamp can hold; None: there are none."""
    found = [core for core in threads.map(lambda group: _fit(plate, group, psf), groups(saturated)) if core is not None]
    if not found:
        return None
    return Cores(np.array([corner for corner, _ in found]), np.stack([light for _, light in found]))


def _fit(plate: Plate, group: NDArray[np.int64], psf: PsfModel) -> tuple[tuple[int, int], Plane] | None:
    """The corner of a core's stamp and its light; None where it is too large, at the border, or has no rim."""
    half, (ny, nx) = psf.half, plate.shape
    size = np.ptp(group, axis=0) + 1
    (y, x) = group.mean(axis=0).tolist()
    yi, xi = round(y), round(x)
    if size.max() / 2 + RIM_PIXELS > half or not (half <= xi < nx - half and half <= yi < ny - half):
        return None
    data, bits = plate.window(yi - half, yi + half + 1, xi - half, xi + half + 1)
    core = np.zeros(data.shape, bool)
    core[group[:, 0] - yi + half, group[:, 1] - xi + half] = True
    core &= (bits & np.uint8(Bit.SATURATED)) != 0
    model = ndimage.shift(psf.at(x, y), (y - yi, x - xi), order=3)
    rim = ndimage.binary_dilation(core, iterations=RIM_PIXELS) & ((bits & np.uint8(WORTHLESS)) == 0)
    weight = float((model[rim] ** 2).sum())
    if rim.sum() < FEWEST_RIM or weight <= 0:
        return None
    flux = float((data[rim] * model[rim]).sum()) / weight
    floor = float(np.percentile(data[rim], 90))
    return (yi - half, xi - half), np.where(core, np.maximum(flux * model, floor), np.nan).astype(np.float32)
