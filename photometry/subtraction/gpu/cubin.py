"""The machine code of kernels.cu for one kind of device: compiled once by nvcc, kept, and read again.

Guarantees: what is returned is whole, and of this text; `code_cache` keeps it.  GpuUnavailableError: no nvcc, or it says no.

PyCUDA has no NVRTC: without nvcc nothing is compiled, but a code that was kept is used without it.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

from photometry import code_cache
from photometry.errors import GpuUnavailableError

TEXT = Path(__file__).with_name("kernels.cu")
NVCC = "/usr/local/cuda/bin/nvcc"  # where NVIDIA's own packages put it, off the PATH
COMPILE_SECONDS = 120  # 2 s are usual
_OPTIONS = ("-cubin", "-O3")


def code_for(architecture: str) -> bytes:
    """The cubin for a device of an architecture such as sm_90."""
    file = code_cache.place_of("kernels", ".cubin", f"{architecture} {_OPTIONS}".encode() + TEXT.read_bytes())
    code = code_cache.read(file)
    if code is None:
        code = compiled(architecture)[0]
        code_cache.write(file, code)
    return code


def compiled(architecture: str) -> tuple[bytes, str]:
    """The cubin, and what ptxas says of it: registers, spills."""
    nvcc = shutil.which("nvcc") or shutil.which(NVCC)
    if nvcc is None:
        raise GpuUnavailableError(f"no compiler: nvcc is neither on PATH nor {NVCC}; install CUDA's nvcc")
    with tempfile.TemporaryDirectory(prefix="ast3-cubin-") as folder:
        out = Path(folder) / "kernels.cubin"
        words = [nvcc, *_OPTIONS, f"-arch={architecture}", "-Xptxas", "-v", "-o", str(out), str(TEXT)]
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise GpuUnavailableError(f"{nvcc} was not done after {COMPILE_SECONDS} s; try it by hand") from error
        except OSError as error:
            raise GpuUnavailableError(f"{nvcc} cannot be run: {error.strerror}; repair CUDA") from error
        if done.returncode or not out.exists():
            said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise GpuUnavailableError(f"{nvcc} does not compile kernels.cu for {architecture}: {said}")
        return out.read_bytes(), done.stderr
