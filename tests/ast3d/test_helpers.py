"""The scout and the porter, spoken to as ast3d speaks to them."""

import hashlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast3d import bundle, ledger, runner
from ast3d.common import files
from ast3d.common.link import HelperEnd, LineReader, encode
from ast3d.frameid import frame_id
from ast3d.order import Order
from ast3d.porter import Porter
from ast3d.scout import Scout
from ast3d.task import Entry, Place

PATIENCE_SECONDS = 20


class Peer:
    """ast3d's end of a helper that runs in a thread."""

    def __init__(self, make):
        ours, theirs = socket.socketpair()
        self.sock = ours
        self.sock.settimeout(PATIENCE_SECONDS)
        self.reader = LineReader()
        self.heard = []
        self.pings = 0
        self.thread = threading.Thread(target=self.serve, args=(make(HelperEnd(theirs.detach())),), daemon=True)
        self.thread.start()

    def serve(self, helper):
        try:
            helper.run()
        except EOFError:
            helper.link.sock.close()

    def tell(self, **message):
        self.sock.sendall(encode(message))

    def wait_for(self, verb):
        """The next message of this kind."""
        while True:
            for index, message in enumerate(self.heard):
                if verb in message:
                    return self.heard.pop(index)[verb]
            self.heard += self.reader.feed(self.sock.recv(65536))

    def sync(self):
        """Everything that the helper said until now has been heard."""
        self.pings += 1
        self.tell(ping=f"ping {self.pings}")
        while self.wait_for("pong") != f"ping {self.pings}":
            continue  # a sign of life during long work

    def close(self):
        self.sock.close()
        self.thread.join(PATIENCE_SECONDS)


@pytest.fixture
def pool(tmp_path):
    folder = tmp_path / "incoming" / "t"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def scout(tmp_path, pool):
    peer = Peer(Scout)
    order = {"pools": {"t": str(pool)}, "products": str(tmp_path / "products"), "ignore": [".*", "*.part", "*.done"]}
    peer.tell(watch=order | {"scan_seconds": 3600})
    peer.wait_for("scanned")
    yield peer
    peer.close()


def sighting(peer):
    (one,) = peer.wait_for("sighted")
    return one


@given(st.lists(st.dictionaries(st.text(), st.integers() | st.text(), min_size=1), max_size=5), st.integers(1, 50))
def test_messages_survive_any_cutting(messages, size):
    line = b"".join(encode(message) for message in messages)
    reader, heard = LineReader(), []
    for at in range(0, len(line), size):
        heard += reader.feed(line[at : at + size])
    assert heard == messages


def test_names_that_are_not_utf8_travel(scout, pool):
    name = os.fsdecode(b"\xff\n \xc3.fits")
    (pool / name).write_bytes(b"x")
    assert sighting(scout)["name"] == name


def test_a_rename_into_the_pool_is_told_from_a_copy(scout, pool, tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "a").rename(pool / "a.fits")
    one = sighting(scout)
    assert (one["name"], one["size"], one["arrival"]) == ("a.fits", 3, "renamed")


