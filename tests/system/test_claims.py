"""Real ast3d as nodes of a cluster; these tests speak as ast3-ha does."""

import json
import os
import shutil
import signal
import threading
import time

import pytest

from ast3d.claim import Claim
from ast3d.common.clock import boot_id, boottime
from ast3d.common.control_client import ControlError, call
from ast3d.fence import raise_to

CONFIG = """\
telescopes: {ast3-1: {node: a}, ast3-2: {node: b}}
nodes: {a: {address: '127.0.0.1:4471'}, b: {address: '127.0.0.1:4472'}}
ha: {node: %s, etcd: ['http://127.0.0.1:2379']}
pipeline: {command: [/bin/sh, -c, 'echo "$0" >> @/ledger; %s', '{frame}', '{out}']}
pool: {settle_seconds: 0.3, scan_seconds: 0.5, incomplete_seconds: 1}
worker: {slots: 2, attempts: 3, backoff_seconds: 0.1, backoff_limit_seconds: 60}
"""
HOLD = "while [ ! -e @/go ]; do sleep 0.05; done"
SHARED = ("incoming", "products", "archive", "quarantine", "templates", "calibrations")


def config(script=":", name="a"):
    return CONFIG % (name, script)


def own(epoch=1, token=10):
    return {"epoch": epoch, "token": token, "own": True, "deadline": None}


def foreign(seconds=3600.0, token=20):
    return {"epoch": 1, "token": token, "own": False, "deadline": boottime() + seconds}


def assign(one, **claims):
    """Telescopes are written ast3_1 here."""
    told = {name.replace("_", "-"): claim for name, claim in claims.items()}
    return call(one.root / "run" / "control.sock", "assign", {"boot": boot_id(), "claims": told})


def drop(one, telescope="ast3-1", name="a.fits", data=b"frame"):
    aside = one.root / "aside"
    aside.write_bytes(data)
    aside.rename(one.root / "incoming" / telescope / name)


def published(one, telescope="ast3-1"):
    return [json.loads(path.read_text()) for path in sorted((one.root / "products").glob(f"{telescope}/*/*/manifest.json"))]


def test_it_works_for_what_it_is_told_and_parks_what_has_lapsed(node):
    one = node(config())
    assert one.status()["telescopes"] == {
        "ast3-1": {"own": True, "epoch": 0, "token": 0, "seconds_left": None, "state": "working"}
    }
    drop(one)
    one.wait(lambda: published(one), "published")
    assert not (one.root / "incoming" / "ast3-2").exists()
    one.wait(lambda: assign(one, ast3_1=own())["served"], "its end remembered, which comes after its products")
    answer = assign(one, ast3_1=own(), ast3_2=foreign(3.0))
    assert (answer["served"], answer["ill"], answer["fenced"]) == (1, "", {})
    assert "works  for ast3-1 (own), ast3-2 (token 20, for another " in one.ctl("status").stdout
    one.wait((one.root / "incoming" / "ast3-2").is_dir, "watched")
    drop(one, "ast3-2")
    one.wait(lambda: published(one, "ast3-2"), "published")
    (manifest,) = published(one, "ast3-2")
    assert (manifest["node"], manifest["claim"]) == ("a", {"epoch": 1, "token": 20, "own": False})
    assert [path.name for path in (one.root / "products" / ".fence" / "ast3-2").iterdir()] == ["1.20.a"]
    assert list((one.root / "products" / ".tmp").iterdir()) == [one.root / "products" / ".tmp" / "a"]
    one.wait(lambda: "telescope.parked" in one.log(), "parked")
    drop(one, "ast3-2", "b.fits", b"other")
    one.wait(lambda: assign(one, ast3_1=own(), ast3_2=foreign(-1.0))["waiting"]["ast3-2"] == 1, "waiting")
    drop(one, "ast3-1", "c.fits", b"own")
    one.wait(lambda: len(published(one)) == 2, "own work goes on")
    assert len(published(one, "ast3-2")) == 1
    assert "parked ast3-2 (token 20): nothing starts until ast3-ha says so" in one.ctl("status").stdout
    assert "ast3-2 is parked" in one.ctl("why", "b-").stdout
    assert one.log().count("telescope.parked") == 1
    assign(one, ast3_1=own(), ast3_2=foreign(30.0))
    one.wait(lambda: len(published(one, "ast3-2")) == 2, "published")
    assert one.log().count("telescope.resumed") == 1


def test_what_leaves_is_let_go_and_what_runs_is_filed(node):
    one = node(config(HOLD))
    assign(one, ast3_1=own(), ast3_2=foreign())
    one.wait((one.root / "incoming" / "ast3-2").is_dir, "watched")
    for name in ("a", "b", "c"):
        drop(one, "ast3-2", f"{name}.fits", name.encode())
    one.wait(lambda: len(one.lines()) == 2 and one.status()["tasks"]["ready"] == 1, "two at work, one waits")
    answer = assign(one, ast3_1=own())
    assert answer["running"] == {"ast3-1": 0, "ast3-2": 2}
    assert one.status()["tasks"]["ready"] == 0
    (one.root / "go").touch()
    one.wait(lambda: len(list((one.root / "archive" / "ast3-2").glob("*/*"))) == 2, "filed")
    assert len(list((one.root / "incoming" / "ast3-2").iterdir())) == 1
    assert "ERROR" not in one.log()


