"""The GPU's sweep, with its own host side and kernels.cu on the CPU, against the CPU's."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from photometry.errors import BadFrameError, GpuUnavailableError
from photometry.subtraction import sweep as cpu
from photometry.subtraction.gpu import bands, device, layout
from photometry.subtraction.gpu.lend import lend
from photometry.subtraction.planes import Planes

ALLOWED_SIGMA = 1e-3

pytestmark = pytest.mark.usefixtures("driver")


@pytest.fixture(scope="module")
def threads():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def planes_of(shape, *, whole):
    """Where nothing has been written."""
    data, variance = (np.full(shape, np.nan, np.float32) for _ in range(2))
    return Planes(data, variance if whole else None, np.zeros(shape, np.uint16), None)


def both(job, threads, *, whole=True):
    """The GPU's, the CPU's."""
    mine, theirs = (planes_of(job.target.shape, whole=whole) for _ in range(2))
    with lend() as gpu:
        return bands.sweep(job, mine, threads, gpu), cpu.sweep(job, theirs, threads)


def assert_same(a, b):
    """Within ALLOWED_SIGMA of a pixel; light and variances to rounding; not one bit of the mask differs."""
    sigma = np.sqrt(
        cpu.doubled(cpu.doubled(b.variance, 0, b.light.shape[0], 0, b.light.shape[1]), 0, b.shape[0], 0, b.shape[1])
    )
    assert np.abs((a.planes.data - b.planes.data) / sigma).max() <= ALLOWED_SIGMA
    assert np.abs((a.light - b.light) / sigma[::2, ::2]).max() <= ALLOWED_SIGMA
    np.testing.assert_allclose(a.variance, b.variance, rtol=1e-4)
    np.testing.assert_allclose(a.through, b.through, rtol=1e-4)
    np.testing.assert_array_equal(a.planes.mask, b.planes.mask)
    np.testing.assert_array_equal(a.bright, b.bright)
    assert (a.planes.mask != 0).any()
    if b.planes.variance is not None:
        np.testing.assert_allclose(a.planes.variance, b.planes.variance, rtol=1e-4)


@pytest.mark.parametrize(
    ("shape", "reach", "wide", "science_convolved"),
    [
        ((250, 97), 15, None, False),  # 16 x 24 pixels a kernel; a second band of ten rows
        ((250, 97), 15, None, True),
        ((241, 83), 4, 7, False),  # the last band is a single row; k is 1 more than a multiple of 4
        ((241, 83), 4, None, True),
        ((60, 128), 7, 10, False),
        ((31, 33), 3, None, False),
        ((31, 33), 3, None, True),
        ((483, 66), 5, 6, False),
    ],
)
def test_is_the_cpu_s(make_job, threads, shape, reach, wide, science_convolved):
    assert_same(*both(make_job(shape, reach, wide, science_convolved=science_convolved), threads))


@pytest.mark.parametrize("side", [32, 64])
def test_with_the_kernel_blocks_of_large_frames(make_job, threads, monkeypatch, side):
    for module in (cpu, layout):
        monkeypatch.setattr(module, "block_side", lambda _shape: side)
    assert_same(*both(make_job((135, 203), 15, 9), threads))


def test_the_largest_kernel_has_more_shared_memory_than_is_usual(make_job, threads, monkeypatch):
    for module in (cpu, layout):
        monkeypatch.setattr(module, "block_side", lambda _shape: 64)
    job = make_job((64, 131), 25)
    launches = layout.Layout(layout.Sizes.of(job)).launches(job, 0, 64, whole=True)
    assert max(launch.shared_bytes for launch in launches) > 48 << 10
    assert_same(*both(job, threads))


@pytest.mark.parametrize("block", [(128, 30), (20, 30), (64, 65), (64, 25)])
def test_blocks_that_no_block_of_threads_can_take_are_refused(make_job, monkeypatch, block):
    monkeypatch.setattr(layout, "block_side", lambda _shape: block[0])
    monkeypatch.setattr(layout, "BLOCK_ROWS", {block[0]: block[1]})
    job = make_job((60, 60), 3)
    with pytest.raises(ValueError, match="no block of threads"):
        list(layout.Layout(layout.Sizes.of(job)).launches(job, 0, 60, whole=True))


def test_bright_stars_are_as_exact_in_sigma(make_job, threads):
    job = make_job((90, 90), 15)
    for frame in (job.target, job.source):
        frame.raw.pixels[40:43, 30:33] = 4.9e4
    assert_same(*both(job, threads))


def test_the_variance_of_every_pixel_is_made_only_where_it_is_wanted(make_job, threads):
    mine, theirs = both(make_job((60, 60), 3), threads, whole=False)
    assert mine.planes.variance is None
    assert_same(mine, theirs)


def test_a_device_serves_frames_of_any_size_one_after_the_other(driver, make_job, threads):
    for shape, reach in (((60, 60), 3), ((40, 90), 5), ((60, 60), 3)):
        assert_same(*both(make_job(shape, reach), threads))
    assert driver.state.retained == 1


def test_more_threads_than_lanes_wait_for_one(driver, make_job, monkeypatch):
    monkeypatch.setattr(device, "LANES", 2)
    monkeypatch.setattr(bands, "ROWS", 24)
    monkeypatch.setattr(cpu, "ROWS", 24)
    with ThreadPoolExecutor(6) as pool:
        assert_same(*both(make_job((200, 50), 3), pool))
    assert len(driver.state.memory) <= 2


def test_when_one_band_fails_none_works_on(make_job, threads, monkeypatch):
    ended, prepare = [], bands.prepare

    def first_fails_second_is_slow(job, sizes, y0, y1):
        if y0 == 0:
            raise GpuUnavailableError("lost")
        time.sleep(0.3)
        ended.append(y0)
        return prepare(job, sizes, y0, y1)

    monkeypatch.setattr(bands, "prepare", first_fails_second_is_slow)
    job = make_job((1200, 60), 3)
    with pytest.raises(GpuUnavailableError, match="lost"), lend() as gpu:
        bands.sweep(job, planes_of(job.target.shape, whole=False), threads, gpu)
    assert cpu.ROWS in ended
    assert 4 * cpu.ROWS not in ended


def test_a_frame_s_own_fault_stays_its_own(make_job, threads):
    job = make_job((300, 60), 3)

    class CutOff:
        shape, dtype = job.source.raw.pixels.shape, np.dtype(np.float32)

        def __getitem__(self, key):
            if key[0].stop > 200:
                raise BadFrameError("cut off while it was read")
            return job.source.raw.pixels[key]

    broken = replace(job, source=replace(job.source, raw=replace(job.source.raw, pixels=CutOff())))
    with pytest.raises(BadFrameError, match="cut off"), lend() as gpu:
        bands.sweep(broken, planes_of(job.target.shape, whole=False), threads, gpu)
    assert_same(*both(job, threads))  # the device goes on
