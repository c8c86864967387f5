"""A serial line between two nodes: both ask over it, and both answer; the lines are `ha.witness`'s.

A question says whom it is for, so it does not matter which node is at the other end: peers are asked in turn until one
answers, and then that one.  Whatever happens to the device, the thread goes on and tries again; `problem` says what it is.
"""

import os
import select
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ast3d.common.clock import boottime
from ha.witness import MAX_LINE_BYTES, Question, Standing, WitnessError, answer, ask, judge, understand

if TYPE_CHECKING:
    from serial import Serial

BAUD = 115200
WRITE_SECONDS = 0.5
ANSWER_SECONDS = 2.0  # at 9600 baud a question and its answer take most of one
KEPT_SECONDS = 10.0  # who has not answered for so long may not be at the other end any more


@dataclass(frozen=True)
class Ends:
    """What one end of the line knows."""

    path: str
    key: bytes
    me: str
    peers: tuple[str, ...]
    period: float


class SerialLine:
    """`standing` says what to answer, None for nothing; `heard` gets who answered, when he was asked, and what he said."""

    def __init__(
        self, ends: Ends, standing: Callable[[], Standing | None], heard: Callable[[str, float, Standing], None]
    ) -> None:
        self.ends = ends
        self.problem = ""
        self._standing, self._heard = standing, heard
        self._stopped, self._stopper = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._asked: tuple[Question, float] | None = None  # and when
        self._turn = 0
        self._heard_at = 0.0
        self._rest = b""
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Serve the line in a thread."""
        self._thread.start()

    def stop(self) -> bool:
        """Let go of the device; False: the thread has not ended yet."""
        os.write(self._stopper, b"x")
        self._thread.join(WRITE_SECONDS * 2)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._wait(0.0):
            try:
                self._serve()
            except ImportError:
                self.problem = f"serial line {self.ends.path}: pyserial is not installed: pip install 'ast3[serial]'"
            except (OSError, ValueError) as error:  # pyserial's errors are OSErrors
                reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                self.problem = f"serial line {self.ends.path}: {' '.join(reason.split())}"
            self._wait(self.ends.period)

    def _wait(self, seconds: float, fd: int | None = None) -> bool:
        """Whether it was stopped meanwhile; ends early if there is something to read."""
        ready, _, _ = select.select([self._stopped, *([] if fd is None else [fd])], [], [], seconds)
        return self._stopped in ready

    def _serve(self) -> None:
        """Ask and answer as long as the device is there."""
        from serial import Serial  # it may be missing

        with Serial(self.ends.path, BAUD, timeout=0, write_timeout=WRITE_SECONDS, exclusive=True) as device:
            self.problem, self._rest = "", b""
            next_ask = boottime()
            while not self._wait(max(next_ask - boottime(), 0.0), device.fileno()):
                self._read(device)
                if boottime() >= next_ask:
                    next_ask = boottime() + self.ends.period
                    self._ask(device)

    def _read(self, device: "Serial") -> None:
        *lines, self._rest = (self._rest + device.read(MAX_LINE_BYTES)).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            self._rest = b""
        for line in lines:
            self._hear(device, line + b"\n")

    def _hear(self, device: "Serial", line: bytes) -> None:
        """A question to this node, or the answer to ours; noise, and what is between others, is passed over."""
        try:
            question = understand(self.ends.key, self.ends.me, line)
        except WitnessError:
            self._judge(line)
            return
        standing = self._standing()
        if standing is not None:
            self._write(device, answer(self.ends.key, question, standing))

    def _judge(self, line: bytes) -> None:
        if self._asked is None:
            return
        question, sent = self._asked
        try:
            standing = judge(self.ends.key, question, line)
        except WitnessError:
            return
        self._asked, self._heard_at = None, boottime()
        self._heard(question.asked, sent, standing)

    def _ask(self, device: "Serial") -> None:
        """One question at a time is on its way."""
        now = boottime()
        if not self.ends.peers or (self._asked is not None and now - self._asked[1] < ANSWER_SECONDS):
            return
        if now - self._heard_at > KEPT_SECONDS:
            self._turn += 1
        question = ask(self.ends.key, self.ends.me, self.ends.peers[self._turn % len(self.ends.peers)])
        self._asked = question, boottime()
        self._write(device, question.line)

    def _write(self, device: "Serial", line: bytes) -> None:
        if not select.select([], [device.fileno()], [], 0)[1]:  # pyserial would ask again and again
            self.problem = f"serial line {self.ends.path}: takes nothing more: nobody reads at its other end"
            return
        device.write(line)
        self.problem = ""
