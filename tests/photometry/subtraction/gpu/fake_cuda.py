"""A GPU for tests: the parts of pycuda.driver that the engine uses, over kernels.cu as shim.cpp runs it, and an `nvcc`.

What is queued on a stream is done only when an event behind it is asked for, the second time: what reads results too early
reads NaN.  Device memory is NaN at first, with guards round it that must stay.  All that is made must be freed or detached.
"""

import ctypes
import struct
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np

SHIM = Path(__file__).with_name("shim.cpp")
GUARD_BYTES = 1 << 14
NVCC = """#!/bin/sh
# As nvcc is called: the last word is the text, the one after -o the cubin.
while [ $# -gt 1 ]; do [ "$1" = -o ] && out=$2; shift; done
exec g++ -std=c++20 -O2 -w -shared -fPIC -I "$(dirname "$1")" -o "$out" {shim}
"""


class Error(Exception):
    pass


class OutOfMemoryError(Error):
    pass


class LogicError(Error):
    pass


def write_nvcc(folder):
    """A folder for PATH in which `nvcc` compiles for the shim."""
    (folder / "nvcc").write_text(NVCC.format(shim=SHIM))
    (folder / "nvcc").chmod(0o755)
    return folder


def fake_driver(memory_bytes=1 << 30):
    """A module like pycuda.driver.  state: what is alive and what was done, for assertions."""
    state = State(memory_bytes)
    return SimpleNamespace(
        Error=Error,
        MemoryError=OutOfMemoryError,
        LogicError=LogicError,
        function_attribute=SimpleNamespace(MAX_DYNAMIC_SHARED_SIZE_BYTES="most shared"),
        init=lambda: None,
        Device=type("Device", (FakeDevice,), {"_state": state}),
        Context=SimpleNamespace(pop=state.pop),
        Stream=lambda: state.alive() or Stream(),
        Event=lambda: state.alive() or Event(state),
        mem_alloc=lambda size: Memory(state, size),
        pagelocked_empty=state.pagelocked,
        memcpy_htod_async=state.upload,
        memcpy_dtoh_async=state.download,
        module_from_buffer=lambda code: Module(state, code),
        state=state,
    )


class State:
    def __init__(self, memory_bytes):
        self.memory_bytes, self.memory, self.pinned = memory_bytes, [], 0
        self.current = threading.local()
        self.retained, self.done = 0, []
        self.answers = True
        self.lock = threading.Lock()

    def push(self):
        self.current.depth = getattr(self.current, "depth", 0) + 1

    def pop(self):
        self.current.depth -= 1

    def alive(self):
        """Every call needs a context that is current in its thread."""
        if not self.retained or not getattr(self.current, "depth", 0):
            raise LogicError("invalid device context")

    def pagelocked(self, floats, dtype):
        self.alive()
        return Pinned(self, floats).array(dtype)

    def upload(self, to, array, stream):
        self.alive()
        stream.queue.append(lambda: ctypes.memmove(to, array.ctypes.data, array.nbytes))

    def download(self, array, start, stream):
        self.alive()
        stream.queue.append(lambda: ctypes.memmove(array.ctypes.data, start, array.nbytes))


class FakeDevice:
    def __init__(self, number):
        assert number == 0

    @staticmethod
    def count():
        return 1

    def compute_capability(self):
        return 9, 0

    def retain_primary_context(self):
        self._state.retained += 1
        return SimpleNamespace(push=self._state.push, detach=self._detach)

    def _detach(self):
        self._state.alive()
        self._state.retained -= 1
        self._state.pop()


class Memory:
    def __init__(self, state, size):
        state.alive()
        if sum(len(m.bytes) for m in state.memory) + size > state.memory_bytes:
            raise OutOfMemoryError("cuMemAlloc failed: out of memory")
        self._state, self.bytes = state, np.full(size + 2 * GUARD_BYTES, 0xFF, np.uint8)
        state.memory.append(self)

    def __int__(self):
        return self.bytes.ctypes.data + GUARD_BYTES

    def free(self):
        self._state.alive()
        for guard in (self.bytes[:GUARD_BYTES], self.bytes[-GUARD_BYTES:]):
            assert (guard == 0xFF).all(), "written beyond the block"
        self._state.memory.remove(self)


class Pinned:
    def __init__(self, state, floats):
        self._state, self._content = state, np.full(floats, np.nan, np.float32)
        state.pinned += 1

    @property
    def __array_interface__(self):
        return self._content.__array_interface__

    def array(self, dtype):
        found = np.asarray(self, dtype)
        assert found.base is self
        return found

    def free(self):
        self._state.pinned -= 1


class Stream:
    def __init__(self):
        self.queue = []


class Event:
    def __init__(self, state):
        self._state, self._queue, self._asked = state, None, 0

    def record(self, stream):
        self._state.alive()
        self._queue, self._asked = stream.queue, 0

    def query(self):
        self._state.alive()
        self._asked += 1
        if self._asked == 1 or not self._state.answers:
            return False
        while self._queue:
            self._queue.pop(0)()
        return True


class Module:
    def __init__(self, state, code):
        state.alive()
        with tempfile.NamedTemporaryFile(suffix=".so") as file:
            file.write(code)
            file.flush()
            self._library = ctypes.CDLL(file.name)
        self._state = state

    def get_function(self, name):
        return Function(self._state, name, getattr(self._library, f"launch_{name}"))


class Function:
    def __init__(self, state, name, launch):
        self._state, self._name, self._launch = state, name, launch
        self._format, self._most = None, 48 << 10

    def set_attribute(self, name, value):
        assert name == "most shared"
        self._most = value

    def prepare(self, kinds):
        self._format = kinds

    def prepared_async_call(self, grid, block, stream, *words, shared_size=0):
        self._state.alive()
        if shared_size > self._most:
            raise LogicError(f"{self._name}: {shared_size} bytes of shared memory")
        packed = struct.pack(self._format, *words)

        def run():
            with self._state.lock:
                code = self._launch(
                    (ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block), ctypes.c_size_t(shared_size), packed
                )
            assert code == 0, f"{self._name}: written beyond the shared memory"
            self._state.done.append(self._name)

        stream.queue.append(run)
