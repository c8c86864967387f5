"""The report holds products against the truth, and fails where it must."""

import json

import pytest
from astropy.table import Table

from skysim.report import COLUMNS, collect, failures, summary, table
from skysim.truth import FrameTruth, TargetTruth

SUPERNOVA, VARIABLE, MOVER = (100.0, 120.0), (300.0, 40.0), (200.0, 200.0)


def truth(number, snr):
    targets = {
        "supernova": TargetTruth(*SUPERNOVA, 110.0, 125.0, 100 * snr, snr),
        "variable": TargetTruth(*VARIABLE, 310.0, 45.0, -900.0, -9.0),
        "mover": TargetTruth(*MOVER, 210.0, 205.0, 3_000.0, 30.0),
    }
    return FrameTruth(f"f{number}.fits", 61212.5, 3.5, 0.9, 400.0, 10.0, 5.0, 0.1, targets)


def publish(products, number, rows, stars=7):
    folder = products / "ast3-1" / "2026-06-21" / f"f{number}-0123456789ab"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"name": f"f{number}.fits", "seconds": 3.5}))
    Table({"x": [0.0] * stars}).write(folder / "catalog.fits")
    listed = [(i, x, y, x + 10, y + 5, 1_000.0, 50.0, 20.0) for i, (x, y) in enumerate(rows, start=1)]
    found = Table(rows=listed or None, names=COLUMNS, dtype=[int, *[float] * 7])
    found.write(folder / "transients.ecsv", format="ascii.ecsv")
    return folder


def at(place, dx=0.0, dy=0.0):
    return place[0] + dx, place[1] + dy


def test_what_was_found_is_counted_and_everything_passes(tmp_path):
    truths = [truth(1, 0.0), truth(2, 12.0)]
    publish(tmp_path, 1, [at(MOVER, 0.2)])
    folder = publish(tmp_path, 2, [at(SUPERNOVA, 0.3, 0.4), at(VARIABLE), at(MOVER, 2.0), (400.0, 400.0)])
    results = collect(tmp_path, truths)
    assert failures(results) == []
    row, far = results[1].found("supernova")
    assert (row.flux_adu, far, results[1].folder) == (1_000.0, pytest.approx(0.5), folder)
    assert results[1].found("mover") is None  # 2 pixels: neither found ...
    assert len(results[1].false) == 1  # ... nor false
    assert (results[1].stars, results[1].seconds) == (7, 3.5)
    assert "2 of 2 frames processed, 7 stars measured and 3.50 s a frame" in summary(results)
    assert "supernova: found in 1 of 1 frames" in summary(results)
    assert table(results).count("\n") == 2


def test_supernova_missed_where_it_must_be_found_fails(tmp_path):
    publish(tmp_path, 1, [at(SUPERNOVA, 1.2, 1.2)])
    assert failures(collect(tmp_path, [truth(1, 6.9)])) == []
    (line,) = failures(collect(tmp_path, [truth(1, 7.0)]))
    assert line == "f1.fits: the supernova was not found, though its true S/N is 7.0"


def test_three_false_transients_in_a_frame_fail_two_do_not(tmp_path):
    false = [(10.0, 10.0), (20.0, 20.0), (30.0, 30.0)]
    publish(tmp_path, 1, false[:2])
    publish(tmp_path, 2, false)
    (line,) = failures(collect(tmp_path, [truth(1, 0.0), truth(2, 0.0)]))
    assert line == "f2.fits: 3 false transients, more than 2"


def test_frame_without_products_fails(tmp_path):
    publish(tmp_path, 1, [])
    results = collect(tmp_path, [truth(1, 0.0), truth(2, 0.0)])
    assert failures(results) == ["f2.fits: no products were published"]
    assert summary(results).startswith("1 of 2 frames processed")


def test_unfinished_products_do_not_count(tmp_path):
    folder = tmp_path / ".tmp" / "f1-0123456789ab.1" / "x"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{")
    assert collect(tmp_path, [truth(1, 0.0)])[0].folder is None
