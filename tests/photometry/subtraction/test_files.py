"""difference.fits says what its planes, bits and cards are, and its PSF can be read back."""

import numpy as np
import pytest
from astropy.io import fits

from photometry.errors import BadInputError
from photometry.image import Image
from photometry.mask import BAD_BITS, Bit
from photometry.psf import PsfModel
from photometry.registration import Transform
from photometry.subtraction.difference import Difference
from photometry.subtraction.files import read_psf, write_difference
from photometry.subtraction.score import Optics

SHAPE = (90, 120)


@pytest.fixture(scope="module")
def difference():
    rng = np.random.default_rng(1)
    mask = np.zeros(SHAPE, np.uint16)
    mask[3:5, 7] = Bit.BAD | Bit.TEMPLATE_FILLED
    image = Image(rng.normal(0, 9, SHAPE).astype("f4"), np.full(SHAPE, 81.0, "f4"), mask, "adu", 1.5, 6.0, 6e4)
    planes = rng.normal(0, 1, (3, 11, 11))
    psf = PsfModel(planes, (0, 1, 0), (0, 0, 1), SHAPE)
    c = np.zeros((2, 2))
    optics = Optics(psf.at, None, psf.at, 5, 5)
    plane = np.zeros(SHAPE, np.float32)
    return Difference(
        image, rng.normal(0, 1, SHAPE).astype("f4"), psf, "science", 0.85, False,
        Transform(c, c, SHAPE, identity=True, stars=9, rms_pixels=0.1), plane, optics, plane, plane,
        {"kernel_sum": 1.2, "score_width": float("nan")},
    )  # fmt: skip


@pytest.mark.parametrize("compressed", [False, True])
def test_every_plane_comes_back(difference, tmp_path, compressed):
    path = tmp_path / "difference.fits"
    write_difference(path, difference, cards={"MJD-MID": (61212.5, "UTC")}, compressed=compressed)
    with fits.open(path, checksum=True) as hdus:
        assert [hdu.name for hdu in hdus[1:]] == ["DIFF", "VAR", "MASK", "SCORE", "PSF"]
        header = hdus["DIFF"].header
        assert (header["CONVOLVD"], header["PRECONV"], header["KSUM"]) == ("science", False, 1.2)
        assert (header["BUNIT"], header["MJD-MID"]) == ("adu", 61212.5)
        assert np.abs(hdus["DIFF"].data - difference.image.data).max() < (9 / 16 if compressed else 1e-6)
        np.testing.assert_array_equal(hdus["MASK"].data, difference.image.mask)
        assert hdus["MASK"].header["BADBITS"] == int(BAD_BITS)
        names = {hdus["MASK"].header[f"MSKBIT{int(bit).bit_length() - 1}"] for bit in Bit}
        assert names == {bit.name for bit in Bit}
        psf = read_psf(hdus["PSF"], SHAPE)
        np.testing.assert_allclose(psf.planes, difference.psf.planes, rtol=1e-6)
        assert (psf.powers_u, psf.powers_v) == ((0, 1, 0), (0, 0, 1))
        for hdu in hdus[1:]:
            assert "CHECKSUM" in hdu.header or compressed


def test_only_the_named_planes_are_written(difference, tmp_path):
    write_difference(tmp_path / "d.fits", difference, cards={}, planes=("DIFF", "PSF"))
    with fits.open(tmp_path / "d.fits") as hdus:
        assert [hdu.name for hdu in hdus[1:]] == ["DIFF", "PSF"]


def test_what_is_no_psf_is_refused():
    with pytest.raises(BadInputError, match="shape"):
        read_psf(fits.ImageHDU(np.zeros((4, 5))), SHAPE)
    with pytest.raises(BadInputError, match="PSFU0"):
        read_psf(fits.ImageHDU(np.zeros((1, 5, 5))), SHAPE)
