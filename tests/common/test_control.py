import contextlib
import grp
import json
import os
import resource
import selectors
import socket
import stat
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ast3d.common.admission import Admission, Peer
from ast3d.common.clock import boottime
from ast3d.common.control import ANSWER_SECONDS, MAX_CLIENTS, PATIENCE_SECONDS, ControlServer
from ast3d.common.control_client import ControlError, NoAnswerError, NotRunningError, RefusedError, call
from ast3d.common.control_wire import MAX_REQUEST_BYTES

OPERATORS, GROUP, OTHER = 61_001, 61_002, 61_003
NOBODY = 65_534
HUGE = "x" * 4_000_000


class Loop:
    """A daemon's loop in a thread; what it is told to do happens in the loop."""

    def __init__(self, path, admission, handle=None):
        self.requests = []
        self.server = ControlServer(path, admission, handle or self.handle)
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._todo = []
        self._stop = False
        self._selector.register(self._woken, selectors.EVENT_READ, self._turn)
        self.server.register(self._selector)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def handle(self, request):
        self.requests.append(request)
        if request.verb == "tasks":
            request.reply([HUGE])
        elif request.verb == "retry":
            return  # later, or never
        else:
            request.reply({"verb": request.verb, "role": request.role, "uid": request.peer.uid})

    def do(self, what):
        """Run it in the loop, and give its result."""
        done, result = threading.Event(), []
        self._todo.append(lambda: (result.append(what()), done.set()))
        self._wake.send(b"x")
        assert done.wait(10)
        return result[0]

    def close(self):
        self.do(lambda: setattr(self, "_stop", True))
        self._thread.join(10)
        self.server.close()
        self._selector.close()
        self._wake.close()
        self._woken.close()

    def keys(self):
        return self.do(lambda: len(self._selector.get_map()))

    def expire(self, seconds):
        self.do(lambda: self.server.expire(boottime() + seconds))

    def _run(self):
        while not self._stop:
            for key, mask in self._selector.select(5):
                key.data(mask)

    def _turn(self, _mask):
        self._woken.recv(1)
        self._todo.pop(0)()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "control.sock"


@pytest.fixture
def loop(path):
    loop = Loop(path, Admission(os.geteuid(), GROUP, OPERATORS))
    yield loop
    loop.close()


@contextlib.contextmanager
def connected(path):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.settimeout(10)
        yield connection


def ask(connection, data=b'{"verb": "status"}\n'):
    connection.sendall(data)
    return json.loads(connection.makefile("rb").readline())


def refusal(answer):
    assert answer["ok"] is False
    assert "\n" not in answer["error"]
    return answer["error"]


