"""Fluxes at known places of a real subtraction."""

import numpy as np
import pytest

from photometry.stars.forced import difference_fluxes
from photometry.subtraction import subtract

SHAPE = (600, 600)
CHANGED = slice(0, None, 6)


@pytest.fixture(scope="module")
def pair(fields, listed):
    """(science, difference, by how much each star changed in the science frame)."""
    grid_field, place = fields
    science = grid_field(4.0, SHAPE, 7.0, (3.7, 5.3), seed=5)
    change = np.zeros(len(science.x))
    change[CHANGED] = np.where(np.arange(len(science.x))[CHANGED] % 4 < 2, 0.3, -0.2) * science.flux[CHANGED]
    template = place(science.x, science.y, science.flux - change, 3.4, SHAPE, 6)
    return science, subtract(science.image, template.image, listed(science), listed(template)), change


def test_what_changed_is_measured_with_its_error(pair, threads, robust):
    science, difference, change = pair
    flux, error = difference_fluxes(difference, science.x, science.y, threads)
    pulls = (flux - change) / error
    faint = np.isfinite(pulls) & (science.flux < 3e4)  # of bright ones the kernel's error is the larger one
    assert faint.sum() > 50
    assert robust(pulls[faint]) == pytest.approx(1.0, abs=0.2)
    assert abs(np.median(pulls[faint])) < 0.3
    changed = np.isfinite(flux) & (change != 0)
    assert np.median(flux[changed] / change[changed]) == pytest.approx(1.0, abs=0.02)
