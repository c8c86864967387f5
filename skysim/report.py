"""What a node's products say, held against the truth.

Products are read as files (`products/TELESCOPE/NIGHT/FRAME-ID/`): manifest.json names the frame, catalog.fits holds its
stars, transients.ecsv what changed.  Nothing of photometry is imported: this is how a user would read them.
"""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skysim.truth import FrameTruth, TargetTruth

FOUND_WITHIN_PIXELS = 1.5
FALSE_BEYOND_PIXELS = 3.0
MUST_FIND_SNR = 7.0
MOST_FALSE_PER_FRAME = 2


COLUMNS = ("id", "x", "y", "x_tmpl", "y_tmpl", "flux", "flux_err", "score")


@dataclass(frozen=True)
class Listed:
    """One row of transients.ecsv; `number` is its id, and the name of its stamps."""

    number: int
    x: float
    y: float
    x_tmpl: float
    y_tmpl: float
    flux_adu: float
    flux_err_adu: float
    score: float


@dataclass(frozen=True)
class FrameResult:
    """One frame: what was there and what was found.  `folder` is None where no products were published."""

    truth: FrameTruth
    folder: Path | None
    stars: int
    seconds: float
    listed: tuple[Listed, ...]

    def found(self, target: str) -> tuple[Listed, float] | None:
        """The nearest listed transient to a target and its distance in pixels, if within `FOUND_WITHIN_PIXELS`."""
        there = self.truth.targets[target]
        near = [(row, distance(row, there)) for row in self.listed]
        near = [(row, far) for row, far in near if far <= FOUND_WITHIN_PIXELS]
        return min(near, key=lambda pair: pair[1], default=None)

    @property
    def false(self) -> tuple[Listed, ...]:
        """What is listed, of either sign, and is farther than `FALSE_BEYOND_PIXELS` from everything that changed."""
        targets = self.truth.targets.values()
        return tuple(row for row in self.listed if all(distance(row, t) > FALSE_BEYOND_PIXELS for t in targets))


def distance(row: Listed, target: TargetTruth) -> float:
    """Pixels between a listed transient and a target."""
    return math.hypot(row.x - target.x, row.y - target.y)


def collect(products: Path, frames: Sequence[FrameTruth]) -> list[FrameResult]:
    """The result of each frame, in their order; ValueError names a product that cannot be read."""
    manifests: dict[str, tuple[Path, dict[str, Any]]] = {}
    for path in sorted(products.glob("[!.]*/*/*/manifest.json")):
        manifest = json.loads(path.read_text())
        manifests[manifest["name"]] = (path.parent, manifest)
    return [_result(frame, *manifests.get(frame.name, (None, {}))) for frame in frames]


def _result(truth: FrameTruth, folder: Path | None, manifest: dict[str, Any]) -> FrameResult:
    if folder is None:
        return FrameResult(truth, None, 0, math.nan, ())
    return FrameResult(truth, folder, _stars(folder), float(manifest["seconds"]), _listed(folder))


def _stars(folder: Path) -> int:
    from astropy.io import fits

    return int(fits.getheader(folder / "catalog.fits", 1)["NAXIS2"])


def _listed(folder: Path) -> tuple[Listed, ...]:
    from astropy.table import Table

    path = folder / "transients.ecsv"
    if not path.exists():  # nothing was subtracted; the manifest's notes say why
        return ()
    table = Table.read(path, format="ascii.ecsv")
    columns = [table[name].tolist() for name in COLUMNS]
    return tuple(Listed(*row) for row in zip(*columns, strict=True))


def best_frame(results: Sequence[FrameResult]) -> FrameResult | None:
    """The frame that shows the supernova best: found, with the highest true S/N; None where there is none."""
    found = [result for result in results if result.found("supernova") is not None]
    return max(found, key=lambda result: result.truth.targets["supernova"].snr, default=None)


def failures(results: Sequence[FrameResult]) -> list[str]:
    """The checks that failed, one line each; empty is a pass."""
    lines = []
    for result in results:
        name, snr = result.truth.name, result.truth.targets["supernova"].snr
        if result.folder is None:
            lines.append(f"{name}: no products were published")
        elif snr >= MUST_FIND_SNR and result.found("supernova") is None:
            lines.append(f"{name}: the supernova was not found, though its true S/N is {snr:.1f}")
        if len(result.false) > MOST_FALSE_PER_FRAME:
            lines.append(f"{name}: {len(result.false)} false transients, more than {MOST_FALSE_PER_FRAME}")
    return lines


def table(results: Sequence[FrameResult]) -> str:
    """The frames, one a line: S/N is the true one of the difference, then how far off the target was found."""
    names = list(results[0].truth.targets)
    head = f"{'frame':<28}{'seeing':>7}{'stars':>7}{'seconds':>9}"
    lines = [head + "".join(f"{name + ' S/N':>15}{'off':>6}" for name in names) + f"{'false':>7}"]
    for result in results:
        line = f"{result.truth.name:<28}{result.truth.fwhm_pixels:>7.2f}{result.stars:>7d}{result.seconds:>9.2f}"
        for name in names:
            match = result.found(name)
            line += f"{result.truth.targets[name].snr:>15.1f}" + (f"{match[1]:>6.2f}" if match else f"{'-':>6}")
        lines.append(line + f"{len(result.false):>7d}")
    return "\n".join(lines)


def summary(results: Sequence[FrameResult]) -> str:
    """The night in a few lines."""
    done = [result for result in results if result.folder is not None]
    lines = [f"{len(done)} of {len(results)} frames processed"]
    if done:
        stars = statistics.median(result.stars for result in done)
        seconds = statistics.median(result.seconds for result in done)
        false = sum(len(result.false) for result in done)
        lines[0] += f", {stars:.0f} stars measured and {seconds:.2f} s a frame (medians)"
        lines += [_target_line(done, name) for name in results[0].truth.targets]
        lines.append(f"false transients: {false} in all, at most {max(len(r.false) for r in done)} a frame")
    return "\n".join(lines)


def _target_line(results: Sequence[FrameResult], name: str) -> str:
    bright = [r for r in results if abs(r.truth.targets[name].snr) >= MUST_FIND_SNR]
    offsets = [match[1] for r in bright if (match := r.found(name)) is not None]
    line = f"{name}: found in {len(offsets)} of {len(bright)} frames with a true S/N of {MUST_FIND_SNR:g} and more"
    return line + (f", {statistics.median(offsets):.2f} pixels off in the median" if offsets else "")
