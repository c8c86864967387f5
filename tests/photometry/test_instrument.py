"""Instruments as data: the files that ship, what a wrong file is told, and what a frame's header adds."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from photometry.detector import detector
from photometry.errors import BadFrameError, BadInputError
from photometry.instrument import load_instrument

SMALL = """
name: small
description: two amplifiers
identity: {INSTRUME: SMALL}
shape: [10, 24]
scale: null
amplifiers:
  - {name: A, data: '[1:10,1:10]', overscan: '[11:12,1:10]', chip: '[1:10,1:10]', corner: lower-left,
     gain: 1.5, read_noise: 6, saturation: null, linearity: [0.0, 1e-9]}
  - {name: B, data: '[13:22,1:10]', overscan: null, chip: '[11:20,1:10]', corner: lower-right,
     gain: null, read_noise: null, saturation: 60000, linearity: [0.0, 0.0]}
crosstalk: [[0, 1e-4], [2e-4, 0]]
frame_transfer: {row_seconds: 5e-6}
time: {cards: [DATE-OBS], zone: UTC, at: start, exposure: [EXPTIME]}
pointing: null
filters: null
wcs_quirks: []
...
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "small.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["ast3", "lowell42", "saao_ste3", "microobservatory", "generic"])
def test_the_files_that_ship(name):
    found = load_instrument(name)
    assert found.name == name
    assert found.amplifiers is None or found.shape is not None


def test_ast3_is_sixteen_amplifiers_on_a_square():
    ast3 = load_instrument("ast3")
    resolved = detector(ast3, fits.Header({"INSTRUME": "ast3-2"}), (10560, 10720), [])
    assert resolved.chip_shape == (10560, 10560)
    covered = np.zeros(resolved.chip_shape, np.uint8)
    for channel in resolved.amplifiers:
        covered[channel.chip] += 1
        assert channel.overscan is not None
        assert channel.overscan[1].start == channel.data[1].stop
    assert (covered == 1).all()


def test_a_file_as_it_is_read(tmp_path):
    found = load_instrument(write(tmp_path, SMALL))
    assert found.amplifiers is not None
    assert found.amplifiers[0].overscan == (slice(0, 10), slice(10, 12))
    assert found.amplifiers[0].linearity == (0.0, 1e-9)
    assert found.row_seconds == 5e-6
    assert found.crosstalk is not None
    assert found.crosstalk[1, 0] == 2e-4


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: small", "name: small\nname: other", "the key 'name' a second time"),
        ("scale: null", "scales: null", "scales: unknown key"),
        ("scale: null\n", "", "scale: missing"),
        ("shape: [10, 24]", "shape: [10, 20]", "amplifiers[1].data: leaves the raw frame"),
        ("shape: [10, 24]", "shape: [10, 24.5]", "shape[1]: found 24.5; allowed is a whole number"),
        ("shape: [10, 24]", "shape: null", "shape: found null"),
        (
            "chip: '[11:20,1:10]'",
            "chip: '[11:21,1:10]'",
            "amplifiers[1].chip: found '[11:21,1:10]'; allowed is a section of",
        ),
        ("chip: '[11:20,1:10]'", "chip: '[12:21,1:10]'", "do not cover 21 x 10 pixels once"),
        ("overscan: '[11:12,1:10]'", "overscan: '[11:12,1:9]'", "amplifiers[0].overscan: found"),
        ("data: '[1:10,1:10]'", "data: [1:10,1:10]", "amplifiers[0].data: found"),
        ("gain: 1.5", "gain: 0", "amplifiers[0].gain: found 0; allowed is a number from 0.0001 to 10000"),
        ("gain: 1.5", "gain: true", "amplifiers[0].gain: found True"),
        ("lower-right", "right", "amplifiers[1].corner: found 'right'; allowed is one of lower-left"),
        ("name: B", "name: A", "a name stands twice"),
        ("[2e-4, 0]", "[2e-4, 1e-4]", "an amplifier does not talk to itself"),
        ("[[0, 1e-4], [2e-4, 0]]", "[[0, 1e-4]]", "crosstalk: found"),
        ("row_seconds: 5e-6", "row_seconds: 12:30:45", "frame_transfer.row_seconds: found '12:30:45'"),
        ("zone: UTC", "zone: MST", "time.zone: found 'MST'; allowed is UTC, card, or an offset"),
        ("zone: UTC", "zone: no", "time.zone: found 'no'"),
        ("wcs_quirks: []", "wcs_quirks: [odd]", "wcs_quirks[0]: found 'odd'"),
        ("wcs_quirks: []\n...", "wcs_quirks: []", "no end mark"),
        ("identity: {INSTRUME: SMALL}", "identity: &a {INSTRUME: SMALL}", "an anchor, an alias or a tag"),
        ("identity: {INSTRUME: SMALL}", "identity: {INSTRUME: [}", "not YAML in line"),
    ],
)
def test_what_a_wrong_file_is_told(tmp_path, old, new, said):
    assert old in SMALL
    with pytest.raises(BadInputError) as caught:
        load_instrument(write(tmp_path, SMALL.replace(old, new, 1)))
    assert said in str(caught.value).replace("found None", "found null")
    assert "\n" not in str(caught.value)


def test_an_instrument_that_is_not_there():
    with pytest.raises(BadInputError, match="'hubble': no such instrument; known are ast3, generic"):
        load_instrument("hubble")
    with pytest.raises(BadInputError, match="no such instrument file"):
        load_instrument("nowhere/ast3.yaml")


def test_a_frame_of_another_instrument_is_refused(tmp_path):
    small = load_instrument(write(tmp_path, SMALL))
    with pytest.raises(
        BadFrameError, match=r"wrong instrument: INSTRUME is 'NASA42', identity\.INSTRUME of small wants 'SMALL'"
    ):
        detector(small, fits.Header({"INSTRUME": "NASA42"}), (10, 24), [])
    with pytest.raises(BadFrameError, match="wrong size: the frame has 20 x 10 pixels, shape of small wants 24 x 10"):
        detector(small, fits.Header({"INSTRUME": "small 2"}), (10, 20), [])


def test_what_only_the_header_says(tmp_path):
    small = load_instrument(write(tmp_path, SMALL))
    notes: list[str] = []
    found = detector(small, fits.Header({"INSTRUME": "SMALL", "GAIN": 2.5, "SATURATE": 50000}), (10, 24), notes)
    first, second = found.amplifiers
    assert (first.gain, first.read_noise, first.saturation) == (1.5, 6.0, 50000.0)
    assert (second.gain, second.read_noise, second.saturation) == (2.5, 0.0, 60000.0)
    assert notes == ["no read noise in the instrument's file or the header: taken as 0"]


def test_a_generic_frame_goes_by_its_sections():
    generic = load_instrument("generic")
    header = fits.Header({"TRIMSEC": "[5:20,2:9]", "BIASSEC": "[21:24,1:10]", "GAIN": 2.0, "RDNOISE": 3.0})
    (channel,) = detector(generic, header, (10, 24), []).amplifiers
    assert channel.data == (slice(1, 9), slice(4, 20))
    assert channel.overscan == (slice(1, 9), slice(20, 24))
    assert channel.chip == (slice(0, 8), slice(0, 16))
    # the sections of the raw frame do not fit a trimmed one
    notes: list[str] = []
    (channel,) = detector(generic, header, (8, 16), notes).amplifiers
    assert (channel.data, channel.overscan) == ((slice(0, 8), slice(0, 16)), None)
    assert "no overscan" in notes[0]
