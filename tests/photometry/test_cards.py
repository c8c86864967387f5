"""What real headers say."""

import pytest
from astropy.io import fits

from photometry import cards


def header(**values: object) -> fits.Header:
    return fits.Header({key.replace("_OBS", "-OBS"): value for key, value in values.items()})


def test_the_first_card_that_holds_a_sensible_number_is_taken():
    said = header(EGAIN="not known", GAIN=True, AGAIN_01=4.95)
    assert cards.number(said, cards.GAIN_CARDS, 0.01, 1000) == ("AGAIN_01", 4.95)
    assert cards.number(header(GAIN=0.0), cards.GAIN_CARDS, 0.01, 1000) is None
    assert cards.number(header(GAIN=" 1.9 "), cards.GAIN_CARDS, 0.01, 1000) == ("GAIN", 1.9)


def test_sections_are_one_based_and_must_fit():
    said = header(TRIMSEC="[  17: 528,   1: 520]")
    assert cards.section(said, "TRIMSEC", (520, 536)) == (slice(0, 520), slice(16, 528))
    assert cards.section(said, "TRIMSEC", (512, 512)) is None
    assert cards.section(header(TRIMSEC="[5:2,1:2]"), "TRIMSEC", (9, 9)) is None
    assert cards.section(header(TRIMSEC="all of it"), "TRIMSEC", (9, 9)) is None


@pytest.mark.parametrize(("said", "unit"), [("ADU", "adu"), ("", "adu"), ("electrons", "electron"), ("Jy/beam", None)])
def test_units(said, unit):
    assert cards.unit(header(BUNIT=said)) == unit


def test_what_a_product_takes_over_fits_in_plain_cards():
    said = header(OBJECT="x" * 80, FILTER=" r ", EXPTIME=60.0, TELESCOP=True, CTYPE1="RA---TPV", PV1_5=0.1, CD1_1=-1e-4)
    assert cards.provenance(said) == {"OBJECT": "x" * 68, "FILTER": "r", "EXPTIME": 60.0}
    assert cards.wcs_cards(said) == {"CTYPE1": "RA---TPV", "PV1_5": 0.1, "CD1_1": -1e-4}
