"""Subtraction of a template: register, resample, measure both PSFs, match, subtract, flag, weigh.

Guarantees: the difference is finite, on the science frame's grid and flux scale; its self-check is in `figures`.  Fails with
TemplateMismatchError (frames that do not belong together), SubtractionFailedError (no kernel that passes its checks) and
GpuUnavailableError (one is required and none works).
Alard & Lupton 1998, Alard 2000; the score after Zackay & Ofek 2017.
"""

from concurrent.futures import Executor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from photometry.errors import SubtractionFailedError, TemplateMismatchError
from photometry.image import Image
from photometry.psf import PsfModel, build_psf
from photometry.psf_stars import FWHM_PER_SIGMA
from photometry.registration import Transform, register
from photometry.resample import resample
from photometry.subtraction import fitstamps
from photometry.subtraction.apply import apply_kernel
from photometry.subtraction.basis import make_basis
from photometry.subtraction.cores import fit_cores
from photometry.subtraction.difference import Difference
from photometry.subtraction.fourier import convolved
from photometry.subtraction.planes import Planes
from photometry.subtraction.plate import Plate
from photometry.subtraction.roles import choose, gaussian
from photometry.subtraction.settings import SubtractionSettings
from photometry.subtraction.sides import Exposure, Side, Task, exposure_of, whole_image
from photometry.subtraction.solve import Kernel, Noise, fit
from photometry.threads import start_threads

Stars = NDArray[np.void]

STAMPS_FOR_SKY = (0, 10, 40)  # stamps of stars and sky from which its order 0, 1, 2 is fitted
FEWEST_STARS = 5  # of fewer one that varies, or is a galaxy, rules the kernel
STARS_FOR_ORDER = (0, 5, 25, 150)  # star stamps from which order 0, 1, 2, 3 is tried
KERNEL_SIGMAS = 6.0  # half-width of the kernel, in widths of the Gaussian between the PSFs
LARGEST_KERNEL_HALF = 25  # pixels
CHI2_LIMIT = 3.0  # of the median star, with all that varies left out: beyond it the kernel is none of these frames'
WIDTH_LIMITS = (0.5, 3.0)  # of the score's width in blank sky, beyond which a fit is not believed
STARS_FOR_PSF = 300
SAMPLED_ROWS = 16  # that say whether two frames are one
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
    shape, other = science.shape, template.shape
    if shape != other:
        raise TemplateMismatchError(
            f"the frame is {shape[1]} x {shape[0]} px, its template {other[1]} x {other[0]}: use a template of the same size"
        )
    mine, theirs = exposure_of(science, science_stars), exposure_of(template, template_stars)
    with start_threads() as threads:
        return subtract_exposures(mine, theirs, Planes.in_memory(shape), settings, threads)


def subtract_exposures(
    science: Exposure, template: Exposure, planes: Planes, settings: SubtractionSettings, threads: Executor
) -> Difference:
    """Science minus matched template, frames of one shape, written to `planes`."""
    shape = science.plate.shape
    if _same(science, template):
        raise SubtractionFailedError("the template is the frame itself: give another exposure of the field")
    transform = register(science.stars, template.stars, shape, shape)
    science_common, template_common = _common(science.stars, template.stars, transform)
    # where the template must be resampled, its PSF before is for its saturated cores alone
    limits = (STARS_FOR_PSF, STARS_FOR_PSF if transform.identity else STARS_FOR_CORES)
    frames = ((science, science_common), (template, template_common))
    psfs = threads.map(lambda frame, limit: build_psf(frame[0].plate, frame[1], limit=limit), frames, limits)
    mine, other = [_side(exposure, psf, threads) for (exposure, _), psf in zip(frames, list(psfs), strict=True)]
    if not transform.identity:
        other = _on_science_grid(other.plate, template_common, transform)
    return _matched(_task(mine, other), transform, science, planes, settings, threads)


def _same(science: Exposure, template: Exposure) -> bool:
    """Whether the two are one frame, by some rows of it."""
    ny, nx = science.plate.shape
    rows = [slice(y, y + 1) for y in np.linspace(0, ny - 1, SAMPLED_ROWS).astype(int).tolist()]
    whole = slice(0, nx)
    frames = (science.plate.raw, template.plate.raw)
    mine, other = (np.concatenate([raw.counts(row, whole)[0] for row in rows]) for raw in frames)
    return np.array_equal(mine, other, equal_nan=True)


def _common(science: Stars, template: Stars, transform: Transform) -> tuple[Stars, Stars]:
    """The stars that are on both frames: no cosmic rays, nothing that moves or is new; all where too few are common."""
    x, y = transform(science["x"], science["y"])
    tree = cKDTree(np.stack([template["x"], template["y"]], axis=1))
    distance, which = tree.query(np.stack([x, y], axis=1), distance_upper_bound=COMMON_PIXELS)
    near = np.isfinite(distance)
    if near.sum() < ENOUGH_COMMON:
        return science, template
    return science[near], template[np.unique(which[near])]


