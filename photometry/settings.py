"""What an operator may set about the processing of a frame.

`Settings.from_dict` is strict: an unknown key, a wrong type or a value out of range is a `BadInputError` of
one line that names the key, what was found and what is allowed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from photometry.errors import BadInputError

PLANES = ("DIFF", "VAR", "MASK", "SCORE", "PSF")
Gpu = Literal["auto", "require", "off"]
GPU: tuple[Gpu, ...] = get_args(Gpu)

# name -> (type, smallest, largest, may be null); limits are inclusive
_NUMBERS: dict[str, tuple[type, float, float, bool]] = {
    "max_megapixels": (float, 0.001, 10_000.0, False),
    "max_masked_fraction": (float, 0.0, 1.0, False),
    "gain": (float, 1e-4, 1e4, True),
    "read_noise": (float, 0.0, 1e4, True),
    "saturation": (float, 1.0, 1e12, True),
    "background_mesh_pixels": (int, 8, 4096, False),
    "detection_threshold_sigma": (float, 1.0, 1000.0, False),
    "transient_threshold": (float, 3.0, 1000.0, False),
    "preview_pixels": (int, 64, 8192, False),
}
_RADIUS_LIMITS = (0.5, 200.0)
_MOST_RADII = 10


@dataclass(frozen=True)
class Settings:
    """The settings of one frame's processing, with the defaults.

    max_megapixels             a frame that claims more is refused before anything is allocated
    max_masked_fraction        a frame with more unusable pixels is refused
    gain                       electrons per unit; None: the header's
    read_noise                 electrons; None: the header's
    saturation                 in the frame's unit; None: the header's, else found on the frame
    background_mesh_pixels     side of a background mesh
    detection_threshold_sigma  of the frame's own sources, above the sky noise
    aperture_radii_pixels      radii of the circular apertures
    transient_threshold        of |SCORE| on the difference
    difference_planes          which of DIFF, VAR, MASK, SCORE, PSF go into difference.fits
    preview_pixels             longer side of preview.png
    gpu                        auto: subtract on a GPU where one works; require: or not at all; off: on the CPU
    """

    max_megapixels: float = 200.0
    max_masked_fraction: float = 0.5
    gain: float | None = None
    read_noise: float | None = None
    saturation: float | None = None
    background_mesh_pixels: int = 64
    detection_threshold_sigma: float = 5.0
    aperture_radii_pixels: tuple[float, ...] = (3.0, 5.0, 8.0)
    transient_threshold: float = 5.5
    difference_planes: tuple[str, ...] = ("DIFF", "MASK", "PSF")
    preview_pixels: int = 512
    gpu: Gpu = "auto"

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> "Settings":
        """The defaults with what `mapping` says instead.  BadInputError: unknown key, wrong type, out of
        range.
        """
        known = [field.name for field in fields(cls)]
        checked: dict[str, Any] = {}
        for key, value in mapping.items():
            if key in _NUMBERS:
                checked[key] = _number(key, value)
            elif key == "aperture_radii_pixels":
                checked[key] = _radii(key, value)
            elif key == "difference_planes":
                checked[key] = _planes(key, value)
            elif key == "gpu":
                checked[key] = _gpu(key, value)
            else:
                raise BadInputError(f"photometry.{key}: unknown key; known are {', '.join(known)}")
        return cls(**checked)


def _number(key: str, value: Any) -> float | int | None:
    kind, smallest, largest, nullable = _NUMBERS[key]
    allowed = f"{'a whole number' if kind is int else 'a number'} from {smallest:g} to {largest:g}"
    if nullable:
        allowed += ", or null for the header's"
    if value is None and nullable:
        return None
    good_type = isinstance(value, int) or (kind is float and isinstance(value, float))
    if isinstance(value, bool) or not good_type or not smallest <= value <= largest:
        raise BadInputError(f"photometry.{key}: found {value!r}; allowed is {allowed}")
    return int(value) if kind is int else float(value)


def _radii(key: str, value: Any) -> tuple[float, ...]:
    low, high = _RADIUS_LIMITS
    good = isinstance(value, list | tuple) and 1 <= len(value) <= _MOST_RADII
    good = good and all(isinstance(r, int | float) and not isinstance(r, bool) and low <= r <= high for r in value)
    if not good or list(value) != sorted(set(value)):
        raise BadInputError(
            f"photometry.{key}: found {value!r}; allowed are 1 to {_MOST_RADII} rising numbers from {low:g} to {high:g}"
        )
    return tuple(float(r) for r in value)


def _planes(key: str, value: Any) -> tuple[str, ...]:
    good = isinstance(value, list | tuple) and all(isinstance(p, str) and p in PLANES for p in value)
    if not good or "DIFF" not in value or len(set(value)) != len(value):
        raise BadInputError(f"photometry.{key}: found {value!r}; allowed are DIFF and any of {', '.join(PLANES[1:])}")
    return tuple(plane for plane in PLANES if plane in value)


def _gpu(key: str, value: Any) -> Gpu:
    for word in GPU:
        if value == word:
            return word
    raise BadInputError(f"photometry.{key}: found {value!r}; allowed is one of {', '.join(GPU)}")
