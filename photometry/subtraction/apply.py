"""A fitted kernel put to work: the difference, its noise, its flags, its score."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from photometry.grow import grow
from photometry.mask import BAD_BITS
from photometry.registration import Transform
from photometry.subtraction.convolve import convolve_varying, frame_uv
from photometry.subtraction.difference import Difference
from photometry.subtraction.flagging import flags
from photometry.subtraction.residual_sky import residual_sky
from photometry.subtraction.roles import gaussian
from photometry.subtraction.score import Optics, difference_variance, robust_width, score_map
from photometry.subtraction.sides import Task
from photometry.subtraction.solve import Kernel

Plane = NDArray[np.float32]

BLANK_SHARE = 0.15  # of a pixel's sigma: with less source light it is blank sky


def apply_kernel(task: Task, kernel: Kernel, transform: Transform) -> Difference:
    """Difference, noise, mask and score with that kernel, on the science frame's flux scale."""
    target, source = task.target, task.source
    matched = convolve_varying(source.filled.data, kernel.planes, kernel.powers)
    resid = task.target_data - matched - _sky(kernel, target.image.shape)
    optics = _optics(task, kernel)
    own = _with_light(target.sky, matched, target.image.gain)
    through = _with_light(source.sky, source.filled.data, source.image.gain)
    variance = difference_variance(own, through, optics)
    sigma = np.sqrt(variance)
    blank = _blank(matched, sigma, task.psf.fwhm()) & ~(target.filled.holes | source.filled.holes)
    resid -= residual_sky(resid, sigma, blank & _blank(resid, sigma, task.psf.fwhm()))
    # what counts for a source is the noise of sums over pixels, which a convolution does not lessen
    mask = flags(task, optics, matched, resid, np.sqrt(own + np.float32(kernel.kernel_sum**2) * through))
    # K carries the flux scale: both variances go the same way as the difference
    factor = np.float32(-1 / kernel.kernel_sum if task.science_convolved else 1)
    resid, variance, own, through = resid * factor, variance * factor**2, own * factor**2, through * factor**2
    bad = (mask & np.uint16(BAD_BITS)) != 0
    score = score_map(resid, bad, own, through, optics)
    blank &= ~bad
    sparse = (slice(None, None, 2), slice(None, None, 2))
    figures = {
        "score_width": robust_width(score[sparse][blank[sparse]]),
        "difference_width": robust_width((resid[sparse] / np.sqrt(variance[sparse]))[blank[sparse]]),
        "unmasked_share": float(1 - bad.mean()),
        **_facts(task, kernel, transform),
    }
    return Difference(
        image=replace(task.science.image, data=resid, variance=variance, mask=mask),
        score=score,
        psf=task.psf,
        convolved=task.roles.convolved,
        kernel_sum=1 / kernel.kernel_sum if task.science_convolved else kernel.kernel_sum,
        preconvolved=task.roles.broadening > 0,
        transform=transform,
        template=target.filled.data * np.float32(1 / kernel.kernel_sum) if task.science_convolved else matched,
        optics=optics,
        target_variance=own,
        source_variance=through,
        figures=figures,
    )


def _facts(task: Task, kernel: Kernel, transform: Transform) -> dict[str, float]:
    """What the fit, the PSFs and the registration say of themselves."""
    return {
        "kernel_sum": kernel.kernel_sum,
        "kernel_order": float(kernel.order),
        "kernel_stars": float(kernel.stamps),
        "kernel_stars_clipped": float(kernel.clipped),
        "kernel_chi2": kernel.chi2,
        "science_fwhm_pixels": task.science.psf.fwhm(),
        "template_fwhm_pixels": task.template.psf.fwhm(),
        "registration_stars": float(transform.stars),
        "registration_rms_pixels": transform.rms_pixels,
    }


def _blank(light: Plane, sigma: Plane, fwhm: float) -> NDArray[np.bool_]:
    """Where no source is seen, chosen by place and not by the noise of a pixel, which would bias what is measured there.

    Found on pixels of 2 x 2.
    """
    ny, nx = light.shape
    even = np.pad(light, ((0, ny % 2), (0, nx % 2)), mode="edge") if ny % 2 or nx % 2 else light
    coarse = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) * np.float32(0.25)
    reach = max(1, round(fwhm / 4))
    smooth = ndimage.uniform_filter(coarse, 2 * reach + 1)
    own = robust_width(smooth[::2, ::2] - np.percentile(smooth[::2, ::2], 35))
    lit = smooth > np.maximum(np.float32(BLANK_SHARE) * sigma[::2, ::2], np.float32(3 * own))
    return ~np.repeat(np.repeat(grow(lit, reach), 2, axis=0), 2, axis=1)[:ny, :nx]


def _sky(kernel: Kernel, shape: tuple[int, int]) -> Plane:
    """The fitted sky between the frames, (ny, nx)."""
    u, v = frame_uv(shape, np.arange(shape[1]), np.arange(shape[0]))
    out = np.zeros(shape, np.float32)
    for (a, b), value in zip(kernel.sky_powers, kernel.sky_terms, strict=True):
        if value:
            out += np.outer((value * v**b).astype(np.float32), (u**a).astype(np.float32))
    return out


def _optics(task: Task, kernel: Kernel) -> Optics:
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
    return np.asarray(np.maximum(sky + light / np.float32(gain), np.float32(0.3) * sky))
