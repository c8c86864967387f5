"""Which frame is convolved: the sharper one, from the PSFs alone."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from photometry.psf import PsfModel
from photometry.subtraction.convolve import Stamp

SLACK = 0.10  # of a PSF's width: how much narrower the broader frame may be along an axis before it must be broadened


@dataclass(frozen=True)
class Roles:
    """convolved: the frame that K is applied to.  sigma: width in pixels that K adds (geometric mean, frame's mean).

    broadening: sigma of the Gaussian that the science frame is convolved with first, 0 for none.
    """

    convolved: Literal["science", "template"]
    sigma: float
    broadening: float


def choose(science: PsfModel, template: PsfModel) -> Roles:
    """The broader frame must be broader along every axis everywhere, else the science frame is first broadened.

    Compared on a grid of 3 x 3 places by the covariances of the PSFs' cores.
    """
    ny, nx = science.shape
    places = [(x, y) for x in (0.1, 0.5, 0.9) for y in (0.1, 0.5, 0.9)]
    s = np.array([science.covariance(x * (nx - 1), y * (ny - 1)) for x, y in places])
    t = np.array([template.covariance(x * (nx - 1), y * (ny - 1)) for x, y in places])
    if _broader(s, t):
        return Roles("template", _added(s - t), 0.0)
    if _broader(t, s):
        return Roles("science", _added(t - s), 0.0)
    own = float(np.sqrt(np.sqrt(np.linalg.det(s)).mean()))
    return Roles("template", _added(s + own**2 * np.eye(2) - t), own)


def _broader(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether covariances a exceed b along every axis, by more than SLACK of b's width where it matters."""
    needed = (1 + SLACK) ** 2
    return bool((np.linalg.eigvals(np.linalg.solve(b, a)).real > needed).all())


def _added(difference: np.ndarray) -> float:
    """Mean width of the Gaussian that the covariances' differences amount to, at least a third of a pixel."""
    return float(np.sqrt(max(np.trace(difference, axis1=1, axis2=2).mean() / 2, 0.1)))


def gaussian(sigma: float) -> Stamp:
    """Unit-sum Gaussian, sampled to 4 sigma."""
    half = max(1, int(np.ceil(4 * sigma)))
    line = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    stamp = np.outer(line, line)
    return np.asarray(stamp / stamp.sum())
