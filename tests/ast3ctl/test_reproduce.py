"""An attempt once more: with what it was given, and without touching what is kept."""

import hashlib
import json
import os
import time
from collections import defaultdict
from pathlib import Path

import pytest

from ast3ctl.cli import main
from ast3d.common.files import escape
from ast3d.common.versions import versions
from photometry.options import parser_of

TASK = "bad-00000000000a"
REASON = "pipeline.command /bin/sh exited with status 3: cannot read /pool/bad.fits"
FAILS = "echo hello; echo cannot read $0 >&2; exit 3"


class Node:
    """A node's folders, and the command run in a folder of its own."""

    def __init__(self, layout, here: Path, capsys) -> None:
        self.layout, self.here, self.capsys = layout, here, capsys
        self.folder = layout.quarantine / "ast3-1" / TASK

    def discard(self, script: str = FAILS, *, name: str = "bad.fits", reason: str = REASON, **changes) -> None:
        """A frame in quarantine with the order of its last attempt."""
        self.folder.mkdir(parents=True)
        (self.folder / f"{TASK}.fits").write_bytes(b"frame")
        (self.folder / f"{TASK}.1.out").write_text("what it said")
        why = {"task": TASK, "name": escape(name), "reason": reason, "attempts": [{"attempt": 1, "reason": reason}]}
        (self.folder / "why.json").write_text(json.dumps(why))
        frame = {"path": "/pool/bad.fits", "bytes": 5, "sha256": hashlib.sha256(b"frame").hexdigest()}
        order = {
            "task": TASK, "attempt": 1, "telescope": "ast3-1", "name": name, "frame": frame, "out": "/products/.tmp/bad.1",
            "command": ["/bin/sh", "-c", script, "{frame}", "{out}", "{telescope}"], "photometry": {"gain": 1.5},
            "assets": {}, "versions": versions(), "environment": {"OMP_NUM_THREADS": "7"}, "host": "dome-a",
            "began": "2026-06-21T03:14:15.926Z",
        }  # fmt: skip
        (self.folder / "order.json").write_text(json.dumps(order | changes))

    def publish(self, script: str) -> None:
        """A frame whose products stand, and which is in the archive."""
        folder = self.layout.products / "ast3-1" / "2026-06-20" / TASK
        folder.mkdir(parents=True)
        template = self.layout.templates / "ast3-1" / "t.fits"
        template.parent.mkdir()
        template.write_bytes(b"template")
        manifest = {
            "attempt": 1, "name": "good.fits", "night": "2026-06-20", "published": "2026-06-21T03:14:15.926Z",
            "pipeline": ["/bin/sh", "-c", script, "{frame}", "{out}"], "configuration": {"photometry": {}, "template": None},
            "versions": versions(), "frame": {"bytes": 5, "sha256": hashlib.sha256(b"frame").hexdigest()},
            "template": "t.fits", "assets": {"template": {"path": str(template)}},
        }  # fmt: skip
        (folder / "manifest.json").write_text(json.dumps(manifest))
        raw = self.layout.archive / "ast3-1" / "2026-06-20" / f"{TASK}.fits"
        raw.parent.mkdir(parents=True)
        raw.write_bytes(b"frame")

    def kept(self) -> dict[str, bytes]:
        """Everything that is not the command's to change."""
        return {str(path): path.read_bytes() for path in self.layout.run.parent.rglob("*") if path.is_file()}

    def reproduce(self, *words: str) -> tuple[int, str, str]:
        before = self.kept()
        try:
            code = main(["--root", str(self.layout.run.parent), "reproduce", "bad", *words])
        except SystemExit as leaving:
            code = leaving.code
        assert self.kept() == before
        out, err = self.capsys.readouterr()
        return code, out, err

    def fails(self, code: int, words: str, *arguments: str) -> None:
        found, out, err = self.reproduce(*arguments)
        assert (found, out) == (code, "")
        assert words in err.splitlines()[-1]
        assert err.splitlines()[-1].startswith("ast3ctl: ")


@pytest.fixture
def node(layout, tmp_path_factory, monkeypatch, capsys):
    here = tmp_path_factory.mktemp("here")
    monkeypatch.chdir(here)
    return Node(layout, here, capsys)


