"""The second witness: what is taken for an answer, and a server that nobody can hold up."""

import contextlib
import json
import os
import selectors
import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast3d.common.clock import boottime
from ha import witness, witness_server
from ha.witness import KeyFileError, Standing, WitnessError, answer, ask, judge, read_key, understand
from ha.witness_server import WitnessServer

KEY = b"k" * 32
ABLE = Standing(able=True, works=("x", "y"))
names = st.text(min_size=1, max_size=32)
standings = st.builds(
    Standing, st.booleans(), st.text(max_size=500), st.lists(st.text(max_size=32), max_size=200).map(tuple)
)

lines = st.binary() | st.builds(
    lambda said: json.dumps({"mac": "0", "said": said}).encode(),
    st.recursive(st.none() | st.text() | st.integers(), st.lists),
)
fields = st.sampled_from(["from", "to", "nonce", "able", "reason", "works", "x"])
sayings = st.recursive(
    st.none() | st.booleans() | st.text() | st.integers() | st.floats(),
    lambda inner: st.lists(inner) | st.dictionaries(fields, inner),
)


def exchange(key=KEY, standing=ABLE):
    question = ask(key, "a", "b")
    return question, answer(key, understand(key, "b", question.line), standing)


class TestCodec:
    def test_an_answer_says_how_the_other_is(self):
        question, line = exchange()
        assert judge(KEY, question, line) == ABLE

    @given(names, names, standings)
    def test_every_standing_is_told_and_fits(self, asker, asked, standing):
        if asker == asked:
            return
        question = ask(KEY, asker, asked)
        line = answer(KEY, understand(KEY, asked, question.line), standing)
        assert max(len(line), len(question.line)) <= witness.MAX_LINE_BYTES
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        told = judge(KEY, question, line)
        assert told.able == standing.able
        assert standing.works[: len(told.works)] == told.works
        assert " ".join(standing.reason.split()).startswith(told.reason)

    def test_a_usual_standing_is_told_whole(self):
        standing = Standing(
            able=False, reason="disk full: /array/a, 0 of 7200 GB", works=tuple(f"telescope-{n}" for n in range(40))
        )
        question, line = exchange(standing=standing)
        assert judge(KEY, question, line) == standing

    @given(st.data())
    def test_any_byte_changed_left_out_or_put_in_is_refused(self, data):
        question, line = exchange()
        readings = ((line, lambda bad: judge(KEY, question, bad)), (question.line, lambda bad: understand(KEY, "b", bad)))
        for whole, read in readings:
            at = data.draw(st.integers(0, len(whole) - 1))
            new = data.draw(st.binary(max_size=2))
            bad = whole[:at] + new + whole[at + data.draw(st.integers(0, 2)) :]
            if bad != whole:
                with pytest.raises(WitnessError):
                    read(bad)

    @given(lines)
    def test_whatever_comes_it_is_refused_and_nothing_worse(self, line):
        question = ask(KEY, "a", "b")
        with pytest.raises(WitnessError, match=r"\A[^\n]*\Z"):
            judge(KEY, question, line)
        with pytest.raises(WitnessError, match=r"\A[^\n]*\Z"):
            understand(KEY, "b", line)

    @pytest.mark.parametrize("line", [
        b"[" * 4000, b'{"said": ' * 400, b'{"mac": "x", "said": "\\ud800"}', b'{"said": 1e999}', b"1" * 4095, b"x" * 5000,
    ])  # fmt: skip
    def test_lines_made_to_hurt(self, line):
        with pytest.raises(WitnessError):
            understand(KEY, "b", line)

    @given(sayings)
    def test_what_another_version_with_the_key_says_is_refused_at_most(self, said):
        question = ask(KEY, "a", "b")
        with contextlib.suppress(WitnessError):
            judge(KEY, question, witness._seal(KEY, "answer", said))
        with contextlib.suppress(WitnessError):
            answer(KEY, understand(KEY, "b", witness._seal(KEY, "question", said)), ABLE)

    def test_another_key(self):
        question, line = exchange(key=b"j" * 32)
        with pytest.raises(WitnessError, match="not signed with this node's key"):
            judge(KEY, question, line)
        with pytest.raises(WitnessError, match="not signed with this node's key"):
            understand(KEY, "b", question.line)

    def test_an_earlier_answer(self):
        _, old = exchange()
        question, _ = exchange()
        with pytest.raises(WitnessError, match="answer to another question"):
            judge(KEY, question, old)

    def test_one_s_own_question(self):
        question = ask(KEY, "a", "b")
        with pytest.raises(WitnessError, match="not signed with this node's key as an answer"):
            judge(KEY, question, question.line)
        with pytest.raises(WitnessError, match="a question to b, and this is a"):
            understand(KEY, "a", question.line)

    def test_one_s_own_answer(self):
        question, line = exchange()
        back = witness.Question("b", "a", question.nonce, b"")
        with pytest.raises(WitnessError, match="an answer from b to a"):
            judge(KEY, back, line)

    def test_the_answer_of_another_node(self):
        """That sits at the address where b should be, or answers in its stead."""
        question = ask(KEY, "a", "b")
        stranger = witness.Question("a", "c", question.nonce, b"")
        with pytest.raises(WitnessError, match="an answer from c to a"):
            judge(KEY, question, answer(KEY, stranger, ABLE))
        with pytest.raises(WitnessError, match="a question to b, and this is c"):
            understand(KEY, "c", question.line)

    def test_the_answer_to_another_node(self):
        question = ask(KEY, "a", "b")
        with pytest.raises(WitnessError, match="an answer from b to c"):
            judge(KEY, question, answer(KEY, witness.Question("c", "b", question.nonce, b""), ABLE))

    def test_two_nodes_of_one_name(self):
        with pytest.raises(WitnessError, match="two nodes have one name"):
            understand(KEY, "a", ask(KEY, "a", "a").line)

    def test_no_two_questions_are_the_same(self):
        assert len({ask(KEY, "a", "b").nonce for _ in range(100)}) == 100


