"""Which versions of the suite and of what it computes with are installed here."""

import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("ast3", "numpy", "scipy", "sep", "astropy", "numba")


def versions() -> dict[str, str]:
    """Of all that products depend on.  Takes some 5 ms: read once where it is wanted often."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
