"""The noise of a frame is what its header says."""

import numpy as np
import pytest

from skysim.camera import Camera, add_cosmic_rays, bleed, camera, record, record_average

SHAPE = (400, 400)
QUIET = Camera(SHAPE, cosmic_rays_per_megapixel=0)


@pytest.mark.parametrize("sky", [50.0, 600.0, 5_000.0])
def test_blank_variance_is_photon_and_read_out_noise(sky):
    adu = record(QUIET, np.full(SHAPE, sky), np.random.default_rng(1)).astype(float)
    theory = sky / QUIET.gain**2 + (QUIET.read_noise / QUIET.gain) ** 2 + 1 / 12  # 1/12: digitisation
    assert adu.mean() == pytest.approx(sky / QUIET.gain, abs=0.2)
    assert adu.var() == pytest.approx(theory, rel=0.02)


def test_average_is_quieter_by_its_effective_gain_and_read_out_noise():
    count, sky = 16, 600.0
    adu = record_average(QUIET, np.full(SHAPE, sky), count, np.random.default_rng(1)).astype(float)
    gain, read_noise = QUIET.gain * count, QUIET.read_noise * np.sqrt(count)
    assert adu.mean() == pytest.approx(sky / QUIET.gain, abs=0.05)
    assert adu.var() == pytest.approx(adu.mean() / gain + (read_noise / gain) ** 2, rel=0.02)


def test_bleeding_keeps_charge_and_fills_no_pixel_above_full_well():
    image = np.full((101, 5), 100.0)
    image[50, 2] = 1e6
    before = image.sum()
    bleed(image, 90_000)
    assert image.max() == 90_000
    assert image.sum() == pytest.approx(before)
    assert (image[:, [0, 1, 3, 4]] == 100).all()
    column = image[:, 2]
    assert column == pytest.approx(column[::-1])
    assert (np.diff(np.flatnonzero(column > 100)) == 1).all()


def test_bleeding_off_the_edge_loses_only_what_runs_off():
    image = np.zeros((20, 1))
    image[0, 0] = 1e6
    bleed(image, 90_000)
    assert image.max() == 90_000
    assert image.sum() == pytest.approx(90_000 + (1e6 - 90_000) / 2)


def test_saturated_star_is_above_the_headers_word_whatever_the_read_out_noise():
    light = np.full(SHAPE, 600.0)
    light[200, 200] = 1e7
    adu = record(QUIET, light, np.random.default_rng(3))
    assert adu[195:206, 200].min() >= QUIET.saturation_adu
    assert adu.max() < 65_535


def test_bad_columns_are_the_same_in_each_frame_and_both_kinds():
    bad = camera((2048, 2048), 1)
    assert bad == camera((2048, 2048), 1)
    assert {column.reads_adu for column in bad.bad_columns} == {0, 65_535}
    adu = record(bad, np.full(bad.shape, 600.0), np.random.default_rng(1))
    for column in bad.bad_columns:
        assert (adu[column.start :, column.column] == column.reads_adu).all()


def test_cosmic_rays_are_sharp_tracks_inside_the_frame():
    image = np.zeros(SHAPE)
    add_cosmic_rays(image, 20, np.random.default_rng(4))
    hit = image > 0
    assert 20 <= hit.sum() < 20 * 60
    assert image[hit].min() >= 200
