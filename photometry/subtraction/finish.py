"""The third pass, over the difference alone: the sky that is left in it, halos round bright stars, its final scale.

The sky between the frames is measured best in the difference, where the sources are gone.
"""

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from photometry.loops.band import halve
from photometry.loops.blank import box_mean, clipped_sky, mark_lit
from photometry.loops.mesh import add_mesh
from photometry.loops.rings import REACH_PIXELS, RING_PIXELS, distance_to, halo_reach
from photometry.mask import BAD_BITS, TEMPLATE_SHIFT, Bit
from photometry.mesh import Mesh
from photometry.subtraction.cores import groups
from photometry.subtraction.raw import Plane
from photometry.subtraction.significance import robust_width
from photometry.subtraction.sweep import Swept, doubled

MESH_PIXELS = 64
FEWEST_SHARE = 0.2  # of a cell's pixels
BLANK_SHARE = 0.15  # of a pixel's sigma: with less source light it is blank sky
SAMPLED_BANDS = 24  # that say how much the light's own noise is
HOLES = np.uint16((Bit.SATURATED | Bit.BAD | Bit.COSMIC_RAY | Bit.TRAIL | Bit.FILLED) * (1 | 1 << TEMPLATE_SHIFT))

Flags = NDArray[np.uint8]


@dataclass(frozen=True)
class Quiet:
    """sky: what is left of it in the difference; lit (my, mx) uint8, of 2 x 2 pixels: where a source is seen
    or something changed.
    """

    sky: Mesh
    lit: Flags