def test_a_hard_link_is_seen(scout, pool, tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    os.link(tmp_path / "a", pool / "a.fits")
    assert sighting(scout)["arrival"] == "listed"


def test_a_sidecar_says_that_a_frame_is_complete(scout, pool):
    (pool / "a.fits").write_bytes(b"abc")
    assert sighting(scout)["arrival"] == "listed"
    (pool / "a.fits.done").touch()
    assert sighting(scout)["arrival"] == "done"


def test_what_is_ignored_is_not_told(scout, pool):
    for name in (".hidden", "a.part", "b.done"):
        (pool / name).write_bytes(b"x")
    (pool / "folder").mkdir()
    (pool / "z.fits").write_bytes(b"x")
    assert sighting(scout)["name"] == "z.fits"


def test_what_is_no_file_is_told_as_such_and_a_fifo_does_not_hang_the_scout(scout, pool):
    os.mkfifo(pool / "f.fits")
    assert sighting(scout)["kind"] == "fifo"
    (pool / "l.fits").symlink_to("/etc/passwd")
    assert sighting(scout)["kind"] == "link"


def test_a_torn_frame_says_how_long_it_should_be(scout, pool):
    cards = ["SIMPLE  =                    T", "BITPIX  =                   16", "NAXIS   =                    2",
             "NAXIS1  =                  100", "NAXIS2  =                  100", "END"]  # fmt: skip
    (pool / "a.fits").write_bytes("".join(card.ljust(80) for card in cards).encode().ljust(2880))
    needs = [one["needs"] for one in scout.wait_for("sighted")]
    assert needs[-1] in (2880, 2880 + 20_000)  # seen empty, or whole
    scout.sync()
    assert (needs + [one["needs"] for message in scout.heard for one in message.get("sighted", [])])[-1] == 2880 + 20_000


def test_a_frame_that_goes_is_told(scout, pool):
    (pool / "a.fits").write_bytes(b"x")
    sighting(scout)
    (pool / "a.fits").unlink()
    assert scout.wait_for("gone") == [["t", "a.fits"]]


def test_identify_answers_the_id_and_whether_products_stand(scout, pool, tmp_path):
    (pool / "a.fits").write_bytes(b"abc")
    mtime_ns = (pool / "a.fits").stat().st_mtime_ns
    fd = os.open(pool / "a.fits", os.O_RDONLY)
    task = frame_id(Entry(Place("t", "a.fits"), 3, mtime_ns), fd)
    os.close(fd)
    ask = {"telescope": "t", "name": "a.fits", "size": 3, "mtime_ns": mtime_ns}
    scout.tell(identify=ask)
    assert scout.wait_for("identified") == ask | {"task": task, "published": ""}
    published = tmp_path / "products" / "t" / "2026-06-20" / task
    published.mkdir(parents=True)
    (published / "manifest.json").write_text("{}")
    scout.tell(identify=ask)
    assert scout.wait_for("identified")["published"] == "2026-06-20"


def test_identify_of_what_has_changed_tells_the_change_instead(scout, pool):
    (pool / "a.fits").write_bytes(b"abc")
    scout.tell(identify={"telescope": "t", "name": "a.fits", "size": 2, "mtime_ns": 1})
    scout.sync()
    assert not [message for message in scout.heard if "identified" in message]


def test_a_pool_that_is_replaced_is_watched_again(scout, pool, tmp_path):
    pool.rename(tmp_path / "old")
    pool.mkdir()
    scout.wait_for("scanned")
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "a").rename(pool / "a.fits")
    assert sighting(scout)["name"] == "a.fits"


def test_a_pool_that_is_missing_is_named(scout, pool):
    pool.rmdir()
    assert str(pool) in scout.wait_for("scanned")["problems"][0]
    scout.tell(watch={"pools": {"u": "/proc/none"}, "products": "/", "ignore": [], "scan_seconds": 3600})
    while "/proc/none" not in scout.wait_for("scanned")["problems"][0]:
        continue  # an earlier scan's word


@pytest.fixture
def porter(tmp_path, pool):
    assert pool.exists()
    peer = Peer(Porter)
    names = ("incoming", "products", "archive", "quarantine", "state")
    for name in names:
        (tmp_path / name).mkdir(exist_ok=True)
    (tmp_path / "state" / "attempts").mkdir()
    peer.tell(folders={name: str(tmp_path / name) for name in names})
    yield peer
    peer.close()


def put(pool: Path, name: str = "a.fits", data: bytes = b"abc") -> dict:
    """A frame in the pool; -> what an order names it by."""
    (pool / name).write_bytes(data)
    fd = os.open(pool / name, os.O_RDONLY)
    mtime_ns = os.fstat(fd).st_mtime_ns
    task = frame_id(Entry(Place("t", name), len(data), mtime_ns), fd)
    os.close(fd)
    return {"task": task, "telescope": "t", "name": name, "size": len(data), "mtime_ns": mtime_ns}


