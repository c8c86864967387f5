"""The edge of the guard, the same in both daemons: its sockets, the peer's pidfd, looks, kills and starts.

`turn` is called once per turn of the owner's loop, after every source was served.  What has come is taken in before silence
is judged; nothing waits; what fails is said and tried again.  A loop that does not turn says nothing, and so is found
silent.
"""

import contextlib
import os
import select
import selectors
import signal
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ast3d.common.clock import boot_id, boottime
from protectd import events, files, judge, proc, systemd
from protectd.guard import Guard
from protectd.handshake import Hand
from protectd.message import DEFAULT, SAYS, Message, Settings

MOST_STEPS = 100  # in one turn

Say = Callable[[str, str, dict[str, Any]], None]


class Watch:
    """One side of the handshake; `name` and `peer` are "ast3d" and "protectd".

    `start_peer` starts the other one and returns its pid (None where it cannot be known), or raises OSError; without
    `start_peer` nothing is started: systemd does that.  `locks`: the files of which the peer holds one as long as it lives.
    """

    def __init__(
        self,
        run: Path,
        name: str,
        peer: str,
        selector: selectors.BaseSelector,
        say: Say,
        start_peer: Callable[[], int | None] | None,
        *,
        settings: Settings = DEFAULT,
        generation: int = 0,
        locks: Callable[[], list[Path]] | None = None,
    ) -> None:
        now = boottime()
        self.guard = Guard(now, peer, settings, may_start=start_peer is not None, obeys=name == "protectd")
        self._run, self._name, self._selector, self._say, self._start_peer = run, name, selector, say, start_peer
        self._locks = locks or (lambda: [run / f"{peer}.lock"])
        self._generation = generation
        self._pid = os.getpid()
        self._ticks = proc.start_ticks(self._pid)
        self._seq = int(now * 1000)  # higher than whatever this process said before it had a Watch
        self._said: tuple[str, float] = ("", 0.0)
        self._next_beat = now
        self._pidfd: int | None = None
        self._registered = -1
        self._deaf = False
        self._hand = Hand(run, name)
        self._listen()

    def turn(self, now: float, progress: int, says: str, settings: Settings | None = None, until: float = 0.0) -> None:
        """The owner's loop has turned: take in what came, judge, act, and speak if it is time or there is news.

        `progress`: another number than at the last turn; `says`: see `protectd.message.SAYS`; `until`: of "backing off".
        """
        given: deque[events.Input] = deque()
        if settings is not None and settings != self.guard.settings:
            given.append(events.Told(now, settings))
            self._next_beat = now
        given.extend(events.Heard(now, message) for message in self._hand.receive() if message.sender == self.guard.peer)
        if self._has_ended():
            given.append(events.Gone(now, self.guard.pid or 0, self.guard.ticks))
        given.append(events.Tick(now))
        for _ in range(MOST_STEPS):
            if not given:
                break
            for action in judge.decide(self.guard, given.popleft()):
                answer = self._act(action, now)
                if answer is not None:
                    given.append(answer)
        if now >= self._next_beat or (says, until) != self._said:
            self._beat(now, progress, says, until)

    def next_due(self, now: float) -> float:
        """The boottime at which a turn is wanted, if nothing happens before."""
        return max(min(self._next_beat, judge.next_due(self.guard)), now)

    def about(self) -> dict[str, Any]:
        """The peer, for the operator."""
        return {"pid": self.guard.pid, "state": self.guard.state}

    def seek(self, now: float) -> None:
        """Look at the next turn whether there is a peer, and not only when it has been silent for a while."""
        self.guard.seek_at = min(self.guard.seek_at, now)

    def close(self) -> None:
        """Watch no more."""
        self._unregister()
        self._hand.close()
        self._unfollow()

    # --- speaking and listening

    def _beat(self, now: float, progress: int, says: str, until: float) -> None:
        """As often as the peer expects it, which may not have heard yet that the period is a longer one."""
        guard = self.guard
        expected = guard.stated or DEFAULT
        self._next_beat = now + min(guard.settings.period_seconds, expected.period_seconds)
        self._said = (says, until)
        self._listen()
        self._seq += 1
        me = (self._name, self._pid, self._ticks, self._generation)
        self._hand.send(guard.peer, Message(*me, self._seq, progress, says, until, guard.settings))
        alive = {
            "pid": self._pid, "ticks": self._ticks, "at": now, "boot": boot_id(), "progress": progress, "says": says,
        }  # fmt: skip
        with contextlib.suppress(OSError):  # without it `ensure` asks further
            files.replace(self._run / f"{self._name}.alive", alive)

    def _listen(self) -> None:
        """Where the socket's name was taken away, another socket is made."""
        before = self._registered
        renewed = self._hand.listen()
        self._tell_deaf(deaf=self._hand.fileno() < 0)
        if not renewed and self._hand.fileno() == before:
            return
        self._unregister()
        if self._hand.fileno() >= 0:
            self._selector.register(self._hand.fileno(), selectors.EVENT_READ, lambda _mask: None)
            self._registered = self._hand.fileno()

    def _tell_deaf(self, *, deaf: bool) -> None:
        """Once: the peer will be thought silent."""
        if deaf and not self._deaf:
            name = f"{self._run}/{self._name}.hand"
            self._say("ERROR", "hand.deaf", {"reason": f"no socket can be made as {name}; remove what is there"})
        self._deaf = deaf

    def _unregister(self) -> None:
        if self._registered >= 0:
            with contextlib.suppress(KeyError, ValueError, OSError):
                self._selector.unregister(self._registered)
            self._registered = -1

    # --- acting

    def _act(self, action: events.Action, now: float) -> events.Input | None:
        match action:
            case events.Say(level, event, fields):
                self._say(level, event, fields)
            case events.LookAt(pid, ticks):
                return self._look(pid, ticks, now)
            case events.Follow(pid, ticks):
                return self._follow(pid, ticks, now)
            case events.SeeWho():
                return self._see_who(now)
            case events.Kill(pid, ticks):
                self._kill(pid, ticks)
            case events.Start():
                return self._start(now)
        return None

    def _look(self, pid: int, ticks: int, now: float) -> events.Input | None:
        """None where it cannot be known, or this process did not run meanwhile: such a look is of another time."""
        try:
            look = proc.look(pid, ticks)
        except OSError as error:
            self._say("ERROR", "peer.look", {"peer": self.guard.peer, "pid": pid, "reason": str(error)})
            return None
        return events.Looked(now, pid, ticks, look) if boottime() - now < self.guard.settings.period_seconds else None

    def _follow(self, pid: int, ticks: int, now: float) -> events.Input | None:
        """Its end wakes the loop.  A peer that systemd started is systemd's to start again."""
        self._unfollow()
        try:
            self._pidfd = os.pidfd_open(pid)
            there = proc.look(pid, ticks) is not None  # and so the pidfd is of this process
        except ProcessLookupError:
            there = False
        except OSError as error:  # looks tell of its end
            self._say("ERROR", "peer.look", {"peer": self.guard.peer, "pid": pid, "reason": str(error)})
            self._unfollow()
            return None
        if not there or self._pidfd is None:
            self._unfollow()
            return events.Gone(now, pid, ticks)
        self._selector.register(self._pidfd, selectors.EVENT_READ, lambda _mask: None)
        self.guard.may_start = self._start_peer is not None and not systemd.is_unit(self.guard.peer, pid)
        return None

    def _unfollow(self) -> None:
        if self._pidfd is not None:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None

    def _has_ended(self) -> bool:
        """Its pidfd says so; then there is nothing more to be learned from that."""
        if self._pidfd is None:
            return False
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        ended = bool(poll.poll(0))
        if ended:
            self._unfollow()
        return ended

    def _kill(self, pid: int, ticks: int) -> None:
        """By pidfd, so that it is this process and no other of its pid."""
        try:
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            elif proc.look(pid, ticks):
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        except OSError as error:
            self._say("ERROR", "peer.not-killed", {"peer": self.guard.peer, "pid": pid, "reason": error.strerror})

    def _see_who(self, now: float) -> events.Input:
        stopped = files.is_stopped(self._run, boot_id())
        for lock in self._locks():
            pid = files.holder(lock)
            if pid is not None and (ticks := proc.start_ticks(pid)):
                last = files.read(self._run / f"{self.guard.peer}.alive")
                known = (last.get("pid"), last.get("ticks"), last.get("boot")) == (pid, ticks, boot_id())
                says = last.get("says") if known else ""
                return events.Seen(now, (pid, ticks), stopped, says if says in SAYS else "")
        return events.Seen(now, None, stopped)

    def _start(self, now: float) -> events.Input:
        assert self._start_peer is not None
        try:
            pid = self._start_peer()
        except OSError as error:
            return events.Failed(now, f"{error.filename or 'it'}: {error.strerror or error}")
        if pid is None:
            return events.Began(now, None)
        ticks = proc.start_ticks(pid)
        return events.Began(now, pid, ticks) if ticks else events.Failed(now, "it ended at once")
