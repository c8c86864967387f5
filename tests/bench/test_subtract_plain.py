from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import ndimage

from bench.subtract_plain import Counts, beyond, plain_difference


def test_a_broader_frame_is_matched_to_its_noise_and_a_hole_spreads_as_far_as_the_kernel():
    size, random = 400, np.random.default_rng(1)
    stars = np.zeros(100, [("x", "f8"), ("y", "f8"), ("flux", "f8")])
    stars["x"], stars["y"] = random.integers(10, size - 10, (2, 100))
    stars["flux"] = random.uniform(2e4, 2e5, 100)
    light = np.zeros((size, size))
    np.add.at(light, (stars["y"].astype(int), stars["x"].astype(int)), stars["flux"])
    template = ndimage.gaussian_filter(light, 1.5) + 200
    science = 0.8 * ndimage.gaussian_filter(light, 2.2) + 400
    frames = [Counts(random.poisson(level).astype(np.float32), 1.0, 0.0) for level in (science, template)]
    with ThreadPoolExecutor(1) as threads:
        difference = plain_difference(*frames, stars, threads)
    inner = slice(30, -30), slice(30, -30)
    assert 0.9 < np.std(difference[inner] / np.sqrt(science[inner])) < 1.2
    frames[0].pixels[200, 200] = 0
    assert beyond(frames[0]).sum() == 21**2
