"""Every star of a frame measured in two ways that are tied to one total: by its PSF, and in a circle."""

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photometry.image import Image
from photometry.psf import PsfModel
from photometry.stars.agreement import Agreement, agreement
from photometry.stars.aperture import GrowthCurve, aperture_fluxes, measure_growth
from photometry.stars.fit import fit_stars
from photometry.stars.psf import PsfQuality, measure_psf

PLACED = np.dtype([(name, "f8") for name in ("x", "y", "flux", "x_err", "y_err")])
POOR = 0.1  # of the stars' peaks, that a PSF leaves: from there on centroids are better
APERTURE_CUT = 256  # bit of `flags`: pixels were missing in the circle

MEASURED = np.dtype(
    [(name, "f8") for name in ("x", "y", "x_err", "y_err", "flux", "flux_err", "psf", "psf_err", "circle", "circle_err")]
    + [("chi2", "f4"), ("flags", "i4"), ("group", "i4")]
)


@dataclass(frozen=True)
class Brightness:
    """stars (n,) of MEASURED, one row for each source given: place by the PSF, `flux` as the PSF's unit sum has it, `psf`
    and `circle` total fluxes, NaN where they could not be measured; flags: `photometry.stars.fit.StarFlag`, APERTURE_CUT.

    growth: None with too few bright stars: then `psf` is the PSF model's own sum and `circle` is NaN.
    agreement: of circle and PSF on stars that stand alone.
    """

    stars: NDArray[np.void]
    psf: PsfModel
    quality: PsfQuality
    growth: GrowthCurve | None
    agreement: Agreement | None

    @property
    def tie(self) -> NDArray[np.float64]:
        """(n,): the total over `flux`."""
        x, y = self.stars["x"], self.stars["y"]
        return np.ones(len(x)) if self.growth is None else self.growth.psf_correction(x, y)

    @property
    def has_places(self) -> bool:
        """Whether the PSF is good enough to say where stars are."""
        return self.quality.residual < POOR

    @property
    def clean(self) -> NDArray[np.bool_]:
        """(n,): whole stars, well fitted, that stand alone."""
        stars = self.stars
        return np.asarray((stars["flags"] == 0) & (stars["group"] == 1) & np.isfinite(stars["psf"]))

    def figures(self) -> dict[str, Any]:
        """For the manifest."""
        quality, growth = self.quality, self.growth
        return {
            "psf_stars": quality.stars,
            "psf_chi2": quality.chi2,
            "psf_residual": quality.residual,
            "psf_fwhm_pixels": quality.fwhm,
            "psf_fwhm_range": list(quality.fwhm_range),
            "psf_ellipticity": quality.ellipticity,
            "stars_fitted": int(np.isfinite(self.stars["psf"]).sum()),
            "aperture_radius_pixels": None if growth is None else float(growth.radii[growth.best]),
            "aperture_error": None if growth is None else growth.error,
            "aperture_minus_psf_mag": None if self.agreement is None else self.agreement.offset,
        }


def measure_brightness(image: Image, sources: NDArray[np.void], threads: Executor) -> Brightness:
    """Measure the sources (x, y, flux, ...: `photometry.detection.star_dtype`) of a frame without its sky.

    SubtractionFailedError: no star that a PSF could be measured on.
    """
    room = np.empty(image.shape, np.float32)
    psf, quality = measure_psf(image, sources, threads, room)
    fits = fit_stars(image, psf, sources["x"], sources["y"], threads, room)
    stars = np.zeros(len(sources), MEASURED)
    for name in fits.stars.dtype.names or ():
        stars[name] = fits.stars[name]
    growth = measure_growth(image, psf, fits)
    stars["circle"] = stars["circle_err"] = np.nan
    found = Brightness(stars, psf, quality, growth, None)
    stars["psf"], stars["psf_err"] = stars["flux"] * found.tie, stars["flux_err"] * found.tie
    if growth is None:
        return found
    stars["circle"], stars["circle_err"], cut = aperture_fluxes(image, psf, fits, growth)
    stars["flags"][cut] |= APERTURE_CUT
    alone = stars[found.clean]
    return Brightness(
        stars, psf, quality, growth, agreement(alone["circle"], alone["circle_err"], alone["psf"], alone["psf_err"])
    )


def placed_stars(sources: NDArray[np.void], bright: Brightness | None) -> NDArray[np.void]:
    """(n,) x, y, flux, x_err, y_err: by the PSF where that knows, else the sources' centroids, whose errors are NaN."""
    out = np.zeros(len(sources), PLACED)
    for name in ("x", "y", "flux"):
        out[name] = sources[name]
    out["x_err"] = out["y_err"] = np.nan
    if bright is not None and bright.has_places:
        fitted = np.isfinite(bright.stars["x_err"])
        for name in ("x", "y", "x_err", "y_err"):
            out[name][fitted] = bright.stars[name][fitted]
    return out
