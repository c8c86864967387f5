"""A fitted kernel put to work: the difference, its noise, its flags, its score."""

from concurrent.futures import Executor

import numpy as np

from photometry.mask import BAD_BITS
from photometry.registration import Transform
from photometry.settings import Gpu
from photometry.subtraction.difference import Difference
from photometry.subtraction.dipoles import flag_dipoles
from photometry.subtraction.finish import flag_halos, flatten, look_for_sky
from photometry.subtraction.gpu import choose
from photometry.subtraction.planes import Planes
from photometry.subtraction.raw import Plane
from photometry.subtraction.sides import Task
from photometry.subtraction.significance import Optics, Scorer, robust_width
from photometry.subtraction.solve import Kernel
from photometry.subtraction.sweep import Job, Swept, doubled

CHECKED_BANDS = 8  # of rows for the self-check at least, where no score is wanted
ROWS = 60  # that a thread looks at together
EDGE_SIGMAS = 3.0  # widths of a kernel that may not reach beyond the frame


def apply_kernel(
    task: Task, kernel: Kernel, transform: Transform, planes: Planes, threads: Executor, gpu: Gpu
) -> Difference:
    """Difference, noise, mask and score with that kernel, on the science frame's flux scale, written to `planes`.

    GpuUnavailableError: a GPU is required and none works.
    """
    job = Job(
        target=task.target.plate,
        source=task.source.plate,
        kernel=kernel,
        wide=task.wide,
        margins=(int(np.ceil(EDGE_SIGMAS * task.roles.broadening)), int(np.ceil(EDGE_SIGMAS * task.roles.sigma))),
        science_convolved=task.science_convolved,
    )
    swept, on_gpu, note = choose.sweep(gpu, job, planes, threads)
    quiet = look_for_sky(swept, task.psf.fwhm, threads)
    flatten(swept, quiet.sky, threads)
    flag_halos(swept, kernel.planes.shape[-1] // 2, threads)
    moved = flag_dipoles(swept, task.psf, threads)
    optics = Optics(task.psf, kernel, task.wide, swept.shape)
    figures = _scored(swept, optics, quiet.lit, planes, threads)
    return Difference(
        planes=planes,
        psf=task.psf,
        convolved=task.roles.convolved,
        kernel_sum=1 / kernel.kernel_sum if task.science_convolved else kernel.kernel_sum,
        preconvolved=task.roles.broadening > 0,
        transform=transform,
        optics=optics,
        swept=swept,
        gain=task.science.plate.gain,
        unit=task.science.plate.raw.unit,
        figures={**figures, **_facts(task, kernel, transform), "stars_moved": float(moved), "on_gpu": float(on_gpu)},
        notes=() if note is None else (note,),
    )


def _scored(swept: Swept, optics: Optics, lit: np.ndarray, planes: Planes, threads: Executor) -> dict[str, float]:
    """Write the score, if it is wanted; the self-check on every fourth pixel of the blank sky."""
    ny = swept.shape[0]
    scorer = Scorer(optics, swept)

    def look(y0: int) -> tuple[Plane, Plane, float]:
        rows = slice(y0, min(y0 + ROWS, ny))
        score = scorer.rows(rows.start, rows.stop)
        if planes.score is not None:
            planes.score[rows] = score
        bad = (planes.bits(rows) & np.uint16(BAD_BITS)) != 0
        half = slice(y0 // 2, (rows.stop + 1) // 2)
        blank = (lit[half] == 0) & ~bad[::2, ::2]
        sigma = np.sqrt(doubled(swept.variance, half.start, half.stop, 0, lit.shape[1]))
        return score[::2, ::2][blank], (planes.pixels(rows)[::2, ::2] / sigma)[blank], float(bad.mean())

    step = ROWS if planes.score is not None else ROWS * max(ny // (ROWS * CHECKED_BANDS), 1)
    parts = list(threads.map(look, range(0, ny, step)))
    return {
        "score_width": robust_width(np.concatenate([score for score, _, _ in parts])),
        "difference_width": robust_width(np.concatenate([pulls for _, pulls, _ in parts])),
        "unmasked_share": 1 - float(np.mean([bad for _, _, bad in parts])),
    }


def _facts(task: Task, kernel: Kernel, transform: Transform) -> dict[str, float]:
    """What the fit, the PSFs and the registration say of themselves."""
    return {
        "kernel_sum": kernel.kernel_sum,
        "kernel_order": float(kernel.order),
        "kernel_stars": float(kernel.stamps),
        "kernel_stars_clipped": float(kernel.clipped),
        "kernel_chi2": kernel.chi2,
        "science_fwhm_pixels": task.science.psf.fwhm,
        "template_fwhm_pixels": task.template.psf.fwhm,
        "registration_stars": float(transform.stars),
        "registration_rms_pixels": transform.rms_pixels,
    }
