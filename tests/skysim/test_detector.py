"""Each thing that the detector does to light, against its definition."""

import numpy as np
import pytest

from photometry.errors import BadInputError
from photometry.instrument import load_instrument
from skysim.detector import charge, pattern
from skysim.detector.charge import bleed, collect, smear
from skysim.detector.chip import chip_of
from skysim.detector.pattern import Bias, bias_of, dark, flat, flat_band
from skysim.detector.readout import drift, read_out, signal
from skysim.seeds import bands
from tests.skysim.cameras import small_chip, write_camera

SIDE = (120, 90)


@pytest.fixture
def light():
    return np.random.default_rng(1).uniform(100, 1_000, (2 * SIDE[0], 2 * SIDE[1])).astype(np.float32)


def nothing(chip):
    """A bias of zero: what is read is the signal."""
    n, (h, w) = len(chip.ports), chip.port_shape
    return Bias(np.zeros(n), np.zeros((n, w)), np.zeros((n, h)))


def quiet(monkeypatch):
    """No drift, so that levels are exact."""
    monkeypatch.setattr("skysim.detector.readout.drift", lambda chip, *_: np.zeros((len(chip.ports), chip.port_shape[0])))


def test_smear_adds_each_columns_other_rows(tmp_path, light):
    chip, before = small_chip(tmp_path, side=SIDE, row_seconds=1e-3), light.astype(float)
    smear(light, chip, 2.0)
    e = 1e-3 / 2.0
    for y, x in ((0, 0), (50, 17), (239, 179), (119, 90)):  # the halves of a column know nothing of each other
        half = before[:120, x] if y < 120 else before[120:, x]
        assert light[y, x] == pytest.approx(before[y, x] + e * (half.sum() - before[y, x]), rel=1e-5)


def test_a_shutter_and_no_exposure_do_not_smear(tmp_path, light):
    before = light.copy()
    smear(light, small_chip(tmp_path, side=SIDE, row_seconds=None), 2.0)
    smear(light, small_chip(tmp_path, side=SIDE, row_seconds=1e-3), 0.0)
    assert (light == before).all()


def test_bleeding_keeps_the_charge_in_its_column_and_half(tmp_path):
    chip = small_chip(tmp_path, side=SIDE)
    electrons = np.full(chip.shape, 50.0, np.float32)
    electrons[60, 30], electrons[180, 30] = 1e6, 3e6
    electrons[118, 100] = 2e6  # beside the middle: what would cross it is lost
    full_well = np.array([80_000.0, 90_000.0, 100_000.0, 110_000.0])
    bleed(electrons, chip, full_well)
    assert electrons[:120, 30].sum() == pytest.approx(1e6 + 119 * 50, rel=1e-5)
    assert electrons[120:, 30].sum() == pytest.approx(3e6 + 119 * 50, rel=1e-5)
    assert electrons[120:, 100].max() == 50
    assert electrons[:120, 100].sum() < 2e6
    assert [electrons[port.chip].max() for port in chip.ports] == [80_000, 90_000, 100_000, 50]
    assert np.flatnonzero((electrons > 50).any(axis=0)).tolist() == [30, 100]


def test_photons_and_dark_current_are_poisson():
    shape, seconds = (512, 400), 20.0
    counted = np.full(shape, 300.0, np.float32)
    collect(counted, seconds, 1, 5, (0, 0))
    expected = 300 + seconds * dark(shape, 1).astype(float)
    pull = (counted - expected) / np.sqrt(expected)
    assert pull.mean() == pytest.approx(0, abs=0.01)
    assert pull.var() == pytest.approx(1, abs=4 * np.sqrt(2 / pull.size))
    assert (counted == np.rint(counted)).all()


def test_dark_current_has_a_hot_tail():
    rate = dark((1024, 1024), 1)
    assert np.median(rate) == pytest.approx(pattern.DARK_RATE, rel=0.02)
    assert (rate > 1).mean() == pytest.approx(pattern.HOT_FRACTION, rel=0.2)
    assert rate.max() > 100
    assert (rate == dark((1024, 1024), 1)).all()
    assert (rate != dark((1024, 1024), 2)).any()


