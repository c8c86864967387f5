"""Whether two photometries of one frame agree: magnitude by magnitude, and a verdict on the bright end with its reason."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photometry.stars.magnitudes import MAG_PER_LN

Array = NDArray[np.float64]

LIMIT = 0.002  # magnitudes
FEWEST = 5  # bright stars that judge a frame
FEWEST_IN_BIN = 10  # that judge their magnitude: the scatter of fewer is not known
CERTAIN = 2.0  # sigmas beyond the limit; ten stars that agree are flagged by chance in 3 % of frames
BRIGHT_ERROR = 0.02  # magnitudes: stars with a larger error do not judge the frame
BIN = np.dtype(
    [("magnitude", "f8"), ("stars", "i4"), ("median", "f8"), ("median_err", "f8"), ("scatter", "f8"), ("expected", "f8")]
)
_SIGMA_OF_MAD = 1.4826


@dataclass(frozen=True)
class Agreement:
    """bins of BIN, a magnitude wide, the brightest first: first minus second in magnitudes, its error and robust
    scatter, and the scatter that the errors expect, were they independent (of one frame's pixels they are not).  offset,
    error: of all bright stars.  agrees: whether the offset and each telling bin are within the limit; reason: why not,
    "" if they are.
    """

    bins: NDArray[np.void]
    offset: float
    error: float
    agrees: bool
    reason: str


def agreement(flux: Array, flux_err: Array, other: Array, other_err: Array, limit: float = LIMIT) -> Agreement:
    """Compare two fluxes (n,) of the same isolated stars, -2.5 log10(flux / other); stars that are not positive in both
    are left out.  With too few bright stars it does not agree, and says so.
    """
    good = (flux > 0) & (other > 0) & np.isfinite(flux_err + other_err)
    delta = -MAG_PER_LN * np.log(flux[good] / other[good])
    error = MAG_PER_LN * np.hypot(flux_err[good] / flux[good], other_err[good] / other[good])
    instrumental = -MAG_PER_LN * np.log(other[good])
    whole = np.floor(instrumental).astype(int)
    bins = np.array([_bin(m, delta[whole == m], error[whole == m]) for m in np.unique(whole)], BIN)
    bright = delta[error < BRIGHT_ERROR]
    if len(bright) < FEWEST:
        return Agreement(bins, np.nan, np.nan, agrees=False, reason=f"{len(bright)} bright stars, {FEWEST} are needed")
    offset, scatter = float(np.median(bright)), _width(bright)
    offset_err = float(1.2533 * scatter / np.sqrt(len(bright)))
    return Agreement(bins, offset, offset_err, *_verdict(bins, offset, offset_err, limit))


def _verdict(bins: NDArray[np.void], offset: float, error: float, limit: float) -> tuple[bool, str]:
    """Whether all is within the limit, as far as its errors can tell, and the worst that is not."""
    if abs(offset) > limit + CERTAIN * error:
        return False, f"offset of {1e3 * offset:+.1f} +- {1e3 * error:.1f} mmag, limit {1e3 * limit:g}"
    telling = bins[(bins["stars"] >= FEWEST_IN_BIN) & (bins["median_err"] < limit) & (bins["expected"] < BRIGHT_ERROR)]
    beyond = telling[np.abs(telling["median"]) > limit + CERTAIN * telling["median_err"]]
    if len(beyond):
        worst = beyond[np.argmax(np.abs(beyond["median"]))]
        said = f"{1e3 * worst['median']:+.1f} +- {1e3 * worst['median_err']:.1f} mmag"
        return (
            False,
            f"{said} at instrumental magnitude {worst['magnitude']:.1f}, limit {1e3 * limit:g}: not linear, or a wrong sky",
        )
    return True, ""


def _bin(magnitude: int, delta: Array, error: Array) -> tuple[float, int, float, float, float, float]:
    scatter = _width(delta)
    expected = float(np.median(error))
    median_err = 1.2533 * (scatter if len(delta) >= FEWEST_IN_BIN else expected) / np.sqrt(len(delta))
    return magnitude + 0.5, len(delta), float(np.median(delta)), float(median_err), scatter, expected


def _width(values: Array) -> float:
    return float(_SIGMA_OF_MAD * np.median(np.abs(values - np.median(values))))
