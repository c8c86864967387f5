"""Headers whose WCS says something else than it means."""

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from photometry.astrometry import repaired_wcs
from photometry.errors import BadInputError


def test_text_and_tan_that_is_tpv_are_read_as_they_are_meant(data):
    header = fits.getheader(data / "lowell42_5945/light/20190326.0127.fits.fz", 1)
    (true,) = (
        frame["wcs_scamp_gaia_tpv_raw_frame"]
        for frame in json.loads((data / "lowell42_5945/truth.json").read_text())
        if frame["file"] == "20190326.0127.fits"
    )
    repaired = repaired_wcs(header, {"strings", "tan_is_tpv"})
    places = np.array([[0.0, 0.0], [700.0, 700.0], [1400.0, 1300.0]])
    np.testing.assert_allclose(repaired.all_pix2world(places, 0), WCS(fits.Header(true)).all_pix2world(places, 0), atol=1e-9)
    assert repaired_wcs(header, set()) is None
    bare = fits.Header(
        {name: value for name, value in true.items() if not name.startswith("PV")}
        | {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
    )
    assert np.abs(WCS(bare).all_pix2world(places, 0) - repaired.all_pix2world(places, 0)).max() > 1e-5  # without PV
    assert isinstance(header["CRVAL1"], str)  # the frame's own header is left alone


def test_a_header_without_quirks_is_what_it_was():
    header = WCS(fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 1.0, "CRVAL2": 2.0, "CD1_1": 1e-3,
                              "CD2_2": 1e-3, "CRPIX1": 5.0, "CRPIX2": 5.0})).to_header()  # fmt: skip
    header["NAXIS1"] = header["NAXIS2"] = 10
    wcs = repaired_wcs(header, {"strings", "tan_is_tpv"})
    assert wcs.wcs.ctype[0] == "RA---TAN"
    np.testing.assert_allclose(wcs.wcs.crval, [1.0, 2.0])


def test_an_unknown_quirk_is_refused():
    with pytest.raises(BadInputError, match="known are strings, tan_is_tpv"):
        repaired_wcs(fits.Header(), {"magic"})
