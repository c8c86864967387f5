"""`ast3-skysim` by hand: what it writes, and what it says when the call is wrong."""

import pytest
from astropy.io import fits

from skysim.cli import main
from skysim.truth import read_truth


def test_night_writes_frames_template_and_truth(tmp_path, capsys):
    assert main(["night", str(tmp_path / "a"), "--frames", "2", "--size", "256", "--cadence", "600"]) == 0
    assert "2 frames" in capsys.readouterr().out
    frames = read_truth(tmp_path / "a")
    assert [f.name for f in frames] == sorted(p.name for p in (tmp_path / "a" / "frames").iterdir())
    assert (frames[1].mjd_mid - frames[0].mjd_mid) * 86400 == pytest.approx(600, abs=0.01)
    assert fits.getheader(tmp_path / "a" / "template.fits")["NAXIS1"] == 256
    assert (tmp_path / "a" / "truth.ecsv").exists()


def test_frames_can_arrive_in_a_pool(tmp_path):
    assert main(["night", str(tmp_path / "a"), "--frames", "1", "--size", "256", "--pool", str(tmp_path / "pool")]) == 0
    assert [p.suffix for p in (tmp_path / "pool").iterdir()] == [".fits"]
    assert not (tmp_path / "a" / "frames").exists()


@pytest.mark.parametrize("wrong", [["--frames", "0"], ["--size", "10"], ["--cadence", "-1"]])
def test_wrong_call_is_one_line_and_status_two(tmp_path, capsys, wrong):
    assert main(["night", str(tmp_path / "a"), *wrong]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ast3-skysim: a night needs")
    assert error.count("\n") == 1
    assert not (tmp_path / "a").exists()


def test_demo_refuses_a_folder_that_is_not_its_own(tmp_path, capsys):
    (tmp_path / "mine").write_text("")
    assert main(["demo", str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err


def test_disk_that_cannot_be_written_is_status_one(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["night", str(tmp_path / "file" / "below"), "--frames", "1", "--size", "256"]) == 1
    assert "ast3-skysim: " in capsys.readouterr().err