def test_the_last_assignment_rules_after_a_kill_and_foreign_work_waits_for_the_agent(node):
    one = node(config())
    assign(one, ast3_2=own(2, 30), ast3_1=foreign())
    one.stop(signal.SIGKILL)
    one.start()
    assert one.status()["telescopes"] == {
        "ast3-2": {"own": True, "epoch": 2, "token": 30, "seconds_left": None, "state": "working"}
    }
    drop(one, "ast3-1")
    drop(one, "ast3-2")
    one.wait(lambda: published(one, "ast3-2"), "published")
    assert published(one, "ast3-2")[0]["claim"] == {"epoch": 2, "token": 30, "own": True}
    time.sleep(1.5)  # in which it would have been seen
    assert published(one) == []
    assign(one, ast3_2=own(2, 30), ast3_1=foreign())
    one.wait(lambda: published(one), "published")


def test_who_was_taken_over_from_while_it_worked_publishes_nothing(node):
    one = node(config(HOLD))
    assign(one, ast3_1=own(1, 10))
    drop(one)
    one.wait(one.lines, "at work")
    raise_to(one.root / "products", "ast3-1", Claim(2, 11, own=True), "b")
    (one.root / "go").touch()
    one.wait(lambda: "telescope.fenced" in one.log(), "fenced")
    one.wait(lambda: list((one.root / "products" / ".tmp" / "a").iterdir()) == [], "swept")
    assert published(one) == []
    assert one.status()["tasks"] == {"ready": 1, "running": 0, "done": 0, "discarded": 0}
    assert assign(one, ast3_1=own(1, 10))["fenced"] == {"ast3-1": [1, 10]}
    said = one.ctl("status").stdout
    assert "fenced ast3-1 (epoch 1, token 10): another node works for it; `ast3ctl ha status` says which" in said
    assert (len(one.lines()), one.log().count(" ERROR ")) == (1, 1)
    assign(one, ast3_1=own(2, 12))
    one.wait(lambda: published(one), "published")
    assert one.discarded() == []


def test_words_of_another_shape_are_refused(node):
    one = node(config())
    socket = one.root / "run" / "control.sock"
    for args in ({}, {"boot": boot_id(), "claims": {"ast3-1": {}}}, {"boot": "another", "claims": {}}):
        with pytest.raises(ControlError, match="assign"):
            call(socket, "assign", args)
    assert one.status()["state"] == "READY"


def test_alone_it_takes_no_claims(node):
    one = node("{}")
    with pytest.raises(ControlError, match=r"ha\.node is not set"):
        assign(one, ast3_1=own())
    assert "telescopes" not in one.status()
    assert "works" not in one.ctl("status").stdout


@pytest.fixture
def two(node, tmp_path):
    """Two nodes at one store."""

    def make(script=":", other=None):
        made = []
        for name, work in (("a", script), ("b", script if other is None else other)):
            one = node(config(work, name), start=False)
            for folder in SHARED:
                (tmp_path / "shared" / folder).mkdir(parents=True, exist_ok=True)
                (one.root / folder).symlink_to(tmp_path / "shared" / folder)
            one.start()
            made.append(one)
        return made

    yield make
    shutil.rmtree(tmp_path / "shared", ignore_errors=True)


def speak(nodes, claims, until):
    """As the agents do: every node is told again and again."""
    while not until.is_set():
        for one, told in zip(nodes, claims, strict=True):
            assign(one, ast3_1=told())
        until.wait(0.3)


def test_two_nodes_at_the_same_frames_make_one_of_each_and_complain_of_nothing(two):
    a, b = two("echo made > {out}/made")
    over = threading.Event()
    agents = threading.Thread(target=speak, args=([a, b], [own, foreign], over))
    agents.start()
    try:
        for number in range(40):
            drop(a, name=f"{number}.fits", data=b"frame %d" % number)
        a.wait(lambda: len(a.archived()) == 40 and not list(a.pool.iterdir()), "all filed")
        for one in (a, b):
            one.wait(lambda one=one: one.status()["tasks"]["ready"] + one.status()["tasks"]["running"] == 0, "at rest")
            one.wait(lambda one=one: assign(one, ast3_1=own() if one is a else foreign())["waiting"]["ast3-1"] == 0, "over")
    finally:
        over.set()
        agents.join()
    assert len(published(a)) == 40
    assert {manifest["node"] for manifest in published(a)} == {"a", "b"}
    assert a.discarded() == []
    for one in (a, b):
        assert " ERROR " not in one.log()
    assert len(a.lines()) + len(b.lines()) >= 40


def test_what_one_gives_up_and_the_other_publishes_ends_with_the_products(two):
    a, b = two("while [ ! -e @/go ]; do sleep 0.05; done", "exit 3")
    assign(a, ast3_1=own())
    drop(a)
    a.wait(a.lines, "at work")
    assign(b, ast3_1=foreign())
    b.wait(lambda: b.discarded() and not list(a.pool.iterdir()), "given up by one while the other works")
    (a.root / "go").touch()
    a.wait(lambda: len(a.archived()) == 1, "archived")
    assert len(published(a)) == 1
    a.wait(lambda: list((a.root / "quarantine" / "ast3-1").iterdir()) == [], "no more in quarantine")
    assert " ERROR " not in a.log()


def test_two_that_find_the_frames_of_the_other_finished_know_them_by_their_products(two):
    a, b = two()
    assign(a, ast3_1=own())
    assign(b, ast3_1=foreign())
    assert b.ctl("pause").returncode == 0
    assert a.ctl("pause").returncode == 0
    for number in range(10):
        drop(a, name=f"{number}.fits", data=b"frame %d" % number)
    for one in (a, b):
        one.wait(lambda one=one: one.status()["tasks"]["ready"] == 10, "seen by both")
    a.ctl("resume")
    a.settled(10)
    b.wait(lambda: b.log().count("task.elsewhere") == 10, "known")
    assert " ERROR " not in b.log()
    assert b.status()["tasks"]["ready"] == 0
    assert os.listdir(a.root / "products" / ".tmp") == ["a"]
