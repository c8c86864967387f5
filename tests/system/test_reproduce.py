"""A frame that a real ast3d gave up on, taken out of its quarantine by hand."""

import json
import signal
import subprocess
import sys
from pathlib import Path

CTL = Path(sys.executable).parent / "ast3ctl"
QUICK = "pool: {settle_seconds: 0.3, scan_seconds: 0.5}\nworker: {slots: 2, attempts: 2, backoff_seconds: 0.1}\n"
PATIENCE_SECONDS = 60


def drop(node, name: str, data: bytes = b"frame") -> None:
    aside = node.root / "aside"
    aside.write_bytes(data)
    aside.rename(node.pool / name)


def reproduce(node, where: Path, task: str) -> subprocess.CompletedProcess:
    """In a folder of the operator's."""
    where.mkdir()
    argv = [CTL, "--root", node.root, "reproduce", task]
    return subprocess.run(argv, cwd=where, capture_output=True, text=True, timeout=PATIENCE_SECONDS)


def test_a_programs_failure_is_reproduced_and_its_repair_is_seen(node, tmp_path):
    one = node(start=False)
    pipeline = one.root / "pipeline"
    pipeline.write_text('#!/bin/sh\necho "$1: not today" >&2\nexit 7\n')
    pipeline.chmod(0o755)
    one.configure(QUICK + "pipeline: {command: [@/pipeline, '{frame}', '{out}', '{telescope}']}\n")
    one.start()
    drop(one, "a b.fits")
    one.settled(0, 1)
    (why,) = one.discarded()
    assert why["reason"].endswith(f"exited with status 7: {one.pool}/a b.fits: not today")
    task = why["task"]
    kept = sorted((one.root / "quarantine").rglob("*"))
    assert [path.name for path in kept if path.is_file()] == [
        f"{task}.1.out", f"{task}.2.out", f"{task}.fits", "order.json", "why.json"
    ]  # fmt: skip
    assert f"ast3ctl reproduce {task}" in one.ctl("why", task).stdout

    again = reproduce(one, tmp_path / "first", task)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.splitlines()[-2:] == [
        f"{tmp_path}/first/reproduce-{task}/frame/a b.fits: not today",
        f"ast3ctl: failed as the attempt did: {why['reason']}",
    ]

    one.stop()  # no daemon is needed
    pipeline.write_text('#!/bin/sh\ncp "$1" "$2/$3"\n')
    again = reproduce(one, tmp_path / "second", task)
    products = tmp_path / "second" / f"reproduce-{task}" / "products"
    assert again.returncode == 0, again.stderr
    assert again.stdout == f"products in {products}; the attempt failed: {why['reason']}\n"
    assert (products / "ast3-1").read_bytes() == b"frame"
    assert sorted((one.root / "quarantine").rglob("*")) == kept
    assert one.published() == []

    one.start()
    assert one.ctl("retry", task).returncode == 0
    one.settled(1)
    again = reproduce(one, tmp_path / "third", task)
    assert again.returncode == 0, again.stderr
    assert again.stdout == f"products in {tmp_path}/third/reproduce-{task}/products\n"


def test_a_failure_of_photometry_is_reproduced_with_the_attempts_settings(node, tmp_path):
    template = b"a template"
    one = node(QUICK + "photometry: {max_megapixels: 3.5}\n", start=False)
    (one.root / "templates" / "ast3-1").mkdir(parents=True)
    (one.root / "templates" / "ast3-1" / "t.fits").write_bytes(template)
    one.start()
    drop(one, "a.fits", b"hello, this is no FITS file")
    one.settled(0, 1)
    (why,) = one.discarded()
    again = reproduce(one, tmp_path / "first", why["task"])
    folder = tmp_path / "first" / f"reproduce-{why['task']}"
    assert again.returncode == 1
    assert again.stderr.splitlines()[1:] == [
        f"ast3-photometry: {why['reason']}", f"ast3ctl: failed as the attempt did: {why['reason']}"
    ]  # fmt: skip
    assert json.loads((folder / "settings.json").read_text())["max_megapixels"] == 3.5
    (one.root / "templates" / "ast3-1" / "t.fits").write_bytes(b"another template")
    again = reproduce(one, tmp_path / "second", why["task"])
    assert "the template is not the one of the attempt any more" in again.stderr


def test_a_frame_whose_work_was_killed_has_its_order_too(node, tmp_path):
    config = QUICK.replace("attempts: 2", "attempts: 1, soft_seconds: 1, hard_seconds: 2")
    one = node(
        config + "pipeline: {command: [/bin/sh, -c, 'trap : TERM; [ -e @/repaired ] || while :; do sleep 0.1; done']}\n"
    )
    drop(one, "a.fits")
    one.settled(0, 1)
    (one.root / "repaired").touch()
    (why,) = one.discarded()
    assert "soft limit" in why["reason"]
    again = reproduce(one, tmp_path / "first", why["task"])
    assert again.returncode == 0, again.stderr


def test_a_discarded_frame_is_tried_again_under_another_configuration_and_not_under_the_same(node):
    failing = QUICK + "pipeline: {command: [/bin/sh, -c, 'echo x >> @/ledger; exit 1']}\n"
    one = node(failing)
    drop(one, "a.fits")
    one.settled(0, 1)
    one.stop()
    one.start()
    drop(one, "b.fits")
    one.settled(0, 2)
    assert one.lines() == ["x"] * 4
    one.stop()
    one.configure(failing.replace("exit 1", "true"))
    one.start()
    one.settled(2)
    assert one.discarded() == []
    assert one.status()["tasks"]["done"] == 2


def test_a_frame_that_fails_while_the_configuration_is_changed_is_tried_under_the_new_one(node):
    command = "pipeline: {command: [/bin/sh, -c, 'touch @/begun; while [ ! -e @/go ]; do sleep 0.05; done; exit 1']}\n"
    failing = QUICK.replace("attempts: 2", "attempts: 1") + command
    one = node(failing)
    drop(one, "a.fits")
    one.wait((one.root / "begun").exists, "begun")
    one.configure(failing.replace("exit 1", "true"))
    one.process.send_signal(signal.SIGHUP)
    one.wait(lambda: one.log().count("config.read") == 2, "read")
    (one.root / "go").touch()
    one.settled(1)
    assert one.discarded() == []
    assert one.log().count("task.discarded") == 1
