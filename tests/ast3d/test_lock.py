"""Who is the one ast3d.  Record locks are between processes, so the others are processes."""

import os
import subprocess
import sys

import pytest

from ast3d.lock import AlreadyRunningError, Lock

HOLD = """
import sys
from pathlib import Path
from ast3d.lock import AlreadyRunningError, Lock
try:
    print(Lock(Path(sys.argv[1])).generation, flush=True)
except AlreadyRunningError as error:
    print(error, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lock"


@pytest.fixture
def other(path):
    """Another process that takes the lock, or says why not; it ends with the test."""
    running = []

    def start():
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        running.append(process := subprocess.Popen([sys.executable, "-c", HOLD, path], **pipes))
        return process, process.stdout.readline().strip()

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_each_holder_is_one_generation_later(path, other):
    assert Lock(path).generation == 1
    assert path.read_text() == f"{os.getpid()} 1\n"
    os.close(os.open(path, os.O_RDONLY))  # which lets go of it
    process, said = other()
    assert said == "2"
    assert path.read_text() == f"{process.pid} 2\n"


@pytest.mark.parametrize("damage", [b"", b"garbage", b"12", b"12 x\n", b"\xff\xfe\n", b"1 2 3 4 5\n" * 100])
def test_a_damaged_file_only_costs_the_count(path, damage):
    path.write_bytes(damage)
    assert Lock(path).generation in {1, 3}
    assert path.read_text().split()[0] == str(os.getpid())
    assert path.read_text().count("\n") == 1


def test_the_second_is_told_of_the_first(path, other):
    process, _ = other()
    with pytest.raises(AlreadyRunningError, match=f"runs here already, pid {process.pid};"):
        Lock(path)


def test_a_lock_whose_file_is_removed_is_made_anew_and_held(path, other):
    lock = Lock(path)
    assert lock.still_held()
    path.unlink()
    assert lock.still_held()
    _, said = other()  # to read the file here would let go of the lock
    assert f"pid {os.getpid()};" in said
    assert lock.still_held()
    assert [entry.name for entry in path.parent.iterdir()] == ["lock"]


def test_who_finds_the_lock_of_another_in_its_place_gives_way(path, other):
    lock = Lock(path)
    path.unlink()
    _, said = other()
    assert said == "1"
    assert not lock.still_held()


def test_where_nobody_can_look_nobody_gives_way(path):
    lock = Lock(path)
    path.unlink()
    path.parent.rename(path.parent.with_name("elsewhere"))
    assert lock.still_held()
