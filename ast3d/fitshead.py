"""As much of FITS as is needed to tell a whole file from a torn one, without numpy and without trust.

`bytes_promised` reads headers only, at most `MAX_HEADER_BYTES` each and `MAX_UNITS` of them, whatever the file says.
Source: FITS Standard 4.0, sections 4.2, 4.4.1 and 7.
"""

import os
from collections.abc import Mapping

BLOCK = 2880
CARD = 80
MAX_HEADER_BYTES = 512 * BLOCK
MAX_UNITS = 64


def bytes_promised(fd: int) -> int:
    """How long the file must be by its own headers; 0 where it is not plain FITS.

    The padding behind the last data is not asked for: cameras exist that leave it out.
    """
    start = needs = 0
    for unit in range(MAX_UNITS):
        first = b"SIMPLE  =" if unit == 0 else b"XTENSION="
        head = os.pread(fd, len(first), start)
        if head != first:
            torn = unit == 0 and head != b"" and first.startswith(head)
            return BLOCK if torn else needs
        end, cards = _header(fd, start)
        if end == 0:
            size = os.fstat(fd).st_size
            return needs if size - start >= MAX_HEADER_BYTES else start + _blocks(size - start + 1) * BLOCK
        needs = end + _data_bytes(cards)
        start = end + _blocks(needs - end) * BLOCK
    return needs


def first_headers(fd: int, units: int = 2) -> list[dict[str, str]]:
    """The cards of the first headers, values as they stand; an empty list where it is not plain FITS."""
    found: list[dict[str, str]] = []
    start = 0
    for _ in range(units):
        end, cards = _header(fd, start)
        if end == 0 or not ("SIMPLE" in cards or "XTENSION" in cards):
            break
        found.append(cards)
        start = end + _blocks(_data_bytes(cards)) * BLOCK
    return found


def _header(fd: int, start: int) -> tuple[int, dict[str, str]]:
    """-> (offset behind the header, its cards); the offset is 0 where there is no END."""
    cards: dict[str, str] = {}
    for offset in range(start, start + MAX_HEADER_BYTES, BLOCK):
        block = os.pread(fd, BLOCK, offset)
        for at in range(0, len(block) - CARD + 1, CARD):
            card = block[at : at + CARD].decode("ascii", "replace")
            if card[:8].rstrip() == "END":
                return offset + BLOCK, cards
            if card[8:10] == "= ":
                cards.setdefault(card[:8].rstrip(), _value(card[10:]))
        if len(block) < BLOCK:
            break
    return 0, {}


def _value(text: str) -> str:
    text = text.lstrip()
    if text.startswith("'"):
        return text[1:].replace("''", "\0").split("'")[0].replace("\0", "'").rstrip()
    return text.split("/")[0].strip()


def _data_bytes(cards: Mapping[str, str]) -> int:
    """|BITPIX| / 8 * GCOUNT * (PCOUNT + NAXIS1 * ... * NAXISm), equation 2 of the standard."""
    axes = _integer(cards, "NAXIS", 0)
    if not 0 < axes <= 999:
        return 0
    points = 1
    for axis in range(1, axes + 1):
        points *= max(_integer(cards, f"NAXIS{axis}", 0), 0)
    groups, extra = _integer(cards, "GCOUNT", 1), _integer(cards, "PCOUNT", 0)
    return abs(_integer(cards, "BITPIX", 8)) // 8 * max(groups, 0) * (max(extra, 0) + points)


def _integer(cards: Mapping[str, str], key: str, default: int) -> int:
    text = cards.get(key, "")
    return int(text) if text.lstrip("+-").isdecimal() and len(text) <= 20 else default


def _blocks(count: int) -> int:
    return -(-count // BLOCK)
