"""A real ast3d that is killed: the next one knows what it knew, and nothing is done twice or forgotten."""

import json
import os
import shutil
import signal

import pytest

CONFIG = (
    "pipeline: {command: [/bin/sh, -c, 'echo \"$0\" >> @/ledger; %s', '{frame}', '{out}']}\n"
    "pool: {settle_seconds: 0.3, scan_seconds: 0.5, incomplete_seconds: 1}\n"
    "worker: {slots: 2, attempts: 3, backoff_seconds: %s, backoff_limit_seconds: 60}\n"
)
HOLD = "while [ ! -e @/go ]; do sleep 0.05; done"


def config(script: str = ":", backoff: float = 0.1) -> str:
    return CONFIG % (script, backoff)


def drop(node, name: str = "a.fits", data: bytes = b"frame") -> None:
    aside = node.root / "aside"
    aside.write_bytes(data)
    aside.rename(node.pool / name)


def kill(node) -> None:
    node.stop(signal.SIGKILL)


def relog(node, *words: str) -> list[dict]:
    answer = node.ctl("relog", "show", "--json", *words)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def test_attempts_are_counted_over_every_kill(node):
    one = node(config("exit 3"))
    drop(one)
    for failures in (1, 2):
        one.wait(lambda n=failures: one.log().count("task.failed") >= n, f"failed {failures} times")
        kill(one)
        one.start()
    one.settled(0, 1)
    (why,) = one.discarded()
    assert [attempt["attempt"] for attempt in why["attempts"]] == [1, 2, 3]
    assert len(one.lines()) == 3


def test_a_worker_outlives_three_ast3d_and_works_once(node):
    one = node(config(HOLD))
    drop(one)
    one.wait(one.lines, "at work")
    for _ in range(3):
        kill(one)
        one.start()
        assert one.status()["tasks"]["running"] == 1
    kill(one)
    (one.root / "go").touch()
    one.wait(one.published, "published while nobody watches")
    one.start()
    one.settled(1)
    assert len(one.lines()) == 1
    assert one.status()["tasks"]["done"] == 1


def test_products_whose_runner_died_before_it_could_tell_are_not_made_again(node):
    one = node(config(HOLD))
    drop(one)
    one.wait(one.lines, "at work")
    kill(one)
    (account,) = (one.root / "state" / "attempts").glob("*.json")
    told = json.loads(account.read_text())
    (one.root / "go").touch()
    one.wait(lambda: json.loads(account.read_text())["ended"], "ended")
    account.write_text(json.dumps(told))  # as if it had been killed between the rename and this
    one.start()
    one.settled(1)
    assert len(one.lines()) == 1


@pytest.mark.parametrize("lost", ["the account", "all that was remembered"])
def test_a_worker_that_nobody_knows_of_is_the_only_one_at_its_frame(node, lost):
    one = node(config("echo begin >> @/times; " + HOLD + "; echo end >> @/times"))
    drop(one)
    one.wait(one.lines, "at work")
    kill(one)
    for account in (one.root / "state" / "attempts").glob("*.json"):
        account.write_text("{")
    if lost == "all that was remembered":
        shutil.rmtree(one.root / "state" / "relog")
    one.start(until="DEGRADED")
    one.wait(lambda: "another worker is at this frame already" in one.log(), "refused")
    (one.root / "go").touch()
    one.settled(1)
    assert (one.root / "times").read_text().split() == ["begin", "end"]


def test_a_frame_is_known_until_it_has_left_the_pool_and_the_totals_after_it(node):
    one = node(config())
    drop(one)
    one.settled(1)
    one.wait(lambda: one.status()["tasks"]["done"] == 1, "told")
    kill(one)
    one.start()
    assert one.status()["tasks"] == {"ready": 0, "running": 0, "done": 1, "discarded": 0}


def test_an_incomplete_frame_that_grows_on_returns_to_a_later_ast3d(node):
    one = node(config())
    cards = ["SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    1",
             "NAXIS1  =                 5000", "END"]  # fmt: skip
    whole = "".join(card.ljust(80) for card in cards).encode().ljust(2880) + bytes(5000)
    with (one.pool / "torn.fits").open("wb", buffering=0) as camera:
        camera.write(whole[:4000])
        one.settled(0, 1)
        one.wait(lambda: "task.filed" in one.log(), "filed")
        kill(one)
        one.start()
        camera.write(whole[4000:])
    one.settled(1)
    assert one.archived()[0].read_bytes() == whole


def test_a_pause_outlives_ast3d(node):
    one = node(config())
    assert one.ctl("pause", "--for", "1h").returncode == 0
    kill(one)
    one.start(until="PAUSED")
    drop(one)
    one.wait(lambda: one.status()["tasks"]["ready"] == 1, "accepted")
    assert one.lines() == []
    one.ctl("resume")
    one.settled(1)


def test_without_its_relog_it_begins_anew_and_loses_no_frame(node):
    one = node(config(HOLD))
    for name in ("a.fits", "b.fits", "c.fits"):
        drop(one, name, name.encode())
    one.wait(lambda: len(one.lines()) == 2, "two at work")
    kill(one)
    shutil.rmtree(one.root / "state" / "relog")
    one.start()
    found = {"ready": 1, "running": 2, "done": 0, "discarded": 0}
    one.wait(lambda: one.status()["tasks"] == found, "found again")
    (one.root / "go").touch()
    one.settled(3)
    assert len(one.lines()) == 3


@pytest.mark.parametrize("damage", ["garbage", "cut", "a file in its place"])
def test_a_damaged_relog_is_told_of_and_prevents_no_start(node, damage):
    one = node(config("exit 3", backoff=30))
    drop(one)
    one.wait(lambda: "task.failed" in one.log(), "failed")
    kill(one)
    folder = one.root / "state" / "relog"
    (segment,) = folder.glob("*.relog")
    if damage == "garbage":
        with segment.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(300))
    elif damage == "cut":
        os.truncate(segment, 4500)
    else:
        shutil.rmtree(folder)
        folder.write_text("not a folder")
    one.start(until="READY" if damage == "a file in its place" else "DEGRADED")
    assert ("folder.problem" if damage == "a file in its place" else "relog.damaged") in one.log()
    assert one.ctl("acknowledge").returncode == 0
    one.wait(lambda: len(one.lines()) == 2 or one.status()["tasks"]["ready"] == 1, "known or tried")
    assert (one.pool / "a.fits").exists()


def test_start_is_in_the_relog_before_the_work_and_done_before_the_frame_leaves(node):
    one = node(config(HOLD))
    drop(one)
    one.wait(one.lines, "at work")
    kinds = [record["type"] for record in relog(one)]
    assert "Started" in kinds
    assert "Done" not in kinds
    (one.root / "go").touch()
    one.settled(1)
    kinds = [record["type"] for record in relog(one)]
    assert kinds.index("Done") < len(kinds)
    kill(one)
    assert one.ctl("relog", "verify").returncode == 0
