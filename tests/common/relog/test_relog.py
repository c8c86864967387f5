"""The writer: what is durable when, and what it does when the disk fails."""

import errno
from dataclasses import astuple
from zlib import crc32

import pytest

from ast3d.common.relog.disk import OsDisk
from ast3d.common.relog.frames import HEADER_BYTES, Entry, pack
from ast3d.common.relog.recovery import read
from ast3d.common.relog.relog import Relog, RelogError
from ast3d.common.relog.segment import HEAD_BYTES, SECTOR, read_segment

SEGMENT = 8192
FIRST, SECOND, THIRD = (f"{number:010}.relog" for number in (1, 2, 3))


@pytest.fixture
def start(disk, boot):
    """A process that begins with what is in the folder (or another): (log, what it was given)."""

    def start(on=disk, boot_id=boot):
        log = Relog(on, boot_id, SEGMENT)
        return log, log.recover()

    return start


@pytest.fixture
def log(start):
    return start()[0]


def put(log, *payloads):
    """Appended and committed; their numbers."""
    numbers = [log.append("Test", 1, payload, 1.5) for payload in payloads]
    log.commit()
    return numbers


def payloads(disk):
    return [entry.payload for entry in read(disk, SEGMENT).entries]


def whole(disk):
    """The payloads, of a log with which nothing is wrong."""
    reading = read(disk, SEGMENT)
    assert reading.report.problems() == []
    return [entry.payload for entry in reading.entries]


class TestAllIsWell:
    def test_a_record_comes_back_as_it_was(self, log, start, boot):
        log.append("Sixteen.letters.", 7, b'{"a": 1}', 12.25)
        log.append("A", 65535, b"", float("inf"))
        log.commit()
        _, recovered = start()
        assert list(map(astuple, recovered.entries)) == [
            (1, "Sixteen.letters.", 7, 12.25, boot, b'{"a": 1}'),
            (2, "A", 65535, float("inf"), boot, b""),
        ]
        assert recovered.report.problems() == []
        assert (recovered.report.segments, recovered.report.records) == (1, 2)

    def test_a_commit_is_two_writes_and_one_sync(self, log, disk):
        put(log, b"first")
        syncs = log.syncs
        disk.calls.clear()
        put(log, b"a", b"b", b"c")
        assert disk.calls == [("write", FIRST), ("write", FIRST), ("sync", FIRST)]
        assert log.syncs == syncs + 1
        log.commit()
        assert len(disk.calls) == 3

    def test_nothing_is_written_before_the_commit(self, log, disk):
        assert log.append("Test", 1, b"a", 0.0) == 1
        assert (log.pending, log.next_seq, disk.segments()) == (1, 2, [])
        log.commit()
        assert (log.pending, disk.segments()) == (0, [FIRST])
        assert disk.synced[FIRST] == disk.files[FIRST]

    def test_a_segment_that_is_made_is_whole_before_it_has_its_name(self, log, disk):
        put(log, b"a")
        calls = [call for call in disk.calls if call[0] in {"create", "write", "sync", "rename", "sync_folder"}]
        assert calls[:6] == [
            ("create", "spare"),
            *[("write", "spare")] * 2,
            ("sync", "spare"),
            ("rename", "spare"),
            ("sync_folder", "."),
        ]
        assert calls[-1] == ("create", "spare")

    def test_numbers_go_on_over_segments_and_processes(self, log, start, disk):
        for i in range(100):
            assert put(log, b"x" * 300) == [i + 1]
        log.close()
        assert len(disk.segments()) > 5
        log, recovered = start(boot_id="0" * 32)
        assert [entry.seq for entry in recovered.entries] == list(range(1, 101))
        assert put(log, b"y") == [101]
        _, recovered = start()
        assert [entry.seq for entry in recovered.entries] == list(range(1, 102))
        assert recovered.entries[-1].boot_id == "00000000-0000-0000-0000-000000000000"

    def test_every_process_leaves_the_segments_of_others_alone(self, log, start, disk):
        put(log, b"a")
        before = bytes(disk.files[FIRST])
        put(start()[0], b"b")
        assert disk.files[FIRST] == before
        assert whole(disk) == [b"a", b"b"]

    def test_what_a_killed_process_wrote_is_synced_before_others_rest_on_it(self, log, start, disk):
        put(log, b"a")
        disk.calls.clear()
        start()
        assert ("sync", FIRST) in disk.calls
        disk.fails["sync", FIRST] = [errno.EIO]
        _, recovered = start()
        assert "may not be durable" in "".join(recovered.report.problems())
        assert [entry.payload for entry in recovered.entries] == [b"a"]
        assert disk.handles == 1

    def test_a_record_larger_than_a_segment_has_one_made_for_it(self, log, disk):
        big = bytes(range(256)) * 500
        after = b"x" * SECTOR
        put(log, b"before")
        disk.calls.clear()
        put(log, big, after)
        assert disk.calls[1] == ("create", "spare")  # the one that was ready is too small
        assert whole(disk) == [b"before", big, after]
        assert [len(disk.files[name]) for name in disk.segments()][::2] == [SEGMENT, SEGMENT]
        log.forget(3)
        assert disk.segments() == [THIRD]
        assert len(disk.files["spare"]) == SEGMENT

    def test_a_segment_of_another_size_never_becomes_the_spare(self, log, disk):
        disk.room = 23_000
        put(log, bytes(9000))
        put(log, b"x" * SECTOR)
        assert "spare" not in disk.files
        log.forget(2)
        assert disk.segments() == [SECOND]
        assert "spare" not in disk.files
        put(log, b"y")
        assert len(disk.files["spare"]) == SEGMENT

    def test_a_batch_larger_than_a_segment_goes_to_several(self, log, disk):
        many = [b"%d" % i * 100 for i in range(100)]
        put(log, *many)
        assert whole(disk) == many
        assert {len(data) for data in disk.files.values()} == {SEGMENT}

    @pytest.mark.parametrize("fits", range(HEADER_BYTES, HEADER_BYTES + 3 * 8, 8))
    def test_a_segment_is_filled_to_its_last_byte(self, log, disk, fits):
        """And what it was before shows nowhere."""
        room = SEGMENT - SECTOR - HEAD_BYTES
        put(log, b"x" * (room - HEADER_BYTES - fits), b"")
        assert whole(disk) == [b"x" * (room - HEADER_BYTES - fits), b""]
        assert disk.segments() == [FIRST]

    @pytest.mark.parametrize(("kind", "payload"), [("", b""), ("é", b""), ("x" * 17, b""), ("Test", bytes((1 << 26) + 1))])
    def test_what_cannot_be_written_is_refused_at_once(self, log, kind, payload):
        with pytest.raises(ValueError, match="allowed"):
            log.append(kind, 1, payload, 0.0)
        assert log.pending == 0

    def test_settings_that_cannot_be(self, disk, boot):
        for boot_id, size in ((boot, 4096), (boot, 8191), ("", SEGMENT), (boot[:-2], SEGMENT)):
            with pytest.raises(ValueError, match=r"allowed"):
                Relog(disk, boot_id, size)


