"""Which telescopes a node works for, over histories of a simulated node."""

import random
from dataclasses import dataclass, replace

import pytest

from ast3d import claims, effects, explain, records
from ast3d import inputs as i
from ast3d.claim import Claim
from ast3d.claim_records import Owned, Released
from ast3d.common.relog.disk import OsDisk
from ast3d.common.relog.relog import Relog
from ast3d.core import Core
from ast3d.decide import decide, next_due
from ast3d.fold import apply
from ast3d.policy import Policy
from ast3d.state import State
from ast3d.task import Entry, Place, Sighting

BOOT = "5e3d8a3c-6f0e-4d7a-9a59-0d6a3a1d2f11"
HELPERS = ("scout", "porter", "nursery")
POLICY = Policy(
    slots=2, attempts=3, backoff_seconds=1.0, backoff_limit_seconds=8.0, node="a", fingerprint="f",
    telescopes=frozenset({"ta", "tb", "tc"}), home=frozenset({"ta"}), fingerprints={"ta": "fa", "tb": "fb", "tc": "fc"},
)  # fmt: skip


def own(epoch=1, token=10):
    return Claim(epoch, token, own=True)


def foreign(deadline, epoch=1, token=20):
    return Claim(epoch, token, own=False, deadline=deadline)


@dataclass
class Node:
    """A state that is given inputs, and the time."""

    state: State
    now: float = 1000.0

    def give(self, *given, tick=True):
        """-> the effects."""
        done = []
        for one in (*given, *([i.Tick(self.now)] if tick else [])):
            facts, doings = decide(self.state, one)
            for fact in facts:
                apply(self.state, fact)
            done += doings
        return done

    def assign(self, **told):
        """-> the effects, and the answer."""
        done = self.give(i.Assigned(self.now, 7, BOOT, told))
        (reply,) = [effect for effect in done if isinstance(effect, effects.Reply)]
        assert not reply.error
        return done, reply.result

    def frame(self, telescope, name="a.fits"):
        """A frame arrives; -> what starts."""
        entry = Entry(Place(telescope, name), 2880, 1)
        self.give(i.Sighted(self.now, (Sighting(entry, "regular", "renamed", 0),)))
        return starts(self.give(i.Identified(self.now, entry, f"{telescope}-{name}", "")))

    def end(self, start, **how):
        told = {"night": "", "reason": "broke", "blame": "frame", "retriable": True, "tail": ""} | how
        return self.give(i.WorkerEnded(self.now, start.task, start.attempt, **told))


def starts(doings):
    return [effect for effect in doings if isinstance(effect, effects.Start)]


def logged(doings):
    return [(effect.level, effect.event) for effect in doings if isinstance(effect, effects.Log)]


@pytest.fixture
def node():
    """It has begun, and nobody has spoken."""
    return begin(State())


def begin(state):
    """An ast3d that knows this."""
    one = Node(state)
    one.give(i.ConfigurationRead(one.now, POLICY, ""), i.DaemonBegan(one.now, BOOT))
    one.give(*(i.HelperUp(one.now, helper) for helper in HELPERS))
    return one


def test_before_anybody_speaks_it_works_for_those_that_the_configuration_says_are_its_own(node):
    assert claims.held(node.state) == {"ta"}
    assert node.frame("ta")[0].claim == Claim(0, 0, own=True)
    assert node.frame("tb") == []
    assert node.state.waiting == {}


def test_it_works_for_what_it_is_told_and_the_scout_looks_there(node):
    done, _ = node.assign(ta=own(), tb=foreign(1005.0))
    assert effects.Watch() in done
    assert node.frame("tb")[0].claim == foreign(1005.0)
    assert node.frame("tc") == []
    done, _ = node.assign(ta=own(), tb=foreign(1006.0))
    assert effects.Watch() not in done
    assert logged(done) == []


def test_own_work_comes_before_foreign(node):
    node.assign(ta=own(), tb=foreign(5000.0))
    busy = [*node.frame("tb", "1"), *node.frame("tb", "2")]
    for telescope, name in (("tb", "3"), ("tb", "4"), ("ta", "5")):
        assert node.frame(telescope, name) == []
    assert [start.task for start in starts(node.end(busy[0], night="n"))] == ["ta-5"]
    assert [start.task for start in starts(node.end(busy[1], night="n"))] == ["tb-3"]


