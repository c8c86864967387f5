"""The site's catalog: three formats, proper motion at the pole, and a sorted copy that may be lost or damaged."""

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from photometry.astrometry import catalog_of, load_catalog
from photometry.astrometry.sphere import angles, axes, deproject, moved, project, separation, unit_vectors
from photometry.errors import BadInputError, EnvironmentFailedError

DECLINATIONS = st.floats(-90, 90)
ANGLES = st.floats(0, 359.999)


def table() -> Table:
    return Table(
        {
            "ra": [10.0, 0.1, 359.9, 200.0], "dec": [-89.99, 0.0, 0.0, 40.0], "epoch": [2016.0] * 4,
            "pmra": [1000.0, 0.0, np.nan, 0.0], "pmdec": [0.0, 0.0, np.nan, 0.0], "mag": [9.0, 11.0, 10.0, np.nan],
            "mag_err": [0.01] * 4, "band": ["G"] * 4, "system": ["Vega"] * 4,
        }
    )  # fmt: skip


@pytest.mark.parametrize("name", ["stars.fits", "stars.ecsv", "stars.csv"])
def test_each_format_gives_the_same_stars(tmp_path, name):
    table().write(tmp_path / name)
    for kept in (None, tmp_path / "kept", tmp_path / "kept"):
        stars = load_catalog(tmp_path / name, kept).around(0.0, 0.0, 1.0, 2026.0)
        assert stars.rows["mag"].tolist() == [10.0, 11.0]
        assert stars.rows["band"].tolist() == ["G", "G"]
        np.testing.assert_allclose(angles(stars.vectors)[0], [359.9, 0.1])


def test_stars_move_on_the_sphere_at_the_pole():
    stars = catalog_of({name: table()[name] for name in table().colnames}).around(0.0, -90.0, 1.0, 2116.0)
    # a century of an arcsecond a year is 100 arcsec, 2.8 times its distance from the pole: sideways, not round it
    before = unit_vectors(10.0, -89.99)
    assert separation(stars.vectors[0], before) * 3600 == pytest.approx(100.0, abs=0.01)
    assert separation(stars.vectors[0], unit_vectors(0.0, -90.0)) * 3600 == pytest.approx(np.hypot(100.0, 36.0), abs=0.01)


def test_a_changed_file_is_read_again_and_damage_does_not_matter(tmp_path):
    path, kept = tmp_path / "stars.ecsv", tmp_path / "kept"
    table().write(path)
    load_catalog(path, kept)
    (copy,) = kept.iterdir()
    copy.write_bytes(copy.read_bytes()[:200])
    assert len(load_catalog(path, kept).rows) == 4
    table()[:3].write(path, overwrite=True)
    assert len(load_catalog(path, kept).rows) == 3


def test_what_is_no_catalog_is_refused_in_a_line(tmp_path):
    with pytest.raises(BadInputError, match=r"\.csv"):
        load_catalog(tmp_path / "stars.txt")
    with pytest.raises(EnvironmentFailedError, match=r"stars\.csv"):
        load_catalog(tmp_path / "stars.csv")
    (tmp_path / "stars.csv").write_text("ra,dec\n1,2\n")
    with pytest.raises(BadInputError, match="no column mag; it has ra, dec"):
        load_catalog(tmp_path / "stars.csv")
    with pytest.raises(BadInputError, match="no column epoch"):
        catalog_of({"ra": [1.0], "dec": [2.0], "mag": [3.0], "pmra": [1.0], "pmdec": [1.0]})
    with pytest.raises(BadInputError, match="no star"):
        catalog_of({"ra": [np.nan], "dec": [2.0], "mag": [3.0]})


@given(ANGLES, DECLINATIONS, ANGLES, st.floats(0, 10), ANGLES)
def test_around_finds_what_lies_within_the_circle(ra, dec, turn, degrees, meridian):
    """Anywhere on the sphere, the circle over the pole or RA 0 included."""
    towards = np.deg2rad(turn)
    star = deproject(
        np.array([np.rad2deg(np.tan(np.deg2rad(degrees))) * np.array([np.sin(towards), np.cos(towards)])]), axes(ra, dec)
    )
    a, d = angles(star)
    catalog = catalog_of({"ra": [a[0], meridian], "dec": [d[0], -d[0]], "mag": [1.0, 2.0]})
    for radius, inside in ((degrees + 0.001, True), (degrees - 0.001, False)):
        if radius > 0:
            found = catalog.around(ra, dec, radius, 2000.0).rows["mag"]
            assert (1.0 in found.tolist()) == inside


@given(ANGLES, DECLINATIONS, st.floats(-5, 5), st.floats(-5, 5))
def test_the_plane_is_the_one_of_fits(ra, dec, east, north):
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], [ra, dec], [1.0, 1.0]
    wcs.wcs.lonpole = 180.0  # as our headers say: at dec = 90 alone, the default is 0
    plane = np.array([[east, north]])
    theirs = unit_vectors(*wcs.wcs_pix2world(plane, 0).T)
    shifted = deproject(plane + 1.0, axes(ra, dec))  # their CRPIX is 0: pixel 0-based 0 is at 1
    assert separation(theirs, shifted).max() * 3600 < 1e-6
    np.testing.assert_allclose(project(shifted, axes(ra, dec)), plane + 1.0, atol=1e-9)


def test_motion_is_plain_at_the_equator():
    ra, dec = angles(moved(np.array([359.9999]), np.array([0.0]), np.array([3.6e6]), np.array([-1.8e6]), 0.001))
    assert ra[0] == pytest.approx(0.0009, abs=1e-6)
    assert dec[0] == pytest.approx(-0.0005, abs=1e-6)
