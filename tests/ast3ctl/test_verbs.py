import json

import pytest

from ast3ctl.cli import main

# What conftest's node holds.
DONE = "kb13475_0030-5f2a00000001"
LIVE = "kb13475_0031-5f2a00000002"
DISCARDED = "torn-0123456789ab"


class TestStatus:
    @pytest.mark.usefixtures("daemon")
    def test_for_people(self, ctl):
        code, said, wrong = ctl("status")
        assert (code, wrong) == (0, "")
        assert said.splitlines() == [
            "READY  pid 4711, up 3 h 12 min, version 0.1.0",
            "guard  protectd: absent",
            "tasks  0 ready, 1 running, 12 done, 1 discarded",
        ]

    def test_says_why_it_is_not_ready(self, ctl, daemon):
        daemon.answers["status"] = daemon.answers["status"] | {"state": "DEGRADED", "reasons": ["disk\nfull"]}
        assert "why    disk\\nfull\n" in ctl("status")[1]

    def test_for_programs(self, ctl, daemon):
        code, out, _ = ctl("status", "--json")
        assert code == 0
        assert json.loads(out) == daemon.answers["status"]

    def test_stopped(self, ctl):
        code, out, err = ctl("status", "--json")
        assert code == 1
        status = json.loads(out)
        assert status["state"] == "STOPPED"
        assert set(status) == {"state", "reasons", "pid", "tasks", "protect", "uptime_seconds", "version"}
        assert "not running" in err
        assert "start it with `ast3d --root " in err
        assert ctl("status")[:2] == (1, "STOPPED\n")

    def test_refused(self, ctl, daemon):
        daemon.answers["status"] = PermissionError("not for you")
        assert ctl("status") == (1, "", "ast3ctl: not for you\n")


class TestTasks:
    @pytest.mark.usefixtures("finished", "daemon")
    def test_lists_those_at_work_and_in_quarantine(self, ctl):
        code, out, _ = ctl("tasks")
        assert code == 0
        assert [line.split()[:3] for line in out.splitlines()] == [
            ["STATE", "ATTEMPT", "SINCE"],
            ["RUNNING", "1", "4.2"],
            ["DISCARDED", "2", "-"],
        ]
        assert LIVE in out
        assert "failed 2 times" in out
        _, out, _ = ctl("--json", "tasks")
        assert [(row["task"], row["state"]) for row in json.loads(out)] == [(LIVE, "RUNNING"), (DISCARDED, "DISCARDED")]

    def test_one_on_its_way_to_quarantine_is_listed_once(self, ctl, daemon, finished):
        daemon.answers["tasks"] = [daemon.answers["tasks"][0] | {"task": DISCARDED, "state": "DISCARDED"}]
        assert finished
        assert len(json.loads(ctl("tasks", "--json")[1])) == 1

    def test_one_that_has_no_name_yet(self, ctl, daemon):
        daemon.answers["tasks"] = [daemon.answers["tasks"][0] | {"task": "", "state": "SEEN", "name": "a%20b"}]
        assert "(a%20b)" in ctl("tasks")[1]

    def test_none(self, ctl, daemon):
        daemon.answers["tasks"] = []
        assert ctl("tasks")[1] == "no tasks\n"

    def test_very_many_fit_a_slow_line(self, ctl, daemon):
        daemon.answers["tasks"] = daemon.answers["tasks"] * 3000
        _, out, _ = ctl("tasks")
        assert len(out) < 6000
        assert "and 2950 more" in out
        assert len(json.loads(ctl("tasks", "--json")[1])) == 3000

    @pytest.mark.usefixtures("finished")
    def test_without_the_daemon(self, ctl):
        code, out, err = ctl("tasks", "--json")
        assert code == 1
        assert [row["task"] for row in json.loads(out)] == [DISCARDED]
        assert "not running" in err

    def test_a_damaged_why_is_said(self, ctl, daemon, finished):
        daemon.answers["tasks"] = []
        (finished.quarantine / "ast3-1" / DISCARDED / "why.json").write_text("{")
        assert "why.json cannot be read" in ctl("tasks")[1]


