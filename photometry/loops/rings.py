"""How far out the wing of a bright star is still seen in a difference, ring by ring and direction by direction."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Flags = NDArray[np.uint8]

REACH_PIXELS = 60
RING_PIXELS = 3
RINGS = REACH_PIXELS // RING_PIXELS
SECTORS = 8
TELLING_SIGMA = 0.15  # of a pixel: one sigma of a PSF's score
MEDIAN_ERROR = 3.0  # over the root of the pixels: 2.4 sigmas of their median
QUIET_RINGS = 2  # in a row end the halo in a direction
FEWEST = 10  # pixels whose median says something


@njit(nogil=True, cache=True)
def find_bright(
    light: Plane, sigma: Plane, flags: NDArray[np.uint16], saturated: int, limits: tuple[float, float]
) -> NDArray[np.int64]:
    """(n, 3): y, x of bright 2 x 2 pixels, and whether one of the four has a bit of `saturated`.

    light, sigma (h, w) of 2 x 2 pixels; flags of pixels.  Bright: limits[0] sigmas where saturated, limits[1] elsewhere.
    """
    ny, nx = flags.shape
    wanted, least = np.uint16(saturated), np.float32(min(limits[0], limits[1]))
    out = np.empty((256, 3), np.int64)
    count = 0
    for y in range(light.shape[0]):
        for x in range(light.shape[1]):
            if not light[y, x] > least * sigma[y, x]:
                continue
            bits = flags[2 * y, 2 * x] | flags[min(2 * y + 1, ny - 1), 2 * x]
            bits |= flags[2 * y, min(2 * x + 1, nx - 1)] | flags[min(2 * y + 1, ny - 1), min(2 * x + 1, nx - 1)]
            hit = (bits & wanted) != 0
            if light[y, x] > limits[0 if hit else 1] * sigma[y, x]:
                if count == len(out):
                    out = np.concatenate((out, out))
                out[count] = y, x, int(hit)
                count += 1
    return out[:count]


@njit(nogil=True, cache=True)
def halo_reach(ratio: Plane, usable: Flags, distance: Plane, middle_y: float, middle_x: float, first: int) -> float:
    """Pixels from the core to the outermost ring that is not quiet; 0 where all are.

    ratio (h, w): the difference over its sigma; distance (h, w): pixels to the core; first: the innermost ring looked at.
    Each direction ends for itself: along a masked column it is quiet long before it is beside the star.
    """
    values, start = _sorted(ratio, usable, distance, middle_y, middle_x)
    reach = 0.0
    quiet = np.zeros(SECTORS + 1, np.int64)
    for ring in range(first, RINGS):
        for direction in range(SECTORS + 1):  # the last: the whole ring
            low = ring * SECTORS + direction % SECTORS
            high = low + (1 if direction < SECTORS else SECTORS)
            part = values[start[low] : start[high]]
            if part.size < FEWEST or quiet[direction] >= QUIET_RINGS:
                continue
            if abs(np.median(part)) > TELLING_SIGMA + MEDIAN_ERROR / np.sqrt(part.size):
                reach, quiet[direction] = (ring + 1.0) * RING_PIXELS, 0
            else:
                quiet[direction] += 1
        if (quiet >= QUIET_RINGS).all():
            break
    return reach


@njit(nogil=True, cache=True)
def _sorted(
    ratio: Plane, usable: Flags, distance: Plane, middle_y: float, middle_x: float
) -> tuple[Plane, NDArray[np.int64]]:
    """The usable values by ring and sector, and where each one's begin."""
    h, w = ratio.shape
    cell = np.full(h * w, -1, np.int32)
    start = np.zeros(RINGS * SECTORS + 1, np.int64)
    for y in range(h):
        for x in range(w):
            if usable[y, x] and distance[y, x] < REACH_PIXELS:
                turn = np.arctan2(y - middle_y, x - middle_x) / (2 * np.pi) + 0.5
                mine = int(distance[y, x] / RING_PIXELS) * SECTORS + int(turn * SECTORS) % SECTORS
                cell[y * w + x] = mine
                start[mine + 1] += 1
    start = np.cumsum(start)
    place = start.copy()
    values = np.empty(start[-1], np.float32)
    for i in range(h * w):
        if cell[i] >= 0:
            values[place[cell[i]]] = ratio[i // w, i % w]
            place[cell[i]] += 1
    return values, start


@njit(nogil=True, cache=True)
def distance_to(core: Flags, out: Plane) -> None:
    """Pixels from each pixel to the nearest flagged one (all flagged ones near the middle, few); of none: infinite."""
    h, w = core.shape
    count = 0
    places = np.empty((core.sum(), 2), np.int32)
    for y in range(h):
        for x in range(w):
            if core[y, x] and not (0 < y < h - 1 and 0 < x < w - 1 and core[y - 1, x] and core[y + 1, x]
                                   and core[y, x - 1] and core[y, x + 1]):  # fmt: skip
                places[count] = y, x
                count += 1
    for y in range(h):
        for x in range(w):
            best = np.inf
            for i in range(count):
                dy, dx = y - places[i, 0], x - places[i, 1]
                best = min(best, dy * dy + dx * dx)
            out[y, x] = 0 if core[y, x] else np.sqrt(best)
