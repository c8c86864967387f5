"""One segment: a head of 4096 bytes, records, and in its last 512 bytes the head once more.

The head is the same 80 bytes at the beginning of each of its eight 512-byte sectors, so that it outlives the loss of most of
them; the copy at the end outlives the loss of the whole block.  Sectors 1 to 6 are the marks: with each commit one pair of
them in turn is written anew, with the sequence number that is then `written`.  So whichever two sectors are lost, either
the newest mark or the last records are left: what was acknowledged and is gone is noticed.
"""

import re
import struct
from collections import Counter
from dataclasses import dataclass
from zlib import crc32

from ast3d.common.relog.frames import HEADER_BYTES, Entry, scan

SECTOR = 512
HEAD_BYTES = 8 * SECTOR
LEAST_BYTES = HEAD_BYTES + 2 * SECTOR

_MAGIC = b"\x9eRELOG\r\n"
_FORMAT = 1
_HEAD = struct.Struct("<8sQQQQQQ16s")
_COPIES = tuple(range(0, HEAD_BYTES, SECTOR))
_PAIRS = ((1 * SECTOR, 2 * SECTOR), (3 * SECTOR, 4 * SECTOR), (5 * SECTOR, 6 * SECTOR))
_NAME = re.compile(r"([0-9]{10})\.relog")


@dataclass(frozen=True, slots=True)
class Head:
    """What a segment says of itself.

    `first`: the sequence number with which it begins; `before`: the last one that was durable when it was made;
    `written`: the last one that is durable in it, or `before`.
    """

    number: int
    size: int
    first: int
    before: int
    written: int
    uuid: bytes

    @property
    def seed(self) -> int:
        """Where the CRCs of its records begin."""
        return crc32(self.uuid)


@dataclass(frozen=True, slots=True)
class Damage:
    """A place in a file, and what is wrong there."""

    name: str
    offset: int
    what: str

    def __str__(self) -> str:
        return f"{self.name} at byte {self.offset}: {self.what}"


@dataclass(frozen=True, slots=True)
class Segment:
    """What was found in one; without a head nothing is.  `sure`: `head.written` is the newest there was.

    `settled`: the mark before the newest, or less: what came after it may never have been acknowledged.
    `torn` is what follows the last record and is none; it matters only where no other segment follows.
    """

    name: str
    named: int
    bytes: int
    head: Head | None = None
    sure: bool = False
    settled: int = 0
    entries: tuple[Entry, ...] = ()
    damaged: tuple[Damage, ...] = ()
    torn: Damage | None = None

    @property
    def number(self) -> int:
        """Its place among the segments: by its head, or else by its name."""
        return self.head.number if self.head else self.named

    @property
    def last(self) -> int:
        """The highest sequence number that is in it, or should be."""
        written = self.head.written if self.head else 0
        return max(written, max((entry.seq for entry in self.entries), default=0))


def segment_name(number: int) -> str:
    """The name of its file."""
    return f"{number:010}.relog"


def segment_number(name: str) -> int | None:
    """The number that the name of a file says; None if it is no segment's."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def pack_head(head: Head) -> bytes:
    """One copy of the head."""
    data = _HEAD.pack(_MAGIC, _FORMAT, head.number, head.size, head.first, head.before, head.written, head.uuid)
    return data + crc32(data).to_bytes(8, "little")


def opening(head: Head) -> bytes:
    """How a new segment begins: the copies of its head, and nothing where the first record will be."""
    return pack_head(head).ljust(SECTOR, b"\0") * len(_COPIES) + bytes(HEADER_BYTES)


def mark(head: Head, turn: int) -> tuple[int, bytes]:
    """Where and what to write with the commit number `turn`: the head in two sectors."""
    copy = pack_head(head)
    return _PAIRS[turn % len(_PAIRS)][0], copy.ljust(SECTOR, b"\0") + copy


def read_segment(name: str, data: bytes) -> Segment:
    """What the bytes of a file hold; never raises."""
    copies = {place: _unpack_head(data, place) for place in (*_COPIES, _last_sector(data))}
    named = segment_number(name) or 0
    head = _choose([copy for copy in copies.values() if copy is not None], named)
    if head is None:
        return Segment(
            name,
            named,
            len(data),
            damaged=(Damage(name, 0, "its head is lost: neither its records nor their number can be read"),),
        )
    ours = {place for place, copy in copies.items() if copy is not None and copy.uuid == head.uuid}
    stop = min(len(data), head.size - SECTOR)
    found = scan(data, HEAD_BYTES, stop, head.seed)
    damaged = [
        *_wrong_file(name, named, head, len(data)),
        *(Damage(name, place, "a copy of the head is lost") for place in copies if place not in ours),
        *(Damage(name, place, "damaged records") for place in found.damaged),
    ]
    torn = None
    last = max((entry.seq for entry in found.entries), default=head.first - 1)
    marks = {copy.written for copy in copies.values() if copy is not None and copy.uuid == head.uuid}
    settled = max(marks - {head.written}, default=head.before)
    if settled <= last < head.written:
        torn = Damage(
            name, found.end, f"torn: the records end with {last}; up to {head.written} were being written, or had been"
        )
    elif last < head.written:
        damaged.append(Damage(name, found.end, f"the records end with {last}, where {head.written} had been written"))
    elif found.torn:
        torn = Damage(name, found.end, "torn: a record was begun and not finished")
    sure = all(not ours.isdisjoint(pair) for pair in _PAIRS)
    return Segment(name, named, len(data), head, sure, settled, tuple(found.entries), tuple(damaged), torn)


def _last_sector(data: bytes) -> int:
    return max(len(data) - SECTOR, HEAD_BYTES)


def _wrong_file(name: str, named: int, head: Head, size: int) -> list[Damage]:
    wrong = []
    if named != head.number:
        wrong.append(Damage(name, 0, f"this is {segment_name(head.number)} under another name"))
    if size != head.size:
        wrong.append(Damage(name, min(size, head.size), f"{size} bytes long instead of {head.size}"))
    return wrong


def _choose(copies: list[Head], named: int) -> Head | None:
    """The head that most copies tell, in its newest form: some may be another segment's, by a misplaced sector."""
    if not copies:
        return None
    votes = Counter(copy.uuid for copy in copies)
    return max(copies, key=lambda copy: (votes[copy.uuid], copy.number == named, copy.number, copy.written))


def _unpack_head(data: bytes, place: int) -> Head | None:
    copy = data[place : place + _HEAD.size + 8]
    if len(copy) < _HEAD.size + 8 or crc32(copy[:-8]) != int.from_bytes(copy[-8:], "little"):
        return None
    magic, version, number, size, first, before, written, uuid = _HEAD.unpack_from(copy)
    return Head(number, size, first, before, written, uuid) if (magic, version) == (_MAGIC, _FORMAT) else None
