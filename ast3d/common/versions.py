"""Which versions of the suite and of what it computes with are installed here."""

import json
import os

_PACKAGES = ("ast3", "numpy", "scipy", "sep", "astropy", "numba")


def versions() -> dict[str, str]:
    """Of all that products depend on.  Takes some 30 ms: read once where it is wanted often.  Raises OSError.

    They are read in a child: what it takes to read them would double the price of each fork of a process that keeps it.
    """
    receive, send = os.pipe2(os.O_CLOEXEC)
    with os.fdopen(receive, "rb") as pipe:
        pid = os.fork()
        if pid == 0:
            try:
                os.write(send, json.dumps(_read()).encode())
            finally:
                os._exit(0)
        os.close(send)
        said = pipe.read()
    os.waitpid(pid, 0)
    found: dict[str, str] = json.loads(said)
    return found


def _read() -> dict[str, str]:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
