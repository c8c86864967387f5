import argparse
import os
import re
import shutil
import stat
from pathlib import Path

import pytest

from ast3ctl import install
from ast3ctl import install_facts as f
from ast3ctl import install_plan as p
from ast3ctl.install_facts import Facts, Place, Sources
from ast3ctl.problem import ProblemError

SOURCES = Sources(
    units={
        "ast3d.service": "ExecStart=@BIN@/ast3d\n[Install]\nWantedBy=ast3.target\n",
        "ast3.target": "[Install]\nWantedBy=multi-user.target\n",
    },
    tmpfiles="d /run/ast3\n",
    cron="* * * * * ast3 ensure --bin @BIN@\n",
    ensure="print()\n",
    config="...\n",
)
WANTED = ((Path("/var/lib/ast3"), 0o755), (Path("/data/incoming"), 0o755), (Path("/data/incoming/ast3-1"), 0o2775))
BARE = Facts(prefix=Path("/"), bin=Path("/opt/ast3/bin"), sources=SOURCES, wanted=WANTED)
SERVICE, CONFIG = f.UNITS / "ast3d.service", f.CONFIG
LINK = Path("/etc/systemd/system/ast3.target.wants/ast3d.service")


USER_MADE = (
    "make the user ast3, who cannot log in: useradd --system --gid ast3 --home-dir /var/lib/ast3 --no-create-home"
    " --shell /usr/sbin/nologin ast3"
)


def installed(**changed) -> Facts:
    """The facts of a machine on which all of the plan for a bare one was done."""
    files = p.files(SOURCES, BARE.bin) | {CONFIG: ("the operator's\n...\n", 0o600)}
    as_it_is = {
        "accounts": frozenset({"user:ast3", "group:ast3", "group:ast3-operators"}),
        "texts": {path: text for path, (text, _) in files.items()},
        "modes": {path: mode for path, (_, mode) in files.items()},
        "present": frozenset({*p.links(SOURCES).values(), *(path for path, _ in WANTED)}),
        "active": True,
    }
    return Facts(**(vars(BARE) | as_it_is | changed))


def shown(plan) -> list[str]:
    return [install.words(step) for step in plan.steps]


class TestPlan:
    def test_a_bare_machine_gets_everything_in_an_order_that_works(self):
        assert shown(p.install(BARE, start=True)) == [
            "make the group ast3: groupadd --system ast3",
            "make the group ast3-operators: groupadd --system ast3-operators",
            USER_MADE,
            "make the folder /var/lib/ast3, of ast3 (0755)",
            "make the folder /data/incoming, of ast3 (0755)",
            "make the folder /data/incoming/ast3-1, of ast3 (2775)",
            "write, for you to edit, /etc/ast3/ast3d.yaml (0644)",
            "write /usr/local/lib/systemd/system/ast3d.service (0644)",
            "write /usr/local/lib/systemd/system/ast3.target (0644)",
            "write /usr/local/lib/tmpfiles.d/ast3.conf (0644)",
            "write /usr/local/lib/ast3/ensure (0755)",
            "tell systemd: systemctl daemon-reload",
            "make /run/ast3: systemd-tmpfiles --create /usr/local/lib/tmpfiles.d/ast3.conf",
            "enable ast3d.service ast3.target: systemctl --quiet enable ast3d.service ast3.target",
            "start ast3.target: systemctl --no-block start ast3.target",
            "write /etc/cron.d/ast3 (0644)",
        ]

    def test_the_folder_of_the_commands_is_filled_in(self):
        texts = {step.path: step.text for step in p.install(BARE, start=True).steps if isinstance(step, p.Write)}
        assert "/opt/ast3/bin/ast3d" in texts[SERVICE]
        assert "--bin /opt/ast3/bin" in texts[f.CRON]
        assert "@" not in "".join(texts.values())

    def test_nothing_is_to_do_twice(self):
        assert p.install(installed(), start=True) == p.Plan((), ())

    def test_a_changed_file_of_ours_is_replaced_and_the_operators_is_not(self):
        texts = installed().texts | {SERVICE: "old", CONFIG: "anything"}
        plan = p.install(installed(texts=texts), start=True)
        assert shown(plan) == [f"replace {SERVICE} (0644)", "tell systemd: systemctl daemon-reload"]
        assert "systemctl restart" in plan.notes[0]

    def test_a_mode_that_was_changed_is_put_right(self):
        modes = installed().modes | {f.CRON: 0o666}
        assert shown(p.install(installed(modes=modes), start=True)) == [f"replace {f.CRON} (0644)"]

    def test_what_is_disabled_is_enabled_and_what_is_down_is_started(self):
        present = installed().present - {LINK}
        assert shown(p.install(installed(present=present, active=False), start=True)) == [
            "enable ast3d.service: systemctl --quiet enable ast3d.service",
            "start ast3.target: systemctl --no-block start ast3.target",
        ]
        assert p.install(installed(active=False), start=False).steps == ()

    def test_an_image_gets_its_units_enabled_and_nothing_started(self):
        facts = Facts(**(vars(BARE) | {"prefix": Path("/mnt/image"), "systemd": "offline"}))
        argvs = [step.argv for step in p.install(facts, start=True).steps if isinstance(step, p.Run)]
        assert [argv[0] for argv in argvs] == ["groupadd", "groupadd", "useradd", "systemctl"]
        assert argvs[0][1:3] == ("--prefix", "/mnt/image")
        assert argvs[3][1] == "--root=/mnt/image"

    def test_without_systemd_and_without_cron_it_says_so(self):
        facts = Facts(**(vars(BARE) | {"systemd": "absent", "cron": False}))
        plan = p.install(facts, start=True)
        assert not [step for step in plan.steps if isinstance(step, p.Run) and "systemctl" in step.argv]
        assert [note.partition(" here")[0] for note in plan.notes] == ["no systemd", "no cron"]

    def test_a_folder_where_the_service_sees_nothing_is_not_made_but_told(self):
        plan = p.install(Facts(**(vars(BARE) | {"wanted": ((Path("/home/a/in"), 0o755),)})), start=True)
        assert not [step for step in plan.steps if isinstance(step, p.MakeFolder)]
        [note] = plan.notes
        assert (
            note
            == "/home/a/in is below /home, where ast3d.service sees nothing: name another folder in /etc/ast3/ast3d.yaml"
        )

    def test_a_folder_of_somebody_else_is_told(self):
        assert "does not belong to ast3" in p.install(installed(closed=(Path("/data"),)), start=True).notes[0]


