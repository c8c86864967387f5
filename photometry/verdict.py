"""What is wrong with a frame as a whole, in one word each: for a scheduler and for a person, who both may ignore it.

uncalibrated   raw, and there were no masters to calibrate it with
few_stars      fewer than FEW sources, or sources that are no stars: nothing, or next to nothing, is to be seen
no_psf         no star that a PSF could be measured on: apertures only
poor_psf       stars that no PSF describes well: undersampled, or seen through a Bayer mosaic
trailed        the telescope did not follow its stars
out_of_focus   stars with a hole, or far wider than on the template
crowded        stars so close that fainter ones between them are not told apart: fewer than CROWDED FWHM^2 for each
no_astrometry  nothing, or nothing certain, says where the frame lies
cloud, patchy, frost, twilight, scatter, no_zero_point     by `photometry.zero_point`
disagreement   the photometries of bright stars differ by more than 2 mmag
"""

import numpy as np

from photometry.stars.brightness import Brightness
from photometry.stars.sums import ThreeWay
from photometry.zero_point import ZeroFlag, ZeroPoint

Verdict = list[tuple[str, str]]

FEW = 5
UNLIKE = 0.2  # of their peaks, that the PSF leaves of the sources it was measured on: hits of particles differ so much
HITS = 50  # and are fewer
ELONGATED = 2.5  # longer over shorter axis
HOLE = 0.8  # of the highest value: less in the middle is a hole
WIDE = 2.5  # times the template's width
CROWDED = 40.0  # FWHM^2 for each star: confusion begins at about 30 beams a source (Hogg 2001, AJ 121, 1207)

_ZERO_WORDS = {  # in the order of the reasons
    ZeroFlag.FEW_STARS: "no_zero_point",
    ZeroFlag.SCATTER: "scatter",
    ZeroFlag.CLOUD: "cloud",
    ZeroFlag.PATCHY: "patchy",
    ZeroFlag.FROST: "frost",
    ZeroFlag.TWILIGHT: "twilight",
}


def of_stars(sources: int, bright: Brightness | None) -> Verdict:
    """What the frame's own stars say."""
    found: Verdict = []
    if sources < FEW:
        found.append(("few_stars", f"{sources} sources on the frame: cloud, a closed dome, or a blank field"))
    if bright is None:
        return found
    quality = bright.quality
    left = f"the PSF leaves {quality.residual:.0%} of the peaks of the {quality.stars} sources it was measured on"
    if quality.residual > UNLIKE and quality.stars < HITS:
        found.append(("few_stars", f"{left}: particles' hits, no stars; cloud, a closed dome, or a blank field"))
    elif not bright.has_places:
        found.append(("poor_psf", f"{left}: places are centroids, prefer aperture fluxes"))
    if quality.stars < FEW:
        return found
    longer = 1 / (1 - quality.ellipticity)
    if longer > ELONGATED:
        found.append(("trailed", f"the stars are trailed: {longer:.1f} times longer than wide"))
    ny, nx = bright.psf.shape
    stamp = bright.psf.at((nx - 1) / 2, (ny - 1) / 2)
    middle = float(stamp[bright.psf.half, bright.psf.half] / stamp.max())
    if middle < HOLE:
        found.append(("out_of_focus", f"out of focus: the middle of the stars has {middle:.0%} of their highest light"))
    room = ny * nx / quality.fwhm**2 / max(sources, 1)
    if room < CROWDED:
        found.append(("crowded", f"crowded: a star in {room:.0f} squares of the FWHM, below {CROWDED:g} many are not seen"))
    if bright.agreement is not None and not bright.agreement.agrees and np.isfinite(bright.agreement.offset):
        found.append(("disagreement", f"aperture and PSF photometry disagree: {bright.agreement.reason}"))
    return found


def of_width(fwhm: float, template: float) -> Verdict:
    """Against the template's FWHM, pixels."""
    if not fwhm > WIDE * template:
        return []
    return [("out_of_focus", f"stars of FWHM {fwhm:.1f} pixels, {template:.1f} on the template: out of focus, or frost")]


def of_agreement(found: ThreeWay) -> Verdict:
    """Of three photometries."""
    wrong = {name: pair.reason for name, pair in found.pairs.items() if not pair.agrees and np.isfinite(pair.offset)}
    return [("disagreement", f"photometries disagree: {name}: {reason}") for name, reason in list(wrong.items())[:1]]


def of_zero_point(zero: ZeroPoint) -> Verdict:
    """Each flag with its reason."""
    words = [word for flag, word in _ZERO_WORDS.items() if flag in zero.flags]
    return list(zip(words, zero.reasons, strict=True))