def test_foreign_work_that_failed_waits_for_own_that_is_new(node):
    node.state.policy = replace(POLICY, slots=1)
    node.assign(ta=own(), tb=foreign(5000.0))
    (busy,) = node.frame("tb", "1")
    node.end(busy)
    (busy,) = node.frame("tb", "2")
    node.frame("ta", "3")
    node.now += 10
    assert [start.task for start in starts(node.end(busy, night="n"))] == ["ta-3"]


def test_a_probe_too_is_of_the_own_telescope_first(node):
    node.assign(ta=own(), tb=foreign(1e6))
    for name in ("1", "2", "3"):
        (start,) = node.frame("tb", name)
        node.end(start, blame="environment", reason="no space")
    assert node.state.breaker
    node.frame("ta", "4")
    node.now += 100
    assert [start.task for start in starts(node.give())] == ["ta-4"]


def test_at_the_deadline_nothing_starts_and_what_runs_goes_on(node):
    node.assign(ta=own(), tb=foreign(1005.0))
    (running,) = node.frame("tb", "1")
    node.state.policy = replace(POLICY, slots=1)
    assert node.frame("tb", "2") == []
    assert next_due(node.state, node.now) == 1005.0
    node.now = 1005.0
    done = node.give()
    assert logged(done) == [("ERROR", "telescope.parked")]
    assert logged(node.give()) == []
    done = node.end(running, night="n")
    assert starts(done) == []
    assert effects.Archive(running.task, running.entry, "n") in done
    assert "parked" in " ".join(explain.why(node.state, "tb-2", node.now)["story"])
    done, answer = node.assign(ta=own(), tb=foreign(1010.0))
    assert ("INFO", "telescope.resumed") in logged(done)
    assert [start.task for start in starts(done)] == ["tb-2"]
    assert answer["waiting"] == {"ta": 0, "tb": 1}


def test_a_deadline_that_has_passed_when_it_is_told_parks_at_once(node):
    node.assign(ta=own(), tb=foreign(900.0))
    assert node.frame("tb") == []
    assert node.state.claims.parked == {"tb"}


def test_the_frames_of_a_telescope_that_leaves_are_let_go_quietly_and_what_runs_is_filed(node):
    node.assign(ta=own(), tb=foreign(5000.0))
    running = [*node.frame("tb", "1"), *node.frame("tb", "2")]
    node.frame("tb", "3")
    failed = node.end(running[0], blame="environment", reason="no space")
    assert failed
    waits = Entry(Place("tb", "listed"), 2880, 1)
    node.give(i.Sighted(node.now, (Sighting(waits, "regular", "listed", 0),)))
    done, answer = node.assign(ta=own())
    assert {level for level, _ in logged(done)} == {"INFO"}
    assert effects.Watch() in done
    running = [node.state.tasks[task] for task in node.state.phases["RUNNING"]]
    assert {task.entry.place.telescope for task in running} == {"tb"}
    assert answer["running"] == {"ta": 0, "tb": len(running)}
    assert answer["waiting"] == {"ta": 0, "tb": 0}
    assert set(node.state.tasks) == {task.id for task in running}
    assert node.state.waiting == {}
    assert logged(node.give(i.Gone(node.now, tuple(Place("tb", name) for name in ("1", "3", "listed"))))) == []
    for task in running:
        start = effects.Start(task.id, task.entry, task.attempt)
        assert effects.Archive(task.id, task.entry, "n") in node.end(start, night="n")


def test_what_fails_after_its_telescope_left_is_let_go_too(node):
    node.assign(ta=own(), tb=foreign(5000.0))
    (start,) = node.frame("tb")
    node.assign(ta=own())
    node.end(start, blame="environment", reason="no space")
    assert node.state.tasks == {}


def test_the_last_failure_by_the_frames_fault_is_filed_though_its_telescope_left(node):
    node.assign(ta=own(), tb=foreign(5000.0))
    (start,) = node.frame("tb")
    node.assign(ta=own())
    assert any(isinstance(effect, effects.Quarantine) for effect in node.end(start, retriable=False))


def test_a_claim_for_what_is_not_configured_waits_for_that(node):
    done, _ = node.assign(ta=own(), td=foreign(5000.0))
    assert claims.held(node.state) == {"ta"}
    more = replace(POLICY, telescopes=POLICY.telescopes | {"td"}, fingerprints=POLICY.fingerprints | {"td": "fd"})
    done = node.give(i.ConfigurationRead(node.now, more, ""))
    assert effects.Watch() in done
    assert claims.held(node.state) == {"ta", "td"}


