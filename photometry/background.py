"""The sky under the sources: its level and its noise, on a mesh, with the sources masked.

Guarantee: the image that comes back has the level subtracted, finite data everywhere, 0 where the input was
not finite or is outside the exposed area, and a variance that includes the sky.  Never fails on a frame that
`read_frame` accepts.

The variance of a blank pixel is the noise *model* (level / gain + (read_noise / gain)^2) where the model
agrees with the noise that neighbouring pixels show, and the measured noise where it does not: raw frames
stand on a pedestal that holds no photons, and headers lie about gains.  Source photons add (data - level) /
gain, smoothed so that noise does not count as signal.
"""

from dataclasses import dataclass, replace

import numpy as np
import sep
from numpy.typing import NDArray

from photometry.grow import grow, mean_of_nine
from photometry.image import Image
from photometry.mask import Bit
from photometry.settings import Settings

# The model is believed when it predicts the measured sky variance within this fraction.
MODEL_TOLERANCE = 0.1
# Pixels that must not speak for the sky.
UNUSABLE = int(Bit.SATURATED | Bit.BAD | Bit.EDGE | Bit.COSMIC_RAY)
# High enough that cutting there does not narrow the noise.
_BLANK_SIGMA = 4.0
_MOST_COVERED = 0.8
_SMALLEST_MESH = 8
_SPARSE = 4  # the mesh is smooth: every fourth pixel has its median
# var(d[i] - 3 d[i+1] + 3 d[i+2] - d[i+3]) / var(d): blind to levels, slopes and curvatures, so nearly to
# stars
THIRD_DIFFERENCE_GAIN = 20.0


@dataclass(frozen=True)
class Background:
    """level and rms: (ny, nx) float32 planes in the image's unit; the rest are scalars in the same unit.

    rms           what the mesh shows, unresolved sources included
    pixel_noise   from neighbouring pixels alone, NaN where too few are blank
    pedestal      the part of the level that holds no photons, by the gain; 0 when the model was believed
    model_believed  whether gain and read noise explain the pixel noise
    """

    level: NDArray[np.float32]
    rms: NDArray[np.float32]
    median_level: float
    median_rms: float
    pixel_noise: float
    pedestal: float
    model_believed: bool


def subtract_background(image: Image, settings: Settings, *, keep_variance: bool = False) -> tuple[Image, Background]:
    """The image without its sky, and the sky.  `keep_variance`: the caller knows the variance better."""
    unusable = (image.mask & UNUSABLE) != 0
    level, rms = _mesh(image.data, unusable, settings.background_mesh_pixels)
    # Second look, with everything above the first sky masked: faint wings bias the first one high.
    covered = unusable | grow(image.data - level > _BLANK_SIGMA * rms, 1)
    if covered.mean() < _MOST_COVERED:
        level, rms = _mesh(image.data, covered, settings.background_mesh_pixels)
    data = image.data - level
    # Outside the exposed area there is no sky: a level there is an extrapolation.
    data[~np.isfinite(data) | ((image.mask & Bit.EDGE) != 0)] = 0.0

    noise = pixel_noise(data, unusable | (data > _BLANK_SIGMA * rms))
    sparse = (slice(None, None, _SPARSE), slice(None, None, _SPARSE))
    exposed = ~unusable[sparse]
    median_level = float(np.median(level[sparse][exposed])) if exposed.any() else 0.0
    median_rms = float(np.median(rms[sparse][exposed])) if exposed.any() else 1.0
    # Colour filters and patterns fool the differences, unresolved stars the mesh: both only upwards.
    pedestal, believed = pedestal_of(image.gain, image.read_noise, median_level, float(np.fmin(noise, median_rms)))
    variance = image.variance if keep_variance else _variance(image, data, level, pedestal, median_rms)
    background = Background(level, rms, median_level, median_rms, noise, pedestal, believed)
    return replace(image, data=data, variance=variance), background


def pixel_noise(data: NDArray[np.float32], covered: NDArray[np.bool_]) -> float:
    """Standard deviation of the noise of one pixel, from third differences along rows of blank pixels.

    Right for noise that is independent from pixel to pixel; NaN when fewer than 1,000 runs of four pixels
    are blank.
    """
    step = max(1, data.shape[0] // 1024)
    rows, hidden = data[::step], covered[::step]
    third = rows[:, :-3] - 3.0 * rows[:, 1:-2] + 3.0 * rows[:, 2:-1] - rows[:, 3:]
    blank = ~(hidden[:, :-3] | hidden[:, 1:-2] | hidden[:, 2:-1] | hidden[:, 3:])
    values = third[blank]
    if values.size < 1000:
        return float("nan")
    # Clipped standard deviation: the frame may be whole numbers with sigma < 1, where quantiles are steps.
    sigma = float(np.std(values))
    for _ in range(5):
        values = values[np.abs(values) < 4.0 * sigma]
        sigma = float(np.std(values))
    return sigma / float(np.sqrt(THIRD_DIFFERENCE_GAIN))


def _mesh(
    data: NDArray[np.float32], unusable: NDArray[np.bool_], mesh_pixels: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    # At least two meshes a side, else a gradient cannot be followed at all.
    side = max(_SMALLEST_MESH, min(mesh_pixels, min(data.shape) // 2))
    sky = sep.Background(data, mask=unusable, bw=side, bh=side)
    rms = sky.rms(dtype=np.float32)
    # A mesh of equal pixels has rms 0, on which every later division would fail.
    floor = np.float32(max(1e-3 * sky.globalrms, np.finfo(np.float32).tiny))
    return sky.back(dtype=np.float32), np.maximum(rms, floor)


def pedestal_of(gain: float, read_noise: float, level: float, noise: float) -> tuple[float, bool]:
    """The pedestal that makes the model's sky variance the measured one, and whether none was needed."""
    predicted = max(level, 0.0) / gain + (read_noise / gain) ** 2
    measured = noise**2
    if predicted > 0 and abs(measured / predicted - 1.0) <= MODEL_TOLERANCE:
        return 0.0, True
    return max(level, 0.0) - gain * (measured - (read_noise / gain) ** 2), False


def _variance(
    image: Image,
    data: NDArray[np.float32],
    level: NDArray[np.float32],
    pedestal: float,
    rms: float,
) -> NDArray[np.float32]:
    sky = (np.maximum(level, 0.0) - np.float32(pedestal)) / np.float32(image.gain)
    sky += np.float32((image.read_noise / image.gain) ** 2)
    # The pedestal is one number; where the level dips under it the sky still has some noise.
    np.maximum(sky, 0.1 * float(np.median(sky[::_SPARSE, ::_SPARSE])), out=sky)
    np.maximum(sky, np.finfo(np.float32).tiny, out=sky)
    smooth = mean_of_nine(data)
    signal = np.where(smooth > 0.67 * rms, smooth, np.float32(0.0))
    np.copyto(signal, data, where=data > 5.0 * rms)
    variance: NDArray[np.float32] = (sky + signal / np.float32(image.gain)).astype(np.float32, copy=False)
    return variance
