"""The machine in trouble under a real ast3d: nothing is blamed on a frame, nothing is lost, and it goes on afterwards."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
QUICK = "pool: {settle_seconds: 0.3, scan_seconds: 0.5}\n"
EAGER = (
    "worker: {slots: 2, attempts: 1, backoff_seconds: 0.1, backoff_limit_seconds: 0.2, soft_seconds: %s, hard_seconds: %s}\n"
)
COMMAND = "pipeline: {command: [/bin/sh, -c, 'echo \"$0\" >> @/ledger; %s', '{frame}', '{out}']}\n"
HOLD = "while [ ! -e @/go ]; do sleep 0.05; done"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount and to kill")


def config(script: str = ":", soft: float = 60, hard: float = 70) -> str:
    return COMMAND % script.replace("'", "''") + QUICK + EAGER % (soft, hard)


def drop(node, name: str = "a.fits", data: bytes = b"frame") -> None:
    aside = node.root / "aside"
    aside.write_bytes(data)
    aside.rename(node.pool / name)


def fill(path: Path) -> None:
    """Until the disk is full: OSError."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def failed(node) -> bool:
    return "task.failed" in node.log()


@as_root
def test_a_state_disk_too_small_for_the_relog_stops_nothing(node):
    one = node(config(), start=False)
    disk = one.root / "state"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
    try:
        one.start(until="DEGRADED")
        assert "may be forgotten: cannot create" in one.status()["reasons"][0]
        drop(one)
        one.settled(1)
        subprocess.run(["mount", "-o", "remount,size=12m", disk], check=True)
        one.wait(lambda: one.status()["state"] == "READY", "ready")
        one.stop()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@as_root
@pytest.mark.parametrize(("folder", "megabytes"), [("products", 4), ("state", 12)])  # state: the relog and its spare
def test_a_full_disk_blames_no_frame_and_heals(node, folder, megabytes):
    one = node(config("head -c 3000000 /dev/zero > $1/big"), start=False)
    disk = one.root / folder
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", disk], check=True)
    try:
        one.start()
        ballast = disk / "ballast"
        with pytest.raises(OSError, match="No space"):
            fill(ballast)
        drop(one)
        one.wait(lambda: failed(one), "failed")
        one.wait(lambda: one.status()["state"] == "DEGRADED", "degraded")
        assert one.discarded() == []
        ballast.unlink()
        one.settled(1)
        assert one.status()["tasks"]["done"] == 1
        one.stop()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.parametrize("lost", ["state/attempts", "products/.tmp"])
def test_a_folder_that_is_removed_blames_no_frame(node, lost):
    one = node(config(HOLD))
    drop(one)
    one.wait(one.lines, "at work")
    shutil.rmtree(one.root / lost)
    (one.root / "go").touch()
    one.wait(lambda: failed(one) or one.published(), "failed or published")
    (one.root / lost).mkdir(exist_ok=True)
    one.settled(1)
    assert one.discarded() == []


def test_files_in_place_of_its_own_folders_are_moved_aside_at_the_start_and_said(node):
    one = node(config(), start=False)
    (one.root / "state").mkdir()
    (one.root / "products").mkdir()
    own = ("state/attempts", "state/relog", "state/kept", "products/.tmp")
    for name in own:
        (one.root / name).write_text(name)
    one.start()
    drop(one)
    one.settled(1)
    for name in own:
        (aside,) = one.root.glob(f"{name}.aside-*")
        assert aside.read_text() == name
        assert f'ERROR ast3d folder.problem reason="{one.root / name} was a file, and must be a folder' in one.log()
    one.stop()
    assert one.log().count("folder.problem") == len(own)


def test_a_file_in_place_of_the_folder_of_accounts_is_named_and_blames_no_frame(node):
    one = node(config())
    attempts = one.root / "state" / "attempts"
    attempts.rmdir()
    attempts.touch()
    drop(one)
    one.wait(lambda: failed(one), "failed")
    assert f"{attempts}, where workers tell how they end, is no folder; start ast3d again" in one.log()
    one.stop()
    one.start()
    one.settled(1)
    assert one.discarded() == []


