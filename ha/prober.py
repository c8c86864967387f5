"""The prober: the helper process that asks all peers, once a period and side by side, whether they are able to work.

Each is asked in a thread of its own: who hangs delays nobody.  Over a serial line too, where there is one; what is asked
there is answered with the agent's standing as long as that is fresh, for an agent that hangs is able to do nothing.
"""

import os
import queue
import select
import socket
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ast3d.common.clock import boottime
from ast3d.common.link import HelperEnd, Message
from ast3d.common.parent import die_with_parent
from ha.serial_line import Ends, SerialLine
from ha.witness import MAX_LINE_BYTES, KeyFileError, Question, Standing, WitnessError, ask, judge, read_key
from ha.witness_server import parse_address

ASK_SECONDS = 0.5
REPORT_SECONDS = 0.6  # after the asking, whoever has not answered
STANDING_SECONDS = 3.0  # so long the agent's word holds


@dataclass
class Peer:
    """One node that is asked, and the last that it said."""

    name: str
    address: str
    busy: bool = False
    at: float | None = None
    standing: Standing = field(default_factory=lambda: Standing(able=False))
    problem: str = ""

    def describe(self, more: str) -> dict[str, Any]:
        """As the agent is told; `more` is wrong too."""
        problem = "; ".join(filter(None, (self.problem, more)))
        return {"at": self.at, "able": self.standing.able, "reason": self.standing.reason,
                "works": list(self.standing.works), "problem": problem}  # fmt: skip


@dataclass(frozen=True)
class Heard:
    """What became of a question."""

    peer: str
    address: str  # empty: over the serial line
    sent: float
    standing: Standing | None
    problem: str = ""


def ask_over_tcp(address: str, question: Question) -> tuple[float, bytes]:
    """-> when it was sent, and the line that came.  Raises OSError."""
    deadline = boottime() + ASK_SECONDS
    with socket.create_connection(parse_address(address), ASK_SECONDS) as connection:
        sent = boottime()
        connection.sendall(question.line)
        line = b""
        while not line.endswith(b"\n") and len(line) <= MAX_LINE_BYTES:
            left = deadline - boottime()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
            data = connection.recv(MAX_LINE_BYTES)
            if not data:
                raise ConnectionError("closed the connection without an answer: has it this node's key and name?")
            line += data
    return sent, line


def ask_peer(key: bytes, me: str, name: str, address: str) -> Heard:
    """Within about half a second; longer where the name of a host must be found out."""
    try:
        question = ask(key, me, name)
        sent, line = ask_over_tcp(address, question)
        return Heard(name, address, sent, judge(key, question, line))
    except TimeoutError:
        reason = f"no answer within {ASK_SECONDS:g} s"
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
    except (WitnessError, ValueError, OverflowError) as error:
        reason = str(error)
    return Heard(name, address, 0.0, None, f"{name} at {address}: {reason}")


