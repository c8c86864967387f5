"""Frames to be subtracted, from files whose pixels stay where they are."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from photometry import cards, defects
from photometry.errors import BadFrameError
from photometry.fits_map import Pixels, open_pixels
from photometry.frame import FrameLimits, NoiseOverrides, noise_of, require_signal, wcs_of
from photometry.mask import Bit
from photometry.subtraction.raw import Bits, Known, Raw
from photometry.subtraction.sides import Exposure
from photometry.subtraction.survey import survey

if TYPE_CHECKING:
    from astropy.wcs import WCS

SAMPLED_ROWS = 200
ROWS = 512  # read at a time where every pixel must be looked at


@dataclass(frozen=True)
class Given:
    """A frame and what is said of it: mask (not 0: bad) and total variance (unit^2) are files of the frame's size."""

    path: Path
    noise: NoiseOverrides
    mask: Path | None = None
    variance: Path | None = None


@dataclass(frozen=True)
class Opened:
    """A frame of which nothing but a look at it is in memory.  image: its counts in the file, with what the noise needs.

    header: the image's cards, and the primary header's where those are silent; wcs: celestial and usable, else None; notes:
    what was missing, assumed or odd.
    """

    exposure: Exposure
    image: Raw
    header: fits.Header
    wcs: "WCS | None"
    path: str
    notes: tuple[str, ...]


@contextlib.contextmanager
def open_frame(given: Given, limits: FrameLimits, threads: Executor) -> Iterator[Opened]:
    """Good until the end of the context.

    BadFrameError: the frame's fault, with its name.  EnvironmentFailedError: an I/O error, memory, no such file.
    """
    with contextlib.ExitStack() as stack:
        try:
            pixels = stack.enter_context(open_pixels(given.path, limits.max_megapixels))
            notes = list(pixels.notes)
            variance = None if given.variance is None else _companion(given.variance, pixels, limits, stack)[0]
            known = _known(given, pixels, variance, limits, stack, notes)
            raw = replace(_raw(pixels, known, given, notes), variance=variance)
            exposure, hidden = survey(raw, threads)
        except BadFrameError as error:
            raise BadFrameError(f"{given.path.name}: {error}") from error
        if hidden > limits.max_masked_fraction:
            raise BadFrameError(
                f"{given.path.name}: too little to see: {hidden:.0%} of the pixels are unusable,"
                f" {limits.max_masked_fraction:.0%} are allowed"
            )
        wcs = wcs_of(pixels.header, notes)
        yield Opened(exposure, raw, pixels.header, wcs, str(given.path), tuple(notes))


def _raw(pixels: Pixels, known: Known | None, given: Given, notes: list[str]) -> Raw:
    """With gain, read noise and saturation as the caller, the header or the frame itself says."""
    raw = Raw(pixels.values, 1.0, 0.0, np.inf, "adu", pixels.scale, pixels.zero, known)
    sample = _sample(raw)
    require_signal(sample)
    gain, read_noise = noise_of(pixels.header, given.noise, sample, notes)
    unit = cards.unit(pixels.header)
    if unit is None:
        notes.append(f"BUNIT {cards.text(pixels.header, 'BUNIT')!r} is not known here: taken as adu")
    raw = replace(raw, gain=gain, read_noise=read_noise, unit=unit or "adu")
    return replace(raw, saturation=_saturation(raw, sample, pixels.header, given.noise, notes))


def _sample(raw: Raw) -> NDArray[np.float32]:
    """Usable pixels of rows spread over the frame."""
    ny, nx = raw.shape
    rows = np.unique(np.linspace(0, ny - 1, SAMPLED_ROWS).astype(int)).tolist()
    parts = []
    for y in rows:
        data, bits = raw.counts(slice(y, y + 1), slice(0, nx))
        parts.append(data[(bits == 0) & np.isfinite(data)])
    return np.concatenate(parts)


