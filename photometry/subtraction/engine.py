"""Subtraction of a template: register, resample, measure both PSFs, match, subtract, flag, weigh.

Guarantees: the difference is finite, on the science frame's grid and flux scale; its self-check is in `figures`.  Fails with
TemplateMismatchError (frames that do not belong together) and SubtractionFailedError (no kernel that passes its checks).
Alard & Lupton 1998, Alard 2000; the score after Zackay & Ofek 2017.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal
from scipy.spatial import cKDTree

from photometry.errors import SubtractionFailedError, TemplateMismatchError
from photometry.image import Image
from photometry.mask import BAD_BITS, TEMPLATE_SHIFT, Bit
from photometry.psf import FWHM_PER_SIGMA, PsfModel, build_psf
from photometry.registration import Transform, register
from photometry.resample import resample
from photometry.subtraction import fitstamps
from photometry.subtraction.basis import make_basis
from photometry.subtraction.convolve import convolve_local, convolve_varying, frame_uv
from photometry.subtraction.difference import Difference
from photometry.subtraction.halo import halos
from photometry.subtraction.masks import Filled, doubt_of, fill, grown_holes, unusable
from photometry.subtraction.noise import sky_variance
from photometry.subtraction.residual_sky import residual_sky
from photometry.subtraction.roles import Roles, choose, gaussian
from photometry.subtraction.score import Optics, difference_variance, robust_width, score_map
from photometry.subtraction.settings import SubtractionSettings
from photometry.subtraction.solve import Kernel, Noise, fit

Plane = NDArray[np.float32]
Stars = NDArray[np.void]

STARS_FOR_ORDER = (0, 10, 25, 200)  # star stamps from which order 0, 1, 2, 3 is tried
WIDTH_LIMITS = (0.5, 2.0)  # of the score's width in blank sky, beyond which a fit is not believed
BLANK_SHARE = 0.15  # of a pixel's sigma: with less source light it is blank sky
COMMON_PIXELS = 2.0  # how far apart one star's places on the two frames may be
ENOUGH_COMMON = 50  # fewer, in a field of galaxies, may hold hardly a star
BRIGHT_SIGMA = 500.0  # of a pixel: light whose wing beyond the kernel may be seen
DEFAULT_SETTINGS = SubtractionSettings()


@dataclass(frozen=True)
class Side:
    """One frame on the science grid: filled data, holes, how wrong the filling is, blank sky's variance, its PSF."""

    image: Image
    filled: Filled
    sky: Plane
    psf: PsfModel


def subtract(
    science: Image,
    template: Image,
    science_stars: Stars,
    template_stars: Stars,
    settings: SubtractionSettings = DEFAULT_SETTINGS,
) -> Difference:
    """Science minus matched template.  Images background-subtracted, of one shape, variance total; stars: x, y, flux."""
    if science.shape != template.shape:
        raise TemplateMismatchError(
            f"the frame is {science.shape[1]} x {science.shape[0]} px, its template {template.shape[1]} x"
            f" {template.shape[0]}: use a template of the same size"
        )
    transform = register(science_stars, template_stars, science.shape, template.shape)
    science_common, template_common = _common(science_stars, template_stars, transform)
    mine = _side(science, science_common)
    other = _on_science_grid(template, template_common, transform)
    roles = choose(mine.psf, other.psf)
    return _matched(mine, other, roles, transform, science_stars, settings)


def _common(science: Stars, template: Stars, transform: Transform) -> tuple[Stars, Stars]:
    """The stars that are on both frames: no cosmic rays, nothing that moves or is new; all where too few are common."""
    x, y = transform(science["x"], science["y"])
    tree = cKDTree(np.stack([template["x"], template["y"]], axis=1))
    distance, which = tree.query(np.stack([x, y], axis=1), distance_upper_bound=COMMON_PIXELS)
    near = np.isfinite(distance)
    if near.sum() < ENOUGH_COMMON:
        return science, template
    return science[near], template[np.unique(which[near])]


def _side(image: Image, stars: Stars) -> Side:
    psf = build_psf(image, stars)
    filled = fill(image, psf)
    return Side(image, filled, sky_variance(image, filled.holes), psf)


