import json
import os
import socket
import struct
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast3d.common import journal
from ast3d.common.journal import MAX_BYTES, Journal, entry, open_journal
from ast3d.common.log import open_log

any_text = st.text(st.characters(exclude_categories=()), max_size=40)


def fields_of(data: bytes) -> dict[str, str]:
    """As journald reads an entry."""
    found = {}
    while data:
        line, _, rest = data.partition(b"\n")
        key, is_short, value = line.partition(b"=")
        if not is_short:
            (size,) = struct.unpack("<Q", rest[:8])
            value, rest = rest[8 : 8 + size], rest[8 + size + 1 :]
        assert key.decode() not in found
        found[key.decode()] = value.decode()
        data = rest
    return found


@pytest.fixture
def reader(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reader:
        reader.bind(str(tmp_path / "journal"))
        reader.setblocking(False)
        yield reader


@contextmanager
def as_a_unit(monkeypatch, fd):
    status = os.fstat(fd)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    yield


def test_an_event_has_its_fields():
    data = entry("ast3d", "ERROR", "task.failed", {"frame": "f", "seconds": 1.5, "why not": ["a"]}, "task.failed frame=f")
    assert fields_of(data) == {
        "MESSAGE": "task.failed frame=f",
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "ast3d",
        "AST3_EVENT": "task.failed",
        "AST3_FRAME": "f",
        "AST3_SECONDS": "1.5",
        "AST3_WHY_NOT": '["a"]',
    }


@given(any_text, st.dictionaries(any_text, any_text, max_size=5))
def test_no_event_breaks_an_entry(message, given_fields):
    found = fields_of(entry("ast3d", "INFO", "e", given_fields, message))
    assert found["AST3_EVENT"] == "e"
    assert all(key.isascii() and len(key) <= 64 for key in found)


def test_a_field_takes_no_place_of_the_event():
    assert fields_of(entry("ast3d", "INFO", "e", {"event": "x"}, "m"))["AST3_EVENT"] == "e"


def test_an_event_that_is_too_large_goes_without_its_fields():
    data = entry("ast3d", "INFO", "e", {"text": "x" * MAX_BYTES}, "m" * 100_000)
    assert len(data) < MAX_BYTES
    assert set(fields_of(data)) == {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "AST3_EVENT"}


def test_a_journal_that_does_not_read_costs_no_time_and_what_was_lost_is_said(reader):
    sender = Journal("ast3d", reader.getsockname())
    sent = 0
    for _ in range(1000):  # far more than a socket holds
        sender.send("INFO", "e", {"text": "x" * 1000}, "m")
    while True:
        try:
            reader.recv(MAX_BYTES)
        except BlockingIOError:
            break
        sent += 1
    assert 0 < sent < 1000
    sender.send("INFO", "e", {}, "m")
    assert fields_of(reader.recv(MAX_BYTES))["AST3_LOST_BEFORE"] == str(1000 - sent)
    sender.send("INFO", "e", {}, "m")
    assert "AST3_LOST_BEFORE" not in fields_of(reader.recv(MAX_BYTES))


def test_a_journal_that_is_not_there_costs_nothing(tmp_path):
    Journal("ast3d", str(tmp_path / "none")).send("INFO", "e", {}, "m")


@pytest.mark.parametrize("said", ["", "8:1", "nonsense", "1:2:3"])
def test_who_does_not_write_to_the_journal_is_no_unit(monkeypatch, said):
    monkeypatch.setenv("JOURNAL_STREAM", said)
    assert open_journal("ast3d") is None


def test_in_a_unit_the_log_goes_to_the_file_and_to_the_journal_and_not_to_stderr_too(monkeypatch, reader, tmp_path, capfd):
    monkeypatch.setattr(journal.Journal.__init__, "__defaults__", (reader.getsockname(),))
    with as_a_unit(monkeypatch, 2):
        log = open_log(tmp_path / "ast3d.log", "INFO", "ast3d", stderr=True)
    log.bind(frame="f").info("task.done", text="two\nlines")
    log.debug("below the level")
    found = fields_of(reader.recv(MAX_BYTES))
    log.close()
    assert found["MESSAGE"] == r'task.done frame=f text="two\nlines"'
    assert (found["AST3_FRAME"], found["AST3_TEXT"]) == ("f", "two\nlines")
    assert (tmp_path / "ast3d.log").read_text().count("\n") == 1
    with pytest.raises(BlockingIOError):
        reader.recv(MAX_BYTES)
    assert capfd.readouterr().err == ""


def test_values_that_json_does_not_know_are_words(tmp_path):
    assert fields_of(entry("ast3d", "INFO", "e", {"path": tmp_path}, "m"))["AST3_PATH"] == json.dumps(str(tmp_path))
