"""How fast, and with how much memory: files to files on two cores, cold commands and a process that stays."""

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.subtract_pairs import Field, pair
from bench.subtract_run import THREE_PLANES, Run, Warm, cold, hotpants, rival, two_cores, warm
from bench.table import Row, percentile

GIGABYTE = 1 << 30
SEED = 1
# Seconds and bytes that issue 5 gives for HOTPANTS on one core of the reference machine.
ISSUE_SECONDS = {10240: 59.8, 4096: 9.5, 2048: 2.2}
ISSUE_GIGABYTES = 4.78
ISSUE_GROWTH = 27.0


@dataclass(frozen=True)
class Limits:
    """The goals at one size, seconds; how often each is measured."""

    size: int
    cold: float
    warm: float | None = None
    times: int = 5


LARGE, MEDIUM, SMALL = Limits(10240, 2.5, 1.5, times=3), Limits(4096, 1.1), Limits(2048, 0.7)
FIELDS: tuple[Limits, ...] = (LARGE, MEDIUM, SMALL)
SHORT: tuple[Limits, ...] = (SMALL,)
MOST_GIGABYTES = 1.0
MOST_GROWTH = 25.0


def at(limits: Limits, folder: Path) -> list[Row]:
    """Seconds at one size: one cold command, the warm process where a goal is set for it, HOTPANTS' beside them."""
    two_cores()
    place = frames(limits.size, folder)
    runs = [_cold(place) for _ in range(limits.times)]
    beside = _rival(place, limits.size)
    found = [_cold_row(limits, runs, beside)]
    if limits.warm is None:
        return found
    stays = warm(place, place / "ours", limits.times)
    found.append(_warm_row(limits, stays, beside))
    return found + _memory(limits.size, runs, stays)


def frames(size: int, folder: Path) -> Path:
    """A pair of that size, without the planes that only a scorer needs."""
    return pair(Field(f"speed{size}", f"--size {size} --no-extras"), SEED, folder)


def growth(small: int, large: int, folder: Path) -> Row:
    """How many times longer the warm process takes for the larger frame."""
    two_cores()
    figure, goal = f"growth {small}^2 -> {large}^2, warm", f"<= {MOST_GROWTH:g} x"
    medians = []
    for size, times in ((small, 5), (large, 3)):
        place = frames(size, folder)
        stays = warm(place, place / "ours", times)
        if isinstance(stays, str):
            return Row(figure, goal, stays, None)
        medians.append(percentile(stays.seconds[1:], 50))
    ratio = medians[1] / medians[0]
    said = f"{ratio:.1f} x ({medians[0]:.2f} -> {medians[1]:.2f} s){_missed(ratio - MOST_GROWTH, ' x')}"
    return Row(figure, goal, f"{said}; HOTPANTS {ISSUE_GROWTH:g} x, issue's figure, not measured here", ratio <= MOST_GROWTH)


def _cold(place: Path) -> Run:
    shutil.rmtree(place / "ours", ignore_errors=True)
    return cold(place, place / "ours", with_masks=False, planes=THREE_PLANES)


def _rival(place: Path, size: int) -> str:
    """HOTPANTS' seconds and memory, measured where it is at hand."""
    program = hotpants()
    if program is None:
        known = ISSUE_SECONDS.get(size)
        return "no figure for HOTPANTS" if known is None else f"HOTPANTS {known:g} s, issue's figure, not measured here"
    out = place / "hotpants"
    shutil.rmtree(out, ignore_errors=True)
    done = rival(program, place, out)
    shutil.rmtree(out, ignore_errors=True)
    if done.status:
        return f"HOTPANTS failed with {done.status}"
    return f"HOTPANTS {done.seconds:.2f} s, {done.peak_bytes / GIGABYTE:.2f} GB"


def _cold_row(limits: Limits, runs: list[Run], beside: str) -> Row:
    row = partial(Row, f"{limits.size}^2, one cold command", f"<= {limits.cold:g} s")
    failed = [run for run in runs if run.status]
    if failed:
        return row(f"exit status {failed[0].status}: {failed[0].complaint}", met=False)
    median, cpu = (percentile([getattr(run, name) for run in runs], 50) for name in ("seconds", "cpu_seconds"))
    said = f"median {median:.2f} s, CPU {cpu:.2f} s, n={len(runs)}{_missed(median - limits.cold, ' s')}; {beside}"
    return row(said, met=median <= limits.cold)


def _warm_row(limits: Limits, stays: Warm | str, beside: str) -> Row:
    assert limits.warm is not None
    row = partial(Row, f"{limits.size}^2, warm process", f"<= {limits.warm:g} s")
    if isinstance(stays, str):
        return row(stays, met=False)
    median = percentile(stays.seconds[1:], 50)
    said = f"median {median:.2f} s, n={len(stays.seconds) - 1}{_missed(median - limits.warm, ' s')}; {beside}"
    return row(said, met=median <= limits.warm)


def _memory(size: int, runs: list[Run], stays: Warm | str) -> list[Row]:
    """The most that a cold command and the warm process held."""
    peak = max(run.peak_bytes for run in runs) / GIGABYTE
    said = f"cold {peak:.2f} GB"
    if not isinstance(stays, str):
        said += f", warm {stays.peak_bytes / GIGABYTE:.2f} GB"
        peak = max(peak, stays.peak_bytes / GIGABYTE)
    said += _missed(peak - MOST_GIGABYTES, " GB")
    if hotpants() is None:
        said += f"; HOTPANTS {ISSUE_GIGABYTES} GB, issue's figure, not measured here"
    met = peak <= MOST_GIGABYTES and not any(run.status for run in runs)
    return [Row(f"{size}^2, peak memory", f"<= {MOST_GIGABYTES:g} GB", said, met)]


def _missed(much: float, unit: str) -> str:
    return f", missed by {much:.3g}{unit}" if much > 0 else ""
