"""A difference as a FITS file: DIFF, VAR, MASK, SCORE and PSF, each an extension that says what it is.

Guarantees: EXTNAME, BUNIT, CHECKSUM and DATASUM on each; CONVOLVD, PRECONV, KSUM with DIFF; BADBITS and the names of the
bits with MASK.  `read_psf` gives back what PSF holds.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from photometry.errors import BadInputError
from photometry.mask import BAD_BITS, Bit
from photometry.plane_file import PlaneFile, padded
from photometry.psf import PsfModel
from photometry.subtraction.difference import Difference
from photometry.subtraction.planes import Planes

PLANES = ("DIFF", "VAR", "MASK", "SCORE", "PSF")
QUANTIZE_LEVEL = 16.0  # steps of the noise, dithered: sigma / 16
_DTYPES: dict[str, np.dtype[Any]] = {
    "DIFF": np.dtype(">f4"),
    "VAR": np.dtype(">f4"),
    "MASK": np.dtype(">i2"),
    "SCORE": np.dtype(">f4"),
}

Cards = Mapping[str, tuple[Any, str]]


def write_compressed(path: Path, difference: Difference, *, cards: Cards, planes: Sequence[str]) -> None:
    """Write the named planes, DIFF with `cards` (keyword -> value, comment) too.

    Rice; DIFF, VAR and SCORE quantized to a sixteenth of their noise with dither, MASK lossless, PSF plain.
    """
    hdus = fits.HDUList([fits.PrimaryHDU()])
    found = difference.planes
    if "DIFF" in planes:
        hdus.append(_image(found.data, _diff_header(difference, cards)))
    if "VAR" in planes:
        hdus.append(_image(found.variance, _variance_header(difference)))
    if "MASK" in planes:
        # all bits are below 2^15
        hdus.append(_image(found.mask.astype(np.int16), mask_header()))
    if "SCORE" in planes:
        hdus.append(_image(found.score, _score_header()))
    if "PSF" in planes:
        hdus.append(fits.ImageHDU(difference.psf.planes.astype(np.float32), _psf_header(difference.psf)))
    hdus.writeto(path, overwrite=True, checksum=True)


class DifferenceFile:
    """A difference.fits whose planes are written piece by piece; `finish` writes the headers, and then it is whole.

    OSError: no space, an I/O error.
    """

    def __init__(self, path: Path, shape: tuple[int, int], most_cards: int, planes: Sequence[str]) -> None:
        """`most_cards`: at most so many will be given for DIFF."""
        names = [name for name in PLANES[:-1] if name in planes]
        self._file = PlaneFile(path, shape, {name: _DTYPES[name] for name in names}, {"DIFF": most_cards})
        pieces = self._file.planes
        self.planes = Planes(pieces["DIFF"], pieces.get("VAR"), pieces["MASK"], pieces.get("SCORE"))

    def finish(self, difference: Difference, cards: Cards, threads: Executor) -> None:
        """Write the headers with their sums, DIFF's with `cards` too, the PSF behind the planes, and close the file."""
        headers = {
            "DIFF": _diff_header(difference, cards),
            "VAR": _variance_header(difference),
            "MASK": mask_header(),
            "SCORE": _score_header(),
        }
        psf = fits.ImageHDU(difference.psf.planes.astype(np.float32), _psf_header(difference.psf))
        psf.add_checksum()
        self._file.finish(headers, threads, psf.header.tostring().encode() + _bytes(psf.data))


def _bytes(data: Any) -> bytes:
    content = np.asarray(data, ">f4").tobytes()
    return content.ljust(padded(len(content)), b"\0")


def read_psf(hdu: Any, shape: tuple[int, int]) -> PsfModel:
    """The model in a PSF extension, of a frame of `shape` (ny, nx).  BadInputError where it is not one."""
    planes = np.asarray(hdu.data, float)
    if planes.ndim != 3 or planes.shape[1] != planes.shape[2] or planes.shape[1] % 2 != 1:
        raise BadInputError(f"PSF has the shape {planes.shape}: stamps (terms, k, k) with k odd are expected")
    header = hdu.header
    try:
        powers = [(int(header[f"PSFU{i}"]), int(header[f"PSFV{i}"])) for i in range(len(planes))]
    except KeyError as error:
        raise BadInputError(f"PSF lacks the card {error.args[0]}") from error
    return PsfModel(planes, tuple(u for u, _ in powers), tuple(v for _, v in powers), shape)


def _image(data: Any, header: fits.Header) -> fits.CompImageHDU:
    if data.dtype.kind == "f":
        return fits.CompImageHDU(
            data, header, compression_type="RICE_1", quantize_level=QUANTIZE_LEVEL, quantize_method=1, dither_seed=1
        )
    return fits.CompImageHDU(data, header, compression_type="RICE_1")


def _header(name: str, unit: str, what: str) -> fits.Header:
    header = fits.Header()
    header["EXTNAME"] = (name, what)
    if unit:
        header["BUNIT"] = unit
    return header


def _diff_header(difference: Difference, cards: Cards) -> fits.Header:
    header = _header("DIFF", difference.unit, "science minus matched template")
    for key, (value, comment) in cards.items():
        if key not in {"EXTNAME", "BUNIT"}:
            header[key] = (value, comment)
    header["CONVOLVD"] = (difference.convolved, "frame that the kernel matched to the other")
    header["PRECONV"] = (difference.preconvolved, "science frame first convolved with its width")
    header["KSUM"] = (difference.figures["kernel_sum"], "sum of the matching kernel")
    header["SCOREWID"] = (_finite(difference.figures["score_width"]), "robust width of SCORE in blank sky; NULL: none")
    return header


def _variance_header(difference: Difference) -> fits.Header:
    return _header("VAR", f"{difference.unit}**2" if difference.unit else "", "variance of DIFF, without what changed")


def _score_header() -> fits.Header:
    return _header("SCORE", "", "signed significance, 0 where masked")


def _finite(value: float) -> float | str:
    return value if np.isfinite(value) else "NULL"


def mask_header() -> fits.Header:
    """Of a plane of `photometry.mask.Bit`: BADBITS and the names of the bits."""
    header = _header("MASK", "", "why a pixel measures nothing")
    header["BADBITS"] = (int(BAD_BITS), "bits that mean unusable")
    for bit in Bit:
        header[f"MSKBIT{int(bit).bit_length() - 1}"] = (bit.name, f"value {int(bit)}")
    return header


def _psf_header(psf: PsfModel) -> fits.Header:
    header = _header("PSF", "", "of DIFF: polynomial stamps")
    header["PSFPOLY"] = ("sum of plane i u^PSFUi v^PSFVi", "u,v = 2*(x,y)/(n-1)-1")
    for i, (u, v) in enumerate(zip(psf.powers_u, psf.powers_v, strict=True)):
        header[f"PSFU{i}"] = (u, f"power of u of plane {i}")
        header[f"PSFV{i}"] = (v, f"power of v of plane {i}")
    return header