def test_a_telescope_that_is_configured_or_not_any_more_disturbs_no_other(node):
    node.assign(ta=own(), tb=foreign(5000.0))
    node.state.policy = replace(POLICY, slots=1)
    (start,) = node.frame("ta")
    node.frame("ta", "waits")
    node.frame("tb")
    less = replace(POLICY, telescopes=frozenset({"ta"}), fingerprints={"ta": "fa"})
    done = node.give(i.ConfigurationRead(node.now, less, ""))
    assert not any(isinstance(effect, effects.Reconsider) for effect in done)
    assert set(node.state.tasks) == {start.task, "ta-waits"}
    done = node.give(i.ConfigurationRead(node.now, POLICY, ""))
    assert not any(isinstance(effect, effects.Reconsider) for effect in done)


def test_another_template_has_the_quarantine_looked_through_for_what_is_worked_for(node):
    node.assign(ta=own(), tb=foreign(1.0))
    other = replace(POLICY, fingerprints=POLICY.fingerprints | {"ta": "new"})
    (order,) = [e for e in node.give(i.ConfigurationRead(node.now, other, "")) if isinstance(e, effects.Reconsider)]
    assert order.telescopes == {"ta": "new"}


@pytest.mark.parametrize("wrong", ["boot", "no node"])
def test_what_cannot_be_meant_is_refused(node, wrong):
    if wrong == "no node":
        node.give(i.ConfigurationRead(node.now, replace(POLICY, node=""), ""))
    (reply,) = [
        e for e in node.give(i.Assigned(node.now, 7, BOOT if wrong != "boot" else "other", {})) if hasattr(e, "error")
    ]
    assert reply.error.startswith("assign: refused, ")
    assert node.state.claims.heard is False


# --- fenced


def test_a_fenced_attempt_counts_for_nothing_and_its_claim_rests_until_a_greater_one_comes(node):
    node.assign(ta=own(), tb=foreign(5000.0, token=20))
    (start,) = node.frame("tb")
    done = node.end(start, blame="environment", reason="fenced", fenced=(1, 20))
    assert effects.Sweep(start.task, 1) in done
    assert logged(done) == [("ERROR", "telescope.fenced")]
    assert starts(done) == []
    task = node.state.tasks[start.task]
    assert (task.phase, task.failures) == ("READY", ())
    assert "fenced" in " ".join(explain.why(node.state, start.task, node.now)["story"])
    assert "tb" in " ".join(explain.status(node.state, node.now)["reasons"])
    _, answer = node.assign(ta=own(), tb=foreign(5001.0, token=20))
    assert answer["fenced"] == {"tb": [1, 20]}
    assert (answer["served"], answer["ill"]) == (0, "")
    done, answer = node.assign(ta=own(), tb=foreign(5001.0, token=21))
    assert answer["fenced"] == {}
    assert [start.task for start in starts(done)] == ["tb-a.fits"]


def test_work_under_an_older_claim_that_is_fenced_starts_again_under_the_one_of_today(node):
    node.assign(ta=own(), tb=foreign(5000.0, token=20))
    (start,) = node.frame("tb")
    node.assign(ta=own(), tb=foreign(5000.0, token=30))
    (again,) = starts(node.end(start, blame="environment", fenced=(1, 20)))
    assert again.claim == foreign(5000.0, token=30)
    assert node.state.claims.refused == {}


def test_the_second_worker_that_is_fenced_says_nothing_more(node):
    node.assign(ta=own())
    first, second = [*node.frame("ta", "1"), *node.frame("ta", "2")]
    assert logged(node.end(first, fenced=(1, 10))) == [("ERROR", "telescope.fenced")]
    assert logged(node.end(second, fenced=(1, 10))) == []
    assert explain.status(node.state, node.now)["telescopes"]["ta"]["state"] == "fenced"


def test_a_fenced_frame_of_a_telescope_that_left_is_let_go(node):
    node.assign(ta=own(), tb=foreign(5000.0))
    (start,) = node.frame("tb")
    node.assign(ta=own())
    assert logged(node.end(start, fenced=(1, 20))) == []
    assert node.state.tasks == {}