def _side(exposure: Exposure, psf: PsfModel, threads: Executor) -> Side:
    """The frame with its saturated cores filled."""
    cores = fit_cores(exposure.plate, exposure.saturated, psf, threads)
    return Side(replace(exposure.plate, cores=cores), psf)


def _on_science_grid(template: Plate, stars: Stars, transform: Transform) -> Side:
    """The template where the science frame's pixels are."""
    whole = whole_image(template)
    moved = resample(whole, whole.data, transform)
    x, y = transform.inverse(stars["x"], stars["y"])
    places = stars.copy()
    places["x"], places["y"] = x, y
    exposure = exposure_of(moved, places)
    return Side(replace(exposure.plate, filled=True), build_psf(exposure.plate, exposure.stars))


def _task(mine: Side, other: Side) -> Task:
    """Who is convolved with the kernel, and the other one broadened where neither is the sharper."""
    roles = choose(mine.psf, other.psf)
    target, source = (mine, other) if roles.convolved == "template" else (other, mine)
    if not roles.broadening:
        return Task(target, source, roles, None, target.psf)
    wide = gaussian(roles.broadening)
    return Task(target, source, roles, wide.astype(np.float32), _broadened(target.psf, wide))


def _matched(
    task: Task, transform: Transform, science: Exposure, planes: Planes, settings: SubtractionSettings, threads: Executor
) -> Difference:
    """The difference with the highest kernel order that passes its self-check."""
    pair = fitstamps.Pair(
        target=task.target.plate,
        source=task.source.plate,
        wide=task.wide,
        target_core=int(np.ceil(2 * task.roles.broadening)),
        source_core=int(np.ceil(2 * task.roles.sigma)),
        fwhm=task.psf.fwhm,
    )
    reach = int(np.clip(np.ceil(KERNEL_SIGMAS * task.roles.sigma), settings.kernel_half, LARGEST_KERNEL_HALF))
    basis = make_basis(task.roles.sigmas, reach)
    stamps = fitstamps.cut(pair, science.stars, basis, threads)
    stars = int(stamps.star.sum())
    if stars < FEWEST_STARS:
        raise SubtractionFailedError(
            f"{stars or 'no'} clean stars with a peak of {fitstamps.MIN_SIGNAL:g} sigma on both frames to fit the kernel on,"
            f" {FEWEST_STARS} are needed"
        )
    noise = Noise(
        target_gain=task.target.plate.gain,
        source_gain=task.source.plate.gain,
        psf_sigma=task.psf.fwhm / FWHM_PER_SIGMA,
        target_sigma=task.roles.broadening,
        kernel_sigma=task.roles.sigma,
    )
    sky_order = min(settings.background_order, _order(STAMPS_FOR_SKY, len(stamps.star)))
    complaints = []
    for order in range(min(_order(STARS_FOR_ORDER, stars), settings.max_kernel_order), -1, -1):
        kernel = fit(stamps, basis, order, sky_order, noise, threads)
        complaint = _unbelievable(kernel)
        if complaint is None:
            difference = apply_kernel(task, kernel, transform, planes, threads, settings.gpu)
            width = difference.figures["score_width"]
            if not np.isfinite(width) or WIDTH_LIMITS[0] <= width <= WIDTH_LIMITS[1]:
                return difference
            complaint = f"score width {width:.2f} in blank sky"
        complaints.append(f"order {order}: {complaint}")
    raise SubtractionFailedError(f"no kernel passes its self-check on {stars} stars: " + "; ".join(complaints))


def _order(needed: tuple[int, ...], stamps: int) -> int:
    """Highest polynomial order that so many stamps carry."""
    return int(np.searchsorted(needed, stamps, side="right")) - 1


def _broadened(psf: PsfModel, kernel: NDArray[np.float64]) -> PsfModel:
    """The PSF after a convolution, its stamps grown by the kernel's."""
    planes = np.stack([convolved(plane, kernel) for plane in psf.planes])
    half = min(planes.shape[-1] // 2, 20)
    cut = slice(planes.shape[-1] // 2 - half, planes.shape[-1] // 2 + half + 1)
    return replace(psf, planes=np.ascontiguousarray(planes[:, cut, cut]))


def _unbelievable(kernel: Kernel) -> str | None:
    """What is wrong with a kernel by itself."""
    total = kernel.kernel_sum
    if not kernel.chi2 < CHI2_LIMIT:
        return f"chi2 {kernel.chi2:.1f} of the stars it was fitted to"
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
