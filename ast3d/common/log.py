"""The routine log (roulog): text, one event a line, four levels.

A line is written whole with one write to the end of the file, so that several daemons may share it and a crash
tears nothing.  Logging never raises and never waits: what could not be written is counted, and said with the next
line that could.  A file that was renamed or removed is made anew, so that `tail -F` and rotation work.

What a unit of systemd would write to stderr goes to the journal with its fields.
"""

import logging
import os
import select
import stat
from pathlib import Path
from typing import Any

import structlog

from ast3d.common.clock import stamp
from ast3d.common.journal import Journal, open_journal
from ast3d.common.logline import LEVELS, render

MAX_LINE_BYTES = 16 * 1024
_PIPE_BYTES = 4096  # a pipe that is ready for writing takes so much without waiting
_CUT = b"... (cut)\n"


class Sink:
    """Where the lines go; the file is opened again whenever its name means another file."""

    def __init__(self, path: Path | None, daemon: str, stderr: bool, journal: Journal | None = None) -> None:
        self.threshold = 0
        self._journal = journal
        self._path = path
        self._daemon = daemon
        self._stderr = 2 if stderr else None
        self._fd: int | None = None
        self._identity = (0, 0)
        self._torn = False
        self._dropped = 0
        self._reason = ""

    def write(self, line: str, level: str, event: str, fields: dict[str, Any]) -> None:
        """One event, and the line that it is, to each place; never raises, never waits."""
        if self._journal is not None:
            self._journal.send(level, event, fields, line.split(" ", 3)[3])  # which has time, level and daemon by itself
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        if len(data) > MAX_LINE_BYTES:
            data = data[: MAX_LINE_BYTES - len(_CUT)] + _CUT
        if self._stderr is not None:
            self._to_stderr(self._stderr, data)
        if self._path is not None:
            self._to_file(self._path, data)

    @property
    def problem(self) -> str:
        """Why the last lines could not be written to the file; empty if they were."""
        return f"{self._path}: {self._reason}" if self._dropped else ""

    def close(self) -> None:
        """No more lines."""
        self._close_file()
        if self._journal is not None:
            self._journal.close()

    def _close_file(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _to_file(self, path: Path, data: bytes) -> None:
        before = b"\n" if self._torn else b""
        if self._dropped:
            lost = {"lines": self._dropped, "reason": self._reason}
            before += render(stamp(), "ERROR", self._daemon, "log.dropped", lost).encode() + b"\n"
        try:
            fd = self._file(path)
            written = os.write(fd, before + data)
        except OSError as error:
            self._dropped += 1
            self._reason = error.strerror or type(error).__name__
            return
        if written < len(before) + len(data):  # the disk is full: the rest of the line is lost
            self._torn = True
            self._dropped += 1
            self._reason = "no space for a whole line"
        else:
            self._torn = False
            self._dropped = 0

    def _file(self, path: Path) -> int:
        """The open file, if its name still means it; else another one."""
        if self._fd is not None:
            try:
                now = path.stat()
            except FileNotFoundError:
                now = None
            if now is not None and (now.st_dev, now.st_ino) == self._identity:
                return self._fd
            self._close_file()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        fd = os.open(path, flags, 0o644)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise OSError(0, "the log's name means something that is not a file")
        self._fd, self._identity = fd, (status.st_dev, status.st_ino)
        return fd

    def _to_stderr(self, fd: int, data: bytes) -> None:
        """A terminal or pipe that nobody reads costs its lines, not the daemon's time; the file has them."""
        try:
            for start in range(0, len(data), _PIPE_BYTES):
                poll = select.poll()
                poll.register(fd, select.POLLOUT)
                if not poll.poll(0):
                    return
                os.write(fd, data[start : start + _PIPE_BYTES])
        except OSError:
            self._stderr = None


class Logger(structlog.BoundLoggerBase):
    """`log.info("task.done", frame=..., seconds=12.3)`; `log.bind(frame=...)` keeps fields for later events."""

    _logger: Sink

    def debug(self, event: str, /, **fields: Any) -> None:
        """For a developer."""
        self._event("DEBUG", event, fields)

    def info(self, event: str, /, **fields: Any) -> None:
        """What happens in normal times."""
        self._event("INFO", event, fields)

    def error(self, event: str, /, **fields: Any) -> None:
        """Something went wrong, and the daemon goes on."""
        self._event("ERROR", event, fields)

    def fatal(self, event: str, /, **fields: Any) -> None:
        """The daemon cannot go on."""
        self._event("FATAL", event, fields)

    def set_level(self, level: str) -> None:
        """The least important level that is written from now on, for all loggers bound from this one."""
        self._logger.threshold = LEVELS.index(level)

    @property
    def problem(self) -> str:
        """Why the last events were not written to the file; empty if they were."""
        return self._logger.problem

    def close(self) -> None:
        """No more events."""
        self._logger.close()

    def _event(self, level: str, event: str, fields: dict[str, Any]) -> None:
        if LEVELS.index(level) >= self._logger.threshold:
            self._proxy_to_logger("write", event, level=level, fields=fields)


class _Renderer:
    """The last processor of structlog's chain: the event and its line, as `Sink.write` takes them."""

    def __init__(self, daemon: str) -> None:
        self._daemon = daemon

    def __call__(self, _logger: Sink, _method: str, event: structlog.typing.EventDict) -> dict[str, Any]:
        level, name, own = event.pop("level"), event.pop("event"), event.pop("fields")
        fields = {**event, **own}
        line = render(stamp(), level, self._daemon, name, fields)
        return {"line": line, "level": level, "event": name, "fields": fields}


class _Libraries(logging.Handler):
    """Hands what libraries say through standard logging to a roulog, in its four levels."""

    def __init__(self, log: Logger) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        say = self._log.fatal if record.levelno >= logging.CRITICAL else self._log.error
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # the library's arguments do not fit its own text
            text = str(record.msg)
        say("library", name=record.name, text=text)


def open_log(path: Path | None, level: str, daemon: str, *, stderr: bool = False) -> Logger:
    """A log to the file `path` (None: none) and, if asked, to stderr, or to the journal if that is where stderr goes.

    A file that cannot be opened is tried again with each line.
    """
    journal = open_journal(daemon) if stderr else None
    log = Logger(Sink(path, daemon, stderr and journal is None, journal), [_Renderer(daemon)], {})
    log.set_level(level)
    return log


def adopt_libraries(log: Logger) -> None:
    """What libraries warn of through `logging` and `warnings` is an ERROR in `log` from now on."""
    logging.basicConfig(handlers=[_Libraries(log)], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)
