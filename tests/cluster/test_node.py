"""A node of the harness loses its power, its disk, its clock and its etcd as it should, and nothing of it stays behind."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster import etcd
from tests.cluster.cluster import cluster, demand
from tests.cluster.network import NoNetworkError, run
from tests.cluster.node import Node
from tests.cluster.paper import Plan


def processes(text: str) -> list[str]:
    """Command lines with that text in them."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            words = Path("/proc", pid, "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue
        if text in words and int(pid) != os.getpid():
            found.append(words)
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Three nodes with etcd, one of which has a disk of its own; afterwards nothing of it is there."""
    folder = tmp_path_factory.mktemp("cluster")
    try:
        with cluster(Plan(disks=("b",)), folder) as made:
            etcd.leader(made.nodes)
            made.wait(lambda: all(is_ready(node) for node in made.nodes.values()), "ready")
            yield made
    except NoNetworkError as error:
        pytest.skip(str(error))
    assert processes(str(made.site)) == []
    assert str(made.site) not in Path("/proc/mounts").read_text()


def is_ready(node: Node) -> bool:
    return (node.ctl("status") or {}).get("state") in {"READY", "DEGRADED"}


def test_a_power_cut_leaves_no_process_and_etcd_goes_on(site):
    node = site.nodes["a"]
    assert len(node.pids()) > 4
    node.power_cut()
    assert node.pids() == []
    assert processes(str(node.root)) == []
    assert etcd.leader(site.nodes).name in {"b", "c"}
    etcd.ctl(site.nodes["b"], "put", "key", "value")
    node.reboot()
    site.wait(lambda: is_ready(node), "ready again")
    site.wait(lambda: "value" in etcd.ctl(node, "get", "key"), "its etcd has caught up")


def test_a_boot_has_a_boot_id_and_a_boottime_of_its_own(site):
    about = "import time; print(time.clock_gettime(7), open('/proc/sys/kernel/random/boot_id').read())"

    def boots() -> set[str]:
        told = set()
        for node in site.nodes.values():
            argv = ("nsenter", "-t", str(node.pid("ast3d")), "-a", sys.executable, "-c", about)
            uptime, boot = run(*argv).split()
            assert float(uptime) > 10
            assert abs(float(uptime) - time.clock_gettime(time.CLOCK_BOOTTIME)) > 10
            told.add(boot)
        return told

    before = boots()
    site.nodes["c"].power_cut()
    site.nodes["c"].reboot()
    site.wait(lambda: site.nodes["c"].pid("ast3d"), "booted")
    assert len(before | boots()) == 4


def test_a_service_is_started_again_and_ast3d_by_protectd(site):
    node = site.nodes["c"]
    site.wait(lambda: is_ready(node), "ready")
    before = node.pid("etcd")
    os.kill(before, 9)
    assert site.wait(lambda: node.pid("etcd") not in {0, before}, "etcd again", 5) < 2
    before = node.ctl("status")["pid"]
    node.kill_ast3d()
    site.wait(lambda: is_ready(node) and node.ctl("status")["pid"] != before, "ast3d again")


def test_a_poisoned_ast3d_does_not_start(site):
    node = site.nodes["c"]
    site.wait(lambda: is_ready(node), "ready")
    node.poison()
    node.kill_ast3d()
    time.sleep(1.0)
    assert node.ctl("status")["state"] == "STOPPED"
    node.poison(on=False)
    site.wait(lambda: is_ready(node), "cured")


def test_a_store_can_be_out_of_sight_of_one_node(site):
    node = site.nodes["c"]
    seen = ("nsenter", "-t", str(node.pid("etcd")), "--mount", "ls", str(node.root / "incoming") + "/")
    assert "t1" in run(*seen)
    node.lose_store()
    with pytest.raises(OSError, match="No such file"):
        run(*seen)
    assert (node.root / "incoming" / "t1").is_dir()
    node.find_store()
    assert "t1" in run(*seen)


def test_a_broken_disk_is_read_only_for_ast3d(site):
    node = site.nodes["b"]
    site.camera.start()
    node.break_disk()
    site.wait(lambda: "Read-only" in node.said() or "Input/output" in node.said(), "ast3d feels it")
    site.camera.stop()
    site.repair("b")
    site.wait(lambda: is_ready(node), "repaired")
    assert node.ctl("status")["state"] == "READY"


def test_a_clock_can_be_wrong_and_nothing_else_is(tmp_path):
    plan = Plan(nodes=("a",), members=("a",), telescopes={"t1": ("a", None)}, clocks=True)
    try:
        demand(Plan(clocks=True))
    except NoNetworkError as error:
        pytest.skip(str(error))
    with cluster(plan, tmp_path) as one:
        node = one.nodes["a"]
        one.wait(lambda: is_ready(node), "ready")
        about = "import time; time.sleep(0.1); print(time.time(), time.clock_gettime(7), time.monotonic())"

        def times() -> list[float]:
            environment = [f"{key}={value}" for key, value in node._environment("ast3d").items()]
            return [float(word) for word in run("env", *environment, sys.executable, "-c", about).split()]

        plain = times()
        node.set_clock(3600)
        wrong = times()
        assert 3590 < wrong[0] - plain[0] < 3660
        assert max(abs(a - b) for a, b in zip(wrong[1:], plain[1:], strict=True)) < 60
        one.camera.deliver("t1")
        one.wait(lambda: "task.done" in (node.root / "log/ast3d.log").read_text(), "work")
        line = next(line for line in node.log("ast3d") if line.event == "task.done")
        assert time.strptime(line.time[:19], "%Y-%m-%dT%H:%M:%S") > time.gmtime(time.time() + 3500)


def test_certificates_expire_and_are_renewed(tmp_path):
    plan = Plan(tls=True)
    try:
        with cluster(plan, tmp_path) as one:
            first = etcd.leader(one.nodes)
            etcd.ctl(first, "put", "key", "value")
            etcd.use_certificate(one.site / "tls", "expired")
            with pytest.raises(OSError, match=r"expired|deadline"):
                etcd.ctl(first, "get", "key")
            etcd.use_certificate(one.site / "tls", "server")
            assert "value" in etcd.ctl(first, "get", "key")
    except NoNetworkError as error:
        pytest.skip(str(error))


def test_etcd_is_full_slow_and_paused(tmp_path):
    try:
        with cluster(Plan(quota=etcd.QUOTA, slow=True), tmp_path) as one:
            first = etcd.leader(one.nodes)
            assert etcd.fill(first) < etcd.QUOTA
            etcd.empty(one.nodes)
            etcd.ctl(first, "put", "key", "value")
            url = f"http://{one.net.address('a')}:2378/version"
            argv = (*one.net.enter("a"), sys.executable, "-c", f"import urllib.request as u; u.urlopen('{url}').read()")
            one.wait(lambda: not subprocess.run(argv, capture_output=True).returncode, "the proxy")
            (one.site / "delay").write_text("1.0")
            began = time.monotonic()
            run(*argv)
            assert 1.0 < time.monotonic() - began < 4.0
            with etcd.paused(first):
                others = {name: node for name, node in one.nodes.items() if node is not first}
                assert etcd.leader(others).name != first.name
    except NoNetworkError as error:
        pytest.skip(str(error))


KILLED = """
import sys, time
from pathlib import Path
from tests.cluster.cluster import cluster
from tests.cluster.paper import Plan
with cluster(Plan(disks=("a",)), Path(sys.argv[1])) as one:
    print(one.site, flush=True)
    time.sleep(100)
"""


def test_nothing_stays_behind_when_the_test_is_killed(tmp_path):
    argv = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[2]) as test:
        site = test.stdout.readline().strip()
        if not site:
            pytest.skip("there can be no cluster here")
        assert processes(site)
        test.kill()
    end = time.monotonic() + 10.0
    while processes(site) or site in Path("/proc/mounts").read_text():
        assert time.monotonic() < end, processes(site)
        time.sleep(0.05)
