"""Stopped on purpose, and started on purpose, without systemd: real processes below a folder."""

import json
import signal
import subprocess

import pytest

from ast3d.common.clock import boot_id, boottime
from protectd import files, proc, starts
from tests.protect.below import BIN, stays

HOLD = "while [ ! -e @/go ]; do sleep 0.05; done"
DEAF = "trap : TERM; while [ ! -e @/go ]; do sleep 0.05; done"


def at_work(one, count=1):
    """So many workers run."""
    for number in range(count):
        one.expose(f"f{number}.fits")
    one.wait(lambda: len(one.accounts()) == count, f"{count} at work")
    one.wait(lambda: one.status()["tasks"]["running"] == count, f"{count} running")


def test_it_stays_stopped_until_it_is_started(node):
    one = node()
    assert one.ctl("stop") == "stopped; `ast3ctl start` starts it again\n"
    assert one.pids() == [0, 0]
    assert (one.run / "stopped").exists()
    assert one.ctl("ensure") == ""
    assert "was stopped on purpose; start it with `ast3ctl --root" in one.ctl("resume", code=1)
    assert stays(lambda: one.pids() == [0, 0], 1.5)
    said = one.ctl("start")
    assert said == f"started: READY, pid {one.pid('ast3d')}\n"
    assert not (one.run / "stopped").exists()
    one.wait(one.guarded, "guarded")


def test_stop_as_json(node):
    one = node()
    assert json.loads(one.ctl("stop", "--json")) == {"state": "STOPPED", "mode": "now", "running": 0}
    assert json.loads(one.ctl("start", "--json")) == {"state": "READY", "pid": one.pid("ast3d")}


def test_its_exit_status_says_that_it_was_on_purpose(node):
    one = node(start=False)
    process = subprocess.Popen([BIN / "ast3d", "--root", one.root, "--foreground"], stderr=subprocess.DEVNULL)
    one.wait(one.guarded, "guarded")
    one.ctl("stop")
    assert process.wait(20) == 80


def test_sigterm_is_no_stop_on_purpose_and_yet_nobody_starts_it_but_cron(node):
    one = node(HOLD, start=False)
    process = subprocess.Popen([BIN / "ast3d", "--root", one.root, "--foreground"], stderr=subprocess.DEVNULL)
    one.wait(one.guarded, "guarded")
    at_work(one)
    before = boottime()
    process.terminate()
    assert process.wait(20) == 0
    assert boottime() - before < 1
    assert not (one.run / "stopped").exists()
    assert len(one.accounts()) == 1
    assert stays(lambda: one.pid("ast3d") == 0, 1.5)
    assert one.ctl("ensure") == "ensure: started ast3d: nobody ran it\n"
    one.wait(one.guarded, "guarded")
    (one.root / "go").touch()
    one.wait(one.published, "published")


def test_workers_stay_and_are_found_again(node):
    one = node(HOLD)
    at_work(one)
    assert "; 1 workers go on by themselves, and the next ast3d finds them;" in one.ctl("stop")
    assert len(one.accounts()) == 1
    one.ctl("start")
    one.wait(lambda: one.status()["tasks"]["running"] == 1, "adopted")
    (one.root / "go").touch()
    one.wait(one.published, "published")
    assert json.loads(one.published()[0].read_text())["attempt"] == 1


def test_draining_waits_for_the_workers_and_starts_nothing(node):
    one = node(HOLD)
    at_work(one)
    stop = subprocess.Popen([BIN / "ast3ctl", "--root", one.root, "stop", "--drain"], stdout=subprocess.PIPE, text=True)
    one.wait(lambda: one.status()["state"] == "DRAINING", "draining")
    one.expose("late.fits")
    assert "is ending, as `ast3ctl stop` asked" in one.ctl("start", code=1)
    assert stays(lambda: len(one.accounts()) == 1 and stop.poll() is None, 1)
    (one.root / "go").touch()
    assert stop.communicate(timeout=20)[0].startswith("stopped; 1 workers had come to their end;")
    assert one.pids() == [0, 0]
    assert [json.loads(path.read_text())["name"] for path in one.published()] == ["f0.fits"]
    one.ctl("start")
    one.wait(lambda: len(one.published()) == 2, "the other published")


