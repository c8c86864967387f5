"""The manifest lists what is there, whole or not at all."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from photometry.errors import EnvironmentFailedError
from photometry.manifest import plain, write_manifest


def test_every_file_also_in_folders_with_size_and_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "stamps").mkdir()
    (tmp_path / "stamps" / "0001.fits").write_bytes(b"")
    path = write_manifest(tmp_path, {"night": "2026-06-20", "figures": {"x": np.float32(1.5), "y": float("nan")}})
    said = json.loads(path.read_text())
    assert said["files"] == {
        "a": {"sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "bytes": 3},
        "stamps/0001.fits": {"sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "bytes": 0},
    }
    assert said["figures"] == {"x": 1.5, "y": None}
    assert sorted(os.listdir(tmp_path)) == ["a", "manifest.json", "stamps"]


def test_writing_again_lists_the_same_files(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    first = write_manifest(tmp_path, {}).read_bytes()
    assert write_manifest(tmp_path, {}).read_bytes() == first


def test_everything_is_synced_before_the_manifest_appears(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "stamps").mkdir()
    (tmp_path / "stamps" / "b").write_bytes(b"abc")
    synced = []
    real = os.fsync

    def fsync(fd):
        name = str(Path(f"/proc/self/fd/{fd}").readlink()).removeprefix(str(tmp_path))
        synced.append((name, (tmp_path / "manifest.json").exists()))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    write_manifest(tmp_path, {})
    before = [name for name, there in synced if not there]
    assert before == ["/a", "/stamps/b", "/.manifest.json.tmp"]
    assert [name for name, there in synced if there] == ["", "/stamps"]


def test_an_io_error_is_the_machines_fault_and_leaves_no_manifest(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"abc")

    def fsync(_fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(EnvironmentFailedError, match="No space left on device"):
        write_manifest(tmp_path, {})
    assert not (tmp_path / "manifest.json").exists()


def test_plain_holds_only_what_json_knows():
    assert plain({"a": (np.int64(3), np.bool_(True)), 5: float("inf"), "c": None}) == {"a": [3, True], "5": None, "c": None}
