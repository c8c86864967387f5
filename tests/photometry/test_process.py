"""The whole pipeline on a small pair with known truth, and what its products promise."""

import gzip
import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from PIL import Image as Picture

from photometry.errors import (
    BadFrameError,
    EnvironmentFailedError,
    GpuUnavailableError,
    SubtractionFailedError,
    TemplateMismatchError,
)
from photometry.lightcurve import light_curve
from photometry.manifest import write_manifest
from photometry.pipeline import process
from photometry.settings import Settings
from photometry.stages import STAGES
from photometry.subtraction.gpu import lend

SKY = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 124.6, "CRVAL2": 25.3, "CRPIX1": 160.0, "CRPIX2": 130.0,
       "CD1_1": -2.7e-4, "CD2_2": 2.7e-4, "CD1_2": 0.0, "CD2_1": 0.0}  # fmt: skip
NEW = (170.0, 101.0, 12000.0)  # x, y, flux of what is on the science frame alone
CORNER = (20.0, 240.0, 15000.0)


@pytest.fixture(scope="module")
def pair(make_sky, tmp_path_factory):
    """(science, template) paths: other seeing, other noise, two new sources"""
    folder = tmp_path_factory.mktemp("pair")
    template = make_sky(stars=120, fwhm=3.0, seed=1, flux=(3.3, 5.0)).write(folder / "tmpl.fits")
    science = make_sky(stars=120, fwhm=3.8, seed=2, flux=(3.3, 5.0))
    y, x = np.mgrid[:256, :320]
    sigma = 3.8 / 2.3548
    for a, b, flux in (NEW, CORNER):
        light = flux * np.exp(-0.5 * ((x - a) ** 2 + (y - b) ** 2) / sigma**2) / (2 * np.pi * sigma**2)
        science.data[:] += np.random.default_rng(9).poisson(light * 1.5) / 1.5
    return science.write(folder / "a frame.fits", **SKY), template


@pytest.fixture(scope="module")
def done(pair, tmp_path_factory):
    """(report, folder) of the pair"""
    out = tmp_path_factory.mktemp("products") / "out"
    stages: list[str] = []
    report = process(pair[0], out, template_path=pair[1], progress=stages.append)
    write_manifest(out, {"night": report.night, **report.as_dict()})
    assert stages == [name for name, _ in STAGES]
    return report, out


def test_the_new_sources_are_found_where_they_are(done):
    _, out = done
    found = Table.read(out / "transients.ecsv", format="ascii.ecsv")
    assert len(found) == 2
    for x, y, flux in (NEW, CORNER):
        row = found[np.argmin(np.hypot(found["x"] - x, found["y"] - y))]
        assert np.hypot(row["x"] - x, row["y"] - y) < 0.3
        assert np.hypot(row["x_tmpl"] - x, row["y_tmpl"] - y) < 0.4
        assert row["flux"] == pytest.approx(flux, abs=4 * row["flux_err"])
        assert row["score"] > 20
        assert row["mjd"] == pytest.approx(61212.134896 + 30 / 86400, abs=1e-6)
        assert row["ra"] == pytest.approx(124.6 - (row["x"] - 159) * 2.7e-4 / np.cos(np.radians(25.3)), abs=2e-5)
    assert list(np.sort(-np.abs(found["score"]))) == list(-np.abs(found["score"]))
    assert found.meta["frame"] == "a%20frame.fits"
    assert found.meta["template"] == "tmpl.fits"
    assert found.meta["flux_scale"] == pytest.approx(1.0, abs=0.03)
    assert found["flux"].unit == "adu"
    assert all(column.description and column.meta["ucd"] for column in found.itercols())


def test_the_report_is_json_and_has_times_and_figures(done):
    report, out = done
    facts = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert facts["subtracted"]
    assert facts["night"] == "2026-06-20"
    assert next(stage["name"] for stage in facts["stages"]) == "read"
    assert all(stage["seconds"] >= 0 for stage in facts["stages"])
    assert facts["figures"]["transients"] == 2
    assert facts["figures"]["stars"] > 60
    assert facts["figures"]["fwhm_pixels"] == pytest.approx(3.8, rel=0.1)
    assert facts["figures"]["background_level"] == pytest.approx(500, abs=3)
    assert 0.8 < facts["figures"]["score_width"] < 1.2
    # the runner's own facts are not trodden on
    assert not {"frame", "name", "task", "files"} & set(facts)
    assert json.loads((out / "manifest.json").read_text())["figures"]["transients"] == 2