@pytest.mark.parametrize("command", [HOLD, DEAF], ids=["willing", "deaf"])
def test_killing_ends_the_workers_and_blames_no_frame(node, command):
    one = node(command)
    for _ in range(3):
        if not one.accounts():
            one.expose("a.fits") if not list((one.root / "incoming" / "ast3-1").iterdir()) else None
        one.wait(lambda: one.status()["tasks"]["running"] == 1, "at work")
        one.wait(lambda: len(one.accounts()) == 1, "its account")
        (worker,) = one.accounts()
        assert one.ctl("stop", "--kill").startswith("stopped; 1 workers were ended, and their frames are tried again;")
        seen = proc.look(worker["pid"])
        assert seen is None or seen.state == "Z"
        one.ctl("start")
        if command == DEAF:
            break  # 5 s each
    (one.root / "go").touch()
    one.wait(one.published, "published")
    assert not list((one.root / "quarantine").glob("ast3-1/*"))
    assert "task.discarded" not in one.log()
    assert "task.suspected" not in one.log()


def test_a_stop_where_nothing_runs_keeps_it_so(node):
    one = node(start=False)
    assert one.ctl("stop").startswith("stopped;")
    assert one.ctl("ensure") == ""
    assert one.pids() == [0, 0]


def test_a_stop_while_it_waits_after_starts_that_failed(node):
    one = node(start=False)
    one.run.mkdir()
    starts.write(one.run / "ast3d.starts", starts.Starts(9, boottime()), boot_id())
    process = subprocess.Popen([BIN / "ast3d", "--root", one.root, "--foreground"], stderr=subprocess.PIPE, text=True)
    one.wait(lambda: files.holder(one.run / "ast3d.begin") == process.pid, "beginning")
    assert "begins in" in process.stderr.readline()
    one.ctl("stop")
    assert process.wait(20) == 80
    assert one.ctl("start").startswith("started: READY")  # at once: it is on purpose


def test_a_protectd_that_is_left_alone_is_ended_too(node):
    one = node()
    one.kill("ast3d", number=signal.SIGTERM)
    one.wait(lambda: one.pid("ast3d") == 0, "ended")
    assert one.pid("protectd")
    assert one.ctl("stop").startswith("stopped;")
    assert one.pids() == [0, 0]


def test_a_stop_that_cannot_be_marked_stops_nothing(node):
    one = node()
    before = one.pids()
    (one.run / f".stopped.{one.pid('ast3d')}").mkdir()  # where it is written before it gets its name
    assert "cannot be marked as stopped" in one.ctl("stop", code=1)
    assert one.pids() == before


def test_a_start_of_what_runs_says_so(node):
    one = node()
    assert one.ctl("start") == f"runs already: READY, pid {one.pid('ast3d')}\n"


def test_a_start_that_fails_says_why(node):
    one = node(start=False)
    (one.root / "state").write_text("precious")
    assert one.ctl("start", code=1) == f"ast3ctl: {one.root}/state is a file, and must be a folder: move it away\n"


def test_a_start_by_hand_ends_a_stop_on_purpose(node):
    one = node()
    one.ctl("stop")
    subprocess.run([BIN / "ast3d", "--root", one.root], check=True, timeout=30)
    assert not (one.run / "stopped").exists()
    one.wait(one.guarded, "guarded")


def test_nobody_guards_where_the_configuration_says_so_and_this_changes_while_it_runs(node):
    one = node(start=False, more="protect: {enabled: false}\n")
    one.ctl("start")
    assert one.status()["protect"] == {"pid": None, "state": "disabled"}
    configured = one.root / "etc" / "ast3d.yaml"
    configured.write_text("protect: {period_seconds: 0.2, misses: 5}\n...\n")
    one.kill("ast3d", number=signal.SIGHUP)
    one.wait(one.guarded, "guarded")
    facts = files.read(one.run / "ast3d.json")
    assert facts["protect"] == {"enabled": True, "period_seconds": 0.2, "misses": 5}
    before = one.pid("ast3d")
    one.kill("ast3d")
    one.wait(lambda: one.pid("ast3d") not in {0, before} and one.guarded(), "started again")
    assert one.log().count("daemon.start ") == 2


def test_each_ast3d_is_one_generation_later(node):
    one = node()
    one.kill("ast3d")
    one.wait(lambda: files.read(one.run / "ast3d.json").get("generation") == 2, "the second")
    one.wait(one.guarded, "guarded")
    assert (one.root / "state" / "ast3d.lock").read_text() == f"{one.pid('ast3d')} 2\n"