def test_without_a_folder_for_its_log_it_works_and_says_so(node):
    one = node(config(), start=False)
    (one.root / "log").touch()
    words = (
        f"ast3d: {one.root}/log is a file, and must be a folder: move it away; until there is a folder, no log is written\n"
    )
    started = subprocess.run([BIN / "ast3d", "--root", one.root], capture_output=True, text=True, timeout=60)
    try:
        assert (started.returncode, started.stderr) == (0, words)
        drop(one)
        one.settled(1)
        status = one.status()
        assert status["state"] == "DEGRADED"
        assert status["reasons"] == [f"the last lines could not be logged: {one.root}/log/ast3d.log: Not a directory"]
        (one.root / "log").unlink()
        (one.root / "log").mkdir()
        drop(one, "b.fits", b"b")
        one.settled(2)
        one.wait(lambda: "log.dropped" in one.log(), "logging again")
        assert one.status()["state"] == "READY"
    finally:
        os.kill(one.status()["pid"], signal.SIGTERM)
        one.wait(lambda: one.status()["state"] == "STOPPED", "stopped")


def test_work_that_is_killed_from_outside_is_tried_again_and_blames_no_frame(node):
    one = node(config("[ -e @/go ] || { touch @/go; kill -9 $$; }"))
    drop(one)
    one.settled(1)
    assert "the work was ended by SIGKILL" in one.log()
    assert one.discarded() == []


def test_a_runner_that_is_killed_blames_no_frame(node):
    one = node(config(HOLD))
    drop(one)
    one.wait(one.lines, "at work")
    (account,) = (one.root / "state" / "attempts").glob("*.json")
    os.killpg(json.loads(account.read_text())["pid"], signal.SIGKILL)
    (one.root / "go").touch()
    one.settled(1)
    assert "ended without a word" in one.log()


def test_the_descendants_of_an_adopted_worker_end_with_it(node):
    one = node(config("setsid sleep 1000 & echo $! > @/escaped; trap : TERM; while :; do sleep 0.1; done", soft=3, hard=4))
    drop(one)
    one.wait((one.root / "escaped").exists, "escaped")
    one.stop(signal.SIGKILL)
    one.start()
    one.settled(0, 1)
    escaped = int((one.root / "escaped").read_text())
    one.wait(lambda: not Path(f"/proc/{escaped}").exists() or "Z" in Path(f"/proc/{escaped}/stat").read_text(), "ended")


def test_a_frame_that_is_deleted_while_it_fails_is_forgotten(node):
    one = node(config("rm $0; exit 1"))
    one.configure(config("rm $0; exit 1").replace("attempts: 1", "attempts: 5"))
    one.process.send_signal(signal.SIGHUP)
    one.wait(lambda: one.log().count("config.read") == 2, "configured anew")
    drop(one)
    one.wait(lambda: "task.vanished" in one.log(), "forgotten")
    assert one.status()["tasks"] == {"ready": 0, "running": 0, "done": 0, "discarded": 0}


def test_what_the_program_makes_of_its_folder_never_leaves_it(node, tmp_path):
    (tmp_path / "outside").mkdir()
    one = node(config(f'[ -e @/go ] || {{ rmdir "$1"; ln -s {tmp_path}/outside "$1"; }}; touch @/go'))
    drop(one)
    one.settled(1)
    assert list((tmp_path / "outside").iterdir()) == []
    (manifest,) = one.published()
    assert not manifest.parent.is_symlink()


def test_a_configuration_that_is_made_later_is_read_at_sighup(node):
    one = node("pool: {settle_seconds: 0.3}", start=False)
    (one.root / "etc" / "ast3d.yaml").unlink()
    one.start()
    one.configure("worker: {slots: 7}")
    one.process.send_signal(signal.SIGHUP)
    one.wait(lambda: "config.read slots=7" in one.log(), "configured")


def test_a_run_folder_that_is_removed_comes_back_and_allows_no_second_ast3d(node):
    one = node(config())
    shutil.rmtree(one.root / "run")
    binary = Path(sys.executable).parent / "ast3d"
    second = subprocess.run([binary, "--root", one.root, "--foreground"], capture_output=True, timeout=30, check=False)
    assert second.returncode == 1
    one.wait(lambda: one.status()["state"] == "READY", "listening again")


