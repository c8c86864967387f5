import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast3d.common import files

names = st.binary(max_size=60).map(os.fsdecode)


@pytest.fixture
def elsewhere():
    """A folder on another file system."""
    shm = Path("/dev/shm")
    folder = shm / f"ast3-test-{os.getpid()}"
    if not os.access(shm, os.W_OK):
        pytest.skip("/dev/shm is not writable: no second file system to move to")
    folder.mkdir()
    yield folder
    for entry in folder.iterdir():
        entry.unlink()
    folder.rmdir()


@given(names)
def test_an_escaped_name_is_plain_and_comes_back(name):
    shown = files.escape(name)
    assert shown.isascii()
    assert shown.isprintable()
    assert not set(shown) & set(" '\"\\`")
    assert files.unescape(shown) == name


def test_a_plain_name_is_shown_as_it_is():
    assert files.escape("kb13475_0030-1.fits.fz") == "kb13475_0030-1.fits.fz"
    assert files.escape("a b\n%\udcff\xe9") == "a%20b%0A%25%FF%C3%A9"


def test_write_durable_replaces_as_a_whole(tmp_path):
    target = tmp_path / "f"
    files.write_durable(target, b"old")
    files.write_durable(target, b"new")
    assert target.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_write_durable_leaves_the_old_content_when_the_disk_is_full(tmp_path):
    target = tmp_path / "f"
    files.write_durable(target, b"old")
    script = (
        "import resource, signal, sys; from ast3d.common.files import write_durable;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "write_durable(sys.argv[1], b'x' * 5000)"
    )
    done = subprocess.run([sys.executable, "-c", script, target], capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_write_durable_syncs_the_content_before_the_name_and_then_the_folder(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append(_kind(fd)), fsync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda a, b: (steps.append("rename"), replace(a, b))[1])
    files.write_durable(tmp_path / "f", b"new")
    assert steps == ["file", "rename", "folder"]


def _kind(fd):
    return "folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"


def test_sync_tree_syncs_everything_inside_before_outside_and_follows_no_link(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "f").write_bytes(b"1")
    (tmp_path / "a" / "l").symlink_to("/proc/self/mem")
    os.mkfifo(tmp_path / "a" / "fifo")
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(Path(f"/proc/self/fd/{fd}").readlink()))
    files.sync_tree(tmp_path / "a")
    assert synced == [tmp_path / "a/b/f", tmp_path / "a/b", tmp_path / "a"]


def test_sync_tree_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        files.sync_tree(tmp_path / "none")


@pytest.fixture(params=["kernel", "without the kernel's help"])
def renameat2(request, monkeypatch):
    if request.param != "kernel":

        def cannot(*_):
            raise OSError(errno.EINVAL, "not on this file system")

        monkeypatch.setattr(files, "_renameat2", cannot)


@pytest.mark.usefixtures("renameat2")
class TestRenameNoreplace:
    def test_file(self, tmp_path):
        (tmp_path / "a\udcff").write_bytes(b"1")
        files.rename_noreplace(tmp_path / "a\udcff", tmp_path / "b")
        assert [p.name for p in tmp_path.iterdir()] == ["b"]

    def test_folder(self, tmp_path):
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "manifest.json").touch()
        files.rename_noreplace(tmp_path / "a", tmp_path / "b")
        assert (tmp_path / "b" / "manifest.json").exists()

    @pytest.mark.parametrize("kind", ["file", "folder"])
    def test_never_replaces(self, tmp_path, kind):
        for name in "ab":
            if kind == "folder":
                (tmp_path / name).mkdir()
                (tmp_path / name / name).touch()
            else:
                (tmp_path / name).write_text(name)
        with pytest.raises(FileExistsError):
            files.rename_noreplace(tmp_path / "a", tmp_path / "b")
        assert (tmp_path / "a").exists()
        assert (tmp_path / "b" / "b").exists() or (tmp_path / "b").read_text() == "b"

    def test_a_folder_does_not_replace_a_file(self, tmp_path):
        (tmp_path / "a").mkdir()
        (tmp_path / "b").write_text("b")
        with pytest.raises(FileExistsError):
            files.rename_noreplace(tmp_path / "a", tmp_path / "b")

    def test_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            files.rename_noreplace(tmp_path / "a", tmp_path / "b")


def test_the_kernel_refuses_even_an_empty_folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(FileExistsError):
        files.rename_noreplace(tmp_path / "a", tmp_path / "b")