class TestReach:
    @pytest.mark.parametrize(
        ("path", "mode", "uid", "why"),
        [
            ("/root/venv/bin/ast3d", 0o755, 0, "below /root"),
            ("/home/me/venv/bin/ast3d", 0o755, 0, "below /home"),
            ("/tmp/venv/bin/ast3d", 0o755, 0, "below /tmp"),
            ("/opt/closed", 0o700, 0, r"closed for the user ast3 \(mode 0700\)"),
            ("/opt/ast3/bin/protectd", 0, -1, "there is no /opt/ast3/bin/protectd"),
        ],
    )
    def test_what_the_service_cannot_read_is_refused_with_what_to_do(self, path, mode, uid, why):
        facts = Facts(**(vars(BARE) | {"reach": (Place(Path("/"), 0o755), Place(Path(path), mode, uid))}))
        with pytest.raises(ProblemError, match=f"{why}.*: install the suite elsewhere"):
            p.install(facts, start=True)

    def test_a_file_need_only_be_read(self):
        readable = Place(Path("/usr/lib/python3/ast3ctl/install.py"), 0o644, folder=False)
        assert p.unreachable(Facts(**(vars(BARE) | {"reach": (readable,)}))) == ""


class TestUninstall:
    def test_what_was_installed_goes_and_what_is_the_sites_stays(self):
        plan = p.uninstall(installed())
        lines = shown(plan)
        assert lines[:3] == [
            "remove /etc/cron.d/ast3",
            "stop everything: systemctl stop ast3d.service ast3.target",
            "disable ast3d.service ast3.target: systemctl --quiet disable ast3d.service ast3.target",
        ]
        assert f"remove {SERVICE}" in lines
        assert lines[-2:] == ["remove /usr/local/lib/ast3", "tell systemd: systemctl daemon-reload"]
        assert not any("/etc/ast3/" in line or "/data" in line or "/var" in line for line in lines)
        assert "stay: /etc/ast3, /var/lib/ast3, /data/incoming" in plan.notes[0]
        assert "userdel ast3" in plan.notes[1]

    def test_nothing_is_to_do_twice(self):
        assert p.uninstall(Facts(**(vars(BARE) | {"accounts": installed().accounts}))) == p.Plan((), ())