def test_the_manifest_lists_every_file_truly(done):
    _, out = done
    files = json.loads((out / "manifest.json").read_text())["files"]
    there = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()} - {"manifest.json"}
    assert set(files) == there
    assert {"catalog.fits", "catalog.ecsv.gz", "difference.fits", "transients.ecsv", "preview.png"} < there
    for name, said in files.items():
        content = (out / name).read_bytes()
        assert said == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def test_both_catalogs_hold_the_same_rows_with_units_ucds_and_descriptions(done):
    _, out = done
    ecsv = Table.read(gzip.decompress((out / "catalog.ecsv.gz").read_bytes()).decode(), format="ascii.ecsv")
    with fits.open(out / "catalog.fits", checksum=True) as hdus:
        header, rows = hdus["CATALOG"].header, hdus["CATALOG"].data
        assert len(rows) == len(ecsv)
        assert ecsv.colnames == list(rows.names)
        for i, name in enumerate(rows.names, start=1):
            assert header[f"TUCD{i}"] == ecsv[name].meta["ucd"]
            assert header[f"TCOMM{i}"] == ecsv[name].description
            assert header.get(f"TUNIT{i}", "") == (str(ecsv[name].unit) if ecsv[name].unit else "")
            np.testing.assert_allclose(rows[name], ecsv[name], rtol=2e-4, atol=6e-4)
        assert {"id", "x", "y", "ra", "dec", "flux", "flux_err", "flux_aper3", "fwhm", "flags"} <= set(rows.names)
        assert header["FRAME"] == "a%20frame.fits"
        assert header["MJD-MID"] == pytest.approx(61212.135243, abs=1e-6)