def _saturation(
    raw: Raw, sample: NDArray[np.float32], header: fits.Header, noise: NoiseOverrides, notes: list[str]
) -> float:
    if noise.saturation is not None:
        return noise.saturation
    said = cards.number(header, cards.SATURATION_CARDS, 1.0, 1e12)
    if said and said[1] > float(np.median(sample)):
        return said[1]
    bright = [_finite(raw, y0) for y0 in range(0, raw.shape[0], ROWS)]
    top = max(float(part.max()) for part in bright if part.size)
    near = np.concatenate([part[part > top - 0.01 * abs(top)] for part in bright])
    whole = np.issubdtype(raw.pixels.dtype, np.integer)
    values = np.concatenate([sample, near])
    level = defects.find_saturation(values, np.ones(values.shape, bool), whole_numbers=bool(whole))
    seen = f"taken as {level:,.0f} from the frame" if np.isfinite(level) else "and none to be seen on the frame"
    notes.append(f"no saturation level in the header{':' if np.isfinite(level) else ','} {seen}")
    return level


def _finite(raw: Raw, y0: int) -> NDArray[np.float32]:
    data, bits = raw.counts(slice(y0, min(y0 + ROWS, raw.shape[0])), slice(0, raw.shape[1]))
    return np.asarray(data[(bits == 0) & np.isfinite(data)])


def _known(
    given: Given, pixels: Pixels, variance: Any, limits: FrameLimits, stack: contextlib.ExitStack, notes: list[str]
) -> Known | None:
    """The flags that files and header say of a rectangle; None: they say nothing."""
    shape = (int(pixels.values.shape[0]), int(pixels.values.shape[1]))
    tests: list[Callable[[slice, slice], Bits]] = []
    if pixels.blank is not None:
        tests.append(lambda rows, columns: (pixels.values[rows, columns] == pixels.blank) * np.uint8(Bit.BAD))
    outside = _outside(pixels.header, shape, notes)
    if outside is not None:
        tests.append(outside)
    if given.mask is not None:
        tests.append(_mask(given.mask, pixels, limits, stack))
    if variance is not None:
        tests.append(lambda rows, columns: ~(variance[rows, columns] > 0) * np.uint8(Bit.BAD))
    if not tests:
        return None

    def known(rows: slice, columns: slice) -> Bits:
        bits = tests[0](rows, columns)
        for test in tests[1:]:
            bits = bits | test(rows, columns)
        return np.asarray(bits, np.uint8)

    return known


def _outside(header: fits.Header, shape: tuple[int, int], notes: list[str]) -> Known | None:
    """Overscan is no sky: outside TRIMSEC is EDGE, where TRIMSEC and BIASSEC are about this very array."""
    exposed = cards.section(header, "TRIMSEC", shape)
    overscan = cards.section(header, "BIASSEC", shape)
    if exposed is None or (overscan is None and cards.text(header, "BIASSEC")):
        return None
    (y0, y1, _), (x0, x1, _) = (part.indices(n) for part, n in zip(exposed, shape, strict=True))
    if (y0, x0, y1, x1) == (0, 0, *shape):
        return None
    notes.append(f"not exposed outside TRIMSEC {cards.text(header, 'TRIMSEC')}: masked, overscan not subtracted")

    def outside(rows: slice, columns: slice) -> Bits:
        y, x = np.arange(*rows.indices(shape[0])), np.arange(*columns.indices(shape[1]))
        hidden = ((y < y0) | (y >= y1))[:, None] | ((x < x0) | (x >= x1))[None, :]
        return hidden * np.uint8(Bit.EDGE)

    return outside


def _mask(path: Path, pixels: Pixels, limits: FrameLimits, stack: contextlib.ExitStack) -> Known:
    values, header = _companion(path, pixels, limits, stack)
    chosen = cards.whole(header, "BADBITS")
    if chosen is not None and values.dtype.kind in "iu":
        return lambda rows, columns: ((values[rows, columns] & chosen) != 0) * np.uint8(Bit.BAD)
    return lambda rows, columns: (values[rows, columns] != 0) * np.uint8(Bit.BAD)


def _companion(path: Path, frame: Pixels, limits: FrameLimits, stack: contextlib.ExitStack) -> tuple[Any, fits.Header]:
    """The pixels, of the frame's size, of a file that goes with it."""
    pixels = stack.enter_context(open_pixels(path, limits.max_megapixels))
    found, shape = pixels.values.shape, frame.values.shape
    if tuple(found) != tuple(shape):
        raise BadFrameError(f"{path.name} has {found[1]} x {found[0]} pixels, the frame {shape[1]} x {shape[0]}")
    return pixels.values, pixels.header
