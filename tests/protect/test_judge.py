"""What a guard concludes, case by case; long histories are in `test_simulation.py`."""

import pytest

from protectd import events as e
from protectd.guard import Guard
from protectd.judge import decide, next_due
from protectd.message import Message, Settings
from protectd.proc import Look

PEER, NEXT = (70, 5000), (71, 90000)


def said(seq, *, who=PEER, says="ready", progress=None, generation=1, until=0.0, protect=None):
    return Message("ast3d", *who, generation, seq, seq if progress is None else progress, says, until, protect)


class Play:
    """A guard, its clock, and a peer that looks as it is told."""

    def __init__(self, *, says="ready", heard=True, **options):
        self.now = 1000.0
        self.guard = Guard(self.now, "ast3d", **options)
        self.state, self.cpu, self.delay = "S", 0.0, 0.0
        self.cpu_rate = self.delay_rate = 0.0
        self.holder, self.stopped = None, False
        self.seq = 0
        self.done: list[tuple[float, e.Action]] = []
        if heard:
            self.hear(says=says)
        self.done.clear()

    def hear(self, **more):
        self.seq += 1
        self.put(e.Heard(self.now, said(self.seq, **more)))

    def put(self, given):
        inputs = [given]
        while inputs:
            for action in decide(self.guard, inputs.pop(0)):
                self.done.append((self.now, action))
                if isinstance(action, e.LookAt):
                    look = self.state and Look(action.ticks, self.state, self.cpu, self.delay)
                    inputs.append(e.Looked(self.now, action.pid, action.ticks, look or None))
                elif isinstance(action, e.SeeWho):
                    inputs.append(e.Seen(self.now, self.holder, self.stopped))
                elif isinstance(action, e.Start):
                    inputs.append(e.Began(self.now, *NEXT))

    def pass_(self, seconds, *, every=None):
        ends = self.now + seconds
        while self.now < ends:
            then = min(ends, self.now + every if every else max(next_due(self.guard), self.now + 0.001))
            self.cpu += self.cpu_rate * (then - self.now)
            self.delay += self.delay_rate * (then - self.now)
            self.now = then
            self.put(e.Tick(self.now))
        return self

    def gone(self):
        self.put(e.Gone(self.now, self.guard.pid, self.guard.ticks))

    def did(self, kind):
        return [(at - 1000.0, action) for at, action in self.done if isinstance(action, kind)]

    def events(self):
        return [action.event for _, action in self.did(e.Say)]


@pytest.mark.parametrize(
    ("state", "cpu_rate", "delay_rate", "reason"),
    [
        ("T", 0, 0, "stopped"),
        ("t", 0, 0, "stopped"),
        ("R", 1.0, 0.0, "spinning"),
        ("S", 1.0, 0.0, "spinning"),  # a thread of it
        ("R", 0.26, 0.7, "spinning"),
        ("S", 0, 0, "deadlocked"),
    ],
)
def test_a_silent_peer_that_cannot_come_right_is_killed_after_the_misses(state, cpu_rate, delay_rate, reason):
    play = Play()
    play.state, play.cpu_rate, play.delay_rate = state, cpu_rate, delay_rate
    play.pass_(2.9)
    assert not play.did(e.Kill)
    play.pass_(0.3)
    [(at, action)] = play.did(e.Kill)
    assert action == e.Kill(*PEER, reason)
    assert at == pytest.approx(3.0, abs=0.01)
    play.pass_(2.0)
    assert len(play.did(e.Kill)) == 1
    play.gone()
    assert len(play.did(e.Start)) == 1
    assert play.guard.state == "starting"


@pytest.mark.parametrize(
    ("state", "cpu_rate", "delay_rate"),
    [
        ("D", 0, 0),  # a frozen disk
        ("R", 0.05, 0.9),  # throttled
        ("R", 0.0, 1.0),  # starved
        ("S", 0.004, 0.0001),  # it goes round, and is not heard
        ("S", 0.0, 0.0001),
        ("R", 0.0, 0.0),
    ],
)
def test_a_silent_peer_that_gets_too_little_is_left_alone_and_said_once(state, cpu_rate, delay_rate):
    play = Play()
    play.state, play.cpu_rate, play.delay_rate = state, cpu_rate, delay_rate
    play.pass_(15.0)
    assert not play.did(e.Kill)
    assert play.events() == ["peer.slow"]
    assert play.guard.state == "slow"
    play.hear()
    assert play.events() == ["peer.slow", "peer.recovered"]
    assert play.guard.state == "watching"


def test_what_burns_the_little_that_it_gets_for_long_spins():
    play = Play()
    play.state, play.cpu_rate, play.delay_rate = "R", 0.1, 0.85
    play.pass_(29.0)
    assert not play.did(e.Kill)
    play.pass_(2.0)
    assert play.did(e.Kill)[0][1].reason == "spinning"


def test_a_disk_that_comes_back_in_the_last_period_is_not_yet_a_deadlock():
    play = Play()
    play.state = "D"
    play.pass_(2.5)
    play.state = "S"
    play.pass_(1.0)
    assert not play.did(e.Kill)
    play.pass_(2.0)
    assert play.did(e.Kill)[0][1].reason == "deadlocked"


