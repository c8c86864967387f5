"""A science frame and a template, with what the caller knows of them: the difference with every plane, and its sources."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photometry.columns import write_ecsv
from photometry.errors import BadFrameError, TemplateMismatchError
from photometry.fits_pixels import read_pixels
from photometry.frame import FrameLimits, NoiseOverrides, read_frame
from photometry.manifest import plain
from photometry.mask import Bit
from photometry.measure import Measured, measure
from photometry.products import transient_table, write_all_planes
from photometry.settings import Settings
from photometry.subtraction import SubtractionSettings, believed, detect_sources, subtract

SOURCES = "sources.ecsv"


@dataclass(frozen=True)
class Given:
    """A frame and what is said of it: mask (not 0: bad) and total variance (unit^2) are files of the frame's size."""

    path: Path
    noise: NoiseOverrides
    mask: Path | None = None
    variance: Path | None = None


def subtract_pair(science: Given, template: Given, out: Path, settings: Settings) -> dict[str, Any]:
    """Write difference.fits (DIFF, VAR, MASK, SCORE, PSF) and sources.ecsv into `out`; figures and notes.

    BadFrameError, TemplateMismatchError: the input.  SubtractionFailedError: no difference passed its self-check.
    """
    mine, other = _measured(science, settings), _measured(template, settings)
    if mine.image.shape != other.image.shape:
        a, b = mine.image.shape, other.image.shape
        raise TemplateMismatchError(
            f"the science frame has {a[1]} x {a[0]} pixels, the template {b[1]} x {b[0]}: give frames of one size"
        )
    options = SubtractionSettings(threshold=settings.transient_threshold)
    difference = subtract(mine.image, other.image, mine.stars, other.stars, options)
    found = detect_sources(difference, options)
    sources = believed(found)
    write_all_planes(out, mine.frame, difference, template.path.name)
    write_ecsv(transient_table(mine.frame, difference, sources, template.path.name), out / SOURCES)
    figures = {
        **difference.figures,
        "flux_scale": difference.kernel_sum,
        "sources": len(sources),
        "detections_doubted": len(found) - len(sources),
    }
    notes = [f"science: {note}" for note in mine.frame.notes] + [f"template: {note}" for note in other.frame.notes]
    told: dict[str, Any] = plain({"figures": figures, "notes": notes})
    return told


def _measured(given: Given, settings: Settings) -> Measured:
    limits = FrameLimits(settings.max_megapixels, settings.max_masked_fraction)
    try:
        frame = read_frame(given.path, limits, given.noise)
        image = frame.image
        if given.mask is not None:
            image.mask[_bad_pixels(given.mask, image.shape, limits)] |= np.uint16(Bit.BAD)
        if given.variance is not None:
            variance, _, _ = read_pixels(given.variance, limits.max_megapixels)
            _require_shape(variance, image.shape, given.variance)
            variance = variance.astype(np.float32)
            bad = ~(np.isfinite(variance) & (variance > 0))
            image.mask[bad] |= np.uint16(Bit.BAD)
            middle = np.float32(np.median(variance[~bad])) if not bad.all() else np.float32(1.0)
            image = replace(image, variance=np.where(bad, middle, variance))
    except BadFrameError as error:
        raise BadFrameError(f"{given.path.name}: {error}") from error
    return measure(replace(frame, image=image), settings, keep_variance=given.variance is not None)


def _bad_pixels(path: Path, shape: tuple[int, int], limits: FrameLimits) -> NDArray[np.bool_]:
    values, header, _ = read_pixels(path, limits.max_megapixels)
    _require_shape(values, shape, path)
    bits = header.get("BADBITS")
    if isinstance(bits, int) and values.dtype.kind in "iu":
        return np.asarray((values.astype(np.int64) & bits) != 0)
    return np.asarray(values != 0)


def _require_shape(values: NDArray[Any], shape: tuple[int, int], path: Path) -> None:
    if values.shape != shape:
        raise BadFrameError(
            f"{path.name} has {values.shape[1]} x {values.shape[0]} pixels, the frame {shape[1]} x {shape[0]}"
        )
