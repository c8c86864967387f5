"""The units, in real systemd: short forms; the long ones count more of the same."""

import json
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.protect.census import Census
from tests.protect.site import NAMES, Site

DAEMONS = (*NAMES, "ast3-ha")
UNITS = Path(__file__).resolve().parents[2] / "systemd-units"
KILLS = 4
WATCHDOG_SECONDS = 60.0


@pytest.fixture
def filled_in(tmp_path):
    """The units as `install` writes them, with commands that exist."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze here")
    for name in DAEMONS:
        shutil.copy("/bin/true", tmp_path / name)
    for unit in filter(Path.is_file, UNITS.iterdir()):
        (tmp_path / unit.name).write_text(unit.read_text().replace("@BIN@", str(tmp_path)))
    return tmp_path


class TestGates:
    def test_verify_has_no_complaint(self, filled_in):
        units = sorted(p for p in filled_in.iterdir() if p.suffix in {".service", ".path", ".target"})
        assert len(units) == 7
        done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")

    def test_verify_sees_a_key_that_nobody_knows(self, filled_in):
        """The gate can fail."""
        unit = filled_in / "protectd.service"
        unit.write_text(unit.read_text().replace("WatchdogSec", "WatchDogSec"))
        assert "WatchDogSec" in subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True).stderr

    @pytest.mark.parametrize("name", DAEMONS)
    def test_exposure_is_at_most_2(self, filled_in, name):
        gate = [
            "systemd-analyze",
            "security",
            "--offline=yes",
            "--no-pager",
            "--threshold=20",
            filled_in / f"{name}.service",
        ]
        done = subprocess.run(gate, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


class TestInstalled:
    def test_it_runs_after_the_installation(self, site):
        assert site.status()["state"] == "READY"
        assert site.status()["protect"]["state"] == "watching"
        assert site.machine.run("systemctl", "--failed", "--no-legend").stdout == ""

    def test_a_second_installation_has_nothing_to_do(self, site):
        assert site.ctl("install").splitlines() == ["nothing to do: installed"]

    def test_the_configuration_that_was_there_is_the_one_that_is_there(self, site):
        assert "settle_seconds: 0.05" in (site.root / "etc/ast3/ast3d.yaml").read_text()

    def test_the_service_is_who_it_should_be_and_may_do_what_it_needs(self, site):
        for name in NAMES:
            about = site.machine.run("ps", "-o", "user=", "-p", str(site.pid(name))).stdout
            assert about.strip() == "ast3"

    @pytest.mark.parametrize(
        ("name", "field", "value"), [("ast3d", "ROOT", "/var/lib/ast3"), ("protectd", "RUN", "/run/ast3")]
    )
    def test_the_journal_has_the_events_with_their_fields(self, site, name, field, value):
        said = site.machine.run("journalctl", "-u", name, "-o", "json", "AST3_EVENT=daemon.start").stdout
        event = json.loads(said.splitlines()[-1])
        assert (event["PRIORITY"], event[f"AST3_{field}"]) == ("6", value)
        assert event["MESSAGE"].startswith("daemon.start ")
        assert event["_PID"] == event["AST3_PID"]

    def test_cron_has_nothing_to_say(self, site):
        assert site.ensure() == ""


class TestKilled:
    """How long it takes is told by `bench.protection`."""

    @pytest.mark.parametrize("names", [("ast3d",), ("protectd",), NAMES])
    def test_they_are_ready_again(self, site, names):
        for _ in range(KILLS):
            site.ready(*names, since=site.kill("KILL", *names))

    def test_there_are_never_two_of_one(self, site):
        census = Census("machine", site.machine.leader)
        census.start()
        try:
            for name in NAMES * KILLS:
                site.ready(name, since=site.kill("KILL", name))
            assert census.doubles() == []
        finally:
            census.close()

    @pytest.mark.parametrize("name", NAMES)
    def test_a_stopped_one_is_replaced_by_the_other(self, site, name):
        """protectd judges; systemd's own watchdog would take a minute."""
        site.periods("ast3d", 2)
        assert site.ready(name, since=site.kill("STOP", name)) < WATCHDOG_SECONDS

    def test_work_goes_on_and_is_done_once(self, site):
        before = len(site.published())
        site.expose(f"kept-{before}.fits")
        site.wait(lambda: site.runs()[-1:] == [f"/var/lib/ast3/incoming/ast3-1/kept-{before}.fits"], "at work")
        site.ready("ast3d", since=site.kill("KILL", "ast3d"))
        site.systemctl("restart", "ast3d")
        site.wait(lambda: len(site.published()) > before, "published")
        assert len([run for run in site.runs() if run.endswith(f"kept-{before}.fits")]) == 1