def test_archive_moves_the_frame_and_its_sidecar_goes(porter, pool, tmp_path):
    order = put(pool)
    (pool / "a.fits.done").touch()
    porter.tell(archive=order | {"night": "n"})
    where = str(tmp_path / "archive" / "t" / "n" / (order["task"] + ".fits"))
    assert porter.wait_for("filed") == {"task": order["task"], "outcome": "filed", "detail": where}
    assert Path(where).read_bytes() == b"abc"
    assert list(pool.iterdir()) == []


def test_an_order_given_twice_is_found_done(porter, pool):
    order = put(pool)
    porter.tell(archive=order | {"night": "n"})
    first = porter.wait_for("filed")
    porter.tell(archive=order | {"night": "n"})
    assert porter.wait_for("filed") == first


def test_the_same_frame_dropped_again_leaves_the_pool_and_is_kept_once(porter, pool, tmp_path):
    for _ in range(2):
        porter.tell(archive=put(pool) | {"night": "n"})
        assert porter.wait_for("filed")["outcome"] == "filed"
    assert len(list((tmp_path / "archive" / "t" / "n").iterdir())) == 1
    assert list(pool.iterdir()) == []


def test_a_frame_is_never_moved_over_another(porter, pool, tmp_path):
    order = put(pool)
    other = tmp_path / "archive" / "t" / "n" / (order["task"] + ".fits")
    other.parent.mkdir(parents=True)
    other.write_bytes(b"xyz")
    porter.tell(archive=order | {"night": "n"})
    assert porter.wait_for("filed")["detail"] == str(other) + ".2"
    assert other.read_bytes() == b"xyz"
    assert Path(str(other) + ".2").read_bytes() == b"abc"


def test_another_file_under_the_frames_name_stays(porter, pool):
    order = put(pool)
    put(pool, data=b"another")
    porter.tell(archive=order | {"night": "n"})
    assert porter.wait_for("filed")["outcome"] == "changed"
    assert (pool / "a.fits").read_bytes() == b"another"


def test_a_frame_that_is_not_there_any_more(porter, pool):
    order = put(pool)
    (pool / "a.fits").unlink()
    porter.tell(archive=order | {"night": "n"})
    assert porter.wait_for("filed")["outcome"] == "vanished"


@pytest.mark.parametrize("name", ["a.fits", os.fsdecode(b"\xff \n%.fits")])
def test_quarantine_and_restore(porter, pool, tmp_path, name):
    order = put(pool, name)
    (tmp_path / "state" / "attempts" / f"{order['task']}.1.out").write_text("Traceback")
    porter.tell(quarantine=order | {"why": {"reason": "torn"}})
    assert porter.wait_for("filed")["outcome"] == "filed"
    folder = tmp_path / "quarantine" / "t" / order["task"]
    assert json.loads((folder / "why.json").read_bytes())["reason"] == "torn"
    assert (folder / f"{order['task']}.1.out").read_text() == "Traceback"
    assert list((tmp_path / "state" / "attempts").iterdir()) == []
    porter.tell(restore={"task": order["task"], "request": 3})
    assert porter.wait_for("restored") == {"task": order["task"], "request": 3, "problem": ""}
    assert (pool / name).read_bytes() == b"abc"
    assert not folder.exists()


def quarantine(porter, order: dict, **why) -> None:
    """As a frame is discarded that was tried once."""
    tried = {"reason": "torn", "attempts": [{"attempt": 1}], "incomplete": False, "fingerprint": "then"}
    porter.tell(quarantine=order | {"why": tried | why})
    assert porter.wait_for("filed")["outcome"] == "filed"


