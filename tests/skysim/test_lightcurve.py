"""The light curve asks photometry by its command, and is true to what that says."""

import json
import sys

import numpy as np
import pytest

from skysim import lightcurve
from skysim.lightcurve import curve, forced
from skysim.node import DemoFailedError
from skysim.report import FrameResult, Listed
from skysim.truth import FrameTruth, TargetTruth


@pytest.fixture
def night(tmp_path):
    """Three frames: without products, with a difference, and with one on which the supernova is listed."""
    results = []
    for i, flux in enumerate((0.0, 0.0, 900.0)):
        targets = {"supernova": TargetTruth(50, 40, 51, 41, flux, flux / 30)}
        truth = FrameTruth(f"f{i}.fits", 61212.0 + i / 48, 3.5, 0.9, 400.0, 0, 0, 0, targets)
        listed = (Listed(1, 50.2, 40.1, 51.25, 41.5, 880.0, 30.0, 29.0),) if flux else ()
        folder = tmp_path / f"f{i}"
        folder.mkdir()
        if i:
            (folder / "difference.fits").touch()
        results.append(FrameResult(truth, folder if i else None, 7, 3.0, listed))
    return results


def answer_with(monkeypatch, program):
    monkeypatch.setattr(lightcurve, "command", lambda *_: [sys.executable, "-c", program])


def test_place_of_the_best_frame_is_measured_on_each_difference(night, monkeypatch, tmp_path):
    rows = [{"frame": "f1.fits", "flux": None, "flux_err": None}, {"frame": "f2.fits", "flux": 890.0, "flux_err": 30.0}]
    said = tmp_path / "said"
    keep = f"import sys; open({str(said)!r}, 'w').write(' '.join(sys.argv[1:]))"
    answer_with(monkeypatch, f"{keep}; print({json.dumps({'epochs': rows})!r})")
    assert forced(night, night[2]) == {"f2.fits": (890.0, 30.0)}
    assert said.read_text() == f"lightcurve {tmp_path / 'f1'} {tmp_path / 'f2'} --at 51.250 41.500 --json"


def test_photometry_that_fails_is_one_line(night, monkeypatch):
    answer_with(monkeypatch, "import sys; sys.exit('no PSF')")
    with pytest.raises(DemoFailedError, match="no light curve: no PSF"):
        forced(night, night[2])


def test_curve_is_through_clear_air_with_gaps_where_nothing_is(night):
    measured = curve(night, {"f1.fits": (90.0, 9.0)})
    assert measured.hours == pytest.approx([0, 0.5, 1])
    assert measured.true == pytest.approx([0, 0, 1_000])
    assert (measured.forced[1], measured.forced_err[1]) == pytest.approx((100, 10))
    assert np.isnan(measured.forced[[0, 2]]).all()
    assert measured.found[2] == pytest.approx(880 / 0.9)
    assert np.isnan(measured.found[:2]).all()
