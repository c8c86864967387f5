"""One frame in, products out: the stages, in order, in one list.

Guarantee: `process` writes every product except the manifest, or raises a `PhotometryError`; what it could not do and went
on without is in the report's notes.  Whatever it raises, the folder `out` is to be discarded.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photometry import products
from photometry.detection import FLAG_MASKED
from photometry.errors import (
    BadFrameError,
    EnvironmentFailedError,
    SubtractionFailedError,
    TemplateMismatchError,
)
from photometry.frame import Frame, FrameLimits, night_of, read_frame
from photometry.manifest import plain
from photometry.measure import Measured, measure, overrides
from photometry.preview import write_preview
from photometry.settings import Settings
from photometry.subtraction import SubtractionSettings, believed, detect_sources, subtract
from photometry.subtraction.difference import Difference
from photometry.telescope import UNKNOWN, Telescope
from photometry.template import Template, load_template

# With so many good stars on both frames and none in common, the template is of another field; with fewer, clouds explain it.
_PLENTY_OF_STARS = 50

DEFAULTS = Settings()
Figures = dict[str, Any]
Progress = Callable[[str], object]


@dataclass(frozen=True)
class StageReport:
    """What one stage took and found."""

    name: str
    seconds: float
    figures: Figures


@dataclass
class Report:
    """What was done with a frame.  `subtracted`: there is a difference; `night`: as `photometry.frame.night_of`."""

    night: str = "undated"
    template: str | None = None
    subtracted: bool = False
    stages: list[StageReport] = field(default_factory=list)
    figures: Figures = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it: numbers that are not finite are None."""
        stages = [{"name": s.name, "seconds": round(s.seconds, 4), "figures": s.figures} for s in self.stages]
        found: dict[str, Any] = plain(
            {
                "night": self.night,
                "template": self.template,
                "subtracted": self.subtracted,
                "stages": stages,
                "figures": self.figures,
                "notes": self.notes,
            }
        )
        return found


@dataclass
class _Work:
    """What the stages hand on to each other."""

    frame_path: Path
    out: Path
    template_path: Path | None
    kept: Path | None
    telescope: Telescope
    settings: Settings
    report: Report
    frame: Frame | None = None
    science: Measured | None = None
    template: Template | None = None
    difference: Difference | None = None
    transients: NDArray[Any] | None = None


def process(
    frame_path: Path,
    out: Path,
    *,
    template_path: Path | None = None,
    kept: Path | None = None,
    telescope: Telescope = UNKNOWN,
    settings: Settings = DEFAULTS,
    progress: Progress = lambda _stage: None,
) -> Report:
    """Write the frame's products into the folder `out`, which is made if need be; `progress` is told each stage's name.

    `kept` is a folder for what the next frame needs again, such as the measured template; None: nothing is kept.

    BadFrameError, TemplateMismatchError: the frame's fault.  EnvironmentFailedError: no template where one is named, memory,
    no GPU where one is required.
    """
    report = Report(template=template_path.name if template_path else None)
    work = _Work(frame_path, out, template_path, kept, telescope, settings, report)
    out.mkdir(parents=True, exist_ok=True)
    for name, stage in STAGES:
        progress(name)
        start = monotonic()
        figures = stage(work)
        if figures is not None:
            report.stages.append(StageReport(name, monotonic() - start, figures))
            report.figures |= figures
    report.figures["seconds"] = round(sum(stage.seconds for stage in report.stages), 3)
    return report


def _read(work: _Work) -> Figures:
    limits = FrameLimits(work.settings.max_megapixels, work.settings.max_masked_fraction)
    work.frame = read_frame(work.frame_path, limits, overrides(work.settings))
    work.report.night = night_of(work.frame.header)
    work.report.notes += work.frame.notes
    image = work.frame.image
    return {
        "megapixels": image.data.size / 1e6,
        "gain": image.gain,
        "read_noise": image.read_noise,
        "saturation": image.saturation,
        "masked_fraction": float(np.mean(image.mask != 0)),
    }


