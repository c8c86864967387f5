"""Stars fitted together, group by group: flux and place of each, by Gauss-Newton steps with the model's own variance.

    minimise  sum_p (d_p - sum_k F_k P(p - x_k))^2 / V_p,    V = sky + model / gain,    over the pixels p of the stars'
    squares.

V is of the model, never of the data: noise that makes a pixel faint would give it weight, and fluxes too low (Humphrey
et al. 2009, ApJ 693, 822).  It is held while a step is computed, which makes the solution that of sum (d - m) dm / V =
0: unbiased. A star's light beyond its square is what the scene's model says; the caller renews that and fits again.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from photometry.loops.spline import Brush, Spline, blend, brush, draw_stamp
from photometry.loops.starlight import Plane, Scene
from photometry.loops.starwindow import (
    BLENDED,
    NO_FIT,
    NOT_CONVERGED,
    PLACE_HELD,
    Window,
    add_stamp,
    corner,
    look,
    reduced_chi2,
    seen_share,
    why_not_whole,
)

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_STEPS = 25
CLOSE = 5e-3  # of its error: a step that ends the fit
RIDGE = 1e-10  # of a parameter's curvature: two stars at one place share their light
SEEN_SHARE = 0.3  # of the PSF's squares that must be seen for a flux
SHORTEST, LONGEST = 0.5, 2.0  # of a plain step, what a secant may make of it
FREE, HELD, UNSEEN = 0, 1, 2


class Limits(NamedTuple):
    """Pixels: half of a star's square, how far a star may go from where it was found, and in one step."""

    half: int
    away: float
    step: float


class Fits(NamedTuple):
    """Of n stars: stars (n, 3) flux, x, y, from where the fit starts to where it ends; errors (n, 3) of these, chi2 (n,)
    reduced, flags (n,).
    """

    stars: Array
    errors: Array
    chi2: Array
    flags: NDArray[np.int32]


class _Desk(NamedTuple):
    """Scratch for the largest group: each star's coefficients and stamps; one's weights and weighted remainders, in rows as
    wide as the stamps' with 0 behind the square; what is solved.
    """

    work: Plane
    blocks: Plane
    stamps: Plane
    weight: Plane
    rest: Plane
    normal: Array
    right: Array
    last: Array
    taken: Array
    state: Ints


@njit(nogil=True, cache=True, error_model="numpy")
def fit_groups(
    scene: Scene, psf: Spline, limits: Limits, found: Array, sky: Array, members: Ints, starts: Ints, fits: Fits
) -> None:
    """Fit the groups members[starts[g]:starts[g + 1]] of stars; fits: changed in place.

    found (n, 2): x, y where the stars were detected; sky (n,): variance of a blank pixel there.
    """
    most = 1
    for g in range(len(starts) - 1):
        most = max(most, starts[g + 1] - starts[g])
    tools = brush(limits.half, int(np.ceil(limits.away)))
    size, wide = tools.stamp.shape[1:]
    desk = _Desk(
        tools.work,
        np.empty((most, wide, wide), np.float32),
        np.zeros((most, 3, size, wide), np.float32),
        np.zeros((size, wide), np.float32),
        np.zeros((size, wide), np.float32),
        np.empty((3 * most, 3 * most)),
        np.empty(3 * most),
        np.zeros((most, 2)),
        np.zeros((most, 2)),
        np.empty(most, np.int64),
    )
    for g in range(len(starts) - 1):
        _fit_group(scene, psf, limits, found, sky, members[starts[g] : starts[g + 1]], fits, desk)


@njit(nogil=True, cache=True, error_model="numpy")
def _fit_group(
    scene: Scene, psf: Spline, limits: Limits, found: Array, sky: Array, ids: Ints, fits: Fits, desk: _Desk
) -> None:
    window = look(scene, found, ids, limits.half)
    blank = sky[ids].mean()
    for k in range(len(ids)):
        flux, x, y = fits.stars[ids[k]]
        blend(psf, x, y, desk.blocks[k])
        desk.last[k], desk.taken[k] = 0, 0
        _draw(desk, k, fits.stars[ids[k]], found[ids[k]])
        add_stamp(window.target, window, desk.stamps[k, 0], found[ids[k]], flux)
        add_stamp(window.others, window, desk.stamps[k, 0], found[ids[k]], -flux)
        desk.state[k] = FREE if seen_share(window, desk.stamps[k, 0], found[ids[k]]) > SEEN_SHARE else UNSEEN
        if desk.state[k] == UNSEEN:
            fits.stars[ids[k], 0] = 0
    done = False
    for _ in range(MOST_STEPS):
        _weigh(window, desk, found, ids, fits, blank, scene.gain)
        _gather(window, desk, found, ids)
        _hold(desk, len(ids))
        factored = _factor(desk.normal[: 3 * len(ids), : 3 * len(ids)], desk.right[: 3 * len(ids)])
        done = _move(desk, limits, found, ids, fits)
        if done:
            break
        for k in range(len(ids)):
            _draw(desk, k, fits.stars[ids[k]], found[ids[k]])
    _report(window, desk, found, ids, fits, factored, scene)
    for k in range(len(ids)):
        fits.flags[ids[k]] |= 0 if done else NOT_CONVERGED


