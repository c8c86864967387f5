"""The sockets of the handshake: Unix datagrams, `RUN/ast3d.hand` and `RUN/protectd.hand`.

Nothing here waits and nothing here raises: a peer that is away, stopped or deaf costs nothing, and where the run folder is
gone this side speaks and listens again as soon as it is back.  Only the same user can speak here (0600).
"""

import contextlib
import os
import socket
from pathlib import Path

from ast3d.common.control_wire import address
from protectd.message import MAX_BYTES, Message, decode, encode

_AT_ONCE = 64  # datagrams read in one turn: a flood does not keep the loop


class Hand:
    """This side's socket.  `fileno()` is -1 while there is none."""

    def __init__(self, run: Path, name: str) -> None:
        self._run = run
        self._path = run / f"{name}.hand"
        self._socket: socket.socket | None = None
        self._identity = (0, 0)

    def fileno(self) -> int:
        """For a selector."""
        return self._socket.fileno() if self._socket else -1

    def listen(self) -> bool:
        """See that the name means this socket, and make another where it does not; -> whether another one was made."""
        try:
            now = self._path.lstat()
            if self._socket and (now.st_dev, now.st_ino) == self._identity:
                return False
        except OSError:
            pass
        self.close()
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        fresh = None
        try:
            fresh = _datagrams()
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
            with address(temporary) as name:
                fresh.bind(name)
            temporary.chmod(0o600)
            status = temporary.stat()
            temporary.replace(self._path)
        except OSError:
            if fresh:
                fresh.close()
            return False
        self._socket, self._identity = fresh, (status.st_dev, status.st_ino)
        return True

    def send(self, peer: str, message: Message) -> None:
        """Speak; nobody may listen."""
        try:
            with address(self._run / f"{peer}.hand") as name, _datagrams() as sender:
                sender.sendto(encode(message), name)
        except OSError:  # away, or stopped and its queue is full
            return

    def receive(self) -> list[Message]:
        """All that has come, oldest first; what cannot be understood is left out."""
        heard: list[Message] = []
        for _ in range(_AT_ONCE if self._socket else 0):
            try:
                data = self._socket.recv(MAX_BYTES) if self._socket else b""
            except OSError:
                break
            if message := decode(data):
                heard.append(message)
        return heard

    def close(self) -> None:
        """Listen no more; the name stays, whoever speaks to it is refused at once."""
        if self._socket:
            self._socket.close()
            self._socket = None


def _datagrams() -> socket.socket:
    """Also for each datagram that is sent (20 us): a socket that is connected would have to be cared for."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
