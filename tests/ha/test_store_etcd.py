"""The store against real etcd processes."""

import signal
import socket
import ssl
import threading
import time
from contextlib import contextmanager

import pytest
import requests

from ast3d.common.clock import boottime
from ha import etcd_errors
from ha.etcd import EtcdStore, Members
from ha.store import Entry, LeaseGoneError, StoreFullError, StoreRefusedError, StoreUnreachableError
from tests.ha.etcds import Certificates, Etcd, Proxy, free_port

NO_LEASE = 0x1234
QUOTA = 16 * 1024 * 1024  # no less: etcd's own file begins with some of it


@pytest.fixture(scope="module")
def etcd(tmp_path_factory):
    one = Etcd(tmp_path_factory.mktemp("etcd"))
    yield one
    one.end()


@pytest.fixture
def start(tmp_path):
    """Makes members, and ends them."""
    running = []

    def make(*flags, **more):
        running.append(Etcd(tmp_path / f"etcd{len(running)}", *flags, **more))
        return running[-1]

    yield make
    for one in running:
        one.end()


@pytest.fixture
def prefix(request):
    """Of this test alone."""
    return request.node.name.replace("[", "-").replace("]", "")[:40]


@pytest.fixture
def store(etcd, prefix):
    return EtcdStore(Members((etcd.url,), prefix=prefix))


@pytest.fixture
def proxied(etcd):
    made = []

    def make(**how):
        made.append(Proxy(etcd.port, **how))
        return made[-1]

    yield make
    for proxy in made:
        proxy.end()


@contextmanager
def within(seconds):
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds


class TestVerbs:
    def test_what_is_put_is_read_with_its_revision_and_lease(self, store):
        lease = store.grant(60)
        assert store.txn({"node/a": 0}, {"node/a": "ä\n"}, (), lease)
        assert store.txn({}, {"tel/x": ""})
        entries = store.read()
        assert entries["node/a"] == Entry("ä\n", entries["tel/x"].revision - 1, lease)
        assert entries["tel/x"].lease == 0

    def test_of_two_who_expect_the_same_one_succeeds(self, store):
        assert store.txn({"tel/x": 0}, {"tel/x": "a"})
        assert not store.txn({"tel/x": 0}, {"tel/x": "b"})
        first = store.read()["tel/x"]
        assert first.value == "a"
        assert store.txn({"tel/x": first.revision}, {"tel/x": "c"})
        assert not store.txn({"tel/x": first.revision}, {"tel/x": "d"})
        second = store.read()["tel/x"]
        assert second.value == "c"
        assert second.revision > first.revision

    def test_all_of_a_txn_or_nothing(self, store):
        store.txn({}, {"a": "1", "b": "1"})
        entries = store.read()
        assert not store.txn({"a": entries["a"].revision, "c": 7}, {"a": "2"}, ["b"])
        assert store.read() == entries
        assert store.txn({"a": entries["a"].revision, "c": 0}, {"a": "2"}, ["b"])
        assert {key: entry.value for key, entry in store.read().items()} == {"a": "2"}

    def test_only_what_is_below_the_prefix_is_read(self, etcd, store, prefix):
        etcd.ctl("put", f"/{prefix}", "x")
        etcd.ctl("put", f"/{prefix}0", "x")
        etcd.ctl("put", f"/{prefix}-/a", "x")
        assert store.read() == {}

    def test_the_same_key_written_anew_has_a_greater_revision_also_after_it_was_deleted(self, store):
        store.txn({}, {"a": "1"})
        before = store.read()["a"].revision
        store.txn({}, {}, ["a"])
        store.txn({}, {"a": "1"})
        assert store.read()["a"].revision > before

    def test_what_others_wrote_may_be_anything(self, etcd, store, prefix):
        etcd.ctl("put", "--", f"/{prefix}/\udcff", "\udcfe")
        assert store.read()["\ufffd"].value == "\ufffd"


class TestLease:
    def test_renewed_it_lives(self, store):
        assert store.renew(store.grant(60))

    def test_revoked_it_is_gone_and_so_is_what_was_put_with_it(self, etcd, store):
        lease = store.grant(60)
        store.txn({}, {"node/a": "", "tel/x": ""}, (), lease)
        etcd.ctl("lease", "revoke", f"{lease:x}")
        assert store.renew(lease) is False
        assert store.read() == {}

    def test_not_renewed_it_is_gone(self, store):
        lease = store.grant(1)
        store.txn({}, {"node/a": ""}, (), lease)
        deadline = time.monotonic() + 10
        while store.read() and time.monotonic() < deadline:  # nothing tells of it: that is why we read
            time.sleep(0.05)
        assert store.renew(lease) is False

    def test_one_that_never_was_is_gone(self, store):
        assert store.renew(NO_LEASE) is False

    def test_nothing_is_put_with_a_lease_that_is_gone(self, store):
        with pytest.raises(LeaseGoneError, match="1234"):
            store.txn({}, {"node/a": ""}, (), NO_LEASE)
        assert store.read() == {}


