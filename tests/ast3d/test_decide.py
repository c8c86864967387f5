"""Decisions, over histories of a simulated node."""

import random
from dataclasses import dataclass, field, replace

import pytest

from ast3d import effects, explain, records
from ast3d import inputs as i
from ast3d.decide import decide, next_due
from ast3d.fold import apply
from ast3d.policy import Policy
from ast3d.state import State
from ast3d.task import Entry, Place, Sighting

POLICY = Policy(slots=2, attempts=3, backoff_seconds=1.0, backoff_limit_seconds=8.0, soft_seconds=50, hard_seconds=60)


@dataclass
class Node:
    """A state, and what was decided so far."""

    now: float = 100.0
    state: State = field(default_factory=lambda: State(policy=POLICY, helpers={"scout", "porter", "nursery"}))
    doings: list[effects.Effect] = field(default_factory=list)
    facts: list[records.Record] = field(default_factory=list)

    def give(self, *given: i.Input) -> list[effects.Effect]:
        """Inputs and then a Tick; -> the effects but log lines."""
        done = []
        for one in (*given, i.Tick(self.now)):
            facts, doings = decide(self.state, one)
            for fact in facts:
                apply(self.state, fact)
            self.facts += facts
            done += doings
        self.doings += done
        return [effect for effect in done if not isinstance(effect, effects.Log)]

    def later(self, seconds: float) -> list[effects.Effect]:
        self.now += seconds
        return self.give()

    def accept(self, name: str = "a.fits") -> effects.Start:
        """A frame that is running when this returns."""
        entry = Entry(Place("t", name), 2880, 1)
        self.give(i.Sighted(self.now, (Sighting(entry, "regular", "renamed", 0),)))
        doings = self.give(i.Identified(self.now, entry, name + "-id", ""))
        (start,) = [effect for effect in doings if isinstance(effect, effects.Start)]
        self.give(i.WorkerSpawned(self.now, start.task, start.attempt, 4242))
        return start

    def end(self, start: effects.Start, **how: object) -> list[effects.Effect]:
        told: dict = {"night": "", "reason": "broke", "blame": "frame", "retriable": True, "tail": ""} | how
        return self.give(i.WorkerEnded(self.now, start.task, start.attempt, **told))


def entry_of(name: str = "a.fits", size: int = 2880) -> Entry:
    return Entry(Place("t", name), size, 1)


def sighted(
    node: Node, entry: Entry, arrival: str = "listed", needs: int = 0, kind: str = "regular"
) -> list[effects.Effect]:
    return node.give(i.Sighted(node.now, (Sighting(entry, kind, arrival, needs),)))


def test_a_listed_file_is_identified_when_it_has_settled_and_not_before():
    node = Node()
    assert sighted(node, entry_of()) == []
    assert next_due(node.state, node.now) == node.now + POLICY.settle_seconds
    assert node.later(POLICY.settle_seconds - 0.01) == []
    assert node.later(0.01) == [effects.Identify(entry_of())]


@pytest.mark.parametrize("arrival", ["renamed", "done"])
def test_a_renamed_file_and_one_with_a_sidecar_are_not_waited_for(arrival):
    assert sighted(Node(), entry_of(), arrival) == [effects.Identify(entry_of())]


def test_a_file_that_changes_starts_to_settle_anew():
    node = Node()
    sighted(node, entry_of(size=1))
    node.later(1.9)
    sighted(node, entry_of(size=2))
    assert node.later(1.9) == []
    assert node.later(0.1) == [effects.Identify(entry_of(size=2))]


def test_a_frame_shorter_than_its_header_says_is_discarded_as_incomplete_and_returns_when_it_grows():
    node = Node()
    torn = entry_of(size=5000)
    assert sighted(node, torn, "renamed", needs=9000) == []
    assert node.later(POLICY.incomplete_seconds) == [effects.Identify(torn)]
    (order,) = node.give(i.Identified(node.now, torn, "a-id", ""))
    assert isinstance(order, effects.Quarantine)
    assert order.reason == "incomplete: 5000 bytes of the 9000 that its header says"
    doings = node.give(i.FrameFiled(node.now, "a-id", "filed", "/q/a"))
    assert doings == [effects.WatchGrowth("a-id", "/q/a", 5000), effects.Look(torn.place)]
    node.give(i.HelperDown(node.now, "scout", "killed"))
    assert node.give(i.HelperUp(node.now, "scout")) == [effects.WatchGrowth("a-id", "/q/a", 5000)]
    assert node.give(i.FrameGrew(node.now, "a-id")) == [effects.Restore("a-id", request=0)]
    node.give(i.FrameRestored(node.now, "a-id", 0, ""))
    assert node.state.torn == {}


