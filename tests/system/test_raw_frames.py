"""A raw frame through a running ast3d that knows its camera, a calibration, the star catalog and the site."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.skysim.cameras import write_camera

BIN = Path(sys.executable).parent
QUICK = "pool: {settle_seconds: 0.3, scan_seconds: 0.5}\nworker: {backoff_seconds: 0.1, backoff_limit_seconds: 0.2}\n"
SITE = {"longitude": 77.1, "latitude": -80.37, "height": 4093.0}
KNOWN = "telescopes: {ast3-1: {instrument: small.yaml, calibration: june}}\n" + QUICK
PLACE = f"site: {json.dumps(SITE | {'catalog': 'stars.fits'})}\n".replace('"', "")


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    """A folder with small.yaml, frame.fits, catalog.fits, and its masters."""
    folder = tmp_path_factory.mktemp("sky")
    camera = write_camera(folder / "small.yaml")
    for argv in (
        ["ast3-skysim", "frame", folder, "--instrument", camera, "--ra", "120", "--dec", "-70", "--seed", "3"],
        ["ast3-skysim", "calibrations", folder / "raw", "--instrument", camera, "--biases=3", "--darks=3", "--flats=3"],
    ):
        run(argv)
    raw = sorted((folder / "raw").glob("*.fits"))
    run(["ast3-photometry", "calibrate", "build", *raw, "--instrument", camera, "--out", folder / "masters"])
    return folder


def run(argv) -> str:
    return subprocess.run([BIN / argv[0], *argv[1:]], capture_output=True, text=True, check=True, timeout=600).stdout


def equip(root: Path, sky: Path, *calibrations: str) -> Path:
    """All but a template; -> the telescope's folder of calibrations."""
    folder = root / "calibrations" / "ast3-1"
    for name in calibrations:
        shutil.copytree(sky / "masters", folder / name)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(sky / "small.yaml", folder)
    shutil.copy(sky / "catalog.fits", folder.parent / "stars.fits")
    return folder


@pytest.mark.timeout(900)
def test_a_raw_frame_is_calibrated_placed_and_measured_with_what_the_configuration_names(node, sky, tmp_path):
    one = node(KNOWN + PLACE, start=False)
    folder = equip(one.root, sky, "may", "june")
    one.start()
    shutil.copy(sky / "frame.fits", one.pool / "a.fits")
    one.wait(one.archived, "archived", seconds=600)
    (manifest,) = one.published()
    facts = json.loads(manifest.read_text())
    figures, assets = facts["figures"], facts["assets"]
    assert facts["flags"] == []
    assert figures["calibration"] == assets["masters"]["version"]
    assert assets["masters"]["path"] == f"{folder}/june/manifest.json"
    assert assets["instrument"]["path"] == f"{folder}/small.yaml"
    assert assets["catalog"]["path"] == f"{one.root}/calibrations/stars.fits"
    assert assets["site"] == SITE
    assert (figures["astrometry"], figures["zero_point_stars"] > 20) == ("catalog", True)
    assert list((one.root / "state" / "kept").glob("catalog-*.npy")), "the sorted catalog is kept for the next frame"

    argv = [BIN / "ast3ctl", "--root", one.root, "reproduce", facts["task"], "--out", tmp_path / "again"]
    again = subprocess.run(argv, capture_output=True, text=True, timeout=600)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("ast3ctl:") == 1, "all is as it was"
    by_hand = json.loads((tmp_path / "again" / "products" / "manifest.json").read_text())["figures"]
    for name in ("calibration", "stars", "astrometry", "astrometry_stars", "band", "zero_point_stars"):
        assert by_hand[name] == figures[name], name


@pytest.mark.timeout(900)
def test_a_calibration_that_is_named_and_not_there_blames_no_frame_and_is_waited_for(node, sky):
    one = node(KNOWN, start=False)
    folder = equip(one.root, sky)
    one.start()
    shutil.copy(sky / "frame.fits", one.pool / "a.fits")
    one.wait(lambda: "task.failed" in one.log(), "failed")
    assert f"the calibration {folder}/june that the configuration names is not there: put it there" in one.log()
    assert "blame=environment" in one.log()
    equip(one.root, sky, ".june")
    (folder / ".june").rename(folder / "june")
    one.wait(one.archived, "archived", seconds=600)
    assert one.discarded() == []
