"""What may be set about a subtraction."""

from dataclasses import dataclass

from photometry.settings import Gpu


@dataclass(frozen=True)
class SubtractionSettings:
    """kernel_half         least half-width of the matching kernel, pixels; PSFs that differ much take a larger one
    max_kernel_order    highest order of the kernel's polynomial over the frame; fewer stars take a lower one
    background_order    order of the sky that is left between the frames
    threshold           |SCORE| from which a peak is a detection
    gpu                 where the second pass is done; see `photometry.subtraction.gpu.choose`
    """

    kernel_half: int = 15
    max_kernel_order: int = 3
    background_order: int = 2
    threshold: float = 5.5
    gpu: Gpu = "auto"
