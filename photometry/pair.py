"""A science frame and a template, with what the caller knows of them: the difference with its planes, and its sources."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from photometry.errors import TemplateMismatchError
from photometry.facts import difference_cards
from photometry.frame import FrameLimits
from photometry.manifest import plain
from photometry.settings import PLANES, Settings
from photometry.subtraction import SubtractionSettings, believed, detect_sources
from photometry.subtraction.difference import Difference
from photometry.subtraction.engine import subtract_exposures
from photometry.subtraction.files import DifferenceFile
from photometry.subtraction.reading import Given, Opened, open_frame
from photometry.threads import start_threads

DIFFERENCE, SOURCES = "difference.fits", "sources.ecsv"
MORE_CARDS = 100  # than the science frame's own


def subtract_pair(
    science: Given, template: Given, out: Path, settings: Settings, planes: Sequence[str] = PLANES
) -> dict[str, Any]:
    """Write difference.fits with `planes` (DIFF, MASK and PSF always) and, with VAR and SCORE, sources.ecsv; figures.

    BadFrameError, TemplateMismatchError: the input.  SubtractionFailedError: no difference passed its self-check.
    GpuUnavailableError: settings.gpu is `require`, and none works.
    """
    options = SubtractionSettings(threshold=settings.transient_threshold, gpu=settings.gpu)
    limits = FrameLimits(settings.max_megapixels, settings.max_masked_fraction)
    with (
        start_threads() as threads,
        open_frame(science, limits, threads) as mine,
        open_frame(template, limits, threads) as other,
    ):
        a, b = mine.image.shape, other.image.shape
        if a != b:
            raise TemplateMismatchError(
                f"the science frame has {a[1]} x {a[0]} pixels, the template {b[1]} x {b[0]}: give frames of one size"
            )
        file = DifferenceFile(out / DIFFERENCE, a, len(mine.header) + MORE_CARDS, planes)
        difference = subtract_exposures(mine.exposure, other.exposure, file.planes, options, threads)
        figures = {**difference.figures, "flux_scale": difference.kernel_sum}
        if {"VAR", "SCORE"} <= set(planes):
            found = detect_sources(difference, options)
            sources = believed(found)
            figures |= {"sources": len(sources), "detections_doubted": len(found) - len(sources)}
            _write_sources(out / SOURCES, mine, difference, sources, template.path.name)
        file.finish(difference, difference_cards(mine, difference, template.path.name), threads)
    notes = [f"science: {note}" for note in mine.notes] + [f"template: {note}" for note in other.notes]
    notes += difference.notes
    told: dict[str, Any] = plain({"figures": figures, "notes": notes})
    return told


def _write_sources(path: Path, science: Opened, difference: Difference, sources: NDArray[Any], template: str) -> None:
    # astropy's tables take .3 s to load, and who wants no sources need not wait for them
    from photometry.columns import write_ecsv
    from photometry.products import transient_table

    write_ecsv(transient_table(science, difference, sources, template), path)
