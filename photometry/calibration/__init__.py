"""From raw adu to electrons, with variance and mask, in the order of the physics backwards.

saturation (raw adu) -> overscan -> non-linearity -> crosstalk        photometry.calibration.rawframe
-> bias -> noise -> dark -> smear -> gain -> flat                     photometry.calibration.stages
-> bleeds (photometry.loops.bleed), cosmic rays, trails               photometry.calibration.defects
"""

from photometry.calibration.engine import Calibrated, calibrate
from photometry.calibration.masters import NO_MASTERS, Master, Masters, load_masters

__all__ = ["NO_MASTERS", "Calibrated", "Master", "Masters", "calibrate", "load_masters"]