def test_a_peer_that_speaks_without_progress_is_silent():
    play = Play()
    for _ in range(4):
        play.pass_(1.0)
        play.hear(progress=1)
    assert play.did(e.Kill)[0][1].reason == "deadlocked"


@pytest.mark.parametrize("state", ["", "Z", "X"])
def test_a_look_that_finds_nobody_is_a_death(state):
    play = Play()
    play.state = state
    play.pass_(1.6)
    assert len(play.did(e.Start)) == 1
    assert not play.did(e.Kill)


def test_a_dead_peer_is_replaced_at_once_and_only_once_at_a_time():
    play = Play()
    play.pass_(1.0)
    play.gone()
    assert [at for at, _ in play.did(e.Start)] == [1.0]
    play.state = "D"
    play.pass_(20.0)
    assert len(play.did(e.Start)) == 1
    play.put(e.Heard(play.now, said(1, who=NEXT, generation=2)))
    assert play.guard.state == "watching"


@pytest.mark.parametrize("kept", ["systemd", "marker", "stopping", "disabled"])
def test_nothing_is_started(kept):
    play = Play(may_start=kept != "systemd", says="stopping" if kept == "stopping" else "ready")
    play.stopped = kept == "marker"
    if kept == "disabled":
        play.put(e.Told(play.now, Settings(enabled=False)))
    play.gone()
    play.pass_(200.0)
    assert not play.did(e.Start)
    play.stopped = False
    play.put(e.Told(play.now, Settings()))
    play.pass_(10.0)
    assert len(play.did(e.Start)) == (kept in {"marker", "disabled"})


def test_with_protection_off_nobody_is_killed():
    play = Play()
    play.put(e.Told(play.now, Settings(enabled=False)))
    play.state = "T"
    play.pass_(20.0)
    assert not play.did(e.Kill)
    assert play.guard.state == "disabled"
    play.put(e.Told(play.now, Settings()))
    play.pass_(3.1)
    assert play.did(e.Kill)


def test_a_peer_that_is_never_heard_is_looked_for_after_two_periods():
    play = Play(heard=False)
    play.pass_(1.9)
    assert not play.done
    play.pass_(0.2)
    assert len(play.did(e.Start)) == 1


def test_one_that_holds_the_lock_and_says_nothing_is_judged_by_looks():
    play = Play(heard=False)
    play.holder, play.state = PEER, "T"
    play.pass_(6.0)
    assert play.events()[0] == "peer.found"
    assert play.did(e.Kill)[0][1] == e.Kill(*PEER, "stopped")
    assert not play.did(e.Start)


def test_own_absence_does_not_count():
    play = Play()
    play.pass_(2.5)
    play.now += 60.0  # stopped, suspended, starved
    play.put(e.Tick(play.now))
    assert not play.did(e.Kill)
    play.pass_(2.9)
    assert not play.did(e.Kill)
    play.pass_(0.2)
    assert play.did(e.Kill)


def test_backing_off_is_left_alone_until_then_and_the_misses():
    play = Play(says="starting")
    play.hear(says="backing off", until=play.now + 30.0)
    assert play.guard.state == "backing off"
    play.state = "T"
    play.pass_(32.9)
    assert not play.did(e.Kill)
    play.pass_(0.3)
    assert play.did(e.Kill)


def test_starting_may_take_long_but_not_for_ever():
    play = Play(says="starting")
    play.cpu_rate, play.state = 1.0, "R"
    play.pass_(29.0)
    assert not play.did(e.Kill)
    play.pass_(2.0)
    assert play.did(e.Kill)


def test_words_of_those_that_went_before_change_nothing():
    play = Play()
    play.gone()
    assert play.guard.pid == NEXT[0]
    play.put(e.Heard(play.now, said(99, generation=9)))
    play.put(e.Heard(play.now, said(1, who=(60, 4000), generation=99)))
    assert play.guard.pid == NEXT[0]
    play.put(e.Heard(play.now, said(5, who=NEXT, generation=2)))
    play.pass_(1.0)
    play.put(e.Heard(play.now, said(5, who=NEXT, generation=2)))
    play.put(e.Heard(play.now, said(4, who=NEXT, generation=2)))
    assert play.guard.heard_at == play.now - 1.0


def test_the_longer_period_of_both_counts():
    play = Play(obeys=True)
    play.hear(protect=Settings(True, 10.0, 2))
    assert play.guard.settings == Settings(True, 10.0, 2)
    play.state = "T"
    play.pass_(19.9)
    assert not play.did(e.Kill)
    play.pass_(0.5)
    assert play.did(e.Kill)
    play = Play()
    play.hear(protect=Settings(True, 10.0, 2))
    assert play.guard.settings == Settings()
    assert play.guard.patience == 30.0


def test_misses_of_one():
    play = Play()
    play.put(e.Told(play.now, Settings(misses=1)))
    play.pass_(1.7)
    assert play.did(e.Kill)[0][1].reason == "deadlocked"


def test_ticks_are_wanted_once_a_period_at_least():
    for play in (Play(), Play(heard=False)):
        play.put(e.Tick(play.now))
        assert next_due(play.guard) <= play.now + 1.0
