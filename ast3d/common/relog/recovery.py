"""All segments of a folder: their records in order, each once, and what is damaged or missing.

Nothing on the disk makes `read` raise.  Whatever was acknowledged is among the entries or in `Report.missing`, as long as
each segment has lost no more than two sectors, one stretch, or its end.  The report may also name records that were never
acknowledged: those that were being written when the power failed, and, where the last segment has lost its marks, as many
as it could hold.
"""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ast3d.common.relog.disk import Disk
from ast3d.common.relog.frames import HEADER_BYTES, Entry
from ast3d.common.relog.segment import Damage, Segment, read_segment, segment_number

SEGMENT_BYTES = 4 << 20
_BROKEN = ".broken"
_KEPT_BROKEN = 2
_MOST_SEGMENTS = 10**9  # thirty years of one a second: a file whose name says more, and that says nothing, never was one

Range = tuple[int, int]  # sequence numbers, both inclusive


@dataclass(frozen=True)
class Report:
    """What was read, and what an operator should know: ranges of records that are missing, damaged places.

    `torn`: where the log ends in a record that was never finished, as at a power cut; nothing acknowledged is lost by it.
    `guessed`: the ranges from this number on are what may be missing, at most; 0 where all that is known.
    `doubtful`: what was being written when the power failed, perhaps; if so, nobody relies on it.
    """

    segments: int
    records: int
    missing: tuple[Range, ...] = ()
    damaged: tuple[Damage, ...] = ()
    torn: Damage | None = None
    guessed: int = 0
    doubtful: tuple[Range, ...] = ()

    def losses(self, first: int) -> list[str]:
        """What is missing without a doubt from the record `first` on, and what is damaged, one line each."""
        missing = _subtract(self.missing, list(_merge(self.doubtful)))
        return [*(self._range(a, b) for a, b in missing if b >= first), *map(str, self.damaged)]

    def problems(self) -> list[str]:
        """One line each; none when all is well."""
        missing = [self._range(a, b) for a, b in self.missing]
        return [*missing, *map(str, self.damaged), *([str(self.torn)] if self.torn else [])]

    def add_missing(self, begin: int, end: int) -> "Report":
        """The same, with a range more."""
        return replace(self, missing=tuple(_merge([*self.missing, (begin, end)])))

    def _range(self, begin: int, end: int) -> str:
        if 0 < self.guessed <= begin:
            return f"records from {begin} on may be missing, {end - begin + 1} at most"
        return f"record {begin} is missing" if begin == end else f"records {begin} to {end} are missing"


@dataclass(frozen=True)
class Reading:
    """Entries and report; `top`: no acknowledged record has a higher number; `next_seq`: the first that was never given.

    `problem`: why the folder could not be read, None if it was.
    """

    entries: list[Entry]
    report: Report
    segments: list[Segment]
    top: int = 0
    next_seq: int = 1
    problem: OSError | None = None