class TestWhy:
    @pytest.mark.parametrize("running", [True, False])
    def test_a_published_frame(self, ctl, finished, request, running):
        if running:
            request.getfixturevalue("daemon")
        code, out, _ = ctl("why", "kb13475_0030")
        assert code == 0
        folder = finished.products / "ast3-1" / "2026-06-21" / (DONE)
        assert out.splitlines() == [
            f"{DONE}  DONE",
            "kb%2013475_0030.fits of ast3-1, night 2026-06-21: published 2026-06-21T03:14:15.926Z.",
            "Attempt 2 did it in 12.3 s.",
            "Stages: read 0.512 s, subtract 10.2 s.",
            "Found: stars 1234, transients 2, zero_point 21.12.",
            "Note: gain assumed 1.",
            f"Products: 2 files, 3.4 MB, in {folder}.",
            f"The raw frame is {finished.archive}/ast3-1/2026-06-21/{DONE}.fits.",
        ]
        told = json.loads(ctl("why", DONE, "--json")[1])
        assert (told["task"], told["state"], told["folder"]) == (DONE, "DONE", str(folder))
        assert told["story"] == out.splitlines()[1:]

    @pytest.mark.parametrize("running", [True, False])
    def test_a_discarded_frame(self, ctl, finished, request, running):
        if running:
            request.getfixturevalue("daemon")
        code, out, _ = ctl("why", "torn")
        assert code == 0
        assert out.splitlines() == [
            f"{DISCARDED}  DISCARDED",
            "torn.fits of ast3-1: discarded 2026-06-21T04:00:00.000Z: failed 2 times.",
            "Attempt 1 ended after 0.2 s, the frame's fault: not a FITS image.",
            r"Its last words: \x1b[31mboom",
            "Attempt 2 ended after 1 min 1 s, the machine's fault: no space.",
            f"The frame and what each attempt said are in {finished.quarantine}/ast3-1/{DISCARDED}.",
            f"To try again: ast3ctl retry {DISCARDED}",
        ]

    def test_one_at_work_is_the_daemons_to_tell(self, ctl, daemon):
        daemon.answers["why"] = {"task": LIVE, "state": "RUNNING", "story": ["It runs.", "\x1b[2Jbad"]}
        assert ctl("why", "kb13475_0031") == (0, f"{LIVE}  RUNNING\nIt runs.\n\\x1b[2Jbad\n", "")
        assert daemon.asked[-1] == ("why", {"task": LIVE})

    def test_one_at_work_again_is_the_daemons_to_tell(self, ctl, daemon, finished):
        assert finished
        daemon.answers["tasks"] = [daemon.answers["tasks"][0] | {"task": DONE}]
        daemon.answers["why"] = {"task": DONE, "state": "RUNNING", "story": []}
        assert ctl("why", DONE)[1] == f"{DONE}  RUNNING\n"

    @pytest.mark.parametrize(
        "facts", ["", "[1]", '{"stages": 3, "files": {"a": 1}, "notes": null, "figures": []}', "[" * 99_999]
    )
    def test_a_damaged_manifest_is_said_and_nothing_worse(self, ctl, finished, facts):
        (finished.products / "ast3-1" / "2026-06-21" / (DONE) / "manifest.json").write_text(facts)
        code, out, _ = ctl("why", DONE)
        assert code == 0
        assert "cannot be read" in out or "night 2026-06-21" in out

    @pytest.mark.usefixtures("finished", "daemon")
    def test_an_ambiguous_beginning_lists_what_it_may_mean(self, ctl):
        code, out, err = ctl("why", "kb13475")
        assert (code, out) == (2, "")
        assert DONE in err
        assert LIVE in err

    @pytest.mark.usefixtures("finished")
    def test_the_whole_name_is_never_ambiguous(self, ctl, finished):
        longer = finished.products / "ast3-1" / "2026-06-22" / (DONE + "0")
        longer.mkdir(parents=True)
        (longer / "manifest.json").write_text("{}")
        assert ctl("why", DONE)[0] == 0
        assert ctl("why", DONE[:-1])[0] == 2

    @pytest.mark.parametrize("running", [True, False])
    def test_an_unknown_one(self, ctl, request, running):
        if running:
            request.getfixturevalue("daemon")
        code, out, err = ctl("why", "nothing")
        assert (code, out) == (2, "")
        assert "no task 'nothing'" in err


