"""Direct convolution by register tiles, float32: close to the multiply-add peak of a core on any CPU.

Guarantees: all k^2 products of each pixel are summed, in float32; nothing outside the arrays is read or written; other
threads of Python run meanwhile, and none is started.  ValueError where shapes do not fit each other.

The loops are LLVM code (`tile_ir`), compiled for the host by llvmlite alone, because the import and the first use of numba
take .7 s.  What was compiled is kept by `code_cache`.
"""

import ctypes
import threading
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import llvmlite
import llvmlite.binding as llvm
import numpy as np
from numpy.typing import NDArray

from photometry import code_cache

FloatArray = NDArray[np.float32]

ROWS = 6  # of a tile

_LOCK = threading.Lock()


class _Code(NamedTuple):
    """The functions of `tile_ir.band_module` by the rows of their tiles, and the engine that owns their code."""

    bands: dict[int, Callable[..., None]]
    engine: llvm.ExecutionEngine


def _cache_file(host: str) -> Path:
    """Where the code for a host is kept."""
    source = Path(__file__).with_name("tile_ir.py").read_bytes()
    made_from = f"{llvmlite.__version__} {llvm.llvm_version_info} {host} {ROWS}".encode() + source
    return code_cache.place_of("direct", ".o", made_from)


def _machine(cpu: str, flags: str) -> llvm.TargetMachine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(cpu=cpu, features=flags, opt=3)


def _compile(machine: llvm.TargetMachine, features: Mapping[str, bool]) -> bytes:
    """Object code for a CPU with these features."""
    from photometry.subtraction.tile_ir import Target, band_module  # .06 s, not needed where the code is kept

    module = llvm.parse_assembly(str(band_module(Target.of(features), ROWS)))
    module.verify()
    return bytes(machine.emit_object(module))


def _load(machine: llvm.TargetMachine, code: bytes) -> _Code:
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_ssize_t] * 9)
    return _Code({rows: kind(engine.get_function_address(f"band_{rows}")) for rows in (1, ROWS)}, engine)


@cache
def _code() -> _Code:
    """The code for the host."""
    features = llvm.get_host_cpu_features()
    cpu, flags = llvm.get_host_cpu_name(), features.flatten()
    machine = _machine(cpu, flags)
    file = _cache_file(f"{machine.triple} {cpu} {flags}")
    code = code_cache.read(file)
    if code is None:
        code = _compile(machine, features)
        code_cache.write(file, code)
    return _load(machine, code)


def prepare() -> None:
    """Makes ready, once a process, what the first convolution would wait for: in a thread while frames are read, say."""
    with _LOCK:
        _code()


def convolve_rows(source: FloatArray, kernels: FloatArray, block: int, out: FloatArray) -> None:
    """A band of rows: out[y, x] = sum over i, j of K[i, j] source[y + k - 1 - i, x + k - 1 - j], K = kernels[x // block].

    source (h + k - 1, w + k - 1) float32: the band and k // 2 pixels round it.  kernels (blocks, k, k) float32, k odd: one
    for each `block` columns, blocks >= w / block; not turned, as scipy's convolve takes them.  out (h, w) float32 is written
    and must not overlap the source.  Rows of source and out may lie farther apart in memory than they are long.
    Fastest with h a multiple of ROWS and block one of 16 (AVX2) or 64 (AVX-512); slow with k = 3, h < ROWS or block < 16.
    """
    (h, w), (blocks, k, across) = out.shape, kernels.shape
    if k != across or k % 2 == 0 or block < 1 or blocks * block < w:
        raise ValueError(
            f"{blocks} kernels of {k} x {across} for {w} columns in blocks of {block}: odd, square, one a block"
        )
    if source.shape[0] < h + k - 1 or source.shape[1] < w + k - 1:
        raise ValueError(f"a source of {source.shape} is too small for {h} x {w} and a kernel of {k} x {k}")
    for array in (source, out):
        if array.dtype != np.float32 or array.strides[1] != 4 or array.strides[0] % 4:
            raise ValueError("arrays must be float32, and neighbours along a row neighbours in memory")
    if kernels.dtype != np.float32 or not out.flags.writeable:
        raise ValueError("kernels must be float32, and out writable")
    # the taps that a row of the source needs for the rows of a tile are then neighbours; 2 % of the time at 21 x 21
    columns = np.ascontiguousarray(kernels.transpose(0, 2, 1))
    prepare()
    band = _code().bands[ROWS if h >= ROWS and k >= ROWS - 1 else 1]
    steps = source.strides[0] // 4, out.strides[0] // 4
    band(source.ctypes.data, steps[0], columns.ctypes.data, k, block, out.ctypes.data, steps[1], h, w)
