"""What is read from damaged images: nothing that was not appended, in order; what was acknowledged is there or reported."""

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ast3d.common.relog.recovery import read
from ast3d.common.relog.relog import Relog, RelogError

SECTOR = 512
SEGMENT = 8192


class Story:
    """What was done to a log, and what its folder has looked like."""

    def __init__(self, disk, boot):
        self.disk = disk
        self.log = Relog(disk, boot, SEGMENT)
        self.log.recover()
        self.appended = {}
        self.acknowledged = set()  # and not forgotten
        self.acked = 0
        self.history = []  # the files after each commit

    def append(self, payload):
        seq = self.log.append("Test", 1, payload, len(self.appended) / 4)
        assert seq not in self.appended
        self.appended[seq] = ("Test", 1, len(self.appended) / 4, payload)

    def commit(self):
        self.log.commit()
        self.acknowledged.update(range(self.acked + 1, self.log.next_seq))
        self.acked = self.log.next_seq - 1
        self.history.append(self.files())

    def forget(self, before):
        self.log.forget(before)
        self.acknowledged = {seq for seq in self.acknowledged if seq >= before}

    def files(self):
        return {name: bytes(self.disk.files[name]) for name in self.disk.segments()}

    def check(self, files):
        """The reading of these files, once it holds."""
        reading = read(self.disk.of(files), SEGMENT)
        numbers = [entry.seq for entry in reading.entries]
        assert numbers == sorted(set(numbers))
        for entry in reading.entries:
            assert (entry.type, entry.version, entry.boottime, entry.payload) == self.appended[entry.seq]
        unfound = self.acknowledged.difference(numbers)
        unsaid = {seq for seq in unfound if not any(a <= seq <= b for a, b in reading.report.missing)}
        assert not unsaid
        assert not any(a <= seq <= b for a, b in reading.report.missing for seq in numbers)
        assert reading.next_seq > max(self.acknowledged, default=0)
        assert bool(reading.report.missing) <= bool(reading.report.problems())
        return reading


@pytest.fixture
def story(disk, boot):
    """Three segments; the last one is in use, and was the first before that was forgotten."""
    story = Story(disk, boot)
    for i in range(50):
        for k in range(1 + i % 3):
            story.append(b"%d-%d;" % (i, k) * (i % 23))
        story.commit()
        if i == 25:
            disk.room = 0  # no spare can be made: what is forgotten becomes it
        if i == 30:
            disk.files.pop("spare", None)
            story.log._spare = False
            story.forget(40)
    for _ in range(9):
        story.append(b"last")
        story.commit()
    assert len(story.files()) >= 2
    assert any(call == "rename" and name.endswith(".relog") for call, name in disk.calls)
    assert not story.check(story.files()).report.problems()
    return story


@pytest.fixture(params=[-1, -2], ids=["last", "before"])
def name(story, request):
    return sorted(story.files())[request.param]


def damaged(story, name, data):
    return story.check(story.files() | {name: data}).report


def test_every_truncation(story, name):
    data = story.files()[name]
    for size in range(len(data)):
        assert damaged(story, name, data[:size]).damaged


def test_every_burst(story, name):
    data = story.files()[name]
    for place in range(0, len(data), 3):
        burst = bytes(b ^ 0xA5 for b in data[place : place + 32])
        damaged(story, name, data[:place] + burst + data[place + 32 :])


@pytest.mark.parametrize(
    "content", [bytes(SECTOR), b"\xff" * SECTOR, b"\x9eREC" * 128, None], ids=["zeros", "ones", "magic", "stale"]
)
def test_every_sector(story, name, content):
    data = story.files()[name]
    for older in story.history:
        for place in range(0, len(data), SECTOR):
            sector = older.get(name, bytes(SEGMENT))[place : place + SECTOR] if content is None else content
            damaged(story, name, data[:place] + sector + data[place + SECTOR :])
        if content is not None:
            break


def test_every_two_sectors_swapped(story, name):
    data = story.files()[name]
    for a, b in itertools.combinations(range(0, len(data), SECTOR), 2):
        parts = data[:a], data[b : b + SECTOR], data[a + SECTOR : b], data[a : a + SECTOR], data[b + SECTOR :]
        damaged(story, name, b"".join(parts))


def test_every_two_sectors_of_two_segments_swapped(story):
    files = story.files()
    one, other = sorted(files)[-2:]
    for a, b in itertools.product(range(0, SEGMENT, SECTOR), repeat=2):
        x, y = bytearray(files[one]), bytearray(files[other])
        x[a : a + SECTOR], y[b : b + SECTOR] = files[other][b : b + SECTOR], files[one][a : a + SECTOR]
        story.check(files | {one: bytes(x), other: bytes(y)})


def test_the_head_block_is_lost_but_its_records_are_not(story, name):
    data = story.files()[name]
    whole = story.check(story.files())
    reading = story.check(story.files() | {name: bytes(4096) + data[4096:]})
    assert reading.entries == whole.entries
    assert reading.report.problems()


