"""A device that is not there: the engine's own host side over the shim of kernels.cu."""

import shutil
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from photometry.subtraction.gpu import lend
from photometry.subtraction.plate import Mesh, Plate
from photometry.subtraction.raw import Raw
from photometry.subtraction.solve import Kernel
from photometry.subtraction.sweep import Job
from tests.photometry.subtraction.gpu.fake_cuda import fake_driver, write_nvcc

POWERS = [(0, 0), (1, 0), (0, 1), (1, 1)]


@pytest.fixture(scope="session")
def nvcc(tmp_path_factory):
    """A folder with an `nvcc`, and one that keeps what it compiled."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ here, which builds kernels.cu for the CPU")
    return SimpleNamespace(path=write_nvcc(tmp_path_factory.mktemp("bin")), cache=tmp_path_factory.mktemp("cubins"))


@pytest.fixture
def no_device():
    """No device is open, and none stays open."""
    assert lend._KEEPER.device is None
    before = {name: sys.modules.get(name) for name in ("pycuda", "pycuda.driver")}
    yield lend._KEEPER
    lend._KEEPER.close()
    lend._KEEPER.silence = None
    for name, module in before.items():  # what a test made to be found is not found by the next
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module


@pytest.fixture
def use_driver(monkeypatch, request, nvcc):
    """Put a driver in the place of pycuda.driver; the cache of code is shared among the tests that ask for no other."""
    request.getfixturevalue("no_device")
    monkeypatch.setenv("PATH", str(nvcc.path), prepend=":")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(nvcc.cache))

    def use(driver):
        package = ModuleType("pycuda")
        package.driver = driver
        monkeypatch.setitem(sys.modules, "pycuda", package)
        monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
        return driver

    return use


@pytest.fixture
def driver(use_driver):
    """The fake one; at the end everything is given back."""
    driver = use_driver(fake_driver())
    yield driver
    lend._KEEPER.close()
    assert not driver.state.memory
    assert not driver.state.pinned
    assert not driver.state.retained


def light(shape, rng):
    """Stars, some of them bright, on and beyond the frame."""
    (ny, nx), stars = shape, shape[0] // 4
    y, x = np.mgrid[:ny, :nx]
    out = np.zeros(shape)
    places = rng.uniform(-5, nx + 5, stars), rng.uniform(-5, ny + 5, stars), rng.exponential(3e3, stars)
    for a, b, flux in zip(*places, strict=True):
        out += flux * np.exp(-0.5 * ((x - a) ** 2 + (y - b) ** 2) / 1.6**2)
    return out


def plate(stars, rng, gain):
    """Stars on noise, with holes, a saturated column, a dark patch, a sky and a noise that change over the frame."""
    ny, nx = stars.shape
    pixels = stars + rng.normal(500, 8, stars.shape)
    pixels[rng.integers(0, ny, 9), rng.integers(0, nx, 9)] = np.nan
    pixels[ny // 3 : ny // 3 + 9, nx // 2] = 6e4
    pixels[ny // 2 : ny // 2 + 6, : nx // 4] -= 700  # darker than its noise explains: the variance has a floor
    cells = max(ny // 64, 1), max(nx // 64, 1)
    sky, noise = (Mesh(rng.uniform(*limits, cells).astype(np.float32), 64) for limits in ((495, 505), (50, 90)))
    return Plate(Raw(pixels.astype(np.float32), gain, 5.0, 5e4), sky, noise, None)


@pytest.fixture(scope="session")
def make_job():
    """A subtraction of random frames; reach: the kernel's half-width, wide: that of the target's own kernel or None."""

    def make(shape, reach=15, wide=None, *, science_convolved=False, seed=1):
        rng = np.random.default_rng(seed)
        k = 2 * reach + 1
        axis = np.arange(-reach, reach + 1)
        gauss = np.exp(-0.5 * ((axis[:, None] + 0.4) ** 2 + (axis[None, :] - 0.7) ** 2) / 2.0**2)
        planes = np.stack([gauss / gauss.sum() * 1.3, *(rng.normal(0, 1, (3, k, k)) * gauss * 3e-3)])
        sky = [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]
        kernel = Kernel(planes, POWERS, rng.normal(0, 5, 6), sky, 1.0, 9, 0, 1)
        broad = None
        if wide is not None:
            line = np.exp(-0.5 * (np.arange(-wide, wide + 1) / (wide / 4)) ** 2)
            broad = (np.outer(line, line) / line.sum() ** 2).astype(np.float32)
        stars = light(shape, rng)
        target, source = plate(1.3 * stars, rng, 1.5), plate(stars, rng, 6.0)
        return Job(target, source, kernel, broad, (4, 6), science_convolved)

    return make
