"""A stop on purpose: what is decided until ast3d ends."""

import pytest

from ast3d import effects, explain, records
from ast3d import inputs as i
from ast3d.attempts import ENDED_BY_OPERATOR
from ast3d.decide import next_due
from ast3d.fold import apply
from ast3d.halt import GIVE_UP_SECONDS, KILL_SECONDS
from ast3d.state import State
from tests.ast3d.test_decide import POLICY, Node, entry_of, sighted

END = effects.End()


def stop(node, mode):
    """-> the effects but the answer, which is checked."""
    running = len(node.state.phases["RUNNING"])
    answer, *rest = node.give(i.Stop(node.now, 7, mode))
    assert answer == effects.Reply(7, {"mode": mode, "running": running})
    return rest


def of(doings, kind):
    return [effect for effect in doings if isinstance(effect, kind)]


def accepted(node, name):
    """A frame that waits, for nothing starts."""
    sighted(node, entry_of(name), "renamed")
    return node.give(i.Identified(node.now, entry_of(name), f"{name}-id", ""))


@pytest.mark.parametrize("mode", ["now", "drain", "kill"])
def test_idle_it_ends_at_once(mode):
    assert stop(Node(), mode) == [END]


def test_now_it_ends_and_the_workers_stay():
    node = Node()
    node.accept()
    assert stop(node, "now") == [END]
    assert of(node.doings, effects.Kill) == []


def test_draining_it_waits_for_the_workers_and_starts_nothing():
    node = Node()
    start = node.accept("a.fits")
    assert stop(node, "drain") == []
    assert of(accepted(node, "b.fits"), effects.Start) == []
    assert explain.status(node.state, node.now)["state"] == "DRAINING"
    assert node.later(3600) != [END]
    doings = node.end(start, night="2026-06-20")
    assert END in doings
    assert of(doings, effects.Start) == []
    assert list(node.state.phases["READY"]) == ["b.fits-id"]


def test_draining_the_limits_stand():
    node = Node()
    node.accept()
    stop(node, "drain")
    (kill,) = of(node.later(POLICY.soft_seconds), effects.Kill)
    assert kill.signal == "TERM"


def test_killing_it_asks_then_kills_then_ends():
    node = Node()
    start = node.accept()
    assert stop(node, "kill") == [effects.Kill(start.task, 1, 4242, "TERM")]
    assert next_due(node.state, node.now) == node.now + KILL_SECONDS
    assert node.later(KILL_SECONDS - 0.01) == []
    assert node.later(0.01) == [effects.Kill(start.task, 1, 4242, "KILL")]
    assert END in node.end(start, reason="killed", blame="environment")


def test_killing_a_worker_that_had_been_asked_to_end_before():
    node = Node()
    start = node.accept()
    node.later(POLICY.soft_seconds)
    assert stop(node, "kill") == []
    assert node.later(KILL_SECONDS) == [effects.Kill(start.task, 1, 4242, "KILL")]
    node.end(start, reason="killed", blame="environment")
    (failure,) = node.state.tasks[start.task].failures
    assert failure.counts  # for the time that it had taken before


def test_a_worker_that_comes_up_while_all_are_killed_is_killed_too():
    node = Node()
    start = node.accept()
    apply(node.state, records.Spawned(start.task, 1, 0))
    assert stop(node, "kill") == []
    assert node.give(i.WorkerSpawned(node.now, start.task, 1, 99)) == [effects.Kill(start.task, 1, 99, "TERM")]


def test_what_cannot_be_killed_is_left():
    node = Node()
    node.accept()
    stop(node, "kill")
    node.later(KILL_SECONDS)
    assert node.later(GIVE_UP_SECONDS - KILL_SECONDS - 0.01) == []
    assert node.later(0.01) == [END]


def test_no_frame_is_blamed_however_often_it_is_killed():
    node = Node()
    start = node.accept()
    for attempt in range(1, 10):
        stop(node, "kill")
        node.end(start, reason="was asked to end", blame="frame")
        task = node.state.tasks[start.task]
        assert (task.phase, task.suspect, task.ready_at) == ("FAILED", False, node.now)
        assert [failure.counts for failure in task.failures] == [False] * attempt
        assert node.state.breaker is None
        (start,) = of(node.give(i.DaemonBegan(node.now, "boot"), *up()), effects.Start)
        node.give(i.WorkerSpawned(node.now, start.task, start.attempt, 4242))


def up():
    return [i.HelperUp(0.0, name) for name in ("scout", "porter", "nursery")]


def test_it_is_not_blamed_when_the_next_ast3d_learns_how_it_ended():
    node = Node()
    start = node.accept()
    stop(node, "kill")
    node.give(i.DaemonBegan(node.now, "boot"))
    node.end(start, reason="was asked to end", blame="frame")
    (failure,) = node.state.tasks[start.task].failures
    assert (failure.reason, failure.counts) == (ENDED_BY_OPERATOR, False)


def test_products_that_were_published_just_then_are_a_success():
    node = Node()
    start = node.accept()
    stop(node, "kill")
    node.end(start, night="2026-06-20")
    assert node.state.tasks[start.task].phase == "DONE"


def test_the_machines_own_failures_still_make_a_suspect():
    node = Node()
    start = node.accept()
    stop(node, "kill")
    node.end(start, reason="was asked to end")
    (start,) = of(node.give(i.DaemonBegan(node.now, "boot"), *up()), effects.Start)
    for attempt in range(POLICY.attempts):
        assert not node.state.tasks[start.task].suspect
        node.give(i.WorkerSpawned(node.now, start.task, start.attempt, 4242))
        node.end(start, reason=f"no space {'abc'[attempt]}", blame="environment")
        (start,) = of(node.later(POLICY.backoff_limit_seconds), effects.Start)
    assert node.state.tasks[start.task].suspect


def test_a_later_word_counts():
    node = Node()
    start = node.accept()
    assert stop(node, "drain") == []
    assert stop(node, "kill") == [effects.Kill(start.task, 1, 4242, "TERM")]
    assert stop(node, "now") == [END]


def test_the_next_ast3d_starts_work_again():
    node = Node()
    start = node.accept()
    stop(node, "drain")
    node.end(start, night="")
    node.give(i.DaemonBegan(node.now, "boot"))
    assert node.state.halting is None
    assert of(node.give(*up()), effects.Start)


def test_it_says_why_nothing_starts():
    node = Node()
    node.accept("a.fits")
    stop(node, "drain")
    accepted(node, "b.fits")
    assert any("when its 1 workers" in reason for reason in explain.status(node.state, node.now)["reasons"])
    assert "asked ast3d to end" in explain.why(node.state, "b.fits-id", node.now)["story"][-1]


def test_nothing_is_halting_before_anybody_asked():
    assert State().halting is None
