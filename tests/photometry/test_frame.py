"""What is read, and every kind of file that is refused, with the line that says why."""

import gzip
import os
import resource
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from photometry.errors import BadFrameError, EnvironmentFailedError
from photometry.frame import FrameLimits, NoiseOverrides, night_of, read_frame
from photometry.mask import Bit


def header_bytes(cards: dict[str, object], first: str = "SIMPLE") -> bytes:
    lines = []
    for key, value in {first: True if first == "SIMPLE" else "BINTABLE", **cards}.items():
        shown = {True: "T", False: "F"}.get(value, value) if isinstance(value, bool) else value
        text = f"'{shown:8}'" if isinstance(shown, str) and shown not in "TF" else str(shown)
        lines.append(f"{key:8}= {text:>20}".ljust(80))
    lines.append("END".ljust(80))
    return "".join(lines).encode().ljust(-(-len(lines) * 80 // 2880) * 2880)


@pytest.fixture
def good(make_sky, tmp_path):
    return make_sky().write(tmp_path / "good.fits")


LIMITS = FrameLimits()


def refused(path: Path, words: str, limits: FrameLimits = LIMITS) -> str:
    with pytest.raises(BadFrameError, match=words) as caught:
        read_frame(path, limits)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_plain_gzip_and_tile_compressed_give_the_same_pixels(good, tmp_path):
    plain = read_frame(good)
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress(good.read_bytes()))
    with fits.open(good) as hdus:
        for method in ("RICE_1", "GZIP_1", "GZIP_2"):
            fits.CompImageHDU(hdus[0].data, hdus[0].header, compression_type=method).writeto(tmp_path / f"{method}.fits.fz")
    assert plain.image.shape == (256, 320)
    for other in ("a.fits.gz", "RICE_1.fits.fz", "GZIP_1.fits.fz", "GZIP_2.fits.fz"):
        frame = read_frame(tmp_path / other)
        np.testing.assert_array_equal(frame.image.data, plain.image.data)
        assert (frame.image.gain, frame.image.read_noise, frame.image.saturation) == (1.5, 6.0, 60000.0)
        assert night_of(frame.header) == "2026-06-20"


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"])
def test_every_pixel_type(make_sky, tmp_path, dtype):
    data = make_sky(level=60, stars=10, flux=(2, 3)).data.clip(0, 250).astype(dtype)
    fits.PrimaryHDU(data).writeto(tmp_path / "f.fits")
    frame = read_frame(tmp_path / "f.fits")
    np.testing.assert_array_equal(frame.image.data, data.astype(np.float32))
    assert frame.image.data.dtype == np.float32
    assert frame.image.data.dtype.isnative


def test_scaled_integers_and_blank(make_sky, tmp_path):
    stored = (make_sky().data / 2 - 100).astype(np.int16)
    stored[3, 4] = -32768
    header = fits.Header({"BSCALE": 2.0, "BZERO": 200.0, "BLANK": -32768})
    hdu = fits.PrimaryHDU(stored)
    hdu.writeto(tmp_path / "f.fits")
    with fits.open(tmp_path / "f.fits", mode="update", do_not_scale_image_data=True) as hdus:
        hdus[0].header.update(header)
    frame = read_frame(tmp_path / "f.fits")
    assert frame.image.mask[3, 4] & Bit.BAD
    assert frame.image.data[10, 10] == stored[10, 10] * 2.0 + 200.0


def test_a_trailing_axis_of_one_is_an_image_and_a_cube_is_none(make_sky, tmp_path):
    data = make_sky().data
    fits.PrimaryHDU(data[None]).writeto(tmp_path / "one.fits")
    np.testing.assert_array_equal(read_frame(tmp_path / "one.fits").image.data, data)
    fits.PrimaryHDU(np.stack([data, data])).writeto(tmp_path / "cube.fits")
    refused(tmp_path / "cube.fits", "3 axes .320 x 256 x 2.; 2 are needed")


def test_the_first_image_of_several_and_the_primary_headers_cards(make_sky, tmp_path):
    primary = fits.PrimaryHDU()
    primary.header["GAIN"] = 2.5
    data = make_sky().data
    fits.HDUList([primary, fits.ImageHDU(data), fits.ImageHDU(data)]).writeto(tmp_path / "f.fits")
    frame = read_frame(tmp_path / "f.fits")
    assert frame.image.gain == 2.5
    assert any("more images" in note for note in frame.notes)


def test_a_killed_writers_half_file(good, tmp_path):
    torn = tmp_path / "torn.fits"
    torn.write_bytes(good.read_bytes()[:80000])
    assert "promises 163,840 bytes of data, the file has 77,120" in refused(torn, "cut off")
    torn.write_bytes(good.read_bytes()[:1000])
    refused(torn, "cut off: the header has no END")


def test_a_missing_padding_alone_is_no_reason_to_refuse(good, tmp_path):
    (tmp_path / "unpadded.fits").write_bytes(good.read_bytes()[: 2880 + 2 * 256 * 320])
    read_frame(tmp_path / "unpadded.fits")


def test_empty_text_and_other_packings(tmp_path):
    path = tmp_path / "f.fits"
    path.write_bytes(b"")
    refused(path, "empty: the file has 0 bytes")
    path.write_text("Dear observer,\nthis is not a frame.\n")
    refused(path, "not a FITS file: it begins with 'Dear observer,")
    path.write_bytes(b"BZh91AY&SY")
    refused(path, "packed with bzip2")


def test_no_image_in_it(tmp_path):
    path = tmp_path / "f.fits"
    fits.PrimaryHDU().writeto(path)
    refused(path, "no image in it")
    table = fits.BinTableHDU(np.zeros(3, [("a", "f4")]))
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path, overwrite=True)
    refused(path, "no image in it")


