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
from photometry.background import Background, subtract_background
from photometry.cosmics import mark_cosmic_rays
from photometry.detection import FLAG_COARSE, FLAG_MASKED, FLAG_SATURATED, detect, flag_masked
from photometry.errors import (
    BadFrameError,
    EnvironmentFailedError,
    SubtractionFailedError,
    TemplateMismatchError,
)
from photometry.frame import Frame, FrameLimits, NoiseOverrides, night_of, read_frame
from photometry.image import Image
from photometry.manifest import plain
from photometry.preview import write_preview
from photometry.settings import Settings
from photometry.subtraction import SubtractionSettings, believed, detect_sources, subtract
from photometry.subtraction.difference import Difference

# With so many good stars on both frames and none in common, the template is of another field; with fewer, clouds explain it.
_PLENTY_OF_STARS = 50
# A source is measured well enough for the frame's seeing from this flux over its error.
_SEEING_SNR = 20.0

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
        found: dict[str, Any] = plain({
            "night": self.night,
            "template": self.template,
            "subtracted": self.subtracted,
            "stages": stages,
            "figures": self.figures,
            "notes": self.notes,
        })
        return found


@dataclass(frozen=True)
class Measured:
    """A frame with its sky subtracted, its cosmic rays masked and its sources found."""

    frame: Frame
    image: Image
    sky: Background
    stars: NDArray[Any]
    fwhm_pixels: float
    cosmic_ray_pixels: int


@dataclass
class _Work:
    """What the stages hand on to each other."""

    frame_path: Path
    out: Path
    template_path: Path | None
    settings: Settings
    report: Report
    frame: Frame | None = None
    science: Measured | None = None
    template: Measured | None = None
    difference: Difference | None = None
    transients: NDArray[Any] | None = None


def process(
    frame_path: Path,
    out: Path,
    *,
    template_path: Path | None = None,
    settings: Settings = DEFAULTS,
    progress: Progress = lambda _stage: None,
) -> Report:
    """Write the frame's products into the folder `out`, which is made if need be; `progress` is told each stage's name.

    BadFrameError, TemplateMismatchError: the frame's fault.  EnvironmentFailedError: no template where one is named, memory.
    """
    report = Report(template=template_path.name if template_path else None)
    work = _Work(frame_path, out, template_path, settings, report)
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


def measure(frame: Frame, settings: Settings, *, keep_variance: bool = False) -> Measured:
    """Sky, sources and cosmic rays of a frame; its mask gains the cosmic rays."""
    image, sky = subtract_background(frame.image, settings, keep_variance=keep_variance)
    stars = detect(image, settings)
    fwhm = seeing(stars)
    hit = mark_cosmic_rays(image, stars)
    if hit:
        flag_masked(image.mask, stars)
    return Measured(frame, image, sky, stars, fwhm, hit)


def seeing(stars: NDArray[Any]) -> float:
    """FWHM in pixels of what is most likely a star: the sharper of the bright, clean sources; NaN without any."""
    bad = FLAG_SATURATED | FLAG_MASKED | FLAG_COARSE | 0x3
    with np.errstate(divide="ignore", invalid="ignore"):
        clean = ((stars["flags"] & bad) == 0) & (stars["flux"] > _SEEING_SNR * stars["flux_err"])
    widths = stars["fwhm"][clean]
    if len(widths) < 5:
        widths = stars["fwhm"]
    # Galaxies and blends are broader than stars, cosmic rays and hot pixels sharper, and fewer.
    return float(np.percentile(widths, 35.0)) if len(widths) else float("nan")


def _read(work: _Work) -> Figures:
    limits = FrameLimits(work.settings.max_megapixels, work.settings.max_masked_fraction)
    work.frame = read_frame(work.frame_path, limits, _overrides(work.settings))
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
    coarse = int(np.count_nonzero(found.stars["flags"] & FLAG_COARSE))
    if coarse:
        work.report.notes.append(f"{coarse:,} sources were found with a fallback: crowded or damaged parts of the frame")
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
    limits = FrameLimits(work.settings.max_megapixels, 1.0)
    try:
        frame = read_frame(work.template_path, limits, _overrides(work.settings))
    except BadFrameError as error:
        raise EnvironmentFailedError(f"the template {work.template_path.name} cannot be used: {error}") from error
    shape, other = work.science.image.shape, frame.image.shape
    if shape != other:
        raise TemplateMismatchError(
            f"the frame has {shape[1]} x {shape[0]} pixels, its template {work.template_path.name} {other[1]} x {other[0]}: "
            f"a template of the frame's size is needed"
        )
    work.template = measure(frame, work.settings)
    return {"template_stars": len(work.template.stars), "template_fwhm_pixels": work.template.fwhm_pixels}


def _subtract(work: _Work) -> Figures | None:
    if work.template is None:
        return None
    assert work.science is not None
    science, template = work.science, work.template
    settings = SubtractionSettings(threshold=work.settings.transient_threshold)
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


def _overrides(settings: Settings) -> NoiseOverrides:
    return NoiseOverrides(settings.gain, settings.read_noise, settings.saturation)


def _good(stars: NDArray[Any]) -> int:
    return int(np.count_nonzero((stars["flags"] & (FLAG_MASKED | FLAG_COARSE)) == 0))


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
