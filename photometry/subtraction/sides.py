"""The two frames of a subtraction on one pixel grid, and which plays which part."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photometry.image import Image
from photometry.psf import PsfModel
from photometry.subtraction.masks import Filled
from photometry.subtraction.roles import Roles

Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Side:
    """One frame on the science grid: filled data, holes, how wrong the filling is, blank sky's variance, its PSF."""

    image: Image
    filled: Filled
    sky: Plane
    psf: PsfModel


@dataclass(frozen=True)
class Task:
    """The fit's inputs: target_data = kernel * source + sky; psf is that of the difference.

    target_data is the target's filled data, broadened where `roles` says so.
    """

    target: Side
    source: Side
    target_data: Plane
    roles: Roles
    psf: PsfModel

    @property
    def science_convolved(self) -> bool:
        """Whether the science frame is the source."""
        return self.roles.convolved == "science"

    @property
    def science(self) -> Side:
        """The science frame's side."""
        return self.source if self.science_convolved else self.target

    @property
    def template(self) -> Side:
        """The template's side."""
        return self.target if self.science_convolved else self.source