class TestRetry:
    def test_a_quarantined_one_by_its_beginning(self, ctl, daemon, finished):
        assert finished
        daemon.answers["retry"] = {"task": DISCARDED, "state": "SEEN"}
        assert ctl("retry", "torn") == (0, f"{DISCARDED}  SEEN\n", "")
        assert daemon.asked[-1] == ("retry", {"task": DISCARDED})

    def test_a_live_one(self, ctl, daemon):
        daemon.answers["retry"] = {"task": LIVE, "state": "READY"}
        assert json.loads(ctl("retry", "kb", "--json")[1]) == {"task": LIVE, "state": "READY"}

    @pytest.mark.usefixtures("finished", "daemon")
    def test_a_published_one_is_none(self, ctl):
        assert ctl("retry", DONE)[0] == 2

    @pytest.mark.usefixtures("finished")
    def test_without_the_daemon(self, ctl):
        code, _, err = ctl("retry", "torn")
        assert code == 1
        assert "not running" in err

    def test_a_refusal(self, ctl, daemon):
        daemon.answers["retry"] = ValueError("it runs")
        assert ctl("retry", "kb") == (1, "", "ast3ctl: it runs\n")


class TestPause:
    @pytest.mark.parametrize(
        ("argv", "seconds"),
        [((), 7200), (("--for", "90"), 90), (("--for", "90s"), 90), (("--for", "1.5h"), 5400), (("--for=1d",), 86400)],
    )
    def test_for_how_long(self, ctl, daemon, argv, seconds):
        daemon.answers["pause"] = {"for_seconds": seconds}
        code, out, _ = ctl("pause", *argv)
        assert code == 0
        assert daemon.asked == [("pause", {"for_seconds": seconds})]
        assert out.startswith("paused for ")

    def test_resume(self, ctl, daemon):
        assert ctl("resume") == (0, "at work again\n", "")
        assert daemon.asked == [("resume", {})]

    def test_not_running(self, ctl):
        assert ctl("pause")[0] == 1
        assert ctl("resume")[0] == 1


class TestCall:
    @pytest.mark.parametrize(
        "argv",
        [
            (),
            ("dance",),
            ("why",),
            ("why", ""),
            ("why", "../../etc"),
            ("why", "*"),
            ("why", "a\nb"),
            ("pause", "--for", "soon"),
            ("pause", "--for", "0"),
            ("pause", "--for", "99d"),
            ("tail", "--lines", "-1"),
            ("tail", "--level", "WARNING"),
            ("status", "--jso"),
            ("--config", "/none", "status"),
        ],
    )
    def test_a_wrong_one_is_one_line_and_2(self, ctl, argv):
        code, out, err = ctl(*argv)
        assert (code, out) == (2, "")
        assert err.startswith("ast3ctl: ")

    def test_a_root_that_is_not_there(self, ctl, tmp_path):
        assert ctl("status", root=tmp_path / "none")[0] == 2

    def test_shared_options_after_the_verb(self, ctl, daemon, tmp_path):
        other = tmp_path / "other"
        other.mkdir()
        assert daemon
        assert ctl("status", "--root", str(tmp_path), "--json", root=other)[0] == 0
        assert ctl("status", root=other)[0] == 1

    def test_a_sites_socket_is_always_in_the_same_folder(self, tmp_path, layout, daemon, monkeypatch):
        monkeypatch.setattr("ast3d.common.layout.SITE_RUN", layout.run)
        path = tmp_path / "site.yaml"
        path.write_text("...\n")
        assert main(["--config", str(path), "resume"]) == 0
        assert daemon.asked == [("resume", {})]

    @pytest.mark.parametrize("verb", ["status", "tasks", "why", "retry", "pause", "resume", "tail"])
    def test_help(self, ctl, verb):
        code, out, _ = ctl(verb, "--help")
        assert code == 0
        assert "--json" in out


FENCED = "another node works for it; `ast3ctl ha status` says which"


def claim(state, **more):
    return {"own": False, "epoch": 1, "token": 17, "seconds_left": 4.4, "state": state} | more


class TestStatusAmongNodes:
    def test_says_what_it_works_for_and_what_rests(self, ctl, daemon):
        telescopes = {
            "t1": claim("working", own=True, token=3, seconds_left=None), "t2": claim("working"), "t3": claim("parked"),
            "t4": claim("fenced"), "t5": claim("fenced", own=True, token=3),
        }  # fmt: skip
        daemon.answers["status"] = daemon.answers["status"] | {"telescopes": telescopes}
        assert ctl("status")[1].splitlines()[3:] == [
            "works  for t1 (own), t2 (token 17, for another 4 s)",
            "parked t3 (token 17): nothing starts until ast3-ha says so; is it running?",
            "fenced t4 (epoch 1, token 17), t5 (epoch 1, token 3): " + FENCED,
        ]
        daemon.answers["status"] = daemon.answers["status"] | {"telescopes": {}}
        assert ctl("status")[1].splitlines()[3:] == ["works  for no telescope"]
