"""A science frame and its template as a first reduction leaves them, with all that a difference can be judged by.

Places of the scene are the template's pixels before any offset.  A source of the scene at (x, y) falls on the science pixel
`to_science(x, y)`, a smooth misregistration, and on the template pixel `to_template(x, y)`, turned about the centre and
shifted.  Nothing is resampled, and a galaxy is a fixed cloud of point sources: each frame's PSF holds everywhere, exactly.
Fluxes are adu of their frame; science = scale * template for all that does not vary.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skysim.camera import add_cosmic_rays
from skysim.optics import FloatArray, Pointing, Psf, draw, stamp
from skysim.seeds import Purpose, stream
from skysim.settings import PairSettings
from skysim.sky import Points, galaxy
from skysim.truth import difference_snr, own_noise

SATURATION_ADU = 65_535.0
BAD_COLUMN, SATURATED, COSMIC_RAY = 1, 2, 4  # bits of the masks
SCIENCE_PSF = Psf(5.0, 0.03, -0.02, (0.05, -0.04, 0.04), 0.04)
TEMPLATE_PSF = Psf(3.5, 0.01, 0.01, (-0.02, 0.03, 0.02), -0.015)
SKY_GRADIENT = 0.15
WING_ADU = 0.02  # no star is drawn out to where it is fainter than this in a pixel
COSMIC_RAYS_PER_MEGAPIXEL = 40.0
VARIABLE_FRACTION = 0.005
HOST_FRACTION = 0.3
SNR_RANGE = (3.5, 60.0)  # of the transients
PIXELS_PER_GALAXY, GALAXY_POINTS = 25_000, 150
PIXELS_PER_TRANSIENT, FEWEST_TRANSIENTS = 50_000, 200
COLUMNS_PER_BAD_COLUMN, FEWEST_BAD_COLUMNS = 256, 2
APART_PIXELS, FROM_EDGE_PIXELS = 22.0, 25.0  # transients from each other, and from the edges
_MARGIN_PIXELS = 15.0
_STAMP_HALF_PIXELS = 32
_FLUX_STEPS = 4


@dataclass(frozen=True)
class Noise:
    """What a frame's noise follows from: electrons / adu, electrons, adu."""

    gain: float
    read_noise: float
    sky: float


SCIENCE_NOISE, TEMPLATE_NOISE = Noise(1.5, 6.0, 400.0), Noise(6.0, 3.0, 200.0)


@dataclass(frozen=True)
class Side:
    """One frame of the pair, planes (ny, nx): `light` is of sources alone, without noise; `variance` the true one."""

    adu: NDArray[np.float32]
    mask: NDArray[np.uint8]
    variance: NDArray[np.float32]
    light: NDArray[np.float32]
    psf: Psf
    noise: Noise


@dataclass(frozen=True)
class Listed:
    """Rows of the truth, at science pixels; host: index of a galaxy or -1; varies: the relative change of a star."""

    x: FloatArray
    y: FloatArray
    flux_science: FloatArray
    flux_template: FloatArray
    snr: FloatArray
    host: NDArray[np.int64]
    varies: FloatArray


@dataclass(frozen=True)
class Pair:
    """A science frame, its template, and what is on them."""

    science: Side
    template: Side
    stars: Listed
    galaxies: Listed
    transients: Listed


def to_science(x: FloatArray, y: FloatArray, settings: PairSettings) -> tuple[FloatArray, FloatArray]:
    """Scene -> science pixels: a smooth misregistration."""
    n, a = settings.size_pixels, settings.misregistration_pixels
    u, v = 2 * x / (n - 1) - 1, 2 * y / (n - 1) - 1
    return x + a * (0.6 * u + 0.4 * u * v), y + a * (0.7 * v * v - 0.5 * u)


def to_template(x: FloatArray, y: FloatArray, settings: PairSettings) -> tuple[FloatArray, FloatArray]:
    """Scene -> template pixels."""
    turned = Pointing(settings.dx_pixels, settings.dy_pixels, settings.rotation_degrees)
    return turned.to_frame(x, y, (settings.size_pixels, settings.size_pixels))