class TestForgetting:
    def test_segments_that_are_wholly_below_go(self, log, disk):
        for _ in range(100):
            put(log, b"x" * 300)
        kept = [entry.seq for entry in read(disk, SEGMENT).entries]
        log.forget(50)
        left = [entry.seq for entry in read(disk, SEGMENT).entries]
        assert left[0] <= 50 < left[-1]
        assert left == kept[-len(left) :]
        assert left[0] > 50 - 15
        log.forget(10**9)
        assert disk.segments() == [max(disk.segments())]
        assert whole(disk)[-1] == b"x" * 300

    def test_also_those_of_earlier_processes(self, log, start, disk):
        put(log, b"a")
        log.close()
        log, _ = start()
        put(log, b"b")
        log.forget(1)
        assert disk.segments() == [FIRST, SECOND]
        log.forget(2)
        assert disk.segments() == [SECOND]

    def test_one_is_the_spare_where_there_is_none_and_what_was_in_it_is_gone(self, log, start, disk):
        for i in range(30):
            put(log, b"old%d" % i * 90)
        log.close()
        del disk.files["spare"]
        log, _ = start()
        disk.room = 0
        log.forget(10)
        assert "spare" in disk.files
        assert b"old3" in disk.files["spare"]
        put(log, b"new")
        assert b"old3" in disk.files[max(disk.segments())]
        assert whole(disk)[-2:] == [b"old29" * 90, b"new"]
        assert read(disk, SEGMENT).entries[-1].seq == 31

    def test_nothing_goes_before_what_is_older_is_gone_for_sure(self, log, disk):
        for _ in range(60):
            put(log, b"x" * 300)
        disk.calls.clear()
        log.forget(10**9)
        assert len(disk.calls) > 4
        assert [call for call, _ in disk.calls] == ["remove", "sync_folder"] * (len(disk.calls) // 2)
        assert [name for _, name in disk.calls[::2]] == sorted(name for _, name in disk.calls[::2])

    def test_what_cannot_go_now_goes_later_and_the_oldest_first(self, log, start, disk):
        for name in (b"a", b"b", b"c"):
            put(log, name)
            log.close()
            log, _ = start()
        disk.fails["remove", FIRST] = [errno.EIO]
        log.forget(4)
        assert disk.segments() == [FIRST, SECOND, THIRD]
        disk.fails["sync_folder", "."] = [errno.EIO]
        log.forget(4)
        log.forget(4)
        assert disk.segments() == [THIRD]
        assert put(log, b"d") == [4]

    def test_a_damaged_one_never_becomes_the_spare(self, log, start, disk):
        put(log, b"a", b"b")
        disk.files[FIRST][HEAD_BYTES + 9] ^= 1
        del disk.files["spare"]
        disk.room = 3 * SEGMENT  # with its copy
        log, _ = start()
        put(log, b"c")
        log.forget(3)
        assert sorted(disk.files) == [FIRST + ".broken", SECOND]

    def test_the_newest_stays_for_its_numbers(self, log, start, disk):
        put(log, b"a", b"b")
        log.close()
        log.forget(10**9)
        log, _ = start()
        log.forget(10**9)
        assert disk.segments() == [FIRST]
        assert put(start()[0], b"c") == [3]

    def test_a_damaged_one_goes_when_all_that_it_may_have_held_is_needless(self, log, start, disk):
        put(log, b"a")
        disk.files[FIRST][:] = b""
        log, recovered = start()
        ((begin, end),) = recovered.report.missing
        assert (begin, end) == (1, SEGMENT // HEADER_BYTES)
        assert put(log, b"b") == [end + 1]
        log.forget(end)
        assert FIRST in disk.files
        log.forget(end + 1)
        assert FIRST not in disk.files


class TestFailures:
    @pytest.mark.parametrize("call", ["write", "sync"])
    def test_a_segment_that_failed_is_left_and_what_was_pending_goes_to_the_spare(self, log, disk, call):
        put(log, b"a")
        disk.fails[call, FIRST] = [errno.EIO]
        assert put(log, b"b", b"c") == [2, 3]
        assert log.pending == 0
        assert whole(disk) == [b"a", b"b", b"c"]
        disk.calls.clear()
        put(log, b"d")
        log.close()
        assert {name for _, name in disk.calls} == {SECOND}
        assert disk.handles == 0
        assert disk.synced[SECOND] == disk.files[SECOND]

    def test_also_where_the_failed_pages_are_lost(self, log, disk, start):
        put(log, b"a")
        safe = bytes(disk.files[FIRST])
        disk.fails["sync", FIRST] = [errno.EIO]
        put(log, b"b")
        disk.files[FIRST][:] = safe
        assert whole(disk) == [b"a", b"b"]
        assert start()[0].next_seq == 3

    @pytest.mark.parametrize("failing", [("sync", "spare"), ("rename", "spare"), ("write", "spare"), ("sync_folder", ".")])
    def test_a_spare_that_fails_is_not_used(self, log, disk, failing):
        put(log, b"a" * 3000)
        disk.fails[failing] = [errno.EIO]
        before = disk.files["spare"]
        put(log, b"b" * 3000)
        assert whole(disk) == [b"a" * 3000, b"b" * 3000]
        used = [data for data in disk.files.values() if data is before]
        assert len(used) == (failing[0] == "sync_folder")
        assert disk.handles == 1

    def test_both_fail(self, log, disk, start):
        put(log, b"a")
        disk.fails["sync", "*"] = [errno.EIO, errno.EROFS]
        with pytest.raises(RelogError, match="cannot sync spare: Read-only") as caught:
            put(log, b"b", b"c")
        assert (caught.value.errno, caught.value.path, caught.value.what) == (errno.EROFS, "spare", "sync")
        assert log.pending == 0
        assert disk.handles == 0
        assert log.next_seq == 4
        log.restart()
        assert put(log, b"d") == [4]
        assert [entry.seq for entry in start()[1].entries] in ([1, 4], [1, 2, 3, 4])

    def test_records_that_were_given_up_are_not_missing(self, log, disk):
        put(log, b"a")
        safe = bytes(disk.files[FIRST])
        disk.fails["sync", "*"] = [errno.EIO, errno.EIO]
        with pytest.raises(RelogError):
            put(log, b"b", b"c")
        disk.files[FIRST][:] = safe
        log.restart()
        put(log, b"d")
        assert whole(disk) == [b"a", b"d"]
        assert read(disk, SEGMENT).next_seq == 5

    def test_numbers_that_were_given_up_are_not_given_by_the_next_process_either(self, log, start, disk):
        put(log, b"a")
        safe = bytes(disk.files[FIRST])
        disk.fails["sync", "*"] = [errno.EIO, errno.EIO]
        with pytest.raises(RelogError):
            put(log, b"b", b"c")
        disk.files[FIRST][:] = safe
        log.restart()
        log.close()
        assert put(start()[0], b"d") == [4]
        assert whole(disk) == [b"a", b"d"]

    def test_what_was_acknowledged_between_is_known_to_the_next_segment(self, log, disk):
        """The newest mark and the record of the first are lost; the second says that they were."""
        put(log, b"a")
        unborn = bytes(disk.files[FIRST])
        put(log, b"b")
        disk.fails["sync", FIRST] = [errno.EIO]
        put(log, b"c")
        disk.files[FIRST][:] = unborn
        assert read(disk, SEGMENT).report.missing == ((2, 2),)

    def test_restart_tells_when_it_cannot(self, log, disk):
        disk.room = 0
        for call in (log.restart, lambda: put(log, b"a")):
            with pytest.raises(RelogError, match="cannot create spare: No space left on device"):
                call()
        disk.room = None
        log.restart()
        put(log, b"b")
        assert whole(disk) == [b"b"]

    def test_a_full_disk_does_not_stop_it_at_once_and_not_for_ever(self, log, disk):
        put(log, b"a")
        disk.room = 0
        written = [put(log, b"x" * 1000) for _ in range(5)]
        assert len(disk.segments()) == 2
        with pytest.raises(RelogError):
            written.extend(put(log, b"x" * 1000) for _ in range(100))
        disk.room = None
        put(log, b"z")
        assert whole(disk) == [b"a", *[b"x" * 1000] * len(written), b"z"]
        assert "spare" in disk.files

    def test_the_spare_is_made_as_soon_as_there_is_room(self, log, disk):
        disk.room = SEGMENT
        put(log, b"a")
        assert "spare" not in disk.files
        disk.room = None
        put(log, b"b")
        assert len(disk.files["spare"]) == SEGMENT
        disk.calls.clear()
        put(log, b"c")
        assert ("create", "spare") not in disk.calls

    def test_a_spare_of_another_size_is_made_anew(self, disk, start):
        disk.create("spare", 100)
        log, _ = start()
        put(log, b"a")
        assert whole(disk) == [b"a"]
        assert len(disk.files[FIRST]) == SEGMENT

    def test_the_spare_that_was_left_is_used(self, disk, log, start):
        put(log, b"a")
        log.close()
        disk.room = 0
        put(start()[0], b"b")
        assert whole(disk) == [b"a", b"b"]

    def test_a_folder_that_cannot_be_read_is_not_written(self, log, disk, boot):
        put(log, b"a")
        disk.fails["names", "."] = [errno.EIO] * 2
        log = Relog(disk, boot, SEGMENT)
        recovered = log.recover()
        assert recovered.report.problems() == [". at byte 0: the folder cannot be read: Input/output error"]
        with pytest.raises(RelogError, match="cannot read the folder"):
            put(log, b"b")
        log.append("Test", 1, b"given up", 0.0)
        log.restart()
        (number,) = put(log, b"c")
        assert number > 1
        assert whole(disk) == [b"a", b"c"]

    def test_a_segment_that_cannot_be_opened(self, log, disk, start):
        put(log, b"a")
        log.close()
        put(start()[0], b"b")
        disk.fails["read", FIRST] = [errno.EACCES]
        log, recovered = start()
        assert [entry.payload for entry in recovered.entries] == [b"b"]
        assert recovered.report.missing == ((1, 1),)
        assert "cannot be read: Permission denied" in "".join(recovered.report.problems())
        assert put(log, b"c") == [3]
        assert whole(disk) == [b"a", b"b", b"c"]

    def test_before_recovery_nothing_is_written(self, disk, boot):
        log = Relog(disk, boot, SEGMENT)
        with pytest.raises(RelogError):
            put(log, b"a")


class TestBroken:
    def test_the_last_two_damaged_segments_are_kept_as_they_were(self, log, start, disk):
        images = {}
        for number in range(1, 5):
            put(log, b"x", b"y")
            log.close()
            name = f"{number:010}.relog"
            disk.files[name][HEAD_BYTES + 4] ^= 1
            images[name + ".broken"] = bytes(disk.files[name])
            log, recovered = start()
            assert recovered.report.missing[-1] == (2 * number - 1, 2 * number - 1)
            kept = {n: bytes(data) for n, data in disk.files.items() if n.endswith(".broken")}
            assert kept == {n: images[n] for n in sorted(images)[-2:]}
        disk.calls.clear()
        start()
        assert "copy" not in {call for call, _ in disk.calls}

    def test_a_copy_that_cannot_be_made_is_told(self, log, disk, start):
        put(log, b"a", b"b")
        disk.files[FIRST][HEAD_BYTES + 4] ^= 1
        disk.fails["copy", FIRST] = [errno.ENOSPC]
        _, recovered = start()
        assert f"{FIRST} at byte 0: no copy could be kept: No space left on device" in recovered.report.problems()
        assert [entry.payload for entry in recovered.entries] == [b"b"]

    def test_a_torn_end_is_no_damage(self, log, disk, start):
        put(log, b"a")
        put(log, b"b" * 700)
        data = disk.files[FIRST]
        for place in (3, 4):  # as if the second commit had never come to its marks
            data[place * SECTOR : place * SECTOR + 80] = data[:80]
        data[HEAD_BYTES + SECTOR : HEAD_BYTES + 2 * SECTOR] = bytes(SECTOR)
        log, recovered = start()
        assert (recovered.report.damaged, recovered.report.missing) == ((), ())
        assert recovered.report.torn.offset == HEAD_BYTES + HEADER_BYTES + 8
        assert len(recovered.report.problems()) == 1
        assert not [name for name in disk.files if name.endswith(".broken")]
        put(log, b"c")
        assert whole(disk) == [b"a", b"c"]


class TestTraps:
    def test_a_promised_number_is_never_given_again(self, log, start, disk):
        put(log, b"a")
        put(log, b"b", b"c")
        disk.files[FIRST][HEAD_BYTES + HEADER_BYTES + 8 : -SECTOR] = bytes(SEGMENT - SECTOR - HEAD_BYTES - HEADER_BYTES - 8)
        log, recovered = start()
        assert recovered.report.missing == ((2, 3),)
        assert "the records end with 1; up to 3 were being written, or had been" in "".join(recovered.report.problems())
        assert put(log, b"d") == [4]
        assert read(disk, SEGMENT).report.missing == ((2, 3),)

    def test_the_newest_mark_may_be_lost_with_its_neighbour(self, log, disk):
        for name in (b"a", b"b", b"c"):
            put(log, name)
        for sector in range(1, 7):
            image = bytearray(disk.files[FIRST])
            image[sector * SECTOR : sector * SECTOR + SECTOR] = bytes(SECTOR)
            image[HEAD_BYTES + 160 : HEAD_BYTES + 240] = bytes(80)
            reading = read(disk.of({FIRST: image}), SEGMENT)
            assert reading.report.missing == ((3, 3),)

    def test_a_length_that_leads_out_of_the_file(self, log, disk):
        put(log, b"a", b"b")
        seed = read_segment(FIRST, bytes(disk.files[FIRST])).head.seed
        for length in (SEGMENT, 2**31, 2**32 - 1):
            image = bytearray(disk.files[FIRST])
            image[HEAD_BYTES + 4 : HEAD_BYTES + 8] = length.to_bytes(4, "little")
            refit(image, HEAD_BYTES, seed)
            reading = read(disk.of({FIRST: image}), SEGMENT)
            assert [entry.payload for entry in reading.entries] == [b"b"]
            assert reading.report.missing == ((1, 1),)

    def test_the_shortest_record_hides_none(self, log, disk):
        put(log, b"", b"", b"")
        disk.files[FIRST][HEAD_BYTES + 9] ^= 1
        assert [entry.seq for entry in read(disk, SEGMENT).entries] == [2, 3]

    def test_a_head_of_another_segment_is_not_believed(self, log, start, disk):
        put(log, b"a")
        log.close()
        put(start()[0], b"b")
        first, second = (bytes(disk.files[name]) for name in (FIRST, SECOND))
        for sector in range(8):
            place = slice(sector * SECTOR, (sector + 1) * SECTOR)
            disk.files[FIRST][place], disk.files[SECOND][place] = second[place], first[place]
            reading = read(disk, SEGMENT)
            assert [entry.payload for entry in reading.entries] == [b"a", b"b"]
            assert reading.report.missing == ()
            assert len(reading.report.damaged) == 2
            disk.files[FIRST][:], disk.files[SECOND][:] = first, second

    def test_a_record_in_a_payload_is_none(self, log, disk, boot):
        """Neither one of another segment nor a copy of an old one of this, whatever becomes of the outer one."""
        forged = pack(Entry(50, "Test", 1, 0.0, boot, b"forged"), 12345)
        put(log, b"a")
        put(log, forged, bytes(disk.files[FIRST][HEAD_BYTES : HEAD_BYTES + 80]))
        disk.files[FIRST][HEAD_BYTES + 80 + 5] ^= 1
        reading = read(disk, SEGMENT)
        assert [(entry.seq, len(entry.payload)) for entry in reading.entries] == [(1, 1), (3, 80)]
        assert reading.report.missing == ((2, 2),)

    def test_a_segment_under_another_name(self, log, start, disk):
        for name in (b"a", b"b", b"c"):
            put(log, name)
            log.close()
            log, _ = start()
        disk.rename(FIRST, "0000000009.relog")
        log, recovered = start()
        assert [entry.payload for entry in recovered.entries] == [b"a", b"b", b"c"]
        assert recovered.report.problems() == [f"0000000009.relog at byte 0: this is {FIRST} under another name"]
        put(log, b"d")
        assert "0000000010.relog" in disk.files
        assert payloads(disk) == [b"a", b"b", b"c", b"d"]

    def test_a_segment_twice(self, log, start, disk):
        put(log, b"a", b"b")
        disk.copy(FIRST, SECOND)
        _, recovered = start()
        assert [entry.payload for entry in recovered.entries] == [b"a", b"b"]
        assert recovered.report.missing == ()
        assert len(recovered.report.problems()) == 1

    def test_a_segment_between_is_gone(self, log, start, disk):
        for name in (b"a", b"b", b"c"):
            put(log, name)
            log.close()
            log, _ = start()
        disk.remove(SECOND)
        assert read(disk, SEGMENT).report.missing == ((2, 2),)
        assert read(disk, SEGMENT).report.problems() == ["record 2 is missing"]

    def test_other_files_in_the_folder_are_left_alone(self, log, disk):
        for name in ("notes.txt", "1.relog", "0000000001.relog.bak", "-000000001.relog"):
            disk.files[name] = bytearray(b"x")
            disk.synced[name] = b"x"
        put(log, b"a")
        assert whole(disk) == [b"a"]
        assert all(disk.files[name] == b"x" for name in ("notes.txt", "1.relog"))


def refit(image, place, seed):
    """The CRC of a record's header fits again."""
    header = bytes(image[place : place + HEADER_BYTES - 4])
    image[place + HEADER_BYTES - 4 : place + HEADER_BYTES] = crc32(header, seed).to_bytes(4, "little")


class TestOnARealDisk:
    def test_written_and_read(self, tmp_path, boot):
        folder = tmp_path / "state" / "relog"
        for i in range(3):
            log = Relog(OsDisk(folder), boot)
            assert log.recover().report.problems() == []
            for k in range(5):
                put(log, b"%d" % (5 * i + k))
            log.close()
        assert [entry.payload for entry in read(OsDisk(folder)).entries] == [b"%d" % i for i in range(15)]
        assert sorted(path.name for path in folder.iterdir()) == [FIRST, SECOND, THIRD, "spare"]
        assert {path.stat().st_size for path in folder.iterdir()} == {4 << 20}
        log = Relog(OsDisk(folder), boot)
        log.recover()
        log.forget(11)
        assert sorted(path.name for path in folder.iterdir()) == [THIRD, "spare"]

    def test_damaged(self, tmp_path, boot):
        log = Relog(OsDisk(tmp_path), boot)
        log.recover()
        put(log, b"a", b"b")
        with (tmp_path / FIRST).open("r+b") as file:
            file.seek(HEAD_BYTES)
            file.write(b"?")
        (tmp_path / SECOND).mkdir()
        log = Relog(OsDisk(tmp_path), boot)
        recovered = log.recover()
        assert [entry.payload for entry in recovered.entries] == [b"b"]
        assert (tmp_path / f"{FIRST}.broken").read_bytes() == (tmp_path / FIRST).read_bytes()
        assert put(log, b"c")[0] > 2
        assert (tmp_path / THIRD).is_file()
