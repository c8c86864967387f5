from pathlib import Path

import pytest

from ast3d.common.config import Config
from ast3d.common.layout import SITE_CONFIG, Layout, Place, locate


def test_everything_is_below_a_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    layout = Layout.under(Path("node"))
    assert layout.pool("ast3-1") == tmp_path / "node/incoming/ast3-1"
    assert layout.control_socket == tmp_path / "node/run/control.sock"
    assert layout.lock == tmp_path / "node/state/ast3d.lock"
    assert layout.log_file == tmp_path / "node/log/ast3d.log"


def test_a_site_names_its_folders():
    layout = Layout.of(Config())
    assert layout.incoming == Path("/var/lib/ast3/incoming")
    assert layout.run == Path("/run/ast3")


def test_make_creates_what_is_missing_and_keeps_what_is_there(tmp_path):
    layout = Layout.under(tmp_path)
    layout.make()
    (layout.incoming / "frame").touch()
    layout.make()
    assert (layout.incoming / "frame").exists()
    assert (layout.products / ".tmp").is_dir()
    assert (layout.state / "attempts").is_dir()


def test_everyone_can_reach_the_control_socket_whatever_the_umask(tmp_path):
    import os

    before = os.umask(0o077)
    try:
        Layout.under(tmp_path).make()
    finally:
        os.umask(before)
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o755


class TestLocate:
    def test_a_root_may_have_a_configuration(self, tmp_path):
        assert locate(str(tmp_path), None) == Place(
            Layout.under(tmp_path), tmp_path / "etc" / "ast3d.yaml", config_optional=True
        )

    def test_a_root_with_a_configuration_from_elsewhere(self, tmp_path):
        config = str(tmp_path / "c.yaml")
        assert locate(str(tmp_path), config) == Place(Layout.under(tmp_path), tmp_path / "c.yaml", config_optional=False)

    def test_a_site(self, tmp_path):
        path = tmp_path / "c.yaml"
        path.write_text("paths: {state: /tmp/x}\n...\n")
        place = locate(None, str(path))
        assert place.config_file == path
        assert place.layout.state == Path("/tmp/x")
        assert place.layout.run == Path("/run/ast3")
        assert place.layout.log == Path("/var/log/ast3")

    def test_a_site_whose_configuration_is_damaged_has_the_default_folders(self, tmp_path):
        path = tmp_path / "c.yaml"
        path.write_text("paths: {state: /tm")
        assert locate(None, str(path)) == Place(Layout.of(Config()), path, config_optional=False)

    @pytest.mark.skipif(SITE_CONFIG.exists(), reason=f"{SITE_CONFIG} exists on this machine")
    def test_nothing_said(self):
        assert locate(None, None) == Place(Layout.of(Config()), SITE_CONFIG, config_optional=False)
