"""Answers the other nodes' questions over TCP, in the agent's loop.

It never blocks, and nobody who comes from the network can make it: an asker has two seconds and 4 KB for one question, the
number of askers is bounded, and where it is reached the longest waiting of the busiest address is dropped.

By convention a selector key's `data` is a function that takes the event mask.
"""

import selectors
import socket
from collections import Counter
from collections.abc import Callable

from ast3d.common.clock import boottime
from ast3d.common.files import one_line
from ha.witness import MAX_LINE_BYTES, Standing, WitnessError, answer, understand

MAX_ASKERS = 32
PATIENCE_SECONDS = 2.0
LAST_PORT = 65535
BACKLOG = 128  # with fewer, who finds it full comes again only after a second


class AddressError(OSError):
    """It cannot be listened at this address; the message is one line that says why and where to look."""


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of `10.0.0.1:4471` or `[fe80::1]:4471`.  ValueError where there is no such port."""
    host, _, port = address.rpartition(":")
    if not 0 <= int(port) <= LAST_PORT:
        raise ValueError(f"{port} is no port; allowed: 1 to {LAST_PORT}")  # getaddrinfo would take it modulo 65536
    return host.removeprefix("[").removesuffix("]"), int(port)


class _Asker:
    """One connection: one question, one answer."""

    def __init__(self, server: "WitnessServer", connection: socket.socket, host: str) -> None:
        self.deadline = boottime() + PATIENCE_SECONDS
        self.host = host
        self._server = server
        self._connection = connection
        self._in = bytearray()
        self._out = b""

    def on_event(self, mask: int) -> None:
        try:
            if mask & selectors.EVENT_WRITE:
                self._write()
            else:
                self._read()
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()

    def close(self) -> None:
        if self._server.forget(self):
            self._server.selector.unregister(self._connection)
            self._connection.close()

    def start(self) -> None:
        self._server.selector.register(self._connection, selectors.EVENT_READ, self.on_event)

    def _read(self) -> None:
        data = self._connection.recv(MAX_LINE_BYTES + 1)
        self._in += data
        if end := self._in.find(b"\n") + 1:
            self._out = self._server.answer(bytes(self._in[:end]))
        if self._out:
            self._server.selector.modify(self._connection, selectors.EVENT_WRITE, self.on_event)
        elif end or not data or len(self._in) > MAX_LINE_BYTES:
            self.close()

    def _write(self) -> None:
        self._out = self._out[self._connection.send(self._out) :]
        if not self._out:
            self.close()


class WitnessServer:
    """Listens on `address` from when it is made; AddressError where that cannot be.  `standing` is called per question.

    `refused` counts the lines that were no question to this node, and `refusal` says what was wrong with the last one.
    """

    def __init__(
        self, address: str, me: str, key: bytes, standing: Callable[[], Standing], selector: selectors.BaseSelector
    ) -> None:
        self.selector = selector
        self.refused = 0
        self.refusal = ""
        self._me, self._key, self._standing = me, key, standing
        self._askers: list[_Asker] = []
        self._listener = _listen(address)
        self._accepting = False
        self._accept_again()

    def port(self) -> int:
        """Where it listens, also where the address says 0."""
        return int(self._listener.getsockname()[1])

    def expire(self, now: float) -> None:
        """Drop whoever is overdue; call it about once a second with `boottime()`."""
        for asker in [asker for asker in self._askers if now > asker.deadline]:
            asker.close()
        self._accept_again()

    def close(self) -> None:
        """Drop everybody, and listen no more."""
        for asker in list(self._askers):
            asker.close()
        if self._accepting:
            self.selector.unregister(self._listener)
        self._listener.close()

    def answer(self, line: bytes) -> bytes:
        """For the askers: the line that answers a line; none for what is no question to this node."""
        try:
            return answer(self._key, understand(self._key, self._me, line), self._standing())
        except WitnessError as error:
            self.refused += 1
            self.refusal = str(error)
            return b""

    def forget(self, asker: _Asker) -> bool:
        """For the askers: one is closed; False if it was already."""
        if asker not in self._askers:
            return False
        self._askers.remove(asker)
        return True

    def _accept_again(self) -> None:
        if not self._accepting:
            self._accepting = True
            self.selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _accept(self, _mask: int) -> None:
        try:
            connection, peer = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:  # no descriptors left: not again before the next `expire`, or the loop would spin
            self.selector.unregister(self._listener)
            self._accepting = False
            return
        connection.setblocking(False)
        if len(self._askers) >= MAX_ASKERS:
            busiest = Counter(asker.host for asker in self._askers).most_common(1)[0][0]
            next(asker for asker in self._askers if asker.host == busiest).close()
        asker = _Asker(self, connection, str(peer[0]))
        self._askers.append(asker)
        asker.start()


def _listen(address: str) -> socket.socket:
    try:
        host, port = parse_address(address)
        kind, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(kind, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(where)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except (OSError, ValueError) as error:
        raise AddressError(f"the other nodes cannot be answered at {address}: {one_line(error)}; see nodes") from error
    return listener