# --- what the agent learns


def test_served_counts_what_the_machine_is_not_to_blame_for(node):
    node.assign(ta=own())
    for count, (how, ill) in enumerate([
        ({"night": "n"}, ""),
        ({"retriable": False}, ""),
        ({"night": "n", "found": True}, ""),
        ({"blame": "environment", "reason": "no space"}, "no space"),
        ({"night": "n"}, ""),
    ]):  # fmt: skip
        (start,) = node.frame("ta", str(count))
        node.end(start, **how)
        _, answer = node.assign(ta=own())
        assert answer["ill"] == ill
        assert answer["served"] == (1, 2, 2, 2, 3)[count]


def test_an_unwritten_relog_is_said(node):
    node.give(i.RelogChanged(node.now, "no space"))
    assert node.assign(ta=own())[1]["broken"] == "no space"
    node.give(i.RelogChanged(node.now, ""))
    assert node.assign(ta=own())[1]["broken"] == ""


def test_what_waits_is_counted_by_telescope_and_what_is_only_seen_is_not(node):
    node.assign(ta=own(), tb=foreign(1.0))
    node.frame("tb")
    node.now += 100
    _, answer = node.assign(ta=own(), tb=foreign(1.0))
    assert answer["waiting"] == {"ta": 0, "tb": 1}


# --- frames that another node finished


@pytest.mark.parametrize(("where", "level"), [("2026-06-20", "INFO"), ("quarantine", "INFO"), ("", "ERROR")])
def test_a_frame_that_left_the_pool_is_known_by_its_products_or_missed(node, where, level):
    node.state.policy = replace(POLICY, slots=0)
    node.assign(ta=own())
    node.frame("ta")
    done = node.give(i.Gone(node.now, (Place("ta", "a.fits"),)))
    reason = "the frame left the pool unprocessed"
    assert done == [effects.Seek("ta-a.fits", Place("ta", "a.fits"), reason)]
    assert node.state.tasks == {}
    assert logged(node.give(i.Sought(node.now, "ta-a.fits", where, reason)))[0][0] == level


def test_a_worker_that_found_its_frame_gone_has_it_looked_for(node):
    node.assign(ta=own())
    (start,) = node.frame("ta")
    done = node.end(start, changed=True, reason="the frame has left the pool")
    assert effects.Seek(start.task, start.entry.place, "the frame has left the pool") in done
    assert logged(done) == []


# --- without ha.node


def test_where_there_is_only_this_node_nothing_of_it_exists():
    node = Node(State(policy=Policy(), helpers=set(HELPERS)))
    before = node.state.claims
    (start,) = node.frame("anything")
    assert start.claim is None
    node.end(start, night="n")
    node.give(i.ConfigurationRead(node.now, Policy(telescopes=frozenset({"x"}), fingerprints={"x": "f"}), ""))
    assert node.state.claims == before
    assert "telescopes" not in explain.status(node.state, node.now)


# --- what outlives ast3d


@pytest.fixture
def relog(tmp_path):
    return lambda: Relog(OsDisk(tmp_path / "relog"), BOOT, segment_bytes=65536)


def begun(relog, policy=POLICY):
    """The next ast3d."""
    core = Core(relog())
    core.recover()
    core.take(i.ConfigurationRead(1.0, policy, ""))
    core.take(i.DaemonBegan(1.0, BOOT))
    core.settle(1.0)
    return core


def test_the_last_assignment_rules_at_the_next_start_and_foreign_work_waits_for_the_agents_word(relog):
    core = begun(relog)
    core.take(i.Assigned(2.0, 1, BOOT, {"tb": own(3, 33), "ta": foreign(1e9)}))
    core.settle(2.0)
    core.close()
    for _ in range(2):  # the second time from the snapshot
        core = begun(relog)
        assert core.state.claims.held == {"tb": own(3, 33)}
        assert not core.state.claims.heard
        for now in range(3, 10):
            core.settle(now)
        core.close()


def test_an_assignment_to_nothing_rules_too(relog):
    core = begun(relog)
    core.take(i.Assigned(2.0, 1, BOOT, {}))
    core.settle(2.0)
    core.close()
    assert begun(relog).state.claims.held == {}


