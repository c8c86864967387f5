"""The journal of systemd: each routine event once more, with its fields, where the daemon is a unit.

A datagram goes out at once or not at all: a journal that does not read, or is not there, costs its events and no time.  What
was lost so is counted, and said with the next event that could be sent.  Nothing here raises.

systemd-python is not used for this: its `journal.send` waits without end for a journal that does not read.
"""

import json
import os
import re
import socket
import struct
from collections.abc import Mapping
from typing import Any

SOCKET = "/run/systemd/journal/socket"
MAX_BYTES = 64 * 1024  # an event that is larger goes without its fields
_PRIORITIES = {"DEBUG": 7, "INFO": 6, "ERROR": 3, "FATAL": 2}
_NOT_IN_A_NAME = re.compile(r"[^A-Z0-9_]")
_LONGEST_NAME = 64
_LONGEST_MESSAGE = 4096


class Journal:
    """Where the events of one daemon go."""

    def __init__(self, daemon: str, address: str = SOCKET) -> None:
        self._daemon = daemon
        self._address = address
        self._lost = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

    def send(self, level: str, event: str, fields: Mapping[str, Any], message: str) -> None:
        """One event; `message` is what `journalctl` shows of it."""
        data = entry(self._daemon, level, event, fields, message, self._lost)
        try:
            self._socket.sendto(data, self._address)
        except OSError:
            self._lost += 1
        else:
            self._lost = 0

    def close(self) -> None:
        """No more events."""
        self._socket.close()


def open_journal(daemon: str, fd: int = 2) -> Journal | None:
    """The journal, if what is written to `fd` goes there, as it does in a unit; None otherwise."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(fd)
        if (int(device), int(inode)) != (status.st_dev, status.st_ino):
            return None
        return Journal(daemon)
    except (ValueError, OSError):
        return None


def entry(daemon: str, level: str, event: str, fields: Mapping[str, Any], message: str, lost: int = 0) -> bytes:
    """The event in the journal's own format, each of its fields as AST3_FIELD."""
    head = {
        "MESSAGE": message[:_LONGEST_MESSAGE],
        "PRIORITY": str(_PRIORITIES[level]),
        "SYSLOG_IDENTIFIER": daemon,
        "AST3_EVENT": event,
    }
    if lost:
        head["AST3_LOST_BEFORE"] = str(lost)
    own = {_name(key): _text(value) for key, value in fields.items()}
    data = _encoded(head)
    more = _encoded({key: value for key, value in own.items() if key not in head})
    return data + more if len(data) + len(more) <= MAX_BYTES else data


def _encoded(fields: Mapping[str, str]) -> bytes:
    """A value of several lines comes with its length."""
    parts = []
    for key, text in fields.items():
        value = text.encode("utf-8", "backslashreplace")
        if b"\n" in value:
            parts.append(key.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n")
        else:
            parts.append(key.encode() + b"=" + value + b"\n")
    return b"".join(parts)


def _name(key: str) -> str:
    return ("AST3_" + _NOT_IN_A_NAME.sub("_", key.upper()))[:_LONGEST_NAME]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
