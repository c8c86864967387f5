"""The rows of one frame that a band of the difference is made of, with what lies round them."""

import numpy as np
from numpy.typing import NDArray

from photometry.grow import grow
from photometry.loops.band import grow_bit, halve, spoil
from photometry.mask import WORTHLESS, Bit
from photometry.subtraction.direct import convolve_rows
from photometry.subtraction.plate import Mesh, Plate
from photometry.subtraction.raw import Bits, Plane

FILL_SHARE = 0.3  # how wrong a value filled from its neighbours may be, of the local light
LEAST_SHARE = 0.3  # of its sky's variance that a pixel has at least
TELLING_SIGMA = 0.15  # an error of that size in a pixel is flagged: it is coherent, and one sigma in a score
PASSED_SIGMA = 0.002  # a doubt so small is passed over
RIM_PIXELS = 2  # of the border, whose light says how bright it may be beyond


class Window:
    """Whole rows [y0, y1) of a plate, `above` rows before and behind and `beside` columns at either end with them."""

    def __init__(self, plate: Plate, y0: int, y1: int, above: int, beside: int) -> None:
        self._plate = plate
        self._rows = y0, y1
        self._above, self._beside = above, beside
        nx = plate.shape[1]
        self._shape = y1 - y0, nx
        self.data, self.bits = plate.window(y0 - above, y1 + above, -beside, nx + beside)

    def around(self, reach: int) -> Plane:
        """Data of the rows and `reach` pixels round them."""
        return self.data[self._cut(reach)]

    def convolved(self, kernel: NDArray[np.float32] | None) -> Plane:
        """Data of the rows, convolved with one kernel (k, k) where there is one."""
        if kernel is None:
            return self.around(0)
        out = np.empty(self._shape, np.float32)
        convolve_rows(self.around(kernel.shape[0] // 2), kernel[None], self._shape[1], out)
        return out

    def noise(self) -> Plane:
        """Variance of the rows' blank sky, of 2 x 2 pixels."""
        (y0, y1), nx = self._rows, self._shape[1]
        return self._noise(y0 // 2, (y1 + 1) // 2, 0, (nx + 1) // 2)

    def variance(self) -> Plane:
        """Variance of sky and light of 2 x 2 pixels, of all that was read; `above` and `beside` are even."""
        ny, nx = self.data.shape
        light = np.empty(((ny + 1) // 2, (nx + 1) // 2), np.float32)
        halve(self.data, light)
        y0, x0 = (self._rows[0] - self._above) // 2, -self._beside // 2
        noise = self._noise(y0, y0 + light.shape[0], x0, x0 + light.shape[1])
        return variance_of(light, noise, self._plate.raw.gain)

    def flags(self, kernels: NDArray[np.float32] | None, side: int, margin: int, sigma: Plane) -> Bits:
        """What to flag of the rows for this frame's sake.  sigma: of 2 x 2 pixels, as `Swept.sigma2` has it.

        kernels (blocks, k, k), one for each `side` columns; None: the frame is not convolved, and spreads nothing.
        """
        grow_bit(self.bits, int(Bit.SATURATED))
        bits = self.bits[self._cut(0)].copy()
        if kernels is None:
            return bits
        bits[self._spoilt(kernels, side, sigma)] |= np.uint8(Bit.FILLED)
        bits[self._edges(margin)] |= np.uint8(Bit.EDGE)
        return bits

    def _cut(self, reach: int) -> tuple[slice, slice]:
        (h, nx), top, left = self._shape, self._above - reach, self._beside - reach
        return slice(top, top + h + 2 * reach), slice(left, left + nx + 2 * reach)

    def _noise(self, y0: int, y1: int, x0: int, x1: int) -> Plane:
        mesh = self._plate.noise
        return Mesh(mesh.nodes, mesh.side // 2).window(y0, y1, x0, x1)

    def _spoilt(self, kernels: NDArray[np.float32], side: int, sigma: Plane) -> NDArray[np.bool_]:
        """The holes, and where what was filled or lies beyond the border shows in the difference by TELLING_SIGMA."""
        r = kernels.shape[-1] // 2
        data = self.around(r)
        holes = (self.bits[self._cut(r)] & np.uint8(WORTHLESS)) != 0
        typical = np.sqrt(np.float32(np.median(self._plate.noise.nodes)))
        doubt = np.where(holes, np.float32(FILL_SHARE) * np.abs(data) + np.float32(0.5) * typical, np.float32(0))
        # beyond the border the kernel sees the mirror image: as wrong as a star that the border cuts is bright there
        for rim in self._rims(r):
            doubt[rim] = np.maximum(doubt[rim], np.abs(data[rim]))
        error = np.zeros(self._shape, np.float32)
        spoil(error, doubt, np.abs(kernels), side, float(PASSED_SIGMA * typical))
        out: NDArray[np.bool_] = holes[r : r + self._shape[0], r : r + self._shape[1]].copy()
        y, x = np.nonzero(error)
        told = error[y, x] > np.float32(TELLING_SIGMA) * sigma[y // 2, x // 2]
        out[y[told], x[told]] = True
        return out

    def _rims(self, r: int) -> list[tuple[slice, slice]]:
        """The frame's outermost pixels and their mirror images, in the data round the rows."""
        (y0, y1), ny, everything = self._rows, self._plate.shape[0], slice(None)
        rims = [(everything, slice(max(x - RIM_PIXELS, 0), x + RIM_PIXELS)) for x in (r, r + self._shape[1])]
        for border in (0, ny):
            place = border - (y0 - r)
            if place + RIM_PIXELS > 0 and place - RIM_PIXELS < y1 - y0 + 2 * r:
                rims.append((slice(max(place - RIM_PIXELS, 0), place + RIM_PIXELS), everything))
        return rims

    def _edges(self, margin: int) -> NDArray[np.bool_]:
        """Where a convolution reaches beyond the frame, or beyond what was exposed of it."""
        (y0, y1), (ny, nx) = self._rows, self._plate.shape
        y = np.arange(y0, y1)
        out = np.zeros(self._shape, bool)
        out[(y < margin) | (y >= ny - margin)] = True
        out[:, :margin] = True
        out[:, nx - margin :] = True
        edge = (self.bits & np.uint8(Bit.EDGE)) != 0
        if edge.any():
            out |= grow(edge, margin)[self._cut(0)]
        return out


def variance_of(light: Plane, noise: Plane, gain: float) -> Plane:
    """Variance of sky and source light; linear in the light, so that its noise averages out where it is smoothed later."""
    return np.asarray(np.maximum(noise + light / np.float32(gain), np.float32(LEAST_SHARE) * noise))