def test_the_difference_is_compressed_and_says_how_it_was_made(done):
    _, out = done
    with fits.open(out / "difference.fits", checksum=True) as hdus:
        assert [hdu.name for hdu in hdus[1:]] == ["DIFF", "MASK", "PSF"]
        diff = hdus["DIFF"]
        assert diff.compression_type == "RICE_1"
        assert diff.header["BUNIT"] == "adu"
        assert diff.header["FLXSCALE"] == pytest.approx(1.0, abs=0.03)
        assert diff.header["REGNX"] == 320
        assert hdus["MASK"].header["BADBITS"] > 0
        assert hdus["MASK"].data.shape == (256, 320)
        x, y, _ = NEW
        assert diff.data[int(y), int(x)] > 300
        row = Table.read(out / "transients.ecsv", format="ascii.ecsv")[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MJD-OBS is made from DATE-OBS
            wcs = WCS(diff.header)
        sky = wcs.all_pix2world([[row["x"], row["y"]]], 0)[0]
        np.testing.assert_allclose(sky, (row["ra"], row["dec"]), atol=1e-7)
        assert diff.header["DATE-OBS"] == "2026-06-21T03:14:15.000"
        assert abs(np.median(diff.data)) < 3
    assert (out / "difference.fits").stat().st_size < 256 * 320 * 2.5


def test_stamps_are_63_pixels_of_three_planes_also_at_the_edge(done):
    _, out = done
    found = Table.read(out / "transients.ecsv", format="ascii.ecsv")
    assert sorted(p.name for p in (out / "stamps").iterdir()) == ["0001.fits", "0002.fits"]
    for row in found:
        with fits.open(out / "stamps" / f"{row['id']:04d}.fits", checksum=True) as hdus:
            assert [hdu.name for hdu in hdus[1:]] == ["SCIENCE", "TEMPLATE", "DIFFERENCE"]
            assert all(hdu.data.shape == (63, 63) for hdu in hdus[1:])
            assert hdus[0].header["SCORE"] == pytest.approx(row["score"], abs=0.001)
            peak = np.unravel_index(np.nanargmax(hdus["DIFFERENCE"].data), (63, 63))
            assert np.hypot(peak[0] - 31, peak[1] - 31) <= 1.5
            outside = np.isnan(hdus["SCIENCE"].data)
            assert outside[:, 0].all() == (row["x"] < 31)
            assert outside.any() == (row["x"] < 31)


def test_the_preview_is_a_picture(done):
    picture = Picture.open(done[1] / "preview.png")
    assert picture.size == (320, 256)
    colours = np.asarray(picture).astype(int)
    # row 0 is at the bottom, a circle round the new source
    x, y = int(NEW[0]), 255 - int(NEW[1])
    ring = colours[y - 12 : y + 13, x - 12 : x + 13]
    assert (ring[..., 0] - ring[..., 2] > 100).sum() > 30


def test_planes_sizes_and_the_light_curve_of_a_place(make_sky, done, pair, tmp_path):
    settings = Settings(difference_planes=("DIFF", "PSF", "SCORE"), preview_pixels=100, aperture_radii_pixels=(4.0,))
    earlier = make_sky(stars=120, fwhm=3.4, seed=5, flux=(3.3, 5.0))
    path = earlier.write(tmp_path / "earlier.fits", **{"DATE-OBS": "2026-06-20T03:14:15"})
    report = process(path, tmp_path / "earlier", template_path=pair[1], settings=settings)
    assert report.figures["transients"] == 0
    with fits.open(tmp_path / "earlier" / "difference.fits") as hdus:
        assert [hdu.name for hdu in hdus[1:]] == ["DIFF", "SCORE", "PSF"]
    assert max(Picture.open(tmp_path / "earlier" / "preview.png").size) <= 100
    table = light_curve([done[1], tmp_path / "earlier"], NEW[0], NEW[1])
    assert list(table["frame"]) == ["earlier.fits", "a%20frame.fits"]
    assert table["flux"][1] == pytest.approx(NEW[2], abs=4 * table["flux_err"][1])
    assert abs(table["flux"][0]) < 4 * table["flux_err"][0]
    assert table["flux_tmpl"][0] == pytest.approx(table["flux"][0] / table["flux_scale"][0])
    nowhere = light_curve([done[1]], 5000.0, 5000.0)
    assert np.isnan(nowhere["flux"]).all()


def test_the_error_of_a_blank_places_flux_is_its_scatter(done):
    rng = np.random.default_rng(4)
    pulls = []
    for x, y in rng.uniform((30, 30), (290, 226), (120, 2)):
        row = light_curve([done[1]], x, y)[0]
        if np.isfinite(row["flux_err"]):
            pulls.append(row["flux"] / row["flux_err"])
    low, high = np.percentile(pulls, (16, 84))
    assert (high - low) / 2 == pytest.approx(1.0, abs=0.3)


def test_without_a_template_everything_but_subtraction(pair, tmp_path):
    report = process(pair[0], tmp_path / "out")
    assert "no template: not subtracted" in report.notes
    assert not report.subtracted
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["catalog.ecsv.gz", "catalog.fits", "preview.png"]


def test_a_template_of_another_size(make_sky, pair, tmp_path):
    other = make_sky(shape=(200, 320)).write(tmp_path / "t.fits")
    with pytest.raises(TemplateMismatchError, match=r"the frame has 320 x 256 pixels, its template t\.fits 320 x 200"):
        process(pair[0], tmp_path / "out", template_path=other)


def test_a_template_of_another_field(make_sky, pair, tmp_path):
    other = make_sky(stars=120, field=99, flux=(3.3, 5.0)).write(tmp_path / "t.fits")
    with pytest.raises(TemplateMismatchError):
        process(pair[0], tmp_path / "out", template_path=other)


def test_clouds_cost_the_difference_not_the_frame(make_sky, pair, tmp_path):
    cloudy = make_sky(stars=2, flux=(4.0, 4.1), field=5).write(tmp_path / "c.fits")
    report = process(cloudy, tmp_path / "out", template_path=pair[1])
    assert not report.subtracted
    assert any(note.startswith("not subtracted: ") for note in report.notes)
    assert (tmp_path / "out" / "catalog.fits").exists()
    assert not (tmp_path / "out" / "transients.ecsv").exists()


def test_a_subtraction_that_fails_its_check_costs_only_itself(pair, tmp_path, monkeypatch):
    def fails(*_args):
        raise SubtractionFailedError("score width 9.9 in blank sky")

    monkeypatch.setattr("photometry.stages.subtract", fails)
    report = process(pair[0], tmp_path / "out", template_path=pair[1])
    assert "not subtracted: score width 9.9 in blank sky" in report.notes


def test_without_a_gpu_the_frame_fails_only_where_one_is_required(pair, tmp_path, monkeypatch):
    def none():
        raise GpuUnavailableError("no device: the driver sees none")

    monkeypatch.setattr(lend, "_driver", none)
    with pytest.raises(EnvironmentFailedError, match="no device"):
        process(pair[0], tmp_path / "a", template_path=pair[1], settings=Settings(gpu="require"))
    report = process(pair[0], tmp_path / "b", template_path=pair[1])
    assert report.subtracted
    assert "no GPU: no device: the driver sees none: subtracted on the CPU" in report.notes


def test_a_missing_or_broken_template_is_the_machines_fault(pair, tmp_path):
    with pytest.raises(EnvironmentFailedError, match=r"gone\.fits"):
        process(pair[0], tmp_path / "a", template_path=tmp_path / "gone.fits")
    (tmp_path / "t.fits").write_text("no template")
    with pytest.raises(EnvironmentFailedError, match=r"the template t\.fits cannot be used: not a FITS file"):
        process(pair[0], tmp_path / "b", template_path=tmp_path / "t.fits")


def test_a_bad_frame_is_refused(tmp_path):
    (tmp_path / "f.fits").write_bytes(b"")
    with pytest.raises(BadFrameError, match="empty"):
        process(tmp_path / "f.fits", tmp_path / "out")


def test_an_empty_sky_and_a_name_of_odd_bytes(make_sky, tmp_path):
    path = Path(tmp_path) / "new\nline \udcff.fits"
    make_sky(stars=0).write(tmp_path / "f.fits").rename(path)
    report = process(path, tmp_path / "out")
    assert report.figures["stars"] == 0
    with fits.open(tmp_path / "out" / "catalog.fits") as hdus:
        assert hdus[1].header["FRAME"] == "new%0Aline%20%FF.fits"
        assert len(hdus[1].data) == 0
    json.dumps(report.as_dict(), allow_nan=False)
