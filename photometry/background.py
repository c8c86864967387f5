"""The sky under the sources: its level and its noise, on a mesh, with the sources masked.

Guarantee: the image that comes back has the level subtracted, finite data everywhere, 0 where the input was
not finite or is outside the exposed area, and a variance that includes the sky.  Never fails on a frame that
`read_frame` accepts.

The variance of a blank pixel is the noise *model* (level / gain + (read_noise / gain)^2) where the model
agrees with the noise that neighbouring pixels show, and the measured noise where it does not: raw frames
stand on a pedestal that holds no photons, and headers lie about gains.  Source photons add (data - level) /
gain, smoothed so that noise does not count as signal.

Bertin & Arnouts 1996 for the mesh of clipped cells.
"""

from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from photometry.grow import mean_of_nine
from photometry.image import Image
from photometry.loops.light import clear_hollow, flag_light, some_of
from photometry.loops.mesh import measure_cells
from photometry.mask import Bit
from photometry.mesh import Mesh, extended, mended
from photometry.settings import Settings
from photometry.threads import start_threads

# The model is believed when it predicts the measured sky variance within this fraction.
MODEL_TOLERANCE = 0.1
# Pixels that must not speak for the sky.
UNUSABLE = int(Bit.SATURATED | Bit.BAD | Bit.EDGE | Bit.COSMIC_RAY)
# High enough that cutting there does not narrow the noise.
_BLANK_SIGMA = 4.0
_SMALLEST_MESH = 8
_LIGHT_MARGIN = 16  # rows beside those of a cell whose sources may reach into it
_FEWEST_CELLS = 0.05  # that must show blank sky between the sources
_NOISE_ROWS = 256  # of a frame, from which the noise of a pixel is taken
# var(d[i] - 3 d[i+1] + 3 d[i+2] - d[i+3]) / var(d): blind to levels, slopes and curvatures, so nearly to
# stars
THIRD_DIFFERENCE_GAIN = 20.0

Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Background:
    """level and rms: meshes in the image's unit; the rest are scalars in the same unit.

    rms           what the mesh shows between the sources, unresolved ones included; > 0
    pixel_noise   from neighbouring pixels alone, NaN where too few are blank
    pedestal      the part of the level that holds no photons, by the gain; 0 when the model was believed
    model_believed  whether gain and read noise explain the pixel noise
    """

    level: Mesh
    rms: Mesh
    median_level: float
    median_rms: float
    pixel_noise: float
    pedestal: float
    model_believed: bool

    def noise_at(self, y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.float64]:
        """(n,): the rms of the cells that hold these pixels."""
        nodes, side = self.rms.nodes, self.rms.side
        found = nodes[np.minimum(y // side, len(nodes) - 1), np.minimum(x // side, nodes.shape[1] - 1)]
        return np.asarray(found, np.float64)


def subtract_background(
    image: Image, settings: Settings, *, keep_variance: bool = False, room: Plane | None = None
) -> tuple[Image, Background]:
    """The image without its sky, and the sky.  `keep_variance`: the caller knows the variance better.

    room: a plane for the data without sky, the image's own where that is not needed any more.
    """
    # At least two cells a side, else a gradient cannot be followed at all.
    side = max(_SMALLEST_MESH, min(settings.background_mesh_pixels, min(image.shape) // 2))
    with start_threads() as threads:
        first, exposed = _measure(image, side, None, threads)
        # Second look, without what stands above the first sky: faint wings bias that one high.
        level, rms = _measure(image, side, first, threads)[0]
        data = np.empty_like(image.data) if room is None else room
        bands = _bands(image.shape[0], side)
        list(threads.map(lambda rows: _subtract(image, level, data, rows), bands))
        noise = _sampled_noise(data, image.mask, rms)
        own = (slice(1, -1), slice(1, -1))
        median_level = float(np.median(level.nodes[own][exposed])) if exposed.any() else 0.0
        median_rms = float(np.median(rms.nodes[exposed])) if exposed.any() else 1.0
        # Colour filters and patterns fool the differences, unresolved stars the mesh: both only upwards.
        known = float(np.fmin(noise, median_rms))
        pedestal, believed = pedestal_of(image.gain, image.read_noise, median_level, known)
        background = Background(level, rms, median_level, median_rms, noise, pedestal, believed)
        if keep_variance:
            return replace(image, data=data), background
        variance = np.empty_like(data)
        list(threads.map(lambda rows: _add_variance(image, data, background, variance, rows), bands))
    return replace(image, data=data, variance=variance), background


def pixel_noise(data: Plane, covered: NDArray[np.bool_]) -> float:
    """Standard deviation of the noise of one pixel, from third differences along rows of blank pixels.

    Right for noise that is independent from pixel to pixel; NaN when fewer than 1,000 runs of four pixels
    are blank.
    """
    third = data[:, :-3] - 3.0 * data[:, 1:-2] + 3.0 * data[:, 2:-1] - data[:, 3:]
    blank = ~(covered[:, :-3] | covered[:, 1:-2] | covered[:, 2:-1] | covered[:, 3:])
    values = third[blank]
    if values.size < 1000:
        return float("nan")
    # Clipped standard deviation: the frame may be whole numbers with sigma < 1, where quantiles are steps.
    sigma = float(np.std(values))
    for _ in range(5):
        values = values[np.abs(values) < 4.0 * sigma]
        sigma = float(np.std(values))
    return sigma / float(np.sqrt(THIRD_DIFFERENCE_GAIN))


def pedestal_of(gain: float, read_noise: float, level: float, noise: float) -> tuple[float, bool]:
    """The pedestal that makes the model's sky variance the measured one, and whether none was needed."""
    predicted = max(level, 0.0) / gain + (read_noise / gain) ** 2
    measured = noise**2
    if predicted > 0 and abs(measured / predicted - 1.0) <= MODEL_TOLERANCE:
        return 0.0, True
    return max(level, 0.0) - gain * (measured - (read_noise / gain) ** 2), False


def _bands(ny: int, side: int) -> list[slice]:
    """The rows of each row of cells; the last reaches to the end."""
    count = max(ny // side, 1)
    return [slice(j * side, ny if j == count - 1 else (j + 1) * side) for j in range(count)]


def _measure(
    image: Image, side: int, first: tuple[Mesh, Mesh] | None, threads: Executor
) -> tuple[tuple[Mesh, Mesh], NDArray[np.bool_]]:
    """Level and noise of the cells; which cells show any.  first: a sky above which sources are left out."""
    bands = list(threads.map(lambda rows: _look(image, side, first, rows), _bands(image.shape[0], side)))
    level, rms = (np.stack([band[i] for band in bands]) for i in (0, 1))
    known = np.isfinite(level)
    if first is not None:
        if np.mean(known) < _FEWEST_CELLS:
            return first, known
        # What covers a whole cell is no star: a halo, a ghost, an edge of the field; there the first look is all there is.
        level = np.where(known, level, first[0].nodes[1:-1, 1:-1])
    if not known.any():  # nothing is exposed: then there is no sky
        level[:], rms[:] = 0.0, 1.0
    rms = mended(rms)
    # A mesh of equal pixels has rms 0, on which every later division would fail.
    floor = max(1e-3 * float(np.median(rms)), float(np.finfo(np.float32).tiny))
    return (extended(mended(level), side, image.shape), Mesh(np.maximum(rms, np.float32(floor)), side)), known


def _look(image: Image, side: int, first: tuple[Mesh, Mesh] | None, rows: slice) -> tuple[Plane, Plane]:
    """Level and noise of a row of cells; NaN where too little is blank."""
    ny, nx = image.shape
    margin = 0 if first is None else _LIGHT_MARGIN
    y0, y1 = max(rows.start - margin, 0), min(rows.stop + margin, ny)
    bits = np.empty((y1 - y0, nx), np.uint8)
    some_of(image.mask[y0:y1], UNUSABLE, bits)
    level, rms = (np.empty(max(nx // side, 1), np.float32) for _ in range(2))
    if first is not None:
        above = first[0].window(y0, y1, 0, nx)
        np.subtract(image.data[y0:y1], above, out=above)
        flag_light(above, bits, first[1].nodes[rows.start // side], side)
    own = slice(rows.start - y0, rows.stop - y0)
    measure_cells(image.data[rows], bits[own], side, level, rms)
    return level, rms


def _subtract(image: Image, level: Mesh, out: Plane, rows: slice) -> None:
    out[rows] = image.data[rows]
    level.add(out[rows], rows.start, 0, -1.0)
    # Outside the exposed area there is no sky: a level there is an extrapolation.
    clear_hollow(out[rows], image.mask[rows], int(Bit.EDGE))


def _sampled_noise(data: Plane, mask: NDArray[np.uint16], rms: Mesh) -> float:
    """`pixel_noise` of rows spread over the frame."""
    ny, nx = data.shape
    step = max(1, ny // _NOISE_ROWS)
    rows = data[::step]
    limit = np.concatenate([rms.window(y, y + 1, 0, nx) for y in range(0, ny, step)]) * np.float32(_BLANK_SIGMA)
    return pixel_noise(rows, ((mask[::step] & UNUSABLE) != 0) | (rows > limit))


def _add_variance(image: Image, data: Plane, sky: Background, out: Plane, rows: slice) -> None:
    """Sky and sources by gain and read noise; data: without the sky."""
    level = sky.level.window(rows.start, rows.stop, 0, image.shape[1])
    gain = np.float32(image.gain)
    read_noise = np.float32((image.read_noise / image.gain) ** 2)
    blank = (np.maximum(level, 0.0) - np.float32(sky.pedestal)) / gain + read_noise
    # The pedestal is one number; where the level dips under it the sky still has some noise.
    typical = (max(sky.median_level, 0.0) - sky.pedestal) / image.gain + (image.read_noise / image.gain) ** 2
    np.maximum(blank, np.float32(max(0.1 * typical, float(np.finfo(np.float32).tiny))), out=blank)
    y0, y1 = max(rows.start - 1, 0), min(rows.stop + 1, len(data))
    smooth = mean_of_nine(data[y0:y1])[rows.start - y0 : rows.stop - y0]
    signal = np.where(smooth > 0.67 * sky.median_rms, smooth, np.float32(0.0))
    np.copyto(signal, data[rows], where=data[rows] > 5.0 * sky.median_rms)
    out[rows] = blank + signal / gain
