"""A pair with known truth: what changed is found and measured, what did not change is gone, bad pixels stay bad pixels."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from photometry.errors import SubtractionFailedError, TemplateMismatchError
from photometry.mask import BAD_BITS, Bit
from photometry.subtraction import Doubt, believed, detect_sources, forced_flux, subtract

SHAPE = (420, 440)
NEW = [(80.3, 100.7, 6000.0), (330.6, 90.2, 3000.0), (210.0, 350.5, 20000.0), (120.4, 300.9, 2500.0)]


def make_pair(skies, science, template, n=160, shift=(0.0, 0.0), seed=5):
    """(science, template, science stars, template stars) with NEW in the science frame only; template shifted."""
    x, y, flux = skies.field(n, SHAPE, seed, faint=800, margin=40)
    clear = np.ones(n, bool)
    for a, b, _ in NEW:
        clear &= np.hypot(x - a, y - b) > 12
    x, y, flux = x[clear], y[clear], flux[clear]
    new = np.array(NEW).T
    light = skies.render(x, y, flux, SHAPE, science)
    light += skies.render(new[0], new[1], new[2] / science.scale, SHAPE, science)
    first = skies.expose(light, science, 11)
    second = skies.expose(skies.render(x + shift[0], y + shift[1], flux, SHAPE, template), template, 12)
    mine = skies.star_list(np.append(x, new[0]), np.append(y, new[1]), np.append(flux, new[2]))
    return first, second, inside(mine), inside(skies.star_list(x + shift[0], y + shift[1], flux))


def inside(stars):
    ny, nx = SHAPE
    return stars[(stars["x"] > 0) & (stars["x"] < nx - 1) & (stars["y"] > 0) & (stars["y"] < ny - 1)]


def unmatched(sources):
    """Sources that are none of NEW."""
    places = np.array(NEW)[:, :2]
    away = [np.hypot(*(places - (s["x"], s["y"])).T).min() for s in sources]
    return sources[np.array(away) > 3] if len(sources) else sources


def assert_truth(difference, expected=NEW):
    found = believed(detect_sources(difference))
    for x, y, flux in expected:
        distance = np.hypot(found["x"] - x, found["y"] - y)
        nearest = found[np.argmin(distance)]
        assert distance.min() < 0.7
        assert abs(nearest["flux"] - flux) < 4 * nearest["flux_err"] + 0.05 * flux
        assert nearest["score"] > 5.5
        forced, error = forced_flux(difference, x, y)
        assert abs(forced - flux) < 4 * error + 0.05 * flux
    assert len(unmatched(found)) <= 1
    assert difference.figures["score_width"] == pytest.approx(1.0, abs=0.1)


@pytest.fixture(scope="module")
def plain(skies):
    science, template = skies.Exposure(5.0, 0.8, gain=1.5), skies.Exposure(3.5, gain=6.0, sky=200)
    return make_pair(skies, science, template)


@pytest.fixture(scope="module")
def difference(plain):
    return subtract(*plain)


def test_what_changed_is_found_and_measured(difference):
    assert difference.convolved == "template"
    assert not difference.preconvolved
    assert difference.transform.identity
    assert difference.kernel_sum == pytest.approx(0.8, rel=0.02)
    assert_truth(difference)


def test_the_noise_is_what_it_says(difference):
    bad = (difference.planes.mask & int(BAD_BITS)) != 0
    blank = ~bad & (np.abs(difference.template(0, SHAPE[0], 0, SHAPE[1])) < 1)
    z = difference.planes.data[blank] / np.sqrt(difference.planes.variance[blank])
    assert 1.4826 * np.median(np.abs(z)) == pytest.approx(1.0, abs=0.03)
    assert (difference.score[bad] == 0).all()
    assert np.isfinite(difference.planes.data).all()
    assert (difference.planes.variance > 0).all()


def test_a_sharper_science_frame_is_convolved_and_keeps_its_flux_scale(skies):
    science, template = skies.Exposure(3.5, 0.8, gain=1.5), skies.Exposure(5.0, gain=6.0)
    result = subtract(*make_pair(skies, science, template))
    assert result.convolved == "science"
    assert result.kernel_sum == pytest.approx(0.8, rel=0.02)
    assert_truth(result)
    x, y, _ = NEW[2]
    beside = np.median(result.variance[335:366, 195:226])
    assert result.variance[round(y), round(x)] == pytest.approx(beside, rel=0.1)  # what is new is no noise


def test_a_flux_scale_that_changes_over_the_frame_is_followed(skies):
    science, template = skies.Exposure(3.5, 0.8, gain=1.5), skies.Exposure(5.0, gain=6.0)
    first, second, mine, other = make_pair(skies, science, template)
    new = np.array([[40.0, 400.0], [215.0, 215.0]])
    first.data[:] += skies.render(*new, [5e4, 5e4], SHAPE, science)
    slope = (1 + 0.1 * np.linspace(-1, 1, SHAPE[1], dtype=np.float32))[None, :]
    sloping = replace(second, data=second.data * slope, variance=second.variance * slope**2)
    even, uneven = (subtract(first, frame, mine, other) for frame in (second, sloping))
    for x, y in new.T:
        assert forced_flux(uneven, x, y)[0] == pytest.approx(forced_flux(even, x, y)[0], rel=0.02)


def test_equal_or_crossed_psfs_are_broadened_first(skies):
    science, template = skies.Exposure(4.2, axis=1.25), skies.Exposure(4.2, axis=0.8, gain=6.0)
    result = subtract(*make_pair(skies, science, template))
    assert result.preconvolved
    assert result.convolved == "template"
    assert_truth(result)


def test_a_shifted_template_is_resampled_once(skies):
    science, template = skies.Exposure(4.6), skies.Exposure(3.4, gain=6.0)
    result = subtract(*make_pair(skies, science, template, shift=(17.3, -8.6)))
    assert not result.transform.identity
    assert_truth(result)
    source = believed(detect_sources(result))[0]
    assert source["x_tmpl"] == pytest.approx(source["x"] + 17.3, abs=0.2)
    assert source["y_tmpl"] == pytest.approx(source["y"] - 8.6, abs=0.2)
    assert (result.planes.mask[:, -15:] & int(Bit.TEMPLATE_EDGE)).all()


def test_what_faded_is_negative(plain):
    science, template, mine, other = plain
    result = subtract(template, science, other, mine)
    found = believed(detect_sources(result))
    x, y, _ = NEW[2]
    nearest = found[np.argmin(np.hypot(found["x"] - x, found["y"] - y))]
    assert nearest["score"] < -20
    assert nearest["flux"] == pytest.approx(-20000 / 0.8, rel=0.05)


def test_nan_columns_and_holes_stay_where_they_are(plain):
    science, template, mine, other = plain
    data, reference = science.data.copy(), template.data.copy()
    data[:, 200] = np.nan
    reference[150:, 51] = np.nan
    reference[5, 5] = np.inf
    result = subtract(replace(science, data=data), replace(template, data=reference), mine, other)
    mask = result.planes.mask
    assert (mask[:, 200] & int(Bit.BAD)).all()
    assert (mask[150:, 51] & int(Bit.TEMPLATE_BAD)).all()
    assert np.isfinite(result.planes.data).all()
    assert np.isfinite(result.score).all()
    assert ((mask & int(BAD_BITS)) == 0).mean() > 0.9
    assert_truth(result)


@pytest.mark.parametrize("column", [False, True])
def test_saturated_stars_leave_no_rings(skies, column):
    science, template = skies.Exposure(5.0), skies.Exposure(3.5, gain=6.0)
    first, second, mine, other = make_pair(skies, science, template)
    x, y, flux = np.array([250.0, 60.0]), np.array([200.0, 380.0]), np.array([3e6, 1.5e6])
    for image, exposure in ((first, science), (second, template)):
        image.data[:] = np.minimum(image.data + skies.render(x, y, flux, SHAPE, exposure), 30000)
        if column:  # a column that is always full, through a star: one core with it, and no star
            image.data[:, 249] = 30000
        core = ndimage.binary_dilation(image.data >= 29999)
        image.mask[core] |= np.uint16(Bit.SATURATED)
        image.variance[:] += np.maximum(skies.render(x, y, flux, SHAPE, exposure), 0) / image.gain
    result = subtract(first, second, mine, other)
    assert (result.planes.mask[200, 250] & int(Bit.SATURATED)) != 0
    # fifteen pixels is the least half-width of the kernel: there the rings would be
    found = believed(detect_sources(result))
    for a, b in zip(x, y, strict=True):
        assert (np.hypot(unmatched(found)["x"] - a, unmatched(found)["y"] - b) > 40).all()
    assert ((result.planes.mask & int(BAD_BITS)) == 0).mean() > 0.8
    assert (result.planes.mask[360:, 225:275] & int(Bit.HALO) == 0).all()


def test_cosmic_rays_are_seen_and_not_believed(plain):
    science, template, mine, other = plain
    data = science.data.copy()
    hits = [(160, 60), (60, 200), (290, 300), (380, 250)]
    for x, y in hits:
        data[y, x] += 1500
    for k in range(4):
        data[155 + k, 380 + k] += 400
    result = subtract(replace(science, data=data), template, mine, other)
    found = detect_sources(result)
    for x, y in hits:
        nearest = found[np.argmin(np.hypot(found["x"] - x, found["y"] - y))]
        assert np.hypot(nearest["x"] - x, nearest["y"] - y) < 1.5
        assert nearest["flags"] & Doubt.SHARP
    assert_truth(result)


def with_stars(skies, plain, science_stars, template_stars):
    """The plain pair, with more stars (x, y, flux): the difference."""
    science, template, mine, other = plain
    first, second = skies.Exposure(5.0, 0.8), skies.Exposure(3.5)
    data = science.data + skies.render(*zip(*science_stars, strict=True), SHAPE, first)
    reference = template.data + skies.render(*zip(*template_stars, strict=True), SHAPE, second)
    frames = (replace(science, data=data.astype(np.float32)), replace(template, data=reference.astype(np.float32)))
    return subtract(*frames, mine, other)


def test_a_bright_star_that_moved_is_flagged(skies, plain):
    result = with_stars(skies, plain, [(300.0, 200.0, 3e4)], [(300.8, 200.0, 3e4)])
    assert result.figures["stars_moved"] == 1
    assert (result.planes.mask[198:203, 296:305] & int(Bit.HALO)).all()
    found = detect_sources(result)
    assert (np.hypot(found["x"] - 300, found["y"] - 200) > 12).all()


def test_a_faint_star_that_moved_is_doubted(skies, plain):
    result = with_stars(skies, plain, [(300.0, 200.0, 6e3)], [(303.0, 200.0, 6e3)])
    near = [s for s in detect_sources(result) if np.hypot(s["x"] - 300, s["y"] - 200) < 8]
    assert near or result.figures["stars_moved"] == 1
    assert all(s["flags"] & (Doubt.DIPOLE | Doubt.SHAPE | Doubt.SHARP) for s in near)


def test_what_is_new_beside_a_star_that_faded_is_not_taken_for_its_other_half(skies, plain):
    result = with_stars(skies, plain, [(300.0, 200.0, 2e4), (309.0, 200.0, 6e3)], [(300.0, 200.0, 3e4)])
    assert result.figures["stars_moved"] == 0
    found = detect_sources(result)
    for x, sign in ((300.0, -1), (309.0, 1)):
        assert any(np.hypot(s["x"] - x, s["y"] - 200) < 1.5 and s["score"] * sign > 10 for s in found)


def test_frames_that_do_not_belong_together_are_refused(skies, plain):
    science, template, mine, _ = plain
    with pytest.raises(TemplateMismatchError, match="440 x 420"):
        subtract(science, replace(template, data=template.data[:-1], variance=template.variance[:-1]), mine, mine)
    x, y, flux = skies.field(150, SHAPE, 77)
    other = skies.expose(skies.render(x, y, flux, SHAPE, skies.Exposure(3.5)), skies.Exposure(3.5), 3)
    with pytest.raises(TemplateMismatchError, match="no common pattern"):
        subtract(science, other, mine, inside(skies.star_list(x, y, flux)))


def test_a_frame_is_not_subtracted_from_itself(plain):
    science, _, mine, _ = plain
    with pytest.raises(SubtractionFailedError, match="the template is the frame itself"):
        subtract(science, replace(science, data=science.data.copy()), mine, mine)


def test_a_fully_masked_frame_is_refused_with_a_reason(plain):
    science, template, mine, other = plain
    with pytest.raises(SubtractionFailedError, match="star"):
        subtract(replace(science, mask=np.full(SHAPE, Bit.BAD, np.uint16)), template, mine, other)


def test_half_masked_is_still_subtracted(plain):
    science, template, mine, other = plain
    mask = science.mask.copy()
    mask[:, :130] = Bit.BAD
    result = subtract(replace(science, mask=mask), template, mine, other)
    assert_truth(result, [new for new in NEW if new[0] > 140])


@pytest.mark.parametrize("half_height", [30, 2])
def test_noise_on_a_wing_or_a_streak_is_doubted_a_source_on_it_is_not(difference, half_height):
    """What all surroundings, or the row, have too is no source's."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    clear = np.abs(difference.score[80:160, 200:300]) < 3.5
    assert clear.mean() > 0.99
    score = difference.score.copy()
    score += 2.5 * ((np.hypot(x - 250, y - 120) < 30) & (np.abs(y - 120) <= half_height))
    bump = np.exp(-0.5 * ((x - 250) ** 2 + (y - 120) ** 2) / 2.0**2).astype(np.float32)
    for height, raised in ((4.2, True), (9.0, False)):
        raised_there = score + np.float32(height - score[120, 250] + 2.5) * bump
        rows = detect_sources(replace(difference, planes=replace(difference.planes, score=raised_there)))
        row = rows[np.argmin(np.hypot(rows["x"] - 250, rows["y"] - 120))]
        assert bool(row["flags"] & Doubt.RAISED) == raised


def test_a_star_beyond_the_border_is_no_source(skies):
    """A shifted template has its light, the science frame's grid does not."""
    science, template = skies.Exposure(5.5), skies.Exposure(3.5, gain=6.0)
    first, second, mine, other = make_pair(skies, science, template, shift=(20.0, 10.0))
    x, y, flux = np.array([-2.5, -2.5, 441.5]), np.array([150.0, 300.0, 270.0]), np.full(3, 3e5)
    for image, exposure, (a, b) in ((first, science, (0, 0)), (second, template, (20, 10))):
        light = skies.render(x + a, y + b, flux, SHAPE, exposure)
        image.data[:] += light
        image.variance[:] += light / image.gain
    found = detect_sources(subtract(first, second, mine, other))
    for a, b in zip(x, y, strict=True):
        assert (np.hypot(found["x"] - a, found["y"] - b) > 20).all()
