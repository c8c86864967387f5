"""The stages of one frame, in the order of `STAGES`: each takes what those before it found and adds its own.

A stage that has nothing to do returns None and leaves no trace in the report.  What cannot be done and is gone on without is
flagged or noted there; what is raised ends the frame.
"""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photometry import products, verdict
from photometry.acquire import Acquired, acquire
from photometry.astrometry import Catalog, Known, load_catalog
from photometry.astrometry.blind import indexes_of
from photometry.detection import FLAG_MASKED
from photometry.errors import (
    AstrometryFailedError,
    BadFrameError,
    EnvironmentFailedError,
    SubtractionFailedError,
    TemplateMismatchError,
)
from photometry.frame import Frame, FrameLimits
from photometry.locate import locate, placed
from photometry.measure import Measured, measure
from photometry.preview import write_preview
from photometry.registration import register
from photometry.report import Figures, Report
from photometry.settings import Settings
from photometry.standards import Calibration, calibrate_magnitudes
from photometry.stars.brightness import Brightness, measure_brightness, placed_stars
from photometry.stars.sums import compare
from photometry.subtraction import SubtractionSettings, believed, detect_sources, subtract
from photometry.subtraction.difference import Difference
from photometry.telescope import Telescope
from photometry.template import Template, load_template
from photometry.verdict import Verdict
from photometry.zero_point import NOTHING_KNOWN

# With so many good stars on both frames and none in common, the template is of another field; with fewer, clouds explain it.
_PLENTY_OF_STARS = 50


@dataclass
class Work:
    """What the stages hand on to each other."""

    path: Path
    out: Path
    template_path: Path | None
    kept: Path | None
    telescope: Telescope
    settings: Settings
    threads: Executor
    report: Report
    acquired: Acquired = field(init=False)
    science: Measured = field(init=False)
    template: Template | None = None
    catalog: Catalog | None = None
    bright: Brightness | None = None
    calibration: Calibration | None = None
    difference: Difference | None = None
    transients: NDArray[Any] | None = None
    sums: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    @property
    def frame(self) -> Frame:
        """Of the read frame: without its sky once that is known, and with the WCS that is believed."""
        return self.acquired.frame

    def set_frame(self, frame: Frame) -> None:
        """The same frame, further on; what it was before is let go of."""
        self.acquired = replace(self.acquired, frame=frame)

    def flag(self, found: Verdict) -> None:
        """Flag the frame with each word, and note why."""
        for word, why in found:
            self.report.flag(word, why)


def _read(work: Work) -> Figures:
    limits = FrameLimits(work.settings.max_megapixels, work.settings.max_masked_fraction)
    work.acquired = found = acquire(work.path, work.telescope, work.settings, limits, work.threads)
    work.report.night = found.exposure.night
    work.report.notes += found.frame.notes
    if found.calibrated and not found.figures["calibration"]:
        work.report.flag("uncalibrated", "no masters: calibrated by the overscan and the instrument's file alone")
    image = found.frame.image
    return {
        "megapixels": image.data.size / 1e6,
        "gain": image.gain,
        "read_noise": image.read_noise,
        "saturation": image.saturation,
        "masked_fraction": float(np.mean(image.mask != 0)),
        **found.figures,
    }


def _find(work: Work) -> Figures:
    work.science = found = measure(work.acquired.frame, work.settings, keep_variance=work.acquired.noise_known)
    work.set_frame(found.frame)
    hits = found.cosmic_ray_pixels + work.acquired.figures.get("cosmic_ray_pixels", 0)
    if not (found.sky.model_believed or work.acquired.noise_known):
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
        "cosmic_ray_pixels": hits,
    }


def _photometry(work: Work) -> Figures:
    try:
        work.bright = measure_brightness(work.science.image, work.science.stars, work.threads)
    except SubtractionFailedError as error:
        work.report.flag("no_psf", f"no PSF photometry: {error}")
    work.flag(verdict.of_stars(len(work.science.stars), work.bright))
    if work.bright is None and work.acquired.figures.get("stars_trailed"):
        work.report.flag(
            "trailed", f"the stars are trailed: {work.acquired.figures['elongation']:.1f} times longer than wide"
        )
    return {} if work.bright is None else work.bright.figures()


def _template(work: Work) -> Figures | None:
    if work.template_path is None:
        work.report.notes.append("no template: not subtracted")
        return None
    try:
        found = load_template(work.template_path, work.settings, work.kept, work.telescope)
    except BadFrameError as error:
        raise EnvironmentFailedError(f"the template {work.template_path.name} cannot be used: {error}") from error
    shape, other = work.science.image.shape, found.image.shape
    if shape != other:
        raise TemplateMismatchError(
            f"the frame has {shape[1]} x {shape[0]} pixels, its template {work.template_path.name} {other[1]} x {other[0]}: "
            f"a template of the frame's size is needed"
        )
    work.template = found
    if not {"trailed", "out_of_focus"} & set(work.report.flags):
        work.flag(verdict.of_width(work.science.fwhm_pixels, found.fwhm_pixels))
    return {"template_stars": len(found.stars), "template_fwhm_pixels": found.fwhm_pixels}


