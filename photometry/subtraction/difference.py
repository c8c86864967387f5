"""What a subtraction gives."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from photometry.image import Image
from photometry.psf import PsfModel
from photometry.registration import Transform
from photometry.subtraction.score import Optics


@dataclass(frozen=True)
class Difference:
    """Science minus matched template, on the science frame's grid and flux scale.

    image        data: the difference; variance: without the light of what changed; mask: the science frame's bits low, the
                 template's high, FILLED and HALO bits added; finite everywhere
    score        (ny, nx) float32, signed significance, 0 where masked
    psf          of the difference;  convolved  which frame was matched to the other;  preconvolved  the science frame was
                 first convolved with its own PSF's width
    kernel_sum   flux scale: science units per template unit
    transform    science pixel -> template pixel
    template     (ny, nx) float32: the template on the science grid, matched where it was convolved, science flux scale
    optics       kernels and PSF by place; target_variance, source_variance (ny, nx) float32: what SCORE's noise is made of,
                 in science units^2
    figures      numbers of the fit and its self-check
    """

    image: Image
    score: NDArray[np.float32]
    psf: PsfModel
    convolved: Literal["science", "template"]
    kernel_sum: float
    preconvolved: bool
    transform: Transform
    template: NDArray[np.float32]
    optics: Optics
    target_variance: NDArray[np.float32]
    source_variance: NDArray[np.float32]
    figures: dict[str, float] = field(default_factory=dict)
