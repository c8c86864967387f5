"""Takes the bytes of one image out of a FITS file, and never more than that image may have.

Guarantee: before anything the size of an image is allocated, the header's claims are held against the limits
and against the true size of the file; a gzip file is inflated only as far as the image reaches, never past
the limit.  A file that is not what it claims is refused with `BadFrameError` of one line; nothing here
trusts a number from a header.  Links, FIFOs and devices are refused: O_NOFOLLOW | O_NONBLOCK, then S_ISREG
on the descriptor.
"""

import os
from dataclasses import dataclass
from math import prod
from typing import BinaryIO

from photometry.errors import BadFrameError, EnvironmentFailedError
from photometry.fits_bytes import DamagedGzipError, Plain, Reader, open_regular, reader_of

BLOCK = 2880
CARD = 80
_MOST_HEADER_BLOCKS = 1000  # 36,000 cards
_MOST_HDUS = 1000
# A gzip file is inflated this far behind its image, and the image's size, to meet the checksum at the end.
_MOST_BEHIND = 64 << 20
_BITPIX = (8, 16, 32, 64, -32, -64)

Cards = dict[str, str]


@dataclass(frozen=True)
class RawHdu:
    """One header-data unit as bytes: `header` whole blocks, `data` as long as the header says, without padding.

    offset: where in the file the data begin, when they were left there; then `data` is empty.
    """

    header: bytes
    data: bytes
    cards: Cards
    compressed: bool
    offset: int | None = None


@dataclass(frozen=True)
class RawImage:
    """The first image of a file, the primary header where that is another one, and how many images there are."""

    hdu: RawHdu
    primary: bytes | None
    more_images: bool


def read_raw(path: str | bytes | os.PathLike[str], most_megapixels: float) -> RawImage:
    """The first HDU that holds an image.

    BadFrameError: torn, empty, not FITS, no image, too large, a bomb.  EnvironmentFailedError: the machine
    could not read it.
    """
    with open_regular(path) as file:
        try:
            return _walk(reader_of(file), most_megapixels)
        except OSError as error:
            raise EnvironmentFailedError(f"cannot read the file: {error.strerror or error}") from error
        except MemoryError as error:
            raise EnvironmentFailedError("not enough memory to read the file") from error


def find_raw(file: BinaryIO, most_megapixels: float) -> RawImage:
    """As `read_raw`, of an open file; pixels that are neither packed nor compressed are left where they are."""
    try:
        return _walk(reader_of(file), most_megapixels, file)
    except OSError as error:
        raise EnvironmentFailedError(f"cannot read the file: {error.strerror or error}") from error
    except MemoryError as error:
        raise EnvironmentFailedError("not enough memory to read the file") from error


def integer(cards: Cards, name: str, default: int | None = None) -> int:
    """The card's whole number; BadFrameError where it is missing (and no default) or is none."""
    words = cards.get(name)
    if words is None and default is not None:
        return default
    try:
        if words is None or len(words) > 20:
            raise ValueError
        return int(words)
    except ValueError:
        said = "is missing" if words is None else f"says {words[:30]!r}"
        raise BadFrameError(f"not valid FITS: {name} {said}, a whole number is needed") from None


def string(cards: Cards, name: str) -> str:
    """The card's text without quotes, '' where there is none."""
    return cards.get(name, "").strip().strip("'").strip()


def image_shape(cards: Cards, prefix: str = "") -> tuple[int, ...]:
    """The axes as the header claims them, NAXIS1 first.  BadFrameError for what no file can hold."""
    naxis = integer(cards, f"{prefix}NAXIS")
    if not 0 <= naxis <= 999:
        raise BadFrameError(f"not valid FITS: {prefix}NAXIS says {naxis}")
    axes = tuple(integer(cards, f"{prefix}NAXIS{i}") for i in range(1, naxis + 1))
    if any(axis < 0 for axis in axes):
        raise BadFrameError(f"not valid FITS: {prefix}NAXISn says {min(axes)}")
    return axes


def bits(cards: Cards, name: str) -> int:
    """BITPIX or ZBITPIX: one of the six that FITS knows."""
    value = integer(cards, name)
    if value not in _BITPIX:
        raise BadFrameError(f"not valid FITS: {name} says {value}; 8, 16, 32, 64, -32 and -64 exist")
    return value


def require_size(axes: tuple[int, ...], most_megapixels: float) -> tuple[int, int]:
    """(ny, nx) of a claimed image within the limit; trailing axes of 1 are dropped.  BadFrameError otherwise."""
    flat = list(axes)
    while len(flat) > 2 and flat[-1] == 1:
        flat.pop()
    shown = " x ".join(str(axis) for axis in axes)
    if len(flat) != 2:
        raise BadFrameError(f"not a single image: it has {len(flat)} axes ({shown}); 2 are needed")
    if min(flat) < 1:
        raise BadFrameError(f"no pixels: the header claims {shown}")
    megapixels = prod(flat) / 1e6
    if megapixels > most_megapixels:
        raise BadFrameError(
            f"too large: the header claims {shown} = {megapixels:,.1f} megapixels; "
            f"max_megapixels allows {most_megapixels:,g}"
        )
    return flat[1], flat[0]


