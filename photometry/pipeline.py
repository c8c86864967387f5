"""One frame in, products out: the stages of `photometry.stages`, one after the other.

Guarantee: `process` writes every product except the manifest, or raises a `PhotometryError`; what it could not do and went
on without is in the report's flags and notes.  Whatever it raises, the folder `out` is to be discarded.
"""

from pathlib import Path
from time import monotonic

from photometry.report import Progress, Report, StageReport
from photometry.settings import Settings
from photometry.stages import STAGES, Work
from photometry.telescope import UNKNOWN, Telescope
from photometry.threads import start_threads

DEFAULTS = Settings()


def process(
    frame_path: Path,
    out: Path,
    *,
    telescope: Telescope = UNKNOWN,
    template_path: Path | None = None,
    kept: Path | None = None,
    settings: Settings = DEFAULTS,
    progress: Progress = lambda _stage: None,
) -> Report:
    """Write the frame's products into the folder `out`, which is made if need be; `progress` is told each stage's name.

    `kept` is a folder for what the next frame needs again, such as the measured template; None: nothing is kept.

    BadFrameError, TemplateMismatchError: the frame's fault.  EnvironmentFailedError: no template, masters or catalog where
    one is named, memory, no GPU where one is required.  BadInputError: an instrument or catalog that is none.
    """
    report = Report(template=template_path.name if template_path else None)
    out.mkdir(parents=True, exist_ok=True)
    with start_threads() as threads:
        work = Work(frame_path, out, template_path, kept, telescope, settings, threads, report)
        for name, stage in STAGES:
            progress(name)
            start = monotonic()
            figures = stage(work)
            if figures is not None:
                report.stages.append(StageReport(name, monotonic() - start, figures))
                report.figures |= figures
    report.figures["seconds"] = round(sum(stage.seconds for stage in report.stages), 3)
    return report
