"""One frame as the subtraction reads it: any rectangle of it, without its sky, what means nothing flagged and filled.

Nothing of the size of the frame is kept here: every rectangle is prepared when it is asked for, always with the same result.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photometry.loops.fill import REACH, fill_holes
from photometry.loops.flag import flag_lines, flag_unusable
from photometry.loops.sharp import flag_sharp
from photometry.mask import WORTHLESS
from photometry.mesh import Mesh
from photometry.subtraction.raw import Bits, Plane, Raw

MARGIN = REACH + 5  # pixels round a rectangle that its flags and fillings depend on


@dataclass(frozen=True)
class Cores:
    """What stands in for the saturated cores of stars: light[i] from corners[i] = (y0, x0) on, NaN beside the core.

    corners (n, 2); light (n, k, k) float32.
    """

    corners: NDArray[np.int64]
    light: NDArray[np.float32]

    def put(self, data: Plane, y0: int, x0: int) -> None:
        """Into a rectangle whose first pixel is (y0, x0) of the frame."""
        k, (h, w) = self.light.shape[-1], data.shape
        y, x = self.corners[:, 0] - y0, self.corners[:, 1] - x0
        for i in np.flatnonzero((y > -k) & (y < h) & (x > -k) & (x < w)).tolist():
            b, a = int(y[i]), int(x[i])
            part = self.light[i, max(-b, 0) : h - b, max(-a, 0) : w - a]
            place = data[max(b, 0) : max(b, 0) + part.shape[0], max(a, 0) : max(a, 0) + part.shape[1]]
            np.copyto(place, part, where=np.isfinite(part))


@dataclass(frozen=True)
class Stuck:
    """Pieces of lines that mean nothing: columns (my, nx), of `side` rows each; rows (ny, mx), of `side` columns."""

    columns: NDArray[np.bool_]
    rows: NDArray[np.bool_]
    side: int


@dataclass(frozen=True)
class Plate:
    """sky, noise: the level, and the variance of blank sky, in the frame's unit and its square.

    fractions   of `photometry.loops.sharp.flag_sharp`; None: what is sharp was flagged before
    stuck       bad columns and rows; None: they were flagged before
    cores       of saturated stars; None: they are filled from their neighbours
    filled      what is flagged has been filled before
    """

    raw: Raw
    sky: Mesh
    noise: Mesh
    fractions: NDArray[np.float32] | None
    stuck: Stuck | None = None
    cores: Cores | None = None
    filled: bool = False

    @property
    def gain(self) -> float:
        """Electrons per unit."""
        return self.raw.gain

    @property
    def sky_variance(self) -> float:
        """Of a typical blank pixel."""
        return float(np.median(self.noise.nodes))

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)"""
        return self.raw.shape

    def window(self, y0: int, y1: int, x0: int, x1: int) -> tuple[Plane, Bits]:
        """Data without sky, holes filled, and flags of a rectangle; beyond the frame's border the mirror image."""
        ny, nx = self.shape
        b0, b1, a0, a1 = max(y0, 0), min(y1, ny), max(x0, 0), min(x1, nx)
        data, bits = self._inside(b0, b1, a0, a1)
        pad = ((b0 - y0, y1 - b1), (a0 - x0, x1 - a1))
        if not any(map(any, pad)):
            return np.ascontiguousarray(data), np.ascontiguousarray(bits)
        return np.pad(data, pad, mode="symmetric"), np.pad(bits, pad, mode="symmetric")

    def cut(self, x: NDArray[np.int64], y: NDArray[np.int64], half: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """(n, 2 half + 1, 2 half + 1) round integer places: data, and what is flagged."""
        size = 2 * half + 1
        data, masked = np.empty((len(x), size, size), np.float32), np.empty((len(x), size, size), bool)
        for i, (a, b) in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
            data[i], bits = self.window(b - half, b + half + 1, a - half, a + half + 1)
            masked[i] = bits != 0
        return data, masked

    def _inside(self, y0: int, y1: int, x0: int, x1: int) -> tuple[Plane, Bits]:
        ny, nx = self.shape
        b0, b1, a0, a1 = max(y0 - MARGIN, 0), min(y1 + MARGIN, ny), max(x0 - MARGIN, 0), min(x1 + MARGIN, nx)
        data, bits = self.raw.counts(slice(b0, b1), slice(a0, a1))
        flag_unusable(data, bits, self.raw.saturation)
        if self.stuck is not None:
            flag_lines(bits, self.stuck.columns, self.stuck.rows, self.stuck.side, b0, a0)
        self.sky.add(data, b0, a0, -1.0)
        if self.fractions is not None:
            flag_sharp(data, bits, self.noise.nodes, self.noise.side, b0, a0, self.raw.gain, self.fractions)
        if not self.filled:
            fill_holes(data, bits, int(WORTHLESS))
        if self.cores is not None:
            self.cores.put(data, b0, a0)
        inside = (slice(y0 - b0, y1 - b0), slice(x0 - a0, x1 - a0))
        return data[inside], bits[inside]