def stays_down(site: Site) -> bool:
    """Whether neither the guardian nor cron starts ast3d."""
    said = [site.ensure() for _ in range(2)]
    return said == ["", ""] and site.unit("ast3d")["ActiveState"] == "inactive"


class TestStopped:
    def test_systemctl_stop_holds_although_protectd_lives(self, site):
        site.systemctl("stop", "ast3d")
        site.periods("protectd", 5)
        assert stays_down(site)
        assert site.unit("ast3d")["Result"] == "success"

    def test_systemctl_stop_of_all_holds_through_a_minute_of_cron(self, site):
        site.systemctl("stop", "ast3.target")
        site.wait(lambda: all(site.unit(name)["ActiveState"] == "inactive" for name in NAMES), "stopped")
        began = time.time()
        ran = ["journalctl", "-t", "CRON", f"--since=@{began:.0f}", "-o", "cat", "--no-pager"]
        site.wait(lambda: "/usr/local/lib/ast3/ensure" in site.machine.run(*ran).stdout, "looked after by cron", 75.0)
        site.wait(lambda: "session closed for user ast3" in site.machine.run(*ran).stdout, "left by cron")
        assert stays_down(site)
        assert site.unit("protectd")["ActiveState"] == "inactive"

    def test_ast3ctl_stop_holds_and_is_no_failure(self, site):
        assert "stopped" in site.ctl("stop")
        assert stays_down(site)
        for name in NAMES:
            assert (site.unit(name)["ActiveState"], site.unit(name)["Result"]) == ("inactive", "success")
        assert "started: READY" in site.ctl("start")
        site.ready(*NAMES)

    def test_ast3ctl_stop_ends_with_a_reboot(self, site):
        site.ctl("stop")
        site.machine.reboot()
        site.ready(*NAMES)
        assert site.status()["state"] == "READY"

    def test_systemctl_start_ends_a_stop_by_ast3ctl(self, site):
        site.ctl("stop")
        site.systemctl("start", "ast3d", "protectd")
        site.periods("protectd", 3)
        assert site.status()["state"] == "READY"

    def test_a_request_by_a_file_starts_it_once(self, site):
        """So `ensure` asks, which is not root."""
        site.systemctl("stop", "ast3d")
        (site.root / "run/ast3/start-ast3d").touch()
        site.ready("ast3d")
        assert not (site.root / "run/ast3/start-ast3d").exists()
        (site.root / "run/ast3/start-ast3d").touch()  # too late: it runs
        site.systemctl("stop", "ast3d")
        assert stays_down(site)


class TestPower:
    def test_after_a_power_cut_everything_is_ready(self, site):
        random.seed(4)
        for _ in range(2):
            site.expose(f"cut-{random.randrange(10**9)}.fits")
            site.machine.power_cut()
            site.machine.boot()
            site.ready(*NAMES)
        site.wait(lambda: not list((site.root / "var/lib/ast3/incoming/ast3-1").glob("*.fits")), "idle")
        assert site.status()["state"] == "READY"

    def test_a_graphical_boot_starts_it_too(self, site):
        site.machine.power_cut()
        site.machine.boot("graphical.target")
        site.ready(*NAMES)
        assert site.machine.run("systemctl", "is-active", "graphical.target").returncode == 0

    def test_after_a_reboot_everything_is_ready(self, site):
        site.machine.reboot()
        site.ready(*NAMES)
        assert site.machine.run("systemctl", "is-active", "ast3.target", "multi-user.target").returncode == 0


def test_uninstalled_nothing_runs_and_the_data_stay(site):
    """The last one: the site is none after it."""
    assert "data, logs and configuration stay" in site.ctl("uninstall")
    assert site.machine.run("systemctl", "list-unit-files", "--no-legend", "ast3*", "protectd*").stdout == ""
    assert site.machine.run("pgrep", "-u", "ast3", "-f", "ast3d|protectd").stdout == ""
    assert not (site.root / "etc/cron.d/ast3").exists()
    assert (site.root / "etc/ast3/ast3d.yaml").exists()
    assert site.published()
    assert site.ctl("uninstall").splitlines() == ["nothing to do: not installed"]
