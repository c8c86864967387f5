"""The helpers of a node among others: pools that nobody announces, and porters that meet at one frame."""

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from ast3d import remote, scout
from ast3d.common import files
from ast3d.common.config import Config
from ast3d.common.schema import Site, Telescope
from ast3d.frameid import frame_id
from ast3d.porter import Porter
from ast3d.scout import Scout
from ast3d.startup import fingerprint_of, policy_of
from ast3d.task import Entry, Place

NIGHT = "2026-06-20"


class Said:
    """A link to nobody: what the helper says is kept."""

    def __init__(self):
        self.messages = []

    def send(self, message):
        self.messages.append(message)

    def fileno(self):
        return -1

    def of(self, verb):
        return [message[verb] for message in self.messages if verb in message]


# --- the scout


def watch(tmp_path, *names):
    """The order to watch these pools."""
    pools = {name: str(tmp_path / "incoming" / name) for name in names}
    folders = {"products": str(tmp_path / "products"), "quarantine": str(tmp_path / "quarantine")}
    return {"watch": {"pools": pools, "ignore": [".*"], "scan_seconds": 3600} | folders}


@pytest.fixture
def looker(tmp_path):
    one = Scout(Said())
    yield one, lambda *names: one.serve(watch(tmp_path, *names))
    if one.inotify:
        one.inotify.close()


def test_a_pool_that_stays_is_watched_on_while_others_come_and_go(looker, tmp_path):
    one, look_at = looker
    look_at("a")
    inotify, pool = one.inotify, one.pools["a"]
    look_at("a", "b")
    assert (one.inotify, one.pools["a"]) == (inotify, pool)
    b = one.pools["b"].watch
    (tmp_path / "incoming" / "a" / "1").write_bytes(b"x")
    look_at("a")
    assert one.pools["a"] is pool
    (tmp_path / "incoming" / "b" / "2").write_bytes(b"x")
    events = inotify.read(timeout=200)
    assert not [event for event in events if event.wd == b and event.name]
    assert len(one.link.of("sighted")) == 1


def test_a_pool_that_leaves_and_returns_is_told_anew(looker, tmp_path):
    one, look_at = looker
    look_at("a", "b")
    (tmp_path / "incoming" / "b" / "2").write_bytes(b"x")
    look_at("a", "b")
    look_at("a")
    assert one.link.of("gone") == [[["b", "2"]]]
    look_at("a", "b")
    assert len(one.link.of("sighted")) == 2
    (tmp_path / "aside").write_bytes(b"x")
    (tmp_path / "aside").rename(tmp_path / "incoming" / "b" / "3")
    one.look_where_told()
    assert one.link.of("sighted")[-1][0]["arrival"] == "renamed"


def test_a_pool_under_another_path_is_another_folder(looker, tmp_path):
    one, look_at = looker
    look_at("a")
    (tmp_path / "incoming" / "a" / "1").write_bytes(b"x")
    look_at("a")
    moved = watch(tmp_path, "a")
    moved["watch"]["pools"]["a"] = str(tmp_path / "elsewhere")
    one.serve(moved)
    assert one.link.of("gone") == [[["a", "1"]]]


def test_where_nobody_tells_of_what_others_write_it_is_looked_every_second_and_that_is_no_problem(
    looker, tmp_path, monkeypatch
):
    one, look_at = looker
    look_at("a")
    assert one.next_scan > scout.boottime() + 3000
    monkeypatch.setattr(remote, "read", lambda: {tmp_path.stat().st_dev: "nfs4"})
    look_at("a")
    assert one.next_scan < scout.boottime() + 1.1
    assert one.pools["a"].watch >= 0
    assert one.link.of("scanned") == [{"problems": []}] * 2
    assert one.link.of("log") == []


@pytest.mark.parametrize("where", [NIGHT, "quarantine", ""])
def test_where_a_frame_went(looker, tmp_path, where):
    one, look_at = looker
    look_at("a")
    folder = tmp_path / "products" / "a" / NIGHT / "id" if where == NIGHT else tmp_path / "quarantine" / "a" / "id"
    folder.mkdir(parents=True)
    if where:
        (folder / ("manifest.json" if where == NIGHT else "why.json")).write_text("{}")
    one.serve({"seek": {"task": "id", "telescope": "a", "reason": "gone"}})
    assert one.link.of("sought") == [{"task": "id", "where": where, "reason": "gone"}]


