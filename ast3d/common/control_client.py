"""Ask a daemon over its control socket.

Every way to get no result is a `ControlError` whose message is one line for the operator.
"""

import json
import socket
import struct
import time
from pathlib import Path
from typing import Any

from ast3d.common.control_wire import address, line

_MAX_ANSWER_BYTES = 64 * 1024 * 1024


class ControlError(Exception):
    """There is no result; the message says why."""


class RefusedError(ControlError):
    """The daemon answered, and will not."""


class NotRunningError(ControlError):
    """Nobody listens on the socket."""


class NoAnswerError(ControlError):
    """Somebody listens, and did not answer in time or as agreed."""


def call(path: Path, verb: str, args: dict[str, Any] | None = None, timeout_seconds: float = 5.0) -> Any:
    """The daemon's result; `ControlError` within about `timeout_seconds` if there is none."""
    deadline = time.monotonic() + timeout_seconds
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        # A connect that has its timeout from Python fails at once when others wait; this one waits its turn.
        patience = struct.pack("ll", int(timeout_seconds), int(timeout_seconds % 1 * 1e6))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        _connect(connection, path)
        connection.settimeout(timeout_seconds)
        try:
            connection.sendall(line({"verb": verb, "args": args or {}}))
        except TimeoutError:
            raise NoAnswerError(f"no answer within {timeout_seconds:g} s") from None
        except OSError:
            pass  # a daemon that does not admit us has closed already; its refusal waits to be read
        return _result(_answer(connection, deadline, timeout_seconds))


def _connect(connection: socket.socket, path: Path) -> None:
    try:
        with address(path) as name:
            connection.connect(name)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        raise NotRunningError(f"not running: nobody listens on {path}") from None
    except PermissionError:
        raise RefusedError(f"refused: {path} may not be opened by this user") from None
    except BlockingIOError:
        raise NoAnswerError(f"no answer: too many are waiting on {path}") from None
    except OSError as error:
        raise NoAnswerError(f"no answer from {path}: {error.strerror}") from error


def _answer(connection: socket.socket, deadline: float, timeout_seconds: float) -> bytes:
    data = bytearray()
    while not data.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or len(data) > _MAX_ANSWER_BYTES:
            raise NoAnswerError(f"no whole answer within {timeout_seconds:g} s")
        connection.settimeout(left)
        try:
            chunk = connection.recv(1 << 16)
        except TimeoutError:
            continue
        except OSError as error:
            raise NoAnswerError(f"no answer: {error.strerror}") from error
        if not chunk:
            raise NoAnswerError("no answer: the daemon closed the connection")
        data += chunk
    return bytes(data)


def _result(answer: bytes) -> Any:
    try:
        message = json.loads(answer)
    except ValueError:
        message = None
    if not isinstance(message, dict) or "ok" not in message:
        raise NoAnswerError("the answer is not one of ast3's: another program, or another version")
    if not message["ok"]:
        raise RefusedError(str(message.get("error")))
    return message.get("result")