def test_flat_has_pixels_vignetting_and_dust_and_a_mean_of_one():
    response = flat((600, 500), 3)
    assert response.mean() == pytest.approx(1, abs=2e-3)
    middle, corner = response[280:320, 230:270].mean(), response[:40, :40].mean()
    assert middle - corner == pytest.approx(pattern.VIGNETTING, abs=0.03)
    rough = (response[:, 1:] - response[:, :-1]).std() / np.sqrt(2)
    assert rough == pytest.approx(pattern.PIXEL_RESPONSE_RMS, rel=0.05)
    ring = max(pattern.dust((600, 500), 3), key=lambda ring: ring.depth)
    y, x = np.indices(response.shape)
    r = np.hypot(y - ring.y, x - ring.x) / ring.radius
    drop = response[(r > 1.05) & (r < 1.2)].mean() - response[(r > 0.65) & (r < 0.85)].mean()
    assert drop == pytest.approx(ring.depth, rel=0.3)


def test_any_band_can_be_made_alone():
    shape = (600, 40)
    whole = flat(shape, 3)
    for i, rows in reversed(list(bands(600))):
        assert (flat_band(shape, 3, i, rows) == whole[rows]).all()


def test_crosstalk_is_at_the_same_distance_from_each_corner(tmp_path):
    chip = small_chip(tmp_path, side=SIDE, crosstalk=1e-3)
    electrons = np.zeros(chip.shape, np.float32)
    electrons[10, 20] = 60_000 * 1.6  # lower left, read at its lower left
    raw = read_out(electrons, chip, nothing(chip), 1, (0, 0)).astype(float)
    chip_image = np.zeros(chip.shape)
    for port in chip.ports:
        chip_image[port.chip] = raw[port.data]
    mirrored = {(10, 179 - 20), (239 - 10, 20), (239 - 10, 179 - 20)}  # the right halves are read at the right
    assert {tuple(at) for at in np.argwhere(chip_image > 40)} == {(10, 20), *mirrored}
    assert [chip_image[at] for at in mirrored] == pytest.approx([60] * 3, abs=25)


def test_crosstalk_is_victims_row_times_aggressors(tmp_path):
    matrix = [[0, 1e-3, 0, 0], [0, 0, 2e-3, 0], [0, 0, 0, 0], [5e-4, 0, 0, 0]]
    chip = small_chip(tmp_path, side=SIDE, crosstalk=matrix, gain=[1.0, 2.0, 1.5, 0.5])
    electrons = np.random.default_rng(1).uniform(0, 5e4, (4, 8, 90)).astype(np.float32)
    adu = electrons / np.array([1.0, 2.0, 1.5, 0.5])[:, None, None]
    expected = adu.copy()
    for v in range(4):
        for a in range(4):
            expected[v] += matrix[v][a] * adu[a]
    assert signal(electrons, chip) == pytest.approx(expected, rel=1e-5)


def test_nonlinearity_is_undone_by_the_instruments_own_formula(tmp_path):
    c1, c2 = -2e-6, 3e-11
    chip = small_chip(tmp_path, side=SIDE, linearity=(c1, c2), gain=2.0)
    electrons = np.linspace(0, 120_000, 4 * 90, dtype=np.float32).reshape(4, 1, 90)
    adu = signal(electrons, chip).astype(float)
    assert adu * (1 + c1 * adu + c2 * adu**2) * 2.0 == pytest.approx(electrons, abs=0.05)
    assert np.abs(adu - electrons / 2.0).max() > 500