# --- the porter


@pytest.fixture
def porters(tmp_path):
    """Of two nodes at one store."""
    shared = {name: tmp_path / name for name in ("incoming", "products", "archive", "quarantine")}
    made = []
    for node in ("n1", "n2"):
        state = tmp_path / node / "state"
        (state / "attempts").mkdir(parents=True)
        one = Porter(Said())
        one.serve({"folders": {name: str(path) for name, path in (shared | {"state": state}).items()}, "node": node})
        made.append(one)
    for folder in (*shared.values(), shared["incoming"] / "t"):
        folder.mkdir(exist_ok=True)
    return made


def put(tmp_path, name="a.fits", data=b"frame"):
    """A frame in the pool; -> what an order names it by."""
    path = tmp_path / "incoming" / "t" / name
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    about = os.fstat(fd)
    task = frame_id(Entry(Place("t", name), len(data), about.st_mtime_ns), fd)
    os.close(fd)
    return {"task": task, "telescope": "t", "name": name, "size": len(data), "mtime_ns": about.st_mtime_ns}


def archive(porter, order):
    return porter.archive(order | {"night": NIGHT})["filed"]


def quarantine(porter, order, **why):
    told = {"task": order["task"], "attempts": [{}], "incomplete": False, "fingerprint": "f"} | why
    return porter.quarantine(order | {"why": told})["filed"]


def publish(tmp_path, order):
    folder = tmp_path / "products" / "t" / NIGHT / order["task"]
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")


def frames(tmp_path):
    """Where the frame is."""
    found = [path for top in ("incoming", "archive", "quarantine") for path in (tmp_path / top).rglob("*.fits")]
    return [str(path.relative_to(tmp_path)).split("/")[0] for path in found]


def test_what_the_other_has_archived_is_filed(porters, tmp_path):
    order = put(tmp_path)
    publish(tmp_path, order)
    assert [archive(one, order)["outcome"] for one in porters] == ["filed", "filed"]
    assert frames(tmp_path) == ["archive"]


def test_what_the_other_has_given_up_and_this_one_published_ends_in_the_archive(porters, tmp_path):
    order = put(tmp_path)
    assert quarantine(porters[0], order)["outcome"] == "filed"
    publish(tmp_path, order)
    assert archive(porters[1], order)["outcome"] == "filed"
    assert frames(tmp_path) == ["archive"]
    assert list((tmp_path / "quarantine" / "t").iterdir()) == []


def test_what_the_other_publishes_while_this_one_gives_it_up_is_published(porters, tmp_path, monkeypatch):
    order = put(tmp_path)
    bundle = Porter.bundle

    def meanwhile(self, asked, folder):
        bundle(self, asked, folder)
        publish(tmp_path, order)
        assert archive(porters[1], order)["outcome"] == "filed"

    monkeypatch.setattr(Porter, "bundle", meanwhile)
    filed = quarantine(porters[0], order)
    assert (filed["outcome"], filed["detail"]) == ("published", NIGHT)
    assert frames(tmp_path) == ["archive"]
    assert list((tmp_path / "quarantine" / "t").iterdir()) == []


def test_both_may_give_it_up(porters, tmp_path):
    order = put(tmp_path)
    assert [quarantine(one, order)["outcome"] for one in porters] == ["filed", "filed"]
    assert frames(tmp_path) == ["quarantine"]


STEPS = ["link", "_sync_file", "_unlink", "lstat"]


@pytest.mark.parametrize("step", STEPS)
def test_what_the_other_moves_at_this_very_time_is_filed(porters, tmp_path, monkeypatch, step):
    """At whichever step of the move the other one does all of it."""
    order = put(tmp_path)
    publish(tmp_path, order)
    done = []

    def before(call):
        def first(*given, **named):
            if not done:
                done.append(True)
                assert archive(porters[1], order)["outcome"] == "filed"
            return call(*given, **named)

        return first

    where = {"link": os, "lstat": Path}.get(step, files)
    monkeypatch.setattr(where, step, before(getattr(where, step)))
    assert archive(porters[0], order)["outcome"] == "filed"
    assert done
    assert frames(tmp_path) == ["archive"]


