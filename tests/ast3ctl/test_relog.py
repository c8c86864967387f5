import json
import shutil

import pytest

from ast3ctl import relog as ctl_relog
from ast3d.codec import encode
from ast3d.common.relog.disk import OsDisk
from ast3d.common.relog.relog import Relog
from ast3d.records import Accepted, Stopped
from ast3d.task import Entry, Place

BOOT = "c0ffee00-0000-4000-8000-000000000001"
ENTRY = Entry(Place("ast3-1", "a \udcff\n.fits"), 2880, 1)
FIRST = "0000000001.relog"
HEAD_BYTES = 4096


@pytest.fixture
def relog(layout):
    """A folder of two segments with two records each."""
    for _ in range(2):
        log = Relog(OsDisk(layout.relog), BOOT, 8192)
        log.recover()
        log.append(*encode(Accepted(1.5, "kb-1", ENTRY)), 12.3456)
        log.append(*encode(Stopped()), 100000.0)
        log.commit()
        log.close()
    return layout.relog


def spoil(folder, name=FIRST, place=HEAD_BYTES + 10):
    with (folder / name).open("r+b") as file:
        file.seek(place)
        file.write(b"?!")


def snapshot(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_show_a_record_a_line(ctl, relog):
    before = snapshot(relog)
    code, out, err = ctl("relog", "show")
    assert (code, err) == (0, "")
    place = r'{"place":{"telescope":"ast3-1","name":"a \udcff\n.fits"},"size":2880,"mtime_ns":1}'
    assert out.splitlines()[:2] == [
        f"1  12.346  c0ffee00  Accepted  now=1.5 task=kb-1 entry={place}",
        "2  100000.000  c0ffee00  Stopped",
    ]
    assert [line.split()[0] for line in out.splitlines()] == ["1", "2", "3", "4"]
    assert snapshot(relog) == before


def test_show_the_last(ctl, relog):
    assert ctl("relog", "show", "--last", "1")[1] == "4  100000.000  c0ffee00  Stopped\n"
    assert len(ctl("relog", "show", "--last", "9")[1].splitlines()) == 4
    assert ctl("relog", "show", "--last", "0", str(relog))[:2] == (0, "no records\n")


def test_show_for_programs(ctl, relog):  # noqa: ARG001 - the folder is what is shown
    first, second = json.loads(ctl("relog", "show", "--json")[1])[:2]
    assert first["payload"]["entry"]["place"]["name"] == "a \udcff\n.fits"
    assert second == {"seq": 2, "boottime": 100000.0, "boot_id": BOOT, "type": "Stopped", "version": 1, "payload": {}}


def test_show_what_is_no_json(ctl, layout):
    log = Relog(OsDisk(layout.relog), BOOT, 8192)
    log.recover()
    for payload in (b"\xff\x00 x", b"[1]", b'{"a b": "", "c": "\\u001b[31m", "d": null}'):
        log.append("Odd", 9, payload, 1.0)
    log.commit()
    code, out, _ = ctl("relog", "show")
    assert code == 0
    assert [line.split("  ", 4)[-1] for line in out.splitlines()] == [
        r'payload="\\xff\u0000 x"',
        "payload=[1]",
        r'a b= c="\u001b[31m" d=null',
    ]


def test_verify_what_is_whole(ctl, relog):
    code, out, err = ctl("relog", "verify")
    assert (code, err) == (0, "")
    assert out == "0000000001.relog  2 records  1 to 2  whole\n0000000002.relog  2 records  3 to 4  whole\n"
    assert json.loads(ctl("relog", "verify", "--json", str(relog))[1])["problems"] == []


def test_verify_a_damaged_copy_of_which_nothing_else_is_known(ctl, relog, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(relog, copy)
    spoil(copy)
    (copy / "0000000003.relog").write_bytes(b"garbage")
    before = snapshot(copy)
    code, out, err = ctl("relog", "verify", str(copy))
    assert code == 1
    assert err == f"ast3ctl: {copy}: 4 problems\n"
    assert out.splitlines()[:3] == [
        "0000000001.relog  1 records  2 to 2  damaged",
        "0000000002.relog  2 records  3 to 4  whole",
        "0000000003.relog  0 records  -       damaged",
    ]
    assert "record 1 is missing" in out
    assert "0000000001.relog at byte 4096: damaged records" in out
    assert "0000000003.relog at byte 0: its head is lost: neither its records nor their number can be read" in out
    assert snapshot(copy) == before
    code, out, _ = ctl("relog", "verify", "--json", str(copy))
    assert code == 1
    data = json.loads(out)
    assert data["missing"][0] == [1, 1]
    assert len(data["problems"]) == 4
    assert data["segments"][0]["problems"] == ["0000000001.relog at byte 4096: damaged records"]
    code, out, _ = ctl("relog", "show", str(copy))
    assert (code, out.splitlines()[-1]) == (0, "4 problems; `ast3ctl relog verify` lists them")
    assert ctl("relog", "verify")[0] == 0


def test_what_was_half_written_a_moment_ago_is_no_problem(ctl, relog, monkeypatch):
    whole = (relog / FIRST).read_bytes()
    spoil(relog)
    readings = []

    def read(disk):
        readings.append(ctl_relog_read(disk))
        (relog / FIRST).write_bytes(whole)
        return readings[-1]

    ctl_relog_read = ctl_relog.read
    monkeypatch.setattr(ctl_relog, "read", read)
    assert ctl("relog", "verify")[0] == 0
    assert len(readings) == 2
    assert readings[0].report.problems()


def test_no_folder_and_an_empty_one(ctl, layout, tmp_path):
    assert ctl("relog", "verify", str(tmp_path / "absent"))[::2] == (
        1,
        f"ast3ctl: no relog to read: {tmp_path / 'absent'}: no such folder\n",
    )
    assert not (tmp_path / "absent").exists()
    layout.relog.mkdir(exist_ok=True)
    assert ctl("relog", "verify")[:2] == (0, "no segments\n")
    assert ctl("relog", "show")[:2] == (0, "no records\n")


@pytest.mark.parametrize("action", ["verify", "show"])
def test_a_folder_that_was_named_and_holds_no_segment(ctl, tmp_path, action):
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "notes").touch()
    words = f"ast3ctl: no segments in {tmp_path / 'copy'}: name a folder that holds files such as {FIRST}\n"
    assert ctl("relog", action, str(tmp_path / "copy")) == (1, "", words)


@pytest.mark.parametrize("action", ["verify", "show"])
def test_a_segment_is_no_folder(ctl, relog, action):
    words = f"ast3ctl: no relog to read: {relog / FIRST} is a file; name its folder, {relog}\n"
    assert ctl("relog", action, str(relog / FIRST)) == (1, "", words)


@pytest.mark.parametrize("argv", [(), ("mend",), ("show", "--last", "x"), ("verify", "--last", "1")])
def test_wrong_calls(ctl, argv):
    code, out, err = ctl("relog", *argv)
    assert (code, out) == (2, "")
    assert "--help" in err


def test_help_says_what_there_is(ctl):
    _, out, _ = ctl("relog", "--help")
    assert "show" in out
    assert "verify" in out
