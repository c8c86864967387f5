"""What an attempt works with: named, or the only one there is; missing is the machine's fault."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ast3d import assets
from ast3d.order import Order
from photometry.errors import EnvironmentFailedError
from photometry.observatory import Site
from photometry.telescope import UNKNOWN, Telescope

DOME_A = [77.1, -80.37, 4093.0]


@pytest.fixture
def order(tmp_path):
    """For a telescope of which nothing is known, in a node that has nothing."""
    return Order(
        task="id", attempt=1, telescope="t", name="a.fits", size=5, mtime_ns=1, frame="/f",
        templates=str(tmp_path / "templates"), template=None,
        calibrations=str(tmp_path / "calibrations"), products="", attempts="", kept="", command=[],
        photometry={}, fingerprint="",
    )  # fmt: skip


def masters(order: Order, name: str, **files: str) -> Path:
    """A folder of masters, by their checksums."""
    folder = Path(order.calibrations) / name
    folder.mkdir(parents=True)
    listed = {f"{master}.fits": {"sha256": digest, "bytes": 1} for master, digest in files.items()}
    (folder / "manifest.json").write_text(json.dumps({"instrument": "small", "files": listed}))
    return folder


def test_where_nothing_is_there_and_nothing_is_named_there_is_nothing(order):
    found = assets.found(order)
    assert (found.template, found.telescope, found.notes) == (None, UNKNOWN, [])
    assert set(found.as_dict().values()) == {None}


def test_all_that_is_named_is_handed_on(order, tmp_path):
    masters(order, "june")
    july = masters(order, "july")
    catalog, camera = tmp_path / "stars.fits", tmp_path / "calibrations" / "mine.yaml"
    catalog.touch()
    camera.touch()
    named = replace(order, calibration="july", instrument=str(camera), catalog=str(catalog), site=DOME_A)
    found = assets.found(named)
    assert found.telescope == Telescope(camera, july, catalog, Site(77.1, -80.37, 4093.0))
    assert found.notes == []


def test_the_only_calibration_is_taken_and_of_several_none(order):
    raw = replace(order, instrument="ast3")
    june = masters(order, "june")
    (june.parent / "notes").mkdir()
    (june.parent / ".july.17.partial").mkdir()
    (june.parent / ".july.17.partial" / "manifest.json").touch()
    assert assets.found(raw).telescope == Telescope("ast3", june)
    masters(order, "july")
    found = assets.found(raw)
    assert found.telescope == Telescope("ast3")
    assert found.notes == ["2 calibrations and the configuration names none of them: without masters"]
    assert assets.found(order).notes == [], "nobody calibrates a frame of no instrument"


@pytest.mark.parametrize(
    ("named", "path", "what"),
    [
        ({"template": "t.fits"}, "templates/t.fits", "template"),
        ({"calibration": "may", "instrument": "ast3"}, "calibrations/may", "calibration"),
        ({"instrument": "@/calibrations/x.yaml"}, "calibrations/x.yaml", "instrument file"),
        ({"catalog": "@/stars.fits"}, "stars.fits", "star catalog"),
    ],
)
def test_what_is_named_and_is_not_there_is_named_in_one_line(order, tmp_path, named, path, what):
    masters(order, "june")
    at = {name: word.replace("@", str(tmp_path)) for name, word in named.items()}
    with pytest.raises(EnvironmentFailedError) as caught:
        assets.found(replace(order, **at))
    words = f"the {what} {tmp_path}/{path} that the configuration names is not there: put it there, or name another"
    assert str(caught.value) == words
    assert caught.value.retriable


def test_the_record_tells_one_version_from_another(order, tmp_path):
    catalog, camera = tmp_path / "stars.fits", tmp_path / "mine.yaml"
    catalog.write_bytes(b"stars")
    camera.write_bytes(b"camera")
    june = masters(order, "june", bias="00", dark="11")
    raw = replace(order, instrument="ast3", catalog=str(catalog), site=DOME_A)
    facts = assets.found(raw).as_dict()
    assert facts == json.loads(json.dumps(facts))
    assert facts["instrument"] == {"name": "ast3"}
    assert facts["catalog"] == {"path": str(catalog), "bytes": 5, "mtime_ns": catalog.stat().st_mtime_ns}
    assert facts["masters"]["path"] == f"{june}/manifest.json"
    assert facts["site"] == {"longitude": 77.1, "latitude": -80.37, "height": 4093.0}
    assert assets.found(replace(raw, instrument=str(camera))).as_dict()["instrument"]["bytes"] == 6
    other = masters(order, "july", bias="00", dark="12")
    versions = {assets.found(replace(raw, calibration=name)).as_dict()["masters"]["version"] for name in ("june", "july")}
    assert len(versions) == 2
    assert facts["masters"]["version"] in versions
    for damage in ("", "[]", '{"files": 3}', '{"files": {"bias.fits": 3}}'):
        (other / "manifest.json").write_text(damage)
        assert assets.found(replace(raw, calibration="july")).as_dict()["masters"]["version"] is None
