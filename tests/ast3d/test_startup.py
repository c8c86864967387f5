"""What stands in the way of ast3d's folders: moved aside where they are its own, else named in one line."""

from dataclasses import replace

import pytest

from ast3d import cli, effects
from ast3d.claim import Claim
from ast3d.common import files
from ast3d.common.cluster_schema import Ha
from ast3d.common.config import Config
from ast3d.common.layout import Layout
from ast3d.common.schema import Site, Telescope
from ast3d.lock import Lock
from ast3d.order import Order
from ast3d.startup import in_words, make_folders, order_for
from ast3d.task import Entry, Place

NAMED = ("incoming", "templates", "calibrations", "products", "archive", "quarantine", "state", "run")
OWN = ("state/attempts", "state/relog", "state/kept", "products/.tmp")


def refused(root, capsys) -> str:
    """What the command says that does not start."""
    assert cli.main(["--root", str(root)]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


@pytest.mark.parametrize("name", NAMED)
def test_a_file_in_place_of_a_folder_that_a_site_names(tmp_path, capsys, name):
    (tmp_path / name).write_text("precious")
    assert refused(tmp_path, capsys) == f"ast3d: {tmp_path / name} is a file, and must be a folder: move it away\n"
    assert (tmp_path / name).read_text() == "precious"


def test_a_root_that_is_a_file(tmp_path, capsys):
    (tmp_path / "root").touch()
    assert f"{tmp_path}/root is a file, and must be a folder" in refused(tmp_path / "root", capsys)
    assert f"{tmp_path}/root is a file, and must be a folder" in refused(tmp_path / "root" / "below", capsys)


@pytest.mark.parametrize("name", ["products", "state/attempts", "products/.tmp"])
def test_a_link_to_a_disk_that_is_not_there_is_left(tmp_path, capsys, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(tmp_path / "not-mounted")
    assert f"{path} is a link that leads to no folder, and must be a folder: correct or" in refused(tmp_path, capsys)
    assert path.is_symlink()


def test_a_folder_in_place_of_the_lock(tmp_path, capsys):
    (tmp_path / "state" / "ast3d.lock").mkdir(parents=True)
    assert cli.main(["--root", str(tmp_path), "--foreground"]) == 1
    assert capsys.readouterr().err == f"ast3d: {tmp_path}/state/ast3d.lock is a folder, and must be a file: move it away\n"


@pytest.mark.parametrize("name", OWN)
def test_a_file_in_place_of_its_own_folder_is_moved_aside(tmp_path, name):
    layout = Layout.under(tmp_path)
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text("whatever")
    (said,) = make_folders(layout)
    (aside,) = tmp_path.glob(f"{name}.aside-*")
    assert said == f"{tmp_path / name} was a file, and must be a folder: the file is {aside} now"
    assert aside.read_text() == "whatever"
    assert make_folders(layout) == []


@pytest.mark.parametrize("name", OWN)
def test_folders_and_what_they_hold_stay(tmp_path, name):
    (tmp_path / name).mkdir(parents=True)
    (tmp_path / name / "held").touch()
    assert make_folders(Layout.under(tmp_path)) == []
    assert (tmp_path / name / "held").exists()


def test_a_folder_that_another_ast3d_has_just_made_is_not_moved(tmp_path, monkeypatch):
    """Seen as a file, and a folder by the time that it would be moved."""
    attempts = tmp_path / "state" / "attempts"
    attempts.parent.mkdir()
    attempts.touch()

    def late(source, target):
        attempts.unlink()
        attempts.mkdir()
        (attempts / "account.json").touch()
        files.move_by_link(source, target)

    monkeypatch.setattr("ast3d.startup.move_by_link", late)
    assert make_folders(Layout.under(tmp_path)) == []
    assert [path.name for path in attempts.parent.iterdir()] == ["attempts"]
    assert (attempts / "account.json").exists()


def test_a_file_that_cannot_be_moved_aside_is_named(tmp_path, capsys, monkeypatch):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "attempts").touch()

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted", "x")

    monkeypatch.setattr("ast3d.startup.move_by_link", refuse)
    assert f"{tmp_path}/state/attempts is a file, and must be a folder: move it away" in refused(tmp_path, capsys)


def test_a_log_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "log").touch()
    (said,) = make_folders(Layout.under(tmp_path))
    assert (
        said == f"{tmp_path}/log is a file, and must be a folder: move it away; until there is a folder, no log is written"
    )
    assert (tmp_path / "run").is_dir()


def test_other_errors_name_the_file(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        Lock(tmp_path / "none" / "lock")
    assert in_words(caught.value) == f"{tmp_path}/none/lock: No such file or directory; give a --root that can be written"
    assert in_words(OSError("AF_UNIX path too long")) == "AF_UNIX path too long"


def test_an_order_names_node_and_claim_only_where_there_are_other_nodes(tmp_path):
    start = effects.Start("id", Entry(Place("t", "a.fits"), 5, 7), 2)
    alone = order_for(start, Config(), Layout.under(tmp_path))
    assert not {"node", "claim"} & alone.keys()
    assert Order(**alone).out == tmp_path / "products" / ".tmp" / "id.2"
    start = replace(start, claim=Claim(1, 17, own=False, deadline=3.0))
    among = order_for(start, Config(ha=Ha(node="a")), Layout.under(tmp_path))
    assert among["claim"] == {"epoch": 1, "token": 17, "own": False}
    assert Order(**among).out == tmp_path / "products" / ".tmp" / "a" / "id.2"
    assert alone.items() <= among.items()


def test_an_order_names_what_is_known_of_the_telescope_by_absolute_paths(tmp_path):
    start = effects.Start("id", Entry(Place("t", "a.fits"), 5, 7), 2)
    camera, place = Telescope(instrument="mine.yaml", calibration="june"), (77.1, -80.37, 4093.0)
    config = Config(telescopes={"t": camera}, site=Site(*place, catalog="stars/gaia.fits"))
    order = Order(**order_for(start, config, Layout.under(tmp_path)))
    assert order.calibrations == str(tmp_path / "calibrations" / "t")
    assert (order.calibration, order.site) == ("june", list(place))
    assert order.instrument == str(tmp_path / "calibrations" / "t" / "mine.yaml")
    assert order.catalog == str(tmp_path / "calibrations" / "stars" / "gaia.fits")
    assert order.kept == str(tmp_path / "state" / "kept")
    config = Config(telescopes={"t": Telescope(instrument="ast3")}, site=Site(catalog="/data/gaia.fits"))
    order = Order(**order_for(start, config, Layout.of(config)))
    assert (order.instrument, order.catalog, order.site) == ("ast3", "/data/gaia.fits", None)
    assert order.calibrations == "/var/lib/ast3/calibrations/t"


def test_an_order_for_a_site_on_equator_and_meridian_names_it(tmp_path):
    config = Config(site=Site(0.0, 0.0, 0.0))
    start = effects.Start("id", Entry(Place("t", "a.fits"), 5, 7), 2)
    assert order_for(start, config, Layout.under(tmp_path))["site"] == [0.0, 0.0, 0.0]