def test_a_header_that_claims_ten_gigapixels_allocates_nothing(tmp_path):
    path = tmp_path / "f.fits"
    path.write_bytes(header_bytes({"BITPIX": 16, "NAXIS": 2, "NAXIS1": 100_000, "NAXIS2": 100_000}) + bytes(2880))
    tracemalloc.start()
    assert "100000 x 100000 = 10,000.0 megapixels; max_megapixels allows 200" in refused(path, "too large")
    refused(path, "cut off", FrameLimits(max_megapixels=20_000))
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        ({"BITPIX": 17, "NAXIS": 2, "NAXIS1": 9, "NAXIS2": 9}, "BITPIX says 17"),
        ({"BITPIX": 16, "NAXIS": 2, "NAXIS1": -9, "NAXIS2": 9}, "NAXISn says -9"),
        ({"BITPIX": 16, "NAXIS": 2, "NAXIS1": 9}, "NAXIS2 is missing"),
        ({"BITPIX": 16, "NAXIS": 2, "NAXIS1": "many", "NAXIS2": 9}, "NAXIS1 says 'many'"),
        ({"BITPIX": 16, "NAXIS": 1234567, "NAXIS1": 9}, "NAXIS says 1234567"),
        ({"BITPIX": 16, "NAXIS": 1, "NAXIS1": 99}, "it has 1 axes"),
        ({"BITPIX": 16, "NAXIS": 2, "NAXIS1": 9, "NAXIS2": 9, "PCOUNT": -5}, "PCOUNT -5"),
    ],
)
def test_headers_that_cannot_be_meant(tmp_path, cards, words):
    path = tmp_path / "f.fits"
    path.write_bytes(header_bytes(cards) + bytes(2880))
    refused(path, words)


def test_an_endless_header(tmp_path):
    path = tmp_path / "f.fits"
    path.write_bytes(b"SIMPLE  =                    T".ljust(80) + b"COMMENT x".ljust(80) * 200_000)
    refused(path, "the header has no END within")


def test_a_gzip_bomb_is_inflated_no_further_than_the_limit(tmp_path):
    path = tmp_path / "f.fits.gz"
    header = header_bytes({"BITPIX": 16, "NAXIS": 2, "NAXIS1": 100_000, "NAXIS2": 100_000})
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header)
        for _ in range(100):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    refused(path, "too large: the header claims")
    # zeros without an END, an extension that is no image
    for start in (b"SIMPLE  =                    T".ljust(2880), header_bytes({"BITPIX": 8, "NAXIS": 0})):
        with gzip.open(path, "wb", compresslevel=1) as file:
            file.write(start)
            for _ in range(100):
                file.write(bytes(1 << 20))
        refused(path, "no END|no image")
    assert tracemalloc.get_traced_memory()[1] < 12_000_000
    tracemalloc.stop()


