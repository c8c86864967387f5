"""The courier's cycle with a store in memory, and its process with a real etcd."""

import itertools
import os
import select
import signal
import socket
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha.courier import cycle
from ha.store import Entry, StoreFullError, StoreRefusedError, StoreUnreachableError
from tests.ha.agents import PATIENCE_SECONDS, Agent
from tests.ha.etcds import Etcd, Proxy
from tests.ha.memory_store import MemoryStore

KEY, VALUE = PRESENCE = ("node/a", '{"able":true}')


def order(lease=0, txns=(), n=1, presence=PRESENCE):
    txns = [{"expect": {}, "put": {}, "delete": [], **txn} for txn in txns]
    return {"n": n, "lease": lease, "seconds": 6, "presence": list(presence), "txns": txns}


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def clock(store):
    """The number of calls that the store has had."""
    return lambda: float(len(store.calls))


@pytest.fixture
def present(store, clock):
    """Somebody who is there: its lease."""
    lease = cycle(store, order(), clock)["lease"]
    store.calls.clear()
    return lease


class TestCycle:
    def test_the_first_one_grants_puts_and_reads(self, store, clock):
        answer = cycle(store, order(), clock)
        assert answer["granted"]
        assert not answer["gone"]
        assert answer["entries"] == {KEY: [VALUE, 2, answer["lease"]]}
        assert answer["problem"] == ""
        assert answer["member"] == "memory"
        assert answer["n"] == 1

    def test_a_quiet_one_renews_and_reads_once(self, store, clock, present):
        answer = cycle(store, order(present), clock)
        assert store.verbs == ["renew", "read"]
        assert (answer["lease"], answer["granted"], answer["gone"]) == (present, False, False)
        assert (answer["renewed_at"], answer["read_at"]) == (0.0, 1.0)

    def test_presence_that_differs_is_put(self, store, clock, present):
        answer = cycle(store, order(present, presence=(KEY, "other")), clock)
        assert answer["entries"][KEY][::2] == ["other", present]

    def test_presence_that_somebody_deleted_is_put(self, store, clock, present):
        del store.entries[KEY]
        assert cycle(store, order(present), clock)["entries"][KEY][::2] == [VALUE, present]

    def test_a_lease_that_is_gone_is_granted_anew_in_the_same_cycle(self, store, clock, present):
        store.end(present)
        answer = cycle(store, order(present), clock)
        assert (answer["granted"], answer["gone"]) == (True, True)
        assert answer["lease"] != present
        assert answer["entries"][KEY] == [VALUE, store.revision, answer["lease"]]
        assert answer["renewed_at"] == 1.0  # when the new one was asked for

    def test_an_etcd_that_renews_what_it_has_revoked_is_found_out(self, store, clock, present):
        store.end(present)
        store.renews_anything = True
        answer = cycle(store, order(present), clock)
        assert (answer["granted"], answer["gone"]) == (True, True)
        assert answer["entries"][KEY][2] == answer["lease"] != present
        assert answer["renewed_at"] == store.verbs.index("grant")

    def test_txns_are_done_in_order_and_what_is_read_is_after_them(self, store, clock, present):
        txns = [{"expect": {"tel/x": 0}, "put": {"tel/x": "a"}}, {"expect": {"tel/x": 0}, "put": {"tel/x": "b"}},
                {"delete": ["tel/y"]}]  # fmt: skip
        answer = cycle(store, order(present, txns), clock)
        assert answer["done"] == [True, False, True]
        assert answer["entries"]["tel/x"] == ["a", store.revision - 1, 0]
        assert answer["read_at"] == store.verbs.index("read", 2) == len(store.calls) - 1

    def test_a_txn_without_an_answer_is_unknown_and_those_after_it_are_not_sent(self, store, clock, present):
        store.lost = {4}
        txns = [{"put": {"tel/x": "a"}}, {"put": {"tel/y": "a"}}, {"put": {"tel/z": "a"}}]
        answer = cycle(store, order(present, txns), clock)
        assert answer["done"] == [True, None, None]
        assert set(answer["entries"]) == {KEY, "tel/x", "tel/y"}  # the reading tells
        assert answer["problem"] == "lost"

    def test_what_was_read_before_something_was_written_is_no_answer(self, store, clock, present):
        store.fail = {4: StoreUnreachableError("silent")}
        answer = cycle(store, order(present, [{"put": {"tel/x": "a"}}]), clock)
        assert answer["done"] == [True]
        assert answer["entries"] is answer["read_at"] is None
        assert answer["problem"] == "silent"

    def test_no_answer_to_the_renewal(self, store, clock, present):
        store.fail = {1: StoreUnreachableError("silent")}
        answer = cycle(store, order(present, [{}]), clock)
        assert store.verbs == ["renew"]
        assert (answer["lease"], answer["renewed_at"], answer["gone"]) == (present, None, False)
        assert answer["entries"] is answer["read_at"] is None
        assert answer["done"] == [None]
        assert answer["problem"] == "silent"

    def test_gone_and_no_answer_to_the_grant(self, store, clock, present):
        store.end(present)
        store.fail = {2: StoreUnreachableError("silent")}
        answer = cycle(store, order(present), clock)
        assert (answer["lease"], answer["renewed_at"], answer["gone"], answer["granted"]) == (0, None, True, False)

    def test_a_full_store_is_read_all_the_same(self, store, clock, present):
        store.end(present)
        store.fail = {2: StoreFullError("m:1")}
        store.entries["x"] = Entry("1", 1, 0)
        answer = cycle(store, order(present, [{}]), clock)
        assert "NOSPACE" in answer["problem"]
        assert (answer["lease"], answer["gone"], answer["done"]) == (0, True, [None])
        assert list(answer["entries"]) == ["x"]

    @given(failing=st.integers(1, 9), error=st.sampled_from([StoreUnreachableError, StoreRefusedError, StoreFullError]),
           lease=st.sampled_from([0, 7, 101]), ended=st.booleans(), lies=st.booleans(), count=st.integers(0, 3))  # fmt: skip
    def test_whatever_fails_the_answer_claims_no_more_than_is_so(self, failing, error, lease, ended, lies, count):
        store = MemoryStore()
        cycle(store, order(), lambda: 0.0)
        if ended:
            store.end(101)
        store.calls.clear()
        store.renews_anything = lies
        store.fail = {failing: error("wrong")}
        txns = [{"put": {f"tel/{number}": "a"}} for number in range(count)]
        ticks = itertools.count()
        answer = cycle(store, order(lease, txns), lambda: float(next(ticks)))
        happened = len(store.calls) >= failing
        assert bool(answer["problem"]) == happened
        assert (answer["entries"] is None) == (answer["read_at"] is None)
        assert len(answer["done"]) == count
        for number, done in enumerate(answer["done"]):
            assert (f"tel/{number}" in store.entries) == (done is True)
        if answer["renewed_at"] is not None and not happened:
            assert answer["lease"] in store.leases
        if answer["granted"]:
            assert answer["lease"] in store.leases
        if not happened:
            assert answer["entries"][KEY][2] == answer["lease"]


