"""One frame from a file: arrays, noise, mask and header, or one line that says why not.

Guarantee: `read_frame` returns a `Frame` whose data are finite, whose variance is finite and positive, and
whose mask says what is not to be trusted; or raises a `PhotometryError`.  It allocates nothing before the
header's claims were held against the file's size and the limits (`photometry.fits_guard`).  What a header
gets wrong is noted, never fatal.
"""

import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyError
from numpy.typing import NDArray

from photometry import cards, defects
from photometry.errors import BadFrameError, EnvironmentFailedError
from photometry.fits_pixels import read_pixels
from photometry.image import Image
from photometry.mask import Bit
from photometry.times import night_of

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["Frame", "FrameLimits", "NoiseOverrides", "night_of", "read_frame"]


@dataclass(frozen=True)
class FrameLimits:
    """What a frame may be: megapixels claimed, and the fraction of its pixels that may be unusable."""

    max_megapixels: float = 200.0
    max_masked_fraction: float = 0.5


@dataclass(frozen=True)
class NoiseOverrides:
    """What the caller knows better than the header: electrons per unit, electrons, and the frame's unit;
    None: unknown.
    """

    gain: float | None = None
    read_noise: float | None = None
    saturation: float | None = None


@dataclass(frozen=True)
class Frame:
    """A frame as read.

    image   data in the frame's own unit, sky included; variance max(data, 0) / gain + (read_noise / gain)^2
    header  the image's cards, and the primary header's where those are silent
    wcs     celestial and usable, else None;  path  as given
    notes   what was missing, assumed or odd, one line each
    """

    image: Image
    header: fits.Header
    wcs: "WCS | None"
    path: str
    notes: tuple[str, ...]


def read_frame(
    path: str | bytes | os.PathLike[str],
    limits: FrameLimits = FrameLimits(),
    overrides: NoiseOverrides = NoiseOverrides(),
) -> Frame:
    """Read plain, gzip or tile-compressed FITS of any BITPIX.

    BadFrameError: the frame's fault, with the numbers.  EnvironmentFailedError: an I/O error, memory, no
    such file.
    """
    values, header, notes = read_pixels(path, limits.max_megapixels)
    try:
        whole = np.issubdtype(values.dtype, np.integer)
        data = np.ascontiguousarray(values, np.float32)
        del values
        image = _image(data, header, limits, overrides, notes, whole_numbers=bool(whole))
    except MemoryError as error:
        raise EnvironmentFailedError("not enough memory for the frame") from error
    wcs = wcs_of(header, notes)
    return Frame(image, header, wcs, os.fsdecode(path), tuple(notes))


