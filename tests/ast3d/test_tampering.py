"""Somebody is at the relog's folder, while ast3d runs or before it starts: nothing is forgotten, or it is told."""

import os
import shutil

import pytest

from ast3d import core as core_module
from ast3d import effects, explain
from ast3d import inputs as i
from ast3d.common.relog.disk import OsDisk
from ast3d.common.relog.relog import Relog
from ast3d.core import Core
from tests.ast3d.test_core import BOOT, Node, remembered


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "relog"


@pytest.fixture
def node(folder):
    return Node(folder)


def live(folder):
    return max(folder.glob("*.relog"))


def cut(folder):
    os.truncate(live(folder), 4096)


def write_over(folder):
    live(folder).write_bytes(b"nothing of ast3d's")


def replace(folder):
    other = folder / "other"
    other.write_bytes(live(folder).read_bytes())
    other.rename(live(folder))


def move_away(folder):
    folder.rename(folder.with_name("relog.old"))


@pytest.mark.parametrize(
    "tamper", [shutil.rmtree, cut, write_over, replace, move_away, lambda folder: live(folder).unlink()]
)
def test_what_is_taken_from_under_a_running_ast3d_is_written_again(node, folder, tamper):
    node.finish("a")
    node.accept("b")
    tamper(folder)
    node.core.take(i.Pause(node.now, 1, 60.0))
    told = [effect.event for effect in node.core.settle(node.now) if isinstance(effect, effects.Log)]
    told += [effect.event for effect in node.core.settle(node.now) if isinstance(effect, effects.Log)]
    assert "relog.moved" in told
    assert node.core.state.relog_problem == ""
    other = Core(Relog(OsDisk(folder), BOOT, segment_bytes=65536))
    other.recover()
    assert remembered(other) == remembered(node.core)
    assert other.state.tasks["b-id"].phase == "RUNNING"


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.mkdir(),
        os.mkfifo,
        lambda path: path.symlink_to("/dev/zero"),
    ],
)
def test_what_is_no_file_is_no_segment(node, folder, make):
    node.accept("a")
    number = int(live(folder).stem) + 1
    make(folder / f"{number:010}.relog")
    for name in "bcd":
        assert node.begin().problems == ()
        assert node.core.state.tasks["a-id"].phase == "RUNNING"
        node.finish(name)


def test_an_empty_segment_may_have_held_records_and_is_told_once(node, folder):
    node.accept("a")
    (folder / f"{int(live(folder).stem) + 1:010}.relog").touch()
    problems = node.begin().problems
    assert any("may be missing" in problem and "at most" in problem for problem in problems)
    assert node.core.state.tasks["a-id"].phase == "RUNNING"
    assert node.begin().problems == ()


def test_a_number_that_no_segment_can_have_does_not_end_the_log(node, folder):
    (folder / "9999999999.relog").touch()
    (folder / "1000000000.relog").touch()
    node.begin()
    node.accept("a")
    assert node.begin().problems == ()
    assert node.core.state.tasks["a-id"].phase == "RUNNING"


def test_a_loss_is_told_until_an_operator_has_seen_it(node, folder):
    node.accept("a")
    with live(folder).open("r+b") as segment:
        segment.seek(4096 + 8)
        segment.write(bytes(200))
    losses = node.begin().losses
    assert losses
    node.give(i.RecordsLost(node.now, losses))
    node.core.commit(node.now)
    assert node.begin().losses == ()
    reasons = explain.status(node.core.state, node.now)["reasons"]
    assert [reason for reason in reasons if losses[0] in reason and "ast3ctl acknowledge" in reason]
    assert effects.Reply(7, {"losses": list(losses)}) in node.give(i.Acknowledge(node.now, 7))
    node.core.commit(node.now)
    node.begin()
    assert node.core.state.losses == ()


def test_a_snapshot_that_loses_its_first_half_is_written_anew(node, folder, monkeypatch):
    monkeypatch.setattr(core_module, "KEPT_AT_ONCE", 1)
    for name in "abc":
        node.accept(name)
    monkeypatch.setattr(core_module, "SNAPSHOT_RECORDS", 1)  # one is due
    for _ in range(2):
        node.now += 1.0
        node.core.settle(node.now)
    live(folder).unlink()
    monkeypatch.setattr(core_module, "SNAPSHOT_RECORDS", 10**6)
    for _ in range(10):
        node.now += 1.0
        node.core.settle(node.now)
    other = Core(Relog(OsDisk(folder), BOOT, segment_bytes=65536))
    other.recover()
    assert remembered(other) == remembered(node.core)


def test_what_was_only_being_written_at_a_power_cut_is_said_and_is_no_loss(node, folder):
    node.accept("a")
    node.core.take(i.Pause(node.now, 1, 60.0))
    with live(folder).open("rb") as segment:
        before = segment.read()
    node.core.commit(node.now)
    with live(folder).open("rb") as segment:
        after = segment.read()
    assert before != after
    live(folder).write_bytes(after[:4096] + before[4096:])  # the mark had reached the disk, the record had not
    found = node.begin()
    assert found.problems
    assert found.losses == ()
    assert node.begin().losses == ()


def test_what_was_acknowledged_before_that_is_a_loss(node, folder):
    with live(folder).open("rb") as segment:
        before = segment.read()
    node.accept("a")
    node.core.take(i.Pause(node.now, 1, 60.0))
    node.core.commit(node.now)
    with live(folder).open("rb") as segment:
        after = segment.read()
    live(folder).write_bytes(after[:4096] + before[4096:])
    assert node.begin().losses
