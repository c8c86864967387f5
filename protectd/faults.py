"""How a daemon can be made to hang, to see that it is replaced: only where AST3_FAULTS=1 is in its environment."""

import os
import signal
import threading
from typing import Any


def allow() -> None:
    """SIGUSR1: a loop that spins; SIGUSR2: a lock that is waited for for ever."""
    if os.environ.get("AST3_FAULTS") == "1":
        signal.signal(signal.SIGUSR1, _spin)
        signal.signal(signal.SIGUSR2, _deadlock)


def _spin(_number: int, _frame: Any) -> None:
    while True:
        pass


def _deadlock(_number: int, _frame: Any) -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
