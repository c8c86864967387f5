"""Magnitudes of fluxes: a flux that is not positive keeps its flux and has no magnitude."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MAG_PER_LN = float(2.5 / np.log(10))


def magnitudes(flux: Array, flux_err: Array, zero_point: Array | float, zero_point_err: float = 0.0) -> tuple[Array, Array]:
    """(m, error): m = zero_point - 2.5 log10(flux), NaN both where the flux is not positive.

    The error is of the flux and the zero point's added in quadrature; what all stars of a frame share is zero_point_err.
    """
    positive = np.where(flux > 0, flux, np.nan)
    return zero_point - MAG_PER_LN * np.log(positive), np.hypot(MAG_PER_LN * flux_err / positive, zero_point_err)
