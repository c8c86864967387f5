"""What can go wrong with a GPU is one type, says what and what to do, never hangs, and leaves the CPU to do the work."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from photometry.errors import EnvironmentFailedError, GpuAbsentError, GpuUnavailableError
from photometry.subtraction.gpu import choose, cubin, device
from photometry.subtraction.gpu.layout import Layout, Sizes
from photometry.subtraction.gpu.lend import lend
from photometry.subtraction.planes import Planes
from tests.photometry.subtraction.gpu.fake_cuda import Error, fake_driver


def swept(gpu, job):
    with ThreadPoolExecutor(2) as threads:
        return choose.sweep(gpu, job, Planes.in_memory(job.target.shape), threads)


@pytest.fixture
def job(make_job):
    return make_job((490, 60), 3)


@pytest.fixture
def assert_told(job, no_device):
    """require: a GpuUnavailableError with these words, in one line; auto: the CPU's result, and the same as a note."""

    def check(words):
        with pytest.raises(GpuUnavailableError, match=words) as caught:
            swept("require", job)
        assert "\n" not in str(caught.value)
        assert isinstance(caught.value, EnvironmentFailedError)
        assert no_device.device is None
        found, on_gpu, note = swept("auto", job)
        assert not on_gpu
        assert note == f"no GPU: {caught.value}: subtracted on the CPU"
        expected, _, _ = swept("off", job)
        np.testing.assert_array_equal(found.planes.data, expected.planes.data)

    return check


def fails(error):
    def call(*_args, **_options):
        raise error

    return call


def test_a_gpu_that_works_is_used_and_there_is_nothing_to_tell(driver, job):
    for gpu in ("auto", "require"):
        assert swept(gpu, job)[1:] == (True, None)
    assert driver.state.done.count("subtract") == 2 * 3


def test_off_touches_no_gpu(driver, job):
    assert swept("off", job)[1:] == (False, None)
    assert not driver.state.done


@pytest.mark.usefixtures("no_device")
def test_without_pycuda_auto_is_silent(monkeypatch, job):
    class Nowhere:
        @staticmethod
        def find_spec(name, *_):
            if name.partition(".")[0] == "pycuda":
                raise ModuleNotFoundError("No module named 'pycuda'", name="pycuda")

    for name in ("pycuda", "pycuda.driver"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Nowhere, *sys.meta_path])
    assert swept("auto", job)[1:] == (False, None)
    with pytest.raises(GpuAbsentError, match=r"pycuda is not installed; install it"):
        swept("require", job)


def test_pycuda_without_a_driver(monkeypatch, assert_told, tmp_path):
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda" / "__init__.py").touch()
    (tmp_path / "pycuda" / "driver.py").write_text('raise ImportError("libcuda.so.1: cannot open shared object file")')
    for name in ("pycuda", "pycuda.driver"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert_told(r"libcuda\.so\.1.*is NVIDIA's driver installed\?")


def test_no_device(use_driver, assert_told):
    driver = use_driver(fake_driver())
    driver.init = fails(Error("cuInit failed: no CUDA-capable device is detected"))
    assert_told("no CUDA-capable device is detected")


def test_a_driver_that_sees_none(use_driver, assert_told):
    driver = use_driver(fake_driver())
    driver.Device.count = staticmethod(lambda: 0)
    assert_told("no device: the driver sees none")


def test_no_compiler_and_nothing_kept(use_driver, assert_told, monkeypatch, tmp_path):
    driver = use_driver(fake_driver())
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(cubin, "NVCC", "/nowhere/nvcc")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert_told("no compiler: nvcc is neither on PATH nor /nowhere/nvcc")
    assert not driver.state.retained  # the context is given back


def test_out_of_device_memory(use_driver, assert_told):
    driver = use_driver(fake_driver(memory_bytes=100_000))
    assert_told("MB for a band: out of memory .*let fewer workers run")
    assert not driver.state.retained
    assert not driver.state.memory
    assert not driver.state.pinned


def test_a_device_that_is_lost_on_the_way(use_driver, assert_told, monkeypatch):
    driver = use_driver(fake_driver())
    state, upload = driver.state, driver.memcpy_htod_async
    uploads = []

    def lost(*words):
        uploads.append(words)
        if len(uploads) % 2 == 0:
            raise Error("cuMemcpyHtoDAsync failed: unspecified launch failure")
        upload(*words)

    monkeypatch.setattr(driver, "memcpy_htod_async", lost)
    assert_told("upload: .*unspecified launch failure; see nvidia-smi")
    assert not state.retained


def test_a_device_that_does_not_answer_is_left_alone(use_driver, assert_told, monkeypatch):
    driver = use_driver(fake_driver())
    driver.state.answers = False
    monkeypatch.setattr(device, "ANSWER_SECONDS", 0.05)
    assert_told(r"the GPU did not answer for 0\.05 s")
    assert driver.state.retained == 1  # asked once, for the whole process; a goodbye might never return


def test_a_lane_of_a_device_that_did_not_answer_is_not_lent(driver, make_job):
    layout = Layout(Sizes.of(make_job((60, 60), 3)))
    with lend() as gpu:
        gpu.lost = True
        with pytest.raises(GpuUnavailableError, match="did not answer on another lane"), gpu.lane(layout):
            pass
    driver.state.retained = 0  # it is left as it is, on purpose


def test_a_child_makes_its_own_context_and_leaves_its_parent_s_alone(driver, job):
    assert swept("require", job)[1]
    parent = driver.state.retained
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with lend():
                status = 0 if driver.state.retained == parent + 1 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert swept("require", job)[1]


def test_a_context_is_let_go_at_the_end_of_the_process():
    words = (
        "from photometry.subtraction.gpu import lend\n"
        "class D:\n    def close(self): print('closed')\n"
        "lend._KEEPER.device = D()\n"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True)
    assert done.stdout == "closed\n"