def call(*words: str) -> int:
    parser = argparse.ArgumentParser(prog=f"ast3ctl {words[0]}")
    parser.add_argument("--json", action="store_true")
    install.add_arguments(parser)
    return install.run(argparse.Namespace(verb=words[0], **vars(parser.parse_args(words[1:]))))


def tree(root: Path) -> dict[str, tuple]:
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else str(path.readlink()) if path.is_symlink() else None
        found[str(path.relative_to(root))] = (stat.filemode(status.st_mode), status.st_uid, status.st_gid, content)
    return found


@pytest.fixture
def image(tmp_path, monkeypatch):
    """The root of another machine, as far as installing needs it."""
    if os.geteuid() != 0:
        pytest.skip("only root can install")
    if missing := [tool for tool in ("useradd", "groupadd", "systemctl") if not shutil.which(tool)]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "group", "shadow", "gshadow", "login.defs"):
        lines = Path("/etc", name).read_text().splitlines(keepends=True)
        (tmp_path / "etc" / name).write_text("".join(line for line in lines if not line.startswith("ast3")))
    monkeypatch.setattr(p, "unreachable", lambda _facts: "")  # where this checkout lies is not the point
    return tmp_path


class TestImage:
    def test_a_dry_run_shows_it_all_and_changes_nothing(self, image, capsys):
        before = tree(image)
        assert call("install", "--dry-run", "--prefix", str(image)) == 0
        assert tree(image) == before
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) > 15
        assert all(line.startswith(("would ", "note: ")) for line in lines)

    def test_installed_once_then_nothing_is_to_do(self, image, capsys):
        assert call("install", "--prefix", str(image)) == 0
        after = tree(image)
        uid = next(int(x.split(":")[2]) for x in (image / "etc/passwd").read_text().splitlines() if x.startswith("ast3:"))
        assert after["var/lib/ast3/incoming/ast3-1"][:2] == ("drwxrwsr-x", uid)
        assert after["etc/cron.d/ast3"][:3] == ("-rw-r--r--", 0, 0)
        assert after["usr/local/lib/ast3/ensure"][:3] == ("-rwxr-xr-x", 0, 0)
        assert after["etc/ast3/ast3d.yaml"][3] == Path("conf/ast3d.yaml").resolve().read_bytes()
        assert "etc/systemd/system/multi-user.target.wants/ast3.target" in after
        assert not re.search(rb"@BIN@", after["usr/local/lib/systemd/system/ast3d.service"][3])
        capsys.readouterr()
        assert call("install", "--prefix", str(image)) == 0
        assert capsys.readouterr().out.splitlines()[-1] == "nothing to do: installed"
        assert tree(image) == after

    def test_the_operators_configuration_is_his(self, image):
        (image / "etc" / "ast3").mkdir()
        config = image / "etc" / "ast3" / "ast3d.yaml"
        config.write_text("paths:\n  incoming: /data/in\n...\n")
        call("install", "--prefix", str(image))
        call("install", "--prefix", str(image))
        call("uninstall", "--prefix", str(image))
        assert config.read_text() == "paths:\n  incoming: /data/in\n...\n"
        assert (image / "data/in/ast3-1").is_dir()

    def test_uninstalled_nothing_of_it_is_left_but_what_is_the_sites(self, image, capsys):
        call("install", "--prefix", str(image))
        frame = image / "var/lib/ast3/incoming/ast3-1/a.fits"
        frame.write_bytes(b"frame")
        assert call("uninstall", "--prefix", str(image)) == 0
        left = [name for name, (mode, *_) in tree(image).items() if not mode.startswith("d") and "etc/" not in name]
        assert left == ["var/lib/ast3/incoming/ast3-1/a.fits"]
        assert not [name for name in tree(image) if "ast3" in name and ("systemd" in name or "cron" in name)]
        capsys.readouterr()
        call("uninstall", "--prefix", str(image))
        assert capsys.readouterr().out.splitlines() == ["nothing to do: not installed"]


def test_who_is_not_root_is_told_in_a_line(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ProblemError, match=r"only root can install: `sudo .* install`"):
        call("install")


def test_a_step_that_fails_is_told_in_a_line(tmp_path):
    (tmp_path / "etc").write_text("a file")
    with pytest.raises(ProblemError, match="cannot write /etc/cron"):
        install.do(p.Write("write", f.CRON, "", 0o644), tmp_path)
    with pytest.raises(ProblemError, match="cannot try: false: exit code 1"):
        install.do(p.Run("try", ("false",)), tmp_path)
