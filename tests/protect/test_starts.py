"""The back-off, on a clock that only the test moves."""

import json
from itertools import pairwise

import pytest

from protectd import events as e
from protectd import starts
from protectd.guard import Guard
from protectd.judge import decide, next_due
from protectd.message import Message
from protectd.starts import Starts

BOOT = "0f3c"


class Clock:
    def __init__(self):
        self.now = 500.0

    def __call__(self):
        return self.now

    def rest(self, seconds, until):
        assert until == pytest.approx(self.now + seconds)
        self.now += min(seconds, 1.0)
        return False


@pytest.mark.parametrize(("failed", "seconds"), [(0, 0), (1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (8, 60), (100_000, 60)])
def test_the_pause_doubles_up_to_a_minute(failed, seconds):
    assert starts.wait_before(Starts(failed, 500.0), 500.0) == seconds
    assert starts.wait_before(Starts(failed, 500.0), 500.0 + seconds) == 0
    assert starts.wait_before(Starts(failed, 500.0), 499.0) == 0  # a clock that was another boot's


def test_first_lines_wait_as_long_as_is_due_and_remember(tmp_path):
    file, clock = tmp_path / "ast3d.starts", Clock()
    begun = []
    for _ in range(5):
        assert starts.begin(file, BOOT, clock, clock.rest)
        begun.append(clock.now - 500.0)
    assert begun == pytest.approx([0, 1, 3, 7, 15])
    starts.mark_ready(file, BOOT)
    assert starts.begin(file, BOOT, clock, clock.rest)
    assert clock.now - 500.0 == pytest.approx(15)


def test_one_that_is_told_to_stop_while_it_waits_has_not_started(tmp_path):
    file, clock = tmp_path / "ast3d.starts", Clock()
    starts.write(file, Starts(7, 500.0), BOOT)
    assert not starts.begin(file, BOOT, clock, lambda _seconds, _until: True)
    assert starts.read(file, BOOT) == Starts(7, 500.0)


def test_a_start_on_purpose_forgets(tmp_path):
    file = tmp_path / "ast3d.starts"
    starts.write(file, Starts(7, 500.0), BOOT)
    starts.clear(file)
    starts.clear(file)
    assert starts.read(file, BOOT) == Starts()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "\0\0",
        "[" * 60000,
        json.dumps({"boot": "another", "failed": 9, "last": 1.0}),
        json.dumps({"boot": BOOT, "failed": "9", "last": 1.0}),
        json.dumps({"boot": BOOT, "failed": -9, "last": 1.0}),
        json.dumps({"boot": BOOT, "failed": True, "last": 1.0}),
        json.dumps({"boot": BOOT, "failed": 9}),
        json.dumps({"boot": BOOT, "failed": 9, "last": "now"}),
        '{"boot": "0f3c", "failed": 9, "last": NaN}',
    ],
)
def test_a_damaged_file_is_as_none(tmp_path, text):
    file, clock = tmp_path / "ast3d.starts", Clock()
    file.write_text(text)
    assert starts.begin(file, BOOT, clock, clock.rest)
    assert clock.now == 500.0
    assert starts.read(file, BOOT) == Starts(1, 500.0)


def test_where_nothing_can_be_remembered_it_starts_all_the_same(tmp_path):
    clock = Clock()
    assert starts.begin(tmp_path / "absent" / "ast3d.starts", BOOT, clock, clock.rest)


class CrashingPeer:
    """A guard whose peer crashes at each start: before its first word, after it, or it cannot even be run."""

    def __init__(self, tmp_path, way):
        self.way, self.file = way, tmp_path / "ast3d.starts"
        self.clock, self.pid = Clock(), 1
        self.guard = Guard(self.clock.now, "ast3d")
        self.tries, self.begins, self.inputs = [], [], []

    def until_tried(self, number):
        while len(self.tries) < number:
            if not self.inputs:
                self.clock.now = max(self.clock.now, next_due(self.guard)) + 0.001
                self.inputs.append(e.Tick(self.clock.now))
            self.step()
        while self.inputs and self.way == "well":
            self.step()
        return self

    def step(self):
        for action in decide(self.guard, self.inputs.pop(0)):
            if isinstance(action, e.SeeWho):
                self.inputs.append(e.Seen(self.clock.now, None, stopped=False))
            elif isinstance(action, e.Start):
                self.inputs += self.start()

    def start(self):
        self.tries.append(self.clock.now)
        self.pid += 1
        who = (self.pid, int(self.clock.now * 100))
        began = e.Began(self.clock.now, *who)
        if self.way == "cannot be run":
            return [e.Failed(self.clock.now, "no such file")]
        if self.way == "no word":
            self.clock.now += 0.05
            return [began, e.Gone(self.clock.now, *who)]
        starts.begin(self.file, BOOT, self.clock, self.clock.rest)
        self.begins.append(self.clock.now)
        if self.way == "well":
            starts.mark_ready(self.file, BOOT)
        says = "ready" if self.way == "well" else "starting"
        heard = e.Heard(self.clock.now, Message("ast3d", *who, 1, 1, 1, says))
        self.clock.now += 0.2
        return [began, heard] if self.way == "well" else [began, heard, e.Gone(self.clock.now, *who)]


@pytest.mark.parametrize("way", ["a word", "no word", "cannot be run"])
def test_crashing_at_start_a_thousand_times(tmp_path, way):
    peer = CrashingPeer(tmp_path, way).until_tried(1000)
    for times in (peer.tries, peer.begins):
        apart = [later - earlier for earlier, later in pairwise(times)]
        assert not apart or min(apart) >= 1.0
        assert not apart or 59.0 <= apart[-1] <= max(apart) <= 61.0  # still tried
    peer.way = "well"  # the cause is gone
    peer.until_tried(1001)
    for tried in (1002, 1003, 1004):  # and from then on it is at once again, as far as there is a second between
        ended = peer.clock.now = peer.clock.now + 1.0
        peer.inputs.append(e.Gone(ended, peer.guard.pid, peer.guard.ticks))
        peer.until_tried(tried)
        assert peer.tries[-1] == ended == peer.clock.now - 0.2
