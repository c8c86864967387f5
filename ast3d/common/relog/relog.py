"""The writer.  A record is durable once `commit` has returned; sequence numbers rise for ever and none is given twice.

Every process begins a segment of its own and leaves those of others as it found them: nothing is ever repaired in place, so
nothing can be made worse.  A segment on which anything failed is never written again: what was not yet durable goes to the
spare, which is made in advance so that a full disk does not stop the log.  If that fails too, `commit` raises RelogError
and the records are given up, their numbers with them.
"""

import contextlib
import dataclasses
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass

from ast3d.common.relog import recovery
from ast3d.common.relog.disk import Disk
from ast3d.common.relog.frames import HEADER_BYTES, MOST_PAYLOAD_BYTES, Entry, boot_bytes, pack, packed_bytes
from ast3d.common.relog.recovery import SEGMENT_BYTES, Report
from ast3d.common.relog.segment import (
    HEAD_BYTES,
    LEAST_BYTES,
    SECTOR,
    Damage,
    Head,
    Segment,
    mark,
    opening,
    pack_head,
    segment_name,
)

__all__ = ["Entry", "Recovered", "Relog", "RelogError", "Report"]

_SPARE = "spare"


class RelogError(Exception):
    """The log could not be written, neither in one segment nor in another."""

    def __init__(self, number: int, path: str, what: str, reason: str = "") -> None:
        super().__init__(f"cannot {what} {path}: {reason or os.strerror(number)}")
        self.errno = number
        self.path = path
        self.what = what


@dataclass(frozen=True)
class Recovered:
    """What earlier processes have left, in order."""

    entries: list[Entry]
    report: Report


@dataclass(slots=True)
class _Open:
    """The segment in use: `end` is where the next record goes, `last` the highest number that was ever sent there."""

    handle: int
    head: Head
    end: int
    last: int
    turn: int = 0

    @property
    def room(self) -> int:
        return self.head.size - SECTOR - self.end


@dataclass(frozen=True, slots=True)
class _Sealed:
    """A segment that is not written any more; it has no record above `last`."""

    name: str
    last: int
    reusable: bool


