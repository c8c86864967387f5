"""The compiled loops against plain numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photometry.calibration.stages import smear_of
from photometry.loops import readout
from photometry.loops.bleed import find_saturated, flag_bleeds
from photometry.loops.combine import CLIP_SIGMA, combine, regress
from photometry.loops.radon import bin_residual, flag_strip, sample_strip, sum_lines
from photometry.mask import Bit

RNG = np.random.default_rng(5)


def plane(*shape: int, level: float = 100.0) -> np.ndarray:
    return (level + 10 * RNG.standard_normal(shape)).astype(np.float32)


def test_words_of_a_file():
    values = RNG.integers(0, 65536, (5, 33)).astype(np.int32)
    stored = (values - 32768).astype(">i2")
    out = np.empty(values.shape, np.float32)
    readout.read_words(stored.view(np.uint16), 1.0, 32768.0, out)
    np.testing.assert_array_equal(out, values)
    readout.read_words(stored.view(np.uint16), 0.5, 10.0, out)
    np.testing.assert_array_equal(out, np.float32(0.5) * (values - 32768) + 10)
    floats = plane(4, 9)
    words = floats.astype(">f4").view(np.uint32)
    readout.swap_words(words)
    np.testing.assert_array_equal(words.view(np.float32), floats)


def test_saturation_is_flagged_and_nan_too():
    adu = plane(2, 6, 20, level=1000.0)
    adu[0, 1, 3], adu[1, 2, 5], adu[1, 3, 4], adu[0, 5, 0] = np.nan, 3000, 1999, -np.inf
    expected = np.zeros(adu.shape, np.uint16)
    expected[0, 1, 3] = expected[0, 5, 0] = Bit.BAD
    expected[1, 2, 5] = Bit.SATURATED
    bits = np.full(adu.shape, 77, np.uint16)
    readout.flag_saturated(adu, np.array([4000, 2000], np.float32), bits)
    np.testing.assert_array_equal(bits, expected)
    assert adu[0, 1, 3] == adu[0, 5, 0] == 0


def test_levels_and_linearity():
    adu, levels = plane(3, 4, 11), plane(3, 4)
    terms = np.array([[0, 0], [1e-6, 0], [2e-6, 3e-11]], np.float32)
    expected = adu - levels[:, :, None]
    readout.subtract_levels(adu, levels)
    np.testing.assert_array_equal(adu, expected)
    c1, c2 = terms[:, 0, None, None], terms[:, 1, None, None]
    expected = expected * (1 + c1 * expected + c2 * expected**2)
    readout.linearise(adu, terms)
    np.testing.assert_allclose(adu, expected, rtol=1e-6)


def test_crosstalk_is_a_matrix_over_the_amplifiers():
    adu = plane(4, 3, 17, level=3e4)
    matrix = (1e-3 * RNG.standard_normal((4, 4))).astype(np.float32)
    np.fill_diagonal(matrix, 0)
    out = np.empty_like(adu)
    largest = readout.remove_crosstalk(adu, matrix, out)
    mixed = np.tensordot(matrix, adu, axes=1)
    np.testing.assert_allclose(out, adu - mixed, rtol=1e-6)
    assert largest == pytest.approx(np.abs(mixed).max(), rel=1e-5)


def test_masters_noise_gain_and_flat():
    data, variance, master, noise = (plane(6, 25) for _ in range(4))
    gain, read = plane(25, level=90.0), plane(25, level=50.0)
    value, error = data.copy(), variance.copy()
    readout.subtract_master(value, error, master, noise, 3.0)
    np.testing.assert_allclose(value, data - 3 * master, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(error, variance + 9 * noise, rtol=1e-6)
    signal, error = data - 100, variance.copy()
    readout.add_noise(signal, error, gain, read)
    np.testing.assert_allclose(error, variance + np.maximum(signal, 0) / gain + (read / gain) ** 2, rtol=1e-6)
    value, error = data.copy(), variance.copy()
    readout.apply_gain(value, error, gain)
    np.testing.assert_allclose(value, data * gain, rtol=1e-6)
    np.testing.assert_allclose(error, variance * gain**2, rtol=1e-6)
    flat, scatter = plane(6, 25, level=100) / 100, plane(6, 25) / 1e6
    flat[2, 3] = 0
    value, error, bits = data.copy(), variance.copy(), np.zeros(data.shape, np.uint16)
    readout.divide_flat(value, error, flat, scatter, bits)
    good = flat > 0
    np.testing.assert_allclose(value[good], (data / np.where(good, flat, 1))[good], rtol=1e-5)
    expected = variance / np.where(good, flat, 1) ** 2 + (data / np.where(good, flat, 1) ** 2) ** 2 * scatter
    np.testing.assert_allclose(error[good], expected[good], rtol=1e-4)
    assert bits[2, 3] == Bit.BAD
    assert np.count_nonzero(bits) == 1
    assert (value[2, 3], error[2, 3]) == (data[2, 3], variance[2, 3])


def test_column_sums():
    data, bits = plane(7, 12), np.zeros((7, 12), np.uint16)
    bits[3, 4] = Bit.SATURATED
    bits[2, 5] = Bit.BAD
    sums, saturated = np.ones(12), np.zeros(12)
    readout.add_columns(data, bits, sums, saturated)
    np.testing.assert_allclose(sums, 1 + data.sum(axis=0), rtol=1e-6)
    np.testing.assert_allclose(saturated, np.where(np.arange(12) == 4, data[3, 4], 0), rtol=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 60), st.floats(1e-8, 1e-3), st.integers(0, 2**31))
def test_the_smear_is_undone_exactly(rows, share, seed):
    light = np.random.default_rng(seed).uniform(0, 1e4, (rows, 8))
    read = (1 - share) * light + share * light.sum(axis=0)
    smear = smear_of(read.sum(axis=0), rows, share)
    data = read.astype(np.float32)
    readout.remove_smear(data, smear.line, smear.factor)
    np.testing.assert_allclose(data, light, atol=0.01)


def test_a_bleed_is_followed_to_its_end_and_a_wing_is_not():
    ny, nx = 120, 60
    y, x = np.mgrid[:ny, :nx]
    data = 200 + 3000 * np.exp(-np.hypot(y - 60, x - 30) / 4)
    data[40:90, 30] += 5000
    data[52:70, 29:32] = 60000
    data = data.astype(np.float32)
    variance = np.full(data.shape, 200.0, np.float32)
    bits = np.where(data >= 60000, int(Bit.SATURATED), 0).astype(np.uint16)
    places = find_saturated(bits, 0)
    np.testing.assert_array_equal(places, np.argwhere(bits))
    flag_bleeds(data, variance, bits, places, 0, ny)
    column = np.flatnonzero(bits[:, 30])
    assert (column.min(), column.max()) == (40, 89)
    assert not bits[:, :28].any()
    assert not bits[:, 33:].any()
    # charge does not pass from one half of the chip to the other
    bits = np.where(data >= 60000, int(Bit.SATURATED), 0).astype(np.uint16)
    flag_bleeds(data, variance, bits, places, 45, 120)
    assert np.flatnonzero(bits[:, 30]).min() == 45


def test_combined_frames_have_no_stars_and_their_own_noise():
    values = plane(9, 8, 30)
    variances = np.full(values.shape, 100.0, np.float32)
    flags = np.zeros(values.shape, np.uint16)
    values[4, 3, 7] = 900
    flags[:, 5, 5] = Bit.BAD
    flags[2, 1, 1] = Bit.SATURATED
    values[:, 6, 6] = [-300, 300] * 4 + [0]
    mean, noise, unstable = np.empty((8, 30), np.float32), np.empty((8, 30), np.float32), np.empty((8, 30), bool)
    combine(values, variances, flags, mean, noise, unstable)
    hidden = np.ma.masked_array(values, flags != 0)
    middle = np.ma.median(hidden, axis=0)
    spread = np.maximum(10, 1.4826 * np.ma.median(abs(hidden - middle), axis=0))
    hidden = np.ma.masked_where(abs(hidden - middle) > CLIP_SIGMA * spread, hidden)
    usable = hidden.count(axis=0) > 0
    np.testing.assert_allclose(mean[usable], hidden.mean(axis=0)[usable], rtol=1e-5)
    np.testing.assert_allclose(noise[usable], 100 / hidden.count(axis=0)[usable], rtol=1e-5)
    assert unstable[6, 6]
    assert unstable[5, 5]
    assert unstable.sum() == 2


def test_the_value_where_the_sky_vanishes():
    levels = np.array([300, 900, 500, 700, 320, 880, 410], np.float32)
    dark, slope = plane(5, 9, level=20), 1 + plane(5, 9, level=0.0) / 1000
    values = dark + slope * levels[:, None, None] + RNG.standard_normal((7, 5, 9)).astype(np.float32)
    values = values.astype(np.float32)
    variances, flags = np.full(values.shape, 1.0, np.float32), np.zeros(values.shape, np.uint16)
    values[3, 2, 2] += 500
    flags[:, 4, 4] = Bit.BAD
    at_zero, noise = np.empty((5, 9), np.float32), np.empty((5, 9), np.float32)
    regress(values, variances, flags, levels, np.argsort(levels), at_zero, noise)
    for y, x in ((0, 0), (2, 2), (4, 8)):
        kept = np.arange(7) != (3 if (y, x) == (2, 2) else -1)
        line = np.polyfit(levels[kept], values[kept, y, x], 1)
        assert at_zero[y, x] == pytest.approx(line[1], abs=0.01)
    error = (at_zero - dark) / np.sqrt(np.maximum(noise, 1e-9))
    assert 0.5 < np.std(error[:4]) < 1.6
    assert (at_zero[4, 4], noise[4, 4]) == (0, 0)


@pytest.mark.parametrize("shape", [(8, 5), (11, 16), (1, 4)])
def test_sums_along_lines(shape):
    cells = plane(*shape)
    ny, nx = shape
    sums = sum_lines(cells)
    n = len(sums)

    def line(d: int, h: int) -> list[int]:
        """The offsets of the line's h rows: two halves, joined as the definition says."""
        if h == 1:
            return [0]
        half = line(d // 2, h // 2)
        return half + [(d + 1) // 2 + step for step in half]

    for d in range(n):
        for x in range(-n, nx):
            places = [(y, x + step) for y, step in enumerate(line(d, n)) if y < ny and 0 <= x + step < nx]
            assert sums[d, x + n] == pytest.approx(sum(cells[place] for place in places), rel=1e-5, abs=1e-3)
    assert line(n - 1, n)[-1] == n - 1


def test_cells_strips_and_flags():
    data, bits = plane(12, 20, level=0.0), np.zeros((12, 20), np.uint16)
    data[5, 5], bits[7, 7] = 1e4, Bit.BAD
    cells = np.empty((3, 5), np.float32)
    bin_residual(data, bits, int(Bit.BAD), np.full(5, 10, np.float32), 4, 3.0, cells)
    clipped = np.where(bits, 0, np.clip(data / 10, -3, 3))
    np.testing.assert_allclose(cells, np.clip(clipped.reshape(3, 4, 5, 4).sum(axis=(1, 3)) / 4, -4, 4), rtol=1e-4, atol=1e-5)
    sky = np.full((1, 1), 2.0, np.float32)
    out = np.empty((2, 3), np.float32)
    sample_strip(data, bits, int(Bit.BAD), sky, 20, 10.0, np.array([1.0, 6.0, 17.0, 6.0]), 1, 8, out)
    for k in range(2):
        for t, y in enumerate((5, 6, 7)):
            part = np.where(bits[y] != 0, np.nan, data[y])[1 + 8 * k : 9 + 8 * k]
            assert out[k, t] == pytest.approx((np.nanmedian(part) - 2) / 10, abs=1e-4)
    flagged = np.zeros((40, 50), np.uint16)
    ends = np.array([5.0, 8.0, 40.0, 30.0])
    flag_strip(flagged, ends, 3.0, 8)
    y, x = np.mgrid[:40, :50]
    way = (ends[2:] - ends[:2]) / np.hypot(*(ends[2:] - ends[:2]))
    along, across = (x - 5) * way[0] + (y - 8) * way[1], (y - 8) * way[0] - (x - 5) * way[1]
    inside = (abs(across) <= 3) & (along >= 0) & (along <= np.hypot(35, 22))
    assert (flagged[inside] == 8).all()
    assert not flagged[(abs(across) > 3) | (along < -3) | (along > np.hypot(35, 22) + 3)].any()
