"""What nights, frames, calibrations and pairs are made from.  A number out of range is a ValueError of one line."""

from collections.abc import Mapping
from dataclasses import dataclass

SMALLEST_PIXELS = 256
_SEEDS = (0, 2**63)

Limits = Mapping[str, tuple[float, float]]  # name -> (smallest, largest), inclusive


def _require_within(settings: object, limits: Limits) -> None:
    for name, (low, high) in limits.items():
        value = getattr(settings, name)
        if value is not None and not low <= value <= high:
            raise ValueError(f"{name} is {value:g}; allowed is {low:g} to {high:g}")


@dataclass(frozen=True)
class NightSettings:
    """What a night is made from.  Frames are square."""

    frames: int = 12
    size_pixels: int = 2048
    cadence_seconds: float = 1_800.0
    seed: int = 1

    def __post_init__(self) -> None:
        if self.frames < 1 or self.size_pixels < SMALLEST_PIXELS or self.cadence_seconds <= 0 or self.seed < 0:
            raise ValueError(
                f"a night needs frames >= 1, size >= {SMALLEST_PIXELS}, cadence > 0 and seed >= 0, not "
                f"frames={self.frames} size={self.size_pixels} cadence={self.cadence_seconds:g} seed={self.seed}"
            )


_FRAME_LIMITS: Limits = {
    "ra_deg": (0.0, 360.0), "dec_deg": (-90.0, 90.0), "rotation_degrees": (-360.0, 360.0),
    "distortion_pixels": (-100.0, 100.0), "seconds": (0.1, 3_600.0), "seed": _SEEDS, "number": (0, 100_000),
    "camera": _SEEDS, "fwhm_pixels": (1.5, 20.0), "defocus_pixels": (0.0, 60.0), "trail_pixels": (0.0, 300.0),
    "cloud_mag": (0.0, 10.0), "patchy_mag": (0.0, 5.0), "sky_mag": (5.0, 25.0), "sky_gradient": (-1.0, 1.0),
    "satellites": (0, 100),
}  # fmt: skip


@dataclass(frozen=True)
class FrameSettings:
    """What one raw frame of a field on the sky is made from.

    ra_deg, dec_deg    where the telescope is told to look, ICRS
    rotation_degrees   position angle of the detector's +y, north through east;  mirrored: east is to the right of north
    distortion_pixels  of the optics in the corners
    filter             as the instrument's headers spell it
    seed               of the sky and of all that happens in a series;  number: in the series, as which the telescope drifts
    camera             seed of what all frames of a camera share
    defocus_pixels     diameter of an unfocused star;  trail_pixels: length of each star where the telescope did not follow
    cloud_mag          extinction everywhere;  patchy_mag: rms of patches
    sky_mag            mag / arcsec^2, None: dark;  sky_gradient: relative change over the frame
    """

    ra_deg: float
    dec_deg: float
    rotation_degrees: float = 0.0
    mirrored: bool = False
    distortion_pixels: float = 3.0
    seconds: float = 60.0
    filter: str = "i"
    seed: int = 1
    number: int = 0
    camera: int = 1
    fwhm_pixels: float = 3.0
    defocus_pixels: float = 0.0
    trail_pixels: float = 0.0
    cloud_mag: float = 0.0
    patchy_mag: float = 0.0
    sky_mag: float | None = None
    sky_gradient: float = 0.02
    satellites: int = 0

    def __post_init__(self) -> None:
        _require_within(self, _FRAME_LIMITS)


_CALIBRATION_LIMITS: Limits = {
    "camera": _SEEDS, "biases": (0, 1_000), "darks": (0, 1_000), "flats": (0, 1_000), "dark_seconds": (0.1, 3_600.0),
}  # fmt: skip


@dataclass(frozen=True)
class CalibrationSettings:
    """How many calibration frames of each kind; `filter` of the flats."""

    camera: int = 1
    biases: int = 5
    darks: int = 3
    flats: int = 5
    dark_seconds: float = 60.0
    filter: str = "i"

    def __post_init__(self) -> None:
        _require_within(self, _CALIBRATION_LIMITS)


_PAIR_LIMITS: Limits = {
    "size_pixels": (SMALLEST_PIXELS, 16_384), "seed": _SEEDS, "transients": (1, 100_000),
    "pixels_per_star": (100, 1e6), "fwhm_pixels": (2.0, 15.0), "template_fwhm_pixels": (2.0, 15.0), "scale": (0.05, 20.0),
    "misregistration_pixels": (0.0, 5.0),
    "dx_pixels": (-200.0, 200.0), "dy_pixels": (-200.0, 200.0), "rotation_degrees": (-180.0, 180.0),
}  # fmt: skip


@dataclass(frozen=True)
class PairSettings:
    """What a science frame and its template are made from.  Frames are square.

    transients              None: one for each 50,000 pixels, 200 at least
    scale                   science / template flux, in adu
    misregistration_pixels  amplitude of a smooth shift of the science frame's sources
    dx_pixels, dy_pixels, rotation_degrees  how the template's sources are shifted, and turned about the centre
    """

    size_pixels: int = 1024
    seed: int = 1
    transients: int | None = None
    pixels_per_star: float = 2_500.0
    fwhm_pixels: float = 5.0
    template_fwhm_pixels: float = 3.5
    scale: float = 0.85
    misregistration_pixels: float = 0.1
    dx_pixels: float = 0.0
    dy_pixels: float = 0.0
    rotation_degrees: float = 0.0

    def __post_init__(self) -> None:
        _require_within(self, _PAIR_LIMITS)