class Relog:
    """The log in one folder.  `recover` comes first; `syncs` counts the fdatasyncs."""

    def __init__(self, disk: Disk, boot_id: str, segment_bytes: int = SEGMENT_BYTES) -> None:
        if segment_bytes < LEAST_BYTES or segment_bytes % SECTOR:
            raise ValueError(f"found segments of {segment_bytes} bytes, allowed: multiples of 512 from {LEAST_BYTES} on")
        boot_bytes(boot_id)
        self.syncs = 0
        self.next_seq = 1
        self.given_up: RelogError | None = None
        self._disk = disk
        self._boot_id = boot_id
        self._segment_bytes = segment_bytes
        self._pending: list[Entry] = []
        self._durable = 0  # the highest number that was acknowledged
        self._number = 1  # the next segment's
        self._segment: _Open | None = None
        self._sealed: list[_Sealed] = []
        self._spare = False
        self._unread: OSError | None = OSError(errno.ENODATA, "not recovered yet")

    @property
    def pending(self) -> int:
        """How many records are appended and not durable."""
        return len(self._pending)

    def recover(self) -> Recovered:
        """Everything that can be read; never raises.  A copy of what is damaged is kept, of the last two segments."""
        reading = self._read()
        damaged = [*reading.report.damaged, *self._settle(reading), *recovery.keep_damaged(self._disk, reading.segments)]
        return Recovered(reading.entries, dataclasses.replace(reading.report, damaged=tuple(damaged)))

    def append(self, kind: str, version: int, payload: bytes, now: float) -> int:
        """The record's sequence number; it is in memory only until `commit`."""
        if len(payload) > MOST_PAYLOAD_BYTES or not (kind.isascii() and 0 < len(kind) <= 16):
            raise ValueError(
                f"found type {kind!a} and {len(payload)} bytes, allowed: 16 ASCII letters, {MOST_PAYLOAD_BYTES}"
            )
        seq = self.next_seq
        self._pending.append(Entry(seq, kind, version, now, self._boot_id, payload))
        self.next_seq = seq + 1
        return seq

    def commit(self) -> None:
        """Everything appended is durable, or a RelogError says why it is given up.

        Where the segment in use had to be given up for that, `given_up` says why: its records may go with it.
        """
        self.given_up = None
        if not self._pending:
            return
        try:
            self._write_pending()
        except RelogError as error:
            self.given_up = error if self._segment else None
            self._seal(reusable=False)
            try:
                self._write_pending()
            except RelogError:
                self._seal(reusable=False)
                self._pending.clear()
                raise
        self._make_spare()

    def restart(self) -> None:
        """Try a fresh segment, after a RelogError; raises RelogError if it cannot be made.

        Where the folder could not be read until now, it is: for its numbers, not for its records.
        """
        if self._unread is not None:
            self._pending.clear()
            self._read()
        self._seal(reusable=False)
        try:
            self._roll(0)
        except RelogError:
            self._seal(reusable=False)
            raise

    def forget(self, before: int) -> None:
        """Records below this number are needless; segments that hold no others go.  What cannot go now, goes later.

        The newest stays in any case: the next process learns from it which numbers have been given.
        """
        older = self._sealed[:-1] if self._segment is None else self._sealed
        for sealed in [s for s in older if s.last < before]:
            try:
                self._discard(sealed)
            except FileNotFoundError:
                pass
            except OSError:
                return  # oldest first, so that no gap appears
            self._sealed.remove(sealed)

    def close(self) -> None:
        """Nothing is committed by it."""
        self._seal(reusable=True)

    def _read(self) -> recovery.Reading:
        reading = recovery.read(self._disk, self._segment_bytes)
        self._unread = reading.problem
        self._durable = max(self._durable, reading.top)
        self.next_seq = max(self.next_seq, reading.next_seq)
        numbers = [number for s in reading.segments for number in (s.number, s.named)]
        self._number = max([self._number, *(number + 1 for number in numbers)])
        self._sealed = [self._found(segment, reading.top) for segment in reading.segments]
        with contextlib.suppress(OSError):
            self._spare = len(self._disk.read(_SPARE)) == self._segment_bytes
        return reading

    def _found(self, segment: Segment, top: int) -> _Sealed:
        last = segment.last if segment.sure else top
        return _Sealed(segment.name, last, reusable=not segment.damaged and segment.bytes == self._segment_bytes)

    def _settle(self, reading: recovery.Reading) -> Iterator[Damage]:
        """What was read may never have been synced, where its writer was killed; what follows will rest on it."""
        if reading.segments:
            name = reading.segments[-1].name
            try:
                handle = self._disk.open(name)
                try:
                    self._sync(handle, name)
                finally:
                    self._disk.close(handle)
            except (OSError, RelogError) as error:
                yield Damage(name, 0, f"its last records may not be durable: {error}")

    def _write_pending(self) -> None:
        while self._pending:
            segment = self._segment
            size = packed_bytes(self._pending[0].payload)
            if segment is None or segment.room < size:
                self._seal(reusable=True)
                segment = self._roll(size)
            self._write_batch(segment)

    def _write_batch(self, segment: _Open) -> None:
        """As many records as there is room for, a mark, one sync: then they are durable."""
        seed, room, batch = segment.head.seed, segment.room, bytearray()
        count = 0
        for entry in self._pending:
            record = pack(entry, seed)
            if len(batch) + len(record) > room:
                break
            batch += record
            count += 1
        size = len(batch)
        batch += bytes(min(HEADER_BYTES, room - size))  # in a reused segment too, nothing follows the last record
        segment.last = self._pending[count - 1].seq
        head = dataclasses.replace(segment.head, written=segment.last)
        name = segment_name(head.number)
        with _doing("write", name):
            self._disk.write(segment.handle, segment.end, bytes(batch))
            self._disk.write(segment.handle, *mark(head, segment.turn))
        self._sync(segment.handle, name)
        segment.head, segment.end, segment.turn = head, segment.end + size, segment.turn + 1
        self._durable = segment.last
        del self._pending[:count]

    def _roll(self, least: int) -> _Open:
        """A fresh segment with room for `least` bytes: made under the spare's name, then renamed, so that it is whole."""
        if self._unread is not None:  # there may be segments that must not be replaced
            raise RelogError(self._unread.errno or errno.EIO, ".", "read the folder")
        size = max(self._segment_bytes, -(-(HEAD_BYTES + least) // SECTOR) * SECTOR + SECTOR)
        number, self._number = self._number, self._number + 1
        first = self._pending[0].seq if self._pending else self.next_seq
        head = Head(number, size, first, self._durable, self._durable, os.urandom(16))
        with _doing("create", _SPARE):
            handle = self._open_spare(size)
        try:
            self._begin(handle, head)
        except RelogError:
            with contextlib.suppress(OSError):
                self._disk.close(handle)
            raise
        self._segment = _Open(handle, head, HEAD_BYTES, first - 1)
        with _doing("sync the folder of", segment_name(number)):
            self._disk.sync_folder()
        return self._segment

    def _open_spare(self, size: int) -> int:
        ready, self._spare = self._spare and size == self._segment_bytes, False
        if ready:
            with contextlib.suppress(FileNotFoundError):  # somebody has removed it
                return self._disk.open(_SPARE)
        self._disk.create(_SPARE, size)
        return self._disk.open(_SPARE)

    def _begin(self, handle: int, head: Head) -> None:
        with _doing("write", _SPARE):
            self._disk.write(handle, 0, opening(head))
            self._disk.write(handle, head.size - SECTOR, pack_head(head).ljust(SECTOR, b"\0"))
        self._sync(handle, _SPARE)
        with _doing("rename", _SPARE):
            self._disk.rename(_SPARE, segment_name(head.number))

    def _sync(self, handle: int, name: str) -> None:
        self.syncs += 1
        with _doing("sync", name):
            self._disk.sync(handle)

    def _seal(self, *, reusable: bool) -> None:
        """The segment in use is written no more, and its handle is closed whatever its state."""
        segment, self._segment = self._segment, None
        if segment is not None:
            with contextlib.suppress(OSError):
                self._disk.close(segment.handle)
            reusable = reusable and segment.head.size == self._segment_bytes
            self._sealed.append(_Sealed(segment_name(segment.head.number), segment.last, reusable))

    def _discard(self, sealed: _Sealed) -> None:
        if sealed.reusable and not self._spare:
            self._disk.rename(sealed.name, _SPARE)
            self._spare = True
        else:
            self._disk.remove(sealed.name)
        self._disk.sync_folder()

    def _make_spare(self) -> None:
        """Where there is no room, the log goes on in the segment in use; the next commit tries again."""
        if not self._spare:
            with contextlib.suppress(OSError):
                self._disk.create(_SPARE, self._segment_bytes)
                self._spare = True


@contextlib.contextmanager
def _doing(what: str, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RelogError(error.errno or errno.EIO, path, what, error.strerror or "") from error