class Prober:
    """Serves one agent until it is gone."""

    def __init__(self, link: HelperEnd) -> None:
        self.link = link
        self.asked: dict[str, Any] = {"me": "", "peers": {}, "key_file": "", "serial": None, "period": 1.0}
        self.peers: dict[str, Peer] = {}
        self.key = b""
        self.problem = ""  # of the key
        self.serial: SerialLine | None = None
        self.standing: tuple[float, Standing] | None = None  # since when
        self.next_round = self.report_at = 0.0  # 0: not due
        self.heard: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        self.woken, self.wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def run(self) -> None:
        """Until the agent is gone: EOFError."""
        while True:
            due = min((when for when in (self.next_round, self.report_at) if when), default=None)
            timeout = None if due is None else max(due - boottime(), 0.0)
            ready, _, _ = select.select([self.link.fileno(), self.woken], [], [], timeout)
            if self.link.fileno() in ready:
                for message in self.link.receive():
                    self.serve(message)
            if self.woken in ready:
                os.read(self.woken, 4096)
            while not self.heard.empty():
                self.take(self.heard.get())
            self.turn(boottime())

    def serve(self, message: Message) -> None:
        """Do what the agent asks."""
        if "ping" in message:
            self.link.send({"pong": message["ping"]})
        elif told := message.get("standing"):
            self.standing = boottime(), Standing(told["able"], told["reason"], tuple(told["works"]))
        elif asked := message.get("ask"):
            self.asked = asked
            known = self.peers
            self.peers = {name: Peer(name, address) for name, address in asked["peers"].items()}
            for name, peer in self.peers.items():
                if name in known and known[name].address == peer.address:
                    self.peers[name] = known[name]
            self.next_round = boottime()
            self.read_key()

    def read_key(self) -> None:
        """The key of the file as it is now, or what is wrong with that; the serial line as it is to be with it."""
        try:
            self.key, self.problem = read_key(Path(self.asked["key_file"])), ""
        except KeyFileError as error:
            self.key, self.problem = b"", str(error)
        path, peers = self.asked["serial"], tuple(self.peers)
        ends = Ends(path, self.key, self.asked["me"], peers, self.asked["period"]) if path and self.key else None
        if (self.serial.ends if self.serial else None) == ends:
            return
        if self.serial:
            self.serial.stop()
        self.serial = SerialLine(ends, self.fresh_standing, self.hear_serial) if ends else None
        if self.serial:
            self.serial.start()

    def turn(self, now: float) -> None:
        """Ask when it is time to, and tell when all have answered or the time for that is over."""
        if self.report_at and (now >= self.report_at or not any(peer.busy for peer in self.peers.values())):
            self.report_at = 0.0
            self.report()
        if self.next_round and now >= self.next_round:
            self.next_round = max(self.next_round + self.asked["period"], now)
            self.report_at = now + min(REPORT_SECONDS, self.asked["period"])
            if not self.key:
                self.read_key()
            if self.key:
                self.ask_all()

    def ask_all(self) -> None:
        """All side by side, but for those who have not answered the last time yet."""
        for peer in self.peers.values():
            if not peer.busy:
                peer.busy = True
                threading.Thread(target=self.ask_one, args=(peer.name, peer.address), daemon=True).start()

    def ask_one(self, name: str, address: str) -> None:
        """In a thread."""
        self.tell(ask_peer(self.key, self.asked["me"], name, address))

    def hear_serial(self, name: str, sent: float, standing: Standing) -> None:
        """In the serial line's thread."""
        self.tell(Heard(name, "", sent, standing))

    def tell(self, heard: Heard) -> None:
        """From a thread to the loop."""
        self.heard.put(heard)
        try:
            os.write(self.wake, b"x")
        except BlockingIOError:  # it is awake
            return

    def fresh_standing(self) -> Standing | None:
        """What the agent said of its node, if that was just now."""
        told = self.standing
        return told[1] if told and boottime() - told[0] < STANDING_SECONDS else None

    def take(self, heard: Heard) -> None:
        """What a thread found out, unless its peer is no more."""
        peer = self.peers.get(heard.peer)
        if peer is None or heard.address not in ("", peer.address):
            return
        if heard.address:
            peer.busy, peer.problem = False, heard.problem
        if heard.standing is not None and heard.sent > (peer.at or 0.0):
            peer.at, peer.standing = heard.sent, heard.standing

    def report(self) -> None:
        """The last answers, and what is wrong now."""
        for peer in self.peers.values():
            if peer.busy:
                peer.problem = f"{peer.name} at {peer.address}: no answer within {ASK_SECONDS:g} s"
        more = self.problem or (self.serial.problem if self.serial else "")
        self.link.send({"answers": {name: peer.describe(more) for name, peer in self.peers.items()}})


def main() -> None:
    """The socket to the agent, and its pid: what outlived it would answer in its name."""
    die_with_parent(int(sys.argv[2]))
    try:
        Prober(HelperEnd(int(sys.argv[1]))).run()
    except EOFError:
        return


if __name__ == "__main__":
    main()
