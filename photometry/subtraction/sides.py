"""The two frames of a subtraction on one pixel grid, and which plays which part."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photometry.image import Image
from photometry.mask import Bit
from photometry.mesh import Mesh
from photometry.psf import PsfModel
from photometry.subtraction.noise import sky_nodes
from photometry.subtraction.plate import Plate
from photometry.subtraction.raw import Bits, Raw
from photometry.subtraction.roles import Roles
from photometry.subtraction.window import variance_of


@dataclass(frozen=True)
class Exposure:
    """A frame to be subtracted: the plate, its stars (x, y, flux, peak), and (n, 2) y, x of its saturated pixels."""

    plate: Plate
    stars: NDArray[np.void]
    saturated: NDArray[np.int64]


@dataclass(frozen=True)
class Side:
    """One frame on the science grid, its saturated cores filled, and its PSF."""

    plate: Plate
    psf: PsfModel


@dataclass(frozen=True)
class Task:
    """target = kernel * source + sky.  psf: of the difference; wide: the kernel that the target is convolved with first."""

    target: Side
    source: Side
    roles: Roles
    wide: NDArray[np.float32] | None
    psf: PsfModel

    @property
    def science_convolved(self) -> bool:
        """Whether the science frame is the source."""
        return self.roles.convolved == "science"

    @property
    def science(self) -> Side:
        """The science frame's side."""
        return self.source if self.science_convolved else self.target

    @property
    def template(self) -> Side:
        """The template's side."""
        return self.target if self.science_convolved else self.source


def exposure_of(image: Image, stars: NDArray[np.void]) -> Exposure:
    """Of arrays: an image without its sky, what is wrong with it flagged; stars: x, y, flux."""
    hidden = ~(np.isfinite(image.variance) & (image.variance > 0))

    def known(rows: slice, columns: slice) -> Bits:
        bits = (image.mask[rows, columns] & np.uint16(0xFF)).astype(np.uint8)
        bits[hidden[rows, columns]] |= np.uint8(Bit.BAD)
        return bits

    raw = Raw(image.data, image.gain, image.read_noise, np.inf, image.unit, known=known)
    nodes, side = sky_nodes(image, hidden)
    plate = Plate(raw, Mesh(np.zeros((1, 1), np.float32), side), Mesh(nodes, side), None)
    saturated = np.argwhere((image.mask & np.uint16(Bit.SATURATED)) != 0)
    return Exposure(plate, with_peaks(image, stars), saturated)


STAR = np.dtype([("x", "f8"), ("y", "f8"), ("flux", "f8"), ("peak", "f8")])


def with_peaks(image: Image, stars: NDArray[np.void]) -> NDArray[np.void]:
    """x, y, flux, and the highest of the 3 x 3 pixels there."""
    ny, nx = image.shape
    out = np.zeros(len(stars), STAR)
    for name in ("x", "y", "flux"):
        out[name] = stars[name]
    x = np.clip(np.nan_to_num(np.rint(stars["x"])), 1, nx - 2).astype(np.int64)
    y = np.clip(np.nan_to_num(np.rint(stars["y"])), 1, ny - 2).astype(np.int64)
    near = [image.data[y + b, x + a] for b in (-1, 0, 1) for a in (-1, 0, 1)]
    out["peak"] = np.fmax.reduce(near)
    return out


def whole_image(plate: Plate) -> Image:
    """The frame as arrays: what is flagged filled, the variance smooth."""
    ny, nx = plate.shape
    data, bits = plate.window(0, ny, 0, nx)
    variance = variance_of(data, plate.noise.window(0, ny, 0, nx), plate.gain)
    return Image(data, variance, bits.astype(np.uint16), plate.raw.unit, plate.gain, plate.raw.read_noise, np.inf)
