"""Telling whole frames from torn ones, and naming them."""

import gzip
import os

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from ast3d.fitshead import bytes_promised, first_headers
from ast3d.frameid import EDGE_BYTES, frame_id, safe_stem, suffix
from ast3d.task import Entry, Place
from ast3d.work import night_of_plain
from photometry.errors import BadInputError
from tests.skysim.cameras import write_camera


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    image = np.arange(30 * 40, dtype=np.uint16).reshape(30, 40)
    header = fits.Header({"DATE-OBS": "2026-06-21T03:14:15"})
    fits.PrimaryHDU(image, header).writeto(folder / "plain.fits")
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(image, header)]).writeto(folder / "tiled.fits.fz")
    fits.HDUList([fits.PrimaryHDU(image), fits.ImageHDU(image.astype(np.float64)), fits.ImageHDU()]).writeto(
        folder / "multi.fits"
    )
    (folder / "zipped.fits.gz").write_bytes(gzip.compress((folder / "plain.fits").read_bytes()))
    return folder


def promised(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        return bytes_promised(fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize("name", ["plain.fits", "tiled.fits.fz", "multi.fits"])
def test_a_whole_frame_promises_no_more_than_it_has(frames, name):
    size = (frames / name).stat().st_size
    assert size - 2880 < promised(frames / name) <= size


@pytest.mark.parametrize("name", ["plain.fits", "tiled.fits.fz", "multi.fits"])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_torn_frame_promises_more_than_it_has(frames, tmp_path_factory, name, share):
    whole = (frames / name).read_bytes()
    needed = promised(frames / name)
    torn = tmp_path_factory.mktemp("torn") / "torn.fits"
    torn.write_bytes(whole[: int(share * needed)])
    size = torn.stat().st_size
    if size == 0:
        assert promised(torn) == 0
    elif name == "plain.fits":
        assert promised(torn) > size
    else:  # a cut in the padding between two units leaves a whole frame of fewer units
        assert promised(torn) > size - 2880


@given(st.binary(max_size=9000), st.booleans())
def test_any_bytes_promise_something_without_an_error(tmp_path_factory, data, fits_like):
    path = tmp_path_factory.mktemp("any") / "x"
    path.write_bytes((b"SIMPLE  =                    T" if fits_like else b"") + data)
    assert promised(path) >= 0


def test_a_header_that_claims_a_hundred_thousand_squared_is_believed_not_allocated(frames, tmp_path):
    data = (frames / "plain.fits").read_bytes()
    for axis, pixels in ((1, 40), (2, 30)):
        data = data.replace(b"NAXIS%d  = %20d" % (axis, pixels), b"NAXIS%d  = %20d" % (axis, 100_000))
    (tmp_path / "huge.fits").write_bytes(data)
    assert promised(tmp_path / "huge.fits") == 2880 + 2 * 100_000**2


def test_text_promises_nothing(tmp_path):
    (tmp_path / "text.fits").write_text("not a frame\n" * 1000)
    assert promised(tmp_path / "text.fits") == 0


def test_first_headers_hold_the_cards_of_a_compressed_frame(frames):
    fd = os.open(frames / "tiled.fits.fz", os.O_RDONLY)
    headers = first_headers(fd)
    os.close(fd)
    assert headers[1]["DATE-OBS"] == "2026-06-21T03:14:15"


@pytest.mark.parametrize("name", ["plain.fits", "tiled.fits.fz", "zipped.fits.gz"])
def test_the_night_is_that_of_the_exposure_minus_half_a_day(frames, name):
    assert night_of(frames / name) == "2026-06-20"


RULE = {"cards": ["DATE-OBS", "TIME-OBS"], "zone": "-07:00", "at": "end", "exposure": ["EXPTIME"]}


@pytest.mark.parametrize(("ended", "night"), [("05:03:00", "2026-06-20"), ("05:13:00", "2026-06-21")])
def test_the_night_is_by_the_rule_of_the_instrument_that_is_named(tmp_path, ended, night):
    """Ten minutes that began at 11:53 and at 12:03 UTC."""
    camera = write_camera(tmp_path / "camera.yaml", time=RULE)
    header = fits.Header({"DATE-OBS": "2026-06-21", "TIME-OBS": ended, "EXPTIME": 600.0})
    fits.PrimaryHDU(np.zeros((4, 4), np.uint16), header).writeto(tmp_path / "a.fits")
    assert night_of(tmp_path / "a.fits", str(camera)) == night
    assert night_of(tmp_path / "a.fits", "generic") == night_of(tmp_path / "a.fits") == "2026-06-20"


def test_a_night_by_an_instrument_that_is_not_there_is_refused(frames, tmp_path):
    with pytest.raises(BadInputError, match="no such instrument"):
        night_of(frames / "plain.fits", str(tmp_path / "none.yaml"))


def test_a_file_without_a_date_is_undated(tmp_path):
    (tmp_path / "x.fits").write_bytes(b"x" * 5000)
    assert night_of(tmp_path / "x.fits") == "undated"


def night_of(path, instrument=None):
    with path.open("rb") as file:
        return night_of_plain(file.fileno(), instrument)


def test_letters_that_fits_does_not_know_cost_nothing(frames, tmp_path):
    data = (frames / "plain.fits").read_bytes()
    (tmp_path / "x.fits").write_bytes(data.replace(b"T03:14:15'", b"T03:14:15\xe9'"[:10]).replace(b"/", b"\xe9"))
    assert night_of(tmp_path / "x.fits") in ("2026-06-20", "undated")
    (tmp_path / "y.fits").write_bytes(
        data.replace(b"EXTEND  =                    T", b"OBSERVER= 'Jos\xe9'              "[:30])
    )
    assert night_of(tmp_path / "y.fits") == "2026-06-20"


def identity(path, name="f.fits", telescope="t"):
    fd = os.open(path, os.O_RDONLY)
    try:
        return frame_id(Entry(Place(telescope, name), os.fstat(fd).st_size, 1), fd)
    finally:
        os.close(fd)


def test_the_id_changes_with_telescope_name_size_and_both_edges_and_with_nothing_else(tmp_path):
    path = tmp_path / "f"
    data = bytearray(os.urandom(3 * EDGE_BYTES))
    path.write_bytes(data)
    first = identity(path)
    assert first.startswith("f-")
    assert len(first) == 14
    os.utime(path, (1, 1))
    assert identity(path) == first
    ids = {first, identity(path, telescope="u"), identity(path, name="g.fits")}
    for at in (0, len(data) - 1):
        changed = data.copy()
        changed[at] ^= 1
        path.write_bytes(changed)
        ids.add(identity(path))
    path.write_bytes(data + b"x")
    ids.add(identity(path))
    assert len(ids) == 6


@given(st.binary(min_size=1, max_size=255).map(os.fsdecode))
def test_a_stem_is_safe_in_any_path(name):
    stem = safe_stem(name)
    assert stem.isascii()
    assert stem
    assert len(stem) <= 64
    assert stem[0] not in ".-"
    assert not set(stem) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-")


@pytest.mark.parametrize(
    ("name", "stem", "end"),
    [("a.fits", "a", ".fits"), ("b.FIT.GZ", "b", ".fit.gz"), ("c.d.fits.fz", "c.d", ".fits.fz"), ("e", "e", "")],
)
def test_the_suffix_stays(name, stem, end):
    assert (safe_stem(name), suffix(name)) == (stem, end)