def test_damaged_and_torn_gzip(good, tmp_path):
    packed = bytearray(gzip.compress(good.read_bytes()))
    path = tmp_path / "f.fits.gz"
    path.write_bytes(packed[: len(packed) // 2])
    refused(path, "cut off: the gzip file ends")
    packed[len(packed) // 2] ^= 0xFF
    path.write_bytes(packed)
    with pytest.raises(BadFrameError):
        read_frame(path)


def compressed_bomb(**changes: object) -> bytes:
    """A tile-compressed header that claims what `changes` say, over a heap of 2,880 zeros."""
    cards: dict[str, object] = {
        "BITPIX": 8, "NAXIS": 2, "NAXIS1": 8, "NAXIS2": 4, "PCOUNT": 2880, "GCOUNT": 1, "TFIELDS": 1,
        "TTYPE1": "COMPRESSED_DATA", "TFORM1": "1PB(999)", "ZIMAGE": True, "ZCMPTYPE": "RICE_1", "ZBITPIX": 16,
        "ZNAXIS": 2, "ZNAXIS1": 100, "ZNAXIS2": 4, "ZTILE1": 100, "ZTILE2": 1, **changes,
    }  # fmt: skip
    table = np.array([[700, 720 * i] for i in range(4)], ">i4").tobytes()
    data = (table + bytes(2880)).ljust(2 * 2880, b"\0")
    return header_bytes({"BITPIX": 8, "NAXIS": 0, "EXTEND": True}) + header_bytes(cards, "XTENSION") + data


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ZNAXIS1": 100_000, "ZNAXIS2": 100_000}, "too large: the header claims 100000 x 100000"),
        ({"ZNAXIS1": 14_000, "ZNAXIS2": 14_000, "ZTILE1": 14_000, "ZTILE2": 3_500}, "a compression bomb: 2,912 bytes claim"),
        ({"ZTILE1": 101}, "a tile of 101 pixels on an axis of 100"),
        ({"ZTILE2": 0}, "a tile of 0 pixels"),
        ({"ZTILE2": 2}, "2 tiles are needed, the table has 4 rows"),
        ({"ZCMPTYPE": "PLIO_9"}, "ZCMPTYPE 'PLIO_9', which is not read here; known are GZIP_1"),
        ({"THEAP": 99999}, "THEAP says 99,999"),
        ({"PCOUNT": 10**12}, "too large|cut off"),
        ({"PCOUNT": 100}, "points to bytes"),
        ({"TFORM1": "1PB(999)", "TFIELDS": 99}, "TFIELDS says 99"),
        ({"TFORM1": "9J"}, "has the form '9J'"),
        ({"TTYPE1": "SOMETHING"}, "no column of data"),
        ({"ZNAXIS": 3}, "ZNAXIS3 is missing"),
        ({"ZBITPIX": 5}, "ZBITPIX says 5"),
    ],
)
def test_a_tile_compressed_bomb(tmp_path, changes, words):
    path = tmp_path / "f.fits.fz"
    path.write_bytes(compressed_bomb(**changes))
    refused(path, words)


def test_a_tile_that_inflates_past_its_pixels(tmp_path):
    bomb = gzip.compress(bytes(50_000_000))
    column = fits.Column("COMPRESSED_DATA", "1PB()", array=np.array([np.frombuffer(bomb, np.uint8)], object))
    table = fits.BinTableHDU.from_columns([column])
    cards = {"ZIMAGE": True, "ZCMPTYPE": "GZIP_1", "ZBITPIX": 16, "ZNAXIS": 2, "ZNAXIS1": 200, "ZNAXIS2": 100}
    table.header.update({**cards, "ZTILE1": 200, "ZTILE2": 100})
    path = tmp_path / "f.fits.fz"
    # as raw bytes: astropy would write its own idea of a compressed image
    table.writeto(path)
    tracemalloc.start()
    refused(path, "a compression bomb: tile 0 inflates past its 160,000 bytes")
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()


def test_nothing_to_see(tmp_path):
    path = tmp_path / "f.fits"
    for data, words in (
        (np.zeros((50, 60), np.int16), "all 3,000 usable pixels are 0"),
        (np.full((50, 60), 7.5, np.float32), "all 3,000 usable pixels are 7.5"),
        (np.full((50, 60), np.nan, np.float32), "no usable pixel: all 3,000 are NaN"),
        (np.where(np.arange(3000).reshape(50, 60) < 5, 9, 3).astype(np.int16), "99.8% of the pixels are exactly 3"),
        (np.where(np.arange(3000).reshape(50, 60) < 1600, np.nan, np.arange(3000).reshape(50, 60)), "53% of the pixels"),
    ):
        fits.PrimaryHDU(data).writeto(path, overwrite=True)
        refused(path, words)


def test_some_nans_are_masked_and_do_not_spread(make_sky, tmp_path):
    data = make_sky().data
    data[100:103, 50:60] = np.nan
    data[7, 7] = np.inf
    fits.PrimaryHDU(data).writeto(tmp_path / "f.fits")
    image = read_frame(tmp_path / "f.fits").image
    assert ((image.mask & Bit.BAD) != 0).sum() == 31
    assert np.isfinite(image.data).all()
    assert np.isfinite(image.variance).all()
    assert (image.variance > 0).all()


def test_links_fifos_directories_and_missing_files(good, tmp_path):
    (tmp_path / "link.fits").symlink_to(good)
    refused(tmp_path / "link.fits", "a link or a device")
    os.mkfifo(tmp_path / "fifo.fits")
    refused(tmp_path / "fifo.fits", "a FIFO or a device")
    refused(tmp_path, "a directory, a FIFO")
    with pytest.raises(EnvironmentFailedError, match=r"gone\.fits: No such file"):
        read_frame(tmp_path / "gone.fits")


@pytest.mark.parametrize("name", ["a name with spaces.fits", "new\nline.fits", os.fsdecode(b"\xff\xfe.fits")])
def test_names_are_bytes(good, tmp_path, name):
    target = tmp_path / name
    good.rename(target)
    assert read_frame(target).path == str(target)
    assert read_frame(os.fsencode(target)).path == str(target)


def test_a_wrong_checksum_is_only_noted(good, tmp_path):
    with fits.open(good) as hdus:
        hdus.writeto(tmp_path / "f.fits", checksum=True)
    assert read_frame(tmp_path / "f.fits").notes == ()
    content = bytearray((tmp_path / "f.fits").read_bytes())
    content[-3000] ^= 1
    (tmp_path / "f.fits").write_bytes(content)
    assert "CHECKSUM" in read_frame(tmp_path / "f.fits").notes[0]


def test_what_the_caller_knows_beats_the_header(good):
    image = read_frame(good, overrides=NoiseOverrides(gain=3.0, read_noise=9.0, saturation=900.0)).image
    assert (image.gain, image.read_noise, image.saturation) == (3.0, 9.0, 900.0)
    np.testing.assert_allclose(image.variance, image.data / 3 + 9, rtol=1e-5)


def test_a_silent_header_is_made_up_for_and_said(make_sky, tmp_path):
    data = make_sky(level=2000, stars=20).data
    data[40:43, 40:43] = 65535
    fits.PrimaryHDU(data.clip(0, 65535).astype(np.uint16)).writeto(tmp_path / "f.fits")
    frame = read_frame(tmp_path / "f.fits")
    said = " ".join(frame.notes)
    assert "no gain in the header" in said
    assert "no read noise in the header" in said
    assert frame.image.saturation == pytest.approx(65535, rel=0.002)
    assert frame.image.gain == pytest.approx(1.5, rel=0.1)
    # the plateau and the ring round it, into which charge bled
    assert ((frame.image.mask & Bit.SATURATED) != 0).sum() == 25


def test_trimsec_of_this_very_array_masks_the_overscan_and_a_stale_one_nothing(make_sky, tmp_path):
    sky = make_sky()
    cards = {"TRIMSEC": "[11:320,1:256]", "BIASSEC": "[1:10,1:256]"}
    inside = read_frame(sky.write(tmp_path / "raw.fits", **cards)).image.mask
    assert ((inside & Bit.EDGE) != 0).sum() == 10 * 256
    assert (inside[:, :10] & Bit.EDGE).all()
    stale = {"TRIMSEC": "[17:336,1:256]", "BIASSEC": "[1:10,1:256]"}
    assert not (read_frame(sky.write(tmp_path / "trimmed.fits", **stale)).image.mask & Bit.EDGE).any()


def test_an_unusable_wcs_costs_only_the_coordinates(make_sky, tmp_path):
    strings = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": "124.6", "CRVAL2": "25.3", "CRPIX1": "100.0",
               "CRPIX2": "90.0", "CD1_1": "-2.7E-4", "CD2_2": "2.7E-4"}  # fmt: skip
    frame = read_frame(make_sky().write(tmp_path / "f.fits", **strings))
    assert frame.wcs is None
    assert any("WCS" in note for note in frame.notes)
    numbers = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 124.6, "CRVAL2": 25.3, "CRPIX1": 100.0, "CRPIX2": 90.0,
               "CD1_1": -2.7e-4, "CD2_2": 2.7e-4, "CD1_2": 0.0, "CD2_1": 0.0}  # fmt: skip
    frame = read_frame(make_sky().write(tmp_path / "g.fits", **numbers))
    assert frame.wcs is not None
    ra, dec = frame.wcs.all_pix2world([[99.0, 89.0]], 0)[0]
    assert (ra, dec) == (pytest.approx(124.6), pytest.approx(25.3))


def test_out_of_memory_is_the_machines_fault(good, monkeypatch):
    def full(*_args, **_kwargs):
        raise MemoryError

    monkeypatch.setattr("photometry.fits_pixels.fits.open", full)
    with pytest.raises(EnvironmentFailedError, match="not enough memory"):
        read_frame(good)


def test_an_io_error_is_the_machines_fault(good, monkeypatch):
    def broken(*_args):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("photometry.fits_bytes.Plain.read", broken)
    with pytest.raises(EnvironmentFailedError, match="Input/output error"):
        read_frame(good)


def test_no_more_than_a_few_frames_of_memory(make_sky, tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path = make_sky(shape=(1500, 2000), stars=5).write(tmp_path / "f.fits")
    written = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read_frame(path)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # 6 MB of file, 12 MB a float plane: the planes of the image and a few temporaries
    assert after - max(before, written) < 160_000