def _walk(reader: Reader, most_megapixels: float, left: BinaryIO | None = None) -> RawImage:
    primary: bytes | None = None
    for index in range(_MOST_HDUS):
        header = _header(reader, first=index == 0)
        if header is None:
            break
        cards = _cards(header)
        size = _data_size(cards)
        compressed = string(cards, "ZIMAGE") == "T" and string(cards, "XTENSION") == "BINTABLE"
        plain = not compressed and string(cards, "XTENSION") in {"", "IMAGE"} and size > 0
        if compressed or plain:
            if plain:
                require_size(image_shape(cards), most_megapixels)
                bits(cards, "BITPIX")
            else:
                require_size(image_shape(cards, "Z"), most_megapixels)
                bits(cards, "ZBITPIX")
            # A tile-compressed image is not larger than 10 bytes a pixel, whatever its heap claims.
            if size > most_megapixels * 1e7 + 1e6:
                raise BadFrameError(f"too large: the header claims {size:,} bytes of data")
            stays = left is not None and plain and isinstance(reader, Plain)
            offset = left.tell() if left is not None and stays else None
            data = _passed(reader, size) if stays else _exactly(reader, size)
            more = _another(reader, size)
            reader.finish(size + _MOST_BEHIND)
            return RawImage(RawHdu(header, data, cards, compressed, offset), primary, more)
        if primary is None:
            primary = header
        padded = -(-size // BLOCK) * BLOCK
        if reader.left is None and padded > most_megapixels * 1e7 + 1e6:
            raise BadFrameError(f"too large: an extension before the image claims {size:,} bytes")
        if reader.skip(padded) < size:
            raise BadFrameError(f"cut off: extension {index} claims {size:,} bytes, which the file does not have")
    raise BadFrameError("no image in it: no header-data unit has 2 axes of pixels")


def _header(reader: Reader, *, first: bool) -> bytes | None:
    """Whole blocks up to the one with END; None at the end of the file."""
    blocks: list[bytes] = []
    for _ in range(_MOST_HEADER_BLOCKS):
        block = reader.read(BLOCK)
        if not blocks and not first and not block.startswith(b"XTENSION"):
            return None  # the end, or the special records that FITS allows after it
        if not blocks and first and not block.startswith(b"SIMPLE  ="):
            raise BadFrameError(f"not a FITS file: it begins with {ascii(block[:16])[1:]}, not with SIMPLE")
        blocks.append(block)
        if any(block[i : i + 8] == b"END     " for i in range(0, len(block), CARD)):
            if len(block) < BLOCK:
                break
            return b"".join(blocks)
        if len(block) < BLOCK:
            break
    size = sum(len(block) for block in blocks)
    raise BadFrameError(f"cut off: the header has no END within {size:,} bytes")


def _cards(header: bytes) -> Cards:
    """The first card of each name, its value as it is spelt."""
    cards: Cards = {}
    for i in range(0, len(header), CARD):
        card = header[i : i + CARD].decode("latin-1")
        if card.startswith("END     "):
            break
        if card[8:10] == "= ":
            value = card[10:]
            value = value if value.lstrip().startswith("'") else value.split("/", 1)[0]
            cards.setdefault(card[:8].rstrip(), _unquoted(value))
    return cards


def _unquoted(value: str) -> str:
    value = value.strip()
    if not value.startswith("'"):
        return value
    return value[1:].split("'", 1)[0].rstrip()


def _data_size(cards: Cards) -> int:
    axes = image_shape(cards)
    if not axes:
        return 0
    if axes[0] == 0 and string(cards, "GROUPS") == "T":
        raise BadFrameError("random groups: not an image")
    pixel = abs(bits(cards, "BITPIX")) // 8
    count, extra = integer(cards, "GCOUNT", 1), integer(cards, "PCOUNT", 0)
    if count != 1 or extra < 0:
        raise BadFrameError(f"not valid FITS: GCOUNT says {count}, PCOUNT {extra}")
    return pixel * (extra + prod(axes))


def _exactly(reader: Reader, size: int) -> bytes:
    if reader.left is not None and reader.left < size:
        raise BadFrameError(f"cut off: the header promises {size:,} bytes of data, the file has {reader.left:,}")
    data = reader.read(size)
    if len(data) < size:
        raise BadFrameError(f"cut off: the header promises {size:,} bytes of data, the file has {len(data):,}")
    return data


def _passed(reader: Reader, size: int) -> bytes:
    """Nothing, if the data are there."""
    if reader.skip(size) < size:
        raise BadFrameError(f"cut off: the header promises {size:,} bytes of data, which the file does not have")
    return b""


def _another(reader: Reader, size: int) -> bool:
    """Whether one more extension follows that holds an image; only a hint, so a torn rest is no error."""
    try:
        reader.skip(-size % BLOCK)
        header = _header(reader, first=False)
        if header is None:
            return False
        cards = _cards(header)
        image = string(cards, "XTENSION") == "IMAGE" or string(cards, "ZIMAGE") == "T"
        return image and integer(cards, "NAXIS") == 2
    except DamagedGzipError:
        raise
    except BadFrameError:
        return False
