"""A plane of pixels in a file, read and written piece by piece, as an array is indexed: [rows, columns].

Nothing is mapped: a file that is cut off meanwhile or a full disk is an error with a name, not a signal.  Threads may use
one plane side by side.
"""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photometry.errors import BadFrameError
from photometry.loops.rows import read_rows


class FilePlane:
    """shape (ny, nx); dtype as in the file.  The file stays the caller's, who closes it.

    Reading gives new arrays of that dtype; BadFrameError where the file has become shorter.  Writing takes values of any
    dtype; OSError as the system says.
    """

    def __init__(self, fd: int, offset: int, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype = shape, dtype
        self._fd, self._offset = fd, offset

    def __getitem__(self, key: Any) -> Any:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        if not isinstance(rows, slice):
            return self[rows : rows + 1, columns : columns + 1][0, 0]
        y0, y1, _ = rows.indices(self.shape[0])
        x0, x1, _ = columns.indices(self.shape[1])
        out = np.empty((max(y1 - y0, 0), max(x1 - x0, 0)), self.dtype)
        if out.shape[1] == self.shape[1]:
            self._read(out, y0, 0)
        elif out.size:
            step = self.shape[1] * self.dtype.itemsize
            read = read_rows(self._fd, self._place(y0, x0), step, out.view(np.uint8))
            for i in range(read, len(out)):
                self._read(out[i], y0 + i, x0)
        return out

    def __setitem__(self, key: Any, values: NDArray[Any]) -> None:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        y0, y1, _ = rows.indices(self.shape[0])
        x0, x1, _ = columns.indices(self.shape[1])
        part = np.ascontiguousarray(values, self.dtype).reshape(y1 - y0, x1 - x0)
        if part.shape[1] == self.shape[1]:
            self._write(part, y0, 0)
        else:
            for i, row in enumerate(part):
                self._write(row, y0 + i, x0)

    def _write(self, part: NDArray[Any], y: int, x: int) -> None:
        rest, place = part.data.cast("B"), self._place(y, x)
        while rest:
            done = os.pwrite(self._fd, rest, place)
            rest, place = rest[done:], place + done

    def _read(self, out: NDArray[Any], y: int, x: int) -> None:
        place, size = self._place(y, x), out.nbytes
        done = os.preadv(self._fd, [out.data], place)
        if done == size:
            return
        rest = out.data.cast("B")
        while done < size:
            more = os.preadv(self._fd, [rest[done:]], place + done)
            if not more:
                raise BadFrameError(f"cut off while it was read: it ends before row {y}")
            done += more

    def _place(self, y: int, x: int) -> int:
        return self._offset + (y * self.shape[1] + x) * self.dtype.itemsize
