"""A real ast3d with a program in place of photometry: what a site relies on."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

APPEND = "pipeline: {command: [/bin/sh, -c, 'echo \"$0\" >> @/ledger; %s', '{frame}', '{out}', '{telescope}']}\n"
QUICK = "pool: {settle_seconds: 0.3, scan_seconds: 0.5, incomplete_seconds: 1}\n"
EAGER = "worker: {slots: 2, attempts: 2, backoff_seconds: 0.1, soft_seconds: 1, hard_seconds: 2}\n"


def command(script: str = ":") -> str:
    return APPEND % script + QUICK


def drop(node, name: str, data: bytes = b"frame") -> None:
    """As a careful camera does: written elsewhere, renamed into the pool."""
    aside = node.root / "aside"
    aside.write_bytes(data)
    aside.rename(node.pool / name)


def test_a_frame_is_processed_published_and_archived(node):
    one = node(command("cp $0 $1/copy; echo $2 > $1/telescope"))
    drop(one, "a.fits", b"the frame")
    one.settled(1)
    (manifest,) = one.published()
    facts = json.loads(manifest.read_text())
    assert facts["name"] == "a.fits"
    assert facts["telescope"] == "ast3-1"
    assert set(facts["files"]) == {"copy", "telescope"}
    assert (manifest.parent / "copy").read_bytes() == b"the frame"
    assert (manifest.parent / "telescope").read_text() == "ast3-1\n"
    assert one.archived()[0].read_bytes() == b"the frame"
    assert one.archived()[0].name == facts["task"] + ".fits"
    assert one.status()["tasks"] == {"ready": 0, "running": 0, "done": 1, "discarded": 0}
    assert list((one.root / "products" / ".tmp").iterdir()) == []
    assert list((one.root / "state" / "attempts").iterdir()) == []


def test_five_hundred_frames_dropped_four_ways_are_each_processed_once(node, tmp_path):
    one = node(command())
    source = tmp_path / "source"
    source.mkdir()
    for number in range(500):
        (source / f"f{number}.fits").write_bytes(os.urandom(3000))
    ways = ["rename", "copy", "link", "rsync" if shutil.which("rsync") else "copy"]
    for number in range(500):
        frame, way = source / f"f{number}.fits", ways[number % 4]
        if way == "rename":
            drop(one, frame.name, frame.read_bytes())
        elif way == "copy":
            shutil.copyfile(frame, one.pool / frame.name)
        elif way == "link":
            os.link(frame, one.pool / frame.name)
    if "rsync" in ways:
        batch = [source / f"f{number}.fits" for number in range(3, 500, 4)]
        subprocess.run(["rsync", "-a", *batch, f"{one.pool}/"], check=True)
    one.settled(500)
    assert sorted(Path(line).name for line in one.lines()) == sorted(f"f{number}.fits" for number in range(500))
    assert len(one.published()) == 500
    assert one.discarded() == []


def test_hostile_names_are_processed_and_never_break_a_line(node):
    one = node(command())
    names = [
        b"with space.fits",
        b"new\nline.fits",
        b"\xff\xfe.fits",
        b"$(touch pwned);`.fits",
        b"-rf.fits",
        b"%41{out}.fits",
    ]
    for name in names:
        drop(one, os.fsdecode(name), name)
    one.settled(len(names))
    assert len(one.published()) == len(names)
    shown = {json.loads(path.read_text())["name"] for path in one.published()}
    assert "new%0Aline.fits" in shown
    assert "%FF%FE.fits" in shown
    for line in one.log().splitlines():
        assert line.isascii()
        assert line[:4] == "2026" or line[4] == "-"
    assert not list(one.root.glob("**/pwned"))


def test_what_is_not_a_frame_is_refused_and_kept(node, tmp_path):
    one = node(command())
    (tmp_path / "secret").write_text("secret")
    os.mkfifo(one.pool / "fifo.fits")
    (one.pool / "link.fits").symlink_to(tmp_path / "secret")
    one.settled(0, 2)
    reasons = sorted(why["reason"] for why in one.discarded())
    assert reasons[0].startswith("a fifo, not a frame")
    assert reasons[1].startswith("a symbolic link, not a frame")
    assert one.lines() == []


def test_a_half_written_frame_is_discarded_as_incomplete_and_returns_when_it_grows(node):
    one = node(command())
    cards = ["SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    1",
             "NAXIS1  =                 5000", "END"]  # fmt: skip
    whole = "".join(card.ljust(80) for card in cards).encode().ljust(2880) + bytes(5000)
    with (one.pool / "torn.fits").open("wb", buffering=0) as camera:
        camera.write(whole[:4000])
        one.settled(0, 1)
        (why,) = one.discarded()
        assert why["reason"] == "incomplete: 4000 bytes of the 7880 that its header says"
        camera.write(whole[4000:])
    one.settled(1)
    assert one.discarded() == []
    assert one.archived()[0].read_bytes() == whole


def test_a_command_that_fails_is_tried_again_and_then_the_frame_is_kept_in_quarantine(node):
    one = node(command("[ -e @/repaired ] && exit; echo no idea >&2; exit 3") + EAGER)
    drop(one, "a.fits")
    one.settled(0, 1)
    (why,) = one.discarded()
    assert [attempt["attempt"] for attempt in why["attempts"]] == [1, 2]
    assert why["reason"] == "pipeline.command /bin/sh exited with status 3: no idea"
    assert why["attempts"][0]["tail"] == "no idea\n"
    assert len(one.lines()) == 2
    answer = one.ctl("why", why["task"])
    assert "status 3: no idea" in answer.stdout
    (one.root / "repaired").touch()
    assert one.ctl("retry", why["task"]).returncode == 0
    one.settled(1)
    assert len(one.lines()) == 3


def test_a_command_that_is_not_there_is_not_the_frames_fault(node):
    one = node("pipeline: {command: [/no/such/program]}\n" + QUICK + EAGER)
    drop(one, "a.fits")
    one.wait(lambda: one.log().count("task.failed") >= 3, "tried more often than the frame may fail")
    status = one.status()
    assert status["state"] == "DEGRADED"
    assert "/no/such/program" in " ".join(status["reasons"])
    assert one.discarded() == []
    assert (one.pool / "a.fits").exists()


def test_a_worker_that_hangs_is_killed_with_all_that_it_started(node):
    script = "trap : TERM; setsid sleep 1000 & echo $! > @/escaped; while :; do sleep 0.1; done"
    one = node(command(script) + EAGER)
    drop(one, "a.fits")
    one.settled(0, 1)
    (why,) = one.discarded()
    assert why["reason"].startswith("exceeded the soft limit of 1 s")
    assert len(why["attempts"]) == 2
    escaped = int((one.root / "escaped").read_text())
    one.wait(lambda: not running(escaped), "rid of the escaped child")


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_sigterm_ends_it_within_a_second_and_its_workers_are_found_again(node):
    one = node(command("while [ ! -e @/go ]; do sleep 0.05; done; touch $1/made"))
    drop(one, "a.fits")
    one.wait(lambda: one.status()["tasks"]["running"] == 1, "running")
    assert one.process
    one.process.terminate()
    assert one.process.wait(1) == 0
    one.start()
    assert one.status()["tasks"] == {"ready": 0, "running": 1, "done": 0, "discarded": 0}
    (one.root / "go").touch()
    one.settled(1)
    assert len(one.lines()) == 1
    assert one.status()["tasks"]["done"] == 1


def test_a_worker_that_ended_while_ast3d_was_dead_is_credited(node):
    one = node(command("while [ ! -e @/go ]; do sleep 0.05; done"))
    drop(one, "a.fits")
    one.wait(lambda: one.status()["tasks"]["running"] == 1, "running")
    one.stop(signal.SIGKILL)
    (one.root / "go").touch()
    one.wait(lambda: len(one.published()) == 1, "published without ast3d")
    one.start()
    one.settled(1)
    assert len(one.lines()) == 1


@pytest.mark.parametrize("helper", ["scout", "porter", "nursery"])
def test_a_helper_that_is_killed_is_started_again_and_nothing_is_lost(node, helper):
    one = node(command("sleep 0.2"))
    for number in range(6):
        drop(one, f"a{number}.fits", b"%d" % number)
    one.wait(lambda: len(one.lines()) >= 2, "at work")
    pids = [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if is_helper(pid, helper, one.process.pid)]
    assert len(pids) == 1
    os.kill(pids[0], signal.SIGKILL)
    for number in range(6, 9):
        drop(one, f"a{number}.fits", b"%d" % number)
    one.settled(9)
    assert len(set(one.lines())) == 9
    assert len(one.published()) == 9
    assert f"helper.down helper={helper}" in one.log()


def is_helper(pid: int, helper: str, parent: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return f"ast3d.{helper}".encode() in words and f"PPid:\t{parent}\n" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_pause_and_resume(node):
    one = node(command())
    assert one.ctl("pause", "--for", "1h").returncode == 0
    assert one.status()["state"] == "PAUSED"
    drop(one, "a.fits")
    one.wait(lambda: one.status()["tasks"]["ready"] == 1, "ready")
    assert one.lines() == []
    assert one.ctl("resume").returncode == 0
    one.settled(1)


def test_a_bad_configuration_leaves_the_old_one_and_prevents_no_start(node):
    one = node(command())
    one.configure("pool: {settle_seconds: -1}")
    one.process.send_signal(signal.SIGHUP)
    one.wait(lambda: one.status()["state"] == "DEGRADED", "complaining")
    assert "settle_seconds" in one.status()["reasons"][0]
    drop(one, "a.fits")
    one.settled(1)
    one.stop()
    one.process = subprocess.Popen([Path(sys.executable).parent / "ast3d", "--root", one.root, "--foreground"])
    one.wait(lambda: one.status()["state"] == "DEGRADED", "started")


def test_a_second_ast3d_is_refused(node):
    one = node(command())
    answer = subprocess.run(
        [Path(sys.executable).parent / "ast3d", "--root", one.root, "--foreground"],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert answer.returncode == 1
    assert f"pid {one.process.pid}" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_it_goes_to_the_background_when_it_is_ready(node):
    one = node(command(), start=False)
    binary = Path(sys.executable).parent / "ast3d"
    assert subprocess.run([binary, "--root", one.root], timeout=30, check=False).returncode == 0
    status = one.status()
    try:
        assert status["state"] == "READY"
        drop(one, "a.fits")
        one.settled(1)
    finally:
        os.kill(status["pid"], signal.SIGTERM)
    one.wait(lambda: one.status()["state"] == "STOPPED", "stopped")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_strangers_are_refused_in_one_line(node):
    one = node(command())
    for folder in (one.root, *one.root.parents):
        if folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(folder.stat().st_mode | 0o005)
    code = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        's.sendall(b\'{"verb": "status", "args": {}}\\n\'); print(s.makefile().readline(), end=\'\')'
    )
    argv = ["/usr/bin/python3", "-c", code, str(one.root / "run" / "control.sock")]
    answer = subprocess.run(argv, user=65534, group=65534, extra_groups=[], capture_output=True, text=True, timeout=30)
    assert answer.stdout, answer.stderr
    told = json.loads(answer.stdout)
    assert told["ok"] is False
    assert "\n" not in told["error"]


def test_it_needs_no_numpy(node):
    one = node(command())
    maps = Path(f"/proc/{one.process.pid}/maps").read_text()
    assert "numpy" not in maps
