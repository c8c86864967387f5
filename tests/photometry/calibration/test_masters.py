"""Masters from frames: what is used, what is refused and why, and what the masters are worth."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from bench.raw_camera import ast3_like, expose, make_camera, write
from photometry import cli
from photometry.calibration import load_masters
from photometry.calibration.commands import apply, build
from photometry.detector import detector
from photometry.errors import BadFrameError, BadInputError, EnvironmentFailedError
from photometry.mask import Bit

SIDE = 128
YAML = """
name: mini
description: AST3 in small
identity: {{INSTRUME: AST3}}
shape: [128, 288]
scale: null
amplifiers:
{amplifiers}
crosstalk: null
frame_transfer: {{row_seconds: 1e-4}}
time: {{cards: [DATE-OBS], zone: UTC, at: start, exposure: [EXPTIME]}}
pointing: null
filters: {{cards: [FILTER], bands: {{i: i}}}}
wcs_quirks: []
...
"""


def section(part: tuple[slice, slice]) -> str:
    rows, columns = part
    return f"'[{columns.start + 1}:{columns.stop},{rows.start + 1}:{rows.stop}]'"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the instrument's file, calibration frames and a light; the camera."""
    folder = tmp_path_factory.mktemp("site")
    mini = replace(ast3_like(SIDE, row_seconds=1e-4), name="mini")
    lines = [
        f"  - {{name: {p.name}, data: {section(p.data)}, overscan: {section(p.overscan)}, chip: {section(p.chip)},"
        f" corner: {p.corner}, gain: 1.6, read_noise: 8.0, saturation: 60000, linearity: [0.0, 0.0]}}"
        for p in mini.amplifiers
    ]
    (folder / "mini.yaml").write_text(YAML.format(amplifiers="\n".join(lines)))
    camera = make_camera(mini, 1)
    camera.flat[40, 50], camera.dark[20, 30] = 0.1, 60.0
    for k in range(8):
        write(folder / f"bias{k}.fits", expose(camera, 0.0, 0.0, 10 + k), "Bias Frame", 0.0)
        write(folder / f"dark{k}.fits", expose(camera, 0.0, 60.0, 20 + k), "DARK", 60.0)
        light = np.full((SIDE, SIDE), 20000.0 + 1000 * k, np.float32) * np.linspace(0.99, 1.01, SIDE, dtype=np.float32)
        light[10 * k + 5 : 10 * k + 8, 60:63] *= 2
        write(folder / f"flat{k}.fits", expose(camera, light, 5.0, 30 + k), "SKYFLAT", 5.0)
    return folder, camera


@pytest.fixture(scope="module")
def built(site, tmp_path_factory):
    folder, _ = site
    out = tmp_path_factory.mktemp("masters")
    frames = [folder / f"{kind}{k}.fits" for kind in ("bias", "dark", "flat") for k in range(8)]
    return out, build(frames, str(folder / "mini.yaml"), out, dark_from_science=False)


def planes(path: Path) -> dict[str, np.ndarray]:
    with fits.open(path, checksum=True) as units:
        return {unit.name: unit.data for unit in units[1:]}


def test_masters_are_as_good_as_their_variance_says(site, built):
    _, camera = site
    out, told = built
    assert told["refused"] == {}
    assert told["figures"]["frames_used"] == 24
    bias, dark, flat = (planes(out / name) for name in ("bias.fits", "dark.fits", "flat.i.fits"))
    assert np.std((bias["VALUE"] - camera.bias) / np.sqrt(bias["VAR"])) == pytest.approx(1.0, abs=0.08)
    good = np.ones((SIDE, SIDE), bool)
    good[20, 30] = good[40, 50] = False
    off = (dark["VALUE"] - camera.dark / 1.6) / np.sqrt(dark["VAR"])
    assert np.std(off[good]) == pytest.approx(1.0, abs=0.08)
    # all flats have the gradient in common, so it is taken for the chip's
    truth = camera.flat * np.linspace(0.99, 1.01, SIDE, dtype=np.float32)
    ratio = flat["VALUE"] / truth
    off = (ratio / np.median(ratio) - 1) / (np.sqrt(flat["VAR"]) / flat["VALUE"])
    assert np.std(off[good]) == pytest.approx(1.0, abs=0.12)
    mask = planes(out / "mask.fits")["MASK"]
    assert mask[20, 30] == mask[40, 50] == Bit.BAD
    assert np.count_nonzero(mask) < 10


