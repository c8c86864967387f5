"""What is done to etcd, and who leads it: through `etcdctl`, from a node's own network."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.cluster import paper
from tests.cluster.network import run
from tests.cluster.node import Node, in_node

CTL = ("env", "ETCDCTL_API=3", "etcdctl", "--dial-timeout=2s", "--command-timeout=5s")
QUOTA = 2 << 20  # bytes: of a member that is to be full soon
CHUNK = 200_000


def members(nodes: Mapping[str, Node]) -> list[Node]:
    """Those that are on."""
    return [node for node in nodes.values() if node.is_on and node.name in node.plan.members]


def ctl(node: Node, *words: str) -> str:
    """`etcdctl`, asking the node's own member.  Raises OSError."""
    scheme, where = ("https" if node.plan.tls else "http"), node.net.address(node.name)
    argv = [*CTL, f"--endpoints={scheme}://{where}:{paper.CLIENT_PORT}"]
    if node.plan.tls:
        tls = node.site / "tls"
        argv += [f"--cacert={tls / 'ca.crt'}", f"--cert={tls / 'node.crt'}", f"--key={tls / 'node.key'}"]
    return in_node(node, *argv, *words)


def leader(nodes: Mapping[str, Node], seconds: float = 20.0) -> Node:
    """The node whose member leads.  Raises OSError where there is none for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for node in members(nodes):
            with contextlib.suppress(OSError, ValueError, LookupError):
                status = json.loads(ctl(node, "endpoint", "status", "-w", "json"))[0]["Status"]
                if status["leader"] and status["leader"] == status["header"]["member_id"]:
                    return node
        time.sleep(0.2)
    raise OSError("etcd has no leader")


@contextlib.contextmanager
def paused(node: Node) -> Iterator[None]:
    """Its member is stopped, as a virtual machine is while it moves."""
    pid = node.pid("etcd")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def fill(node: Node) -> int:
    """Write until etcd says that its quota is used up; -> how many bytes that took."""
    for number in range(10 * QUOTA // CHUNK):
        try:
            ctl(node, "put", f"/filler/{number}", "x" * 100_000)
        except OSError as error:
            if "space exceeded" in str(error):
                return number * 100_000
            raise
    raise OSError("etcd takes more than its quota")


def empty(nodes: Mapping[str, Node]) -> None:
    """What an operator does about it: delete, compact, defragment, disarm."""
    first = members(nodes)[0]
    with contextlib.suppress(OSError):  # also deleting needs space
        ctl(first, "del", "--prefix", "/filler/")
    revision = json.loads(ctl(first, "endpoint", "status", "-w", "json"))[0]["Status"]["header"]["revision"]
    ctl(first, "compaction", str(revision))
    for node in members(nodes):
        ctl(node, "defrag")
    ctl(first, "alarm", "disarm")
    ctl(first, "del", "--prefix", "/filler/")


# --- certificates

_EXTENSIONS = "subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n"


def make_certificates(folder: Path, addresses: list[str]) -> None:
    """An authority, a server's and a client's certificate without a CN; and a server's that expired yesterday."""
    folder.mkdir()
    _authority(folder)
    names = ",".join(f"IP:{address}" for address in (*addresses, "127.0.0.1"))
    for name in ("server", "node"):
        _request(folder, name, names)
        _sign(folder, name, name)
    _sign(folder, "server", "expired", before=("faketime", "10 days ago"))
    for name in ("server", "expired"):
        (folder / f"{name}.kept").write_bytes((folder / f"{name}.crt").read_bytes())


def use_certificate(folder: Path, name: str) -> None:
    """All members have the server's certificate `name` from their next connection on."""
    (folder / "new").write_bytes((folder / f"{name}.kept").read_bytes())
    (folder / "new").rename(folder / "server.crt")


def _authority(folder: Path) -> None:
    key = ("-newkey", "rsa:2048", "-nodes", "-keyout", folder / "ca.key")
    run("openssl", "req", "-x509", *key, "-subj", "/O=ast3 test", "-days", "3650", "-out", folder / "ca.crt")


def _request(folder: Path, name: str, names: str) -> None:
    key = ("-newkey", "rsa:2048", "-nodes", "-keyout", folder / f"{name}.key")
    run("openssl", "req", "-new", *key, "-subj", "/O=ast3 test", "-out", folder / f"{name}.csr")
    (folder / f"{name}.ext").write_text(_EXTENSIONS.format(names=names))


def _sign(folder: Path, request: str, name: str, before: tuple[str, ...] = ()) -> None:
    """For a week from the time that `before` makes it."""
    authority = ("-CA", folder / "ca.crt", "-CAkey", folder / "ca.key", "-CAcreateserial")
    what = ("-req", "-in", folder / f"{request}.csr", "-extfile", folder / f"{request}.ext", "-days", "7")
    run(*before, "openssl", "x509", *what, *authority, "-out", folder / f"{name}.crt")
