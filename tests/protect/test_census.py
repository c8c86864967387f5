"""The third process sees two of one, and does not take a child that has yet to become another program for one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
WRITER = """\
import os, sys
files = [open(path, "wb") for path in sys.argv[3:]]
os.fork()
os.write(1, b"there" + bytes([10]))
sys.stdin.read()
"""


@pytest.mark.parametrize(("segments", "doubles"), [([["1"]], False), ([["1"], ["2"]], True), ([["1"], []], False)])
def test_it_sees_two(tmp_path, segments, doubles):
    relog = tmp_path / "state" / "relog"
    relog.mkdir(parents=True)
    (tmp_path / "ast3d").write_text(WRITER)
    command = [sys.executable, tmp_path / "ast3d", "--root", tmp_path]
    daemons = [
        subprocess.Popen([*command, *(relog / name for name in names)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for names in segments
    ]
    for daemon in daemons:
        assert [daemon.stdout.readline(), daemon.stdout.readline()] == [b"there\n"] * 2
    argv = [sys.executable, "-m", "tests.protect.census", "below", tmp_path]
    told = json.loads(subprocess.run(argv, cwd=CHECKOUT, input=b"", stdout=subprocess.PIPE, check=True).stdout)
    for daemon in daemons:
        daemon.communicate()
    assert told["looks"] >= 1
    assert bool(told["doubles"]) == doubles
