import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast3ctl import tail
from ast3d.common.log import open_log
from ast3d.common.logline import render

TIME = "2026-06-21T03:14:15.926Z"


def event(level="INFO", **fields):
    return render(TIME, level, "ast3d", "e", fields)


@pytest.fixture
def log(layout):
    def write(*lines, end="\n"):
        layout.log_file.write_text("\n".join(lines) + end, encoding="utf-8")

    return write


def test_the_last_lines(ctl, log):
    log(*[event(i=i) for i in range(100)])
    assert ctl("tail") == (0, "".join(event(i=i) + "\n" for i in range(80, 100)), "")
    assert ctl("tail", "--lines", "2")[1] == event(i=98) + "\n" + event(i=99) + "\n"
    assert ctl("tail", "--lines", "0")[1] == ""


def test_of_a_level(ctl, log):
    log(event("ERROR", i=1), *[event(i=i) for i in range(5000)], event("FATAL", i=2), event("DEBUG"))
    assert ctl("tail", "--level", "ERROR")[1] == event("ERROR", i=1) + "\n" + event("FATAL", i=2) + "\n"


def test_as_json(ctl, log):
    log(event(frame="a b"), "torn\x1b[31m")
    first, second = map(json.loads, ctl("tail", "--json")[1].splitlines())
    assert first == {"time": TIME, "level": "INFO", "daemon": "ast3d", "event": "e", "fields": {"frame": "a b"}}
    assert second == {"text": r"torn\x1b[31m"}


def test_an_empty_log_and_one_line_that_is_being_written(ctl, log):
    log("", end="")
    assert ctl("tail") == (0, "", "")
    log(event(i=1), event(i=2), end="")
    assert ctl("tail")[1] == event(i=1) + "\n"


def test_no_log(ctl):
    code, out, err = ctl("tail")
    assert (code, out) == (1, "")
    assert "no log to show" in err


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 70), st.integers(1, 50))
def test_blocks_lose_and_double_no_line(tmp_path_factory, widths, count, block):
    path = tmp_path_factory.getbasetemp() / "blocks.log"
    lines = [f"{i}:" + "x" * width for i, width in enumerate(widths)]
    path.write_text("".join(line + "\n" for line in lines) + "unfinished", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tail, "_BLOCK_BYTES", block + 11)
        shown, end = tail.last_lines(path, count, "DEBUG")
    assert shown == lines[-count:]
    assert end == path.stat().st_size - len("unfinished")


def test_follow_goes_on_over_a_rename_and_a_truncation(layout):
    log = open_log(layout.log_file, "DEBUG", "ast3d")
    log.info("before")
    command = [sys.executable, "-m", "ast3ctl.cli", "--root", str(layout.log.parent), "tail", "--follow", "--level", "INFO"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert " before" in process.stdout.readline()
            log.debug("not.shown")
            log.info("one")
            assert " one" in process.stdout.readline()
            layout.log_file.rename(layout.log / "ast3d.log.1")
            log.info("two", text="x" * 100)
            assert " two" in process.stdout.readline()
            layout.log_file.write_text(event(i=3) + "\n")
            assert " e i=3" in process.stdout.readline()
        finally:
            process.terminate()
    log.close()


def test_a_reader_that_goes_away_is_no_drama(layout, log):
    log(*[event(i=i, text="x" * 100) for i in range(20_000)])
    command = f"{sys.executable} -m ast3ctl.cli --root {layout.log.parent} tail --lines 20000 | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout == event(i=0, text="x" * 100) + "\n"
    assert done.stderr == ""