def test_what_failed_fails_for_the_same_reason(node):
    node.discard()
    code, out, err = node.reproduce()
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        f"ast3ctl: attempt 1 at {TASK}, on dome-a, 2026-06-21T03:14:15.926Z, once more; it failed: {REASON}",
        "hello",
        f"cannot read {node.here}/reproduce-{TASK}/frame/bad.fits",
        f"ast3ctl: failed as the attempt did: {REASON}",
    ]


def test_another_failure_is_told_from_the_attempts(node):
    node.discard("kill -SEGV $$")
    node.fails(1, f"failed: the work was ended by SIGSEGV; the attempt said: {REASON}")


@pytest.mark.parametrize("name", ["bad.fits", os.fsdecode(b"\xff {out}\n.fits"), "-rf"])
def test_what_is_repaired_gives_products_and_had_what_the_attempt_had(node, name):
    node.discard('cat "$0" > "$1/copy"; echo "$2 $OMP_NUM_THREADS $PWD" > facts', name=name)
    code, out, err = node.reproduce("--out", "again")
    products = node.here / "again" / "products"
    assert (code, out) == (0, f"products in {products}; the attempt failed: {REASON}\n")
    assert (products / "copy").read_bytes() == b"frame"
    assert (products / "facts").read_text() == f"ast3-1 7 {products}\n"
    assert (node.here / "again" / "frame" / name).exists()
    assert json.loads((node.here / "again" / "settings.json").read_text()) == {"gain": 1.5}
    assert "note" not in err


def test_work_that_spoils_its_frame_spoils_a_copy(node):
    node.discard('echo spoilt > "$0"; rm "$0"')
    assert node.reproduce()[0] == 0


def test_work_that_leaves_something_running_is_not_waited_for(node):
    node.discard("sleep 1000 & echo $! > $1/pid; exec > /dev/null 2>&1; sleep 0.1")
    assert node.reproduce("--out", "again")[0] == 0
    os.kill(int((node.here / "again" / "products" / "pid").read_text()), 9)


def test_work_that_says_no_more_is_waited_for_without_work(node):
    node.discard("exec > /dev/null 2>&1; sleep 0.5")
    began = time.process_time()
    assert node.reproduce()[0] == 0
    assert time.process_time() - began < 0.25


def test_for_programs(node):
    node.discard()
    code, out, _ = node.reproduce("--json")
    assert code == 1
    assert json.loads(out) == {
        "task": TASK, "products": None, "reason": REASON, "attempt_reason": REASON, "notes": []
    }  # fmt: skip


def test_nothing_is_overwritten(node):
    node.discard()
    (node.here / f"reproduce-{TASK}").mkdir()
    assert node.reproduce()[0] == 1  # an empty folder will do
    node.fails(2, "is not empty; name a new folder with --out")
    (node.here / "file").touch()
    node.fails(2, "is not a folder", "--out", "file")


@pytest.mark.parametrize(
    "folder", ["incoming/ast3-1", "products/a/b", "archive", "quarantine/ast3-1", "state", "log", "run"]
)
def test_nothing_is_made_in_the_daemons_folders(node, folder, monkeypatch):
    node.discard()
    root = node.layout.run.parent
    node.fails(2, f"is in {root}/{folder.split('/')[0]}, which is ast3d's", "--out", str(root / folder / "again"))
    (node.here / "link").symlink_to(root / folder.split("/")[0])
    node.fails(2, "which is ast3d's; name a folder elsewhere with --out", "--out", "link/again")
    assert not list(root.rglob("*again*"))
    monkeypatch.chdir(root / folder.split("/")[0])
    node.fails(2, "which is ast3d's")


def test_what_is_not_as_it_was_is_said(node, tmp_path):
    template = tmp_path / "t.fits"
    template.write_bytes(b"another")
    was = {"path": str(template), "bytes": 1, "mtime_ns": 1, "sha256": "0"}
    node.discard(assets={"template": was}, versions=versions() | {"numpy": "1.0"})
    (node.folder / f"{TASK}.fits").write_bytes(b"Frame")
    _, out, _ = node.reproduce("--json")
    frame, kept, numpy = json.loads(out)["notes"]
    assert "the frame is not the one of the attempt" in frame
    assert f"the template is not the one of the attempt any more: {template}" in kept
    assert numpy == f"numpy was 1.0 then and is {versions()['numpy']} now"


