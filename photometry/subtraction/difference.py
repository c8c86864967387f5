"""What a subtraction gives."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from photometry.psf import PsfModel
from photometry.registration import Transform
from photometry.subtraction.direct import convolve_rows
from photometry.subtraction.planes import Planes, Rows
from photometry.subtraction.significance import Optics
from photometry.subtraction.solve import frame_uv
from photometry.subtraction.sweep import Swept


@dataclass(frozen=True)
class Difference:
    """Science minus matched template, on the science frame's grid and flux scale.

    planes       data: the difference; variance: without the light of what changed; mask: the science frame's bits low, the
                 template's high, FILLED and HALO added; score: signed significance, 0 where masked; finite everywhere
    psf          of the difference;  convolved  which frame was matched to the other;  preconvolved  the science frame was
                 first convolved with its own PSF's width
    kernel_sum   flux scale: science units per template unit
    transform    science pixel -> template pixel
    optics       kernels and PSF by place;  swept  the planes as they were made
    gain         electrons per unit of the science frame;  unit  that unit
    figures      numbers of the fit and its self-check; on_gpu: 1 where the GPU made it, else 0
    notes        what an operator should know of how it was made
    """

    planes: Planes
    psf: PsfModel
    convolved: Literal["science", "template"]
    kernel_sum: float
    preconvolved: bool
    transform: Transform
    optics: Optics
    swept: Swept
    gain: float
    unit: str
    figures: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)"""
        return self.swept.shape

    @property
    def score(self) -> Rows:
        """Of a difference whose planes have it."""
        assert self.planes.score is not None
        return self.planes.score

    @property
    def variance(self) -> Rows:
        """Of a difference whose planes have it."""
        assert self.planes.variance is not None
        return self.planes.variance

    def template(self, y0: int, y1: int, x0: int, x1: int) -> NDArray[np.float32]:
        """The template in a rectangle, matched where it was convolved, on the science frame's flux scale."""
        job = self.swept.job
        reach = 0 if job.wide is None else job.wide.shape[0] // 2
        data, _ = job.target.window(y0 - reach, y1 + reach, x0 - reach, x1 + reach)
        if job.science_convolved:
            scales = job.scales(y0, y1)
            u, _ = frame_uv(self.shape, np.arange(x0, x1), np.zeros(1))
            return np.asarray(data / -(scales[:, :1] + scales[:, 1:] * u), np.float32)
        if job.wide is not None:
            convolved = np.empty((y1 - y0, x1 - x0), np.float32)
            convolve_rows(data, job.wide[None], x1 - x0, convolved)
            data = convolved
        return np.asarray(data - self.planes.data[y0:y1, x0:x1], np.float32)