@njit(nogil=True, cache=True, error_model="numpy")
def _draw(desk: _Desk, k: int, star: Array, found: Array) -> None:
    """The star's stamp and its derivatives, on its square."""
    own = Brush(desk.blocks[k], desk.work, desk.stamps[k])
    draw_stamp(star[1] - round(found[0]), star[2] - round(found[1]), own, True)


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _weigh(window: Window, desk: _Desk, found: Array, ids: Ints, fits: Fits, blank: float, gain: float) -> None:
    """The group's light as it is believed now, and the weights 1 / V that follow."""
    window.own[:] = 0
    for k in range(len(ids)):
        add_stamp(window.own, window, desk.stamps[k, 0], found[ids[k]], fits.stars[ids[k], 0])
    others, own, used, weight = window.others.ravel(), window.own.ravel(), window.used.ravel(), window.weight.ravel()
    sky, photons = np.float32(blank), np.float32(1 / gain)
    for p in range(own.size):
        light = others[p] + own[p]
        weight[p] = used[p] / (sky + (light if light > 0 else np.float32(0)) * photons)


@njit(nogil=True, cache=True, error_model="numpy")
def _gather(window: Window, desk: _Desk, found: Array, ids: Ints) -> None:
    """Normal equations of (dF, F dx, F dy) of each star: regular even for a star without light."""
    for k in range(len(ids)):
        _cut(window, desk, found[ids[k]])
        _of_one(desk.stamps[k], desk.weight, desk.rest, desk.normal[3 * k :, 3 * k :], desk.right[3 * k :])
        for l in range(k):
            block = desk.normal[3 * k : 3 * k + 3, 3 * l : 3 * l + 3]
            _of_two(window, desk.stamps[k], found[ids[k]], desk.stamps[l], found[ids[l]], block)
            desk.normal[3 * l : 3 * l + 3, 3 * k : 3 * k + 3] = block.T


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _cut(window: Window, desk: _Desk, found: Array) -> None:
    """A star's square of the window's weights, and of what is left there times these."""
    size = desk.weight.shape[0]
    top, left = corner(window, size // 2, found)
    for b in range(size):
        weight, rest = desk.weight[b, :size], desk.rest[b, :size]
        given, target = window.weight[top + b, left : left + size], window.target[top + b, left : left + size]
        own = window.own[top + b, left : left + size]
        for a in range(size):
            weight[a] = given[a]
            rest[a] = given[a] * (target[a] - own[a])


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc"})
def _of_one(stamp: Plane, weights: Plane, rest: Plane, normal: Array, right: Array) -> None:
    """A star's own block of the equations, and its right side."""
    size, wide = weights.shape
    count = (size - 1) * wide + size
    w, r = weights.ravel()[:count], rest.ravel()[:count]
    s0, s1, s2 = stamp[0].ravel()[:count], stamp[1].ravel()[:count], stamp[2].ravel()[:count]
    n00 = n10 = n11 = n20 = n21 = n22 = r0 = r1 = r2 = np.float32(0)
    for p in range(count):
        p0, p1, p2 = s0[p], s1[p], s2[p]
        w0, w1, w2 = w[p] * p0, w[p] * p1, w[p] * p2
        n00 += w0 * p0
        n10 += w1 * p0
        n11 += w1 * p1
        n20 += w2 * p0
        n21 += w2 * p1
        n22 += w2 * p2
        r0 += r[p] * p0
        r1 += r[p] * p1
        r2 += r[p] * p2
    normal[0, 0], normal[1, 1], normal[2, 2] = n00, n11, n22
    normal[0, 1] = normal[1, 0] = n10
    normal[0, 2] = normal[2, 0] = n20
    normal[1, 2] = normal[2, 1] = n21
    right[0], right[1], right[2] = r0, r1, r2


@njit(nogil=True, cache=True, error_model="numpy")
def _of_two(window: Window, stamp: Plane, found: Array, other: Plane, beside: Array, block: Array) -> None:
    """The (3, 3) block of two stars: the pixels that their squares share."""
    size = stamp.shape[1]
    (top, left), (up, west) = corner(window, size // 2, found), corner(window, size // 2, beside)
    y0, y1, x0, x1 = max(top, up), min(top, up) + size, max(left, west), min(left, west) + size
    block[:] = 0
    if x0 >= x1:
        return
    for y in range(y0, y1):
        weight = window.weight[y, x0:x1]
        for j in range(3):
            mine = stamp[j, y - top, x0 - left : x1 - left]
            for i in range(3):
                block[j, i] += _product(weight, mine, other[i, y - up, x0 - west : x1 - west])


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc"})
def _product(weight: Plane, mine: Plane, other: Plane) -> np.float32:
    total = np.float32(0)
    for i in range(weight.size):
        total += weight[i] * mine[i] * other[i]
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def _hold(desk: _Desk, count: int) -> None:
    """What is not fitted takes no step: a place that is held, a star that is not seen."""
    n = 3 * count
    for k in range(count):
        first = 3 if desk.state[k] == FREE else 1 if desk.state[k] == HELD else 0
        for j in range(3 * k + first, 3 * k + 3):
            desk.normal[j, :n] = 0
            desk.normal[:n, j] = 0
            desk.normal[j, j] = 1
            desk.right[j] = 0


@njit(nogil=True, cache=True, error_model="numpy")
def _factor(normal: Array, right: Array) -> Array:
    """The lower Cholesky factor of the equations; right: replaced by their solution."""
    n = len(right)
    lower = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1):
            total = normal[i, j] * (1 + RIDGE) if i == j else normal[i, j]
            for m in range(j):
                total -= lower[i, m] * lower[j, m]
            lower[i, j] = np.sqrt(max(total, RIDGE * normal[i, i])) if i == j else total / lower[j, j]
    _substitute(lower, right)
    return lower


@njit(nogil=True, cache=True, error_model="numpy")
def _substitute(lower: Array, right: Array) -> None:
    n = len(right)
    for i in range(n):
        for m in range(i):
            right[i] -= lower[i, m] * right[m]
        right[i] /= lower[i, i]
    for i in range(n - 1, -1, -1):
        for m in range(i + 1, n):
            right[i] -= lower[m, i] * right[m]
        right[i] /= lower[i, i]


@njit(nogil=True, cache=True, error_model="numpy")
def _move(desk: _Desk, limits: Limits, found: Array, ids: Ints, fits: Fits) -> bool:
    """Take the step; whether it was the last."""
    close = True
    for k in range(len(ids)):
        if desk.state[k] == UNSEEN:
            continue
        star, place = fits.stars[ids[k]], found[ids[k]]
        error = 1 / np.sqrt(desk.normal[3 * k, 3 * k])
        star[0] += desk.right[3 * k]
        close &= abs(desk.right[3 * k]) < CLOSE * error
        if desk.state[k] == FREE:
            if star[0] > error:
                close &= _step(desk, limits, k, star, place)
            else:
                desk.state[k] = HELD  # no light that could say where it is
            if desk.state[k] == HELD:
                close = False
                star[1:] = place
    return close


@njit(nogil=True, cache=True, error_model="numpy")
def _step(desk: _Desk, limits: Limits, k: int, star: Array, place: Array) -> bool:
    """Move a star along both axes, by the secant of its last two steps; whether these were small.  One that goes too far
    becomes HELD.
    """
    close = True
    for axis in (0, 1):
        j = 3 * k + 1 + axis
        step = desk.right[j] / star[0]
        close &= abs(step) * star[0] * np.sqrt(desk.normal[j, j]) < CLOSE
        before, taken = desk.last[k, axis], desk.taken[k, axis]
        # Gauss-Newton leaves out the residuals' curvature, which makes a faint star approach its place in equal shares
        longer = taken / (before - step) if before != step and taken != 0 else 1.0
        step_taken = step * min(max(longer, SHORTEST), LONGEST)
        step_taken = min(max(step_taken, -limits.step), limits.step)
        desk.last[k, axis], desk.taken[k, axis] = step, step_taken
        star[1 + axis] += step_taken
        if not abs(star[1 + axis] - place[axis]) <= limits.away:
            desk.state[k] = HELD
    return close


@njit(nogil=True, cache=True, error_model="numpy")
def _report(window: Window, desk: _Desk, found: Array, ids: Ints, fits: Fits, lower: Array, scene: Scene) -> None:
    """Errors from the inverse of the last equations; chi^2 and flags of each star's own square."""
    unit = np.empty(3 * len(ids))
    for k in range(len(ids)):
        i = ids[k]
        for j in range(3):
            unit[:] = 0
            unit[3 * k + j] = 1
            _substitute(lower, unit)
            fits.errors[i, j] = np.sqrt(unit[3 * k + j])
        flux = fits.stars[i, 0]
        fits.flags[i] = why_not_whole(window, desk.stamps.shape[2] // 2, found[i], scene) | (BLENDED if len(ids) > 1 else 0)
        fits.errors[i, 1:] /= flux if desk.state[k] == FREE else np.nan
        fits.chi2[i] = reduced_chi2(window, desk.stamps.shape[2] // 2, found[i])
        if not np.isfinite(flux):  # equations that tell nothing
            desk.state[k] = UNSEEN
        if desk.state[k] == HELD:
            fits.flags[i] |= PLACE_HELD
        elif desk.state[k] == UNSEEN:
            fits.flags[i] |= NO_FIT
            fits.stars[i, 0] = fits.errors[i, 0] = fits.chi2[i] = np.nan
