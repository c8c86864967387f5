"""A pair's files mean what the judges of differences take them to mean."""

import importlib.util
import json
import sys

import numpy as np
import pytest
from astropy.io import fits

from skysim.cli import main
from skysim.optics import draw
from skysim.pair import APART_PIXELS, make_pair, to_science, to_template
from skysim.settings import PairSettings
from tests.conftest import ROOT

SETTINGS = PairSettings(size_pixels=400, seed=2, transients=30)
TURNED = PairSettings(size_pixels=400, seed=2, transients=30, dx_pixels=12.0, dy_pixels=-7.0, rotation_degrees=3.0)


@pytest.fixture(scope="module")
def pair():
    return make_pair(SETTINGS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("pair")
    assert main(["pair", str(out), "--size", "400", "--seed", "2", "--transients", "30"]) == 0
    return out


@pytest.fixture(scope="module")
def judge():
    """The scorer of differences, where this machine has it."""
    tools = ROOT.parent / "shared" / "tools"
    if not (tools / "score_diff.py").exists():
        pytest.skip(f"no judge of differences in {tools}")
    spec = importlib.util.spec_from_file_location("score_diff", tools / "score_diff.py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(tools))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(tools))
    return module


def test_files_are_the_pair(pair, folder):
    for name, side in (("sci", pair.science), ("ref", pair.template)):
        header = fits.getheader(folder / f"{name}.fits")
        assert (fits.getdata(folder / f"{name}.fits") == side.adu).all()
        assert (header["GAIN"], header["RDNOISE"], header["SATURATE"]) == (side.noise.gain, side.noise.read_noise, 65535)
        for kind, plane in (("mask", side.mask), ("var", side.variance), ("src", side.light)):
            assert (fits.getdata(folder / f"{kind}_{name}.fits") == plane).all()


def test_noise_is_the_variance_that_is_told(pair):
    for side in (pair.science, pair.template):
        gain, read_noise, _ = vars(side.noise).values()
        expected = (side.variance - (read_noise / gain) ** 2) * gain
        good = side.mask == 0
        pull = ((side.adu - expected) / np.sqrt(side.variance + 1 / 12))[good]
        assert pull.mean() == pytest.approx(0, abs=0.02)
        assert pull.var() == pytest.approx(1, rel=0.02)


def test_mask_names_what_is_wrong(pair):
    sky = np.median(pair.science.adu)
    column, rays = pair.science.mask & 1 > 0, pair.science.mask == 4
    assert np.isin(pair.science.adu[column], [0, 65_535]).all()
    assert (pair.science.adu[rays] > sky).mean() > 0.99
    assert not (pair.template.mask & 4).any()


def test_what_changed_is_in_the_science_frame_alone_and_listed(pair):
    again = pair.template.light.astype(float)
    found = pair.transients
    assert found.x.size == 30
    assert (found.flux_template == 0).all()
    assert (found.host >= 0).sum() > 3
    apart = np.hypot(found.x[:, None] - found.x, found.y[:, None] - found.y) + 1e9 * np.eye(30)
    assert apart.min() > APART_PIXELS
    light = np.zeros(again.shape)
    draw(light, found.x, found.y, found.flux_science, pair.science.psf)
    for x, y in zip(found.x, found.y, strict=True):
        assert pair.science.light[round(y), round(x)] >= 0.999 * light[round(y), round(x)]


def test_the_best_filter_finds_the_snr_that_is_listed():
    """Science frame alone, template without noise to speak of: F sqrt(sum P^2 / V)."""
    pair = make_pair(PairSettings(size_pixels=300, seed=4, transients=12, scale=0.05, pixels_per_star=1e5))
    faint = (pair.transients.snr < 8) & (pair.transients.host < 0)
    assert faint.any()
    for i in np.flatnonzero(faint):
        x, y, flux = (float(getattr(pair.transients, name)[i]) for name in ("x", "y", "flux_science"))
        psf = np.zeros(pair.science.light.shape)
        draw(psf, x, y, 1.0, pair.science.psf, 1e-9)
        snr = flux * np.sqrt((psf**2 / pair.science.variance).sum())
        assert snr == pytest.approx(pair.transients.snr[i], rel=0.08)


def test_the_same_call_makes_the_same_pair_and_another_seed_another(pair):
    again, other = make_pair(SETTINGS), make_pair(PairSettings(size_pixels=400, seed=3, transients=30))
    assert (again.science.adu == pair.science.adu).all()
    assert (other.science.adu != pair.science.adu).any()


def test_the_judge_reads_the_truth_as_it_is_meant(judge, folder, pair):
    truth = judge.load_truth(folder)
    for key, side in (("sci", pair.science), ("ref", pair.template)):
        x, y = np.array([10.0, 390.0]), np.array([200.0, 20.0])
        fwhm, e1, e2 = judge.psf_params(truth["psf"][key], x, y, 400, 400)
        alpha, ours_e1, ours_e2 = side.psf.shape_at(x, y, (400, 400))
        assert fwhm / (2 * np.sqrt(2 ** (1 / 3) - 1)) == pytest.approx(alpha)
        assert (e1, e2) == (pytest.approx(ours_e1), pytest.approx(ours_e2))
    rows = np.genfromtxt(folder / "sources.csv", delimiter=",", names=True, dtype=None, encoding="ascii")
    assert {kind: int((rows["kind"] == kind).sum()) for kind in ("star", "gal", "tran")} == {
        "star": pair.stars.x.size, "gal": pair.galaxies.x.size, "tran": 30,
    }  # fmt: skip


def test_the_judge_maps_science_to_template_as_the_sources_lie(judge, tmp_path):
    out = tmp_path / "turned"
    assert main(["pair", str(out), "--size", "400", "--seed", "2", "--transients", "30", "--dx", "12", "--dy", "-7",
                 "--rotation", "3"]) == 0  # fmt: skip
    x, y = np.array([30.0, 200.0, 380.0]), np.array([40.0, 210.0, 20.0])
    theirs = judge.to_template(judge.load_truth(out), *to_science(x, y, TURNED))
    assert theirs == pytest.approx(np.stack(to_template(x, y, TURNED)), abs=1e-3)
    assert json.loads((out / "truth.json").read_text())["geometry"] == {"dx": 12, "dy": -7, "rot": 3, "scale": 1}


def test_a_perfect_difference_is_scored_so(judge, pair, folder):
    """The science frame less its own constant light, which no subtraction can reach: noise and what changed are left."""
    science = pair.science
    constant = science.light.astype(float)
    transients = np.zeros(constant.shape)
    draw(transients, pair.transients.x, pair.transients.y, pair.transients.flux_science, science.psf)
    stars = pair.stars
    varying = np.zeros(constant.shape)
    draw(varying, stars.x, stars.y, stars.flux_science - stars.flux_template * SETTINGS.scale, science.psf)
    gain, read_noise, _ = vars(science.noise).values()
    sky = (science.variance - (read_noise / gain) ** 2) * gain - science.light
    figures = judge.score(str(folder), (science.adu - sky - constant + transients + varying).astype(np.float32))
    assert figures["fp"] == 0
    assert figures["det_20+"] == 1
    assert figures["bias"] == pytest.approx(0, abs=2)


def test_a_pair_out_of_range_is_refused(tmp_path, capsys):
    assert main(["pair", str(tmp_path / "out"), "--size", "100"]) == 2
    assert "size_pixels is 100; allowed is 256 to 16384" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
