"""Which frames a master may be made of, and why not the others."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from photometry.calibration.prepare import SAMPLE_STEP, Prepared, Tilt
from photometry.defects import robust_sigma

Plane = NDArray[np.float32]

OFF_SIGMA = 6.0  # of the frames' levels among each other
LEAST_LEVEL_ELECTRONS = 1.0  # by which levels may differ whatever their scatter
MOST_HIDDEN = 0.02  # of a flat's pixels that may be saturated
BRIGHTEST = 0.85  # of saturation: a flat's level
FAINTEST_ELECTRONS = 1000.0  # a flat's level: 3 % of noise
STARRY = 0.02  # of a flat's pixels that may stand out
STAR_SIGMA = 6.0
STAR_BOX = 9  # pixels of the sample
GRADIENT_BLOCK = 4  # pixels of the sample, whose median stands for them
SKY_RANGE = 1.3  # least ratio of the brightest sky to the darkest
FEWEST_SKIES = 6
SAME_SECONDS = 0.01  # fraction by which exposures may differ


@dataclass(frozen=True)
class Judged:
    """The frames to use, as their master wants them; refused: file name -> why."""

    chosen: list[Prepared]
    refused: dict[str, str] = field(default_factory=dict)


def choose_bias(frames: list[Prepared]) -> Judged:
    """Those of the common level."""
    return _of_one_level(frames, "adu")


def choose_dark(frames: list[Prepared]) -> Judged:
    """Those with an exposure and of the common rate; in adu/s."""
    timed = [frame for frame in frames if frame.opened.seconds]
    refused = {_name(frame): "the header does not say how long the exposure was" for frame in frames if frame not in timed}
    rates = [
        replace(frame, unit=Tilt(frame.opened.seconds or 1.0), sample=frame.sample / np.float32(frame.opened.seconds or 1.0))
        for frame in timed
    ]
    found = _of_one_level(rates, "adu/s")
    return Judged(found.chosen, refused | found.refused)


def choose_flats(frames: list[Prepared]) -> Judged:
    """Those that are bright enough, not saturated and without many stars; each over its level and its own gradient.

    A gradient that all flats have in common cannot be told from the chip's response and stays.
    """
    refused = {_name(frame): reason for frame in frames if (reason := _flat_fault(frame))}
    good = [frame for frame in frames if _name(frame) not in refused]
    if not good:
        return Judged([], refused)
    levels = [float(np.nanmedian(frame.sample)) for frame in good]
    shapes = np.stack([_blocks(frame.sample / np.float32(level)) for frame, level in zip(good, levels, strict=True)])
    common = np.median(shapes, axis=0)
    chosen = [
        replace(frame, unit=_tilt(shape / common, level)) for frame, shape, level in zip(good, shapes, levels, strict=True)
    ]
    return Judged(chosen, refused)


def choose_science(frames: list[Prepared]) -> Judged:
    """Those of the commonest exposure, if their skies differ enough."""
    refused = {
        _name(frame): "the header does not say how long the exposure was" for frame in frames if not frame.opened.seconds
    }
    timed = [frame for frame in frames if _name(frame) not in refused]
    if not timed:
        return Judged([], refused)
    usual = float(np.median([frame.opened.seconds or 0.0 for frame in timed]))
    for frame in timed:
        if abs((frame.opened.seconds or 0.0) - usual) > SAME_SECONDS * usual:
            refused[_name(frame)] = f"exposed {frame.opened.seconds:g} s, most others {usual:g} s"
    chosen = [frame for frame in timed if _name(frame) not in refused]
    levels = [float(np.nanmedian(frame.sample)) for frame in chosen]
    low, high = min(levels), max(levels)
    if len(chosen) < FEWEST_SKIES or not low > 0 or high < SKY_RANGE * low:
        reason = (
            f"{len(chosen)} frames with skies from {low:,.0f} to {high:,.0f} adu: a dark from science needs"
            f" {FEWEST_SKIES} or more whose skies differ by a factor of {SKY_RANGE:g}"
        )
        return Judged([], refused | {_name(frame): reason for frame in chosen})
    return Judged(chosen, refused)


def _of_one_level(frames: list[Prepared], unit: str) -> Judged:
    levels = np.array([np.nanmedian(frame.sample) for frame in frames])
    if not len(levels):
        return Judged([])
    usual = float(np.median(levels))
    gain = frames[0].opened.frame.geometry.channels[0].gain
    limit = max(OFF_SIGMA * robust_sigma(levels), LEAST_LEVEL_ELECTRONS / gain)
    refused = {
        _name(frame): f"its level of {level:,.2f} {unit} is off the others' {usual:,.2f} by more than {limit:.2f}"
        for frame, level in zip(frames, levels, strict=True)
        if not abs(level - usual) <= limit
    }
    return Judged([frame for frame in frames if _name(frame) not in refused], refused)


def _flat_fault(frame: Prepared) -> str:
    """What is wrong with a flat, '' where nothing is."""
    raw = frame.opened.frame
    level = float(np.nanmedian(frame.sample)) if np.isfinite(frame.sample).any() else np.nan
    full = float(raw.saturation.min()) * raw.geometry.channels[0].gain
    hidden = float(np.mean(~np.isfinite(frame.sample)))
    if hidden > MOST_HIDDEN or level > BRIGHTEST * full:
        return f"saturated: {hidden:.1%} of its pixels, its level is {level / full:.0%} of saturation"
    if not level >= FAINTEST_ELECTRONS:
        return f"too faint for a flat: {level:,.0f} electrons, at least {FAINTEST_ELECTRONS:,.0f} are needed"
    starry = _starry(frame.sample)
    if starry > STARRY:
        return f"stars or trails on {starry:.1%} of its pixels, at most {STARRY:.0%} are allowed"
    return ""


def _starry(sample: Plane) -> float:
    """The fraction of pixels that stand above those round them by more than noise and texture do."""
    filled = np.nan_to_num(sample, nan=float(np.nanmedian(sample)))
    off = filled / ndimage.median_filter(filled, STAR_BOX, mode="nearest") - 1
    return float(np.mean(off > STAR_SIGMA * robust_sigma(off)))


def _blocks(sample: Plane) -> Plane:
    """Medians of blocks of the sample."""
    ny, nx = (max(side // GRADIENT_BLOCK, 1) for side in sample.shape)
    part = sample[: ny * GRADIENT_BLOCK, : nx * GRADIENT_BLOCK]
    if min(sample.shape) < GRADIENT_BLOCK:
        part = np.broadcast_to(sample[:1, :1], (GRADIENT_BLOCK, GRADIENT_BLOCK))
        ny = nx = 1
    cells = part.reshape(ny, GRADIENT_BLOCK, nx, GRADIENT_BLOCK).transpose(0, 2, 1, 3).reshape(ny, nx, -1)
    return np.asarray(np.nan_to_num(np.nanmedian(cells, axis=2), nan=1.0), np.float32)


def _tilt(ratio: Plane, level: float) -> Tilt:
    """Level times the plane through the ratio of a flat to the others', which is 1 on the average."""
    side = GRADIENT_BLOCK * SAMPLE_STEP
    y, x = np.mgrid[: ratio.shape[0], : ratio.shape[1]]
    terms = np.stack([np.ones(ratio.size), side * (x.ravel() + 0.5), side * (y.ravel() + 0.5)], axis=1)
    if min(ratio.shape) < 3:
        return Tilt(level)
    a, b, c = np.linalg.lstsq(terms, ratio.ravel().astype(float), rcond=None)[0]
    return Tilt(float(level * a), float(level * b), float(level * c))


def _name(frame: Prepared) -> str:
    return frame.opened.path.name
