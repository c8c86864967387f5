"""One record as bytes, and the records in bytes that may be damaged in any way.

What `scan` yields was packed with the same seed, bit for bit: header and payload each have a CRC that is seeded with the
segment's UUID, so that what another segment left behind, here or in a payload, is no record.  It never raises.

A record begins at a multiple of 8 bytes:

    magic 4 | payload length 4 | sequence number 8 | boottime 8 (double) | boot id 16 | type 16 (ASCII, padded with NUL)
    | version 2 | zeros 6 | payload CRC 4 | CRC of all this 4 | payload | zeros up to a multiple of 8        (little-endian)
"""

import struct
from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

HEADER_BYTES = 72
MOST_PAYLOAD_BYTES = 1 << 26
MAGIC = b"\x9eREC"  # no ASCII: it is never found in JSON

_HEADER = struct.Struct("<4sIQd16s16sH6xI")
_PADDING = [bytes(count) for count in range(8)]
_BLANK = bytes(HEADER_BYTES)


@dataclass(frozen=True, slots=True)
class Entry:
    """A record as the log knows it; `boottime` (CLOCK_BOOTTIME seconds) compares only under the same `boot_id`."""

    seq: int
    type: str
    version: int
    boottime: float
    boot_id: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Scan:
    """What bytes hold.  `damaged`: offsets where there is no record though some follow.

    `end`: the offset after the last record; `torn`: what is there is a piece of a record, not a place that was never used.
    """

    entries: list[Entry]
    damaged: list[int]
    end: int
    torn: bool


@lru_cache(maxsize=16)
def boot_bytes(boot_id: str) -> bytes:
    """The 16 bytes of a boot id as the kernel writes it; ValueError if it is none."""
    data = bytes.fromhex(boot_id.replace("-", ""))
    if len(data) != 16:
        raise ValueError(f"found boot id {boot_id!a}, allowed: 32 hexadecimal digits")
    return data


def packed_bytes(payload: bytes) -> int:
    """How many bytes a record with this payload takes."""
    return HEADER_BYTES + -(-len(payload) // 8) * 8


def pack(entry: Entry, seed: int) -> bytes:
    """The record; its length is a multiple of 8."""
    payload = entry.payload
    header = _HEADER.pack(
        MAGIC,
        len(payload),
        entry.seq,
        entry.boottime,
        boot_bytes(entry.boot_id),
        entry.type.encode("ascii"),
        entry.version,
        crc32(payload, seed),
    )
    return b"".join((header, crc32(header, seed).to_bytes(4, "little"), payload, _PADDING[-len(payload) % 8]))


def scan(data: bytes, start: int, stop: int, seed: int) -> Scan:
    """All records in `data[start:stop]`, which is searched to its end: a bad place ends nothing."""
    entries: list[Entry] = []
    damaged: list[int] = []
    bad: int | None = None
    place = start
    while place + HEADER_BYTES <= stop:
        entry = _record_at(data, place, seed)
        if entry is not None:
            if bad is not None:
                damaged.append(bad)
                bad = None
            entries.append(entry)
            place += packed_bytes(entry.payload)
            continue
        if bad is None:
            bad = place
        place = _next_magic(data, place, stop)
    torn = bad is not None and not _BLANK.startswith(data[bad : min(bad + HEADER_BYTES, stop)])
    return Scan(entries, damaged, place if bad is None else bad, torn)


def _next_magic(data: bytes, place: int, stop: int) -> int:
    """The next place after this one where a record may begin, `stop` if there is none."""
    found = data.find(MAGIC, place + 1, stop)
    while found >= 0 and (found - place) % 8:
        found = data.find(MAGIC, found + 1, stop)
    return found if found >= 0 else stop


def _record_at(data: bytes, place: int, seed: int) -> Entry | None:
    magic, length, seq, boottime, boot, kind, version, payload_crc = _HEADER.unpack_from(data, place)
    begin = place + HEADER_BYTES
    if magic != MAGIC or crc32(data[place : begin - 4], seed) != int.from_bytes(data[begin - 4 : begin], "little"):
        return None
    payload = data[begin : begin + length]
    if crc32(payload, seed) != payload_crc:
        return None
    return Entry(seq, _type(kind), version, boottime, _boot_id(boot), payload)


@lru_cache(maxsize=256)
def _type(data: bytes) -> str:
    return data.rstrip(b"\0").decode("ascii", "replace")


@lru_cache(maxsize=256)
def _boot_id(data: bytes) -> str:
    digits = data.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
