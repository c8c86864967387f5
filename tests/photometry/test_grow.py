"""The fast spreads and means against ndimage's."""

import numpy as np
import pytest
from scipy import ndimage

from photometry.grow import grow, mean_of_nine


@pytest.mark.parametrize("reach", [0, 1, 2, 3, 4, 9, 40])
def test_flags_spread_over_squares(reach):
    flags = np.random.default_rng(reach).random((61, 47)) < 0.004
    before = flags.copy()
    expected = ndimage.maximum_filter(flags, 2 * reach + 1, mode="constant")
    np.testing.assert_array_equal(grow(flags, reach), expected)
    np.testing.assert_array_equal(flags, before)


def test_the_mean_of_nine_repeats_the_border():
    data = np.random.default_rng(1).normal(100, 10, (33, 20)).astype(np.float32)
    np.testing.assert_allclose(mean_of_nine(data), ndimage.uniform_filter(data, 3), rtol=1e-6)
