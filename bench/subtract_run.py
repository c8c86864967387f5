"""One subtraction, from files to files, as a process of its own: how it ended, how long it took, what it needed.

The three functions that name a program are the only ones that know how it is called.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.subtract_pairs import masks

CORES = 2  # that a program may use
THREE_PLANES = "DIFF,VAR,MASK"  # what a speed is quoted for

# A process that stays: the library call again and again; then its times and its peak memory.
_WARM = """
import json, os, shutil, sys, time
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
from pathlib import Path
from photometry.frame import NoiseOverrides
from photometry.pair import subtract_pair
from photometry.settings import Settings
from photometry.subtraction.reading import Given
science, template, out, times = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
seconds = []
for _ in range(times):
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    began = time.monotonic()
    frames = [Given(path, NoiseOverrides()) for path in (science, template)]
    subtract_pair(*frames, out, Settings(gpu=sys.argv[6]), sys.argv[5].split(","))
    seconds.append(time.monotonic() - began)
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(json.dumps({"seconds": seconds, "peak_kilobytes": int(peak)}))
"""


@dataclass(frozen=True)
class Run:
    """How a process ended: status, its words on stderr; wall and CPU seconds; peak memory, bytes."""

    status: int
    complaint: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Warm:
    """Seconds of each call in one process, the first of which is cold; its peak memory, bytes."""

    seconds: tuple[float, ...]
    peak_bytes: int


def cold(place: Path, out: Path, *, with_masks: bool, planes: str = "DIFF,VAR,MASK,SCORE", gpu: str = "off") -> Run:
    """One command on a pair."""
    program = Path(sys.executable).with_name("ast3-photometry")
    more = ["--planes", planes, "--gpu", gpu, *(masks(place) if with_masks else [])]
    return run([program, "subtract", place / "sci.fits", place / "ref.fits", "--out", out, *more], out)


def warm(place: Path, out: Path, times: int, gpu: str = "off") -> Warm | str:
    """The library call in a process that stays, so many times after a first one; or why there is none."""
    words = [sys.executable, "-P", "-c", _WARM, place / "sci.fits", place / "ref.fits", out, times + 1, THREE_PLANES, gpu]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    shutil.rmtree(out, ignore_errors=True)
    if done.returncode:
        return (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
    told = json.loads(done.stdout.splitlines()[-1])
    return Warm(tuple(told["seconds"]), told["peak_kilobytes"] * 1024)


def hotpants() -> Path | None:
    """The rival, where there is one."""
    found = shutil.which(os.environ.get("HOTPANTS", "hotpants"))
    return Path(found) if found else None


def rival(program: Path, place: Path, out: Path) -> Run:
    """HOTPANTS on a pair: difference, noise and mask, its kernel chosen for the pairs' widths."""
    words: list[object] = [program, "-inim", place / "sci.fits", "-tmplim", place / "ref.fits"]
    words += ["-outim", out / "difference.fits", "-oni", out / "noise.fits", "-omi", out / "mask.fits"]
    words += ["-tu", 59000, "-iu", 59000, "-tl", 1, "-il", 1, "-tg", 6.0, "-ig", 1.5, "-tr", 3.0, "-ir", 6.0]
    words += ["-r", 10, "-rss", 20, "-ko", 2, "-bgo", 1, "-n", "i", "-c", "t", "-v", 0]
    words += ["-ng", 3, 6, 0.7, 4, 1.5, 2, 3.0, "-nsx", place_stamps(place), "-nsy", place_stamps(place)]
    out.mkdir(parents=True)
    return run(words, out)


def place_stamps(place: Path) -> int:
    """HOTPANTS' stamps a side: one each 200 px."""
    return max(10, int(json.loads((place / "truth.json").read_text())["nx"] / 200))


def run(words: Sequence[object], out: Path) -> Run:
    """A process from its start to its end; what it wrote into `out` stays."""
    with tempfile.TemporaryFile() as errors:
        began = time.monotonic()
        process = subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL, stderr=errors)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        complaint = errors.read().decode(errors="replace").strip()
    if process.returncode:
        shutil.rmtree(out, ignore_errors=True)
    return Run(process.returncode, complaint, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def two_cores() -> None:
    """From here on this process and its children use no more than CORES."""
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