class TestKeyFile:
    def test_its_bytes_are_the_key(self, tmp_path):
        (tmp_path / "key").write_bytes(KEY + b"\0\n")
        (tmp_path / "key").chmod(0o640)
        assert read_key(tmp_path / "key") == KEY + b"\0\n"

    @pytest.mark.parametrize(("data", "mode", "line"), [
        (b"k" * 31, 0o600, "must have 32 to 4096 bytes, .*/key has 31 bytes: `openssl rand -hex 32` makes one"),
        (b"k" * 5000, 0o600, "has more"), (b"", 0o600, "has 0 bytes"), (KEY, 0o644, "others may open .*: chmod o= .*/key"),
    ])  # fmt: skip
    def test_a_bad_one_is_refused_in_a_line(self, tmp_path, data, mode, line):
        (tmp_path / "key").write_bytes(data)
        (tmp_path / "key").chmod(mode)
        with pytest.raises(KeyFileError, match=line):
            read_key(tmp_path / "key")

    def test_what_is_no_file(self, tmp_path):
        with pytest.raises(KeyFileError, match="No such file or directory"):
            read_key(tmp_path / "key")
        os.mkfifo(tmp_path / "fifo", 0o600)
        for odd in (tmp_path / "fifo", tmp_path):
            with pytest.raises(KeyFileError, match="is not a regular file"):
                read_key(odd)


class Served:
    """A server in a loop of its own."""

    def __init__(self, standing=lambda: ABLE):
        self.selector = selectors.DefaultSelector()
        self.server = WitnessServer("127.0.0.1:0", "b", KEY, standing, self.selector)
        self.port = self.server.port()
        self.over, self.wake = os.pipe()
        self.selector.register(self.over, selectors.EVENT_READ, None)
        self.longest = 0.0
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            ready = self.selector.select(0.1)
            begun = time.monotonic()
            for key, mask in ready:
                if key.data is None:
                    return
                key.data(mask)
            self.server.expire(boottime())
            self.longest = max(self.longest, time.monotonic() - begun)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), 5)

    def ask(self, question=None):
        question = question or ask(KEY, "a", "b")
        with self.connect() as connection:
            connection.sendall(question.line)
            return question, b"".join(iter(lambda: connection.recv(4096), b""))

    def end(self):
        os.write(self.wake, b"x")
        self.thread.join(5)
        assert not self.thread.is_alive()
        self.server.close()
        assert [key.fd for key in self.selector.get_map().values()] == [self.over]
        os.close(self.over)
        os.close(self.wake)


