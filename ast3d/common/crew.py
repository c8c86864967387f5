"""The helper processes: started, spoken with, found dead or stuck, started again after a pause."""

import os
import selectors
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

from ast3d.common.clock import boottime
from ast3d.common.link import Link, Message

PING_SECONDS = 10.0
STUCK_SECONDS = 120.0  # a helper that answers nothing for so long is killed
FIRST_PAUSE_SECONDS = 0.1
LAST_PAUSE_SECONDS = 60.0
STEADY_SECONDS = 60.0  # a helper that lived so long is started again at once

Helper = TypeVar("Helper", bound=str)


@dataclass(frozen=True)
class Kind:
    """What the helpers of one daemon have in common."""

    package: str  # a helper is the module of its name in there
    environment: Mapping[str, str] = field(default_factory=dict)  # beside the daemon's own
    ping_seconds: float = PING_SECONDS
    stuck_seconds: float = STUCK_SECONDS


@dataclass
class Member:
    """A helper process that is running."""

    process: subprocess.Popen[bytes]
    link: Link
    started: float
    pinged: float
    unanswered: float = 0.0  # since when a ping is; 0: none is


class Crew(Generic[Helper]):
    """The helpers of one daemon.  `hear` is called for each message, `lose` when a helper has ended."""

    def __init__(
        self, kind: Kind, selector: selectors.BaseSelector, errors: Path,
        hear: Callable[[Helper, Message], None], lose: Callable[[Helper, str], None],
    ) -> None:  # fmt: skip
        self._kind = kind
        self._selector, self._errors, self._hear, self._lose = selector, errors, hear, lose
        self._members: dict[Helper, Member] = {}
        self._pauses: dict[Helper, float] = {}
        self._again: dict[Helper, float] = {}

    def start(self, helper: Helper, now: float) -> None:
        """Start a helper that is not running.  What was wrong goes to `lose`, and it is due again later."""
        ours, theirs = socket.socketpair()
        argv = [sys.executable, "-P", "-m", f"{self._kind.package}.{helper}", str(theirs.fileno()), str(os.getpid())]
        try:
            with self._open_errors() as errors:
                process = subprocess.Popen(
                    argv, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
                    env={**os.environ, **self._kind.environment}, start_new_session=True,
                )  # fmt: skip
        except OSError as error:
            ours.close()
            self._plan(helper, now, lived=0.0)
            self._lose(helper, f"cannot be started: {error.strerror}")
            return
        finally:
            theirs.close()
        self._again.pop(helper, None)
        self._members[helper] = Member(process, Link(ours), now, now)
        self._selector.register(ours, selectors.EVENT_READ, lambda _mask: self._receive(helper))

    def _open_errors(self) -> BinaryIO:
        """What helpers say on stderr; lost where the log folder is not to be had, for they are needed more."""
        try:
            self._errors.parent.mkdir(parents=True, exist_ok=True)
            return self._errors.open("ab")
        except OSError:
            return Path(os.devnull).open("ab")

    def send(self, helper: Helper, message: Message) -> None:
        """Tell a helper; what a helper that is down is told is lost, for it is asked anew when it is up."""
        if member := self._members.get(helper):
            member.link.send(message)

    def due(self, now: float) -> list[Helper]:
        """The helpers to start again now."""
        return [helper for helper, when in self._again.items() if when <= now]

    def next_due(self) -> float:
        """When to look after the crew again."""
        pings = [member.pinged + self._kind.ping_seconds for member in self._members.values()]
        return min([*pings, *self._again.values()], default=0.0)

    def tend(self, now: float) -> None:
        """Send what is queued; ask the silent whether they live, and end those that do not answer."""
        for helper, member in list(self._members.items()):
            if member.unanswered and now - member.unanswered > self._kind.stuck_seconds:
                self._drop(helper, now, f"stuck: no answer for {self._kind.stuck_seconds:g} s; killed")
                continue
            if now - member.pinged >= self._kind.ping_seconds:
                member.pinged = now
                member.unanswered = member.unanswered or now
                member.link.send({"ping": 1})
            if not member.link.flush():
                self._drop(helper, now, "ended")
                continue
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if member.link.backlog else 0)
            key = self._selector.get_key(member.link.sock)
            if key.events != events:
                self._selector.modify(member.link.sock, events, key.data)

    def close(self) -> None:
        """Let all helpers go: they end when they find their socket closed."""
        for member in self._members.values():
            member.link.sock.close()

    def _receive(self, helper: Helper) -> None:
        member = self._members[helper]
        messages = member.link.receive()
        if messages is None:
            self._drop(helper, boottime(), "ended")
            return
        member.unanswered = 0.0
        for message in messages:
            self._hear(helper, message)

    def _drop(self, helper: Helper, now: float, reason: str) -> None:
        member = self._members.pop(helper)
        self._selector.unregister(member.link.sock)
        member.link.sock.close()
        member.process.kill()
        status = member.process.poll()
        self._plan(helper, now, lived=now - member.started)
        self._lose(helper, f"{reason} (status {status})" if status is not None else reason)

    def _plan(self, helper: Helper, now: float, lived: float) -> None:
        longer = min(self._pauses.get(helper, 0.0) * 2 or FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS)
        pause = 0.0 if lived >= STEADY_SECONDS else longer
        self._pauses[helper] = pause
        self._again[helper] = now + pause
