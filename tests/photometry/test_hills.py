"""The tops of a map against a plain merge tree of its pixels, one after the other."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from photometry import hills
from photometry.hills import CONTRAST, FLOOR_SIGMA, LEAST_SIGMA, find_tops
from photometry.loops.smooth import smooth_rows
from photometry.threads import start_threads

THRESHOLD = 5.0


def plain_tops(score):  # noqa: C901  one loop is easier to check than its parts
    """{(y, x): (crowded, number of pixels)} of the sources, pixel by pixel from the highest down; noise 1 everywhere."""
    order = sorted(np.argwhere(score > FLOOR_SIGMA).tolist(), key=lambda at: (-score[tuple(at)], at))
    seat = {}  # pixel -> island
    islands, source, crowded = {}, {}, set()

    def group(top):
        while source[top] != top:
            top = source[top]
        return top

    hill = {}
    for at in map(tuple, order):
        y, x = at
        near = [(b, a) for b in (y - 1, y, y + 1) for a in (x - 1, x, x + 1) if (b, a) in hill]
        if not near:
            hill[at], source[at], seat[at], islands[at] = at, at, at, {at}
            continue
        steepest = min(near, key=lambda n: (-score[n], n))
        hill[at] = hill[steepest]
        own = seat[hill[at]]
        for other in near:
            first, second = own, seat[hill[other]]
            if first == second:
                continue
            if (-score[second], second) < (-score[first], first):
                first, second, side = second, first, hill[other]
            else:
                side = hill[at]
            if score[second] - score[at] < max(LEAST_SIGMA, CONTRAST * score[at]):
                source[group(second)] = group(side)
            elif score[at] > THRESHOLD:
                crowded |= {group(side), group(hill[at] if side == hill[other] else hill[other])}
            for top in islands[second]:
                seat[top] = first
            islands[first] |= islands.pop(second)
            own = first
    sizes = {}
    for top in hill.values():
        sizes[group(top)] = sizes.get(group(top), 0) + 1
    return {top: size for top, size in sizes.items() if score[top] > THRESHOLD}, {group(top) for top in crowded}


def found_tops(score):
    image = SimpleNamespace(
        shape=score.shape,
        data=np.ones(score.shape, np.float32),
        mask=np.zeros(score.shape, np.uint16),
        variance=np.ones(score.shape, np.float32),
    )
    seen = SimpleNamespace(image=image, rows=lambda y0, y1: score[y0:y1])
    sky = SimpleNamespace(noise_at=lambda y, _x: np.ones(y.shape))
    with start_threads() as threads:
        return find_tops(seen, sky, THRESHOLD, slice(0, len(score)), threads)


@given(seed=st.integers(0, 10**6), rows=st.integers(1, 12), width=st.floats(0.6, 2.5), scale=st.floats(3.0, 12.0))
@settings(max_examples=30, deadline=None)
def test_tops_are_those_of_the_merge_tree(seed, rows, width, scale):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((26, 31)), width)
    score = (scale * noise / noise.std() + 2).astype(np.float32)
    before, hills.BAND_ROWS = hills.BAND_ROWS, rows
    try:
        tops = found_tops(score)
    finally:
        hills.BAND_ROWS = before
    expected, crowded = plain_tops(score)
    assert {tuple(at) for at in tops.place.tolist()} == set(expected)
    for at, moments, alone in zip(tops.place.tolist(), tops.moments, ~tops.crowded, strict=True):
        assert moments[0] == expected[tuple(at)]  # light of one each: its pixels
        assert alone == (tuple(at) not in crowded)


def test_moments_are_about_the_top_wherever_the_bands_lie(monkeypatch):
    score = np.zeros((40, 40), np.float32)
    score[5:35, 18:22] = 10
    score[20, 20] = 12
    monkeypatch.setattr(hills, "BAND_ROWS", 3)
    tops = found_tops(score)
    y, x = np.mgrid[5:35, 18:22] - np.array([20, 20])[:, None, None]
    expected = [120, x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()]
    np.testing.assert_allclose(tops.moments, [expected])


@pytest.mark.parametrize(("y0", "y1"), [(0, 5), (3, 20), (15, 20)])
def test_smoothing_is_scipy_s(y0, y1):
    data = np.random.default_rng(1).standard_normal((20, 33)).astype(np.float32)
    weights = np.array([0.5, 0.3, 0.2, 0.1], np.float32)
    both = np.concatenate([weights[:0:-1], weights])
    expected = ndimage.correlate1d(ndimage.correlate1d(data, both, 0, mode="constant"), both, 1, mode="constant")
    out = np.empty((y1 - y0, 33), np.float32)
    smooth_rows(data, weights, y0, out)
    np.testing.assert_allclose(out, expected[y0:y1], atol=1e-6)
