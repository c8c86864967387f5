"""A difference as a FITS file: DIFF, VAR, MASK, SCORE and PSF, each an extension that says what it is.

Guarantees: EXTNAME, BUNIT, CHECKSUM and DATASUM on each; CONVOLVD, PRECONV, KSUM with DIFF; BADBITS and the names of the
bits with MASK.  `read_psf` gives back what PSF holds.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from photometry.errors import BadInputError
from photometry.file_plane import FilePlane
from photometry.fits_sums import NO_CHECKSUM, checksum, ones_sum
from photometry.mask import BAD_BITS, Bit
from photometry.psf import PsfModel
from photometry.subtraction.difference import Difference
from photometry.subtraction.planes import Planes

PLANES = ("DIFF", "VAR", "MASK", "SCORE", "PSF")
QUANTIZE_LEVEL = 16.0  # steps of the noise, dithered: sigma / 16
BLOCK, CARD, CARDS_A_BLOCK = 2880, 80, 36
SPARE_BLOCKS = 2  # of a header, for the cards that are known at the end
SUMMED_BYTES = 2880 * 1456  # 4 MB at a time
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
        hdus.append(_image(found.mask.astype(np.int16), _mask_header()))
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
        self._file = path.open("w+b")
        self._shape, self._names = shape, [name for name in PLANES[:-1] if name in planes]
        self._places: dict[str, tuple[int, int]] = {}  # where each header begins, and its data
        place = BLOCK  # of the primary header
        for name in self._names:
            header = BLOCK * (-(-(most_cards if name == "DIFF" else 0) // CARDS_A_BLOCK) + SPARE_BLOCKS)
            self._places[name] = place, place + header
            place += header + _padded(shape[0] * shape[1] * _DTYPES[name].itemsize)
        self._end = place
        os.ftruncate(self._file.fileno(), place)
        pieces = {name: FilePlane(self._file.fileno(), self._places[name][1], shape, _DTYPES[name]) for name in self._names}
        self.planes = Planes(pieces["DIFF"], pieces.get("VAR"), pieces["MASK"], pieces.get("SCORE"))

    def finish(self, difference: Difference, cards: Cards, threads: Executor) -> None:
        """Write the headers with their sums, DIFF's with `cards` too, the PSF behind the planes, and close the file."""
        headers = {
            "DIFF": _diff_header(difference, cards),
            "VAR": _variance_header(difference),
            "MASK": _mask_header(),
            "SCORE": _score_header(),
        }
        with self._file as file:
            for name, total in zip(self._names, threads.map(self._sum, self._names), strict=True):
                start, data = self._places[name]
                file.seek(start)
                file.write(_unit(headers[name], _DTYPES[name], self._shape, data - start, total))
            file.seek(0)
            primary = fits.PrimaryHDU()
            primary.add_checksum()
            file.write(primary.header.tostring().encode())
            file.seek(self._end)
            psf = fits.ImageHDU(difference.psf.planes.astype(np.float32), _psf_header(difference.psf))
            psf.add_checksum()
            file.write(psf.header.tostring().encode() + _bytes(psf.data))

    def _sum(self, name: str) -> int:
        """DATASUM of a plane."""
        size, total = _padded(self._shape[0] * self._shape[1] * _DTYPES[name].itemsize), 0
        for place in range(0, size, SUMMED_BYTES):
            part = os.pread(self._file.fileno(), min(SUMMED_BYTES, size - place), self._places[name][1] + place)
            total = ones_sum(np.frombuffer(part, np.uint8), total)
        return total


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _unit(header: fits.Header, dtype: np.dtype[Any], shape: tuple[int, int], size: int, total: int) -> bytes:
    """The header of an image extension, `size` bytes long, with the sums; total: DATASUM."""
    bits = -32 if dtype.kind == "f" else 8 * dtype.itemsize
    first = fits.Header([
        ("XTENSION", "IMAGE", "an image"), ("BITPIX", bits), ("NAXIS", 2), ("NAXIS1", shape[1]), ("NAXIS2", shape[0]),
        ("PCOUNT", 0), ("GCOUNT", 1),
    ])  # fmt: skip
    first.extend(header, strip=False)
    first["DATASUM"] = (str(total), "of the data")
    first["CHECKSUM"] = (NO_CHECKSUM, "of the whole unit")
    first["CHECKSUM"] = checksum(ones_sum(np.frombuffer(_block(first, size), np.uint8), total))
    return _block(first, size)


def _block(header: fits.Header, size: int) -> bytes:
    """Cards, blank ones, END."""
    text = header.tostring(endcard=False, padding=False)
    return f"{text:<{size - CARD}}{'END':<{CARD}}".encode()


def _bytes(data: Any) -> bytes:
    content = np.asarray(data, ">f4").tobytes()
    return content.ljust(_padded(len(content)), b"\0")


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


def _mask_header() -> fits.Header:
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