def test_who_started_it_may_die_before_it_is_ready(node):
    one = node(config(), start=False)
    binary = Path(sys.executable).parent / "ast3d"
    starter = subprocess.Popen([binary, "--root", one.root])
    one.wait((one.root / "run" / "control.sock").exists, "listening")
    starter.kill()
    starter.wait()
    one.wait(lambda: one.status()["state"] == "READY", "ready")
    try:
        drop(one)
        one.settled(1)
        assert "daemon.bug" not in one.log()
    finally:
        os.kill(one.status()["pid"], signal.SIGTERM)
        one.wait(lambda: one.status()["state"] == "STOPPED", "stopped")


def test_telescopes_that_leave_and_come_back(node):
    two = "telescopes: {ast3-1: {}, other: {}}\n"
    one = node(config() + two)
    one.process.send_signal(signal.SIGSTOP)
    (one.root / "incoming" / "other" / "b.fits").write_bytes(b"b")
    one.configure(config() + "telescopes: {ast3-1: {}}\n")
    one.process.send_signal(signal.SIGHUP)
    one.process.send_signal(signal.SIGCONT)
    one.wait(lambda: one.log().count("config.read") == 2, "one telescope less")
    one.configure(config() + two)
    one.process.send_signal(signal.SIGHUP)
    one.wait(lambda: list((one.root / "archive").glob("other/*/*")), "archived")


def test_a_frame_that_is_replaced_while_it_is_processed_is_never_published_under_the_wrong_name(node):
    one = node(config("while [ ! -e @/go ]; do sleep 0.05; done; cat $0 > $1/copy"))
    drop(one, data=b"first")
    one.wait(one.lines, "at work")
    drop(one, data=b"other")
    (one.root / "go").touch()
    one.settled(1)
    (manifest,) = one.published()
    facts = json.loads(manifest.read_text())
    assert facts["frame"]["sha256"] == facts["files"]["copy"]["sha256"]
    assert (manifest.parent / "copy").read_bytes() == b"other"


def test_the_work_ends_with_its_runner_and_never_writes_beside_its_successor(node):
    one = node(config('for i in 1 2 3 4 5 6 7 8 9 10; do echo $$ >> "$1"/rows; sleep 0.2; done'))
    drop(one)
    one.wait(lambda: list((one.root / "products" / ".tmp").glob("*/rows")), "at work")
    (account,) = (one.root / "state" / "attempts").glob("*.json")
    runner = json.loads(account.read_text())["pid"]
    one.stop(signal.SIGKILL)
    os.kill(runner, signal.SIGKILL)
    one.start()
    one.settled(1)
    (manifest,) = one.published()
    assert len(set((manifest.parent / "rows").read_text().split())) == 1


def test_what_was_made_before_the_soft_limit_is_not_published(node):
    one = node(config("trap 'exit 0' TERM; echo part > $1/part; while :; do sleep 0.1; done", soft=1, hard=3))
    drop(one)
    one.settled(0, 1)
    assert one.published() == []
    assert one.discarded()[0]["reason"].startswith("exceeded the soft limit of 1 s")


def test_a_program_that_says_that_the_disk_is_full_does_not_blame_the_frame(node):
    one = node(config("[ -e @/go ] || { touch @/go; echo 'write: No space left on device' >&2; exit 1; }"))
    drop(one)
    one.settled(1)
    assert "blame=environment" in one.log()


def test_a_retry_while_the_porter_is_away_is_answered(node):
    one = node(config("[ -e @/repaired ]"))
    drop(one)
    one.settled(0, 1)
    task = one.discarded()[0]["task"]
    (one.root / "repaired").touch()
    subprocess.run(["pkill", "-KILL", "-P", str(one.process.pid), "-f", "ast3d.porter"], check=True)
    one.wait(lambda: one.ctl("retry", task).returncode == 0, "retried")
    one.settled(1)


FAILING = """
import sys
from ast3d import begin, shell

def fail(_self):
    raise ValueError("a bug")

shell.Shell.patience = fail
sys.exit(begin.main(["--root", sys.argv[1], "--foreground"]))
"""


def test_an_ast3d_whose_every_turn_fails_makes_room_for_another(node):
    one = node(start=False)
    ended = subprocess.run([sys.executable, "-c", FAILING, one.root], stderr=subprocess.DEVNULL, timeout=60)
    assert ended.returncode == 1
    assert one.log().count("ValueError: a bug") == 25
