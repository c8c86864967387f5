"""The core on a real folder: what is handed out rests on what is durable, and the next ast3d knows it."""

import errno
import os

import pytest

from ast3d import core as core_module
from ast3d import effects, records
from ast3d import inputs as i
from ast3d.common.relog.disk import OsDisk
from ast3d.common.relog.relog import Relog
from ast3d.core import Core
from ast3d.policy import Policy
from ast3d.task import Entry, Place, Sighting

BOOT = "11111111-2222-3333-4444-555555555555"
NEXT_BOOT = "99999999-2222-3333-4444-555555555555"
POLICY = Policy(slots=2, attempts=3, backoff_seconds=1.0, backoff_limit_seconds=8.0)


class Node:
    """Cores one after the other on one folder."""

    def __init__(self, folder, segment_bytes=65536):
        self.folder, self.segment_bytes = folder, segment_bytes
        self.now = 100.0
        self.begin()

    def begin(self, boot=BOOT, *, forget=False):
        self.relog = Relog(OsDisk(self.folder), boot, segment_bytes=self.segment_bytes)
        self.core = Core(self.relog)
        self.found = self.core.recover()
        if forget:
            self.core.forget()
        self.give(
            i.DaemonBegan(self.now, boot),
            i.ConfigurationRead(self.now, POLICY, ""),
            *[i.HelperUp(self.now, helper) for helper in ("scout", "porter", "nursery")],
        )
        return self.found

    def give(self, *given):
        for one in (*given, i.Tick(self.now)):
            self.core.take(one)
        return [effect for effect in self.core.settle(self.now) if not isinstance(effect, effects.Log)]

    def accept(self, name):
        entry = Entry(Place("t", name), 2880, 1)
        self.give(i.Sighted(self.now, (Sighting(entry, "regular", "renamed", 0),)))
        doings = self.give(i.Identified(self.now, entry, name + "-id", ""))
        return [effect for effect in doings if isinstance(effect, effects.Start)]

    def end(self, name, attempt=1, **how):
        told = {"night": "", "reason": "broke", "blame": "frame", "retriable": True, "tail": ""} | how
        return self.give(i.WorkerEnded(self.now, name + "-id", attempt, **told))

    def finish(self, name):
        self.accept(name)
        self.end(name, night="n")
        self.give(i.FrameFiled(self.now, name + "-id", "filed", "/archive"))


def fail(_fd):
    """Instead of fsync."""
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


def remembered(core):
    """What must outlive an ast3d."""
    state = core.state
    return {
        "tasks": {task.id: (task.phase, task.attempt, task.failures, task.suspect) for task in state.tasks.values()},
        "done": state.done, "discarded": state.discarded, "paused": state.paused_until, "breaker": state.breaker,
        "causes": state.causes, "torn": state.torn,
    }  # fmt: skip


def test_a_start_is_handed_out_only_when_it_is_durable(node, monkeypatch):
    durable = []
    commit = node.relog.commit
    monkeypatch.setattr(node.relog, "commit", lambda: (commit(), durable.append(node.relog.next_seq - 1)))
    (start,) = node.accept("a")
    assert durable
    assert node.relog.pending == 0
    other = Core(Relog(OsDisk(node.folder), BOOT, segment_bytes=65536))
    other.recover()
    assert other.state.tasks[start.task].phase == "RUNNING"


def test_what_binds_nobody_is_made_durable_together_and_soon(node):
    node.accept("a")
    node.accept("b")
    before = node.relog.syncs
    node.accept("c")  # no slot is free: nothing rests on it yet
    assert node.relog.pending
    assert node.core.next_due(node.now) <= node.now + core_module.GROUP_SECONDS
    assert node.relog.syncs == before
    node.now += core_module.GROUP_SECONDS
    node.give()
    assert node.relog.pending == 0
    assert node.relog.syncs == before + 1


def test_the_next_ast3d_knows_what_this_one_knew(node):
    node.finish("a")
    node.accept("b")
    node.end("b", blame="environment", reason="no space")
    node.accept("c")
    node.give(i.Pause(node.now, 1, 1000.0))
    node.accept("d")
    node.core.commit(node.now)
    before = remembered(node.core)
    assert before["tasks"]["b-id"][1] == 1
    found = node.begin()
    assert found.problems == ()
    assert remembered(node.core) == before


def test_attempts_are_counted_over_restarts(node):
    node.accept("a")
    for attempt in (1, 2):
        node.end("a", attempt)
        node.core.commit(node.now)
        node.begin()
        node.now += 10.0
        node.give()
    node.end("a", 3)
    (task,) = node.core.state.within("DISCARDED")
    assert [failure.attempt for failure in task.failures] == [1, 2, 3]


def test_a_long_history_leaves_a_short_log(tmp_path, monkeypatch):
    monkeypatch.setattr(core_module, "SNAPSHOT_RECORDS", 100)
    node = Node(tmp_path, 16384)
    for n in range(500):
        node.finish(f"f{n}")
    assert len(list(tmp_path.glob("*.relog"))) <= 4
    node.core.commit(node.now)
    found = node.begin()
    assert found.problems == ()
    assert found.records < 300
    assert node.core.state.done == 500