def test_the_assignment_of_a_node_of_another_name_says_nothing(relog):
    core = begun(relog)
    core.take(i.Assigned(2.0, 1, BOOT, {"tb": own(3, 33)}))
    core.settle(2.0)
    core.close()
    assert begun(relog, replace(POLICY, node="b", home=frozenset({"tc"}))).state.claims.held == {"tc": own(0, 0)}


def test_the_assignment_is_durable_before_the_agent_has_its_answer(relog, monkeypatch):
    core = begun(relog)
    core.take(i.Assigned(2.0, 1, BOOT, {"tb": own(3, 33)}))
    monkeypatch.setattr(Core, "close", lambda _core: None)
    assert any(isinstance(effect, effects.Reply) for effect in core.settle(2.0))
    assert begun(relog).state.claims.held == {"tb": own(3, 33)}


def test_what_waited_for_a_foreign_telescope_stays_until_the_agent_has_spoken():
    entry = Entry(Place("tb", "a.fits"), 2880, 1)
    node = begin(apply(State(), records.Accepted(1.0, "tb-1", entry)))
    assert starts(node.give()) == []
    assert "does not work for tb until" in " ".join(explain.why(node.state, "tb-1", node.now)["story"])
    assert logged(node.give(i.Gone(node.now, (entry.place,)))) == []
    assert set(node.state.tasks) == {"tb-1"}
    done, _ = node.assign(ta=own(), tb=foreign(5000.0))
    assert [start.task for start in starts(done)] == ["tb-1"]
    node = begin(apply(State(), records.Accepted(1.0, "tb-1", entry)))
    node.assign(ta=own())
    assert node.state.tasks == {}


@pytest.mark.parametrize("seed", range(150))
def test_in_any_history_nothing_starts_without_a_claim_in_force_and_the_log_tells_what_is_known(seed):
    rng = random.Random(seed)
    node = begin(State())
    durable = [records.Began(node.now, BOOT)]
    running: list[effects.Start] = []
    token = 10
    for step in range(200):
        node.now += rng.choice((0.0, 0.5, 3.0))
        token += rng.random() < 0.1
        told = {
            name: own(1, token) if name == "ta" else foreign(node.now + rng.uniform(-1, 6), token=token)
            for name in ("ta", "tb", "tc", "td")
            if rng.random() < 0.7
        }
        entry = Entry(Place(rng.choice(("ta", "tb", "tc")), str(step)), 2880, 1)
        given: list[i.Input] = [i.Tick(node.now)]
        if rng.random() < 0.2:
            given = [i.Assigned(node.now, 1, BOOT, told)]
        elif rng.random() < 0.3:
            given = [i.Sighted(node.now, (Sighting(entry, "regular", "renamed", 0),))]
            given.append(i.Identified(node.now, entry, f"{entry.place.telescope}-{step}", ""))
        elif running and rng.random() < 0.6:
            start = running.pop(rng.randrange(len(running)))
            how = rng.choice((
                {"night": "n"}, {"night": "n", "found": True}, {"blame": "environment"}, {}, {"changed": True},
                {"fenced": start.claim.rank},
            ))  # fmt: skip
            told = {"night": "", "reason": "broke", "blame": "frame", "retriable": True, "tail": ""} | how
            given = [i.WorkerEnded(node.now, start.task, start.attempt, **told)]
        for one in (*given, i.Tick(node.now)):
            facts, doings = decide(node.state, one)
            for start in starts(doings):
                claim = node.state.claims.held[start.entry.place.telescope]
                assert claim.own or claim.deadline > node.now
                assert claim.rank > node.state.claims.refused.get(start.entry.place.telescope, (-1, -1))
                assert start.claim == claim
                running.append(start)
            for fact in facts:
                apply(node.state, fact)
            durable += [fact for fact in facts if not isinstance(fact, records.Volatile)]
        if node.state.claims.heard:
            held = claims.held(node.state)
            assert all(task.entry.place.telescope in held for task in node.state.within("READY", "FAILED"))
            assert all(place.telescope in held for place in node.state.waiting)
    again = State()
    for fact in durable:
        apply(again, fact)
    assert again.claims.assignment == node.state.claims.assignment
    assert {task.id: task.phase for task in again.tasks.values()} == {
        task.id: task.phase for task in node.state.tasks.values()
    }
    assert any(isinstance(fact, Owned) for fact in durable)
    assert any(isinstance(fact, Released) for fact in durable)
