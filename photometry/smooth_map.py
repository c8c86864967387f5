"""A quantity that changes slowly over a frame, from robust fits to stars: a polynomial no higher than the stars ask for.

Guarantee: outliers up to a third of the stars do not move it; with few stars it is a constant, with none a NaN.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photometry.psf import polynomial_powers

Array = NDArray[np.float64]

STARS_A_TERM = 6
CLIP_SIGMA = 3.0
ROUNDS = 8
_BETTER = 5.0  # that chi^2 must fall by for each further term, twice what AIC asks
_SIGMA_OF_MAD = 1.4826


@dataclass(frozen=True)
class SmoothMap:
    """value = sum_i coefficients[i] u^a v^b, u, v = 2 (x, y) / (n - 1) - 1, (a, b) = polynomial_powers(order)[i].

    covariance (terms, terms); rms: robust scatter of the stars about it; excess: what of it
    their errors do not explain; used (n,) bool: the stars that were believed; shape: the
    frame's (ny, nx).
    """

    coefficients: Array
    covariance: Array
    order: int
    rms: float
    excess: float
    used: NDArray[np.bool_]
    shape: tuple[int, int]

    def at(self, x: Array, y: Array) -> Array:
        """Values at 0-based pixels."""
        return np.asarray(_design(x, y, self.shape, self.order) @ self.coefficients)

    @property
    def middle(self) -> tuple[float, float]:
        """The mean of the frame and its error."""
        weights = np.array([_mean_power(a) * _mean_power(b) for a, b in polynomial_powers(self.order)])
        return float(weights @ self.coefficients), float(np.sqrt(weights @ self.covariance @ weights))

    @property
    def structure(self) -> float:
        """Root mean square over the frame of what is not its mean, less what its own errors make of it."""
        ny, nx = self.shape
        yy, xx = np.meshgrid(np.linspace(0, ny - 1, 25), np.linspace(0, nx - 1, 25), indexing="ij")
        design = _design(xx.ravel(), yy.ravel(), self.shape, self.order)
        design = design - design.mean(axis=0)
        noise = float(np.einsum("ni,ij,nj->n", design, self.covariance, design).mean())
        return float(np.sqrt(max(((design @ self.coefficients) ** 2).mean() - noise, 0.0)))


def facts_of_map(found: SmoothMap) -> dict[str, Any]:
    """What JSON can hold of a map: where it lies, how well, but not from which stars."""
    return {
        "coefficients": found.coefficients.tolist(), "covariance": found.covariance.tolist(), "order": found.order,
        "rms": found.rms, "excess": found.excess, "shape": list(found.shape),
    }  # fmt: skip


def map_of(facts: dict[str, Any]) -> SmoothMap:
    """The map of these facts.  KeyError, TypeError, ValueError: they are none."""
    coefficients, covariance = (np.asarray(facts[name], float) for name in ("coefficients", "covariance"))
    ny, nx = facts["shape"]
    return SmoothMap(coefficients, covariance, facts["order"], facts["rms"], facts["excess"], np.zeros(0, bool), (ny, nx))


def fit_map(
    x: Array, y: Array, values: Array, errors: Array, shape: tuple[int, int], most: int = 2, extra: Array | None = None
) -> tuple[SmoothMap, Array]:
    """The map of values with standard deviations at pixels x, y, of the order up to `most` that they ask for.

    extra (n,): a further regressor, such as a colour.  Second: its (coefficient, error), NaN without.  A scatter beyond
    the errors counts as an error of each star.
    """
    orders = [o for o in range(most + 1) if not o or len(x) >= STARS_A_TERM * len(polynomial_powers(o))]
    fits = [_fit(x, y, values, errors, shape, order, extra) for order in orders]
    # one noise and one robust loss for all orders: what is far off counts as far off, no more
    noise = np.hypot(errors, min(found.excess for found, _, _ in fits))
    with np.errstate(invalid="ignore"):
        loss = [float(np.minimum(((values - model) / noise) ** 2, CLIP_SIGMA**2).sum()) for _, _, model in fits]
    best = int(np.argmin([total + _BETTER * len(polynomial_powers(o)) for total, o in zip(loss, orders, strict=True)]))
    return fits[best][0], fits[best][1]


def _fit(
    x: Array, y: Array, values: Array, errors: Array, shape: tuple[int, int], order: int, extra: Array | None
) -> tuple[SmoothMap, Array, Array]:
    """Weighted least squares, clipped; the map, the extra's (coefficient, error), and the model of each star."""
    design = _design(x, y, shape, order)
    terms = design.shape[1]
    if extra is not None:
        design = np.column_stack([design, extra])
    n = design.shape[1]
    if len(values) < n:
        nothing = SmoothMap(
            np.full(terms, np.nan), np.full((terms, terms), np.nan), order, np.nan, np.nan, np.zeros(len(x), bool), shape
        )
        return nothing, np.full(2, np.nan), np.full(len(x), np.nan)
    model = np.full(len(values), np.median(values))
    scatter, used = 0.0, np.ones(len(values), bool)
    solved, covariance = np.zeros(n), np.zeros((n, n))
    for _ in range(ROUNDS):
        rest = values - model
        noise = np.hypot(errors, scatter)
        width = max(1.0, _SIGMA_OF_MAD * float(np.median(np.abs(rest / noise))))
        used = np.abs(rest) < CLIP_SIGMA * width * noise
        if used.sum() < n:
            used = np.abs(rest / noise) <= np.partition(np.abs(rest / noise), n - 1)[n - 1]
        weight = used / noise**2
        normal = (design * weight[:, None]).T @ design
        covariance = np.linalg.pinv(normal)
        solved = covariance @ (design.T @ (weight * values))
        model = design @ solved
        rest = (values - model)[used]
        mad = _SIGMA_OF_MAD * float(np.median(np.abs(rest))) * np.sqrt(len(rest) / max(len(rest) - n, 1))
        scatter = float(np.sqrt(max(mad**2 - float(np.median(errors[used])) ** 2, 0.0)))
    rms = _SIGMA_OF_MAD * float(np.median(np.abs((values - model)[used])))
    found = SmoothMap(solved[:terms], covariance[:terms, :terms], order, rms, scatter, used, shape)
    colour = np.array([solved[-1], np.sqrt(covariance[-1, -1])]) if extra is not None else np.full(2, np.nan)
    return found, colour, model


def _design(x: Array, y: Array, shape: tuple[int, int], order: int) -> Array:
    ny, nx = shape
    u, v = 2 * np.asarray(x, float) / max(nx - 1, 1) - 1, 2 * np.asarray(y, float) / max(ny - 1, 1) - 1
    return np.stack([u**a * v**b for a, b in polynomial_powers(order)], axis=-1)


def _mean_power(a: int) -> float:
    """Of u^a over -1 ... 1."""
    return 0.0 if a % 2 else 1 / (a + 1)
