"""What both ends of the control socket agree on: one JSON object a line each way.

`{"verb": "status", "args": {}}` is answered by `{"ok": true, "result": ...}` or `{"ok": false, "error": "one line"}`.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MAX_REQUEST_BYTES = 64 * 1024
READING = ("status", "tasks", "why", "plan", "what-if")
CHANGING = ("retry", "pause", "resume", "acknowledge", "stop", "assign", "handover", "handback")

_MAX_ADDRESS_BYTES = 107  # sun_path, less its final zero


def line(message: dict[str, Any]) -> bytes:
    """The message as its line; ASCII, whatever is in it."""
    return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"


@contextmanager
def address(path: Path) -> Iterator[str]:
    """A name for the socket `path` that fits the kernel's 107 bytes however deep the folder lies."""
    if len(os.fsencode(path)) <= _MAX_ADDRESS_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