def _on_science_grid(template: Image, stars: Stars, transform: Transform) -> Side:
    """The template where the science frame's pixels are; untouched where they agree already."""
    side = _side(template, stars)
    if transform.identity:
        return side
    moved = resample(template, side.filled.data, transform)
    holes = unusable(replace(moved, variance=np.ones_like(moved.variance)))
    x, y = transform.inverse(stars["x"], stars["y"])
    places = np.zeros(len(stars), dtype=[("x", "f8"), ("y", "f8"), ("flux", "f8")])
    places["x"], places["y"], places["flux"] = x, y, stars["flux"]
    filled = Filled(moved.data, holes, doubt_of(moved.data, holes, moved.variance))
    return Side(moved, filled, sky_variance(moved, holes), build_psf(moved, places))


@dataclass(frozen=True)
class _Task:
    """The fit's inputs: target = kernel * source + sky."""

    target: Side
    source: Side
    target_data: Plane
    roles: Roles
    psf: PsfModel


def _matched(
    mine: Side, other: Side, roles: Roles, transform: Transform, stars: Stars, settings: SubtractionSettings
) -> Difference:
    target, source = (mine, other) if roles.convolved == "template" else (other, mine)
    psf, data = target.psf, target.filled.data
    if roles.broadening:
        wide = gaussian(roles.broadening)
        psf = _broadened(psf, wide)
        data = convolve_varying(data, wide[None], [(0, 0)])
    task = _Task(target, source, data, roles, psf)
    basis = make_basis(roles.sigmas, settings.kernel_half)
    pair = fitstamps.Pair(
        data,
        source.filled.data,
        _bad(target, roles.broadening),
        _bad(source, roles.sigma),
        target.sky,
        source.sky,
    )
    chosen = fitstamps.choose_stars(stars, pair)
    if not len(chosen):
        raise SubtractionFailedError("no clean star of peak S/N > 20 common to both frames to fit the kernel on")
    empty = fitstamps.choose_sky(stars, pair, psf.fwhm())
    stamps = fitstamps.cut(pair, chosen, empty, basis)
    noise = Noise(
        target.image.gain, source.image.gain, psf.fwhm() / FWHM_PER_SIGMA, roles.broadening, roles.sigma
    )
    highest = int(np.searchsorted(STARS_FOR_ORDER, len(chosen), side="right")) - 1
    complaints = []
    for order in range(min(highest, settings.max_kernel_order), -1, -1):
        sky_order = min(settings.background_order, 0 if len(empty) + len(chosen) < 10 else 1 if len(empty) < 20 else 2)
        kernel = fit(stamps, basis, order, sky_order, noise)
        complaint = _unbelievable(kernel)
        if complaint is None:
            difference = _difference(task, kernel, transform)
            width = difference.figures["score_width"]
            if not np.isfinite(width) or WIDTH_LIMITS[0] <= width <= WIDTH_LIMITS[1]:
                return difference
            complaint = f"score width {width:.2f} in blank sky"
        complaints.append(f"order {order}: {complaint}")
    raise SubtractionFailedError(f"no kernel passes its self-check on {len(chosen)} stars: " + "; ".join(complaints))


def _bad(side: Side, sigma: float) -> NDArray[np.bool_]:
    """Pixels that must not take part in the fit: holes grown by a kernel's core, and what the frame does not cover."""
    bad = side.filled.holes | ((side.image.mask & np.uint16(Bit.EDGE)) != 0)
    reach = int(np.ceil(2 * sigma))
    return np.asarray(ndimage.maximum_filter(bad.view(np.uint8), 2 * reach + 1).view(bool)) if reach else bad