class TestMembers:
    def test_a_dead_one_is_passed_over_and_the_one_that_answered_is_asked_first(self, prefix, proxied):
        living = proxied()
        dead = free_port()
        store = EtcdStore(Members((f"http://127.0.0.1:{dead}", living.url), prefix=prefix))
        with within(0.9):
            store.read()
        assert store.member == living.url.removeprefix("http://")
        living.end()
        with pytest.raises(StoreUnreachableError) as failed:
            store.read()
        assert failed.value.tried[0].startswith(store.member)  # and not the dead one again

    def test_dead_ones_are_named_with_what_came_of_asking_them(self):
        dead = [f"127.0.0.1:{free_port()}" for _ in range(2)]
        store = EtcdStore(Members(tuple(f"http://{name}" for name in dead)))
        with within(0.9), pytest.raises(StoreUnreachableError) as failed:
            store.read()
        assert failed.value.tried == tuple(f"{name} refuses the connection: no etcd listens there" for name in dead)
        assert str(failed.value) == "etcd: " + "; ".join(failed.value.tried)

    def test_one_that_answers_after_a_second_is_passed_over(self, etcd, prefix, proxied):
        slow = proxied(delay_seconds=1.0)
        store = EtcdStore(Members((slow.url, etcd.url), prefix=prefix))
        with within(2.5):
            store.read()
        assert store.member in etcd.url
        with within(0.85):
            store.read()

    def test_a_stopped_one_is_passed_over_in_time(self, start, etcd, prefix):
        stopped = start()
        stopped.process.send_signal(signal.SIGSTOP)
        store = EtcdStore(Members((stopped.url, etcd.url), prefix=prefix))
        with within(2.5):
            assert store.grant(60)

    def test_a_txn_that_may_have_been_done_is_not_sent_again(self, prefix, proxied):
        """Sent again it would find its own revision, and seem to have failed."""
        slow, other = proxied(delay_seconds=1.0), proxied()
        store = EtcdStore(Members((slow.url, other.url), prefix=prefix))
        with pytest.raises(StoreUnreachableError, match=r"no answer within 0\.9 s"):
            store.txn({"tel/x": 0}, {"tel/x": "a"})
        assert other.asked == 0
        assert store.read()["tel/x"].value == "a"

    def test_a_txn_that_was_not_sent_goes_to_the_next(self, etcd, prefix):
        store = EtcdStore(Members((f"http://127.0.0.1:{free_port()}", etcd.url), prefix=prefix))
        assert store.txn({"tel/x": 0}, {"tel/x": "a"})

    def test_a_member_that_was_started_again_is_spoken_with_again(self, start):
        one = start()
        store = EtcdStore(Members((one.url,)))
        store.txn({}, {"a": "1"})
        one.end()
        with pytest.raises(StoreUnreachableError):
            store.read()
        one.start()
        assert store.read()["a"].value == "1"

    def test_past_the_deadline_nobody_is_asked(self, etcd):
        store = EtcdStore(Members((etcd.url,)))
        store.deadline = boottime()
        with pytest.raises(StoreUnreachableError, match="no time was left"):
            store.read()

    def test_the_deadline_cuts_a_call_short(self, etcd, proxied):
        store = EtcdStore(Members((proxied(delay_seconds=1.0).url, etcd.url)))
        store.deadline = boottime() + 0.2
        with within(0.85), pytest.raises(StoreUnreachableError, match="no answer"):
            store.read()

    def test_no_majority_is_no_answer_in_time(self, start):
        """It would read what may be old, or wait for seven seconds."""
        one = start()
        store = EtcdStore(Members((one.url,)))
        one.ctl("member", "add", "two", f"--peer-urls=http://127.0.0.1:{free_port()}")  # it never comes
        with within(4), pytest.raises(StoreUnreachableError, match=r"no answer within|answers"):
            store.read()

    @pytest.mark.parametrize("answer", [b"", b"\0\r\n\r\n", b"HTTP/1.1 500 x\r\n\r\n[1",
                                        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
                                        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
                                        b'HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{"header": null}',
                                        b'HTTP/1.1 200 OK\r\ncontent-length: 24\r\n\r\n{"result": 1, "ID": "x" }',
                                        ])  # fmt: skip
    @pytest.mark.parametrize("verb", ["read", "renew", "grant", "txn"])
    def test_whatever_answers_there_it_is_one_line_of_ours(self, answer, verb):
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve():
                connection, _ = listener.accept()
                connection.recv(4096)
                connection.sendall(answer)
                connection.close()

            threading.Thread(target=serve, daemon=True).start()
            store = EtcdStore(Members((f"http://127.0.0.1:{listener.getsockname()[1]}",)))
            ask = {"read": store.read, "renew": lambda: store.renew(1), "grant": lambda: store.grant(5),
                   "txn": lambda: store.txn({"a": 0}, {})}[verb]  # fmt: skip
            with pytest.raises(StoreUnreachableError, match=r"\A[^\n]*\Z"):
                ask()