@pytest.mark.parametrize("kind", ["fifo", "link", "device", "socket"])
def test_what_is_no_regular_file_goes_to_quarantine_without_a_worker(kind):
    node = Node()
    sighted(node, entry_of(), kind=kind)
    (order,) = node.give(i.Identified(node.now, entry_of(), "a-id", ""))
    assert isinstance(order, effects.Quarantine)
    assert order.failures == ()
    assert not order.incomplete


def test_published_products_are_credited_and_nothing_runs():
    node = Node()
    sighted(node, entry_of(), "renamed")
    assert node.give(i.Identified(node.now, entry_of(), "a-id", "2026-06-20")) == [
        effects.Archive("a-id", entry_of(), "2026-06-20")
    ]


def test_done_then_archived_then_forgotten():
    node = Node()
    start = node.accept()
    assert node.end(start, night="n") == [effects.Archive(start.task, start.entry, "n")]
    assert node.state.done == 1
    node.give(i.FrameFiled(node.now, start.task, "filed", "/archive/a"))
    assert node.state.tasks == {}
    assert node.state.places == {}


def test_a_frames_own_failures_count_and_the_last_discards_it():
    node = Node()
    start = node.accept()
    for attempt in (1, 2):
        assert start.attempt == attempt
        assert effects.Sweep(start.task, attempt) in node.end(start)
        (start,) = node.later(2.0**attempt)
        node.give(i.WorkerSpawned(node.now, start.task, start.attempt, 1))
    doings = node.end(start, reason="broke again")
    assert doings[0] == effects.Sweep(start.task, 3)
    assert isinstance(doings[1], effects.Quarantine)
    assert [failure.attempt for failure in doings[1].failures] == [1, 2, 3]
    assert node.state.discarded == 1


def test_what_cannot_succeed_is_not_tried_again():
    node = Node()
    doings = node.end(node.accept(), retriable=False, reason="a text file")
    assert isinstance(doings[-1], effects.Quarantine)
    assert doings[-1].reason == "a text file"


def test_the_machines_failures_never_discard_a_frame():
    node = Node()
    start = node.accept()
    for _ in range(20):
        node.end(start, blame="environment", reason="disk full", retriable=False)
        assert not node.state.phases["DISCARDED"]
        (start,) = node.later(POLICY.backoff_limit_seconds)
        node.give(i.WorkerSpawned(node.now, start.task, start.attempt, 1))
    assert node.end(start, night="n")[-1] == effects.Archive(start.task, start.entry, "n")


def test_no_more_workers_than_slots():
    node = Node()
    node.accept("a.fits")
    node.accept("b.fits")
    entry = entry_of("c.fits")
    sighted(node, entry, "renamed")
    assert node.give(i.Identified(node.now, entry, "c", "")) == []
    assert [task.id for task in node.state.within("READY")] == ["c"]


def test_soft_limit_then_hard_limit():
    node = Node()
    start = node.accept()
    node.give(i.WorkerProgressed(node.now, start.task, 1, "background"))
    assert node.later(49.9) == []
    assert node.later(0.1) == [effects.Kill(start.task, 1, 4242, "TERM")]
    assert node.later(9.9) == []
    assert node.later(0.1) == [effects.Kill(start.task, 1, 4242, "KILL")]
    assert node.later(59.9) == []
    assert node.later(0.2) == [effects.Kill(start.task, 1, 4242, "KILL")]  # the first may never have been sent
    node.end(start, reason="ended by SIGKILL", blame="environment")
    (task,) = node.state.within("FAILED")
    assert task.failures[0].blame == "frame"
    assert task.reason == "exceeded the soft limit of 50 s in stage background; ended by SIGKILL"