def test_many_frames_moved_by_both_at_once_are_each_filed_once(porters, tmp_path):
    orders = [put(tmp_path, f"{n}.fits", b"frame %d" % n) for n in range(60)]
    for order in orders:
        publish(tmp_path, order)
    outcomes = []

    def move(porter, order_of):
        for order in order_of:
            if order["name"][0] in "12":
                quarantine(porter, order)
            outcomes.append(archive(porter, order)["outcome"])

    threads = [threading.Thread(target=move, args=(one, orders)) for one in porters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outcomes == ["filed"] * 120
    assert frames(tmp_path) == ["archive"] * 60
    assert not list((tmp_path / "incoming" / "t").iterdir())


def test_only_the_telescopes_that_are_worked_for_are_reconsidered_each_by_its_own(porters, tmp_path):
    one = porters[0]
    order = put(tmp_path)
    quarantine(one, order, fingerprint="then")
    for telescopes in ({}, {"u": "now"}, {"t": "then"}):
        one.serve({"reconsider": {"fingerprint": "now", "but": [], "telescopes": telescopes}})
    assert one.link.of("restored") == []
    one.serve({"reconsider": {"fingerprint": "then", "but": [], "telescopes": {"t": "now"}}})
    assert one.link.of("restored") == [{"task": order["task"], "request": 0, "problem": ""}]


def test_nobody_sweeps_what_another_node_makes(porters, tmp_path):
    work = tmp_path / "products" / ".tmp"
    attempt = "a-0123456789ab.1"
    for folder in ("n1", "n2", "dome.1"):
        (work / folder / attempt).mkdir(parents=True)
    (work / attempt).mkdir()
    one = porters[0]
    one.serve({"tidy": {"keep": []}})
    assert sorted(str(path.relative_to(work)) for path in work.rglob("*.1")) == sorted(
        [attempt, "dome.1", f"dome.1/{attempt}", f"n2/{attempt}"]
    )
    porters[1].serve({"sweep": {"task": "a-0123456789ab", "attempt": 1}})
    assert not (work / "n2" / attempt).exists()
    alone = Porter(Said())
    alone.serve({"folders": {name: str(path) for name, path in one.folders.items()}})
    alone.serve({"tidy": {"keep": []}})
    assert sorted(str(path.relative_to(work)) for path in work.rglob("*.1")) == ["dome.1", f"dome.1/{attempt}"]


# --- what the work depends on


def test_whose_telescope_it_is_and_which_others_there_are_is_nothing_to_the_work():
    bare = Config(telescopes={"t": Telescope()})
    owned = Config(telescopes={"t": Telescope(node="n", array="x"), "u": Telescope(template="u.fits")})
    assert fingerprint_of(bare, "t") == fingerprint_of(owned, "t")
    assert fingerprint_of(owned, "t") != fingerprint_of(owned, "u")
    assert policy_of(bare).fingerprint == policy_of(owned).fingerprint
    assert not policy_of(bare).differs_in_work_from(policy_of(owned))
    other = Config(telescopes={"t": Telescope(template="other.fits")})
    assert policy_of(bare).differs_in_work_from(policy_of(other))
    assert policy_of(owned).fingerprints.keys() == {"t", "u"}


def test_what_is_known_of_the_telescope_and_the_site_is_something_to_the_work():
    camera = Telescope(instrument="ast3")
    told = [
        Config(telescopes={"t": Telescope()}),
        Config(telescopes={"t": camera}),
        Config(telescopes={"t": replace(camera, calibration="june")}),
        Config(telescopes={"t": camera}, site=Site(catalog="stars.fits")),
        Config(telescopes={"t": camera}, site=Site(77.1, -80.37, 4093.0)),
    ]
    assert len({fingerprint_of(config, "t") for config in told}) == len(told)