def test_a_discarded_frame_has_all_that_its_last_attempt_was_given(porter, pool, tmp_path):
    given = put(pool)
    template = tmp_path / "t.fits"
    template.write_bytes(b"template")
    attempts = tmp_path / "state" / "attempts"
    for attempt in (9, 10):
        order = Order(
            **given, attempt=attempt, frame=str(pool / "a.fits"), templates=str(tmp_path), template=None, calibrations="",
            products="/p", attempts=str(attempts), kept="/k", command=["run", "{frame}"], photometry={"gain": attempt},
            fingerprint="then",
        )  # fmt: skip
        bundle.note(order, {"template": bundle.about(template), "masters": None}, {"numpy": "2.0"})
    quarantine(porter, given)
    folder = tmp_path / "quarantine" / "t" / given["task"]
    facts = json.loads((folder / "order.json").read_bytes())
    assert (facts["attempt"], facts["photometry"], facts["command"]) == (10, {"gain": 10}, ["run", "{frame}"])
    assert facts["frame"] == {"path": str(pool / "a.fits"), "bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}
    assert facts["assets"]["template"]["sha256"] == hashlib.sha256(b"template").hexdigest()
    assert (facts["versions"], facts["host"]) == ({"numpy": "2.0"}, os.uname().nodename)
    assert facts["environment"]["PATH"] == os.environ["PATH"]
    assert list(attempts.iterdir()) == []
    porter.tell(restore={"task": given["task"], "request": 0})
    assert porter.wait_for("restored")["problem"] == ""
    assert not folder.exists()


def test_a_template_that_was_replaced_before_the_frame_was_discarded_is_not_taken_for_the_attempts(porter, pool, tmp_path):
    given = put(pool)
    template, attempts = tmp_path / "t.fits", tmp_path / "state" / "attempts"
    template.write_bytes(b"template")
    order = Order(**given, attempt=1, frame="/f", templates="", template=None, calibrations="", products="/p",
                  attempts=str(attempts), kept="/k", command=[], photometry={}, fingerprint="then")  # fmt: skip
    bundle.note(order, {"template": bundle.about(template)}, {})
    template.write_bytes(b"another template")
    quarantine(porter, given)
    facts = json.loads((tmp_path / "quarantine" / "t" / given["task"] / "order.json").read_bytes())
    assert facts["assets"]["template"]["sha256"] is None


@pytest.mark.parametrize("note", ["", '{"task": "a', "{}", "[]", '{"frame": "f", "size": 3, "assets": 3}'])
def test_a_damaged_note_of_the_order_keeps_no_frame_from_the_quarantine(porter, pool, tmp_path, note):
    given = put(pool)
    (tmp_path / "state" / "attempts" / f"{given['task']}.1.order").write_text(note)
    quarantine(porter, given)
    names = {path.name for path in (tmp_path / "quarantine" / "t" / given["task"]).iterdir()}
    assert names == {"why.json", given["task"] + ".fits"}


def test_a_note_of_the_order_leaves_the_account_alone_and_is_tidied_like_it(porter, tmp_path):
    attempts = tmp_path / "state" / "attempts"
    for task in ("a-1", "b-2"):
        account = ledger.Account(task, 1, "t", "a.fits", 3, 1, 1, 1, "", 0.0)
        ledger.write(attempts, account)
        order = Order(task, 1, "t", "a.fits", 3, 1, "/f", "", None, "", "/p", str(attempts), "/k", [], {}, "then")
        bundle.note(order, {}, {})
    assert ledger.read_all(attempts)[-1] == account
    porter.tell(tidy={"keep": ["b-2.1"]})
    porter.wait_for("tidied")
    assert {path.name for path in attempts.iterdir()} == {"b-2.1.json", "b-2.1.order"}


def test_what_was_tried_by_other_code_comes_back(porter, pool):
    tried = put(pool, "tried.fits")
    quarantine(porter, tried)
    quarantine(porter, put(pool, "short.fits"), incomplete=True)
    quarantine(porter, put(pool, "refused.fits"), attempts=[])
    porter.tell(reconsider={"fingerprint": "then", "but": []})
    porter.tell(reconsider={"fingerprint": "now", "but": [tried["task"]]})
    porter.sync()
    assert not [message for message in porter.heard if "restored" in message]
    quarantine(porter, put(pool, "today.fits"), fingerprint="now")
    porter.tell(reconsider={"fingerprint": "now", "but": []})
    assert porter.wait_for("restored") == {"task": tried["task"], "request": 0, "problem": ""}
    porter.sync()
    assert not [message for message in porter.heard if "restored" in message]
    assert [path.name for path in pool.iterdir()] == ["tried.fits"]


def test_what_is_older_than_fingerprints_or_damaged_is_reconsidered_or_left(porter, pool, tmp_path):
    older, damaged, blocked = (put(pool, name) for name in ("older.fits", "damaged.fits", "blocked.fits"))
    for order in (older, damaged, blocked):
        quarantine(porter, order)
    folder = tmp_path / "quarantine" / "t"
    why = folder / older["task"] / "why.json"
    facts = json.loads(why.read_bytes())
    del facts["fingerprint"]
    why.write_text(json.dumps(facts))
    (folder / damaged["task"] / "why.json").write_text("[]")
    (pool / "blocked.fits").write_bytes(b"another")
    porter.tell(reconsider={"fingerprint": "now", "but": []})
    answers = {one["task"]: one["problem"] for one in (porter.wait_for("restored"), porter.wait_for("restored"))}
    assert answers.keys() == {older["task"], blocked["task"]}
    assert answers[older["task"]] == ""
    assert "another blocked.fits" in answers[blocked["task"]]
    assert (folder / damaged["task"] / (damaged["task"] + ".fits")).read_bytes() == b"abc"


def test_a_restore_that_was_cut_short_is_ended_by_the_next(porter, pool, tmp_path):
    order = put(pool)
    quarantine(porter, order)
    folder = tmp_path / "quarantine" / "t" / order["task"]
    frame = folder / (order["task"] + ".fits")
    os.link(frame, pool / "a.fits")
    about = frame.stat()
    aside = folder / f".{about.st_dev:x}-{about.st_ino:x}-0.aside"
    aside.mkdir()
    frame.rename(aside / frame.name)
    porter.tell(restore={"task": order["task"], "request": 0})
    assert porter.wait_for("restored")["problem"] == ""
    assert (pool / "a.fits").read_bytes() == b"abc"
    assert not folder.exists()


def test_what_a_killed_porter_had_set_aside_comes_back_to_the_pool(porter, pool, tmp_path):
    porter.sync()
    aside = pool / ".1-2-3.aside"
    aside.mkdir()
    (aside / "new.fits").write_bytes(b"new")
    porter.tell(folders={"incoming": str(tmp_path / "incoming")})
    porter.sync()
    assert [path.name for path in pool.iterdir()] == ["new.fits"]


def test_restore_never_replaces_and_knows_what_it_does_not_have(porter, pool):
    order = put(pool)
    porter.tell(quarantine=order | {"why": {}})
    porter.wait_for("filed")
    put(pool, data=b"new")
    porter.tell(restore={"task": order["task"], "request": 0})
    assert "another a.fits" in porter.wait_for("restored")["problem"]
    assert (pool / "a.fits").read_bytes() == b"new"
    porter.tell(restore={"task": "none", "request": 0})
    assert "no task none" in porter.wait_for("restored")["problem"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "[" * 100_000, "{}", '{"name": "a"}', '{"name": 3, "telescope": "t"}',
     '{"name": "a", "telescope": ["t"]}', '{"name": "%2E%2E%2Fa", "telescope": "t"}',
     '{"name": "a%00", "telescope": "t"}', '{"name": "a", "telescope": ".."}'],
)  # fmt: skip
def test_a_damaged_note_of_a_discarded_frame_is_named_and_hurts_nobody(porter, pool, tmp_path, text):
    order = put(pool)
    quarantine(porter, order)
    why = tmp_path / "quarantine" / "t" / order["task"] / "why.json"
    why.write_text(text)
    porter.tell(reconsider={"fingerprint": "now", "but": []})
    porter.tell(restore={"task": order["task"], "request": 7})
    problem = f"{order['task']}: {why} is damaged; move the frame that lies beside it into its pool by hand"
    assert porter.wait_for("restored") == {"task": order["task"], "request": 7, "problem": problem}
    assert why.with_name(f"{order['task']}.fits").exists()


