"""The header that a frame goes on with."""

import pytest
from astropy.io import fits

from photometry.detector import detector
from photometry.headers import header_of, trimmed
from photometry.instrument import load_instrument
from photometry.observatory import Site
from photometry.times import exposure_of

WCS = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 120.0, "CRVAL2": 25.0, "CRPIX1": "716.5", "CRPIX2": 685.0,
       "CD1_1": -3e-4, "CD2_2": 3e-4}  # fmt: skip


def of(name, **more):
    camera = load_instrument(name)
    header = fits.Header([(card, value) for card, value in {**camera.identity, **WCS, **more}.items()])
    return camera, header, detector(camera, header, camera.shape, [])


def test_a_wcs_moves_with_the_pixels_that_are_trimmed_off():
    _, header, chip = of("lowell42")
    found = trimmed(header, chip)
    assert (found["CRPIX1"], found["CRPIX2"]) == (716.5 - 17, 685.0)
    assert header["CRPIX1"] == "716.5"


def test_a_wcs_of_amplifiers_that_are_put_together_is_none():
    _, header, chip = of("ast3")
    found = trimmed(header, chip)
    assert not [card for card in found if card.startswith(("C", "CD"))]
    assert found["INSTRUME"] == "AST3"


def test_times_are_those_of_the_instruments_rule_and_in_utc():
    camera, header, _ = of(
        "lowell42", **{"DATE-OBS": "2019-03-26", "UTCSTART": "04:05:06", "EXPTIME": 60.0, "FILTNAME": "VR"}
    )
    found = header_of(header, exposure_of(header, camera.time), Site(-111.5, 35.1, 2200.0), camera)
    assert found["DATE-OBS"] == "2019-03-26T04:05:06.000"
    assert found["DATE-AVG"] == "2019-03-26T04:05:36.000"
    assert found["FILTNAME"] == "VR"
    assert found["OBSGEO-Z"] == pytest.approx(3.65e6, rel=0.01)
    assert exposure_of(found).mid_mjd == pytest.approx(exposure_of(header, camera.time).mid_mjd, abs=1e-8)


def test_a_header_without_a_time_says_none():
    camera, header, _ = of("lowell42")
    found = header_of(header, exposure_of(header, camera.time), None, None)
    assert not {"DATE-OBS", "DATE-BEG", "TIMESYS", "OBSGEO-X"} & set(found)