def make_pair(settings: PairSettings) -> Pair:
    """The pair that these settings mean; the same each time."""
    rng = stream(settings.seed, Purpose.PAIR)
    shape = (settings.size_pixels, settings.size_pixels)
    stars, galaxies, clouds = _scene(settings, rng)
    varies = np.where(rng.uniform(0, 1, stars.x.size) < VARIABLE_FRACTION, rng.uniform(0.1, 0.5, stars.x.size), 0.0)
    varies *= rng.choice([-1, 1], stars.x.size)
    widths = settings.fwhm_pixels, settings.template_fwhm_pixels
    psfs = replace(SCIENCE_PSF, fwhm_pixels=widths[0]), replace(TEMPLATE_PSF, fwhm_pixels=widths[1])
    science, template = np.zeros(shape), np.zeros(shape)
    for points, change, wing in ((stars, varies, WING_ADU), (clouds, 0.0, WING_ADU / GALAXY_POINTS)):
        draw(science, *to_science(points.x, points.y, settings), points.rate * settings.scale * (1 + change), psfs[0], wing)
        draw(template, *to_template(points.x, points.y, settings), points.rate, psfs[1], wing)
    skies = _sky(shape, SCIENCE_NOISE.sky, 0.4, 0.3), _sky(shape, TEMPLATE_NOISE.sky, -0.1, 0.08)
    x, y, hosts = _places(settings, galaxies, clouds, rng)
    variances = [_variance(light + sky, noise) for light, sky, noise in
                 zip((science, template), skies, (SCIENCE_NOISE, TEMPLATE_NOISE), strict=True)]  # fmt: skip
    transients = _transients(x, y, hosts, settings, psfs, variances, rng)
    draw(science, transients.x, transients.y, transients.flux_science, psfs[0], WING_ADU)
    return Pair(
        _side(science, skies[0], psfs[0], SCIENCE_NOISE, rng, cosmic_rays=COSMIC_RAYS_PER_MEGAPIXEL, bad_columns=1.0),
        _side(template, skies[1], psfs[1], TEMPLATE_NOISE, rng, cosmic_rays=0.0, bad_columns=0.5),
        _listed(stars, settings, varies),
        _listed(galaxies, settings, np.zeros(galaxies.x.size)),
        transients,
    )


def _scene(settings: PairSettings, rng: np.random.Generator) -> tuple[Points, Points, Points]:
    """Stars, N(>F) ~ F^-0.55, galaxies, N(>F) ~ F^-0.9, and the galaxies as points; all that either frame may see."""
    n = settings.size_pixels
    corners = np.array([0.0, n - 1.0, 0.0, n - 1.0]), np.array([0.0, 0.0, n - 1.0, n - 1.0])
    back = replace(settings, dx_pixels=0.0, dy_pixels=0.0, rotation_degrees=-settings.rotation_degrees)
    seen = to_template(corners[0] - settings.dx_pixels, corners[1] - settings.dy_pixels, back)
    margin = _MARGIN_PIXELS + max(0.0, *(max(float(-axis.min()), float(axis.max()) - n) for axis in seen))
    area = (n + 2 * margin) ** 2
    count = int(area / settings.pixels_per_star)
    x, y = rng.uniform(-margin, n + margin, (2, count))
    stars = Points(x, y, np.minimum(100.0 * rng.uniform(0, 1, count) ** (-1 / 0.55), 2e7))
    count = max(1, int(area / PIXELS_PER_GALAXY))
    x, y = rng.uniform(-margin, n + margin, (2, count))
    galaxies = Points(x, y, np.minimum(1_500.0 * rng.uniform(0, 1, count) ** (-1 / 0.9), 3e5))
    parts = []
    for x, y, flux in zip(galaxies.x, galaxies.y, galaxies.rate, strict=True):
        length, flattening, angle = rng.uniform((1.5, 0.3, 0.0), (5.0, 1.0, math.pi))
        parts.append(galaxy(x, y, flux, length, flattening, angle, GALAXY_POINTS, rng))
    clouds = Points(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("x", "y", "rate")))
    return stars, galaxies, clouds


def _sky(shape: tuple[int, int], level: float, across: float, up: float) -> FloatArray:
    v, u = (np.linspace(-1, 1, n) for n in shape)
    return level * (1 + SKY_GRADIENT * (across * u[None, :] + up * v[:, None]))


def _variance(expected: FloatArray, noise: Noise) -> FloatArray:
    """adu^2."""
    return expected / noise.gain + (noise.read_noise / noise.gain) ** 2


