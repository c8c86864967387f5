"""Settings are strict, and say what is wrong and what is allowed."""

import pytest

from photometry.errors import BadInputError
from photometry.settings import Settings


def test_nothing_said_is_the_defaults():
    assert Settings.from_dict({}) == Settings()


def test_what_is_said_counts():
    said = {
        "gain": 2,
        "read_noise": None,
        "aperture_radii_pixels": [2, 4.5],
        "difference_planes": ["PSF", "DIFF"],
        "gpu": "off",
    }
    found = Settings.from_dict(said)
    assert (found.gain, found.read_noise) == (2.0, None)
    assert found.aperture_radii_pixels == (2.0, 4.5)
    assert found.difference_planes == ("DIFF", "PSF")
    assert found.gpu == "off"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"gian": 2}, r"photometry\.gian: unknown key; known are max_megapixels"),
        ({"gain": "2"}, r"photometry\.gain: found '2'; allowed is a number from 0\.0001 to 10000, or null"),
        ({"gain": True}, "found True"),
        ({"gain": float("nan")}, "found nan"),
        ({"background_mesh_pixels": 63.5}, "found 63.5; allowed is a whole number from 8"),
        ({"detection_threshold_sigma": 0.5}, "from 1 to 1000"),
        ({"max_megapixels": None}, "found None"),
        ({"aperture_radii_pixels": [5, 3]}, "rising"),
        ({"aperture_radii_pixels": []}, "1 to 10"),
        ({"aperture_radii_pixels": 3}, "found 3"),
        ({"gpu": "always"}, "found 'always'; allowed is one of auto, require, off"),
        ({"gpu": False}, "found False; allowed is one of auto, require, off"),  # what YAML's own off would be
        ({"difference_planes": ["VAR"]}, "allowed are DIFF and any of VAR, MASK, SCORE, PSF"),
        ({"difference_planes": ["DIFF", "DIFF"]}, "allowed are"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(said, words):
    with pytest.raises(BadInputError, match=words) as caught:
        Settings.from_dict(said)
    assert "\n" not in str(caught.value)
