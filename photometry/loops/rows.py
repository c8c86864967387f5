"""Rows of a rectangle read from a file that has longer ones, without a turn through the interpreter for each."""

from typing import Any

import numpy as np
from numba import njit
from numba.core import types
from numpy.typing import NDArray

_pread: Any = types.ExternalFunction("pread", types.intp(types.int32, types.uintp, types.uintp, types.int64))


@njit(nogil=True, cache=True)
def read_rows(fd: int, place: int, step: int, out: NDArray[np.uint8]) -> int:
    """How many rows of out (rows, bytes) were read whole, from `place` in the file on, `step` bytes from one to the next.

    Fewer than all: an error, a signal, or the file's end; ask again for the rest to learn which.
    """
    size, first = out.shape[1], np.uintp(out.ctypes.data)
    for i in range(out.shape[0]):
        row = first + np.uintp(i * out.strides[0])
        if _pread(np.int32(fd), row, np.uintp(size), place + i * step) != size:
            return i
    return len(out)