def test_silence_counts_as_hung():
    node = Node()
    node.state.policy = Policy(silence_seconds=10.0)
    start = node.accept()
    node.later(9)
    node.give(i.WorkerProgressed(node.now, start.task, 1, "psf"))
    assert node.later(9) == []
    assert node.later(1) == [effects.Kill(start.task, 1, 4242, "TERM")]


def test_pause_starts_nothing_and_lapses():
    node = Node()
    assert node.give(i.Pause(node.now, 7, 60.0)) == [effects.Reply(7, {"for_seconds": 60.0})]
    sighted(node, entry_of(), "renamed")
    assert node.give(i.Identified(node.now, entry_of(), "a-id", "")) == []
    assert next_due(node.state, node.now) == node.now + 60.0
    (start,) = node.later(60.0)
    assert isinstance(start, effects.Start)


def test_a_file_that_takes_a_running_frames_name_waits_its_turn():
    node = Node()
    start = node.accept()
    other = entry_of(size=5760)
    assert sighted(node, other, "renamed") == []
    node.end(start, night="n")
    assert node.give(i.FrameFiled(node.now, start.task, "changed", "other"))[0] == effects.Look(other.place)


def test_a_vanished_frame_leaves_no_task():
    node = Node()
    node.give(i.Pause(node.now, 0, 60.0))
    sighted(node, entry_of(), "renamed")
    node.give(i.Identified(node.now, entry_of(), "a-id", ""))
    node.give(i.Gone(node.now, (entry_of().place,)))
    assert node.state.tasks == {}


def test_what_a_lost_nursery_did_not_fork_is_tried_again_and_blames_no_frame():
    node = Node()
    sighted(node, entry_of(), "renamed")
    node.give(i.Identified(node.now, entry_of(), "a-id", ""))
    node.give(i.HelperDown(node.now, "nursery", "ended"))
    (task,) = node.state.within("FAILED")
    assert task.failures[0].blame == "environment"
    assert node.later(1.0) == []  # nobody to fork it
    assert isinstance(node.give(i.HelperUp(node.now, "nursery"))[0], effects.Start)


def test_helpers_that_come_back_are_asked_anew():
    node = Node()
    sighted(node, entry_of("x.fits"), "renamed")
    node.end(node.accept(), night="n")
    node.give(i.HelperDown(node.now, "porter", "ended"), i.HelperDown(node.now, "scout", "ended"))
    doings = node.give(i.HelperUp(node.now, "porter"), i.HelperUp(node.now, "scout"))
    assert {type(effect) for effect in doings} == {effects.Identify, effects.Archive, effects.Reconsider}


def test_retry():
    node = Node()
    start = node.accept()
    node.end(start)
    doings = node.give(i.Retry(node.now, 5, start.task))
    assert doings[0] == effects.Reply(5, {"task": start.task, "state": "READY"})
    assert doings[1] == effects.Start(start.task, start.entry, 2)
    (refusal,) = node.give(i.Retry(node.now, 6, start.task))
    assert "RUNNING" in refusal.error
    assert node.give(i.Retry(node.now, 7, "quarantined")) == [effects.Restore("quarantined", 7)]


@pytest.mark.parametrize("seed", range(300))
def test_any_history_ends_with_every_frame_published_or_quarantined_once(seed):
    History(seed).run()