def _broadened(psf: PsfModel, kernel: NDArray[np.float64]) -> PsfModel:
    """The PSF after a convolution, its stamps grown by the kernel's."""
    planes = np.stack([signal.fftconvolve(plane, kernel) for plane in psf.planes])
    half = min(planes.shape[-1] // 2, 20)
    cut = slice(planes.shape[-1] // 2 - half, planes.shape[-1] // 2 + half + 1)
    return replace(psf, planes=np.ascontiguousarray(planes[:, cut, cut]))


def _unbelievable(kernel: Kernel) -> str | None:
    """What is wrong with a kernel by itself."""
    total = kernel.kernel_sum
    if not np.isfinite(kernel.planes).all() or not total > 0:
        return f"kernel sum {total:.3g}"
    corners = [kernel.at(u, v) for u in (-1, 0, 1) for v in (-1, 0, 1)]
    lowest = min(float(k.sum()) for k in corners)
    if lowest < 0.3 * total:
        return f"kernel sum falls from {total:.3g} to {lowest:.3g} over the frame"
    rough = max(float(np.abs(k).sum() / k.sum()) for k in corners)
    if rough > 3:
        return f"the kernel rings: sum of absolute values {rough:.1f} times its sum"
    return None


def _difference(task: _Task, kernel: Kernel, transform: Transform) -> Difference:
    """Difference, noise, mask and score with that kernel."""
    target, source, shape = task.target, task.source, task.target_data.shape
    matched = convolve_varying(source.filled.data, kernel.planes, kernel.powers)
    resid = task.target_data - matched
    resid -= _sky(kernel, (shape[0], shape[1]))
    optics = _optics(task, kernel)
    own = _with_light(target.sky, matched, target.image.gain)
    through = _with_light(source.sky, source.filled.data, source.image.gain)
    variance = difference_variance(own, through, optics)
    sigma = np.sqrt(variance)
    blank = _blank(matched, sigma, task.psf.fwhm()) & ~(target.filled.holes | source.filled.holes)
    resid -= residual_sky(resid, sigma, blank & _blank(resid, sigma, task.psf.fwhm()))
    # what counts for a source is the noise of sums over pixels, which a convolution does not lessen
    white = np.sqrt(own + np.float32(kernel.kernel_sum**2) * through)
    mask = _mask(task, optics, matched, resid, white)
    # from the target's flux scale to the science frame's
    science_convolved = task.roles.convolved == "science"
    factor = np.float32(-1 / kernel.kernel_sum if science_convolved else 1)
    resid, variance = resid * factor, variance * factor**2
    own, through = own * factor**2, through * factor**2
    bad = (mask & np.uint16(BAD_BITS)) != 0
    # `through` stands for the source before K: K itself carries the scale
    score = score_map(resid, bad, own, through, optics)
    science = (source if science_convolved else target).image
    blank &= ~bad
    figures = {
        "score_width": robust_width(score[blank][::3]),
        "difference_width": robust_width((resid[blank] / np.sqrt(variance[blank]))[::3]),
        "kernel_sum": kernel.kernel_sum,
        "kernel_order": float(kernel.order),
        "kernel_stars": float(kernel.stamps),
        "kernel_stars_clipped": float(kernel.clipped),
        "kernel_chi2": kernel.chi2,
        "unmasked_share": float(1 - bad.mean()),
        "science_fwhm_pixels": (source if science_convolved else target).psf.fwhm(),
        "template_fwhm_pixels": (target if science_convolved else source).psf.fwhm(),
        "registration_stars": float(transform.stars),
        "registration_rms_pixels": transform.rms_pixels,
    }
    scale = 1 / kernel.kernel_sum if science_convolved else kernel.kernel_sum
    return Difference(
        image=replace(science, data=resid, variance=variance, mask=mask),
        score=score,
        psf=task.psf,
        convolved=task.roles.convolved,
        kernel_sum=scale,
        preconvolved=task.roles.broadening > 0,
        transform=transform,
        template=(target.filled.data / kernel.kernel_sum).astype(np.float32) if science_convolved else matched,
        optics=optics,
        target_variance=own,
        source_variance=through,
        figures=figures,
    )


def _blank(light: Plane, sigma: Plane, fwhm: float) -> NDArray[np.bool_]:
    """Where no source is seen, chosen by place and not by the noise of a pixel, which would bias what is measured there."""
    size = max(3, round(fwhm))
    smooth = ndimage.uniform_filter(light, size)
    own = robust_width(smooth[::3, ::3] - np.percentile(smooth[::3, ::3], 35))
    lit = smooth > np.maximum(np.float32(BLANK_SHARE) * sigma, np.float32(3 * own))
    return ~np.asarray(ndimage.maximum_filter(lit.view(np.uint8), size).view(bool))


def _sky(kernel: Kernel, shape: tuple[int, int]) -> Plane:
    """The fitted sky between the frames, (ny, nx)."""
    u, v = frame_uv(shape, np.arange(shape[1]), np.arange(shape[0]))
    out = np.zeros(shape, np.float32)
    for (a, b), value in zip(kernel.sky_powers, kernel.sky_terms, strict=True):
        if value:
            out += np.outer((value * v**b).astype(np.float32), (u**a).astype(np.float32))
    return out


def _optics(task: _Task, kernel: Kernel) -> Optics:
    ny, nx = task.target_data.shape
    wide = gaussian(task.roles.broadening) if task.roles.broadening else None

    def kernel_at(x: float, y: float) -> NDArray[np.float64]:
        return kernel.at(2 * x / (nx - 1) - 1, 2 * y / (ny - 1) - 1)

    return Optics(
        psf=task.psf.at,
        target_kernel=None if wide is None else lambda _x, _y: wide,
        source_kernel=kernel_at,
        psf_half=task.psf.half,
        kernel_half=max(kernel.planes.shape[-1] // 2, 0 if wide is None else wide.shape[0] // 2),
    )


def _with_light(sky: Plane, light: Plane, gain: float) -> Plane:
    """Variance of sky and source light; linear in the light, so that its noise averages out where it is smoothed later."""
    return np.maximum(sky + light / np.float32(gain), np.float32(0.3) * sky)


def _mask(task: _Task, optics: Optics, matched: Plane, resid: Plane, sigma: Plane) -> NDArray[np.uint16]:
    """Bits of both frames, what their fillings spoil through the kernels, halos, and the borders."""
    science_convolved = task.roles.convolved == "science"
    mask = np.zeros(resid.shape, np.uint16)
    for side, kernel, reach in (
        (task.target, optics.target_kernel, task.roles.broadening),
        (task.source, optics.source_kernel, task.roles.sigma),
    ):
        shift = TEMPLATE_SHIFT if (side is task.target) == science_convolved else 0
        bits = (side.image.mask & np.uint16(0xFF)) | (side.filled.holes * np.uint16(Bit.BAD) * (side.image.mask == 0))
        edge = (bits & np.uint16(Bit.EDGE)) != 0
        if kernel is not None:
            footprint = _footprint(side.filled, kernel, optics.kernel_half, sigma)
            bits |= footprint * np.uint16(Bit.FILLED)
            margin = int(np.ceil(3 * reach))
            if edge.any():
                edge = ndimage.maximum_filter(edge.view(np.uint8), 2 * margin + 1).view(bool)
            border = np.ones(resid.shape, bool)
            border[margin:-margin, margin:-margin] = False
            bits |= (edge | border) * np.uint16(Bit.EDGE)
        bits |= grown_holes(side.image, 1) * np.uint16(Bit.SATURATED)
        mask |= bits << np.uint16(shift)
    saturated = ((mask | (mask >> np.uint16(TEMPLATE_SHIFT))) & np.uint16(Bit.SATURATED)) != 0
    seeds = ((saturated, 0.0), (~saturated & (matched > BRIGHT_SIGMA * sigma), optics.kernel_half - 3.0))
    bad = (mask & np.uint16(BAD_BITS)) != 0
    for seed, nearest in seeds:
        mask |= halos(resid, sigma, seed, bad, nearest) * np.uint16(Bit.HALO)
    return mask


def _footprint(filled: Filled, kernel_at: object, half: int, sigma: Plane) -> NDArray[np.bool_]:
    """Where what was filled shows in the difference by more than half a sigma, the holes themselves included."""
    if not filled.holes.any():
        return filled.holes
    assert callable(kernel_at)
    error = convolve_local(filled.doubt, lambda x, y: np.abs(kernel_at(x, y)), half)
    return np.asarray(filled.holes | (error > np.float32(0.5) * sigma))
