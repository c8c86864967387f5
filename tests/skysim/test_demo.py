"""The demo takes only folders that are its own, and says clearly why it cannot go on."""

import sys
from pathlib import Path

import pytest

from ast3d.common import config
from skysim import demo, node
from skysim.demo import MARK, Progress, configuration, run_demo, take_folder
from skysim.node import DemoFailedError, Node
from skysim.settings import NightSettings

SMALL = NightSettings(frames=2, size_pixels=256)


def test_new_and_empty_folders_are_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new/below"):
        take_folder(tmp_path / name)
        assert (tmp_path / name / MARK).exists()


def test_an_earlier_demos_folder_is_replaced(tmp_path):
    take_folder(tmp_path)
    (tmp_path / "products").mkdir()
    take_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [MARK]


def test_any_other_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="not empty"):
        take_folder(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_folder_of_a_running_demo_is_refused(tmp_path, monkeypatch):
    take_folder(tmp_path)
    monkeypatch.setattr(demo, "ask", lambda *_: {"pid": 4711})
    with pytest.raises(ValueError, match="pid 4711"):
        take_folder(tmp_path)


def command_of(monkeypatch, program):
    monkeypatch.setattr(node, "command", lambda *_: [sys.executable, "-c", program])


def test_ast3d_that_dies_at_start_is_one_clear_line(tmp_path, monkeypatch, capsys):
    command_of(monkeypatch, "import sys; sys.exit('no such user')")
    assert run_demo(SMALL, tmp_path) == 1
    error = capsys.readouterr().err
    assert error.startswith("ast3-skysim demo: ast3d ended with status 1: no such user")
    assert error.count("\n") == 1


def test_ast3d_that_never_is_ready_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(node, "START_SECONDS", 0.0)
    monkeypatch.setattr(node, "ask", lambda *_: None)
    command_of(monkeypatch, "import time; time.sleep(60)")
    started = Node(tmp_path)
    with pytest.raises(DemoFailedError, match="not ready"), started:
        pass
    assert started._process.returncode is not None


def test_progress_says_each_change_once_where_there_is_no_terminal(capsys):
    progress = Progress(3)
    progress.show(1, None)
    progress.show(1, None)
    progress.show(3, {"ready": 1, "running": 1, "done": 1, "discarded": 0})
    progress.end()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["exposed 1/3", "exposed 3/3"]
    assert "running 1  done 1" in lines[1]


def test_demo_yaml_is_a_configuration_that_ast3d_takes():
    path = configuration()
    assert path.read_text().endswith("\n...\n")
    taken = config.load(path)
    assert {"DIFF", "MASK", "PSF"} <= set(taken.photometry.difference_planes)  # the light curve is measured on them
    assert list(taken.telescopes) == [demo.TELESCOPE]


def test_installed_commands_come_before_modules():
    assert node.command("no-such-command", "a.module") == [sys.executable, "-m", "a.module"]
    python = Path(sys.executable).name
    assert node.command(python, "a.module") == [sys.executable]


def test_a_small_night_goes_through_a_real_ast3d_and_passes(tmp_path, capsys):
    folder = tmp_path / "night"
    assert run_demo(NightSettings(frames=2, size_pixels=1024), folder) == 0
    said = capsys.readouterr().out
    assert "2 of 2 frames processed" in said
    assert "supernova: found in 1 of 1 frames" in said
    assert all((folder / name).exists() for name in ("night.png", "supernova_triplet.png", "supernova_lightcurve.png"))
    assert len(list((folder / "archive").rglob("*.fits"))) == 2
    assert node.ask(folder, "status") is None  # it was stopped