class History:
    """Frames with fates of their own, helpers that die, answers in any order; then peace, until all is done."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.node = Node()
        self.names = [f"f{n}.fits" for n in range(5)]
        self.fates = {name: self.dice.choice(["good", "bad", "flaky", "environment", "hung"]) for name in self.names}
        self.pool = {name: entry_of(name, 2880 * (n + 1)) for n, name in enumerate(self.names)}
        self.asked: list[effects.Effect] = []
        self.tries = dict.fromkeys(self.names, 0)
        self.published: list[str] = []
        self.archived: list[str] = []
        self.quarantined: list[str] = []

    def run(self) -> None:
        for name in self.names:
            arrival = self.dice.choice(["listed", "renamed", "done"])
            self.do(i.Sighted(self.node.now, (Sighting(self.pool[name], "regular", arrival, 0),)))
        for step in range(2000):
            if not self.pool:
                break
            if step < 60 and self.dice.random() < 0.2:
                self.trouble()
            self.step()
        assert not self.pool, self.fates
        assert sorted(self.archived + self.quarantined) == self.names
        assert sorted(self.published) == sorted(self.archived)
        assert not [name for name in self.quarantined if self.fates[name] in ("good", "environment")]
        assert self.node.state.tasks == {}

    def do(self, *given: i.Input) -> None:
        self.asked += self.node.give(*given)
        assert len(self.node.state.phases["RUNNING"]) <= POLICY.slots
        for phase, tasks in self.node.state.phases.items():
            assert all(self.node.state.tasks[task].phase == phase for task in tasks)

    def trouble(self) -> None:
        helper = self.dice.choice(["scout", "porter", "nursery"])
        mine = {"scout": effects.Identify, "porter": effects.Archive | effects.Quarantine, "nursery": effects.Start}[helper]
        self.asked = [effect for effect in self.asked if not isinstance(effect, mine)]
        self.do(i.HelperDown(self.node.now, helper, "killed"))
        self.node.now += self.dice.random()
        self.do(i.HelperUp(self.node.now, helper))

    def step(self) -> None:
        due = next_due(self.node.state, self.node.now)
        self.node.now += self.dice.random() * self.dice.choice([0.1, 1.0, 20.0])
        if not self.asked:
            assert due < float("inf"), "nothing to do and nothing to wait for, but frames are left"
            self.node.now = max(self.node.now, due)
            self.do()
            return
        effect = self.asked.pop(self.dice.randrange(len(self.asked)))
        now = self.node.now
        match effect:
            case effects.Identify(entry):
                done = "n" if entry.place.name in self.published else ""
                self.do(i.Identified(now, entry, entry.place.name + "-id", done))
            case effects.Start(task, entry, attempt):
                self.do(i.WorkerSpawned(now, task, attempt, 9))
                self.work(entry.place.name, task, attempt)
            case effects.Archive(task, entry, _):
                self.archived.append(entry.place.name)
                del self.pool[entry.place.name]
                self.do(i.FrameFiled(now, task, "filed", ""))
            case effects.Quarantine(task, entry):
                if self.dice.random() < 0.3:
                    self.do(i.FrameFiled(now, task, "failed", "disk full"))
                    return
                self.quarantined.append(entry.place.name)
                del self.pool[entry.place.name]
                self.do(i.FrameFiled(now, task, "filed", ""))
            case effects.Kill(task, attempt, _, "KILL"):
                self.do(i.WorkerEnded(now, task, attempt, "", "killed", "frame", True, ""))
            case _:
                self.do()

    def work(self, name: str, task: str, attempt: int) -> None:
        self.tries[name] += 1
        fate, tries, now = self.fates[name], self.tries[name], self.node.now
        good = fate == "good" or (fate == "flaky" and tries > 2) or (fate == "environment" and tries > 6)
        if good:
            self.published.append(name)
            self.do(i.WorkerEnded(now, task, attempt, "n", "", "frame", True, ""))
        elif fate != "hung":
            blame = "environment" if fate == "environment" else "frame"
            self.do(i.WorkerEnded(now, task, attempt, "", fate, blame, self.dice.random() < 0.5 or fate == "flaky", ""))


def lost(start: effects.Start, now: float) -> i.WorkerEnded:
    return i.WorkerEnded(now, start.task, start.attempt, "", "lost", "environment", True, "", lost=True)


def starts(doings: list[effects.Effect]) -> list[effects.Start]:
    return [effect for effect in doings if isinstance(effect, effects.Start)]


def cut_the_power(node: Node, *running: effects.Start) -> None:
    node.now = 1.0  # boottime begins anew
    node.give(i.DaemonBegan(node.now, f"boot after {len(node.facts)} records"))
    node.give(*[lost(start, node.now) for start in running])
    node.give(*[i.HelperUp(node.now, helper) for helper in ("scout", "porter", "nursery")])


def test_after_a_power_cut_what_was_running_runs_last_and_alone():
    node = Node()
    node.state.boot_id = "first boot"
    first, second = node.accept("a.fits"), node.accept("b.fits")
    for name in ("c.fits", "d.fits"):
        sighted(node, entry_of(name), "renamed")
        node.give(i.Identified(node.now, entry_of(name), name, ""))
    cut_the_power(node, first, second)
    others = list(node.state.phases["RUNNING"])
    assert others == ["c.fits", "d.fits"]
    for task in others:
        assert starts(node.later(20.0)) == []
        node.give(i.WorkerEnded(node.now, task, 1, "n", "", "frame", True, ""))
    assert list(node.state.phases["RUNNING"]) == [first.task]
    assert starts(node.later(20.0)) == []
    node.end(replace(first, attempt=2), night="n")
    assert list(node.state.phases["RUNNING"]) == [second.task]


def test_a_frame_that_went_down_with_the_machine_twice_alone_is_discarded():
    node = Node()
    node.state.boot_id = "first boot"
    start = node.accept()
    for attempt in (1, 2):
        cut_the_power(node, replace(start, attempt=attempt))
        (again,) = starts(node.later(POLICY.backoff_limit_seconds))
        assert again.attempt == attempt + 1
    cut_the_power(node, replace(start, attempt=3))
    (task,) = node.state.within("DISCARDED")
    assert task.blame == "environment"
    assert len(task.failures) == 3


def test_a_reboot_that_was_announced_makes_no_suspects():
    node = Node()
    node.state.boot_id = "first boot"
    start = node.accept()
    node.give(i.DaemonStops(node.now))
    cut_the_power(node, start)
    (task,) = node.state.within("FAILED")
    assert not task.suspect


def test_a_worker_that_ended_well_before_the_power_was_cut_is_no_suspect():
    node = Node()
    node.state.boot_id = "first boot"
    start = node.accept()
    node.now = 1.0
    node.give(i.DaemonBegan(node.now, "next boot"))
    node.end(start, night="n")
    assert node.state.phases["DONE"]


def test_under_another_boot_id_every_deadline_is_due():
    node = Node(now=1e6)
    node.state.boot_id = "first boot"
    node.end(node.accept())
    node.give(i.Pause(node.now, 1, 1e5))
    node.now = 1.0
    node.give(i.DaemonBegan(node.now, "next boot"))
    assert starts(node.give(i.HelperUp(node.now, "nursery")))


def test_a_machine_that_fails_three_frames_alike_is_probed_with_one_at_a_time():
    node = Node()
    running = [node.accept("a.fits"), node.accept("b.fits")]
    for name in ("c.fits", "d.fits", "e.fits"):
        sighted(node, entry_of(name), "renamed")
        node.give(i.Identified(node.now, entry_of(name), name + "-id", ""))
    while not node.state.breaker:
        start = running.pop(0)
        running += starts(node.end(start, blame="environment", reason=f"no space for {start.task} after 7 bytes"))
    assert [reason for reason in explain.status(node.state, node.now)["reasons"] if "probe" in reason]
    for start in running:
        assert starts(node.end(start, blame="environment", reason="no space")) == []
    pauses = []
    for _ in range(4):
        since = node.now
        node.now = next_due(node.state, node.now)
        while not (probe := starts(node.give())):
            node.now = next_due(node.state, node.now)
        pauses.append(node.now - since)
        assert len(probe) == 1
        node.give(i.WorkerSpawned(node.now, probe[0].task, probe[0].attempt, 7))
        assert starts(node.later(1.0)) == []
        doings = node.end(probe[0], blame="environment", reason="no space")
    assert pauses == sorted(pauses)
    assert pauses[-1] <= POLICY.backoff_limit_seconds
    (probe,) = starts(node.later(POLICY.backoff_limit_seconds))
    doings = node.end(probe, night="n")
    assert node.state.breaker is None
    assert len(starts(doings)) == POLICY.slots


def test_a_retry_while_the_breaker_is_open_sends_a_probe_at_once_and_says_so():
    node = Node()
    running = [node.accept("a.fits"), node.accept("b.fits")]
    sighted(node, entry_of("c.fits"), "renamed")
    node.give(i.Identified(node.now, entry_of("c.fits"), "c.fits-id", ""))
    while not node.state.breaker:
        running += starts(node.end(running.pop(0), blame="environment", reason="no space"))
    assert starts(node.give()) == []
    story = explain.why(node.state, "a.fits-id", node.now)["story"]
    assert [line for line in story if "as a probe in" in line]
    assert not [line for line in story if "in 0 s" in line]
    doings = node.give(i.Retry(node.now, 5, "a.fits-id"))
    (reply,) = [doing for doing in doings if isinstance(doing, effects.Reply)]
    assert "no space" in reply.result["so"]
    assert len(starts(doings)) == 1
    story = explain.why(node.state, "b.fits-id", node.now)["story"]
    assert [line for line in story if "is at work as a probe" in line]


def test_an_open_breaker_does_not_probe_the_same_frames_for_ever():
    node = Node()
    bad = {"a.fits-id", "b.fits-id", "c.fits-id"}
    running = [node.accept("a.fits"), node.accept("b.fits")]
    for name in ("c.fits", "d.fits"):
        sighted(node, entry_of(name), "renamed")
        node.give(i.Identified(node.now, entry_of(name), name + "-id", ""))
    for _ in range(20):
        if not running:
            running = starts(node.later(max(next_due(node.state, node.now) - node.now, 0.1)))
        for start in running:
            node.give(i.WorkerSpawned(node.now, start.task, start.attempt, 7))
        start = running.pop(0) if running else None
        if start and start.task not in bad:
            assert node.state.breaker
            node.end(start, night="n")
            assert node.state.breaker is None
            return
        if start:
            running += starts(node.end(start, blame="environment", reason="the work was ended by SIGKILL"))
    pytest.fail("the healthy frame was never probed")


def test_a_worker_whose_start_was_forgotten_is_adopted_with_what_its_frame_has_failed():
    node = Node()
    start = node.accept()
    node.end(start)
    found = i.WorkerFound(node.now, start.task, start.entry, 2, 99, node.now - 5.0)
    node.give(found)
    (task,) = node.state.within("RUNNING")
    assert (task.attempt, task.pid, len(task.failures)) == (2, 99, 1)
    assert starts(node.later(100.0)) == []


def test_a_worker_is_adopted_though_a_later_attempt_is_remembered():
    """The log of its ast3d cannot be read, and an older one can again: unwatched, it would hold the frame for ever."""
    node = Node()
    start = node.accept()
    node.end(start)
    (again,) = starts(node.later(10.0))
    node.end(again, blame="environment")
    node.give(i.WorkerFound(node.now, start.task, start.entry, 1, 99, node.now - 5.0))
    (task,) = node.state.within("RUNNING")
    assert (task.attempt, task.pid) == (1, 99)


def test_a_suspect_that_was_not_alone_at_the_power_cut_is_not_taken_for_its_cause():
    node = Node()
    node.state.boot_id = "first boot"
    start = node.accept()
    cut_the_power(node, start)
    (again,) = starts(node.later(POLICY.backoff_limit_seconds))
    other = records.Started(node.now, "other", 1)
    apply(node.state, records.Accepted(node.now, "other", entry_of("o.fits")))
    apply(node.state, other)  # the end of the one before was not yet durable
    cut_the_power(node, again)
    assert node.state.tasks[start.task].alone == 0


def test_a_suspect_is_one_also_where_its_failure_was_forgotten():
    node = Node()
    node.give(i.HelperDown(node.now, "nursery", "ended"))
    for name in ("a.fits", "b.fits"):
        sighted(node, entry_of(name), "renamed")
        node.give(i.Identified(node.now, entry_of(name), name, ""))
    apply(node.state, records.Suspected("a.fits", 1))
    (start,) = starts(node.give(i.HelperUp(node.now, "nursery")))
    assert start.task == "b.fits"
    (start,) = starts(node.give(i.WorkerEnded(node.now, "b.fits", 1, "n", "", "frame", True, "")))
    assert start.task == "a.fits"


def test_what_grew_while_the_porter_was_away_is_told_again():
    node = Node()
    node.state.torn["t"] = ("/q/t", 5)
    node.give(i.HelperDown(node.now, "porter", "ended"))
    assert effects.WatchGrowth("t", "/q/t", 5) in node.give(i.HelperUp(node.now, "porter"))


def test_different_troubles_open_no_breaker_and_a_success_forgets_them():
    node = Node()
    for n, reason in enumerate(["no space", "no template", "no space", "", "no space"]):
        start = node.accept(f"{n}.fits")
        node.end(start, **({"blame": "environment", "reason": reason} if reason else {"night": "n"}))
        assert node.state.breaker is None


def test_a_frame_that_the_machine_fails_again_and_again_lets_others_pass():
    node = Node()
    start = node.accept("a.fits")
    for _ in range(POLICY.attempts):
        node.end(start, blame="environment", reason="the work was ended by SIGKILL")
        (start,) = starts(node.later(POLICY.backoff_limit_seconds)) or (start,)
    assert node.state.tasks[start.task].suspect
    assert node.state.tasks[start.task].solo


def test_one_frame_at_a_time_while_nothing_can_be_remembered():
    node = Node()
    node.give(i.RelogChanged(node.now, "no space"))
    node.accept("a.fits")
    sighted(node, entry_of("b.fits"), "renamed")
    assert node.give(i.Identified(node.now, entry_of("b.fits"), "b", "")) == []
    assert "no space" in explain.status(node.state, node.now)["reasons"][0]
    assert starts(node.give(i.RelogChanged(node.now, "")))


def test_quarantine_is_reconsidered_when_code_or_configuration_change():
    node = Node()
    read = i.ConfigurationRead(node.now, replace(POLICY, fingerprint="new"), "")
    assert node.give(read) == [effects.Reconsider("new", ())]
    assert node.give(read) == []


def tried():
    """A frame that was tried with "old" and is discarded while "new" is at work; -> the node, and its task."""
    node = Node()
    start = node.accept()
    node.give(i.ConfigurationRead(node.now, replace(POLICY, fingerprint="new"), ""))
    node.end(start, retriable=False, fingerprint="old")
    return node, start.task


def test_a_frame_that_is_on_its_way_to_the_quarantine_comes_back_from_there_if_it_was_tried_otherwise():
    node, task = tried()
    found = node.give(i.HelperDown(node.now, "porter", "ended"), i.HelperUp(node.now, "porter"))
    assert effects.Reconsider("new", (task,)) in found
    assert effects.Restore(task, 0) in node.give(i.FrameFiled(node.now, task, "filed", "/q"))


@pytest.mark.parametrize("outcome", ["changed", "vanished", "failed"])
def test_what_never_got_there_does_not(outcome):
    node, task = tried()
    assert effects.Restore(task, 0) not in node.give(i.FrameFiled(node.now, task, outcome, ""))


def test_a_frame_that_was_processed_in_the_end_stays_in_the_archive_whatever_it_was_tried_with():
    node = Node()
    start = node.accept()
    (again,) = starts([*node.end(start, fingerprint="old"), *node.later(POLICY.backoff_limit_seconds)])
    node.end(again, night="n", fingerprint="new")
    node.give(i.ConfigurationRead(node.now, replace(POLICY, fingerprint="new"), ""))
    assert effects.Restore(start.task, 0) not in node.give(i.FrameFiled(node.now, start.task, "filed", "/archive"))


def test_products_that_are_found_standing_turn_a_discarded_frame_into_a_done_one():
    node = Node()
    start = node.accept()
    node.end(start, retriable=False)
    assert (node.state.done, node.state.discarded) == (0, 1)
    assert node.give(i.FrameFiled(node.now, start.task, "published", "n")) == [effects.Archive(start.task, start.entry, "n")]
    assert (node.state.done, node.state.discarded) == (1, 0)


def test_a_frame_that_returned_before_it_was_told_that_it_had_left_is_looked_at():
    node = Node()
    start = node.accept()
    node.end(start, retriable=False)
    assert sighted(node, start.entry) == []  # the porter has brought it back already; nobody knows that it was gone
    assert effects.Look(start.entry.place) in node.give(i.FrameFiled(node.now, start.task, "filed", "/q/a"))


def test_why_a_frame_was_discarded_is_not_forgotten_when_it_cannot_be_moved():
    node = Node()
    start = node.accept()
    node.end(start, retriable=False, reason="a text file")
    node.give(i.FrameFiled(node.now, start.task, "failed", "Not a directory"))
    assert any("Not a directory" in reason for reason in explain.status(node.state, node.now)["reasons"])
    (order,) = node.later(60)
    assert order.reason == "a text file"
