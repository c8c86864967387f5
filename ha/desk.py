"""The desk, where operators ask (`ast3ctl ha`).  What only looks is answered at once; what moves something, when decided."""

import os
import selectors
from collections.abc import Callable
from pathlib import Path

from ast3d.common.admission import Admission
from ast3d.common.clock import boottime
from ast3d.common.control import ControlServer, Request
from ha import effects, explain
from ha import inputs as i
from ha.state import State


class Desk:
    """The control socket of one agent.  OSError where it cannot be made.  Until `admit` root and the owner are served."""

    def __init__(
        self, socket: Path, selector: selectors.BaseSelector, state: Callable[[], State], put: Callable[[i.Input], None]
    ) -> None:
        self._state, self._put = state, put
        self._waiting: dict[int, Request] = {}
        self._server = ControlServer(socket, Admission(os.geteuid(), None, None), self._asked)
        self._server.register(selector)

    def admit(self, group: str | None, operators: str) -> None:
        """Serve the members of these groups too."""
        self._server.admission = Admission.of(group, operators)

    def reply(self, effect: effects.Reply) -> None:
        """Answer who asked, if they still wait."""
        request = self._waiting.pop(effect.request, None)
        if request:
            request.refuse(effect.error) if effect.error else request.reply(effect.result)

    def tend(self, now: float) -> None:
        """Let go of who waits too long."""
        self._server.expire(now)

    def close(self) -> None:
        """Listen no longer."""
        self._server.close()

    def _asked(self, request: Request) -> None:
        now, args, state = boottime(), request.args, self._state()
        nodes = state.settings.policy.nodes
        down, what, to, permanent = (args.get(name) for name in ("down", "what", "to", "permanent"))
        match request.verb:
            case "status":
                request.reply(explain.status(state, now))
            case "plan":
                request.reply(explain.what_if(state, [], now))
            case "what-if" if isinstance(down, list) and all(node in nodes for node in down):
                request.reply(explain.what_if(state, down, now))
            case "what-if":
                request.refuse(f"{down} are not all nodes; there are {', '.join(nodes)}")
            case "handover" if isinstance(what, str) and isinstance(to, str) and isinstance(permanent, bool):
                self._put(i.Handover(now, self._wait(request), what, to, permanent))
            case "handback" if isinstance(what, str):
                self._put(i.Handback(now, self._wait(request), what))
            case _:
                request.refuse(f"{request.verb}: not understood with {args}")

    def _wait(self, request: Request) -> int:
        """The number under which the decision's answer comes back."""
        number = max(self._waiting, default=0) + 1
        self._waiting[number] = request
        return number
