"""DATASUM and CHECKSUM of a FITS header-data unit: FITS standard 4.0, section 4.4.2.7 and appendix J."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_PUNCTUATION = {*range(0x3A, 0x41), *range(0x5B, 0x61)}
NO_CHECKSUM = "0" * 16


def ones_sum(words: NDArray[Any], start: int = 0) -> int:
    """The 32-bit ones' complement sum of bytes (any array whose bytes are a multiple of four) added to `start`."""
    total = int(np.add.reduce(words.reshape(-1).view(np.uint8).view(">u4"), dtype=np.uint64)) + start
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def checksum(total: int) -> str:
    """CHECKSUM's 16 characters, from the sum over the unit with NO_CHECKSUM in their place."""
    value = ~total & 0xFFFFFFFF
    out = [0] * 16
    for i in range(4):
        byte = value >> (24 - 8 * i) & 0xFF
        four = [byte // 4 + ord("0") + (byte % 4 if j == 0 else 0) for j in range(4)]
        for low in (0, 2):
            while {four[low], four[low + 1]} & _PUNCTUATION:
                four[low] += 1
                four[low + 1] -= 1
        for j in range(4):
            out[4 * j + i] = four[j]
    return "".join(map(chr, out[-1:] + out[:-1]))