@pytest.fixture
def served():
    served = Served()
    yield served
    served.end()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(witness_server, "PATIENCE_SECONDS", 0.2)


def ends(connection):
    """Whether the server closes it."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


class TestServer:
    def test_answers_with_what_holds_now(self):
        said = [ABLE]
        served = Served(lambda: said[-1])
        assert judge(KEY, *served.ask()) == ABLE
        said.append(Standing(able=False, reason="no disk"))
        assert judge(KEY, *served.ask()) == said[-1]
        served.end()

    def test_a_question_in_pieces(self, served):
        question = ask(KEY, "a", "b")
        with served.connect() as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for number in range(len(question.line)):
                connection.sendall(question.line[number : number + 1])
            assert judge(KEY, question, connection.recv(4096)) == ABLE

    def test_who_has_not_the_key_gets_no_word(self, served):
        for line in (b"\n", b"hello\n", ask(b"j" * 32, "a", "b").line, ask(KEY, "a", "c").line):
            with served.connect() as connection:
                connection.sendall(line)
                assert ends(connection)
        assert served.server.refused == 4
        assert "a question to c, and this is b" in served.server.refusal
        assert judge(KEY, *served.ask()) == ABLE

    @pytest.mark.usefixtures("impatient")
    def test_the_silent_and_the_slow_are_dropped_in_time(self, served):
        with served.connect() as silent, served.connect() as slow:
            slow.sendall(ask(KEY, "a", "b").line[:50])
            begun = time.monotonic()
            assert ends(silent)
            assert ends(slow)
            assert time.monotonic() - begun < 3
        assert judge(KEY, *served.ask()) == ABLE

    def test_the_greedy_are_dropped_at_once(self, served):
        with served.connect() as greedy:
            begun = time.monotonic()
            greedy.sendall(b"x" * (witness.MAX_LINE_BYTES + 1))
            assert ends(greedy)
            assert time.monotonic() - begun < witness_server.PATIENCE_SECONDS - 0.5
            with contextlib.suppress(OSError):
                for _ in range(100):
                    greedy.sendall(b"x" * 100_000)
        assert judge(KEY, *served.ask()) == ABLE

    def test_those_who_hang_up_harm_nobody(self, served):
        for _ in range(50):
            connection = served.connect()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
            connection.sendall(ask(KEY, "a", "b").line)
            connection.close()
        assert judge(KEY, *served.ask()) == ABLE

    def test_a_crowd_that_is_silent_keeps_nobody_out(self, served):
        crowd = [served.connect() for _ in range(3 * witness_server.MAX_ASKERS)]
        assert judge(KEY, *served.ask()) == ABLE
        assert len(served.server._askers) <= witness_server.MAX_ASKERS
        assert ends(crowd[0])
        for connection in crowd:
            connection.close()
        assert served.longest < 1

    def test_a_crowd_at_one_address_drops_none_of_another(self, served):
        """From 127.0.0.2 comes one who is slow to ask."""
        question = ask(KEY, "a", "b")
        with socket.create_connection(("127.0.0.1", served.port), 5, ("127.0.0.2", 0)) as other:
            other.sendall(question.line[:-1])
            crowd = [served.connect() for _ in range(2 * witness_server.MAX_ASKERS)]
            assert ends(crowd[0])
            other.sendall(question.line[-1:])
            assert judge(KEY, question, other.recv(4096)) == ABLE
        for connection in crowd:
            connection.close()

    def test_an_address_that_is_taken_is_an_error(self, served):
        with pytest.raises(OSError, match="in use"):
            WitnessServer(f"127.0.0.1:{served.port}", "b", KEY, lambda: ABLE, selectors.DefaultSelector())

    def test_addresses(self):
        assert witness_server.parse_address("10.0.0.1:4471") == ("10.0.0.1", 4471)
        assert witness_server.parse_address("[fe80::1]:4471") == ("fe80::1", 4471)