def test_a_commit_of_which_only_some_sectors_came_to_the_disk(story):
    """Every subset of the sectors that differ from what is synced."""
    for i in range(12):
        story.append(b"unsynced%d" % i * 20)
    name = max(story.files())
    before = story.files()[name]
    story.disk.fails["sync", "*"] = [5, 5]
    with pytest.raises(RelogError):
        story.log.commit()
    after = bytes(story.disk.files[name])
    changed = [p for p in range(0, len(after), SECTOR) if after[p : p + SECTOR] != before[p : p + SECTOR]]
    assert len(changed) >= 5
    files = {n: data for n, data in story.files().items() if n <= name}
    for count in range(len(changed) + 1):
        for subset in itertools.combinations(changed, count):
            image = bytearray(before)
            for place in subset:
                image[place : place + SECTOR] = after[place : place + SECTOR]
            story.check(files | {name: bytes(image)})


payloads = st.one_of(st.binary(max_size=40), st.integers(0, 900).map(lambda n: b"x" * n))
acts = st.one_of(
    st.lists(payloads, min_size=1, max_size=6),
    st.just("restart"),
    st.floats(0, 1).map(lambda share: ("forget", share)),
    st.just("echo"),
)
spoils = st.tuples(
    st.sampled_from(["truncate", "burst", "sector", "swap", "stale", "rename", "twice", "garbage", "none"]),
    st.floats(0, 0.999),
    st.floats(0, 0.999),
    st.floats(0, 0.999),
    st.binary(min_size=1, max_size=32),
)


def spoil(story, files, kind, which, at, other, noise):  # noqa: C901 - a table of cases
    """One piece of damage to one file."""
    names = sorted(files)
    name = names[int(which * len(names))]
    data = files[name]
    place = int(at * len(data)) // SECTOR * SECTOR
    if kind == "truncate":
        data = data[: int(at * len(data))]
    elif kind == "burst":
        data = data[: int(at * len(data))] + noise + data[int(at * len(data)) + len(noise) :]
    elif kind == "sector":
        data = data[:place] + (noise * SECTOR)[:SECTOR] + data[place + SECTOR :]
    elif kind == "stale":
        older = story.history[int(other * len(story.history))].get(name, data)
        data = data[:place] + older[place : place + SECTOR] + data[place + SECTOR :]
    elif kind == "swap":
        a, b = sorted((place, int(other * len(data)) // SECTOR * SECTOR))
        if a < b:
            data = data[:a] + data[b : b + SECTOR] + data[a + SECTOR : b] + data[a : a + SECTOR] + data[b + SECTOR :]
    elif kind == "rename":
        files = {n: d for n, d in files.items() if n != name}
        name = f"{int(other * 20):010}.relog"
        if name in files:
            return files | {"0000000777.relog": data}
    elif kind == "twice":
        name = f"{100 + int(other * 20):010}.relog"
    elif kind == "garbage":
        name, data = f"{100 + int(other * 20):010}.relog", noise * int(at * 100)
    return files | {name: data}


@settings(max_examples=400, deadline=None)
@given(st.lists(acts, min_size=1, max_size=25), spoils)
@example([[b""], "restart", [b""], ("forget", 0.75)], ("truncate", 0.0, 0.0, 0.0, b"x"))
def test_any_history_and_any_one_piece_of_damage(make_disk, boot, history, damage):
    story = Story(make_disk(), boot)
    for act in history:
        if act == "restart":
            story.log.close()
            story.log = Relog(story.disk, boot, SEGMENT)
            assert not story.log.recover().report.problems()
        elif act == "echo":  # a payload that holds a piece of the log itself, valid records and all
            for data in list(story.files().values())[-1:]:
                story.append(data[4096:7000].rstrip(b"\0"))
                story.commit()
        elif isinstance(act, tuple):
            story.forget(int(act[1] * story.log.next_seq))
        else:
            for payload in act:
                story.append(payload)
            story.commit()
    files = story.files()
    if files:
        files = spoil(story, files, *damage)
    reading = story.check(files)
    go_on(story, boot, files, reading)


def go_on(story, boot, files, reading):
    """The next process appends to what is left; the one after it reads both."""
    disk = story.disk.of(files)
    log = Relog(disk, boot, SEGMENT)
    assert log.recover().entries == reading.entries
    seq = log.append("Next", 1, b"next", 0.0)
    assert seq not in story.appended or not story.acknowledged
    log.commit()
    again = read(disk, SEGMENT)
    assert again.entries[:-1] == reading.entries
    assert (again.entries[-1].seq, again.entries[-1].payload) == (seq, b"next")
    unsaid = [s for s in story.acknowledged if s not in {e.seq for e in again.entries}]
    assert all(any(a <= s <= b for a, b in again.report.missing) for s in unsaid)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.integers(0, 30).map("{:010}.relog".format), st.binary(max_size=9000), max_size=4))
def test_garbage_is_no_log(make_disk, boot, files):
    disk = make_disk().of(files)
    log = Relog(disk, boot, SEGMENT)
    recovered = log.recover()
    assert recovered.entries == []
    assert len(recovered.report.damaged) >= len(files)
    log.append("Test", 1, b"", 0.0)
    log.commit()
    assert [entry.payload for entry in read(disk, SEGMENT).entries] == [b""]
