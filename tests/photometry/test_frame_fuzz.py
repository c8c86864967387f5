"""Whatever the bytes: a frame, or a PhotometryError; nothing else, and never much memory."""

import gzip
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from photometry.errors import PhotometryError
from photometry.frame import FrameLimits, NoiseOverrides, read_frame
from photometry.subtraction.reading import Given, open_frame
from photometry.times import exposure_of

LIMITS = FrameLimits(max_megapixels=1.0)
KINDS = ("plain", "gzip", "RICE_1", "GZIP_1", "GZIP_2", "float")
CAREFULLY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@cache
def valid(kind: str) -> bytes:
    from io import BytesIO

    data = np.random.default_rng(3).normal(500, 20, (24, 40))
    header = fits.Header({"GAIN": 1.5, "RDNOISE": 5.0, "DATE-OBS": "2026-06-21T03:14:15", "CTYPE1": "RA---TAN",
                          "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 20.0, "CD1_1": -1e-4, "CD2_2": 1e-4,
                          "CRPIX1": 20.0, "CRPIX2": 12.0, "TRIMSEC": "[2:40,1:24]"})  # fmt: skip
    out = BytesIO()
    if kind in {"plain", "gzip"}:
        fits.PrimaryHDU(data.astype(np.uint16), header).writeto(out, checksum=True)
    elif kind == "float":
        fits.CompImageHDU(data.astype(np.float32), header, quantize_level=16).writeto(out)
    else:
        fits.CompImageHDU(data.astype(np.int16), header, compression_type=kind).writeto(out, checksum=True)
    content = out.getvalue()
    return gzip.compress(content) if kind == "gzip" else content


def read(tmp_path, content: bytes, kind: str) -> None:
    """By both readers, where they do not both unpack it the same way."""
    path = tmp_path / "f.fits"
    path.write_bytes(content)
    for reader in (_whole, _piecewise) if kind == "plain" else (_whole,):
        _survives(reader, path)


def _whole(path) -> None:
    frame = read_frame(path, LIMITS)
    exposure_of(frame.header)
    assert np.isfinite(frame.image.data).all()
    assert (frame.image.variance > 0).all()
    assert frame.image.gain > 0


def _piecewise(path) -> None:
    given = Given(path, NoiseOverrides(), mask=path, variance=path)
    with ThreadPoolExecutor(1) as threads, open_frame(given, LIMITS, threads) as frame:
        exposure_of(frame.header)
        ny, nx = frame.image.shape
        data, _ = frame.exposure.plate.window(0, ny, 0, nx)
        assert np.isfinite(data).all()
        assert frame.image.gain > 0


def _survives(reader, path) -> None:
    tracemalloc.start()
    try:
        reader(path)
    except PhotometryError as error:
        assert "\n" not in str(error)  # noqa: PT017  either outcome is right
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # 1 megapixel at most in a few float planes
    assert peak < 60_000_000


@pytest.mark.parametrize("kind", KINDS)
@CAREFULLY
@given(data=st.data())
def test_cut_off_anywhere(tmp_path, kind, data):
    content = valid(kind)
    read(tmp_path, content[: data.draw(st.integers(0, len(content)))], kind)


@pytest.mark.parametrize("kind", KINDS)
@CAREFULLY
@given(flips=st.lists(st.tuples(st.integers(0, 2**31), st.integers(1, 255)), min_size=1, max_size=8))
def test_bytes_flipped_anywhere(tmp_path, kind, flips):
    content = bytearray(valid(kind))
    for place, mask in flips:
        content[place % len(content)] ^= mask
    read(tmp_path, bytes(content), kind)


@pytest.mark.parametrize("kind", ["plain", "RICE_1", "GZIP_1", "float"])
@CAREFULLY
@given(
    card=st.integers(0, 60),
    value=st.one_of(
        st.integers(-(2**70), 2**70).map(str),
        st.floats().map(str),
        st.text(max_size=20).map(repr),
        st.sampled_from(["T", "''", "", "'[1:2,3:4]'", "0", "-1"]),
    ),
)
@example(card=3, value="99999999999999999999")
def test_headers_that_say_anything(tmp_path, kind, card, value):
    content = bytearray(valid(kind))
    headers = [i for i in range(0, len(content) - 80, 80) if content[i + 8 : i + 10] == b"= "]
    at = headers[card % len(headers)]
    content[at + 10 : at + 80] = value.encode("latin-1", "replace")[:70].ljust(70)
    read(tmp_path, bytes(content), kind)


@CAREFULLY
@given(
    words=st.text(max_size=40), clock=st.text(max_size=20), mjd=st.one_of(st.text(max_size=9), st.floats(allow_nan=False))
)
def test_dates_that_say_anything(words, clock, mjd):
    header = fits.Header()
    for name, value in (("DATE-OBS", words), ("UT", clock), ("MJD-OBS", mjd)):
        try:
            header[name] = value
        except ValueError:
            continue  # not even astropy writes such a card
    night = exposure_of(header).night
    assert night == "undated" or len(night) == 10