class TestMoveByLink:
    def test_moves_the_same_inode(self, tmp_path):
        (tmp_path / "a").write_bytes(b"1")
        inode = (tmp_path / "a").stat().st_ino
        files.move_by_link(tmp_path / "a", tmp_path / "b")
        assert (tmp_path / "b").stat().st_ino == inode
        assert not (tmp_path / "a").exists()

    def test_never_overwrites(self, tmp_path):
        (tmp_path / "a").write_bytes(b"1")
        (tmp_path / "b").write_bytes(b"2")
        with pytest.raises(FileExistsError):
            files.move_by_link(tmp_path / "a", tmp_path / "b")
        assert (tmp_path / "a").read_bytes() == b"1"
        assert (tmp_path / "b").read_bytes() == b"2"

    def test_finishes_an_interrupted_move(self, tmp_path):
        (tmp_path / "a").write_bytes(b"1")
        os.link(tmp_path / "a", tmp_path / "b")
        files.move_by_link(tmp_path / "a", tmp_path / "b")
        assert [p.name for p in tmp_path.iterdir()] == ["b"]

    def test_a_fifo_and_a_link_move_as_they_are(self, tmp_path):
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "link").symlink_to("nowhere")
        files.move_by_link(tmp_path / "fifo", tmp_path / "fifo2")
        files.move_by_link(tmp_path / "link", tmp_path / "link2")
        assert (tmp_path / "fifo2").is_fifo()
        assert (tmp_path / "link2").readlink() == Path("nowhere")
        assert len(list(tmp_path.iterdir())) == 2

    @pytest.mark.parametrize("newcomer", [b"", b"new"])
    @pytest.mark.parametrize("name", ["a.fits", "n" * 250 + ".fits"])
    def test_a_move_that_was_killed_is_ended_and_a_file_that_took_the_name_comes_back(
        self, tmp_path, monkeypatch, newcomer, name
    ):
        pool, archive = tmp_path / "pool", tmp_path / "archive"
        pool.mkdir()
        archive.mkdir()
        (pool / name).write_bytes(b"old")
        link, rename = os.link, Path.rename

        def link_and_another_takes_the_name(*args, **how):
            link(*args, **how)
            if newcomer:
                (tmp_path / "x").write_bytes(newcomer)
                (tmp_path / "x").rename(pool / name)

        def killed(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "link", link_and_another_takes_the_name)
        monkeypatch.setattr(Path, "rmdir", killed)
        monkeypatch.setattr(Path, "rename", lambda a, b: (rename(a, b), killed() if a.parent == pool else None))
        with pytest.raises(KeyboardInterrupt):
            files.move_by_link(pool / name, archive / "a")
        monkeypatch.undo()
        assert not (pool / name).exists()
        files.put_back(pool)
        assert {p.name: p.read_bytes() for p in pool.iterdir()} == ({name: newcomer} if newcomer else {})
        assert (archive / "a").read_bytes() == b"old"

    def test_what_returns_replaces_nothing(self, tmp_path):
        aside = tmp_path / ".1-2-3.aside"
        aside.mkdir()
        (aside / "a.fits").write_bytes(b"first")
        (tmp_path / "a.fits").write_bytes(b"second")
        files.put_back(tmp_path)
        assert sorted(p.read_bytes() for p in tmp_path.iterdir()) == [b"first", b"second"]
        assert all(p.suffix == ".fits" for p in tmp_path.iterdir())

    def test_across_file_systems(self, tmp_path, elsewhere):
        source = tmp_path / "a"
        source.write_bytes(os.urandom(3_000_001))
        source.chmod(0o640)
        os.utime(source, ns=(1_000_000_001, 2_000_000_002))
        content = source.read_bytes()
        files.move_by_link(source, elsewhere / "b")
        assert (elsewhere / "b").read_bytes() == content
        status = (elsewhere / "b").stat()
        assert (status.st_mtime_ns, stat.S_IMODE(status.st_mode)) == (2_000_000_002, 0o640)
        assert not source.exists()
        assert [p.name for p in elsewhere.iterdir()] == ["b"]

    def test_across_file_systems_never_overwrites(self, tmp_path, elsewhere):
        (tmp_path / "a").write_bytes(b"1")
        (elsewhere / "b").write_bytes(b"2")
        with pytest.raises(FileExistsError):
            files.move_by_link(tmp_path / "a", elsewhere / "b")
        assert (tmp_path / "a").exists()
        assert (elsewhere / "b").read_bytes() == b"2"

    def test_across_file_systems_finishes_an_interrupted_move(self, tmp_path, elsewhere):
        (tmp_path / "a").write_bytes(b"1")
        (elsewhere / "b").write_bytes(b"1")
        files.move_by_link(tmp_path / "a", elsewhere / "b")
        assert not (tmp_path / "a").exists()

    def test_across_file_systems_a_bad_copy_is_no_move(self, tmp_path, elsewhere, monkeypatch):
        (tmp_path / "a").write_bytes(b"1")
        digests = iter([b"one", b"other"])
        monkeypatch.setattr(files, "sha256", lambda _, _progress: next(digests))
        with pytest.raises(OSError, match="differ"):
            files.move_by_link(tmp_path / "a", elsewhere / "b")
        assert (tmp_path / "a").exists()
        assert not list(elsewhere.iterdir())

    def test_across_file_systems_a_fifo_is_refused_and_hangs_nobody(self, tmp_path, elsewhere):
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(OSError, match="only regular files"):
            files.move_by_link(tmp_path / "fifo", elsewhere / "fifo")
        assert (tmp_path / "fifo").exists()


def test_an_error_is_one_line_with_its_file_where_it_has_one():
    assert files.one_line(OSError(errno.ENOSPC, "No space left on device", "/a b")) == "No space left on device: /a%20b"
    assert files.one_line(OSError(errno.ENOSPC, "No space left on device")) == "No space left on device"
    assert files.one_line(ValueError("two\nlines")) == "two lines"
