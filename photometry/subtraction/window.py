"""The rows of one frame that a band of the difference is made of, with what lies round them."""

import numpy as np
from numpy.typing import NDArray

from photometry.grow import grow
from photometry.loops.band import add_light, grow_bit, halve
from photometry.loops.spoil import flag_above, spread_doubts
from photometry.mask import WORTHLESS, Bit
from photometry.mesh import Mesh
from photometry.subtraction.direct import convolve_rows
from photometry.subtraction.plate import Plate
from photometry.subtraction.raw import Bits, Plane

FILL_SHARE, FILL_SIGMA = 0.3, 0.5  # how wrong a value filled from its neighbours may be: of the local light; of the noise
LEAST_SHARE = 0.3  # of its sky's variance that a pixel has at least
NOISE_SIGMA = 1.5  # of a pixel, three of the mean of 2 x 2
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

    def light(self) -> Plane:
        """Means of 2 x 2 pixels of all that was read; `above` and `beside` are even."""
        ny, nx = self.data.shape
        light = np.empty(((ny + 1) // 2, (nx + 1) // 2), np.float32)
        halve(self.data, light)
        return light

    def variance(self, most: Plane | None = None) -> Plane:
        """Variance of sky and light of 2 x 2 pixels, of all that was read; most: of the light, besides noise; None: any."""
        light = self.light()
        y0, x0 = (self._rows[0] - self._above) // 2, -self._beside // 2
        noise = self._noise(y0, y0 + light.shape[0], x0, x0 + light.shape[1])
        if most is not None:
            np.minimum(light, np.maximum(most, 0) + np.float32(NOISE_SIGMA) * np.sqrt(noise), out=light)
        return variance_of(light, noise, self._plate.raw.gain)

    def flags(self, kernels: NDArray[np.float32] | None, side: int, margin: int, sigma: Plane) -> Bits:
        """What to flag of the rows for this frame's sake.  sigma: of 2 x 2 pixels, of a source's noise in this frame's unit.

        kernels (blocks, k, k), one for each `side` columns; None: the frame is not convolved, and spreads nothing.
        """
        grow_bit(self.bits, int(Bit.SATURATED))
        bits = self.bits[self._cut(0)].copy()
        if kernels is None:
            return bits
        bits |= ((bits & np.uint8(WORTHLESS)) != 0) * np.uint8(Bit.FILLED)
        self._flag_spoilt(kernels, side, sigma, bits)
        bits[self._edges(margin)] |= np.uint8(Bit.EDGE)
        return bits

    def _cut(self, reach: int) -> tuple[slice, slice]:
        (h, nx), top, left = self._shape, self._above - reach, self._beside - reach
        return slice(top, top + h + 2 * reach), slice(left, left + nx + 2 * reach)

    def _noise(self, y0: int, y1: int, x0: int, x1: int) -> Plane:
        mesh = self._plate.noise
        return Mesh(mesh.nodes, mesh.side // 2).window(y0, y1, x0, x1)

    def _flag_spoilt(self, kernels: NDArray[np.float32], side: int, sigma: Plane, bits: Bits) -> None:
        """FILLED where what was filled or lies beyond the border shows in the difference by TELLING_SIGMA."""
        typical = float(np.sqrt(self._plate.sky_variance))
        error = np.zeros(self._shape, np.float32)
        shares = FILL_SHARE, FILL_SIGMA, PASSED_SIGMA
        spread_doubts(self.data, self.bits, int(WORTHLESS), self._rims(), typical, shares, np.abs(kernels), side, error)
        flag_above(error, sigma, TELLING_SIGMA, bits, int(Bit.FILLED))

    def _rims(self) -> tuple[Bits, Bits]:
        """Which rows, and which columns, of what was read are the frame's outermost or mirror them: 1.

        Beyond the border the kernel sees the mirror image: as wrong as a star that the border cuts is bright there.
        """
        y = np.arange(self.data.shape[0]) + (self._rows[0] - self._above)
        x = np.arange(self.data.shape[1]) - self._beside
        near = [
            np.abs(place + 0.5 - end) < RIM_PIXELS
            for place, n in zip((y, x), self._plate.shape, strict=True)
            for end in (0, n)
        ]
        return (near[0] | near[1]).astype(np.uint8), (near[2] | near[3]).astype(np.uint8)

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
    """Variance of sky and source light, put in the place of `noise`, which is the sky's; linear in the light, so that its
    noise averages out where it is smoothed later.
    """
    add_light(noise, light, gain, LEAST_SHARE)
    return noise