def test_a_fifo_goes_to_quarantine_as_it_is(porter, pool, tmp_path):
    os.mkfifo(pool / "f.fits")
    task = frame_id(Entry(Place("t", "f.fits"), 0, 1), None)
    porter.tell(quarantine={"task": task, "telescope": "t", "name": "f.fits", "size": 0, "mtime_ns": 1, "why": {}})
    assert porter.wait_for("filed")["outcome"] == "filed"
    assert (tmp_path / "quarantine" / "t" / task / f"{task}.fits").is_fifo()


def test_a_full_or_forbidden_archive_leaves_the_frame_in_the_pool(porter, pool, tmp_path):
    (tmp_path / "archive").rmdir()
    (tmp_path / "archive").write_text("not a folder")
    porter.tell(archive=put(pool) | {"night": "n"})
    assert porter.wait_for("filed")["outcome"] == "failed"
    assert (pool / "a.fits").exists()


def test_tidy_removes_what_nobody_runs(porter, tmp_path):
    left, kept = "a-0123456789ab.1", "b-0123456789ab.1"
    for name in (left, kept):
        (tmp_path / "products" / ".tmp" / name).mkdir(parents=True)
        (tmp_path / "state" / "attempts" / f"{name}.json").write_text("{}")
    porter.tell(tidy={"keep": [kept]})
    porter.wait_for("tidied")
    assert [path.name for path in (tmp_path / "products" / ".tmp").iterdir()] == [kept]
    assert [path.name for path in (tmp_path / "state" / "attempts").iterdir()] == [f"{kept}.json"]