def _astrometry(work: Work) -> Figures | None:
    stars = placed_stars(work.science.stars, work.bright)
    if work.telescope.catalog is not None:
        work.catalog = load_catalog(work.telescope.catalog, work.kept)
    indexes = indexes_of(work.telescope.catalog) if work.telescope.catalog else ()
    try:
        solution = locate(work.acquired, stars, _known(work), work.catalog, indexes)
    except AstrometryFailedError as error:
        work.report.flag("no_astrometry", f"no sky coordinates: {error}")
        work.set_frame(placed(work.frame, None))
        return {}
    if solution is None:
        if work.frame.wcs is None:
            why = "no sky coordinates: neither a WCS in the header, nor a catalog, nor a template with one"
            work.report.flag("no_astrometry", why)
        return None
    work.set_frame(placed(work.frame, solution))
    return {
        "astrometry": solution.rung,
        "astrometry_stars": solution.stars,
        "astrometry_rms_arcsec": solution.rms_arcsec,
        "astrometry_log_odds": solution.log_odds,
        "scale_arcsec": solution.scale_arcsec,
    }


def _zero_point(work: Work) -> Figures | None:
    if work.catalog is None or work.bright is None or work.frame.wcs is None:
        return None
    seconds = work.acquired.exposure.seconds
    expected = work.template.expected(seconds) if work.template else NOTHING_KNOWN
    level = work.science.sky.median_level
    found, note = calibrate_magnitudes(work.acquired, work.frame.wcs, work.bright, work.catalog, level, expected)
    work.report.notes += [note] if note else []
    work.flag(verdict.of_zero_point(found.zero))
    work.calibration = found
    return found.figures()


def _difference(work: Work) -> Figures | None:
    if work.template is None:
        return None
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


def _transients(work: Work) -> Figures | None:
    if work.difference is None or work.template_path is None:
        return None
    settings = SubtractionSettings(threshold=work.settings.transient_threshold)
    found = detect_sources(work.difference, settings)
    sources = believed(found)
    name = work.template_path.name
    path = work.out / products.TRANSIENTS
    work.transients = products.write_transients(path, work.frame, work.difference, sources, name)
    positive = int(np.count_nonzero(work.transients["score"] > 0))
    doubted = len(found) - len(sources)
    return {"transients": len(work.transients), "transients_positive": positive, "detections_doubted": doubted}


def _stamps(work: Work) -> Figures | None:
    if work.difference is None or work.transients is None:
        return None
    count = products.write_transient_stamps(work.out, work.frame, work.frame.image.data, work.difference, work.transients)
    return {"stamps": count}


def _write_difference(work: Work) -> Figures | None:
    if work.difference is None or work.template_path is None:
        return None
    products.write_compressed_difference(work.out, work.frame, work.difference, work.template_path.name, work.settings)
    return {}


def _sums(work: Work) -> Figures | None:
    """The third photometry, by the template and the difference, and whether all three agree."""
    if work.difference is None or work.bright is None or work.template is None or work.template.psf is None:
        return None
    flux, error, found = compare(work.bright, work.template.measured, work.template.psf, work.difference, work.threads)
    work.sums = flux, error
    if "disagreement" not in work.report.flags:
        work.flag(verdict.of_agreement(found))
    return {f"{name} mag": pair.offset for name, pair in found.pairs.items()}


def _catalog(work: Work) -> Figures:
    products.write_catalog(work.out, work.frame, work.science.stars, work.bright, work.sums, work.calibration, work.settings)
    return {}


def _preview(work: Work) -> Figures:
    path, image = work.out / products.PREVIEW, work.science.image
    write_preview(path, image.data, work.science.sky.median_rms, work.settings.preview_pixels, work.transients)
    return {}


def _known(work: Work) -> Known | None:
    """What the template says of the sky."""
    if work.template is None or work.template.wcs is None:
        return None
    try:
        way = register(work.science.stars, work.template.stars, work.science.image.shape, work.template.image.shape)
    except TemplateMismatchError:
        return None  # the catalog may still know the field; the subtraction says what is wrong
    return Known(work.template.wcs, work.template.stars, way)


def _good(stars: NDArray[Any]) -> int:
    return int(np.count_nonzero((stars["flags"] & FLAG_MASKED) == 0))


# An alert waits for nothing that it does not need: transients and stamps come before the larger files.
STAGES: tuple[tuple[str, Callable[[Work], Figures | None]], ...] = (
    ("read", _read),
    ("measure", _find),
    ("photometry", _photometry),
    ("template", _template),
    ("astrometry", _astrometry),
    ("zero_point", _zero_point),
    ("subtract", _difference),
    ("transients", _transients),
    ("stamps", _stamps),
    ("difference", _write_difference),
    ("sums", _sums),
    ("catalog", _catalog),
    ("preview", _preview),
)
