"""The command as a user meets it: exit status, one line on stderr, nothing half-done, nothing overwritten."""

import json
import os

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from photometry.cli import main
from photometry.errors import GpuUnavailableError
from photometry.subtraction.gpu import lend


@pytest.fixture(scope="module")
def frame(make_sky, tmp_path_factory):
    return make_sky().write(tmp_path_factory.mktemp("frame") / "f.fits")


def fails(capsys, status: int, words: str, *argv: object) -> None:
    assert main([str(word) for word in argv]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("ast3-photometry: ")
    assert words in err


def test_process_prints_one_json_object_and_writes_a_manifest(frame, tmp_path, capsys):
    assert main(["process", str(frame), "--out", str(tmp_path / "out"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["out"] == str(tmp_path / "out")
    assert said["figures"]["stars"] > 30
    written = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert written["name"] == "f.fits"
    assert "catalog.fits" in written["files"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_process_for_a_person(frame, tmp_path, capsys):
    (tmp_path / "out").mkdir()  # an empty folder will do
    assert main(["process", str(frame), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "note: no template: not subtracted" in said
    assert f"products in {tmp_path / 'out'}" in said


def test_process_with_settings_as_the_configuration_has_them(frame, tmp_path, capsys):
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"gain": 2.5, "preview_pixels": 64}))
    assert main(["process", str(frame), "--settings", str(file), "--out", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["figures"]["gain"] == 2.5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"gian": 2}', "photometry.gian: unknown key"),
        ('{"gain": "2"}', "photometry.gain: found '2'; allowed is a number"),
        ("[1]", "is no JSON object"),
        ('{"gain": ', "name a file with a JSON object"),
    ],
)
def test_settings_that_are_wrong_are_named(frame, tmp_path, capsys, text, words):
    file = tmp_path / "settings.json"
    file.write_text(text)
    fails(capsys, 2, words, "process", frame, "--settings", file, "--out", tmp_path / "out")
    fails(capsys, 2, "No such file", "process", frame, "--settings", tmp_path / "none", "--out", tmp_path / "out")


def test_nothing_is_overwritten(frame, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("precious")
    fails(capsys, 2, "is not empty; name a new folder", "process", frame, "--out", tmp_path / "out")
    fails(capsys, 2, "is not a folder", "process", frame, "--out", tmp_path / "out" / "mine")
    assert (tmp_path / "out" / "mine").read_text() == "precious"


def test_wrong_input_and_what_is_left_behind(frame, tmp_path, capsys):
    bad = tmp_path / "bad.fits"
    bad.write_text("hello")
    fails(capsys, 2, "not a FITS file: it begins with 'hello'", "process", bad, "--out", tmp_path / "out")
    fails(capsys, 2, "gone.fits: no such file", "process", tmp_path / "gone.fits", "--out", tmp_path / "out")
    fails(capsys, 2, "no such file", "process", frame, "--template", tmp_path / "t.fits", "--out", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["bad.fits"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder that even it cannot write to")
def test_a_full_disk_is_failed_work(frame, capsys):
    fails(capsys, 1, "cannot write", "process", frame, "--out", "/proc/out")


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["process"],
        ["nonsense"],
        ["process", "f.fits"],
        ["lightcurve", "x", "--at", "1"],
        ["subtract", "a", "b", "--out", "c", "--gain", "-1"],
        ["subtract", "a", "b", "--out", "c", "--gpu", "no"],
    ],
)
def test_a_wrong_call(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert "ast3-photometry" in capsys.readouterr().err


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "ast3-photometry process night/0042.fits.fz --template" in capsys.readouterr().out


@pytest.fixture(scope="module")
def subtracted(make_sky, tmp_path_factory):
    """The folder that `subtract` made of a science frame with a new source, a masked one, a streak and a hopeless corner."""
    folder = tmp_path_factory.mktemp("subtract")
    template = make_sky(stars=120, fwhm=3.0, seed=1, flux=(3.3, 5.0))
    science = make_sky(stars=120, fwhm=3.8, seed=2, flux=(3.3, 5.0))
    y, x = np.mgrid[:256, :320]
    for a, b in ((170, 101), (60, 200)):
        science.data[:] += 12000 * np.exp(-0.5 * ((x - a) ** 2 + (y - b) ** 2) / 1.614**2) / (2 * np.pi * 1.614**2)
    science.data[60, 230:260] += 300  # as sharp as no star is
    science.write(folder / "s.fits", OBJECT="field 7", FILTER="i")
    template.write(folder / "t.fits")
    mask = np.zeros((256, 320), np.uint8)
    mask[195:206, 55:66] = 4
    mask[10:20, 10:20] = 1
    hdu = fits.PrimaryHDU(mask)
    hdu.header["BADBITS"] = 4
    hdu.writeto(folder / "m.fits")
    variance = (np.maximum(science.data, 0) / 1.5 + 16).astype(np.float32)
    variance[120:130, 300:310] = 0
    variance[140:150, 300:310] = np.nan
    fits.PrimaryHDU(variance).writeto(folder / "v.fits")
    argv = ["subtract", folder / "s.fits", folder / "t.fits", "--out", folder / "out", "--science-mask", folder / "m.fits",
            "--science-variance", folder / "v.fits", "--template-gain", "1.4", "--json"]  # fmt: skip
    assert main([str(word) for word in argv]) == 0
    return folder


def test_subtract_writes_every_plane_and_the_sources(subtracted):
    with fits.open(subtracted / "out" / "difference.fits", checksum=True) as hdus:
        assert [hdu.name for hdu in hdus[1:]] == ["DIFF", "VAR", "MASK", "SCORE", "PSF"]
        assert all(hdu.data.shape == (256, 320) for hdu in hdus[1:5])
        assert hdus["DIFF"].header["BUNIT"] == "adu"
        bad = (hdus["MASK"].data & hdus["MASK"].header["BADBITS"]) != 0
        assert bad[200, 60]
        assert not bad[30:60, 30:60].any()
        assert bad[125, 305]
        assert bad[145, 305]
        assert hdus["DIFF"].header["OBJECT"] == "field 7"
        streak = np.abs(hdus["SCORE"].data[56:65, 226:264]).max()
    found = Table.read(subtracted / "out" / "sources.ecsv", format="ascii.ecsv")
    assert {"x", "y", "flux", "flux_err", "score", "flags"} <= set(found.colnames)
    assert np.hypot(found["x"] - 170, found["y"] - 101).min() < 0.3
    assert np.hypot(found["x"] - 60, found["y"] - 200).min() > 5
    # what does not look like a star is seen, and is no source
    assert streak > 10
    assert np.hypot(np.maximum(np.abs(found["x"] - 245) - 15, 0), found["y"] - 60).min() > 5


def test_subtract_refuses_what_does_not_fit(subtracted, make_sky, tmp_path, capsys):
    other = make_sky(shape=(200, 320)).write(tmp_path / "t.fits")
    science = subtracted / "s.fits"
    fails(capsys, 2, "320 x 256 pixels, the template 320 x 200", "subtract", science, other, "--out", tmp_path / "o")
    fails(
        capsys, 2, "t.fits has 320 x 200 pixels, the frame 320 x 256",
        "subtract", science, subtracted / "t.fits", "--science-mask", other, "--out", tmp_path / "o",
    )  # fmt: skip
    assert not (tmp_path / "o").exists()


def test_subtract_without_a_gpu(subtracted, tmp_path, capsys, monkeypatch):
    def none():
        raise GpuUnavailableError("no device: the driver sees none")

    monkeypatch.setattr(lend, "_driver", none)
    argv = ["subtract", subtracted / "s.fits", subtracted / "t.fits", "--out", tmp_path / "out", "--json"]
    fails(capsys, 1, "no device: the driver sees none", *argv, "--gpu", "require")
    assert not list(tmp_path.iterdir())
    assert main(list(map(str, argv))) == 0
    said = json.loads(capsys.readouterr().out)
    assert "no GPU: no device: the driver sees none: subtracted on the CPU" in said["notes"]
    assert said["figures"]["on_gpu"] == 0


def test_lightcurve(subtracted, tmp_path, capsys):
    argv = ["lightcurve", str(subtracted / "out"), "--at", "170", "101", "--out", str(tmp_path / "lc.ecsv"), "--json"]
    assert main(argv) == 0
    said = json.loads(capsys.readouterr().out)
    table = Table.read(tmp_path / "lc.ecsv", format="ascii.ecsv")
    assert said["epochs"][0]["flux"] == pytest.approx(table["flux"][0], rel=1e-5)
    assert said["epochs"][0]["frame"] == "s.fits"
    assert table["flux"][0] == pytest.approx(12000, rel=0.05)
    assert main(argv[:5]) == 0
    assert "flux_tmpl" in capsys.readouterr().out
    fails(capsys, 2, "not a difference that can be measured", "lightcurve", subtracted / "s.fits", "--at", 1, 1)
    fails(capsys, 2, "No such file", "lightcurve", tmp_path, "--at", 1, 1)


@pytest.mark.parametrize("card", [b"BSCALE  = 'abc     '", b"BZERO   = \x00\x01\xff'(", b"BSCALE  =                  nan"])
def test_a_scale_that_is_no_number_is_said_in_one_line(make_sky, tmp_path, capsys, card):
    good = make_sky().write(tmp_path / "good.fits")
    raw = good.read_bytes()
    end = raw.index(b"END".ljust(80))
    header = raw[:end].replace(b"BSCALE", b"XSCALE").replace(b"BZERO", b"XZERO") + card.ljust(80)
    (tmp_path / "bad.fits").write_bytes(header + raw[end : end + 80] + raw[end + 160 :])
    assert main(["subtract", str(tmp_path / "bad.fits"), str(good), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "not valid FITS" in said
    assert said.count("\n") == 1


def test_index_needs_a_camera_that_says_its_scale_and_a_catalog(tmp_path, capsys):
    stars = tmp_path / "stars.csv"
    fails(capsys, 2, "no such file", "index", stars, "--instrument", "ast3", "--epoch", "2027")
    stars.write_text("ra,dec\n1,2\n")
    fails(capsys, 2, "does not say its scale", "index", stars, "--instrument", "generic", "--epoch", "2027")
    fails(capsys, 2, "the star catalog has no column mag", "index", stars, "--instrument", "ast3", "--epoch", "2027")


def test_a_site_is_three_numbers(frame, tmp_path, capsys):
    for words in ("77.1,-80.4", "77.1,-95,4093", "here", "1,2,3,4"):
        with pytest.raises(SystemExit) as ended:
            main(["process", str(frame), f"--site={words}", "--out", str(tmp_path / "out")])
        assert ended.value.code == 2
        assert "--site" in capsys.readouterr().err