def attempt_at(frame: Path) -> runner.AttemptFailedError:
    """How an attempt at a frame that it cannot open ends."""
    order = Order(
        task="a-1", attempt=1, telescope="t", name=frame.name, size=3, mtime_ns=1, frame=str(frame), templates="",
        template=None, calibrations="", products="", attempts="", kept="", command=["true"], photometry={}, fingerprint="",
    )  # fmt: skip
    with pytest.raises(runner.AttemptFailedError) as raised:
        runner.attempt(order, ledger.Account("a-1", 1, "t", frame.name, 3, 1, 1, 1, "", 0.0), [])
    return raised.value


def test_a_frame_that_is_not_in_the_pool_any_more_is_gone_and_not_failed(pool):
    assert attempt_at(pool / "gone.fits").changed
    (pool / "link.fits").symlink_to("/etc/passwd")
    assert not attempt_at(pool / "link.fits").changed
    assert attempt_at(pool / "link.fits").blame == "environment"


HELPERS = pytest.mark.parametrize("helper", ["scout", "porter", "nursery"])


@HELPERS
def test_helpers_end_when_ast3d_lets_go_of_them(helper):
    ours, theirs = socket.socketpair()
    argv = [sys.executable, "-P", "-m", f"ast3d.{helper}", str(theirs.fileno()), str(os.getpid())]
    process = subprocess.Popen(argv, pass_fds=[theirs.fileno()])
    theirs.close()
    ours.close()
    assert process.wait(PATIENCE_SECONDS) == 0


