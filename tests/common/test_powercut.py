"""What is on the disk after a power cut: an ext4 whose backing file is copied while it is in use, and mounted again."""

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from ast3d.common import files

MEGABYTES = 8


@contextmanager
def mounted(image, folder):
    folder.mkdir()
    subprocess.run(["mount", "-o", "loop", image, folder], check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


class Disk:
    def __init__(self, image, folder):
        self.image = image
        self.folder = folder

    def after_a_cut(self, name="after"):
        """{name: content, None for what is no file} of the disk, had the power failed now."""
        copy = self.image.with_name(name)
        shutil.copyfile(self.image, copy)
        with mounted(copy, copy.with_name(name + ".mnt")) as folder:
            return {
                str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None
                for p in folder.rglob("*")
                if p.name != "lost+found"
            }


@pytest.fixture
def disk(tmp_path):
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("needs root and mkfs.ext4, to mount an ext4 of its own")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(MEGABYTES << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    try:
        with mounted(image, tmp_path / "mnt") as folder:
            os.sync()
            yield Disk(image, folder)
    except subprocess.CalledProcessError as error:
        if error.cmd[0] != "mount":
            raise
        pytest.skip(f"no loop device can be mounted here: {error.stderr!r}")


def test_without_the_syncs_it_is_lost(disk, monkeypatch):
    """The check can fail."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    files.write_durable(disk.folder / "f", b"content")
    assert disk.after_a_cut().get("f") != b"content"


def test_write_durable(disk):
    files.write_durable(disk.folder / "f", b"old")
    files.write_durable(disk.folder / "f", b"new")
    assert disk.after_a_cut() == {"f": b"new"}


def test_write_durable_shows_old_or_new_at_each_step(disk, monkeypatch):
    files.write_durable(disk.folder / "f", b"old")
    seen = []
    fsync, replace = os.fsync, Path.replace

    def cut_around(step, *args):
        seen.append(disk.after_a_cut(f"{len(seen)}").get("f"))
        step(*args)
        seen.append(disk.after_a_cut(f"{len(seen)}").get("f"))

    monkeypatch.setattr(os, "fsync", lambda fd: cut_around(fsync, fd))
    monkeypatch.setattr(Path, "replace", lambda a, b: cut_around(replace, a, b))
    files.write_durable(disk.folder / "f", b"new")
    assert set(seen) <= {b"old", b"new"}
    assert (seen[0], seen[-1]) == (b"old", b"new")


def test_publication(disk):
    products = disk.folder / "tmp" / "frame.1"
    products.mkdir(parents=True)
    (products / "stamps").mkdir()
    (products / "stamps" / "s").write_bytes(b"s" * 5000)
    (products / "manifest.json").write_bytes(b"{}")
    files.sync_tree(products)
    files.rename_noreplace(products, disk.folder / "frame")
    files.sync_dir(disk.folder)
    after = disk.after_a_cut()
    assert after["frame/manifest.json"] == b"{}"
    assert after["frame/stamps/s"] == b"s" * 5000
    assert "tmp/frame.1" not in after


@pytest.mark.parametrize("across", [False, True])
def test_a_frame_on_the_move_is_never_nowhere(disk, tmp_path, monkeypatch, across):
    source = (tmp_path if across else disk.folder) / "raw"
    files.write_durable(source, b"r" * 100_000)
    cuts = []

    def cut_before(step):
        def cut(path, *args, **how):
            if path == source or path.parent.suffix == ".aside":
                cuts.append(disk.after_a_cut(f"before{len(cuts)}"))
            return step(path, *args, **how)

        return cut

    monkeypatch.setattr(Path, "rename", cut_before(Path.rename))
    monkeypatch.setattr(Path, "unlink", cut_before(Path.unlink))
    files.move_by_link(source, disk.folder / "archived")
    assert [cut["archived"] for cut in cuts] == [b"r" * 100_000] * 2
    assert disk.after_a_cut() == {"archived": b"r" * 100_000}
    assert not source.exists()


def test_a_frame_that_its_camera_did_not_sync_is_whole_where_it_was_moved(disk):
    (disk.folder / "raw").write_bytes(b"r" * 100_000)
    files.move_by_link(disk.folder / "raw", disk.folder / "archived")
    assert disk.after_a_cut() == {"archived": b"r" * 100_000}