@pytest.fixture
def agent():
    agent = Agent("ha.courier")
    yield agent
    agent.end()


@pytest.fixture(scope="module")
def etcd(tmp_path_factory):
    one = Etcd(tmp_path_factory.mktemp("etcd"))
    yield one
    one.end()


def members(*urls):
    about = {"ca": None, "cert": None, "key": None, "user": None, "password_file": None, "prefix": "ast3"}
    return {"etcd": {"endpoints": urls, **about}}


class TestProcess:
    def test_does_errands_at_a_real_etcd(self, agent, etcd):
        agent.tell(members(etcd.url), {"cycle": order(n=7)})
        first = agent.hear("cycled")
        assert first["n"] == 7
        assert first["granted"]
        assert first["problem"] == ""
        agent.tell({"cycle": order(first["lease"], [{"expect": {"tel/x": 0}, "put": {"tel/x": "a"}}], n=8)})
        second = agent.hear("cycled")
        assert second["done"] == [True]
        assert second["entries"][KEY] == first["entries"][KEY]
        assert second["entries"]["tel/x"][0] == "a"
        etcd.ctl("lease", "revoke", f"{first['lease']:x}")
        agent.tell({"cycle": order(first["lease"], n=9)})
        third = agent.hear("cycled")
        assert third["gone"]
        assert third["granted"]
        assert third["entries"][KEY][2] == third["lease"]

    def test_without_members_it_says_so(self, agent):
        agent.tell({"cycle": order()}, {"ping": 3})
        assert agent.hear("cycled")["problem"] == "no members of etcd are configured (ha.etcd)"
        assert agent.hear("pong") == 3
        agent.tell(members(), {"cycle": order()})
        assert agent.hear("cycled")["problem"] == "no members of etcd are configured (ha.etcd)"

    def test_silent_members_are_an_answer_in_time(self, agent):
        silent = [socket.create_server(("127.0.0.1", 0)) for _ in range(5)]
        agent.tell(members(*(f"http://127.0.0.1:{one.getsockname()[1]}" for one in silent)))
        agent.tell({"ping": 1})
        agent.hear("pong")
        begun = time.monotonic()
        agent.tell({"cycle": order()})
        answer = agent.hear("cycled")
        assert time.monotonic() - begun < 5
        assert "no time was left" in answer["problem"]
        for one in silent:
            one.close()

    def test_a_member_that_trickles_is_an_answer_in_time(self, agent, etcd):
        """Each byte comes well within a time-out, the whole of it in a minute."""
        trickle = Proxy(etcd.port, delay_seconds=0.3, piece_bytes=1)
        agent.tell(members(trickle.url), {"ping": 1})
        agent.hear("pong")
        begun = time.monotonic()
        agent.tell({"cycle": order()})
        answer = agent.hear("cycled")
        assert time.monotonic() - begun < 5
        assert answer["problem"]
        trickle.end()
        agent.tell(members(etcd.url), {"cycle": order(n=2)})  # and it goes on
        assert agent.hear("cycled")["problem"] == ""

    def test_an_order_that_was_overtaken_is_answered_and_not_carried_out(self, agent, etcd):
        agent.tell(members(etcd.url), {"cycle": order(txns=[{"put": {"old": "1"}}])}, {"cycle": order(n=2)})
        first, second = agent.hear("cycled"), agent.hear("cycled")
        assert (first["n"], first["done"]) == (1, [None])
        assert "overtaken" in first["problem"]
        assert second["n"] == 2
        assert "old" not in second["entries"]

    def test_it_ends_with_its_agent(self, agent):
        agent.tell({"ping": 1})
        agent.hear("pong")
        agent.sock.close()
        assert agent.process.wait(PATIENCE_SECONDS) == 0

    def test_it_ends_with_an_agent_whose_socket_another_process_still_has(self):
        """The kernel ends it: its parent is gone."""
        script = ("import os, socket, subprocess, sys\n"
                  "a, b = socket.socketpair()\n"
                  "p = subprocess.Popen([sys.executable, '-P', '-m', 'ha.courier', str(b.fileno()), str(os.getpid())],"
                  " pass_fds=[b.fileno(), a.fileno()])\n"
                  "a.sendall(b'{\"ping\": 1}\\n'); a.recv(99); print(p.pid, flush=True); sys.stdin.read()")  # fmt: skip
        parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        pid = int(parent.stdout.readline())
        fd = os.pidfd_open(pid)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert select.select([fd], [], [], PATIENCE_SECONDS)[0]
        os.close(fd)
