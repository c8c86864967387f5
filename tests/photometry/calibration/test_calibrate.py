"""A raw frame whose truth is known comes back as it fell on the detector, with the noise that the variance says."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from bench.raw_camera import ast3_like, expose, make_camera
from photometry.calibration import NO_MASTERS, Master, Masters, calibrate
from photometry.calibration.overscan import SMOOTHED_ROWS, measure_level
from photometry.errors import BadFrameError
from photometry.fits_map import Pixels
from photometry.mask import Bit

SIDE = 192
SECONDS = 30.0


def pixels_of(raw: np.ndarray) -> Pixels:
    return Pixels(raw, 1.0, 0.0, None, fits.Header(), [])


@pytest.fixture(scope="module")
def threads():
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture(scope="module")
def camera():
    rng = np.random.default_rng(3)
    talk = rng.uniform(0, 5e-4, (16, 16)) * (1 - np.eye(16))
    ast3 = ast3_like(SIDE, crosstalk=talk, row_seconds=1e-3)
    bent = tuple(
        replace(port, linearity=(1e-7 * i, 1e-12 * i), gain=1.5 + 0.02 * i, corner=port.corner.replace("left", side))
        for i, (port, side) in enumerate(zip(ast3.amplifiers, ("left", "right") * 8, strict=True))
    )
    return make_camera(replace(ast3, amplifiers=bent), 1)


def exact(camera, **changes) -> Masters:
    none = np.zeros(camera.chip.chip_shape, np.float32)
    gains = np.empty(camera.chip.chip_shape, np.float32)
    for channel in camera.chip.amplifiers:
        gains[channel.chip] = channel.gain
    made = {
        "bias": Master(camera.bias, none),
        "dark": Master(camera.dark / gains, none),
        "flats": {"i": Master(camera.flat, none)},
    }
    return Masters(**{**made, **changes})


@pytest.fixture(scope="module")
def light():
    field = np.full((SIDE, SIDE), 3000.0, np.float32)
    y, x = np.mgrid[:SIDE, :SIDE]
    for a, b in ((30, 40), (100, 150), (160, 20)):
        field += (40000 * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 8)).astype(np.float32)
    return field


def test_what_fell_on_the_detector_comes_back(camera, light, threads):
    found = calibrate(pixels_of(expose(camera, light, SECONDS, 1)), camera.chip, exact(camera), SECONDS, "i", threads)
    image = found.image
    off = (image.data - light) / np.sqrt(image.variance)
    assert np.std(off) == pytest.approx(1.0, abs=0.02)
    for channel in camera.chip.amplifiers:
        assert abs(np.mean(off[channel.chip])) < 0.12
    stars = light > 10000
    assert abs(np.mean(off[stars])) < 0.15
    assert (image.unit, image.gain) == ("electron", 1.0)
    assert not image.mask.any()
    assert found.notes == ()
    assert found.figures["smear_share"] == pytest.approx(1e-3 / SECONDS * SIDE / 2)
    assert len(found.figures["overscan_adu"]) == 16
    assert found.figures["crosstalk_largest_electrons"] > 5


@pytest.mark.parametrize("forgotten", ["crosstalk", "linearity", "row_seconds", "bias", "dark"])
def test_each_stage_matters(camera, light, threads, forgotten):
    chip, masters = camera.chip, exact(camera)
    if forgotten in {"crosstalk", "row_seconds"}:
        chip = replace(chip, **{forgotten: None})
    elif forgotten == "linearity":
        chip = replace(chip, amplifiers=tuple(replace(channel, linearity=(0.0, 0.0)) for channel in chip.amplifiers))
    else:
        masters = replace(masters, **{forgotten: None})
    raw = pixels_of(expose(camera, light, SECONDS, 1))
    whole = calibrate(raw, camera.chip, exact(camera), SECONDS, "i", threads).image
    image = calibrate(raw, chip, masters, SECONDS, "i", threads).image
    blank = light == light.min()
    assert np.mean((image.data - light)[blank] ** 2) > np.mean((whole.data - light)[blank] ** 2)
    assert np.sqrt(np.mean((image.data - whole.data)[blank] ** 2)) > 3.0


def test_the_pieces_in_which_it_is_done_do_not_matter(camera, light, threads, monkeypatch):
    raw = pixels_of(expose(camera, light, SECONDS, 1))
    whole = calibrate(raw, camera.chip, exact(camera), SECONDS, "i", threads).image
    monkeypatch.setattr("photometry.calibration.rawframe.BAND_PIXELS", 5 * SIDE * 2)
    parts = calibrate(raw, camera.chip, exact(camera), SECONDS, "i", threads).image
    np.testing.assert_allclose(parts.data, whole.data, rtol=1e-6)
    np.testing.assert_allclose(parts.variance, whole.variance, rtol=1e-6)
    np.testing.assert_array_equal(parts.mask, whole.mask)


def test_masters_noise_is_in_the_variance(camera, threads):
    noisy = Master(camera.bias, np.full(camera.bias.shape, 100.0, np.float32))
    raw = pixels_of(expose(camera, 3000.0, SECONDS, 1))
    plain = calibrate(raw, camera.chip, exact(camera), SECONDS, "i", threads).image
    more = calibrate(raw, camera.chip, exact(camera, bias=noisy), SECONDS, "i", threads).image
    gain, flat = camera.chip.amplifiers[0].gain, camera.flat
    corner = camera.chip.amplifiers[0].chip
    np.testing.assert_allclose((more.variance - plain.variance)[corner], 100 * gain**2 / flat[corner] ** 2, rtol=1e-3)


def test_saturation_bleeding_and_the_masters_mask(camera, threads):
    light = np.full((SIDE, SIDE), 500.0, np.float32)
    light[20:30, 50] = 3e5
    bad = np.zeros((SIDE, SIDE), np.uint8)
    bad[7, 9] = Bit.BAD
    raw = pixels_of(expose(camera, light, SECONDS, 1))
    found = calibrate(raw, camera.chip, exact(camera, mask=bad), SECONDS, "i", threads)
    mask = found.image.mask
    assert (mask[19:31, 49:52] & Bit.SATURATED).all()
    assert found.figures["saturated_fraction"] == pytest.approx(10 / SIDE**2)
    assert mask[7, 9] == Bit.BAD
    # what the converter cut off 10 saturated rows smears as much again, at most: 1e-3 / 30 of 1e6 electrons
    assert found.figures["smear_uncertain_columns"] == 1
    assert (mask[:96, 50] & Bit.HALO).all()
    assert not (mask[96:, 50] & Bit.HALO).any()


def test_a_saturated_frame_is_refused(camera, threads):
    with pytest.raises(BadFrameError, match="saturated: 100% of the pixels"):
        calibrate(pixels_of(np.full(camera.chip.shape, 65535, np.uint16)), camera.chip, NO_MASTERS, SECONDS, "i", threads)


def test_what_is_missing_is_said_and_the_rest_is_done(camera, threads):
    raw = pixels_of(expose(camera, 3000.0, SECONDS, 1))
    notes = calibrate(raw, camera.chip, NO_MASTERS, None, "g", threads).notes
    assert [note.split(":")[0] for note in notes] == [
        "no master flat of the filter 'g'", "no master bias", "no master dark",
        "the header does not say how long the exposure was",
    ]  # fmt: skip
    notes = calibrate(raw, camera.chip, exact(camera), None, "i", threads).notes
    assert [note.rsplit(":", 1)[1] for note in notes] == [" the dark is not subtracted", " the smear is not removed"]


def test_blank_pixels_are_bad(camera, threads):
    raw = expose(camera, 3000.0, SECONDS, 1).astype(np.float32)
    raw[5, 6] = np.nan
    image = calibrate(pixels_of(raw), camera.chip, exact(camera), SECONDS, "i", threads).image
    assert image.mask[5, 6] == Bit.BAD
    assert np.isfinite(image.data).all()
    assert (image.variance > 0).all()


class TestOverscan:
    def strip(self, rows=600, columns=20, noise=5.0, seed=1):
        return (1000 + noise * np.random.default_rng(seed).standard_normal((rows, columns))).astype(np.float32)

    def test_a_steady_level_is_smoothed(self):
        found = measure_level(self.strip())
        assert found.smoothed
        assert found.noise == pytest.approx(5.0, rel=0.05)
        assert np.std(found.rows - 1000) < 2 * 5 / np.sqrt(17 * SMOOTHED_ROWS)
        assert found.variance < 0.25

    def test_a_level_that_jumps_from_row_to_row_is_not(self):
        jumps = np.random.default_rng(2).normal(0, 10, 600).astype(np.float32)
        found = measure_level(self.strip() + jumps[:, None])
        assert not found.smoothed
        assert np.std(found.rows - 1000 - jumps) == pytest.approx(5 / np.sqrt(17), rel=0.15)
        assert found.variance == pytest.approx(25 / 17, rel=0.15)

    def test_a_slow_drift_is_followed(self):
        drift = np.linspace(0, 50, 600, dtype=np.float32)
        found = measure_level(self.strip() + drift[:, None])
        assert np.abs(found.rows - 1000 - drift)[20:-20].max() < 1.5

    def test_a_bright_stars_trail_changes_nothing(self):
        trail = np.zeros((600, 20), np.float32)
        trail[200:206] = 3000 * np.exp(-np.arange(20) / 2)
        trail[400] = 500
        found = measure_level(self.strip() + trail)
        assert np.abs(found.rows - 1000).max() < 1.0
        assert found.mended >= 1
