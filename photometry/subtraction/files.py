"""A difference as a FITS file: DIFF, VAR, MASK, SCORE and PSF, each an extension that says what it is.

Guarantees: EXTNAME, BUNIT, CHECKSUM and DATASUM on each; CONVOLVD, PRECONV, KSUM with DIFF; BADBITS and the names of the
bits with MASK.  `read_psf` gives back what PSF holds.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from photometry.errors import BadInputError
from photometry.mask import BAD_BITS, Bit
from photometry.psf import PsfModel
from photometry.subtraction.difference import Difference

PLANES = ("DIFF", "VAR", "MASK", "SCORE", "PSF")
QUANTIZE_LEVEL = 16.0  # steps of the noise, dithered: sigma / 16

Cards = Mapping[str, tuple[Any, str]]


def write_difference(
    path: Path, difference: Difference, *, cards: Cards, planes: Sequence[str] = PLANES, compressed: bool = False
) -> None:
    """Write the named planes, DIFF with `cards` (keyword -> value, comment) too.

    compressed: Rice, DIFF, VAR and SCORE quantized to a sixteenth of their noise with dither, MASK lossless, PSF plain.
    """
    hdus = fits.HDUList([fits.PrimaryHDU()])
    image = difference.image
    if "DIFF" in planes:
        hdus.append(_image(image.data, _diff_header(difference, cards), compressed=compressed))
    if "VAR" in planes:
        header = _header("VAR", f"{image.unit}**2" if image.unit else "", "variance of DIFF, without what changed")
        hdus.append(_image(image.variance, header, compressed=compressed))
    if "MASK" in planes:
        # all bits are below 2^15
        hdus.append(_image(image.mask.astype(np.int16), _mask_header(), compressed=compressed))
    if "SCORE" in planes:
        header = _header("SCORE", "", "signed significance, 0 where masked")
        hdus.append(_image(difference.score, header, compressed=compressed))
    if "PSF" in planes:
        hdus.append(fits.ImageHDU(difference.psf.planes.astype(np.float32), _psf_header(difference.psf)))
    hdus.writeto(path, overwrite=True, checksum=True)


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


def _image(data: Any, header: fits.Header, *, compressed: bool) -> Any:
    if not compressed:
        return fits.ImageHDU(data, header)
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
    header = _header("DIFF", difference.image.unit, "science minus matched template")
    for key, (value, comment) in cards.items():
        if key not in {"EXTNAME", "BUNIT"}:
            header[key] = (value, comment)
    header["CONVOLVD"] = (difference.convolved, "frame that the kernel matched to the other")
    header["PRECONV"] = (difference.preconvolved, "science frame first convolved with its width")
    header["KSUM"] = (difference.figures["kernel_sum"], "sum of the matching kernel")
    header["SCOREWID"] = (_finite(difference.figures["score_width"]), "robust width of SCORE in blank sky; NULL: none")
    return header


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
