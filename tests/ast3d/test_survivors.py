"""What no other quick test saw: each of these was written because a mutant had survived."""

import contextlib
import json
import os
import socket
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from ast3d import inputs as i
from ast3d import runner, work
from ast3d.common import files
from ast3d.common.link import HelperEnd, LineReader, encode
from ast3d.decide import decide
from ast3d.fold import apply
from ast3d.frameid import frame_id
from ast3d.order import Order
from ast3d.policy import Policy
from ast3d.porter import Porter
from ast3d.records import Accepted
from ast3d.runner import AttemptFailedError
from ast3d.state import State
from ast3d.task import Breaker, Entry, Place, Sighting

NIGHT = "2026-06-20"


def give(state, *given):
    """-> the records."""
    found = []
    for one in given:
        facts, _ = decide(state, one)
        for fact in facts:
            apply(state, fact)
        found += facts
    return found


def entry(size=2880):
    return Entry(Place("t", "a.fits"), size, 1)


@pytest.fixture
def state():
    return State(policy=Policy(), helpers={"scout", "porter", "nursery"})


def see(state, size=2880):
    give(state, i.Sighted(1.0, (Sighting(entry(size), "regular", "renamed", 0),)))


def test_the_first_probe_that_succeeds_closes_the_breaker(state):
    see(state)
    give(state, i.Identified(1.0, entry(), "id", ""))
    state.breaker = Breaker("no space", "no space", 1.0, 2.0)
    give(state, i.Tick(2.0), i.WorkerEnded(3.0, "id", 1, NIGHT, "", "frame", retriable=True, tail=""))
    assert state.breaker is None


def test_the_id_of_what_a_frame_was_before_it_changed_makes_no_task(state):
    see(state)
    see(state, 5760)
    assert not any(isinstance(fact, Accepted) for fact in give(state, i.Identified(1.0, entry(), "id", "")))
    assert state.tasks == {}


def test_a_move_is_durable_where_it_ends_before_it_has_left_where_it_began(tmp_path, monkeypatch):
    pool, archive = tmp_path / "pool", tmp_path / "archive"
    pool.mkdir()
    archive.mkdir()
    (pool / "a").write_bytes(b"frame")
    there = []
    fsync = os.fsync

    def watched(fd):
        if stat.S_ISDIR(os.fstat(fd).st_mode) and Path(f"/proc/self/fd/{fd}").readlink() == archive:
            there.append((pool / "a").exists())
        fsync(fd)

    monkeypatch.setattr(os, "fsync", watched)
    files.move_by_link(pool / "a", archive / "a")
    assert there == [True]
    assert not (pool / "a").exists()


@pytest.fixture
def porter(tmp_path):
    """One that was told its folders; what it is asked, and what it answers."""
    for name in ("incoming/t", "products", "archive", "quarantine", "state/attempts"):
        (tmp_path / name).mkdir(parents=True)
    ours, theirs = socket.socketpair()
    helper = Porter(HelperEnd(theirs.detach()))
    ours.settimeout(20)

    def serve():
        with contextlib.suppress(EOFError):
            helper.run()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    names = ("incoming", "products", "archive", "quarantine", "state")
    ours.sendall(encode({"folders": {name: str(tmp_path / name) for name in names}}))
    reader = LineReader()

    def ask(**order):
        ours.sendall(encode(order))
        while True:
            for message in reader.feed(ours.recv(65536)):
                if "filed" in message:
                    return message["filed"]

    yield ask
    ours.close()
    thread.join(20)


def test_the_account_of_an_attempt_stays_while_its_frame_could_not_be_moved(porter, tmp_path):
    frame = tmp_path / "incoming" / "t" / "a.fits"
    frame.write_bytes(b"abc")
    about = frame.stat()
    with frame.open("rb") as file:
        task = frame_id(Entry(Place("t", "a.fits"), about.st_size, about.st_mtime_ns), file.fileno())
    account = tmp_path / "state" / "attempts" / f"{task}.1.json"
    account.write_text("{}")
    (tmp_path / "archive").rmdir()
    (tmp_path / "archive").write_text("not a folder")
    asked = {"task": task, "telescope": "t", "name": "a.fits", "size": 3, "mtime_ns": about.st_mtime_ns, "night": NIGHT}
    assert porter(archive=asked)["outcome"] == "failed"
    assert account.exists()
    (tmp_path / "archive").unlink()
    (tmp_path / "archive").mkdir()
    assert porter(archive=asked)["outcome"] == "filed"
    assert not account.exists()


@pytest.fixture
def order(tmp_path):
    """An attempt that has made its products and has yet to publish them."""
    frame = tmp_path / "a.fits"
    frame.write_bytes(b"frame")
    (tmp_path / "attempts").mkdir()
    order = Order("id", 1, "t", "a.fits", 5, frame.stat().st_mtime_ns, str(frame), "", None, "", str(tmp_path / "products"),
                  str(tmp_path / "attempts"), "", ["true"], {}, "")  # fmt: skip
    order.out.mkdir(parents=True)
    (order.out / "product").write_bytes(b"new")
    return order


def publish(order):
    with Path(order.frame).open("rb") as frame:
        return runner.publish(order, work.Ended(NIGHT), frame.fileno(), 1.0)


def test_a_second_worker_is_not_let_at_a_frame(order):
    runner.hold(order)
    with pytest.raises(AttemptFailedError, match="another worker is at this frame"):
        runner.hold(replace(order, attempt=2))


def test_products_are_durable_before_they_have_their_name(order, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(Path(f"/proc/self/fd/{fd}").readlink()), fsync(fd))[1])
    assert publish(order) == NIGHT
    assert order.out / "product" in synced


def test_the_name_of_products_is_durable_when_they_are_called_published(order, monkeypatch):
    target = Path(order.products) / "t" / NIGHT / "id"
    synced = []
    fsync = os.fsync

    def watched(fd):
        if target.exists():
            synced.append(Path(f"/proc/self/fd/{fd}").readlink())
        fsync(fd)

    monkeypatch.setattr(os, "fsync", watched)
    assert publish(order) == NIGHT
    assert target.parent in synced


def test_products_that_stand_are_not_replaced(order):
    target = Path(order.products) / "t" / NIGHT / "id"
    target.mkdir(parents=True)
    (target / "manifest.json").write_text(json.dumps({"first": True}))
    assert publish(order) == NIGHT
    assert [path.name for path in target.iterdir()] == ["manifest.json"]
    assert json.loads((target / "manifest.json").read_text()) == {"first": True}


def test_an_empty_folder_in_the_way_of_products_is_not_replaced_either(order):
    target = Path(order.products) / "t" / NIGHT / "id"
    target.mkdir(parents=True)
    with pytest.raises(AttemptFailedError, match="in the way"):
        publish(order)
    assert list(target.iterdir()) == []
