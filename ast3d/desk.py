"""The desk, where operators ask.  What only looks is answered at once; what changes something, when it is decided."""

import os
import selectors
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from ast3d import assign, effects, explain
from ast3d import inputs as i
from ast3d.common.about import VERSION
from ast3d.common.admission import Admission
from ast3d.common.clock import boottime
from ast3d.common.control import ControlServer, Request
from ast3d.common.files import one_line
from ast3d.common.log import Logger
from ast3d.common.run import make_run
from ast3d.records import Halt
from ast3d.state import State

ANSWER_SECONDS = 120.0  # an operator waits no longer than this
LONGEST_PAUSE_SECONDS = 366 * 86400.0


class Desk:
    """The control socket of one ast3d.  `state` gives what is known; `put` takes what operators want.

    `about` says how protectd is; `mark_stopped` leaves the marker of a stop on purpose.
    OSError where the socket cannot be made.  Until `admit`, only root and the daemon's owner are served.
    """

    def __init__(
        self,
        socket: Path,
        selector: selectors.BaseSelector,
        log: Logger,
        state: Callable[[], State],
        put: Callable[[i.Input], None],
        about: Callable[[], dict[str, Any]],
        mark_stopped: Callable[[], None],
    ) -> None:
        self._socket, self._selector, self._log, self._state, self._put = socket, selector, log, state, put
        self._about, self._mark_stopped = about, mark_stopped
        self._admission = Admission(os.geteuid(), None, None)
        self._started = boottime()
        self._problem = ""  # why it cannot be listened
        self._waiting: dict[int, tuple[Request, float]] = {}  # for a decision, since when
        self._server = self._listen()

    @property
    def busy(self) -> bool:
        """Whether somebody waits for an answer."""
        return bool(self._waiting)

    def admit(self, group: str | None, operators: str) -> None:
        """Serve the members of these groups too: see `ast3d.common.admission`."""
        self._admission = self._server.admission = Admission.of(group, operators)

    def reply(self, effect: effects.Reply) -> None:
        """Answer who asked, if they still wait."""
        request, _ = self._waiting.pop(effect.request, (None, 0.0))
        if request:
            request.refuse(effect.error) if effect.error else request.reply(effect.result)

    def tend(self, now: float) -> None:
        """Let go of who waits too long; listen again where somebody removed the socket."""
        self._server.expire(now)
        for number in [number for number, (_, since) in self._waiting.items() if now - since > ANSWER_SECONDS]:
            del self._waiting[number]
        if self._server.removed():
            self._listen_again()

    def close(self) -> None:
        """Listen no longer."""
        self._server.close()

    def _listen_again(self) -> None:
        """Where that is impossible, the old one stays, unheard, and it is tried again."""
        try:
            make_run(self._socket.parent)
            server = self._listen()
        except OSError as error:
            problem = one_line(error)
            if problem != self._problem:
                self._log.error("control.deaf", reason=problem, so="nobody can ask ast3d anything; it is tried again")
            self._problem = problem
            return
        self._server.close()
        self._server, self._problem = server, ""
        self._log.error("control.removed", reason="the control socket was removed; made again")

    def _listen(self) -> ControlServer:
        server = ControlServer(self._socket, self._admission, self._asked)
        server.register(self._selector)
        return server

    def _asked(self, request: Request) -> None:
        now = boottime()
        task, seconds = str(request.args.get("task", "")), request.args.get("for_seconds", 0)
        match request.verb:
            case "status":
                request.reply(self._status(now))
            case "tasks":
                request.reply(explain.tasks(self._state(), now))
            case "why" | "retry":
                self._asked_about(request, task, now)
            case "pause" if type(seconds) in {int, float} and 0 <= seconds <= LONGEST_PAUSE_SECONDS:
                self._put(i.Pause(now, self._wait(request, now), float(seconds)))
            case "acknowledge":
                self._put(i.Acknowledge(now, self._wait(request, now)))
            case "assign":
                self._assigned(request, now)
            case "resume":
                self._put(i.Resume(now, self._wait(request, now)))
            case "stop" if request.args.get("mode") in get_args(Halt):
                self._asked_to_stop(request, request.args["mode"], now)
            case _:
                request.refuse(f"{request.verb}: not understood with {request.args}")

    def _asked_about(self, request: Request, task: str, now: float) -> None:
        """`why` and `retry`: TASK is a frame-id or a unique beginning of one."""
        state = self._state()
        found = explain.find(state, task)
        if len(found) > 1:
            request.refuse(f"{task} is the beginning of {len(found)} tasks: {' '.join(found[:5])}")
        elif request.verb == "retry" and task:
            self._put(i.Retry(now, self._wait(request, now), found[0] if found else task))
        elif found:
            request.reply(explain.why(state, found[0], now))
        else:
            request.refuse(f"no task {task} is at work")

    def _assigned(self, request: Request, now: float) -> None:
        """ast3-ha says what this node works for."""
        try:
            boot, claims = assign.claims_of(request.args)
        except ValueError as error:
            request.refuse(f"assign: {error}")
        else:
            self._put(i.Assigned(now, self._wait(request, now), boot, claims))

    def _asked_to_stop(self, request: Request, mode: Halt, now: float) -> None:
        """From here on nobody starts ast3d again by himself, however it ends; where that cannot be, it goes on."""
        try:
            self._mark_stopped()
        except OSError as error:
            request.refuse(f"ast3d cannot be marked as stopped: {error.filename}: {error.strerror}")
        else:
            self._put(i.Stop(now, self._wait(request, now), mode))

    def _wait(self, request: Request, now: float) -> int:
        """The number under which the decision's answer comes back."""
        number = max(self._waiting, default=0) + 1
        self._waiting[number] = request, now
        return number

    def _status(self, now: float) -> dict[str, Any]:
        """What `ast3ctl status --json` shows."""
        about = {
            "pid": os.getpid(),
            "protect": self._about(),
            "uptime_seconds": round(now - self._started, 1),
            "version": VERSION,
        }
        return explain.status(self._state(), now, self._log.problem) | about