@HELPERS
def test_helpers_end_with_ast3d_whatever_they_are_at(helper):
    """So that none of them is still at something when those of the next ast3d begin."""
    ours, theirs = socket.socketpair()
    daemon = (
        "import os, subprocess, sys\n"
        f"argv = [sys.executable, '-P', '-m', 'ast3d.{helper}', '{theirs.fileno()}', str(os.getpid())]\n"
        f"print(subprocess.Popen(argv, pass_fds=[{theirs.fileno()}]).pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    argv = [sys.executable, "-c", daemon]
    with subprocess.Popen(argv, pass_fds=[theirs.fileno()], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        theirs.close()
        fd = os.pidfd_open(int(process.stdout.readline()))
        ours.sendall(encode({"ping": 1}))
        assert ours.recv(1000)  # it is at work, and its socket stays open
        process.kill()
    assert select.select([fd], [], [], PATIENCE_SECONDS)[0]
    os.close(fd)
    ours.close()


def test_a_file_that_takes_the_frames_name_during_the_move_stays(porter, pool, tmp_path, monkeypatch):
    order = put(pool)
    sync = files.sync_dir

    def newcomer(folder):
        if folder == tmp_path / "archive" / "t" / "n" and list(folder.iterdir()) and not (tmp_path / "new").exists():
            (tmp_path / "new").write_bytes(b"new")
            os.link(tmp_path / "new", tmp_path / "again")
            (tmp_path / "again").rename(pool / "a.fits")
        sync(folder)

    monkeypatch.setattr(files, "sync_dir", newcomer)
    porter.tell(archive=order | {"night": "n"})
    assert porter.wait_for("filed")["outcome"] == "filed"
    assert (pool / "a.fits").read_bytes() == b"new"
    assert [path.name for path in pool.iterdir()] == ["a.fits"]


def test_quarantine_never_removes_another_frame(porter, pool, tmp_path):
    order = put(pool)
    porter.tell(quarantine=order | {"why": {}})
    porter.wait_for("filed")
    put(pool)
    put(pool, data=b"another")
    porter.tell(quarantine=order | {"why": {}})
    assert porter.wait_for("filed")["outcome"] == "changed"
    folder = tmp_path / "quarantine" / "t" / order["task"]
    assert (folder / (order["task"] + ".fits")).read_bytes() == b"abc"
    (folder / (order["task"] + ".fits.2")).write_bytes(b"its twin")
    (pool / "a.fits").unlink()
    porter.tell(restore={"task": order["task"], "request": 0})
    assert porter.wait_for("restored")["problem"] == ""
    assert (folder / (order["task"] + ".fits.2")).read_bytes() == b"its twin"


def test_a_frame_whose_products_stand_is_not_quarantined(porter, pool, tmp_path):
    order = put(pool)
    products = tmp_path / "products" / "t" / "2026-06-20" / order["task"]
    products.mkdir(parents=True)
    (products / "manifest.json").write_text("{}")
    porter.tell(quarantine=order | {"why": {}})
    assert porter.wait_for("filed") == {"task": order["task"], "outcome": "published", "detail": "2026-06-20"}
    assert (pool / "a.fits").exists()


def test_orders_with_odd_words_hurt_nobody(porter, tmp_path):
    (tmp_path / "state" / "attempts" / "folder").mkdir()
    for task in ("a**", "../..", "", "x\n"):
        porter.tell(restore={"task": task, "request": 0})
        assert "frame-id" in porter.wait_for("restored")["problem"]
    porter.tell(tidy={"keep": []})
    porter.wait_for("tidied")


def test_the_longest_name_that_a_file_can_have(scout, pool):
    (pool / ("n" * 250 + ".fits")).write_bytes(b"x")
    assert sighting(scout)["name"] == "n" * 250 + ".fits"


def test_identify_of_what_is_gone_and_of_a_pool_that_is_not_watched_tells_so(scout):
    for telescope in ("t", "u"):
        scout.tell(identify={"telescope": telescope, "name": "a.fits", "size": 3, "mtime_ns": 1})
        assert scout.wait_for("gone") == [[telescope, "a.fits"]]


def test_a_pool_that_is_watched_no_longer_has_lost_its_frames(scout, pool, tmp_path):
    (pool / "a.fits").write_bytes(b"x")
    sighting(scout)
    scout.tell(watch={"pools": {"u": str(tmp_path / "u")}, "products": "/", "ignore": [], "scan_seconds": 3600})
    assert scout.wait_for("gone") == [["t", "a.fits"]]