def _places(
    settings: PairSettings, galaxies: Points, clouds: Points, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """Scene x, y and host (or -1) of the transients: some on a galaxy's light, all with room."""
    n = settings.size_pixels
    wanted = settings.transients or max(FEWEST_TRANSIENTS, n * n // PIXELS_PER_TRANSIENT)
    hosts = rng.permutation(galaxies.x.size)[: int(HOST_FRACTION * wanted)]
    on = hosts * GALAXY_POINTS + rng.integers(0, GALAXY_POINTS, hosts.size)
    free = rng.uniform(0, n, (2, 50 * wanted))
    x, y = np.concatenate([clouds.x[on], free[0]]), np.concatenate([clouds.y[on], free[1]])
    host = np.concatenate([hosts, np.full(free.shape[1], -1)])
    taken: set[tuple[int, int]] = set()
    chosen = [i for i in range(x.size) if _take(x[i], y[i], n, taken)][:wanted]
    return x[chosen], y[chosen], host[chosen]


def _take(x: float, y: float, n: int, taken: set[tuple[int, int]]) -> bool:
    """Whether there is room for one more; then it is taken."""
    cell = int(x // APART_PIXELS), int(y // APART_PIXELS)
    inside = all(FROM_EDGE_PIXELS < at < n - 1 - FROM_EDGE_PIXELS for at in (x, y))
    if not inside or any((cell[0] + i, cell[1] + j) in taken for i in (-1, 0, 1) for j in (-1, 0, 1)):
        return False
    taken.add(cell)
    return True


def _transients(
    x: FloatArray, y: FloatArray, host: NDArray[np.int64], settings: PairSettings, psfs: tuple[Psf, Psf],
    variances: list[FloatArray], rng: np.random.Generator,
) -> Listed:  # fmt: skip
    """Transients so bright that the best difference would show them at a S/N drawn evenly in its logarithm."""
    snr = np.exp(rng.uniform(math.log(SNR_RANGE[0]), math.log(SNR_RANGE[1]), x.size))
    at, template_at = to_science(x, y, settings), to_template(x, y, settings)
    flux = np.array([
        _flux(snr[i], (at[0][i], at[1][i]), (template_at[0][i], template_at[1][i]), settings.scale, psfs, variances)
        for i in range(x.size)
    ])  # fmt: skip
    none = np.zeros(x.size)
    return Listed(*at, flux, none, snr, host, none)


def _flux(
    snr: float, at: tuple[float, float], template_at: tuple[float, float], scale: float, psfs: tuple[Psf, Psf],
    variances: list[FloatArray],
) -> float:  # fmt: skip
    """The flux (adu) that has this S/N, its own photons included: a fixed point."""
    shape = (variances[0].shape[0], variances[0].shape[1])
    stamps = [stamp(psf, *place, shape, _STAMP_HALF_PIXELS) for psf, place in zip(psfs, (at, template_at), strict=True)]
    science, template = (_around(variance, place) for variance, place in zip(variances, (at, template_at), strict=True))
    flux = 0.0
    for _ in range(_FLUX_STEPS):
        own = own_noise(stamps[0], flux) / SCIENCE_NOISE.gain
        flux = snr / difference_snr(1.0, stamps[0], stamps[1], science + own, template, scale)
    return flux


def _around(variance: FloatArray, place: tuple[float, float]) -> float:
    """Mean of the 5 x 5 pixels round a place, or of the nearest that are on the frame."""
    col, row = (min(max(round(at), 2), n - 3) for at, n in zip(place, variance.shape[::-1], strict=True))
    return float(variance[row - 2 : row + 3, col - 2 : col + 3].mean())


def _side(
    light: FloatArray, sky: FloatArray, psf: Psf, noise: Noise, rng: np.random.Generator, cosmic_rays: float,
    bad_columns: float,
) -> Side:  # fmt: skip
    """One frame from its light; cosmic rays per megapixel, bad columns relative to the science frame's."""
    mask = np.zeros(light.shape, np.uint8)
    charge = rng.poisson((light + sky) * noise.gain) + noise.read_noise * rng.standard_normal(light.shape)
    rays = np.zeros(light.shape)
    add_cosmic_rays(rays, int(cosmic_rays * light.size / 1e6), rng)
    adu = ((charge + rays) / noise.gain).astype(np.float32)
    mask[rays > 0] |= COSMIC_RAY
    mask[adu >= 0.9 * SATURATION_ADU] |= SATURATED
    ny, nx = light.shape
    for _ in range(max(1, int(bad_columns * max(FEWEST_BAD_COLUMNS, nx // COLUMNS_PER_BAD_COLUMN)))):
        x, width, y = rng.integers(0, nx), rng.integers(1, 3), rng.integers(0, ny // 2)
        adu[y:, x : x + width] = rng.choice([0.0, SATURATION_ADU])
        mask[y:, x : x + width] |= BAD_COLUMN
    np.clip(np.rint(adu, out=adu), 0, SATURATION_ADU, out=adu)
    return Side(adu, mask, _variance(light + sky, noise).astype(np.float32), light.astype(np.float32), psf, noise)


def _listed(points: Points, settings: PairSettings, varies: FloatArray) -> Listed:
    x, y = to_science(points.x, points.y, settings)
    flux = points.rate * settings.scale * (1 + varies)
    return Listed(x, y, flux, points.rate, np.zeros(x.size), np.full(x.size, -1), varies)
