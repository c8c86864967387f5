"""protectd's routine log: a few lines, in the form that all daemons share.  What cannot be written is lost.

What a unit of systemd would write to stderr goes to the journal with its fields.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ast3d.common.clock import stamp
from ast3d.common.journal import open_journal
from ast3d.common.logline import render


class Log:
    """`log("INFO", "peer.start", {...})`.  `path()` names the file anew with each line: it may be told late."""

    def __init__(self, path: Callable[[], Path], *, stderr: bool) -> None:
        self._path, self._stderr = path, stderr
        self._journal = open_journal("protectd") if stderr else None

    def __call__(self, level: str, event: str, fields: dict[str, Any]) -> None:
        """One event, one line, one write."""
        text = render(stamp(), level, "protectd", event, fields)
        line = text.encode("utf-8", "backslashreplace") + b"\n"
        if self._journal:
            self._journal.send(level, event, fields, text.split(" ", 3)[3])
        elif self._stderr:
            with contextlib.suppress(OSError):
                os.write(2, line)
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
            fd = os.open(self._path(), flags, 0o644)
            try:
                os.write(fd, line)
            finally:
                os.close(fd)