@pytest.mark.parametrize("level", [0.0, 200.0, 20_000.0])
def test_noise_is_what_gain_and_read_noise_say(tmp_path, level, monkeypatch):
    quiet(monkeypatch)
    gains, noises = [1.0, 1.6, 2.0, 1.3], [4.0, 8.0, 12.0, 6.0]
    chip = small_chip(tmp_path, side=(300, 200), gain=gains, read_noise=noises)
    electrons = np.full(chip.shape, level, np.float32)
    charge.collect(electrons, 0.0, 1, 7, (0, 0))
    bias = Bias(np.full(4, 1_000.0), np.zeros((4, 200)), np.zeros((4, 300)))
    raw = read_out(electrons, chip, bias, 7, (0, 0)).astype(float)
    for port, gain, noise in zip(chip.ports, gains, noises, strict=True):
        assert raw[port.data].mean() == pytest.approx(1_000 + level / gain, rel=1e-3, abs=0.2)
        assert raw[port.data].var() == pytest.approx(level / gain**2 + (noise / gain) ** 2 + 1 / 12, rel=0.03)
        assert raw[port.overscan].mean() == pytest.approx(1_000, abs=0.5)
        assert raw[port.overscan].var() == pytest.approx((noise / gain) ** 2 + 1 / 12, rel=0.08)


def test_overscan_and_data_share_the_drift_of_their_row(tmp_path):
    chip = small_chip(tmp_path, side=(300, 200), overscan=200, read_noise=1.0)
    walk = drift(chip, 1, (0, 0))
    assert walk.shape == (4, 300)
    bias = Bias(np.full(4, 900.0), np.zeros((4, 200)), np.zeros((4, 300)))
    raw = read_out(np.zeros(chip.shape, np.float32), chip, bias, 1, (0, 0)).astype(float)
    lower, upper = chip.ports[0], chip.ports[2]
    for section in (lower.data, lower.overscan):
        assert raw[section].mean(axis=1) - 900 == pytest.approx(walk[0], abs=0.3)
    assert raw[upper.data].mean(axis=1)[::-1] - 900 == pytest.approx(walk[2], abs=0.3)  # read from above
    assert np.abs(walk[:, 0] - walk[:, 1]).max() < 1


def test_bias_has_levels_columns_and_a_ramp_of_its_camera(tmp_path):
    chip = small_chip(tmp_path, side=SIDE)
    bias = bias_of(chip, 4)
    assert (bias.level == bias_of(chip, 4).level).all()
    assert (bias.level != bias_of(chip, 5).level).all()
    assert bias.level.std() > 10
    assert np.abs(bias.ramp[:, 0]).max() > np.abs(bias.ramp[:, -1]).max()


def test_a_full_pixel_reads_above_saturation_whatever_its_noise(tmp_path, monkeypatch):
    quiet(monkeypatch)
    chip = small_chip(tmp_path, side=SIDE, linearity=(1e-6, 0.0))
    bias = bias_of(chip, 1)
    electrons = np.zeros(chip.shape, np.float32)
    for port, well in zip(chip.ports, chip.full_well(bias.level), strict=True):
        electrons[port.chip] = well
    raw = read_out(electrons, chip, bias, 1, (0, 0))
    for port in chip.ports:
        assert raw[port.data].min() > 60_000
        assert raw[port.data].max() < 65_535


def test_amplifiers_of_the_raw_frame_are_where_the_file_says(tmp_path, monkeypatch):
    quiet(monkeypatch)
    chip = small_chip(tmp_path, side=SIDE, read_noise=0.0, gain=1.0)
    electrons = np.arange(240 * 180, dtype=np.float32).reshape(240, 180)
    raw = read_out(electrons, chip, nothing(chip), 1, (0, 0))
    for port in chip.ports:
        assert (raw[port.data] == electrons[port.chip]).all()
        assert (raw[port.overscan] == 0).all()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"gain": None}, "amplifier L1 has no gain"),
        ({"linearity": (-1e-4, 0.0)}, "folds over"),
        ({"scale": None}, "leaves amplifiers, shape or scale"),
    ],
)
def test_an_instrument_that_does_not_say_enough_is_refused(tmp_path, how, words):
    with pytest.raises(BadInputError, match=words):
        chip_of(load_instrument(write_camera(tmp_path / "c.yaml", **how)))
    with pytest.raises(BadInputError, match="cannot be simulated"):
        chip_of(load_instrument("generic"))
