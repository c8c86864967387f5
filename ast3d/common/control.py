"""The control socket's server, for a daemon with one loop.

It never blocks: a client that is slow, silent, greedy or gone costs a bounded buffer and is dropped after a time.
Whoever is not admitted gets one line of refusal.  A request is handed to the daemon, which replies at once or later.

By convention a selector key's `data` is a function that takes the event mask.
"""

import json
import os
import selectors
import socket
import stat
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ast3d.common.admission import Admission, Peer, Role, peer_of
from ast3d.common.clock import boottime
from ast3d.common.control_wire import CHANGING, MAX_REQUEST_BYTES, READING, address, line

MAX_CLIENTS = 64
MAX_TURNED_AWAY = 16
PATIENCE_SECONDS = 10.0  # for the rest of a line, the next request, or the reading of an answer
ANSWER_SECONDS = 120.0  # for the daemon's own answer


@dataclass
class Request:
    """What a client asks.  Exactly one of `reply` and `refuse` answers it; the first one counts."""

    verb: str
    args: dict[str, Any]
    role: Role
    peer: Peer
    _send: Callable[[dict[str, Any]], None] = field(repr=False)

    def reply(self, result: Any) -> None:
        """Answer with what JSON can carry; nothing happens if the client has gone."""
        self._send({"ok": True, "result": result})

    def refuse(self, reason: str) -> None:
        """Answer with one line that says why not."""
        self._send({"ok": False, "error": " ".join(reason.split())})


