"""A template as the subtraction needs it: without its sky, its defects masked, its stars listed.

It is the same for every frame of a field, so it is measured once and kept, by all that it depends on: the file, the
settings and the code.  What is kept can be lost or damaged: then the template is measured again.
"""

import json
import secrets
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photometry.frame import FrameLimits, read_frame
from photometry.image import Image
from photometry.measure import measure, overrides
from photometry.settings import Settings

_KEPT = 4  # measured templates in the folder; the least recently written go


@dataclass(frozen=True)
class Template:
    """A template's planes without its sky, its stars (`photometry.detection.star_dtype`) and their width."""

    image: Image
    stars: NDArray[Any]
    fwhm_pixels: float


def load_template(path: Path, settings: Settings, kept: Path | None) -> Template:
    """Read and measure a template, or take it from the folder `kept`.

    BadFrameError: it is no usable frame.  EnvironmentFailedError: it cannot be read.
    """
    place = _place(path, settings, kept) if kept is not None else None
    if place is not None and (found := _take(place)) is not None:
        return found
    frame = read_frame(path, FrameLimits(settings.max_megapixels, 1.0), overrides(settings))
    measured = measure(frame, settings)
    template = Template(measured.image, measured.stars, measured.fwhm_pixels)
    if place is not None:
        _keep(place, template)
    return template


def _place(path: Path, settings: Settings, kept: Path) -> Path | None:
    """Where it is kept: a name made of all that the measurement depends on; None where the file cannot be looked at."""
    try:
        about = path.stat()
    except OSError:
        return None  # reading it says what is wrong
    code = max(file.stat().st_mtime_ns for file in Path(__file__).parent.glob("*.py"))
    facts = [str(path), about.st_ino, about.st_size, about.st_mtime_ns, asdict(settings), code, np.__version__]
    return kept / (sha256(json.dumps(facts).encode()).hexdigest()[:32] + ".npz")


def _take(place: Path) -> Template | None:
    try:
        with np.load(place, allow_pickle=False) as planes:
            about = json.loads(str(planes["about"]))
            fwhm = about.pop("fwhm_pixels")
            image = Image(planes["data"], planes["variance"], planes["mask"], **about)
            return Template(image, planes["stars"], fwhm)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _keep(place: Path, template: Template) -> None:
    """Only an economy: where it cannot be kept, the next frame measures it again."""
    image = template.image
    about = {
        "unit": image.unit,
        "gain": image.gain,
        "read_noise": image.read_noise,
        "saturation": image.saturation,
        "fwhm_pixels": template.fwhm_pixels,
    }
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _whole(place) as new:
            np.savez(
                new, about=np.array(json.dumps(about)), data=image.data, variance=image.variance,
                mask=image.mask, stars=template.stars,
            )  # fmt: skip
        for old in sorted(place.parent.glob("*.npz"), key=lambda file: file.stat().st_mtime_ns)[:-_KEPT]:
            old.unlink(missing_ok=True)
    except OSError:
        return


@contextmanager
def _whole(place: Path) -> Iterator[Path]:
    """A file beside `place` that takes its name when it is whole."""
    new = place.with_name(f".{secrets.token_hex(8)}.npz")
    try:
        yield new
        new.replace(place)
    finally:
        new.unlink(missing_ok=True)
