"""An agent's end of a helper process."""

import os
import socket
import subprocess
import sys

from ast3d.common.link import LineReader, encode

PATIENCE_SECONDS = 20


class Agent:
    """Starts the helper; `end` it."""

    def __init__(self, module):
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(PATIENCE_SECONDS)
        argv = [sys.executable, "-P", "-m", module, str(theirs.fileno()), str(os.getpid())]
        self.process = subprocess.Popen(argv, pass_fds=[theirs.fileno()])
        theirs.close()
        self.reader, self.heard = LineReader(), []

    def tell(self, *messages):
        self.sock.sendall(b"".join(map(encode, messages)))

    def hear(self, verb):
        """The next message of this kind."""
        while True:
            for number, message in enumerate(self.heard):
                if verb in message:
                    return self.heard.pop(number)[verb]
            data = self.sock.recv(1 << 16)
            assert data, "the helper ended"
            self.heard += self.reader.feed(data)

    def end(self):
        self.sock.close()
        self.process.kill()
        self.process.wait()
