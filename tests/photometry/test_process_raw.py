"""Raw frames of a small camera from the file to the catalog, held against what was simulated."""

import dataclasses
import shutil
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from scipy.spatial import cKDTree

from photometry.astrometry.blind import missing_programs
from photometry.cli import main as photometry
from photometry.errors import BadFrameError, BadInputError, EnvironmentFailedError
from photometry.observatory import Site
from photometry.pipeline import process
from photometry.telescope import Telescope
from skysim.cli import main as skysim
from tests.skysim.cameras import write_camera

SIDE = (400, 400)  # of an amplifier; the chip has 800 x 800
ARCSEC = 0.994
FIELD = ("--ra", "120", "--dec", "-70", "--rotation", "12")
NEAR, FAINT = 20.0, 0.01  # pixels, share of a star's light: so little about it, and it stands alone


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """Makes frames of one field by one camera; has its masters, its catalog and what is known of the telescope."""
    return Night(tmp_path_factory.mktemp("night"))


class Night:
    def __init__(self, folder):
        self.folder, self.camera = folder, write_camera(folder / "small.yaml", side=SIDE)
        self.say("calibrations", folder / "cal", "--biases", "3", "--darks", "3", "--flats", "3")
        words = [str(path) for path in sorted((folder / "cal").glob("*.fits"))]
        masters = folder / "masters"
        assert photometry(["calibrate", "build", *words, "--instrument", str(self.camera), "--out", str(masters)]) == 0
        self.clear = self.frame("clear")
        site = Site(77.11, -80.42, 4093.0)
        self.telescope = Telescope(str(self.camera), masters, self.clear.with_name("catalog.fits"), site)

    def say(self, command, out, *words):
        assert skysim([command, str(out), "--instrument", str(self.camera), *words]) == 0

    def frame(self, name, *words):
        """Path of a frame of the field; truth and catalog are beside it."""
        path = self.folder / name / "frame.fits"
        if not path.exists():
            self.say("frame", path.parent, *FIELD, *words)
        return path

    def process(self, path, out, template=None, **other):
        telescope = dataclasses.replace(self.telescope, **other)
        return process(path, out, telescope=telescope, template_path=template, kept=self.folder / "kept")


@pytest.fixture(scope="module")
def done(night, tmp_path_factory):
    """(report, products) of a second frame of the field, with the first as its template"""
    out = tmp_path_factory.mktemp("products") / "out"
    return night.process(night.frame("second", "--number", "1"), out, template=night.clear), out


