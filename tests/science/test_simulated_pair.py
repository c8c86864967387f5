"""A simulated pair through the subtraction: what was put in comes out, and nothing else."""

import numpy as np
from astropy.io import fits
from astropy.table import Table

from photometry.cli import main as photometry
from skysim.cli import main as skysim


def test_transients_of_a_pair_are_found_and_little_else(tmp_path):
    out = tmp_path / "pair"
    assert skysim(["pair", str(out), "--size", "640", "--seed", "5", "--transients", "60"]) == 0
    masks = ["--science-mask", str(out / "mask_sci.fits"), "--template-mask", str(out / "mask_ref.fits")]
    done = photometry(
        ["subtract", str(out / "sci.fits"), str(out / "ref.fits"), *masks, "--out", str(out / "d"), "--gpu", "off"]
    )
    assert done == 0
    rows = np.genfromtxt(out / "sources.csv", delimiter=",", names=True, dtype=None, encoding="ascii")
    found = Table.read(out / "d" / "sources.ecsv")
    bad = fits.getdata(out / "mask_sci.fits") | fits.getdata(out / "mask_ref.fits")

    def near(x, y, of_x, of_y, pixels):
        return (np.hypot(of_x - x, of_y - y) < pixels).any()

    def clean(x, y):
        return not bad[round(y) - 12 : round(y) + 13, round(x) - 12 : round(x) + 13].any()

    strong = [row for row in rows if row["kind"] == "tran" and row["snr"] > 8 and clean(row["x"], row["y"])]
    assert len(strong) > 15
    seen = [near(row["x"], row["y"], found["x"], found["y"], 2) for row in strong]
    assert np.mean(seen) >= 0.95
    changed = rows[(rows["kind"] == "tran") | (rows["var"] != 0)]
    false = [
        row for row in found if abs(row["score"]) > 5.5 and not near(row["x"], row["y"], changed["x"], changed["y"], 10)
    ]
    assert len(false) <= 2