class TestFull:
    def test_nothing_is_written_until_somebody_made_room(self, start):
        one = start("--quota-backend-bytes", str(QUOTA))
        store = EtcdStore(Members((one.url,)))
        lease = store.grant(60)
        assert store.txn({}, {"a": "small"})

        def fill():
            for _ in range(30):
                store.txn({}, {"big": "x" * 1_000_000})

        line = f"full \\(alarm NOSPACE\\) on 127.0.0.1:{one.port}; make room, then `etcdctl alarm disarm`"
        with pytest.raises(StoreFullError, match=line):
            fill()
        with pytest.raises(StoreFullError):
            store.txn({}, {"a": "again"})
        with pytest.raises(StoreFullError):
            store.grant(60)
        assert store.renew(lease)
        revision = max(entry.revision for entry in store.read().values())
        store_alone = EtcdStore(Members((one.url,)))
        assert store_alone.read()["a"].value == "small"
        one.ctl("compact", str(revision))
        one.ctl("defrag")
        one.ctl("alarm", "disarm")
        assert store.txn({}, {"a": "again"})


class TestTls:
    @pytest.fixture(scope="class")
    @classmethod
    def certificates(cls, tmp_path_factory):
        return Certificates(tmp_path_factory.mktemp("tls") / "made")

    @pytest.fixture(scope="class")
    @classmethod
    def secure(cls, certificates, tmp_path_factory):
        cert, key = certificates.make("server")
        one = Etcd(tmp_path_factory.mktemp("secure"), "--cert-file", cert, "--key-file", key, "--client-cert-auth",
                   "--trusted-ca-file", certificates.ca, scheme="https")  # fmt: skip
        yield one
        one.end()

    def test_a_certificate_without_a_cn_is_welcome_whatever_the_environment_says(self, secure, certificates, monkeypatch):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificates.authority("another"))
        cert, key = certificates.make("node")
        store = EtcdStore(Members((secure.url,), ca=certificates.ca, cert=cert, key=key))
        assert store.txn({}, {"a": "1"})
        assert store.renew(store.grant(60))
        assert store.read()["a"].value == "1"

    @pytest.mark.parametrize(("wrong", "line"), [
        ("expired", r"expired\.crt expired on Jan  3 .* 2025 GMT; make a new one"),
        ("of another authority", r"does (not|it) take this node's certificate.*/stranger\.crt"),
        ("none", r"ask.* a certificate .*ha\.etcd_cert"),
        ("wrong ca", r"wrong\.crt does not vouch for .*: see ha.etcd_ca"),
        ("no ca", "this system does not vouch for"),
        ("absent file", "absent.*; see ha.etcd_ca, ha.etcd_cert and ha.etcd_key"),
        ("http", "closed the connection; does it speak TLS\\?"),
    ])  # fmt: skip
    def test_what_is_wrong_is_said(self, secure, certificates, wrong, line):
        cert, key = certificates.make("node2")
        about = {"ca": certificates.ca, "cert": cert, "key": key}
        url = secure.url
        if wrong == "expired":
            about["cert"], about["key"] = certificates.make("expired", at="2025-01-01 00:00:00")
        elif wrong == "of another authority":
            certificates.authority("foreign")
            about["cert"], about["key"] = certificates.make("stranger", signer="foreign")
        elif wrong == "none":
            about["cert"] = about["key"] = None
        elif wrong == "wrong ca":
            about["ca"] = certificates.authority("wrong")
        elif wrong == "no ca":
            about["ca"] = None
        elif wrong == "absent file":
            about["ca"] = about["ca"] + ".absent"
        elif wrong == "http":
            url = url.replace("https", "http")
        with within(5), pytest.raises((StoreRefusedError, StoreUnreachableError), match=line) as failed:
            EtcdStore(Members((url,), **about)).read()
        assert f"127.0.0.1:{secure.port}" in str(failed.value)
        assert "\n" not in str(failed.value)

    @pytest.mark.parametrize("raised", [ssl.SSLEOFError(8, "EOF"), ssl.SSLZeroReturnError(6, "closed (EOF)"),
                                        ssl.SSLError(1, "sslv3 alert bad certificate"),
                                        ConnectionResetError(104, "reset")])  # fmt: skip
    def test_an_expired_certificate_is_named_however_the_member_ends_it(self, certificates, raised):
        cert, key = certificates.make("past", at="2025-01-01 00:00:00")
        about = Members(("https://m:1",), cert=cert, key=key)
        wrapped = requests.exceptions.ConnectionError(raised)
        assert "past.crt expired on Jan  3" in str(etcd_errors.explain(wrapped, "m:1", about, 0))

    def test_a_member_whose_own_certificate_has_expired(self, certificates, start):
        cert, key = certificates.make("old", at="2025-01-01 00:00:00")
        one = start("--cert-file", cert, "--key-file", key, scheme="https")
        with pytest.raises(StoreRefusedError, match=r"not valid now .*: renew it, or set this node's clock"):
            EtcdStore(Members((one.url,), ca=certificates.ca)).read()

    def test_https_to_one_that_speaks_http(self, etcd):
        with pytest.raises((StoreRefusedError, StoreUnreachableError), match="closed the connection; is it https, and"):
            EtcdStore(Members((etcd.url.replace("http", "https"),))).read()


