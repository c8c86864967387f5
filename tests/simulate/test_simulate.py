"""Simulated histories, the short form; `python -m tests.simulate --histories 100000` is the long one."""

from dataclasses import replace

import pytest

from ast3d import attempts, core, decide, effects, halt, intake, starts
from ast3d import records as r
from ast3d.common.relog.relog import Relog
from tests.simulate import disk, node, world
from tests.simulate.campaign import campaign, seeds
from tests.simulate.faults import HALTING
from tests.simulate.history import run

HISTORIES = 2000
FIRST = 1

# Seeds of histories in which something was wrong once, and what it was.
FOUND = {
    101: "a worker whose start was forgotten was not adopted; the porter took its lock, and a second one was let in",
    184: "the same, and the second one had the same attempt's number",
    160: "frames that always fail kept the breaker open, and nothing else was ever probed",
    528: "a snapshot that a power cut had torn was taken for whole: tasks and their attempts were forgotten",
    1000582: "a move that a killed porter had ended was undone by a power cut: the frame was tried anew",
    2001489: "a suspect whose failure was forgotten did not run alone",
    3006043: "a worker that ran was not adopted, for a later attempt was remembered: it held its frame for ever",
    4037063: "a frame was brought back before its leaving was told: it lay in the pool unseen",
    10012970: "what an operator has ended counted against the frame, where ast3d had ended before it sent the signal",
    3848: "a frame had grown in quarantine, and the porter ended before it brought it back: nobody asked again",
}


@pytest.mark.timeout(600)
def test_no_history_violates_anything_and_every_fault_strikes_in_every_state():
    tally = campaign(seeds(FIRST, HISTORIES), 2, print)
    print("\n".join(tally.lines()))
    assert tally.violations == {}
    assert tally.empty() == []
    assert tally.histories == HISTORIES
    assert tally.least >= 20
    assert tally.in_flight > tally.injected / 2


@pytest.mark.parametrize("seed", FOUND, ids=str)
def test_what_was_wrong_once_is_right(seed):
    assert run(seed).violation == ""


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_seed_is_a_history(seed):
    verdict, again = run(seed), run(seed)
    assert verdict.history == again.history
    assert verdict.digest == again.digest != run(seed + 1).digest


def first_violation(seeds=range(1, 300)):
    """What the first history says that goes wrong; empty if none does."""
    return next((violation for seed in seeds if (violation := run(seed).violation)), "")


class TestTheCheckerSees:
    """Each of these breaks ast3d, or the disk's promise, on purpose."""

    def test_effects_before_their_records_are_durable(self, monkeypatch):
        monkeypatch.setattr(core.Core, "_due", lambda *_: False)
        assert "nothing durable says" in first_violation()

    def test_a_commit_that_does_not_sync(self, monkeypatch):
        monkeypatch.setattr(disk.SimDisk, "sync", lambda *_: None)
        assert "are gone" in first_violation()

    def test_an_end_before_the_workers_have_ended(self, monkeypatch):
        monkeypatch.setattr(halt, "go_on", lambda *_: iter([effects.End()]))
        assert "it ends and" in first_violation(range(HALTING, HALTING + 50))

    def test_a_start_after_the_end_was_asked_for(self, monkeypatch):
        real = decide._start_workers
        monkeypatch.setattr(decide, "_start_workers", lambda state, now: real(replace(state, halting=None), now))
        assert "although it is to end" in first_violation(range(HALTING, HALTING + 50))

    def test_an_attempt_that_is_not_counted(self, monkeypatch):
        monkeypatch.setattr(attempts.Failure, "counts", property(lambda _: False))
        assert first_violation()

    def test_a_fold_that_forgets(self, monkeypatch):
        def forget(state, record):
            return (
                real(state, replace(record, failure=replace(record.failure, reason="")))
                if failed(record)
                else real(state, record)
            )

        def failed(record):
            return isinstance(record, r.Failed)

        real = core.apply
        monkeypatch.setattr(core, "apply", forget)
        assert "became" in first_violation()

    def test_a_snapshot_that_leaves_something_out(self, monkeypatch):
        monkeypatch.setattr(core, "PHASES", ("READY", "RUNNING", "DONE", "DISCARDED"))
        assert "a snapshot tells something else" in first_violation()

    def test_forgetting_too_much(self, monkeypatch):
        real = Relog.forget
        monkeypatch.setattr(Relog, "forget", lambda self, before: real(self, before + 30))
        assert "are gone" in first_violation()

    def test_the_machine_blamed_on_the_frame(self, monkeypatch):
        monkeypatch.setattr(attempts, "ALONE_AT_MOST", 1)
        assert "is given up after 1 power cuts alone" in first_violation()

    def test_one_worker_too_many(self, monkeypatch):
        def eager(state, now):
            return [*real(state, now)] or list(state.within("READY"))[:1]

        real = starts.next_starts
        monkeypatch.setattr(starts, "next_starts", eager)
        assert "at work" in first_violation()

    def test_a_frame_that_is_never_looked_at(self, monkeypatch):
        monkeypatch.setattr(intake, "due", lambda *_: [])
        assert "no end" in first_violation(range(1, 3))

    def test_a_lost_start_record(self, monkeypatch):
        def lossy(self, record, now):
            if not isinstance(record, r.Suspected):
                real(self, record, now)

        real = core.Core._append
        monkeypatch.setattr(core.Core, "_append", lossy)
        assert first_violation()

    def test_workers_that_are_not_found_and_a_lock_that_locks_nobody(self, monkeypatch):
        class Useless(dict):
            def setdefault(self, _task, lock):
                return lock

        begin = world.World.__init__
        monkeypatch.setattr(
            world.World, "__init__", lambda self, *how: (begin(self, *how), setattr(self, "locks", Useless()))[0]
        )
        monkeypatch.setattr(node.Node, "running", lambda _self: [])
        assert "two workers are at" in first_violation()