def look_for_sky(swept: Swept, fwhm: float, threads: Executor) -> Quiet:
    """The blank sky, chosen by place and not by the noise of a pixel, and its level: clipped means of cells."""
    ny, nx = swept.shape
    reach = max(1, round(fwhm / 4))
    my, mx = max(ny // MESH_PIXELS, 1), max(nx // MESH_PIXELS, 1)
    least = _own_width(swept, reach)
    lit = np.zeros(swept.light.shape, np.uint8)
    nodes = np.empty((my, mx), np.float32)

    def look(j: int) -> None:
        y0, y1 = j * MESH_PIXELS, ny if j == my - 1 else (j + 1) * MESH_PIXELS
        rows = slice(y0 // 2, (y1 + 1) // 2)
        data, light, changes = _smoothed(swept, rows, reach)
        sigma = np.sqrt(_variance(swept, rows.start, rows.stop, reach))
        mark_lit(light, sigma, BLANK_SHARE, 3 * least[0], reach, lit[rows])
        changed = np.zeros_like(lit[rows])
        mark_lit(changes, sigma, BLANK_SHARE, 3 * least[1], reach, changed)
        lit[rows] |= changed
        bad = swept.planes.bits(slice(y0, y1)) & HOLES
        clipped_sky(data, sigma[reach:-reach], lit[rows], bad, MESH_PIXELS, FEWEST_SHARE, nodes[j])

    for _ in threads.map(look, range(my)):
        pass
    return Quiet(Mesh(_mended(nodes), MESH_PIXELS), lit)


def _variance(swept: Swept, y0: int, y1: int, reach: int) -> Plane:
    """Of the difference, of rows of 2 x 2 pixels and `reach` rows before and behind."""
    rows = np.clip(np.arange(y0 - reach, y1 + reach), 0, swept.light.shape[0] - 1) // 2
    return np.repeat(swept.variance[rows], 2, axis=1)[:, : swept.light.shape[1]]


def _smoothed(swept: Swept, rows: slice, reach: int) -> tuple[Plane, Plane, Plane]:
    """The difference of rows, which are of 2 x 2 pixels; its light and itself, of these, averaged over squares, of the rows
    and `reach` before and behind them.
    """
    b0, b1 = max(rows.start - 2 * reach, 0), min(rows.stop + 2 * reach, swept.light.shape[0])
    data = swept.planes.pixels(slice(2 * b0, 2 * b1))
    halved = np.empty((b1 - b0, swept.light.shape[1]), np.float32)
    halve(data, halved)
    around = ((b0 - rows.start + 2 * reach, rows.stop + 2 * reach - b1), (reach, reach))
    smooth = []
    for plane in (swept.light[b0:b1], halved):
        out = np.empty((rows.stop - rows.start + 2 * reach, plane.shape[1]), np.float32)
        box_mean(np.pad(plane, around, mode="symmetric"), reach, out)
        smooth.append(out)
    return data[2 * (rows.start - b0) : 2 * (rows.stop - b0)], smooth[0], smooth[1]


def _own_width(swept: Swept, reach: int) -> tuple[float, float]:
    """How much the smoothed light and difference vary by themselves, from a few bands of rows."""
    ny = swept.light.shape[0]
    height = min(8, ny)
    starts = np.unique(np.linspace(0, ny - height, SAMPLED_BANDS).astype(int)).tolist()
    light: list[Plane] = []
    changes: list[Plane] = []
    for y in starts:
        seen = (swept.planes.bits(slice(2 * y, 2 * (y + height)))[::4, ::4] & HOLES) == 0
        _, *planes = _smoothed(swept, slice(y, y + height), reach)
        for plane, kept in zip(planes, (light, changes), strict=True):
            kept.append(plane[reach : reach + height : 2, ::2][seen])
    widths = [robust_width(np.concatenate(kept)) for kept in (light, changes)]
    return widths[0] if np.isfinite(widths[0]) else 0.0, widths[1] if np.isfinite(widths[1]) else 0.0


def _mended(nodes: Plane) -> Plane:
    """Cells without sky take a neighbour's."""
    known = np.isfinite(nodes)
    if not known.any():
        return np.zeros_like(nodes)
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return np.asarray(nodes[tuple(nearest)])


def flatten(swept: Swept, sky: Mesh, threads: Executor) -> None:
    """Take what is left of the sky out of the difference, in place."""

    def work(y0: int) -> None:
        rows = slice(y0, min(y0 + MESH_PIXELS, swept.shape[0]))
        data = np.array(swept.planes.data[rows], np.float32)
        add_mesh(data, sky.nodes, sky.side, y0, 0, -1.0)
        swept.planes.data[rows] = data

    for _ in threads.map(work, range(0, swept.shape[0], MESH_PIXELS)):
        pass


def flag_halos(swept: Swept, kernel_half: int, threads: Executor) -> None:
    """Set HALO in the mask round saturated cores, and round very bright stars beyond the kernel's reach."""
    stars: list[tuple[NDArray[np.int64], int]] = []
    for saturated, nearest in ((1, 0), (0, max(kernel_half - 3, 0))):
        stars += [(star, nearest) for star in groups(swept.bright[swept.bright[:, 2] == saturated, :2])]
    halos = list(threads.map(lambda star: _halo(swept, *star), stars))  # all, before the first is flagged
    for box, halo in (found for found in halos if found is not None):
        swept.planes.mask[box] = swept.planes.bits(*box) | halo * np.uint16(Bit.HALO)


def _halo(swept: Swept, group: NDArray[np.int64], nearest: int) -> tuple[tuple[slice, slice], NDArray[np.bool_]] | None:
    """A box round a group of 2 x 2 pixels, and where in it the halo is; None: there is none."""
    low, high = group.min(axis=0), group.max(axis=0)
    ny, nx = swept.shape
    y0, x0 = (max(2 * int(edge) - REACH_PIXELS, 0) for edge in low)
    y1, x1 = (min(2 * int(edge) + 2 + REACH_PIXELS, n) for edge, n in zip(high, (ny, nx), strict=True))
    box = slice(y0, y1), slice(x0, x1)
    core = np.zeros((y1 - y0, x1 - x0), np.uint8)
    for b in (0, 1):
        for a in (0, 1):
            core[np.minimum(2 * group[:, 0] + b, ny - 1) - y0, np.minimum(2 * group[:, 1] + a, nx - 1) - x0] = 1
    distance = np.empty(core.shape, np.float32)
    distance_to(core, distance)
    sigma = np.sqrt(swept.sigma2(y0 // 2, (y1 + 1) // 2, x0 // 2, (x1 + 1) // 2))
    ratio = swept.planes.pixels(*box) / doubled(sigma, 0, y1 - y0, 0, x1 - x0)
    usable = ((swept.planes.bits(*box) & np.uint16(BAD_BITS)) == 0).view(np.uint8)
    middle = ((low + high + 0.5) - (y0, x0)).tolist()
    reach = halo_reach(ratio, usable, distance, middle[0], middle[1], nearest // RING_PIXELS)
    halo = (distance <= reach) & (distance >= nearest)
    y, x = np.flatnonzero(halo.any(axis=1)), np.flatnonzero(halo.any(axis=0))
    if not y.size:
        return None
    part = slice(int(y[0]), int(y[-1]) + 1), slice(int(x[0]), int(x[-1]) + 1)
    place = slice(y0 + part[0].start, y0 + part[0].stop), slice(x0 + part[1].start, x0 + part[1].stop)
    return place, halo[part]