def read(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 'electron' is not in the FITS standard's list of units
        return Table.read(path)


def alone(night, catalog, name, faintest):
    """(rows of the catalog, rows of the truth) of whole stars that stand alone."""
    truth = Table.read(night.folder / name / "sources.ecsv", format="ascii.ecsv")
    places = np.column_stack([truth["x"], truth["y"]])
    tree = cKDTree(places)
    light = np.array([truth["electrons"][near].sum() for near in tree.query_ball_point(places, NEAR)])
    single = (light - truth["electrons"] < FAINT * truth["electrons"]) & (truth["electrons"] > faintest)
    apart, there = tree.query(np.column_stack([catalog["x"], catalog["y"]]), distance_upper_bound=1.0)
    good = np.isfinite(apart) & (catalog["flags_psf"] == 0)
    good[good] = np.asarray(single)[there[good]]
    return catalog[good], truth[there[good]]


def test_a_raw_frame_becomes_calibrated_measurements(night, done):
    report, out = done
    # ten bright stars: PSF and sum differ by 3 mmag here, and 2 are allowed without a word
    assert report.flags == ["disagreement"]
    assert [note for note in report.notes if note.startswith("photometries disagree: ") and "mmag, limit 2" in note]
    assert report.subtracted
    assert [stage.name for stage in report.stages][:6] == [
        "read", "measure", "photometry", "template", "astrometry", "zero_point",
    ]  # fmt: skip
    figures = report.figures
    assert figures["astrometry"] == "template"
    assert figures["scale_arcsec"] == pytest.approx(ARCSEC, rel=1e-3)
    assert figures["psf_chi2"] == pytest.approx(1.0, abs=0.15)
    assert figures["zero_point"] == pytest.approx(22.6 + 2.5 * np.log10(60), abs=0.03)
    assert figures["calibration"]
    found, truth = alone(night, read(out / "catalog.fits"), "second", 3000)
    assert len(found) > 10
    for kind in ("psf", "apcor"):
        pull = (found[f"flux_{kind}"] - truth["electrons"]) / found[f"flux_{kind}_err"]
        assert abs(np.median(pull)) < 1.5
        assert 1.4826 * np.median(np.abs(pull - np.median(pull))) < 2.0
        off = found[f"mag_{kind}"] - truth["mag"]
        assert abs(np.median(off)) < 0.03
    assert np.median(np.hypot(found["x"] - truth["x"], found["y"] - truth["y"])) < 0.05
    north = 3600 * (found["dec"] - truth["dec"])
    east = 3600 * (found["ra"] - truth["ra"]) * np.cos(np.radians(truth["dec"]))
    assert np.median(np.hypot(east, north)) < 0.1


def test_the_catalog_says_what_it_is(done):
    _, out = done
    table = read(out / "catalog.fits")
    with fits.open(out / "catalog.fits", checksum=True) as hdus:
        hdus.verify("exception")
        header = hdus["CATALOG"].header
    assert header["TIMESYS"] == "UTC"
    assert header["DATE-BEG"] < header["DATE-AVG"] < header["DATE-END"]
    assert header["MJD-AVG"] == pytest.approx(header["MJD-MID"], abs=1e-7)
    radius = np.sqrt(sum(header[f"OBSGEO-{axis}"] ** 2 for axis in "XYZ"))
    assert 6.35e6 < radius < 6.38e6
    assert (header["ZPBAND"], header["ZPSYSTEM"]) == ("i", "AB")
    for i in range(1, header["TFIELDS"] + 1):
        assert header[f"TCOMM{i}"]
        assert header[f"TUCD{i}"]
        unitless = header[f"TTYPE{i}"] in {"id", "chi2_psf", "flags_psf", "flags"}
        assert unitless or header[f"TUNIT{i}"] in {"electron", "pix", "deg", "mag", "rad"}
    again = Table.read(out / "catalog.ecsv.gz", format="ascii.ecsv")
    assert again.colnames == table.colnames
    np.testing.assert_allclose(again["mag_psf"], table["mag_psf"], atol=1e-5)
    negative = ~(table["flux_psf"] > 0)
    assert np.isnan(np.ma.filled(table["mag_psf"], np.nan)[negative]).all()


def test_the_difference_lies_where_the_solution_says(night, done):
    _, out = done
    with fits.open(out / "difference.fits") as hdus:
        header = hdus["DIFF"].header
    assert header["BUNIT"] == "electron"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own, truth = WCS(header), WCS(fits.getheader(night.folder / "second" / "truth.wcs"))
    for place in ((10.0, 10.0), (790.0, 400.0), (400.0, 790.0)):
        there = truth.all_pix2world([place], 0)
        assert np.abs(own.all_world2pix(there, 0) - place).max() < 0.1


SPOILT = {
    "cloud": ("--number", "2", "--cloud", "1"),
    "patchy": ("--number", "2", "--patchy", "0.3"),
    "twilight": ("--number", "3", "--sky", "17"),
    "trailed": ("--number", "4", "--trail", "40"),
    "out_of_focus": ("--number", "5", "--defocus", "20"),
    "no_astrometry": ("--number", "6", "--cloud", "10"),
}


@pytest.mark.parametrize("word", SPOILT)
def test_a_spoilt_frame_is_flagged_and_says_why(night, tmp_path, word):
    report = night.process(night.frame(word, *SPOILT[word]), tmp_path / "out", template=night.clear)
    assert word in report.flags
    assert len(report.as_dict()["flags"]) <= 3
    assert len(read(tmp_path / "out" / "catalog.fits")) == report.figures["stars"]


def test_frost_is_what_was_on_the_template_too(night, tmp_path):
    before = night.frame("patchy", *SPOILT["patchy"])
    report = night.process(before, tmp_path / "out", template=before)
    assert "frost" in report.flags


def test_without_masters_it_goes_on_and_says_so(night, tmp_path):
    report = night.process(night.clear, tmp_path / "out", masters=None)
    assert "uncalibrated" in report.flags
    assert report.figures["stars_fitted"] > 50


def test_without_a_catalog_the_place_comes_from_the_template(night, tmp_path):
    alone = night.process(night.clear, tmp_path / "alone", catalog=None)
    assert "zero_point" not in alone.figures
    assert "mag_psf" not in read(tmp_path / "alone" / "catalog.fits").colnames


def test_another_sky_gives_no_coordinates(night, tmp_path):
    elsewhere = night.frame("elsewhere", "--dec", "-40")
    report = night.process(night.clear, tmp_path / "out", catalog=elsewhere.with_name("catalog.fits"))
    assert report.flags == ["no_astrometry"]
    assert "ra" not in read(tmp_path / "out" / "catalog.fits").colnames


@pytest.mark.skipif(bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}")
def test_a_frame_that_knows_nothing_of_its_pointing_is_placed_by_the_catalogs_indexes(night, tmp_path):
    stars = tmp_path / "stars.fits"
    shutil.copy(night.telescope.catalog, stars)
    assert photometry(["index", str(stars), "--instrument", str(night.camera), "--epoch", "2026.5"]) == 0
    lost = tmp_path / "lost.fits"
    with fits.open(night.clear) as hdus:
        hdus[0].header["RA"], hdus[0].header["DEC"] = "01:00:00", "+10:00:00"
        hdus.writeto(lost)
    report = night.process(lost, tmp_path / "out", catalog=stars)
    assert report.flags == [], report.notes
    assert report.figures["astrometry"] == "blind"


def test_what_cannot_be_right_is_refused_in_one_line(night, tmp_path):
    with pytest.raises(BadFrameError, match=r"wrong instrument: INSTRUME is 'SMALL', identity\.INSTRUME of ast3 wants"):
        night.process(night.clear, tmp_path / "a", instrument="ast3")
    with pytest.raises(BadInputError, match="no such instrument"):
        night.process(night.clear, tmp_path / "b", instrument="nowhere")
    with pytest.raises(EnvironmentFailedError, match="no masters in"):
        night.process(night.clear, tmp_path / "c", masters=tmp_path)
    with pytest.raises(EnvironmentFailedError, match="cannot read the star catalog"):
        night.process(night.clear, tmp_path / "d", catalog=tmp_path / "none.fits")
    flat = tmp_path / "flat.fits"
    with fits.open(night.clear) as hdus:
        hdus[0].data[:] = 1000
        hdus.writeto(flat)
    with pytest.raises(BadFrameError, match="nothing to see"):
        night.process(flat, tmp_path / "e")


def test_what_is_in_electrons_is_not_calibrated_again(night, tmp_path):
    words = ["--instrument", str(night.camera), "--masters", str(night.telescope.masters), "--out"]
    assert photometry(["calibrate", "apply", str(night.clear), *words, str(tmp_path / "c.fits")]) == 0
    once = night.process(night.clear, tmp_path / "once")
    again = night.process(tmp_path / "c.fits", tmp_path / "again")
    assert again.figures["stars"] == pytest.approx(once.figures["stars"], rel=0.05)
    first, second = (read(tmp_path / name / "catalog.fits")[:30] for name in ("once", "again"))
    off = [row["mag_psf"] - first["mag_psf"][np.hypot(first["x"] - row["x"], first["y"] - row["y"]) < 0.2] for row in second]
    assert abs(np.median(np.concatenate(off))) < 0.005
    assert again.night == once.night
