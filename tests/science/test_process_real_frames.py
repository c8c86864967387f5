"""Real frames of seven cameras through the pipeline, without a template: what each header trap and sky does to it."""

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from scipy.spatial import cKDTree

from photometry.frame import read_frame
from photometry.mask import Bit
from photometry.pipeline import Report, process


def run(frame: Path, out: Path) -> tuple[Report, Table]:
    report = process(frame, out)
    catalog = gzip.decompress((out / "catalog.ecsv.gz").read_bytes()).decode()
    return report, Table.read(catalog, format="ascii.ecsv")


@pytest.mark.parametrize(
    ("name", "night", "stars", "fwhm", "gain"),
    [
        ("saao_kb13475_june/light/AKB13475I0028.fits.fz", "2013-07-08", (600, 1200), (3.8, 5.5), 1.9),
        ("eaba_eso085_null_pair/aligned_eso085-030-004.fits.fz", "2015-12-26", (400, 900), (2.5, 3.8), None),
        ("hatp32_microobservatory/light/HATP-32171220013612.fits.fz", "2017-12-19", (1000, 3000), (1.8, 2.9), None),
        ("lowell42_5945/light/20190326.0157.fits.fz", "2019-03-25", (1200, 2700), (1.8, 2.7), 4.95),
        ("wcs_images/panoptes_unsolved.fits.gz", "2016-09-08", (1000, 2500), (2.0, 3.3), None),
        ("wcs_images/lco_banzai_trailed_frame.fits.fz", "2016-06-25", (60, 250), (4.0, 9.0), 1.0),
        ("misc/eso_ntt_emmi_sep_image.fits.gz", "1992-10-26", (50, 110), (2.2, 4.0), None),
    ],
)
def test_each_camera(data, tmp_path, name, night, stars, fwhm, gain):
    report, catalog = run(data / name, tmp_path / "out")
    assert report.night == night
    assert stars[0] <= len(catalog) <= stars[1]
    assert fwhm[0] < report.figures["fwhm_pixels"] < fwhm[1]
    if gain is None:
        assert any("gain" in note for note in report.notes)
    else:
        assert report.figures["gain"] == gain
    # hardly a star is taken for a cosmic ray or lies on a bad column
    bright = catalog[(catalog["flux"] > 100 * catalog["flux_err"]) & ((catalog["flags"] & 0x503) == 0)]
    if "trailed" not in name:
        assert np.mean((bright["flags"] & 0x200) != 0) < 0.1


def test_overscan_is_masked_where_it_is_and_not_where_it_was(data):
    raw = read_frame(data / "lowell42_5945/light/20190326.0127.fits.fz")
    edge = (raw.image.mask & Bit.EDGE) != 0
    assert edge[:, :17].all()
    assert edge[:, 1382:].all()
    assert not edge[:, 17:1382].any()
    assert raw.wcs is None  # text where numbers belong
    trimmed = read_frame(data / "saao_kb13475_june/light/AKB13475I0028.fits.fz")
    assert not (trimmed.image.mask & Bit.EDGE).any()


def test_sky_coordinates_agree_with_tycho(data, tmp_path):
    _, catalog = run(data / "wcs_images/panoptes_solved.fits.fz", tmp_path / "out")
    tycho = Table.read(data / "wcs_images/panoptes_tycho2.csv", format="ascii.csv", comment="#")
    scale = math.cos(math.radians(float(np.median(catalog["dec"]))))
    ours = np.column_stack([catalog["ra"] * scale, catalog["dec"]])
    theirs = np.column_stack([tycho["ra_deg"] * scale, tycho["dec_deg"]])
    distance, _ = cKDTree(ours).query(theirs)
    near = distance * 3600 < 30
    assert near.sum() > 50
    # 10.3 arc seconds a pixel; the solution's own residual is 8
    assert np.median(distance[near]) * 3600 < 11


def test_every_undersampled_frame_of_a_night_gives_its_stars(data):
    from photometry.measure import measure
    from photometry.settings import Settings

    settings = Settings(aperture_radii_pixels=(4.0,))
    frames = sorted((data / "hatp32_microobservatory/light").glob("*.fz"))[::24]
    counts = [len(measure(read_frame(frame), settings).stars) for frame in frames]
    assert min(counts) > 200