class TestCalls:
    def test_a_call_is_answered(self, loop, path):
        assert call(path, "status") == {"verb": "status", "role": "change", "uid": os.geteuid()}
        assert call(path, "pause", {"for_seconds": 1}) == {"verb": "pause", "role": "change", "uid": os.geteuid()}
        assert loop.requests[1].args == {"for_seconds": 1}
        assert loop.requests[0].peer.pid == os.getpid()

    @pytest.mark.usefixtures("loop")
    def test_several_on_one_connection_are_answered_in_order(self, path):
        with connected(path) as connection:
            connection.sendall(b'{"verb":"status"}\n{"verb":"pause"}\n{"verb":"resume"}\n')
            with connection.makefile("rb") as file:
                verbs = [json.loads(file.readline())["result"]["verb"] for _ in range(3)]
        assert verbs == ["status", "pause", "resume"]

    @pytest.mark.usefixtures("loop")
    def test_a_long_answer_arrives_whole(self, path):
        assert call(path, "tasks") == [HUGE]

    @pytest.mark.usefixtures("loop")
    def test_a_client_that_has_said_all_still_gets_its_answer(self, path):
        with connected(path) as connection:
            connection.sendall(b'{"verb": "status"}\n')
            connection.shutdown(socket.SHUT_WR)
            assert json.loads(connection.makefile("rb").read())["ok"]

    def test_a_later_reply(self, loop, path):
        answers = []
        thread = threading.Thread(target=lambda: answers.append(call(path, "retry", {"task": "x"})))
        thread.start()
        wait_for(lambda: loop.requests)
        loop.do(lambda: loop.requests[0].reply({"task": "x"}))
        thread.join(10)
        assert answers == [{"task": "x"}]
        loop.do(lambda: loop.requests[0].refuse("a second answer is nothing"))

    def test_a_later_reply_to_a_client_that_has_gone(self, loop, path):
        with connected(path) as connection:
            connection.sendall(b'{"verb": "retry"}\n')
            wait_for(lambda: loop.requests)
        wait_for(lambda: loop.do(lambda: loop.requests[0].reply(HUGE)) is None)
        wait_for(lambda: loop.keys() == 2)
        assert call(path, "status")

    def test_names_that_are_not_text_pass(self, path):
        loop = Loop(path, Admission(os.geteuid(), None, None), lambda request: request.reply(request.args))
        assert call(path, "why", {"task": "\udcff\n\u2028"}) == {"task": "\udcff\n\u2028"}
        loop.close()

    def test_a_refusal_is_one_line(self, path):
        loop = Loop(path, Admission(os.geteuid(), None, None), lambda request: request.refuse("two\nlines"))
        with pytest.raises(RefusedError, match=r"^two lines$"):
            call(path, "status")
        loop.close()


class TestClient:
    def test_not_running(self, path, tmp_path):
        with pytest.raises(NotRunningError):
            call(path, "status")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        with pytest.raises(NotRunningError):
            call(path, "status")
        (tmp_path / "file").touch()
        with pytest.raises(NotRunningError):
            call(tmp_path / "file" / "control.sock", "status")

    def test_a_stuck_daemon_is_no_answer_in_time(self, path):
        with socket.socket(socket.AF_UNIX) as stuck:
            stuck.bind(str(path))
            stuck.listen(1)
            before = boottime()
            with pytest.raises(NoAnswerError):
                call(path, "status", timeout_seconds=0.1)
            with connected(path), pytest.raises(NoAnswerError, match="too many are waiting"):
                call(path, "status", timeout_seconds=0.1)
            assert boottime() - before < 5

    @pytest.mark.parametrize("answer", [b"hello\n", b"[]\n", b'{"ok": true', b"", b"{}\n"])
    def test_a_foreign_daemon_is_no_answer(self, path, answer):
        with socket.socket(socket.AF_UNIX) as foreign:
            foreign.bind(str(path))
            foreign.listen(1)

            def serve():
                connection, _ = foreign.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(answer)

            thread = threading.Thread(target=serve)
            thread.start()
            with pytest.raises(NoAnswerError):
                call(path, "status")
            thread.join(10)


def wait_for(condition):
    """Until the other side has seen what was done to it; the loop is asked again and again, not slept for."""
    deadline = boottime() + 10
    while not condition():
        assert boottime() < deadline
        os.sched_yield()


class TestGarbage:
    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (b"hello\n", "not a request"),
            (b"\n", "not a request"),
            (b"\xff\xfe\n", "not a request"),
            (b"[]\n", "not a request"),
            (b"{}\n", "not a request"),
            (b'{"verb": 3}\n', "not a request"),
            (b"[" * 60_000 + b"\n", "not a request"),
            (b'{"verb": ' + b"9" * 10_000 + b"}\n", "not a request"),
            (b'{"verb": "halt"}\n', "no such verb: 'halt'; there are status tasks why "),
            (b'{"verb": "a\\nb\\udcff"}\n', r"no such verb: 'a\nb\udcff'"),
            (b'{"verb": "status", "args": [1]}\n', "args"),
            (b"x" * (MAX_REQUEST_BYTES + 1), "a request may have 65536 bytes"),
        ],
    )
    def test_gets_one_line_and_hurts_nobody(self, loop, path, data, words):
        with connected(path) as connection:
            assert words in refusal(ask(connection, data))
        assert call(path, "status")["verb"] == "status"
        assert len(loop.requests) == 1

    @pytest.mark.usefixtures("loop")
    def test_ten_thousand_wrong_lines_at_once(self, path):
        with connected(path) as connection:
            connection.sendall(b"\n" * 10_000)
            with connection.makefile("rb") as file:
                for _ in range(10_000):
                    assert refusal(json.loads(file.readline()))

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.binary(max_size=200), max_size=5), st.booleans())
    def test_no_bytes_hurt(self, tmp_path_factory, chunks, half_closed):
        path = tmp_path_factory.mktemp("s") / "s"
        loop = Loop(path, Admission(os.geteuid(), None, None))
        with connected(path) as connection:
            for chunk in chunks:
                connection.sendall(chunk)
            if half_closed:
                connection.shutdown(socket.SHUT_WR)
                connection.makefile("rb").read()
        assert call(path, "status")
        loop.close()


