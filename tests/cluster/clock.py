"""A wall clock of a node's own, which may be wrong and may step; see wrong_clock.c."""

import struct
from pathlib import Path

from tests.cluster.network import run

_SOURCE = Path(__file__).with_name("wrong_clock.c")


def build(site: Path) -> None:
    """The library, once for a site."""
    run("cc", "-shared", "-fPIC", "-O2", "-Wall", "-o", library(site), _SOURCE)


def library(site: Path) -> Path:
    return site / "wrong_clock.so"


def environment(site: Path, file: Path) -> dict[str, str]:
    """For processes whose clock is the file's."""
    return {"LD_PRELOAD": str(library(site)), "AST3_TEST_CLOCK": str(file)}


def put_off(file: Path, seconds: int) -> None:
    """From now on the clock is wrong by so much, for all that run already too."""
    with file.open("r+b" if file.exists() else "wb") as clock:
        clock.write(struct.pack("q", seconds))