def _image(
    data: NDArray[np.float32],
    header: fits.Header,
    limits: FrameLimits,
    overrides: NoiseOverrides,
    notes: list[str],
    *,
    whole_numbers: bool,
) -> Image:
    mask = np.zeros(data.shape, np.uint16)
    finite = np.isfinite(data)
    if not finite.any():
        raise BadFrameError(f"no usable pixel: all {data.size:,} are NaN or infinite")
    lost = defects.mark(mask, ~finite, Bit.BAD)
    middle = np.float32(np.median(data[finite]))
    data[~finite] = middle
    _trim(mask, header, notes)
    usable = mask == 0
    _require_signal(data, usable, limits)
    sample = data[usable]
    sigma = defects.robust_sigma(sample[:: max(1, sample.size // 200_000)])
    gain, read_noise = noise_of(header, overrides, data[usable], notes)
    saturation = _saturation(data, usable, header, overrides, notes, whole_numbers=whole_numbers)
    defects.mark(mask, defects.saturated(data, saturation), Bit.SATURATED)
    mark_defects(data, mask, sigma, notes)
    if lost:
        notes.append(f"{lost:,} pixels are NaN or infinite: masked")
    hidden = float(np.mean(mask != 0))
    if hidden > limits.max_masked_fraction:
        raise BadFrameError(
            f"too little to see: {hidden:.0%} of the pixels are unusable, {limits.max_masked_fraction:.0%} are allowed"
        )
    variance = np.maximum(data, 0) / np.float32(gain) + np.float32((read_noise / gain) ** 2)
    np.maximum(variance, np.float32(np.finfo(np.float32).tiny), out=variance)
    unit = cards.unit(header)
    if unit is None:
        notes.append(f"BUNIT {cards.text(header, 'BUNIT')!r} is not known here: taken as adu")
    return Image(data, variance.astype(np.float32, copy=False), mask, unit or "adu", gain, read_noise, saturation)


def _trim(mask: NDArray[np.uint16], header: fits.Header, notes: list[str]) -> None:
    """Overscan is no sky: outside TRIMSEC is EDGE, where TRIMSEC and BIASSEC are about this very array."""
    shape = (mask.shape[0], mask.shape[1])
    exposed = cards.section(header, "TRIMSEC", shape)
    overscan = cards.section(header, "BIASSEC", shape)
    if exposed is None or (overscan is None and cards.text(header, "BIASSEC")):
        return
    outside = np.ones(shape, np.bool_)
    outside[exposed] = False
    if outside.any():
        mask[outside] |= np.uint16(Bit.EDGE)
        notes.append(f"not exposed outside TRIMSEC {cards.text(header, 'TRIMSEC')}: masked, overscan not subtracted")


def _require_signal(data: NDArray[np.float32], usable: NDArray[np.bool_], limits: FrameLimits) -> None:
    fraction = 1.0 - float(np.mean(usable))
    if fraction > limits.max_masked_fraction or not usable.any():
        raise BadFrameError(
            f"too little to see: {fraction:.0%} of the pixels are unusable, {limits.max_masked_fraction:.0%} are allowed"
        )
    require_signal(data[usable])


def require_signal(values: NDArray[np.float32]) -> None:
    """BadFrameError where usable pixels show nothing but one value."""
    if not values.size:
        raise BadFrameError("no usable pixel: all are masked, NaN or infinite")
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise BadFrameError(f"nothing to see: all {values.size:,} usable pixels are {low:g}")
    # More than half of all pixels equal: a dead readout with a few hits, not a sky with noise.
    middle = float(np.median(values))
    equal = float(np.mean(values == middle))
    if equal > 0.9:
        raise BadFrameError(f"nothing to see: {equal:.1%} of the pixels are exactly {middle:g}")


def noise_of(
    header: fits.Header, overrides: NoiseOverrides, values: NDArray[np.float32], notes: list[str]
) -> tuple[float, float]:
    """(gain, read noise): the caller's, the header's, or assumed, which the notes then say."""
    said = cards.number(header, cards.GAIN_CARDS, 0.01, 1000.0)
    noise = cards.number(header, cards.READ_NOISE_CARDS, 0.0, 1000.0)
    read_noise = overrides.read_noise if overrides.read_noise is not None else (noise[1] if noise else None)
    if read_noise is None:
        read_noise = 0.0
        notes.append("no read noise in the header: taken as 0, the sky's noise is measured")
    gain = overrides.gain if overrides.gain is not None else (said[1] if said else None)
    if gain is None and cards.unit(header) == "electron":
        gain = 1.0
    if gain is None:
        gain, how = guess_gain(values, read_noise)
        notes.append(f"no gain in the header: {how}")
    return gain, read_noise


def guess_gain(values: NDArray[np.float32], read_noise: float) -> tuple[float, str]:
    """Level over variance of the sky: right if there is no pedestal and the sky outshines the read noise."""
    sample = values[:: max(1, values.size // 200_000)]
    level, sigma = float(np.median(sample)), defects.robust_sigma(sample)
    guess = level / sigma**2 if sigma > 0 else 0.0
    if read_noise == 0.0 and 0.1 <= guess <= 20.0:
        return guess, f"taken as {guess:.2f} electrons per unit, level over variance of the sky"
    return 1.0, "taken as 1 electron per unit, so source errors are rough"


def _saturation(
    data: NDArray[np.float32],
    usable: NDArray[np.bool_],
    header: fits.Header,
    overrides: NoiseOverrides,
    notes: list[str],
    *,
    whole_numbers: bool,
) -> float:
    if overrides.saturation is not None:
        return overrides.saturation
    said = cards.number(header, cards.SATURATION_CARDS, 1.0, 1e12)
    if said and said[1] > float(np.median(data[usable])):
        return said[1]
    level = defects.find_saturation(data, usable, whole_numbers=whole_numbers)
    if np.isfinite(level):
        notes.append(f"no saturation level in the header: taken as {level:,.0f} from the frame")
    else:
        notes.append("no saturation level in the header, and none to be seen on the frame")
    return level


def mark_defects(data: NDArray[np.float32], mask: NDArray[np.uint16], sigma: float, notes: list[str]) -> None:
    """Flag bad columns and rows, dead and hot pixels in the mask, in place; sigma: of a pixel's noise."""
    clean = mask == 0
    lines = defects.bad_columns(data, clean, sigma)
    rows = defects.bad_columns(np.ascontiguousarray(data.T), clean.T, sigma)
    if rows.any():
        lines |= rows.T
    columns = defects.mark(mask, lines & clean, Bit.BAD)
    dead, hot = defects.odd_pixels(data, sigma)
    single = defects.mark(mask, dead & (mask == 0), Bit.BAD)
    defects.mark(mask, hot & (mask == 0), Bit.COSMIC_RAY)
    if columns:
        notes.append(f"{columns:,} pixels in bad columns or rows: masked")
    if single:
        notes.append(f"{single:,} dead pixels: masked")


def wcs_of(header: fits.Header, notes: list[str]) -> "WCS | None":
    """A celestial WCS that maps the frame's centre to the sky and back, else None."""
    if not cards.text(header, "CTYPE1"):
        return None
    from astropy.wcs import WCS, WcsError  # .1 s that a frame without a WCS need not wait for

    # what astropy.wcs and wcslib raise on cards that make no sense
    nonsense = (
        WcsError, VerifyError, ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, OverflowError,
        ArithmeticError, MemoryError, RuntimeError, np.linalg.LinAlgError,
    )  # fmt: skip
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _require_numbers(header)
            wcs = WCS(header, naxis=2)
            centre = np.array([[(header["NAXIS1"] - 1) / 2.0, (header["NAXIS2"] - 1) / 2.0]])
            sky = wcs.all_pix2world(centre, 0)
            usable = wcs.has_celestial and bool(np.isfinite(sky).all())
            if usable and float(np.abs(wcs.wcs_world2pix(wcs.wcs_pix2world(centre, 0), 0) - centre).max()) < 1.0:
                return wcs
    except nonsense as error:
        notes.append(f"the WCS in the header is not usable ({type(error).__name__}): no sky coordinates")
        return None
    notes.append("the WCS in the header is not usable: no sky coordinates")
    return None


def _require_numbers(header: fits.Header) -> None:
    """ValueError or TypeError where a card that places the frame on the sky is text, which wcslib passes over in silence."""
    wanted = {"CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"}
    scale = {"CD1_1", "CD1_2", "CD2_1", "CD2_2", "PC1_1", "PC1_2", "PC2_1", "PC2_2", "CDELT1", "CDELT2"}
    present = {name for name in wanted | scale if name in header}
    if not wanted <= present or not present & scale:
        raise ValueError("CRVAL, CRPIX or the scale is missing")
    for name in present:
        if isinstance(header[name], bool) or not isinstance(header[name], int | float):
            raise TypeError(f"{name} is not a number")
