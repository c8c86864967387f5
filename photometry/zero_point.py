"""The zero point of a frame against a catalog: a smooth map over the frame, a colour term, and what the sky did to it.

    m_catalog = -2.5 log10(flux) + Z(x, y) + c * colour

Guarantees: variables and wrong matches up to a third of the stars do not move it; it never raises on matched arrays of one
length, and where nothing can be measured the value is NaN and the flags say so.  Flags are for a person and a scheduler to
act on; no star's magnitude is withheld for them.
"""

from dataclasses import dataclass
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from photometry.smooth_map import SmoothMap, fit_map
from photometry.stars.magnitudes import MAG_PER_LN

Array = NDArray[np.float64]

FEWEST_STARS = 5


class ZeroFlag(IntFlag):
    """What a zero point says of its frame."""

    FEW_STARS = 1  # too few stars to believe it
    CLOUD = 2  # far below what is expected: less light arrives
    PATCHY = 4  # structure over the frame that was not there before: passing cloud, or frost that grows
    FROST = 8  # structure that is the same as before: on the optics, not in the sky
    TWILIGHT = 16  # the sky is far brighter than expected: Sun or Moon
    SCATTER = 32  # stars disagree more than their errors and the map explain


@dataclass(frozen=True)
class ZeroPointSettings:
    """Limits, in magnitudes.

    cloud: below the expected zero point; structure: rms of the map over the frame; same: rms of the map less the one
    before, that is frost; twilight: sky brighter than expected; scatter: of the stars beyond their errors; order: the
    map's highest.
    """

    cloud: float = 0.2
    structure: float = 0.03
    same: float = 0.015
    twilight: float = 1.0
    scatter: float = 0.1
    order: int = 2


@dataclass(frozen=True)
class Expected:
    """What the frame is compared with, where it is known: the zero point of clear nights, the map that was measured
    before (its mean does not matter), the sky's level in the frame's unit.
    """

    value: float | None = None
    map: SmoothMap | None = None
    sky: float | None = None


@dataclass(frozen=True)
class ZeroPoint:
    """value, error: mean over the frame, magnitudes for a flux of 1; map: over the frame; colour, colour_error: the
    colour term, 0 and NaN without colours; rms: of the stars, magnitudes; stars: that were used; reasons: one line for
    each flag.
    """

    value: float
    error: float
    map: SmoothMap
    colour: float
    colour_error: float
    rms: float
    stars: int
    flags: ZeroFlag
    reasons: tuple[str, ...]

    def at(self, x: Array, y: Array) -> Array:
        """The zero point at 0-based pixels, without the colour term."""
        return self.map.at(x, y)


DEFAULTS = ZeroPointSettings()
NOTHING_KNOWN = Expected()


def measure_zero_point(
    flux: Array,
    flux_err: Array,
    magnitude: Array,
    magnitude_err: Array,
    x: Array,
    y: Array,
    shape: tuple[int, int],
    colour: Array | None = None,
    sky: float | None = None,
    expected: Expected = NOTHING_KNOWN,
    settings: ZeroPointSettings = DEFAULTS,
) -> ZeroPoint:
    """Of matched stars: (n,) each, 0-based pixels of a frame (ny, nx); colours are best taken from a mean colour of the
    catalog.

    Stars without a positive flux or a finite magnitude or colour take no part.  sky: the frame's level, for twilight.
    """
    good = (flux > 0) & np.isfinite(flux + flux_err + magnitude + magnitude_err + x + y)
    if colour is not None:
        good &= np.isfinite(colour)
    values = magnitude[good] + MAG_PER_LN * np.log(flux[good])
    errors = np.hypot(MAG_PER_LN * flux_err[good] / flux[good], magnitude_err[good])
    errors = np.maximum(errors, 1e-4)
    found, term = fit_map(x[good], y[good], values, errors, shape, settings.order, None if colour is None else colour[good])
    value, error = found.middle
    flags, reasons = _judge(found, value, sky, expected, settings)
    slope, slope_error = (0.0, float("nan")) if colour is None else (float(term[0]), float(term[1]))
    stars = int(found.used.sum())
    return ZeroPoint(value, error, found, slope, slope_error, found.rms, stars, flags, reasons)


def _judge(
    found: SmoothMap, value: float, sky: float | None, expected: Expected, settings: ZeroPointSettings
) -> tuple[ZeroFlag, tuple[str, ...]]:
    """What the map and the sky say of the frame, each flag with its reason and the numbers."""
    said: list[tuple[ZeroFlag, str]] = []
    stars = int(found.used.sum())
    if stars < FEWEST_STARS:
        said.append((ZeroFlag.FEW_STARS, f"{stars} stars, {FEWEST_STARS} are needed"))
    if found.excess > settings.scatter:
        reason = f"stars scatter by {found.excess:.3f} mag beyond their errors, at most {settings.scatter:g} is believed"
        said.append((ZeroFlag.SCATTER, reason))
    if expected.value is not None and value < expected.value - settings.cloud:
        reason = f"cloud: {expected.value - value:.2f} mag less light than expected, limit {settings.cloud:g}"
        said.append((ZeroFlag.CLOUD, reason))
    if found.structure > settings.structure:
        said.append(_structure(found, expected.map, settings))
    if sky is not None and expected.sky is not None and sky > 0 and expected.sky > 0:
        brighter = 2.5 * float(np.log10(sky / expected.sky))
        if brighter > settings.twilight:
            reason = f"twilight or Moon: the sky is {brighter:.2f} mag brighter than expected, limit {settings.twilight:g}"
            said.append((ZeroFlag.TWILIGHT, reason))
    flags = ZeroFlag(0)
    for flag, _ in said:
        flags |= flag
    return flags, tuple(reason for _, reason in said)


def _structure(found: SmoothMap, before: SmoothMap | None, settings: ZeroPointSettings) -> tuple[ZeroFlag, str]:
    """Frost where the structure is the one before, else patchy cloud; without one before it may be either."""
    varies = f"zero point varies by {found.structure:.3f} mag rms over the frame, limit {settings.structure:g}"
    if before is None:
        return ZeroFlag.PATCHY, f"{varies}: patchy cloud, frost or a wrong flat"
    if _unlike(found, before) < settings.same:
        return ZeroFlag.FROST, f"{varies}, the same as before: frost or a wrong flat"
    return ZeroFlag.PATCHY, f"{varies}, not there before: patchy cloud"


def _unlike(found: SmoothMap, before: SmoothMap) -> float:
    """Root mean square over the frame of the difference of two maps' structure."""
    ny, nx = found.shape
    yy, xx = (grid.ravel() for grid in np.meshgrid(np.linspace(0, ny - 1, 25), np.linspace(0, nx - 1, 25), indexing="ij"))
    return float(np.std(found.at(xx, yy) - before.at(xx, yy)))
