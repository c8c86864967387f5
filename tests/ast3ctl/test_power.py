"""Who is still there, and whom `ast3ctl stop` may signal: a pid that nobody knows is never one."""

import argparse
import os

import pytest

from ast3ctl import power
from ast3d.common.layout import Layout


@pytest.fixture
def layout(tmp_path):
    layout = Layout.under(tmp_path)
    layout.make()
    return layout


def test_a_unit_whose_pid_is_unknown_is_waited_for_and_never_signalled(layout, monkeypatch):
    signalled, answers = [], iter([{"ActiveState": "activating"}] * 6)
    monkeypatch.setattr(os, "kill", lambda *what: signalled.append(what))
    monkeypatch.setattr(power, "_by_systemd", lambda _options: True)
    monkeypatch.setattr(power, "_unit", lambda _name: next(answers, {"ActiveState": "inactive"}))
    monkeypatch.setattr(power, "LEFT_ALONE_SECONDS", 0.0)
    options = argparse.Namespace(mode="now", root=None, config=None)
    assert power._left(layout, options, {"ast3d": None, "protectd": None}) == {"ast3d": 0, "protectd": 0}
    power._await_end(layout, options, {"ast3d": None, "protectd": None})
    assert next(answers, None) is None
    assert signalled == []


def test_a_pid_that_is_none_is_nobody():
    assert power._living(None) == 0
    assert power._living(0) == 0
    assert power._living(os.getpid()) == os.getpid()