class _Client:
    """One connection: its requests in order, one at a time."""

    def __init__(self, server: "ControlServer", connection: socket.socket, peer: Peer, role: Role) -> None:
        self.role: Role = role
        self.waiting = False  # for the daemon's answer
        self.deadline = boottime() + PATIENCE_SECONDS
        self._server = server
        self._connection = connection
        self._peer = peer
        self._in = bytearray()
        self._out = bytearray()
        self._ended = False  # the client sends no more
        self._closed = False
        self._serving = False  # `_serve` is on the stack
        self._events = 0

    def on_event(self, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._write()
        if mask & selectors.EVENT_READ and not self._closed:
            self._read()
        self._serve()
        self.update()

    def update(self) -> None:
        """Wait for what can happen next; close if nothing can."""
        if self._closed:
            return
        if self._ended and not self.waiting and not self._out:
            self.close()
            return
        events = (0 if self._ended else selectors.EVENT_READ) | (selectors.EVENT_WRITE if self._out else 0)
        self._server.watch(self._connection, self._events, events, self.on_event)
        self._events = events

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._server.watch(self._connection, self._events, 0, self.on_event)
            self._server.forget(self)
            self._connection.close()

    def end(self, reason: str) -> None:
        """One line of refusal, as far as it can be sent, and no more."""
        self._in.clear()
        self._ended = True
        self.waiting = False
        self._answer({"ok": False, "error": reason})
        self.update()

    def _read(self) -> None:
        try:
            data = self._connection.recv(MAX_REQUEST_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        self._ended = self._ended or not data
        self._in += data
        self._serve()
        if len(self._in) > MAX_REQUEST_BYTES:
            self.end(f"a request may have {MAX_REQUEST_BYTES} bytes")

    def _serve(self) -> None:
        """Take up requests as long as each is answered at once and its answer leaves at once."""
        if self._serving:
            return
        self._serving = True
        while not (self.waiting or self._out or self._closed) and (end := self._in.find(b"\n")) >= 0:
            request = bytes(self._in[:end])
            del self._in[: end + 1]
            self._request(request)
        self._serving = False

    def _request(self, data: bytes) -> None:
        self.deadline = boottime() + ANSWER_SECONDS
        self.waiting = True
        answered = False

        def send(message: dict[str, Any]) -> None:
            nonlocal answered
            if not answered and not self._closed:
                answered = True
                self.waiting = False
                self._answer(message)
                self._serve()
                self.update()

        refusal, verb, args = _understand(data, self.role)
        request = Request(verb, args, self.role, self._peer, send)
        if refusal:
            request.refuse(refusal)
        else:
            self._server.handle(request)

    def _answer(self, message: dict[str, Any]) -> None:
        self.deadline = boottime() + PATIENCE_SECONDS
        self._out += line(message)
        self._write()

    def _write(self) -> None:
        try:
            while self._out and not self._closed:
                del self._out[: self._connection.send(self._out)]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()


class ControlServer:
    """Listens on `path`, replacing what an earlier daemon left there; `handle` gets every admitted request."""

    def __init__(self, path: Path, admission: Admission, handle: Callable[[Request], None]) -> None:
        self.admission = admission
        self.handle = handle
        self._path = path
        self._selector: selectors.BaseSelector | None = None
        self._clients: list[_Client] = []
        self._listener = _listen(path)
        self._inode = path.lstat().st_ino
        self._accepting = False
        self._turned_away: deque[socket.socket] = deque()

    def register(self, selector: selectors.BaseSelector) -> None:
        """Serve from now on, in the loop of this selector."""
        self._selector = selector
        self._accept_again()

    def expire(self, now: float) -> None:
        """Drop whoever is overdue; call it about once a second with `boottime()`."""
        for client in [c for c in self._clients if now > c.deadline]:
            if client.waiting:
                client.end("the daemon has no answer yet; ask for the status")
            else:
                client.close()
        self._close_turned_away(leave=0)
        self._accept_again()

    def removed(self) -> bool:
        """Whether somebody removed the socket, or put something else in its place."""
        try:
            return self._path.lstat().st_ino != self._inode
        except OSError:
            return True

    def close(self) -> None:
        """Drop everyone and remove the socket, unless it is another daemon's by now."""
        for client in list(self._clients):
            client.close()
        self._close_turned_away(leave=0)
        self.watch(self._listener, selectors.EVENT_READ if self._accepting else 0, 0, self._accept)
        self._accepting = False
        self._listener.close()
        try:
            if self._path.lstat().st_ino == self._inode:
                self._path.unlink()
        except FileNotFoundError:
            pass

    def watch(self, what: socket.socket, before: int, events: int, do: Callable[[int], None]) -> None:
        """For the clients: change what the selector waits for."""
        if self._selector is None or before == events:
            return
        if not before:
            self._selector.register(what, events, do)
        elif not events:
            self._selector.unregister(what)
        else:
            self._selector.modify(what, events, do)

    def forget(self, client: _Client) -> None:
        """For the clients: one is closed."""
        self._clients.remove(client)

    def _close_turned_away(self, leave: int) -> None:
        while len(self._turned_away) > leave:
            self._turned_away.popleft().close()

    def _accept_again(self) -> None:
        if self._selector is not None and not self._accepting:
            self._accepting = True
            self.watch(self._listener, 0, selectors.EVENT_READ, self._accept)

    def _accept(self, _mask: int) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:  # no descriptors left: not again before the next `expire`, or the loop would spin
            self.watch(self._listener, selectors.EVENT_READ, 0, self._accept)
            self._accepting = False
            return
        connection.setblocking(False)
        peer = peer_of(connection)
        role = self.admission.role(peer)
        if role is None:
            _turn_away(connection, f"user {peer.uid} may not use ast3's control socket; ask for its group")
            self._turned_away.append(connection)
            self._close_turned_away(leave=MAX_TURNED_AWAY)
            return
        if len(self._clients) >= MAX_CLIENTS:
            min(self._clients, key=lambda c: (c.role == "change", c.waiting, c.deadline)).close()
        client = _Client(self, connection, peer, role)
        self._clients.append(client)
        client.update()


def _understand(data: bytes, role: Role) -> tuple[str, str, dict[str, Any]]:
    """(why it is refused, or nothing; verb; args)"""
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict) or not isinstance(message.get("verb"), str):
        return 'not a request: send one line such as {"verb": "status", "args": {}}', "", {}
    verb, args = message["verb"], message.get("args") or {}
    if verb not in READING + CHANGING:
        return f"no such verb: {verb[:40]!a}; there are {' '.join(READING + CHANGING)}", verb, {}
    if not isinstance(args, dict):
        return "args: found something else than keys and values", verb, {}
    if verb in CHANGING and role != "change":
        return f"{verb} is for root, the daemon's owner and the operators' group; you may look only", verb, {}
    return "", verb, args


def _turn_away(connection: socket.socket, reason: str) -> None:
    """The refusal; the socket stays open for a while, so that what the peer is sending does not break its pipe."""
    try:
        connection.send(line({"ok": False, "error": reason}))
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        return


def _listen(path: Path) -> socket.socket:
    """A listening socket that takes the name `path` in one step; a file that is no socket is left alone."""
    if path.exists() and not stat.S_ISSOCK(path.lstat().st_mode):
        raise FileExistsError(f"{path} is in the way: it is not a socket; move it away")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    try:
        with address(new) as name:
            listener.bind(name)
        new.chmod(0o666)  # everyone may connect, and is then admitted or refused in words
        listener.listen(MAX_CLIENTS)
        new.replace(path)
    except OSError:
        listener.close()
        raise
    return listener
