"""What a daemon tells systemd, and whether systemd runs it.  Without systemd all of it does nothing."""

import os
import socket


def notify(text: str) -> bool:
    """Send `READY=1`, `STATUS=...` and the like to who waits for it; -> whether it was sent.  Never waits, never raises."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # an abstract one
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sender:
            sender.sendto(text.encode(), address)
    except (OSError, ValueError):
        return False
    return True


def watchdog_seconds() -> float | None:
    """How long systemd lets this process be silent; None where it does not watch it."""
    told = os.environ.get("WATCHDOG_USEC", "")
    if not told.isdecimal() or int(told) == 0 or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(told) / 1e6


def is_unit(name: str, pid: int | None = None) -> bool:
    """Whether a process (this one) runs as NAME.service."""
    try:
        fd = os.open(f"/proc/{'self' if pid is None else pid}/cgroup", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        lines = os.read(fd, 16384).decode("utf-8", "replace").splitlines()
    except OSError:
        return False
    finally:
        os.close(fd)
    return any(line.rpartition("/")[2] == f"{name}.service" for line in lines)
