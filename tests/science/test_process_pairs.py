"""Real pairs through the whole pipeline: the variable, the galaxy where nothing changed, the asteroid."""

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from photometry.lightcurve import light_curve
from photometry.mask import Bit
from photometry.pipeline import process
from photometry.transform_cards import from_cards


@pytest.fixture(scope="module")
def saao(data, tmp_path_factory):
    folder = data / "saao_kb13475_june" / "light"
    out = tmp_path_factory.mktemp("saao") / "out"
    process(folder / "AKB13475I0020.fits.fz", out, template_path=folder / "AKB13475I0028.fits.fz")
    return out


def sanity(data, mjd: float) -> float:
    """The listed difference flux, on the template's scale, of the exposure nearest in time."""
    rows = np.loadtxt(data / "saao_kb13475_june" / "lc_sanity.txt")
    nearest = np.argmin(np.abs(rows[:, 0] + 2450000 - 2400000.5 - mjd))
    return float(rows[nearest, 1])


def test_the_microlensing_event_is_found_and_measured(data, saao):
    found = Table.read(saao / "transients.ecsv", format="ascii.ecsv")
    nearest = found[np.argmin(np.hypot(found["x_tmpl"] - 257.1, found["y_tmpl"] - 249.7))]
    assert np.hypot(nearest["x_tmpl"] - 257.1, nearest["y_tmpl"] - 249.7) < 1.5
    row = light_curve([saao], 257.1, 249.7)[0]
    assert row["flux_tmpl"] == pytest.approx(sanity(data, row["mjd"]), abs=1500)
    assert row["flux_err"] > 0


def test_the_registration_is_kept_in_the_header(saao):
    with fits.open(saao / "difference.fits") as hdus:
        transform = from_cards(hdus["DIFF"].header)
    found = Table.read(saao / "transients.ecsv", format="ascii.ecsv")
    x, y = transform(np.array(found["x"]), np.array(found["y"]))
    np.testing.assert_allclose(x, found["x_tmpl"], atol=2e-4)
    np.testing.assert_allclose(y, found["y_tmpl"], atol=2e-4)


def test_nothing_changed_round_the_galaxy(data, tmp_path):
    folder = data / "eaba_eso085_null_pair"
    report = process(
        folder / "aligned_eso085-030-004.fits.fz", tmp_path / "out", template_path=folder / "aligned_eso085-030-005.fits.fz"
    )
    assert report.subtracted
    found = Table.read(tmp_path / "out" / "transients.ecsv", format="ascii.ecsv")
    with fits.open(tmp_path / "out" / "difference.fits") as hdus:
        mask = hdus["MASK"].data
    y, x = np.nonzero(mask & int(Bit.SATURATED | Bit.TEMPLATE_SATURATED))
    columns = np.nonzero((mask & int(Bit.BAD | Bit.TEMPLATE_BAD)).any(axis=0))[0]
    galaxy = (512.0, 336.0)
    false = [
        (row["x"], row["y"], row["score"], row["flags"])
        for row in found
        if np.hypot(x - row["x"], y - row["y"]).min() > 25
        and np.hypot(row["x"] - galaxy[0], row["y"] - galaxy[1]) > 25
        and np.abs(columns - row["x"]).min() > 3
    ]
    assert false == []


def test_the_asteroid_is_found_where_it_is_and_where_it_was(data, tmp_path):
    folder = data / "lowell42_5945"
    pair = json.loads((data / "pairs.json").read_text())["lowell42_5945"][0]
    report = process(
        folder / "light" / f"{pair['sci']}.fz", tmp_path / "out", template_path=folder / "light" / f"{pair['ref']}.fz"
    )
    assert report.subtracted
    found = Table.read(tmp_path / "out" / "transients.ecsv", format="ascii.ecsv")
    x, y = pair["positive_at_sci_raw_px0"]
    distance = np.hypot(found["x"] - x, found["y"] - y)
    assert distance[found["score"] > 0].min() < pair["tol_px"]
    truth = {row["file"]: row for row in json.loads((folder / "truth.json").read_text())}
    was = truth[pair["ref"]]
    distance = np.hypot(found["x_tmpl"] - was["asteroid_x_raw0"], found["y_tmpl"] - was["asteroid_y_raw0"])
    assert distance[found["score"] < 0].min() < pair["tol_px"]
    assert found["mjd"][0] == pytest.approx(truth[pair["sci"]]["jd_mid"] - 2400000.5, abs=1e-6)
