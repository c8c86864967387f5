"""difference.fits says what its planes, bits and cards are, and its PSF can be read back."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from astropy.io import fits

from photometry.errors import BadInputError
from photometry.mask import BAD_BITS, Bit
from photometry.psf import PsfModel
from photometry.registration import Transform
from photometry.subtraction.difference import Difference
from photometry.subtraction.files import PLANES, DifferenceFile, read_psf, write_compressed
from photometry.subtraction.planes import Planes

SHAPE = (90, 120)


CARDS = {"MJD-MID": (61212.5, "UTC")}


def planes_of(rng):
    mask = np.zeros(SHAPE, np.uint16)
    mask[3:5, 7] = Bit.BAD | Bit.TEMPLATE_FILLED
    data, score = (rng.normal(0, sigma, SHAPE).astype("f4") for sigma in (9, 1))
    return Planes(data, np.full(SHAPE, 81.0, "f4"), mask, score)


@pytest.fixture(scope="module")
def difference():
    rng = np.random.default_rng(1)
    psf = PsfModel(rng.normal(0, 1, (3, 11, 11)), (0, 1, 0), (0, 0, 1), SHAPE)
    c = np.zeros((2, 2))
    transform = Transform(c, c, SHAPE, identity=True, stars=9, rms_pixels=0.1)
    figures = {"kernel_sum": 1.2, "score_width": float("nan")}
    return Difference(
        planes_of(rng), psf, "science", 0.85, False, transform, optics=None, swept=None,
        gain=1.5, unit="adu", figures=figures,
    )  # fmt: skip


def check(path, difference, *, compressed):
    with fits.open(path, checksum=True) as hdus:
        assert [hdu.name for hdu in hdus[1:]] == ["DIFF", "VAR", "MASK", "SCORE", "PSF"]
        header = hdus["DIFF"].header
        assert (header["CONVOLVD"], header["PRECONV"], header["KSUM"]) == ("science", False, 1.2)
        assert (header["BUNIT"], header["MJD-MID"]) == ("adu", 61212.5)
        assert np.abs(hdus["DIFF"].data - difference.planes.data).max() < (9 / 16 if compressed else 1e-6)
        np.testing.assert_array_equal(hdus["MASK"].data, difference.planes.mask)
        assert hdus["MASK"].header["BADBITS"] == int(BAD_BITS)
        names = {hdus["MASK"].header[f"MSKBIT{int(bit).bit_length() - 1}"] for bit in Bit}
        assert names == {bit.name for bit in Bit}
        psf = read_psf(hdus["PSF"], SHAPE)
        np.testing.assert_allclose(psf.planes, difference.psf.planes, rtol=1e-6)
        assert (psf.powers_u, psf.powers_v) == ((0, 1, 0), (0, 0, 1))
        for hdu in hdus[1:]:
            assert "CHECKSUM" in hdu.header or compressed


def test_every_plane_comes_back_compressed(difference, tmp_path):
    write_compressed(tmp_path / "difference.fits", difference, cards=CARDS, planes=PLANES)
    check(tmp_path / "difference.fits", difference, compressed=True)


@pytest.mark.filterwarnings("error")  # a checksum that does not fit is a warning
def test_every_plane_written_piece_by_piece_comes_back(difference, tmp_path):
    path = tmp_path / "difference.fits"
    file = DifferenceFile(path, SHAPE, len(CARDS), PLANES)
    with ThreadPoolExecutor(2) as threads:
        for name in ("data", "variance", "mask", "score"):
            for rows in (slice(50, SHAPE[0]), slice(0, 50)):
                getattr(file.planes, name)[rows] = getattr(difference.planes, name)[rows]
        np.testing.assert_array_equal(file.planes.data[10:20, 5:9], difference.planes.data[10:20, 5:9])
        file.finish(difference, CARDS, threads)
    check(path, difference, compressed=False)


def test_only_the_named_planes_are_written(difference, tmp_path):
    write_compressed(tmp_path / "d.fits", difference, cards={}, planes=("DIFF", "PSF"))
    with fits.open(tmp_path / "d.fits") as hdus:
        assert [hdu.name for hdu in hdus[1:]] == ["DIFF", "PSF"]


def test_what_is_no_psf_is_refused():
    with pytest.raises(BadInputError, match="shape"):
        read_psf(fits.ImageHDU(np.zeros((4, 5))), SHAPE)
    with pytest.raises(BadInputError, match="PSFU0"):
        read_psf(fits.ImageHDU(np.zeros((1, 5, 5))), SHAPE)
