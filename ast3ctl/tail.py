"""The end of the routine log, from the file itself: it can be read when the daemon is dead."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from ast3ctl.problem import ProblemError
from ast3ctl.words import printable
from ast3d.common.logline import LEVELS, parse

_BLOCK_BYTES = 64 * 1024
_MOST_BYTES = 16 * 1024 * 1024  # looked through backwards for lines of a rare level
_LOOK_SECONDS = 0.25


def last_lines(path: Path, count: int, level: str) -> tuple[list[str], int]:
    """The last lines of at least this level, and the place in the file where they end (after a whole line)."""
    try:
        with path.open("rb") as file:
            return _last_lines(file.fileno(), count, level)
    except OSError as error:
        raise ProblemError(f"no log to show: {path}: {error.strerror}") from error


def follow(path: Path, start: int, level: str) -> Iterator[str]:
    """Lines from `start` on as they are written, for ever; a renamed log is read to its end, then the new one."""
    file = path.open("rb")
    file.seek(start)
    rest = b""
    while True:
        data = file.read(_BLOCK_BYTES)
        if data:
            *whole, rest = (rest + data).split(b"\n")
            yield from _wanted(whole, level)
            continue
        status = os.fstat(file.fileno())
        try:
            now = path.stat()
        except FileNotFoundError:
            now = status
        if (now.st_dev, now.st_ino) != (status.st_dev, status.st_ino):
            file.close()
            file = path.open("rb")
        elif now.st_size < file.tell():
            file.seek(0)
        else:
            time.sleep(_LOOK_SECONDS)


def as_json(line: str) -> str:
    """The line as one JSON object; one that is no event (a torn one) has the key `text` only."""
    event = parse(line)
    return json.dumps(event._asdict() if event else {"text": line})


def _last_lines(fd: int, count: int, level: str) -> tuple[list[str], int]:
    end = os.fstat(fd).st_size
    end -= len(_read(fd, max(end - _BLOCK_BYTES, 0), end).rpartition(b"\n")[2])  # a line that is being written
    place, cut, found = end, b"", list[str]()
    while place > 0 and end - place < _MOST_BYTES and len(found) < count:
        before = max(place - _BLOCK_BYTES, 0)
        lines = (_read(fd, before, place) + cut).split(b"\n")
        cut = lines.pop(0) if before > 0 else b""  # the rest of it is in the block before
        found = [*_wanted(lines, level), *found]
        place = before
    return found[-count:] if count else [], end


def _read(fd: int, start: int, end: int) -> bytes:
    return os.pread(fd, end - start, start)


def _wanted(lines: list[bytes], level: str) -> Iterator[str]:
    """Of at least the level; what is no event is shown too, for it may be what one looks for."""
    least = LEVELS.index(level)
    for data in filter(None, lines):
        line = printable(data.decode("utf-8", "replace"))
        event = parse(line)
        if event is None or LEVELS.index(event.level) >= least:
            yield line