def test_a_snapshot_of_many_tasks_is_written_in_turns_and_is_whole_at_each(tmp_path, monkeypatch):
    monkeypatch.setattr(core_module, "SNAPSHOT_RECORDS", 50)
    monkeypatch.setattr(core_module, "KEPT_AT_ONCE", 3)
    node = Node(tmp_path, 16384)
    node.give(i.Pause(node.now, 1, 1e6))
    for n in range(60):
        node.accept(f"f{n}")
        node.core.commit(node.now)
        other = Core(Relog(OsDisk(tmp_path), BOOT, segment_bytes=16384))
        other.recover()
        assert remembered(other) == remembered(node.core)


def test_what_was_read_is_relied_on_when_it_is_written_anew_and_not_before(node, monkeypatch):
    for name in "abc":
        node.accept(name)
    node.core.commit(node.now)
    monkeypatch.setattr(core_module, "KEPT_AT_ONCE", 1)
    node.begin()
    turns = 1
    while not node.core.firm:
        node.give()
        turns += 1
    assert turns == 3
    assert not (node.folder / "0000000001.relog").exists()
    before = remembered(node.core)
    assert node.begin().problems == ()
    assert remembered(node.core) == before


def test_where_nothing_can_be_written_it_goes_on_with_what_was_read(node, monkeypatch):
    node.accept("a")
    monkeypatch.setattr(os, "fdatasync", fail)
    node.begin()
    assert node.core.firm
    assert node.core.state.relog_problem


def test_of_a_snapshot_that_lost_a_part_nothing_is_taken_for_the_whole(node, monkeypatch):
    node.give(i.Pause(node.now, 1, 1e6))
    for name in ("a", "b", "c"):
        node.accept(name)
    node.core.commit(node.now)
    monkeypatch.setattr(Relog, "forget", lambda _self, _before: None)  # the power fails before the end of it is durable
    node.begin()  # a snapshot of three tasks, written at once
    before = remembered(node.core)
    relog = Relog(OsDisk(node.folder), BOOT, segment_bytes=65536)
    recovered = relog.recover()
    kept = [entry for entry in recovered.entries if entry.type == "Kept"]
    assert len(kept) == 3
    recovered.entries.remove(kept[1])
    monkeypatch.setattr(relog, "recover", lambda: recovered)
    other = Core(relog)
    other.recover()
    assert remembered(other)["tasks"] == before["tasks"]


def test_after_a_reboot_the_next_ast3d_suspects_what_was_running(node):
    node.accept("a")
    node.now = 1.0
    node.begin(NEXT_BOOT)
    told = {"night": "", "reason": "lost", "blame": "environment", "retriable": True, "tail": "", "lost": True}
    node.give(i.WorkerEnded(node.now, "a-id", 1, **told))
    assert node.core.state.tasks["a-id"].suspect


def test_a_relog_that_cannot_be_written_stops_nothing_and_heals(node, monkeypatch):
    node.accept("a")
    fdatasync = os.fdatasync

    monkeypatch.setattr(os, "fdatasync", fail)
    monkeypatch.setattr(os, "fsync", fail)
    assert node.end("a", night="n") == [effects.Archive("a-id", Entry(Place("t", "a"), 2880, 1), "n")]
    assert "Input/output error" in node.core.state.relog_problem
    assert len(node.accept("b")) == 1
    assert node.accept("c") == []
    monkeypatch.undo()
    assert os.fdatasync is fdatasync
    node.now += core_module.RETRY_SECONDS
    node.give()
    assert node.core.state.relog_problem == ""
    assert set(node.core.state.phases["RUNNING"]) == {"b-id", "c-id"}
    other = Core(Relog(OsDisk(node.folder), BOOT, segment_bytes=65536))
    assert other.recover().problems == ()
    assert remembered(other) == remembered(node.core)


def test_records_of_another_version_are_left_out_and_told(node):
    node.accept("a")
    node.relog.append("Teleported", 1, b"{}", node.now)
    node.relog.append(records.Resumed.__name__, 99, b"{}", node.now)
    node.core.commit(node.now)
    found = node.begin()
    assert [problem for problem in found.problems if "2 records of another version" in problem]
    assert node.core.state.tasks["a-id"].phase == "RUNNING"


def test_a_log_that_lost_its_beginning_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(core_module, "SNAPSHOT_RECORDS", 10**6)
    node = Node(tmp_path, 16384)
    for n in range(100):
        node.finish(f"f{n}")
    min(tmp_path.glob("*.relog")).unlink()
    assert [problem for problem in node.begin().problems if "missing" in problem]


def test_what_cannot_be_folded_is_forgotten_and_ast3d_begins_anew(node):
    node.accept("a")
    node.begin(forget=True)
    assert node.core.state.tasks == {}
    node.accept("b")
    node.begin()
    assert list(node.core.state.tasks) == ["b-id"]
