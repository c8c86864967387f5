"""Masters from frames: bias, dark, flats by filter, and the mask of the pixels that cannot be mended.

Guarantee: each frame is used or refused with a reason.  A master's value is a clipped mean, its variance that of the frames
propagated; nothing of the size of a stack of frames is in memory.  The dark of science frames with different skies is that
of Ma et al. (2014, SPIE 9154, 91541T): each pixel's value where the sky vanishes.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from photometry.calibration.files import BYTE, finish_master, master_file
from photometry.calibration.judge import Judged, choose_bias, choose_dark, choose_flats, choose_science
from photometry.calibration.masters import BIAS, DARK, FLAT, MASK, Master, open_master
from photometry.calibration.oddpixels import odd_bias, odd_dark, odd_flat
from photometry.calibration.prepare import Opened, Prepared, each_band, open_frame, prepare
from photometry.calibration.stages import Band, recipe_of
from photometry.errors import BadFrameError, BadInputError
from photometry.instrument import Instrument
from photometry.loops.combine import combine, regress
from photometry.mask import Bit
from photometry.plane_file import PlaneFile
from photometry.subtraction.files import mask_header

FEWEST_FRAMES = 3


@dataclass
class Report:
    """used: name -> the master it went into; refused: name -> why not; figures: of the masters."""

    used: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)


def build_masters(
    paths: Sequence[Path],
    instrument: Instrument,
    out: Path,
    threads: Executor,
    *,
    dark_from_science: bool,
    most_megapixels: float,
) -> Report:
    """Write the masters that the frames allow into the folder `out`.

    BadInputError: the frames allow none.  EnvironmentFailedError: an I/O error, memory.  OSError: no space.
    """
    report = Report()
    with ExitStack() as stack:
        frames = []
        for path in paths:
            try:
                frames.append(open_frame(path, instrument, stack, threads, out, most_megapixels))
            except BadFrameError as error:
                report.refused[path.name] = str(error)
        _one_chip(frames, report)
        if not frames:
            raise BadInputError(f"none of {len(paths)} frames can be used: {next(iter(report.refused.values()))}")
        work = _Builder(out, stack, threads, report, frames)
        work.bias([frame for frame in frames if frame.kind == "bias"])
        if dark_from_science:
            work.dark_from_science([frame for frame in frames if frame.kind == "science"])
        else:
            work.dark([frame for frame in frames if frame.kind == "dark"])
        flats = [frame for frame in frames if frame.kind == "flat"]
        for band in sorted({frame.band for frame in flats}):
            work.flat(band, [frame for frame in flats if frame.band == band])
        for frame in frames:
            if frame.path.name not in report.used:
                report.refused.setdefault(frame.path.name, _not_wanted(frame))
        if not report.figures:
            reasons = "; ".join(sorted(set(report.refused.values()))[:3])
            raise BadInputError(f"no master can be made of {len(paths)} frames: {reasons}")
        work.mask()
    return report


def _one_chip(frames: list[Opened], report: Report) -> None:
    """Refuse frames of another chip than the first one's: where the instrument's file leaves the size open."""
    for frame in frames[1:]:
        mine, first = frame.frame.geometry.detector.chip_shape, frames[0].frame.geometry.detector.chip_shape
        if mine != first:
            report.refused[frame.path.name] = f"{mine[1]} x {mine[0]} pixels, the first frame {first[1]} x {first[0]}"
    frames[:] = [frame for frame in frames if frame.path.name not in report.refused]


def _not_wanted(frame: Opened) -> str:
    return (
        f"not for a master: its IMAGETYP or OBSTYPE says {frame.kind}"
        if frame.kind
        else "its header does not say what it is"
    )


@dataclass
class _Builder:
    """Makes one master after the other; later ones are made with those before them."""

    out: Path
    stack: ExitStack
    threads: Executor
    report: Report
    frames: list[Opened]
    made: dict[str, Master] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.detector = self.frames[0].frame.geometry.detector
        self.bad = np.zeros(self.detector.chip_shape, np.uint8)

    def bias(self, frames: list[Opened]) -> None:
        chosen = self._choose("bias", choose_bias([self._prepare(frame, light=False) for frame in frames]))
        if chosen:
            self._combine(BIAS, chosen, "adu", "master bias", {})
            self.bad |= odd_bias(self.made[BIAS], self.detector)

    def dark(self, frames: list[Opened]) -> None:
        chosen = self._choose("dark", choose_dark([self._prepare(frame, light=False) for frame in frames]))
        if chosen:
            self._combine(DARK, chosen, "adu/s", "master dark", {"DARKZERO": (False, "the median is the dark's own")})
            self.bad |= odd_dark(self.made[DARK], self.detector, self._seconds(chosen))

    def dark_from_science(self, frames: list[Opened]) -> None:
        judged = choose_science([self._prepare(frame, light=False) for frame in frames])
        chosen = self._choose("dark", judged)
        if not chosen:
            return
        levels = np.array([np.nanmedian(frame.sample) for frame in chosen], np.float32)
        seconds = self._seconds(chosen)
        order = np.argsort(levels, kind="stable")
        file = master_file(self.out / DARK, self.detector.chip_shape)

        def visit(band: Band, values: Any, variances: Any, flags: Any) -> None:
            at_zero, noise = (np.empty(values.shape[1:], np.float32) for _ in range(2))
            regress(values, variances, flags, levels, order, at_zero, noise)
            noise += self._shared(band, chosen)
            file.planes["VALUE"][band.rows] = at_zero / np.float32(seconds)
            file.planes["VAR"][band.rows] = noise / np.float32(seconds**2)

        each_band(chosen, visit, self.threads)
        cards = {
            "DARKZERO": (True, "the median is 0: the uniform part is in the sky"),
            "SKYLOW": (float(levels.min()), "[adu] darkest sky used"), "SKYHIGH": (float(levels.max()), "[adu] brightest"),
        }  # fmt: skip
        self._finish(DARK, file, "adu/s", "dark where the sky vanishes", {"NCOMBINE": len(chosen), **cards})
        self.bad |= odd_dark(self.made[DARK], self.detector, seconds)
        self.report.figures["dark"] |= {"sky_adu": [float(levels.min()), float(levels.max())]}

    def flat(self, band: str, frames: list[Opened]) -> None:
        prepared = [self._prepare(frame, light=True) for frame in frames]
        chosen = self._choose(f"flat.{band}", choose_flats(prepared))
        if chosen:
            name = f"{FLAT}{band}.fits"
            self._combine(name, chosen, "", f"master flat, filter {band}", {"FILTER": band})
            self.bad |= odd_flat(self.made[name])

    def mask(self) -> None:
        """Write mask.fits."""
        plane = PlaneFile(self.out / MASK, self.detector.chip_shape, {"MASK": BYTE}, {})
        plane.planes["MASK"][: len(self.bad)] = self.bad
        plane.finish({"MASK": mask_header()}, self.threads)
        self.report.figures["mask"] = {"bad_pixels": int(np.count_nonzero(self.bad))}

    def _prepare(self, frame: Opened, *, light: bool) -> Prepared:
        """With what masters there are already, taken as exact: their noise is the same in all frames (`_shared`)."""
        exact = {name: replace(master, variance=None) for name, master in self.made.items()}
        recipe = recipe_of(frame.frame.geometry, exact.get(BIAS), exact.get(DARK), None, None, frame.seconds)
        return prepare(frame, recipe, self.threads, light=light)

    def _shared(self, band: Band, frames: list[Prepared]) -> Any:
        """The variance that earlier masters bring into a mean of frames: it does not shrink with their number."""
        recipe = frames[0].recipe
        gain = recipe.gain[band.rank] if frames[0].light else np.float32(1)
        total = np.zeros(band.data.shape, np.float32)
        seconds = [frame.opened.seconds or 0.0 for frame in frames]
        for name, used, times in ((BIAS, recipe.bias, [1.0] * len(frames)), (DARK, recipe.dark, seconds)):
            if used is not None:
                share = np.mean([time / frame.unit.level for time, frame in zip(times, frames, strict=True)])
                total += self.made[name].read(band.rows)[1] * np.float32(share**2) * gain**2
        return total

    def _choose(self, master: str, judged: Judged) -> list[Prepared]:
        self.report.refused |= judged.refused
        chosen = judged.chosen
        if 0 < len(chosen) < FEWEST_FRAMES:
            for frame in chosen:
                self.report.refused[frame.opened.path.name] = (
                    f"only {len(chosen)} good frames for the master {master}; {FEWEST_FRAMES} are needed"
                )
            return []
        self.report.used |= {frame.opened.path.name: master for frame in chosen}
        return chosen

    def _combine(self, name: str, frames: list[Prepared], unit: str, what: str, cards: dict[str, Any]) -> None:
        file = master_file(self.out / name, self.detector.chip_shape)
        counts: list[int] = []

        def visit(band: Band, values: Any, variances: Any, flags: Any) -> None:
            mean, noise = (np.empty(values.shape[1:], np.float32) for _ in range(2))
            unstable = np.empty(values.shape[1:], np.bool_)
            counts.append(combine(values, variances, flags, mean, noise, unstable))
            noise += self._shared(band, frames)
            file.planes["VALUE"][band.rows], file.planes["VAR"][band.rows] = mean, noise
            self.bad[band.rows] |= unstable * np.uint8(Bit.BAD)

        each_band(frames, visit, self.threads)
        self._finish(name, file, unit, what, {"NCOMBINE": len(frames), **cards})
        fraction = sum(counts) / (len(frames) * self.bad.size)
        self.report.figures[name.removesuffix(".fits")] |= {"clipped_fraction": fraction}

    def _finish(self, name: str, file: PlaneFile, unit: str, what: str, cards: dict[str, Any]) -> None:
        finish_master(file, unit, what, cards, self.threads)
        self.made[name] = open_master(self.stack, self.out / name, self.detector)
        value, variance = self.made[name].read(slice(self.bad.shape[0] // 2, self.bad.shape[0] // 2 + 64))
        self.report.figures[name.removesuffix(".fits")] = {
            "frames": cards["NCOMBINE"], "median": float(np.median(value)), "sigma": float(np.sqrt(np.median(variance))),
        }  # fmt: skip

    @staticmethod
    def _seconds(frames: list[Prepared]) -> float:
        return float(np.median([frame.opened.seconds or 0.0 for frame in frames]))
