import errno
import os

import pytest

from ast3d.common.relog.disk import OsDisk


@pytest.fixture
def disk(tmp_path):
    return OsDisk(tmp_path / "relog")


def test_a_folder_that_is_not_there_is_empty_and_made_when_needed(disk, tmp_path):
    assert disk.names() == []
    assert not (tmp_path / "relog").exists()
    disk.create("a", 10)
    assert disk.names() == ["a"]
    assert disk.read("a") == bytes(10)


def test_created_files_are_new_and_have_their_room(disk, tmp_path):
    disk.create("a", 100_000)
    path = tmp_path / "relog" / "a"
    path.write_bytes(b"x" * 200_000)
    before = path.stat().st_ino
    with path.open():  # so that the number of the file is not given again
        disk.create("a", 100_000)
        assert path.stat().st_ino != before
    assert disk.read("a") == bytes(100_000)
    assert path.stat().st_blocks * 512 >= 100_000


def test_no_room_leaves_nothing(disk, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        disk.create("a", 4096)
    assert disk.names() == []


def test_all_of_it_is_written_however_little_a_call_takes(disk, monkeypatch):
    disk.create("a", 20)
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:3], offset))
    handle = disk.open("a")
    disk.write(handle, 5, b"0123456789")
    disk.sync(handle)
    disk.close(handle)
    assert disk.read("a") == bytes(5) + b"0123456789" + bytes(5)


def test_one_bad_page_costs_no_other(disk, monkeypatch, tmp_path):
    disk.create("a", 1)
    data = os.urandom(20_000)
    (tmp_path / "relog" / "a").write_bytes(data)
    pread = os.pread

    def bad(fd, count, offset):
        if offset < 8192 and offset + count > 4096:
            raise OSError(errno.EIO, "bad page")
        return pread(fd, min(count, 9000), offset)

    monkeypatch.setattr(os, "pread", bad)
    assert disk.read("a") == data[:4096] + b"\xff" * 4096 + data[8192:]


def test_other_errors_are_told(disk, monkeypatch):
    disk.create("a", 5000)

    def refused(*_):
        raise OSError(errno.ESTALE, "stale")

    monkeypatch.setattr(os, "pread", refused)
    with pytest.raises(OSError, match="stale"):
        disk.read("a")


def test_nothing_hangs_on_what_is_no_file(disk, tmp_path):
    disk.create("a", 1)
    os.mkfifo(tmp_path / "relog" / "fifo")
    assert disk.read("fifo") == b""
    (tmp_path / "relog" / "link").symlink_to("a")
    (tmp_path / "relog" / "folder").mkdir()
    for name in ("link", "folder", "absent"):
        with pytest.raises(OSError, match=r"Too many levels|Is a directory|No such file"):
            disk.read(name)
