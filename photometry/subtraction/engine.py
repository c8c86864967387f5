"""Subtraction of a template: register, resample, measure both PSFs, match, subtract, flag, weigh.

Guarantees: the difference is finite, on the science frame's grid and flux scale; its self-check is in `figures`.  Fails with
TemplateMismatchError (frames that do not belong together) and SubtractionFailedError (no kernel that passes its checks).
Alard & Lupton 1998, Alard 2000; the score after Zackay & Ofek 2017.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import signal
from scipy.spatial import cKDTree

from photometry.errors import SubtractionFailedError, TemplateMismatchError
from photometry.grow import grow
from photometry.image import Image
from photometry.mask import Bit
from photometry.psf import FWHM_PER_SIGMA, PsfModel, build_psf
from photometry.registration import Transform, register
from photometry.resample import resample
from photometry.subtraction import fitstamps
from photometry.subtraction.apply import apply_kernel
from photometry.subtraction.basis import make_basis
from photometry.subtraction.convolve import convolve_varying
from photometry.subtraction.difference import Difference
from photometry.subtraction.masks import Filled, doubt_of, fill, unusable
from photometry.subtraction.noise import sky_variance
from photometry.subtraction.roles import choose, gaussian
from photometry.subtraction.settings import SubtractionSettings
from photometry.subtraction.sides import Side, Task
from photometry.subtraction.solve import Kernel, Noise, fit

Stars = NDArray[np.void]

STAMPS_FOR_SKY = (0, 10, 40)  # stamps of stars and sky from which its order 0, 1, 2 is fitted
STARS_FOR_ORDER = (0, 10, 25, 200)  # star stamps from which order 0, 1, 2, 3 is tried
KERNEL_SIGMAS = 6.0  # half-width of the kernel, in widths of the Gaussian between the PSFs
LARGEST_KERNEL_HALF = 25  # pixels
WIDTH_LIMITS = (0.5, 3.0)  # of the score's width in blank sky, beyond which a fit is not believed
STARS_FOR_CORES = 64  # stars that the PSF is built on where it only fills saturated cores
COMMON_PIXELS = 2.0  # how far apart one star's places on the two frames may be
ENOUGH_COMMON = 50  # fewer, in a field of galaxies, may hold hardly a star
DEFAULT_SETTINGS = SubtractionSettings()


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
    if np.array_equal(science.data, template.data):
        raise SubtractionFailedError("the template is the frame itself: give another exposure of the field")
    transform = register(science_stars, template_stars, science.shape, template.shape)
    science_common, template_common = _common(science_stars, template_stars, transform)
    mine = _side(science, science_common)
    other = _on_science_grid(template, template_common, transform)
    return _matched(_task(mine, other), transform, science_stars, settings)


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
    if transform.identity:
        return _side(template, stars)
    whole = fill(template, build_psf(template, stars, limit=STARS_FOR_CORES))
    moved = resample(template, whole.data, transform)
    holes = unusable(replace(moved, variance=np.ones_like(moved.variance)))
    x, y = transform.inverse(stars["x"], stars["y"])
    places = np.zeros(len(stars), dtype=[("x", "f8"), ("y", "f8"), ("flux", "f8")])
    places["x"], places["y"], places["flux"] = x, y, stars["flux"]
    filled = Filled(moved.data, holes, doubt_of(moved.data, holes, moved.variance))
    return Side(moved, filled, sky_variance(moved, holes), build_psf(moved, places))


def _task(mine: Side, other: Side) -> Task:
    """Who is convolved with the kernel, and the other one broadened where neither is the sharper."""
    roles = choose(mine.psf, other.psf)
    target, source = (mine, other) if roles.convolved == "template" else (other, mine)
    if not roles.broadening:
        return Task(target, source, target.filled.data, roles, target.psf)
    wide = gaussian(roles.broadening)
    data = convolve_varying(target.filled.data, wide[None], [(0, 0)])
    return Task(target, source, data, roles, _broadened(target.psf, wide))


def _matched(task: Task, transform: Transform, stars: Stars, settings: SubtractionSettings) -> Difference:
    """The difference with the highest kernel order that passes its self-check."""
    pair = fitstamps.Pair(
        task.target_data,
        task.source.filled.data,
        _bad(task.target, task.roles.broadening),
        _bad(task.source, task.roles.sigma),
        task.target.sky,
        task.source.sky,
        task.psf.fwhm(),
    )
    chosen = fitstamps.choose_stars(stars, pair)
    if not len(chosen):
        raise SubtractionFailedError(
            f"no clean star with a peak of {fitstamps.MIN_SIGNAL:g} sigma on both frames to fit the kernel on"
        )
    empty = fitstamps.choose_sky(stars, pair)
    reach = int(np.clip(np.ceil(KERNEL_SIGMAS * task.roles.sigma), settings.kernel_half, LARGEST_KERNEL_HALF))
    basis = make_basis(task.roles.sigmas, reach)
    stamps = fitstamps.cut(pair, chosen, empty, basis)
    noise = Noise(
        target_gain=task.target.image.gain,
        source_gain=task.source.image.gain,
        psf_sigma=task.psf.fwhm() / FWHM_PER_SIGMA,
        target_sigma=task.roles.broadening,
        kernel_sigma=task.roles.sigma,
    )
    sky_order = min(settings.background_order, _order(STAMPS_FOR_SKY, len(chosen) + len(empty)))
    complaints = []
    for order in range(min(_order(STARS_FOR_ORDER, len(chosen)), settings.max_kernel_order), -1, -1):
        kernel = fit(stamps, basis, order, sky_order, noise)
        complaint = _unbelievable(kernel)
        if complaint is None:
            difference = apply_kernel(task, kernel, transform)
            width = difference.figures["score_width"]
            if not np.isfinite(width) or WIDTH_LIMITS[0] <= width <= WIDTH_LIMITS[1]:
                return difference
            complaint = f"score width {width:.2f} in blank sky"
        complaints.append(f"order {order}: {complaint}")
    raise SubtractionFailedError(f"no kernel passes its self-check on {len(chosen)} stars: " + "; ".join(complaints))


def _order(needed: tuple[int, ...], stamps: int) -> int:
    """Highest polynomial order that so many stamps carry."""
    return int(np.searchsorted(needed, stamps, side="right")) - 1


def _bad(side: Side, sigma: float) -> NDArray[np.bool_]:
    """Pixels that must not take part in the fit: holes grown by a kernel's core, and what the frame does not cover."""
    bad = side.filled.holes | ((side.image.mask & np.uint16(Bit.EDGE)) != 0)
    reach = int(np.ceil(2 * sigma))
    return grow(bad, reach)


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