def test_the_manifest_knows_the_version(built):
    out, told = built
    facts = json.loads((out / "manifest.json").read_bytes())
    assert facts["instrument"] == "mini"
    assert set(facts["files"]) == {"bias.fits", "dark.fits", "flat.i.fits", "mask.fits"}
    assert len(told["figures"]["version"]) == 64


def test_frames_that_do_not_belong_are_refused(site, tmp_path):
    folder, camera = site
    odd = {
        "shape.fits": (np.full((64, 64), 1500, np.uint16), "bias", {}),
        "other.fits": (expose(camera, 0.0, 0.0, 1), "bias", {"INSTRUME": "NASA42"}),
        "level.fits": (
            expose(camera, 0.0, 0.0, 2) + np.where(np.arange(288) % 36 < 16, 40, 0).astype(np.uint16),
            "bias",
            {},
        ),
        "bright.fits": (expose(camera, 2e5, 5.0, 3), "flat", {}),
        "faint.fits": (expose(camera, 100.0, 5.0, 4), "flat", {}),
        "what.fits": (expose(camera, 100.0, 5.0, 5), "focus", {}),
        "light.fits": (expose(camera, 100.0, 5.0, 6), "object", {}),
        "few.fits": (expose(camera, 2e4, 5.0, 7), "flat", {"FILTER": "g"}),
    }
    stars = np.full((SIDE, SIDE), 20000.0, np.float32)
    stars[::12, :70] *= 3
    odd["stars.fits"] = (expose(camera, stars, 5.0, 8), "flat", {})
    paths = [write(tmp_path / name, raw, kind, 5.0, **cards) for name, (raw, kind, cards) in odd.items()]
    (tmp_path / "torn.fits").write_bytes((tmp_path / "light.fits").read_bytes()[:20000])
    out = tmp_path / "out"
    out.mkdir()
    frames = [*paths, tmp_path / "torn.fits", *(folder / f"bias{k}.fits" for k in range(8))]
    refused = build(frames, str(folder / "mini.yaml"), out, dark_from_science=False)["refused"]
    expected = {
        "shape.fits": "wrong size: the frame has 64 x 64 pixels",
        "other.fits": "wrong instrument: INSTRUME is 'NASA42'",
        "level.fits": "is off the others'",
        "bright.fits": "saturated: ",
        "faint.fits": "too faint for a flat: ",
        "stars.fits": "stars or trails on ",
        "what.fits": "its header does not say what it is",
        "light.fits": "says science",
        "few.fits": "only 1 good frames for the master flat.g; 3 are needed",
        "torn.fits": "cut off",
    }
    assert refused.keys() == expected.keys()
    for name, words in expected.items():
        assert words in refused[name]


def test_no_master_from_nothing(site, tmp_path):
    folder, camera = site
    path = write(tmp_path / "light.fits", expose(camera, 100.0, 5.0, 6), "object", 5.0)
    with pytest.raises(BadInputError, match="no master can be made of 1 frames: not for a master"):
        build([path], str(folder / "mini.yaml"), tmp_path, dark_from_science=False)


def test_a_dark_from_science_frames(site, tmp_path):
    folder, camera = site
    rng = np.random.default_rng(4)
    frames = []
    for k in range(12):
        sky = np.full((SIDE, SIDE), 1000.0 + 400 * k, np.float32)
        for y, x in rng.integers(5, SIDE - 5, (12, 2)):
            sky[y - 1 : y + 2, x - 1 : x + 2] += 5000
        frames.append(write(tmp_path / f"light{k}.fits", expose(camera, sky, 60.0, 50 + k), "object", 60.0))
    out = tmp_path / "out"
    out.mkdir()
    told = build(
        [*frames, *(folder / f"bias{k}.fits" for k in range(8))], str(folder / "mini.yaml"), out, dark_from_science=True
    )
    assert told["refused"] == {}
    dark = planes(out / "dark.fits")
    truth = (camera.dark - np.median(camera.dark) * camera.flat / np.median(camera.flat)) / 1.6
    off = (dark["VALUE"] - truth) / np.sqrt(dark["VAR"])
    off = off[10:-10, 10:-10]
    assert np.median(np.abs(off)) / 0.6745 == pytest.approx(1.0, abs=0.2)
    assert fits.getheader(out / "dark.fits", "VALUE")["DARKZERO"] is True
    with pytest.raises(BadInputError, match=r"no master can be made.*a dark from science needs 6 or more"):
        build(frames[:3], str(folder / "mini.yaml"), tmp_path / "out", dark_from_science=True)