class TestBounds:
    def test_a_silent_client_is_dropped(self, loop, path):
        with connected(path) as silent, connected(path) as slow:
            slow.sendall(b'{"verb": ')
            wait_for(lambda: loop.keys() == 4)
            loop.expire(PATIENCE_SECONDS - 2)
            assert loop.keys() == 4
            loop.expire(PATIENCE_SECONDS + 1)
            assert loop.keys() == 2
            assert silent.recv(10) == b""
            with contextlib.suppress(ConnectionResetError):
                assert slow.recv(10) == b""

    def test_a_client_that_does_not_read_is_dropped_and_blocks_nobody(self, loop, path):
        with connected(path) as greedy:
            greedy.sendall(b'{"verb": "tasks"}\n' * 3)
            wait_for(lambda: loop.requests)
            assert call(path, "status")
            assert [r.verb for r in loop.requests] == ["tasks", "status"]  # no second answer is piled up
            loop.expire(PATIENCE_SECONDS + 1)
            assert loop.keys() == 2

    def test_a_request_that_the_daemon_never_answers_ends_in_words(self, loop, path):
        with connected(path) as connection:
            connection.sendall(b'{"verb": "retry"}\n')
            wait_for(lambda: loop.requests)
            loop.expire(PATIENCE_SECONDS + 1)
            loop.expire(ANSWER_SECONDS + 1)
            with connection.makefile("rb") as file:
                assert "no answer yet" in refusal(json.loads(file.read()))
        loop.do(lambda: loop.requests[0].reply("too late"))

    def test_too_many_clients_push_out_the_oldest_idle_one(self, loop, path):
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(connected(path))
            for _ in range(MAX_CLIENTS + 20):
                stack.enter_context(connected(path))
            assert call(path, "status")
            assert first.recv(10) == b""
            assert loop.keys() <= 2 + MAX_CLIENTS

    def test_without_descriptors_it_waits_and_serves_again(self, loop, path):
        with socket.socket(socket.AF_UNIX) as late:
            late.settimeout(10)
            with no_descriptors_left():
                late.connect(str(path))
                late.sendall(b'{"verb": "status"}\n')
                wait_for(lambda: loop.keys() == 1)  # not listening: the loop would spin
            loop.expire(0)
            assert json.loads(late.recv(1000))["ok"]


@contextlib.contextmanager
def no_descriptors_left():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
        with contextlib.suppress(OSError):
            while True:
                stack.callback(os.close, os.open("/", os.O_RDONLY))
        yield


