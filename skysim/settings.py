"""What a night is made from."""

from dataclasses import dataclass

SMALLEST_PIXELS = 256


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