def known(path: Path, content: bytes, **facts) -> dict:
    """A file, as a worker notes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return {"path": str(path), "bytes": len(content), "mtime_ns": path.stat().st_mtime_ns, **facts}


@pytest.fixture
def raw(tmp_path):
    """A discarded raw frame's assets."""
    digest = hashlib.sha256(b"stars").hexdigest()
    return {
        "template": None,
        "instrument": known(tmp_path / "t" / "mine.yaml", b"camera"),
        "masters": known(tmp_path / "t" / "june" / "manifest.json", b"{}", version="1"),
        "catalog": known(tmp_path / "stars.fits", b"stars", sha256=digest),
        "site": {"longitude": -70.8, "latitude": -29.2, "height": 2400.0},
    }


@pytest.fixture
def asked(monkeypatch):
    """What photometry by hand was asked for, each word after its option."""
    found = []

    def follow(argv, _folder, _environment):
        found.extend(argv)
        return 0, ""

    monkeypatch.setattr("ast3ctl.reproduce._follow", follow)
    return found


def parsed(argv: list[str]) -> dict:
    """As ast3-photometry reads it."""
    return vars(parser_of(defaultdict(lambda: print)).parse_args(argv[1:]))


def test_photometry_by_hand_gets_all_that_the_attempt_had(node, raw, asked, tmp_path):
    node.discard(command=[], assets=raw)
    code, out, err = node.reproduce("--json")
    assert (code, json.loads(out)["notes"]) == (0, []), err
    options = parsed(asked)
    assert options["instrument"] == str(tmp_path / "t" / "mine.yaml")
    assert options["masters"] == tmp_path / "t" / "june"
    assert options["catalog"] == tmp_path / "stars.fits"
    assert options["site"] == (-70.8, -29.2, 2400.0)
    assert options["template"] is None


def test_photometry_by_hand_knows_an_instrument_by_its_name(node, raw, asked):
    node.discard(command=[], assets=raw | {"instrument": {"name": "lowell42"}, "site": None, "masters": None})
    assert node.reproduce()[0] == 0
    options = parsed(asked)
    assert (options["instrument"], options["masters"], options["site"]) == ("lowell42", None, None)


@pytest.mark.usefixtures("asked")
def test_assets_that_are_not_as_they_were_are_said_and_may_not_be_gone(node, raw, tmp_path):
    node.discard(command=[], assets=raw)
    later = 1 + (tmp_path / "stars.fits").stat().st_mtime_ns
    os.utime(tmp_path / "stars.fits", ns=(later, later))  # its checksum is known
    for name in ("mine.yaml", "june/manifest.json"):
        os.utime(tmp_path / "t" / name, ns=(later, later))
    _, out, _ = node.reproduce("--json")
    assert json.loads(out)["notes"] == [
        f"the instrument file is not the one of the attempt any more: {tmp_path}/t/mine.yaml",
        f"the calibration is not the one of the attempt any more: {tmp_path}/t/june/manifest.json",
    ]
    (tmp_path / "stars.fits").unlink()
    node.fails(1, f"the star catalog {tmp_path}/stars.fits is not there any more", "--out", "again")


def test_a_template_that_is_gone(node):
    node.discard(assets={"template": {"path": "/none/t.fits", "bytes": 1, "mtime_ns": 1, "sha256": "0"}})
    node.fails(1, "the template /none/t.fits is not there any more")


def test_a_published_frame(node):
    node.publish("cp $0 $1/copy")
    code, out, err = node.reproduce()
    products = node.here / f"reproduce-{TASK}" / "products"
    assert (code, out) == (0, f"products in {products}\n")
    assert (products / "copy").read_bytes() == b"frame"
    assert f"nobody knows the checksum that the template {node.layout.templates / 'ast3-1' / 't.fits'} had" in err


def test_a_published_frame_that_fails_now(node):
    node.publish("exit 1")
    node.fails(1, "failed: pipeline.command /bin/sh exited with status 1 and said nothing; the attempt did not fail")


def test_a_published_frame_that_is_not_in_the_archive(node):
    node.publish(":")
    (node.layout.archive / "ast3-1" / "2026-06-20" / f"{TASK}.fits").unlink()
    node.fails(1, "is not in the archive")


