"""Which frame is convolved: the sharper one, from the PSFs alone."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from photometry.psf import PsfModel

Stamp = NDArray[np.float64]

MARGIN = 0.10  # of a PSF's width: within it two PSFs count as equal, for a kernel so narrow rings between the pixels


@dataclass(frozen=True)
class Roles:
    """convolved: the frame that K is applied to.  sigmas: widths in pixels that K adds along x and y, the frame's mean.

    broadening: sigma of the Gaussian that the science frame is convolved with first, 0 for none.
    """

    convolved: Literal["science", "template"]
    sigmas: tuple[float, float]
    broadening: float

    @property
    def sigma(self) -> float:
        """Pixels: K's width over both axes."""
        return float(np.sqrt((self.sigmas[0] ** 2 + self.sigmas[1] ** 2) / 2))


def choose(science: PsfModel, template: PsfModel) -> Roles:
    """The broader frame must be broader along every axis everywhere, else the science frame is first broadened.

    Compared on a grid of 3 x 3 places by the covariances of the PSFs' cores.
    """
    ny, nx = science.shape
    places = [(x, y) for x in (0.1, 0.5, 0.9) for y in (0.1, 0.5, 0.9)]
    s = np.array([science.covariance(x * (nx - 1), y * (ny - 1)) for x, y in places])
    t = np.array([template.covariance(x * (nx - 1), y * (ny - 1)) for x, y in places])
    template_first = float(np.linalg.det(s).mean()) >= float(np.linalg.det(t).mean())
    if template_first and _broader(s, t):
        return Roles("template", _added(s - t), 0.0)
    if not template_first and _broader(t, s):
        return Roles("science", _added(t - s), 0.0)
    own = float(np.sqrt(np.sqrt(np.linalg.det(s)).mean()))
    return Roles("template", _added(s + own**2 * np.eye(2) - t), own)


def _broader(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether the widths of covariances a exceed those of b along every axis by MARGIN."""
    return bool((np.linalg.eigvals(np.linalg.solve(b, a)).real > (1 + MARGIN) ** 2).all())


def _added(difference: np.ndarray) -> tuple[float, float]:
    """Widths along x and y of the Gaussian that the covariances' differences amount to, at least a third of a pixel."""
    x, y = difference.mean(axis=0).diagonal()
    return float(np.sqrt(max(x, 0.1))), float(np.sqrt(max(y, 0.1)))


def gaussian(sigma: float) -> Stamp:
    """Unit-sum Gaussian, sampled to 4 sigma."""
    half = max(1, int(np.ceil(4 * sigma)))
    line = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    stamp = np.outer(line, line)
    return np.asarray(stamp / stamp.sum())