def _measure(work: _Work) -> Figures:
    assert work.frame is not None
    work.science = found = measure(work.frame, work.settings)
    if not found.sky.model_believed:
        work.report.notes.append(
            f"gain and read noise do not explain the sky's noise of {found.sky.pixel_noise:.2f}: the measured noise is used"
        )
    return {
        "stars": len(found.stars),
        "fwhm_pixels": found.fwhm_pixels,
        "background_level": found.sky.median_level,
        "background_rms": found.sky.median_rms,
        "pixel_noise": found.sky.pixel_noise,
        "pedestal": found.sky.pedestal,
        "cosmic_ray_pixels": found.cosmic_ray_pixels,
    }


def _catalog(work: _Work) -> Figures:
    assert work.science is not None
    products.write_catalog(work.out, work.science.frame, work.science.stars, work.settings)
    return {}


def _template(work: _Work) -> Figures | None:
    assert work.science is not None
    if work.template_path is None:
        work.report.notes.append("no template: not subtracted")
        return None
    try:
        found = load_template(work.template_path, work.settings, work.kept)
    except BadFrameError as error:
        raise EnvironmentFailedError(f"the template {work.template_path.name} cannot be used: {error}") from error
    shape, other = work.science.image.shape, found.image.shape
    if shape != other:
        raise TemplateMismatchError(
            f"the frame has {shape[1]} x {shape[0]} pixels, its template {work.template_path.name} {other[1]} x {other[0]}: "
            f"a template of the frame's size is needed"
        )
    work.template = found
    return {"template_stars": len(found.stars), "template_fwhm_pixels": found.fwhm_pixels}


def _subtract(work: _Work) -> Figures | None:
    if work.template is None:
        return None
    assert work.science is not None
    science, template = work.science, work.template
    settings = SubtractionSettings(threshold=work.settings.transient_threshold, gpu=work.settings.gpu)
    try:
        work.difference = subtract(science.image, template.image, science.stars, template.stars, settings)
    except TemplateMismatchError as error:
        if min(_good(science.stars), _good(template.stars)) >= _PLENTY_OF_STARS:
            raise
        work.report.notes.append(f"not subtracted: {error}")
        return None
    except SubtractionFailedError as error:
        work.report.notes.append(f"not subtracted: {error}")
        return None
    work.report.subtracted = True
    work.report.notes += work.difference.notes
    return {**work.difference.figures, "flux_scale": float(work.difference.kernel_sum)}


def _transients(work: _Work) -> Figures | None:
    if work.difference is None or work.science is None or work.template_path is None:
        return None
    settings = SubtractionSettings(threshold=work.settings.transient_threshold)
    found = detect_sources(work.difference, settings)
    sources = believed(found)
    name = work.template_path.name
    path = work.out / products.TRANSIENTS
    work.transients = products.write_transients(path, work.science.frame, work.difference, sources, name)
    positive = int(np.count_nonzero(work.transients["score"] > 0))
    doubted = len(found) - len(sources)
    return {"transients": len(work.transients), "transients_positive": positive, "detections_doubted": doubted}


def _difference(work: _Work) -> Figures | None:
    if work.difference is None or work.science is None or work.template_path is None:
        return None
    name = work.template_path.name
    products.write_compressed_difference(work.out, work.science.frame, work.difference, name, work.settings)
    return {}


def _stamps(work: _Work) -> Figures | None:
    if work.difference is None or work.science is None or work.transients is None:
        return None
    science = work.science
    count = products.write_transient_stamps(work.out, science.frame, science.image.data, work.difference, work.transients)
    return {"stamps": count}


def _preview(work: _Work) -> Figures:
    assert work.science is not None
    path, image = work.out / products.PREVIEW, work.science.image
    write_preview(path, image.data, work.science.sky.median_rms, work.settings.preview_pixels, work.transients)
    return {}


def _good(stars: NDArray[Any]) -> int:
    return int(np.count_nonzero((stars["flags"] & FLAG_MASKED) == 0))


# A stage that has nothing to do returns None and leaves no trace in the report.  An alert waits for nothing that it does not
# need: transients and stamps come before the larger files.
STAGES: tuple[tuple[str, Callable[[_Work], Figures | None]], ...] = (
    ("read", _read),
    ("measure", _measure),
    ("template", _template),
    ("subtract", _subtract),
    ("transients", _transients),
    ("stamps", _stamps),
    ("difference", _difference),
    ("catalog", _catalog),
    ("preview", _preview),
)
