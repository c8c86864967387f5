"""Real power cuts, the short form; `python -m tests.powercut --cuts 200` is the long one."""

import json
import os
from hashlib import sha256

import pytest

from tests.powercut import disks
from tests.powercut.audit import Claim, Standing, audit, standing, unrecorded_starts
from tests.powercut.cuts import Campaign, campaign

CUTS = 10


@pytest.fixture
def place(tmp_path):
    try:
        with disks.shelf(tmp_path / "shelf") as folder:
            yield folder
    except disks.NoDisksError as error:
        pytest.skip(str(error))


def test_after_power_cuts_every_frame_is_published_once(tmp_path):
    try:
        tally = campaign(CUTS, tmp_path, progress=print)
    except disks.NoDisksError as error:
        pytest.skip(str(error))
    assert [str(violation) for violation in tally.violations] == []
    assert tally.cuts == CUTS
    assert tally.unpublished >= CUTS  # they hit work in flight
    print(tally)


@pytest.mark.parametrize("kind", disks.KINDS)
def test_a_cut_keeps_what_was_synced_and_nothing_else(place, kind):
    image = disks.make(place, kind)
    with disks.mounted(image, kind) as folder:
        for name in ("synced", "hoped"):
            with (folder / name).open("wb") as file:
                file.write(b"content")
                file.flush()
                if name == "synced":
                    os.fsync(file.fileno())
                    fd = os.open(folder, os.O_RDONLY)
                    os.fsync(fd)
                    os.close(fd)
        copy = disks.cut(image, "copy.img")
    with disks.mounted(copy, kind) as folder:
        assert (folder / "synced").read_bytes() == b"content"
        assert not (folder / "hoped").exists() or (folder / "hoped").read_bytes() != b"content"


def test_frames_that_were_not_synced_are_missed(place, tmp_path):
    """The check can fail."""
    one = Campaign(place, tmp_path, print)
    one.load("ext4", 2, seed=5, durable=False)
    assert {"lost", "wrong", "quarantined"} & {violation.kind for violation in one.tally.violations}


FRAME, TASK = b"the frame", "a-0123456789ab"
CLAIM = Claim({"a.fits": sha256(FRAME).hexdigest()}, {"a.fits": sha256(FRAME).hexdigest()}, (), ())


@pytest.fixture
def root(tmp_path):
    """As after a recovery in which all went well."""
    for folder in ("incoming/ast3-1", "quarantine/ast3-1", "archive/ast3-1/N"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "archive" / "ast3-1" / "N" / f"{TASK}.fits").write_bytes(FRAME)
    publish(tmp_path, "N")
    return tmp_path


def publish(root, night, attempt=1):
    folder = root / "products" / "ast3-1" / night / TASK
    folder.mkdir(parents=True)
    (folder / "copy").write_bytes(FRAME)
    digest = sha256(FRAME).hexdigest()
    facts = {"task": TASK, "name": "a.fits", "attempt": attempt, "frame": {"sha256": digest},
             "files": {"copy": {"sha256": digest}}}  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(facts))
    return folder


def kinds(root, before=None, runs=()):
    return sorted({violation.kind for violation in audit(root, CLAIM, before or Standing({}), list(runs))})


def test_the_audit_passes_what_is_right(root):
    assert kinds(root, standing(root)) == []


def test_the_audit_misses_a_frame(root):
    (root / "archive" / "ast3-1" / "N" / f"{TASK}.fits").unlink()
    assert kinds(root) == ["lost"]


def test_the_audit_misses_products(root):
    (root / "products" / "ast3-1" / "N" / TASK / "manifest.json").unlink()
    assert kinds(root) == ["lost"]


def test_the_audit_sees_a_frame_that_stays_in_the_pool(root):
    (root / "incoming" / "ast3-1" / "a.fits").write_bytes(FRAME)
    assert kinds(root) == ["lost"]


def test_the_audit_sees_a_second_publication(root):
    publish(root, "M")
    assert kinds(root) == ["twice"]


def test_the_audit_sees_products_that_were_replaced(root):
    before = standing(root)
    manifest = root / "products" / "ast3-1" / "N" / TASK / "manifest.json"
    manifest.write_text(manifest.read_text() + " ")
    assert kinds(root, before) == ["twice"]


def test_the_audit_sees_products_that_are_not_whole(root):
    (root / "products" / "ast3-1" / "N" / TASK / "copy").write_bytes(b"")
    assert kinds(root) == ["wrong"]


def test_the_audit_sees_a_healthy_frame_in_quarantine(root):
    (root / "quarantine" / "ast3-1" / TASK).mkdir()
    assert kinds(root) == ["quarantined"]


def test_the_audit_sees_work_done_again(root):
    run = root / "products" / ".tmp" / f"{TASK}.1"
    assert kinds(root, runs=[run, run.with_suffix(".2")]) == ["again"]
    assert kinds(root, standing(root), [run]) == ["again"]


def test_the_audit_sees_a_run_whose_start_was_not_durable(root):
    (root / "state" / "relog").mkdir(parents=True)
    run = root / "products" / ".tmp" / f"{TASK}.1"
    assert [violation.kind for violation in unrecorded_starts(root, Claim({}, {}, (run,), (run,)))] == ["order"]


def test_the_audit_sees_an_attempt_number_out_of_order(root):
    (root / "products" / "ast3-1" / "N" / TASK / "manifest.json").unlink()
    publish(root, "M", attempt=7)
    assert "order" in kinds(root)
