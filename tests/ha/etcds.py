"""Real etcd processes on loopback, certificates for them, and a proxy that takes its time."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

READY_SECONDS = 20
ADDRESS = "127.0.0.1"


def needs_etcd():
    """Skips the test where there is no etcd."""
    for program in ("etcd", "etcdctl"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: tests/install-tools does that")


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return probe.getsockname()[1]


class Etcd:
    """One member, a cluster of its own; started when made, gone after `end`."""

    def __init__(self, folder: Path, *flags: str, scheme="http"):
        needs_etcd()
        self.folder, self.flags, self.scheme = folder, flags, scheme
        self.port, self.peer_port = free_port(), free_port()
        self.url = f"{scheme}://{ADDRESS}:{self.port}"
        self.process = None
        self.start()

    def start(self):
        """Returns when etcd says that it is ready, as it would say to systemd."""
        self.folder.mkdir(parents=True, exist_ok=True)
        peer = f"http://{ADDRESS}:{self.peer_port}"
        argv = ["etcd", "--name", "one", "--data-dir", str(self.folder / "data"), "--initial-cluster", f"one={peer}",
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--listen-client-urls", self.url,
                "--advertise-client-urls", self.url, *self.flags]  # fmt: skip
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told, (self.folder / "log").open("ab") as log:
            told.bind(b"\0" + os.urandom(8).hex().encode())
            told.settimeout(READY_SECONDS)
            notify = "@" + told.getsockname()[1:].decode()
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, env=os.environ | {"NOTIFY_SOCKET": notify})
            while b"READY=1" not in told.recv(4096):
                pass

    def end(self, number=signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
        self.process.wait(READY_SECONDS)

    def ctl(self, *words: str, flags=()):
        """What etcdctl says."""
        argv = ["etcdctl", "--endpoints", self.url, *flags, *words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, env=os.environ | {"ETCDCTL_API": "3"})
        assert done.returncode == 0, done.stderr
        return done.stdout


class Proxy:
    """Forwards TCP to a port, each piece of an answer after `delay_seconds`, a few bytes at a time if `piece_bytes`."""

    def __init__(self, port, delay_seconds=0.0, piece_bytes=1 << 16):
        self.port, self.delay_seconds, self.piece_bytes = port, delay_seconds, piece_bytes
        self.over = threading.Event()
        self.asked = 0
        self.connections = []
        self.listener = socket.create_server((ADDRESS, 0))
        self.url = f"http://{ADDRESS}:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while not self.over.is_set():
                near, _ = self.listener.accept()
                far = socket.create_connection((ADDRESS, self.port))
                self.connections += [near, far]
                self.asked += 1
                threading.Thread(target=self.carry, args=(near, far, 0.0, 1 << 16), daemon=True).start()
                answer = (far, near, self.delay_seconds, self.piece_bytes)
                threading.Thread(target=self.carry, args=answer, daemon=True).start()

    def carry(self, source, target, delay, size):
        with contextlib.suppress(OSError):
            while data := source.recv(size):
                self.over.wait(delay)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def end(self):
        self.over.set()
        for connection in [self.listener, *self.connections]:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # a close alone wakes nobody who waits in another thread
            connection.close()


class Certificates:
    """An authority, and what it signs: made by openssl below `folder`."""

    def __init__(self, folder: Path):
        if shutil.which("openssl") is None or shutil.which("faketime") is None:
            pytest.skip("openssl or faketime is not installed: tests/install-tools does that")
        folder.mkdir()
        self.folder = folder
        self.ca = self.authority("ca")

    def authority(self, name):
        self.openssl("req", "-x509", *self.key(name), "-subj", f"/O={name}", "-days", "30", "-out", f"{name}.crt")
        return str(self.folder / f"{name}.crt")

    def make(self, name, subject="/O=ast3", at=None, signer="ca"):
        """-> the paths of certificate and key; `at` is the day it was made on, for two days."""
        self.openssl("req", "-new", *self.key(name), "-subj", subject, "-out", f"{name}.csr")
        (self.folder / "ext").write_text(f"subjectAltName=IP:{ADDRESS}\n")
        self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{signer}.crt", "-CAkey", f"{signer}.key",
                     "-CAcreateserial", "-days", "2", "-extfile", "ext", "-out", f"{name}.crt", at=at)  # fmt: skip
        return str(self.folder / f"{name}.crt"), str(self.folder / f"{name}.key")

    def key(self, name):
        return "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key"

    def openssl(self, *words, at=None):
        argv = [*(["faketime", at] if at else []), "openssl", *words]
        subprocess.run(argv, cwd=self.folder, check=True, capture_output=True, timeout=20)
