"""Damaged relogs, the short form; and that the checker sees what is wrong where something is."""

import dataclasses
import itertools
import zlib

import pytest

from ast3d import core
from ast3d.common.relog import frames, recovery, relog, segment
from tests.simulate.damage import Tally, campaign, examine
from tests.simulate.damage_images import build, check, recipes
from tests.simulate.damage_log import Log

LOGS = range(1, 17)


def test_ten_thousand_images():
    tally = campaign(10_000, 1, 2, lambda _line: None)
    assert (tally.images, tally.refusals) == (10_000, 0)
    assert tally.violations == {}
    assert tally.lost > 1000
    assert {"cut", "truncate", "stale", "swap", "burst", "cut+burst", "cut+swap", "unreadable"} <= set(tally.kinds)


@pytest.mark.parametrize(
    "recipe",
    [
        "5:kill+unreadable,0000000040.relog",
        "11:kill+unreadable,0000000009.relog",
        "5:kill+truncate,0000000040.relog,60",
    ],
)
def test_numbers_are_not_given_again_where_the_only_segment_could_not_be_read(recipe):
    check(Log(int(recipe.partition(":")[0])), recipe)


def test_the_logs_are_worth_damaging():
    logs = [Log(seed) for seed in LOGS]
    assert sum(len(log.disk.unsynced()) > 4 for log in logs) >= 4
    assert sum(bool(log.disk.changes) for log in logs) >= 2
    assert sum(was_recycled(log) for log in logs) >= 4
    assert sum(was_written_twice(log) for log in logs) >= 2


def was_recycled(log):
    """A file that holds, or held, another segment's head."""
    heads = [segment._unpack_head(piece, 0) for inode in log.disk.files.values() for piece in inode.older.get(0, ())]
    return any(heads)


def was_written_twice(log):
    """Some records are in two segments, the sync of the first having failed."""
    files = build(log, f"{log.seed}:kill").files
    segments = [segment.read_segment(name, data) for name, data in files.items() if segment.segment_number(name)]
    numbers = [entry.seq for one in segments for entry in one.entries]
    return len(numbers) > len(set(numbers))


def test_a_seed_writes_the_same_bytes_again():
    for seed in LOGS[:3]:
        log, again = Log(seed), Log(seed)
        assert build(log, f"{seed}:kill").files == build(again, f"{seed}:kill").files
        assert recipes(log, 500) == recipes(again, 500)


# --- the checker can fail


def no_crc(patch):
    patch.setattr(frames, "crc32", lambda _data, _seed=0: 0)


def no_payload_crc(patch):
    headers = frames.HEADER_BYTES - 4
    patch.setattr(frames, "crc32", lambda data, seed=0: zlib.crc32(data, seed) if len(data) == headers else 0)


def marks_without_news(patch):
    mark = relog.mark
    patch.setattr(relog, "mark", lambda head, turn: mark(dataclasses.replace(head, written=head.before), turn))


def no_sync(patch):
    patch.setattr(relog.Relog, "_sync", lambda _self, _handle, _name: None)


def numbers_by_what_is_found(patch):
    read = recovery.read

    def careless(disk, segment_bytes):
        reading = read(disk, segment_bytes)
        last = max((entry.seq for entry in reading.entries), default=0)
        return dataclasses.replace(reading, top=last, next_seq=last + 1)

    patch.setattr(recovery, "read", careless)


def the_end_of_a_scan(patch):
    """It ends at the first bad place, and says nothing."""
    scan = frames.scan

    def short(data, start, stop, seed):
        found = scan(data, start, stop, seed)
        return scan(data, start, found.damaged[0], seed) if found.damaged else found

    patch.setattr(segment, "scan", short)
    patch.setattr(segment.Segment, "last", property(lambda self: max([0, *(entry.seq for entry in self.entries)])))


def a_refusal(patch):
    wrong_file = segment._wrong_file

    def strict(name, named, head, size):
        if size != head.size:
            raise ValueError(size)
        return wrong_file(name, named, head, size)

    patch.setattr(segment, "_wrong_file", strict)


def a_fold_too_short(patch):
    let_go = core._let_go
    patch.setattr(core, "_let_go", lambda entries: itertools.islice(let_go(entries), max(len(entries) - 1, 0)))


@pytest.mark.parametrize(
    ("harm", "seen"),
    [
        (no_crc, "not as it was appended"),
        (no_payload_crc, "not as it was appended"),
        (marks_without_news, "neither there nor reported"),
        (no_sync, "lost"),
        (numbers_by_what_is_found, "is given again"),
        (the_end_of_a_scan, "neither there nor reported"),
        (a_refusal, "recovery raised"),
        (a_fold_too_short, "not the fold"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_checker_sees(monkeypatch, harm, seen):
    harm(monkeypatch)
    tally = Tally()
    for seed in LOGS[:6]:
        tally.add(examine((seed, 0, 10_000)))
        if any(seen in what for what in tally.violations.values()):
            return
    pytest.fail(f"{tally.images} images, and it saw only {set(tally.violations.values())}")
