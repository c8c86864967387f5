"""From raw adu to electrons, with variance and mask, in the order of the physics backwards.

saturation (raw adu) -> overscan -> non-linearity -> crosstalk        photometry.calibration.rawframe
-> bias -> noise -> dark -> smear -> gain -> flat                     photometry.calibration.stages
-> bleeds (photometry.loops.bleed), cosmic rays, trails               photometry.calibration.blemishes
"""

from photometry.calibration.blemishes import Blemishes, mark_blemishes
from photometry.calibration.engine import Calibrated, calibrate
from photometry.calibration.masters import NO_MASTERS, Master, Masters, load_masters

__all__ = [
    "NO_MASTERS", "Blemishes", "Calibrated", "Master", "Masters", "calibrate", "load_masters", "mark_blemishes",
]  # fmt: skip
