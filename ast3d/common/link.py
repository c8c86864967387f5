"""One JSON object a line over a stream socket: how a daemon and its helpers talk.

Names of files travel as JSON strings with surrogate escapes which Python's json writes and reads back.
"""

import json
import socket
from collections import deque
from typing import Any

Message = dict[str, Any]
READ_BYTES = 256 * 1024


def encode(message: Message) -> bytes:
    """The line that carries a message."""
    return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"


class LineReader:
    """Cuts what arrives into messages."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete now."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines if line]


class Link:
    """The daemon's end: never blocks.  What the helper is too slow to read waits in memory."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._reader = LineReader()
        self._unsent: deque[bytes] = deque()

    @property
    def backlog(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._unsent)

    def send(self, message: Message) -> None:
        """Queue a message; `flush` sends it."""
        self._unsent.append(encode(message))

    def flush(self) -> bool:
        """Send what the socket takes now; False when the helper is gone."""
        while self._unsent:
            try:
                sent = self.sock.send(self._unsent[0], socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if sent < len(self._unsent[0]):
                self._unsent[0] = self._unsent[0][sent:]
            else:
                self._unsent.popleft()
        return True

    def receive(self) -> list[Message] | None:
        """What has arrived, or None when the helper is gone."""
        try:
            data = self.sock.recv(READ_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            return None
        return self._reader.feed(data) if data else None


class HelperEnd:
    """The helper's end: blocks, and ends the helper when the daemon is gone."""

    def __init__(self, fd: int) -> None:
        self.sock = socket.socket(fileno=fd)
        self._reader = LineReader()

    def fileno(self) -> int:
        """To select on."""
        return self.sock.fileno()

    def receive(self) -> list[Message]:
        """Wait for messages; raises EOFError when the daemon is gone."""
        try:
            data = self.sock.recv(READ_BYTES)
        except ConnectionError as error:
            raise EOFError from error
        if not data:
            raise EOFError
        return self._reader.feed(data)

    def send(self, message: Message) -> None:
        """Tell the daemon; raises EOFError when it is gone."""
        try:
            self.sock.sendall(encode(message))
        except OSError as error:
            raise EOFError from error