def test_what_cannot_be_run_again(node):
    node.fails(2, "no task 'bad'")
    node.discard()
    (node.folder / "why.json").write_text(json.dumps({"reason": "a FIFO is no frame", "attempts": []}))
    node.fails(2, "refused without an attempt: a FIFO is no frame")
    (node.folder / "why.json").write_text(json.dumps({"attempts": [{"reason": "torn"}]}))
    (node.folder / f"{TASK}.fits").unlink()
    node.fails(1, "the frame is not in")
    (node.folder / "order.json").unlink()
    node.fails(1, "order.json, what the attempt was given, cannot be read: No such file")


def test_a_task_at_work(node, daemon):
    daemon.answers["tasks"] = [{"task": TASK, "state": "RUNNING"}]
    node.fails(2, "is still at work")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "../../etc/passwd"}, "its field name is '../../etc/passwd', which is no name of a file"),
        ({"name": ".."}, "its field name is '..', which"),
        ({"name": "a\0"}, "its field name is 'a\\x00', which no path or command can hold"),
        ({"name": "\ud800"}, "its field name is '\\ud800', which no path or command can hold"),
        ({"name": None}, "its field name is missing"),
        ({"command": "rm -rf"}, "its field command is a text and must be a list"),
        ({"command": [1]}, "its field command is or holds a number where a text must be"),
        ({"command": ["a", "b\0"]}, "its field command is 'b\\x00', which"),
        ({"environment": {"A": 1}}, "its field environment.A is or holds a number"),
        ({"assets": None}, "its field assets is missing"),
        ({"assets": {"template": 3}}, "its field assets.template is a number and must be an object"),
        ({"assets": {"catalog": {}}}, "its field assets.catalog.path is missing"),
        ({"assets": {"site": {"longitude": 1.0}}}, "its field assets.site.latitude is missing"),
        ({"frame": []}, "its field frame is a list and must be an object"),
        ({"frame": {"sha256": 1}}, "its field frame.sha256 is or holds a number"),
        ({"attempt": "1"}, "its field attempt is a text and must be a number"),
    ],
)
def test_a_damaged_order_is_one_line_that_names_file_and_field(node, changes, words):
    node.discard()
    order = node.folder / "order.json"
    order.write_text(json.dumps(json.loads(order.read_text()) | changes))
    node.fails(1, f"{order} is damaged or incomplete: {words}")
    for text, found in (('{"task": ', "it is no JSON"), ("[" * 100_000, "it is no JSON"), ("3", "it is no JSON object")):
        order.write_text(text)
        node.fails(1, f"{order} is damaged or incomplete: {found}; the attempt cannot be run again")


@pytest.mark.parametrize("attempts", [3, "x", ["x"], {"a": 1}, [{}]])
def test_a_reason_that_is_damaged_keeps_nobody_from_the_attempt(node, attempts):
    node.discard()
    (node.folder / "why.json").write_text(json.dumps({"attempts": attempts}))
    node.fails(1, "bad.fits; the attempt did not fail")


def test_a_damaged_manifest_is_one_line_that_names_file_and_field(node):
    node.publish(":")
    (manifest,) = node.layout.products.glob("*/*/*/manifest.json")
    facts = json.loads(manifest.read_text())
    for changes, words in (
        ({"night": 3}, "its field night is or holds a number"),
        ({"pipeline": "other"}, "its field pipeline is a text and must be a list"),
        ({"configuration": {}}, "its field configuration.photometry is missing"),
        ({"name": "a%2Fb"}, "its field name is 'a/b', which is no name of a file"),
        ({"name": "a%00"}, "its field name is 'a\\x00', which is no name of a file"),
    ):
        manifest.write_text(json.dumps(facts | changes))
        node.fails(1, f"{manifest} is damaged or incomplete: {words}")
    manifest.write_text("{")
    node.fails(1, f"{manifest} is damaged or incomplete: it is no JSON")


def test_why_names_the_command(node, ctl):
    node.discard()
    assert f"ast3ctl reproduce {TASK}\n" in ctl("why", TASK)[1]
    (node.folder / "order.json").unlink()
    assert "reproduce" not in ctl("why", TASK)[1]
