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
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from photometry.acquire import acquire
from photometry.astrometry import load_catalog
from photometry.errors import AstrometryFailedError, SubtractionFailedError
from photometry.frame import FrameLimits
from photometry.image import Image
from photometry.locate import locate, placed, wcs_from
from photometry.manifest import NAME
from photometry.measure import measure
from photometry.psf import PsfModel
from photometry.settings import Settings
from photometry.smooth_map import SmoothMap, facts_of_map, map_of
from photometry.standards import calibrate_magnitudes
from photometry.stars.brightness import MEASURED, measure_brightness, placed_stars
from photometry.stars.magnitudes import MAG_PER_LN
from photometry.telescope import UNKNOWN, Telescope
from photometry.threads import start_threads
from photometry.times import exposure_of
from photometry.zero_point import Expected

_KEPT = 4  # measured templates in the folder; the least recently written go


@dataclass(frozen=True)
class Template:
    """A template's planes without its sky, its stars (`photometry.detection.star_dtype`) and their width.

    measured  a row of `photometry.stars.brightness.MEASURED` for each star, by the PSF `psf`; None: there is no PSF
    header    its cards, with its WCS;  sky  the level that was subtracted;  zero  its zero point's map, None: not known
    """

    image: Image
    stars: NDArray[Any]
    fwhm_pixels: float
    measured: NDArray[Any]
    psf: PsfModel | None
    header: fits.Header
    sky: float
    zero: SmoothMap | None

    @property
    def wcs(self) -> WCS | None:
        """Where it lies on the sky; None: nobody knows."""
        return wcs_from(self.header) if "CTYPE1" in self.header else None

    def expected(self, seconds: float | None) -> Expected:
        """What a frame of the same field would show on as clear a night, exposed for so long."""
        own = exposure_of(self.header).seconds
        if not seconds or not own:
            return Expected(map=self.zero)
        gain = seconds / own
        value = None if self.zero is None else self.zero.middle[0] + MAG_PER_LN * float(np.log(gain))
        return Expected(value, self.zero, self.sky * gain)


def load_template(path: Path, settings: Settings, kept: Path | None, telescope: Telescope = UNKNOWN) -> Template:
    """Read and measure a template, or take it from the folder `kept`.

    BadFrameError: it is no usable frame.  EnvironmentFailedError: it cannot be read.
    """
    place = _place(path, settings, telescope, kept) if kept is not None else None
    if place is not None and (found := _take(place)) is not None:
        return found
    template = _measured(path, settings, telescope, kept)
    if place is not None:
        _keep(place, template)
    return template


def _measured(path: Path, settings: Settings, telescope: Telescope, kept: Path | None) -> Template:
    """As a science frame is, as far as each step succeeds."""
    with start_threads() as threads:
        acquired = acquire(path, telescope, settings, FrameLimits(settings.max_megapixels, 1.0), threads)
        found = measure(acquired.frame, settings, keep_variance=acquired.noise_known)
        try:
            bright = measure_brightness(found.image, found.stars, threads)
        except SubtractionFailedError:
            bright = None
    catalog = load_catalog(telescope.catalog, kept) if telescope.catalog else None
    frame = found.frame
    try:
        solution = locate(acquired, placed_stars(found.stars, bright), None, catalog, ())
        frame = frame if solution is None else placed(frame, solution)
    except AstrometryFailedError:
        frame = placed(frame, None)
    zero = None
    if bright is not None and catalog is not None and frame.wcs is not None:
        found_zero = calibrate_magnitudes(acquired, frame.wcs, bright, catalog, found.sky.median_level)[0].zero
        zero = found_zero.map if np.isfinite(found_zero.value) else None
    measured = np.zeros(0, MEASURED) if bright is None else bright.stars
    psf = None if bright is None else bright.psf
    return Template(found.image, found.stars, found.fwhm_pixels, measured, psf, frame.header, found.sky.median_level, zero)


def _place(path: Path, settings: Settings, telescope: Telescope, kept: Path) -> Path | None:
    """Where it is kept: a name made of all that the measurement depends on; None where the file cannot be looked at."""
    given = [path, telescope.masters and telescope.masters / NAME, telescope.catalog]
    camera = telescope.instrument
    if camera is not None and Path(camera).suffix:
        given.append(Path(camera))
    try:
        seen = [(str(file), *_version(file)) for file in given if file is not None]
    except OSError:
        return None  # reading it says what is wrong
    code = max(file.stat().st_mtime_ns for file in Path(__file__).parent.rglob("*.py"))
    facts = [seen, str(camera), asdict(settings), code, np.__version__]
    return kept / (sha256(json.dumps(facts).encode()).hexdigest()[:32] + ".npz")


def _version(file: Path) -> tuple[int, int, int]:
    about = file.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns


def _take(place: Path) -> Template | None:
    try:
        with np.load(place, allow_pickle=False) as planes:
            about = json.loads(str(planes["about"]))
            header = fits.Header.fromstring(about.pop("header"))
            zero = about.pop("zero")
            image = Image(planes["data"], planes["variance"], planes["mask"], **about.pop("image"))
            u, v = planes["psf_powers"].tolist()
            psf = PsfModel(planes["psf"], tuple(u), tuple(v), image.shape) if u else None
            return Template(
                image, planes["stars"], measured=planes["measured"], psf=psf, header=header, **about,
                zero=None if zero is None else map_of(zero),
            )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _keep(place: Path, template: Template) -> None:
    """Only an economy: where it cannot be kept, the next frame measures it again."""
    image = template.image
    about = {
        "image": {name: getattr(image, name) for name in ("unit", "gain", "read_noise", "saturation")},
        "fwhm_pixels": template.fwhm_pixels,
        "header": template.header.tostring(),
        "sky": template.sky,
        "zero": template.zero and facts_of_map(template.zero),
    }
    psf = template.psf
    planes = np.zeros((0, 0, 0)) if psf is None else psf.planes
    powers = np.zeros((2, 0), int) if psf is None else np.array([psf.powers_u, psf.powers_v])
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _whole(place) as new:
            np.savez(
                new, about=np.array(json.dumps(about)), data=image.data, variance=image.variance,
                mask=image.mask, stars=template.stars, measured=template.measured,
                psf=planes, psf_powers=powers,
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