def read(disk: Disk, segment_bytes: int = SEGMENT_BYTES) -> Reading:
    """Everything that can be read; `segment_bytes` says how many records may be lost where nothing else does."""
    try:
        names = disk.names()
    except OSError as error:
        damage = Damage(".", 0, f"the folder cannot be read: {error.strerror}")
        return Reading([], Report(0, 0, damaged=(damage,)), [], problem=error)
    segments = [_read_one(disk, name) for name in sorted(names) if segment_number(name) is not None]
    segments = [segment for segment in segments if segment.head or segment.named <= _MOST_SEGMENTS]
    segments.sort(key=lambda segment: segment.number)
    return _together(segments, max([segment_bytes, *(segment.bytes for segment in segments)]) // HEADER_BYTES)


def keep_damaged(disk: Disk, segments: list[Segment]) -> Iterator[Damage]:
    """Copies of the damaged segments, the last two of all that ever were; it tells where none could be made."""
    names: set[str] = set()
    with contextlib.suppress(OSError):
        names.update(name for name in disk.names() if name.endswith(_BROKEN))
    damaged = {segment.name + _BROKEN for segment in segments if segment.damaged}
    kept = sorted(names | damaged)[-_KEPT_BROKEN:]
    for name in [name for name in kept if name not in names]:
        original = name.removesuffix(_BROKEN)
        try:
            disk.copy(original, name)
        except OSError as error:
            yield Damage(original, 0, f"no copy could be kept: {error.strerror}")
    for name in names.difference(kept):
        with contextlib.suppress(OSError):
            disk.remove(name)


def _read_one(disk: Disk, name: str) -> Segment:
    try:
        return read_segment(name, disk.read(name))
    except OSError as error:
        return Segment(name, segment_number(name) or 0, 0, damaged=(Damage(name, 0, f"cannot be read: {error.strerror}"),))


def _together(segments: list[Segment], capacity: int) -> Reading:
    found = {entry.seq: entry for segment in segments for entry in segment.entries}
    promised, top, guessed = _promised(segments, capacity)
    missing = tuple(_subtract(_merge(promised), _runs(sorted(found))))
    begun = [segment.head.first for segment in segments if segment.head]
    report = Report(
        len(segments),
        len(found),
        missing,
        tuple(damage for segment in segments for damage in segment.damaged),
        segments[-1].torn if segments else None,
        guessed,
        tuple((segment.settled + 1, segment.head.written) for segment in segments if segment.head),
    )
    return Reading([found[seq] for seq in sorted(found)], report, segments, top, max([top + 1, *begun]))


def _promised(segments: list[Segment], capacity: int) -> tuple[list[Range], int, int]:
    """-> the ranges that should be there, their end, and where the guesses among them begin, or 0.

    Without a head a segment may have held `capacity` records; where no other says more, that many in all before it too.
    """
    promised: list[Range] = []
    top = 0
    lost = 0  # segments of which it is not known where they end
    begun = 0  # the number of the last of them
    seen = False
    for segment in segments:
        head = segment.head
        if head is None:
            lost, begun = lost + 1, segment.number
            continue
        since = top if seen else _least_before(head.before, lost, begun, capacity)
        promised += [(since + 1, head.before), (head.first, segment.last)]
        top = max(top, head.before, segment.last)
        lost = 0 if segment.sure else 1
        seen = True
    if lost:
        end = top + lost * capacity
        if not seen:  # nothing says where it began: the segments before it may all have been full
            end = max(end, begun * capacity)
        promised.append((top + 1, end))
        return promised, end, top + 1
    return promised, top, 0


def _least_before(before: int, lost: int, number: int, capacity: int) -> int:
    """The number after which records may be missing before the first head: of `lost` segments up to `number` none is left.

    A process that found nothing but those has begun at the most that they can have held; what they held may be any part.
    """
    if not lost:
        return before
    return 0 if before >= number * capacity else max(before - lost * capacity, 0)


def _merge(ranges: Iterable[Range]) -> Iterator[Range]:
    """The same numbers in rising order, without overlaps; ranges that end before they begin are empty."""
    begin, end = 1, 0
    for a, b in sorted(r for r in ranges if r[0] <= r[1]):
        if a > end + 1:
            if begin <= end:
                yield begin, end
            begin = a
        end = max(end, b)
    if begin <= end:
        yield begin, end


def _runs(numbers: list[int]) -> list[Range]:
    return list(_merge((number, number) for number in numbers))


def _subtract(ranges: Iterable[Range], less: list[Range]) -> Iterator[Range]:
    """What is in `ranges` and in none of `less`; both rise without overlaps."""
    i = 0
    for a, b in ranges:
        begin = a
        while i < len(less) and less[i][1] < begin:
            i += 1
        k = i
        while k < len(less) and less[k][0] <= b:
            if begin < less[k][0]:
                yield begin, less[k][0] - 1
            begin = less[k][1] + 1
            k += 1
        if begin <= b:
            yield begin, b