class TestUser:
    @pytest.fixture(scope="class")
    @classmethod
    def guarded(cls, tmp_path_factory):
        one = Etcd(tmp_path_factory.mktemp("guarded"), "--auth-token-ttl", "1", "--bcrypt-cost", "4")
        for words in (("user", "add", "root:r"), ("user", "add", "ast3:secret"), ("user", "add", "guest:guest"),
                      ("role", "add", "root"), ("role", "add", "ha"),
                      ("role", "grant-permission", "ha", "--prefix=true", "readwrite", "/ast3/"),
                      ("user", "grant-role", "root", "root"), ("user", "grant-role", "ast3", "ha"),
                      ("auth", "enable")):  # fmt: skip
            one.ctl(*words)
        yield one
        one.end()

    @pytest.fixture
    def login(self, guarded, tmp_path):
        def make(user, password, url=guarded.url):
            file = tmp_path / "password"
            file.write_text(password + "\n")
            return EtcdStore(Members((url,), user=user, password_file=str(file)))

        return make

    def test_logs_in_and_again_when_the_login_has_expired(self, login):
        store = login("ast3", "secret")
        assert store.txn({}, {"a": "1"})
        first = store._token
        deadline = time.monotonic() + 20
        while store._token == first and time.monotonic() < deadline:
            assert store.read()["a"].value == "1"  # each answers, whether the token has expired or not
            assert store.renew(store.grant(60))
            time.sleep(2.2)  # a login that is used lives on
        assert store._token != first

    def test_a_member_that_was_started_again_knows_no_logins(self, login, guarded):
        store = login("ast3", "secret")
        store.grant(60)
        guarded.end()
        guarded.start()
        assert store.txn({}, {"a": "2"})

    @pytest.mark.parametrize(("user", "password", "line"), [
        ("ast3", "wrong", "user ast3 or the password in .*/password is wrong"),
        ("nobody", "x", "user nobody or the password in .*/password is wrong"),
        ("guest", "guest", "user guest may not read and write below /ast3/; grant its role readwrite there"),
    ])  # fmt: skip
    def test_who_may_not_is_told_why(self, login, guarded, user, password, line):
        with pytest.raises(StoreRefusedError, match=f"127.0.0.1:{guarded.port} refuses: {line}"):
            login(user, password).read()

    def test_without_a_user(self, guarded):
        with pytest.raises(StoreRefusedError, match=r"asks for a user; set ha.etcd_user and ha.etcd_password_file"):
            EtcdStore(Members((guarded.url,))).read()

    def test_the_password_cannot_be_read(self, guarded):
        with pytest.raises(StoreRefusedError, match="ast3 cannot be read: /nowhere/x: No such file or directory"):
            EtcdStore(Members((guarded.url,), user="ast3", password_file="/nowhere/x")).read()

    def test_where_etcd_has_no_users_nobody_logs_in(self, etcd, login):
        assert login("ast3", "secret", etcd.url).read() == {}

    def test_a_certificate_with_a_cn_is_refused_by_the_gateway_and_that_is_said(self, tmp_path):
        certificates = Certificates(tmp_path / "tls")
        cert, key = certificates.make("server")
        one = Etcd(tmp_path / "etcd", "--cert-file", cert, "--key-file", key, "--client-cert-auth",
                   "--trusted-ca-file", certificates.ca, scheme="https")  # fmt: skip
        try:
            flags = ("--cacert", certificates.ca, "--cert", cert, "--key", key)
            for words in (("user", "add", "root:r"), ("role", "add", "root"), ("user", "grant-role", "root", "root"),
                          ("auth", "enable")):  # fmt: skip
                one.ctl(*words, flags=flags)
            cert, key = certificates.make("named", subject="/CN=root")
            with pytest.raises(StoreRefusedError, match="has a CN, which its gateway does not take; make one without"):
                EtcdStore(Members((one.url,), ca=certificates.ca, cert=cert, key=key)).read()
        finally:
            one.end()