class TestSocketFile:
    @pytest.mark.usefixtures("loop")
    def test_everyone_may_connect_and_be_refused(self, path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o666

    def test_a_stale_one_is_replaced_and_the_own_one_removed(self, path, tmp_path):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        loop = Loop(path, Admission(os.geteuid(), None, None))
        assert call(path, "status")
        assert [p.name for p in tmp_path.iterdir()] == ["control.sock"]
        loop.close()
        assert not path.exists()

    def test_a_successors_is_left_alone(self, path):
        first = Loop(path, Admission(os.geteuid(), None, None))
        second = Loop(path, Admission(os.geteuid(), None, None))
        first.close()
        assert call(path, "status")
        second.close()

    def test_a_file_in_the_way_is_kept(self, path):
        path.write_text("precious")
        with pytest.raises(FileExistsError, match="not a socket"):
            ControlServer(path, Admission(0, None, None), print)
        assert path.read_text() == "precious"

    def test_a_deep_folder(self, tmp_path):
        folder = tmp_path / ("deep" * 20) / ("deeper" * 20)
        folder.mkdir(parents=True)
        loop = Loop(folder / "control.sock", Admission(os.geteuid(), None, None))
        assert call(folder / "control.sock", "status")
        loop.close()


def as_user(uid, gid, groups, path, verbs):
    """What a process of this user and these groups gets for each verb: a role, or the refusal."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        answers = []
        try:
            os.setgroups(groups)
            os.setgid(gid)
            os.setuid(uid)
            for verb in verbs:
                try:
                    answers.append(call(path, verb)["role"])
                except ControlError as error:
                    answers.append(f"{type(error).__name__}: {error}")
        finally:
            os.write(writer, json.dumps(answers).encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        answers = json.load(file)
    os.waitpid(pid, 0)
    return answers


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become other users")
class TestAdmission:
    @pytest.fixture
    def path(self, tmp_path):
        for folder in [tmp_path, *tmp_path.parents][:3]:
            folder.chmod(0o755)
        return tmp_path / "control.sock"

    @pytest.mark.parametrize(
        ("uid", "gid", "groups"),
        [
            (0, 0, []),
            (1000, OTHER, []),  # the daemon's owner
            (NOBODY, OPERATORS, []),
            (NOBODY, OTHER, [OPERATORS]),
            (NOBODY, GROUP, [OTHER, OPERATORS]),
        ],
    )
    def test_who_changes_things(self, path, uid, gid, groups):
        loop = Loop(path, Admission(1000, GROUP, OPERATORS))
        assert as_user(uid, gid, groups, path, ["status", "pause"]) == ["change", "change"]
        loop.close()

    @pytest.mark.parametrize(("gid", "groups"), [(GROUP, []), (OTHER, [GROUP]), (OTHER, [*range(100), GROUP])])
    def test_who_looks(self, path, gid, groups):
        loop = Loop(path, Admission(1000, GROUP, OPERATORS))
        status, pause = as_user(NOBODY, gid, groups, path, ["status", "pause"])
        assert status == "read"
        assert pause.startswith("RefusedError: pause is for root, the daemon's owner and the operators' group")
        assert [r.verb for r in loop.requests] == ["status"]
        loop.close()

    @pytest.mark.parametrize(("gid", "groups"), [(OTHER, []), (OTHER, [OTHER + 1])])
    def test_who_is_refused_in_one_line(self, path, gid, groups):
        loop = Loop(path, Admission(1000, GROUP, OPERATORS))
        answers = as_user(NOBODY, gid, groups, path, ["status", "pause"] * 20)
        assert set(answers) == {f"RefusedError: user {NOBODY} may not use ast3's control socket; ask for its group"}
        assert not loop.requests
        loop.close()

    def test_groups_that_this_machine_does_not_have_admit_nobody(self, path):
        loop = Loop(path, Admission(1000, None, None))
        [answer] = as_user(NOBODY, OTHER, [], path, ["status"])
        assert answer.startswith("RefusedError")
        loop.close()


class TestAdmissionOf:
    def test_the_daemons_own_group_and_an_unknown_one(self):
        admission = Admission.of(None, "no-such-group-ast3")
        assert admission == Admission(os.geteuid(), os.getegid(), None)

    def test_named_groups(self):
        group = grp.getgrall()[-1]
        assert Admission.of(group.gr_name, group.gr_name) == Admission(os.geteuid(), group.gr_gid, group.gr_gid)

    def test_a_group_that_does_not_exist_matches_no_peer(self):
        assert Admission(1, None, None).role(Peer(2, 1, frozenset({3}))) is None
