"""The register-tiled convolution against scipy's in float64: all sizes, kinds of vectors, and what lies round the arrays."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from photometry.subtraction import direct

KINDS = {"SSE2": {}, "NEON": {"neon": True}, "AVX2": {"avx": True}, "AVX-512": {"avx512f": True}}


@pytest.fixture(scope="module", params=["host", *KINDS])
def any_code(request):
    """The host's code, and that of each kind of tile, all but the first on a CPU that has no more than SSE2 or NEON."""
    if request.param == "host":
        return direct._code()
    machine = direct._machine("", "")
    return direct._load(machine, direct._compile(machine, KINDS[request.param]))


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "new" / "cache"))
    direct._code.cache_clear()
    yield tmp_path / "new" / "cache"
    direct._code.cache_clear()


def scene(h, w, k, block, seed=1, pad=0):
    rng = np.random.default_rng(seed)
    wide = rng.normal(size=(h + k - 1, w + k - 1 + pad)).astype(np.float32)
    wide[:, w + k - 1 :] = np.nan  # what is not the source's must not be read
    return wide[:, : w + k - 1], rng.normal(size=(-(-w // block), k, k)).astype(np.float32)


def reference(source, kernels, block, shape):
    out, k = np.empty(shape), kernels.shape[-1]
    for b, kernel in enumerate(kernels.astype(float)):
        part = slice(b * block, min(b * block + block, shape[1]))
        out[:, part] = signal.convolve(source[:, part.start : part.stop + k - 1].astype(float), kernel, mode="valid")
    return out


def convolved(source, kernels, block, shape):
    """The result, which is written into a larger array whose other pixels must stay."""
    guarded = np.full((shape[0] + 2, shape[1] + 37), 7.0, np.float32)
    out = guarded[1:-1, 5:-32]
    direct.convolve_rows(source, kernels, block, out)
    result = out.copy()
    out[:] = 7
    assert (guarded == 7).all()
    return result


def assert_convolved(source, kernels, block, shape):
    scale = np.abs(kernels.astype(float)).sum((1, 2)).max() * np.abs(source).max()
    error = convolved(source, kernels, block, shape) - reference(source, kernels, block, shape)
    assert np.abs(error).max() <= 1e-6 * scale


@settings(deadline=None, max_examples=60)
@given(
    h=st.integers(1, 40),
    w=st.integers(1, 150),
    half=st.integers(1, 25),
    block=st.integers(1, 80),
    pad=st.integers(0, 9),
    seed=st.integers(0, 99),
)
def test_any_size_is_what_scipy_gives(any_code, h, w, half, block, pad, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(direct, "_code", lambda: any_code)
        assert_convolved(*scene(h, w, 2 * half + 1, block, seed, pad), block, (h, w))


@pytest.mark.parametrize("k", [*range(3, 52, 2)])
def test_kernels_of_every_size(k):
    assert_convolved(*scene(13, 1500, k, 64), 64, (13, 1500))


@pytest.mark.parametrize("k", [3, 5, 9, 21, 31])
def test_no_tap_is_dropped_or_doubled(k):
    """A single bright pixel gives the kernel itself, exactly, wherever it lies in the tiles."""
    kernel = np.arange(1, k * k + 1, dtype=np.float32).reshape(1, k, k)
    for y, x in [(0, 0), (1, 3), (4, 8), (5, 15), (8, 21)]:
        source = np.zeros((13 + 2 * (k - 1), 50 + 2 * (k - 1)), np.float32)
        source[k - 1 + y, k - 1 + x] = 1
        out = convolved(source, kernel, 100, (12 + k, 49 + k))
        expected = np.zeros_like(out)
        expected[y : y + k, x : x + k] = kernel[0]
        np.testing.assert_array_equal(out, expected)


def test_kernels_may_be_of_any_order_in_memory():
    source, kernels = scene(12, 64, 21, 32)
    turned = np.ascontiguousarray(kernels.transpose(0, 2, 1)).transpose(0, 2, 1)
    np.testing.assert_array_equal(convolved(source, turned, 32, (12, 64)), convolved(source, kernels, 32, (12, 64)))


def test_threads_work_side_by_side():
    source, kernels = scene(96, 700, 21, 64)
    whole, bands = convolved(source, kernels, 64, (96, 700)), np.empty((96, 700), np.float32)

    def band(y):
        direct.convolve_rows(source[y : y + 32], kernels, 64, bands[y : y + 12])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(band, range(0, 96, 12)))
    np.testing.assert_array_equal(bands, whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernels": np.zeros((2, 4, 4), np.float32)}, "odd, square"),
        ({"kernels": np.zeros((2, 5, 3), np.float32)}, "odd, square"),
        ({"kernels": np.zeros((1, 5, 5), np.float32)}, "one a block"),
        ({"kernels": np.zeros((2, 5, 5))}, "float32"),
        ({"kernels": np.zeros((2, 7, 7), np.float32)}, "too small"),
        ({"block": 0}, "blocks of 0"),
        ({"source": np.zeros((14, 44))}, "float32"),
        ({"source": np.zeros((14, 88), np.float32)[:, ::2]}, "neighbours"),
        ({"source": np.zeros((13, 44), np.float32)}, "too small"),
        ({"source": np.zeros((14, 43), np.float32)}, "too small"),
        ({"out": np.zeros((10, 40), np.float32, "F")}, "neighbours"),
        ({"out": np.frombuffer(bytes(1600), np.float32).reshape(10, 40)}, "writable"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    fits = {
        "source": np.zeros((14, 44), np.float32),
        "kernels": np.zeros((2, 5, 5), np.float32),
        "block": 20,
        "out": np.zeros((10, 40), np.float32),
    }
    direct.convolve_rows(**fits)
    with pytest.raises(ValueError, match=message):
        direct.convolve_rows(**fits | change)


def test_code_is_kept_and_a_damaged_file_made_anew(empty_cache, monkeypatch):
    direct.prepare()
    (file,) = empty_cache.iterdir()
    whole = file.read_bytes()
    for damaged in (b"", whole[:-100], whole[:500] + b"?" + whole[501:]):
        file.write_bytes(damaged)
        direct._code.cache_clear()
        assert_convolved(*scene(12, 40, 9, 64), 64, (12, 40))
        assert file.read_bytes() == whole
    monkeypatch.setattr(direct, "_compile", None)  # from here on nothing is compiled
    direct._code.cache_clear()
    assert_convolved(*scene(12, 40, 9, 64), 64, (12, 40))
    assert list(empty_cache.iterdir()) == [file]


def test_without_a_place_for_the_code_it_is_compiled(empty_cache):
    empty_cache.parent.write_bytes(b"a file where a folder should be")
    assert_convolved(*scene(12, 40, 9, 64), 64, (12, 40))


def test_threads_compile_once(empty_cache, monkeypatch):
    compiled, compile_it = [], direct._compile
    monkeypatch.setattr(direct, "_compile", lambda *a: (compiled.append(1), compile_it(*a))[1])
    threads = [threading.Thread(target=direct.prepare) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert compiled == [1]
    assert len(list(empty_cache.iterdir())) == 1