def test_a_frame_calibrated_by_them(site, built, tmp_path):
    folder, camera = site
    light = np.full((SIDE, SIDE), 2000.0, np.float32)
    y, x = np.mgrid[:SIDE, :SIDE]
    for a, b in np.random.default_rng(1).uniform(8, SIDE - 8, (12, 2)):
        light += 8000 * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 5).astype(np.float32)
    frame = write(tmp_path / "light.fits", expose(camera, light, 60.0, 99), "object", 60.0)
    told = apply(frame, str(folder / "mini.yaml"), built[0], tmp_path / "out.fits")
    found = planes(tmp_path / "out.fits")
    good = (found["MASK"] == 0) & (light < 3000)
    off = (found["SCI"] - light * np.median(found["SCI"][good] / light[good])) / np.sqrt(found["VAR"])
    assert np.std(off[good]) == pytest.approx(1.0, abs=0.03)
    header = fits.getheader(tmp_path / "out.fits", "SCI")
    assert (header["BUNIT"], header["GAIN"], header["FILTER"]) == ("electron", 1.0, "i")
    assert header["CALIBVER"] == built[1]["figures"]["version"] == told["figures"]["calibration"]
    assert told["notes"] == []


class TestLoading:
    def chip(self, camera):
        return detector(camera.instrument, {"INSTRUME": "AST3"}, camera.chip.shape, [])

    def test_no_folder(self, site, tmp_path):
        with pytest.raises(EnvironmentFailedError, match="no masters in"), load_masters(tmp_path / "no", self.chip(site[1])):
            pass

    def test_masters_of_another_camera(self, site, built):
        _, camera = site
        other = replace(self.chip(camera), instrument="other")
        with (
            pytest.raises(EnvironmentFailedError, match="are of 'mini', the frame of 'other'"),
            load_masters(built[0], other),
        ):
            pass
        other = replace(self.chip(camera), chip_shape=(64, 64))
        with (
            pytest.raises(EnvironmentFailedError, match="has 128 x 128 pixels, the chip 64 x 64"),
            load_masters(built[0], other),
        ):
            pass

    def test_a_master_that_was_changed_or_lost(self, site, built, tmp_path):
        for path in built[0].iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        os.truncate(tmp_path / "flat.i.fits", 5000)
        with pytest.raises(EnvironmentFailedError, match=r"flat.i.fits: has 5,000 bytes"):  # noqa: SIM117
            with load_masters(tmp_path, self.chip(site[1])):
                pass
        (tmp_path / "flat.i.fits").unlink()
        with (
            pytest.raises(EnvironmentFailedError, match="cannot read the master"),
            load_masters(tmp_path, self.chip(site[1])),
        ):
            pass
        (tmp_path / "manifest.json").write_text("[]")
        with pytest.raises(EnvironmentFailedError, match="is no manifest"), load_masters(tmp_path, self.chip(site[1])):
            pass


class TestCommand:
    def test_build_and_apply(self, site, tmp_path, capsys):
        folder, _ = site
        instrument = ["--instrument", str(folder / "mini.yaml")]
        biases = [str(folder / f"bias{k}.fits") for k in range(4)]
        assert cli.main(["calibrate", "build", *biases, *instrument, "--out", str(tmp_path / "m"), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["figures"]["bias frames"] == 4
        frame = [
            str(folder / "flat0.fits"),
            *instrument,
            "--masters",
            str(tmp_path / "m"),
            "--out",
            str(tmp_path / "c.fits"),
        ]
        assert cli.main(["calibrate", "apply", *frame]) == 0
        assert "no master flat of the filter 'i': not flat-fielded" in capsys.readouterr().out
        assert cli.main(["calibrate", "apply", *frame]) == 2
        assert "c.fits: is there already" in capsys.readouterr().err

    def test_the_wrong_instrument(self, site, tmp_path, capsys):
        folder, _ = site
        command = [
            "calibrate",
            "apply",
            str(folder / "flat0.fits"),
            "--instrument",
            "lowell42",
            "--out",
            str(tmp_path / "c.fits"),
        ]
        assert cli.main(command) == 2
        assert "flat0.fits: wrong instrument: LCAMMOD is ''" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []


def test_a_frame_cut_off(site, tmp_path):
    folder, _ = site
    content = (folder / "flat0.fits").read_bytes()
    (tmp_path / "torn.fits").write_bytes(content[:30000])
    with pytest.raises(BadFrameError, match=r"torn.fits: cut off"):
        apply(tmp_path / "torn.fits", str(folder / "mini.yaml"), None, tmp_path / "c.fits")
