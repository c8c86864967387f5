"""The machine code of kernels.cu for one kind of device: compiled once by nvcc, kept, and read again.

Guarantees: what is returned is whole, and of this text.  It is kept where direct.py keeps its own code: in $NUMBA_CACHE_DIR,
or below the user's cache folder, in a file that begins with its digest; one that is missing, damaged or of another text is
made anew, and a folder that cannot be written costs the compilation each time.  GpuUnavailableError: no nvcc, or it says no.

PyCUDA has no NVRTC: without nvcc nothing is compiled, but a code that was kept is used without it.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from photometry.errors import GpuUnavailableError

TEXT = Path(__file__).with_name("kernels.cu")
NVCC = "/usr/local/cuda/bin/nvcc"  # where NVIDIA's own packages put it, off the PATH
COMPILE_SECONDS = 120  # 2 s are usual
_OPTIONS = ("-cubin", "-O3")
_DIGEST_BYTES = 32


def code_for(architecture: str) -> bytes:
    """The cubin for a device of an architecture such as sm_90."""
    file = _file(architecture)
    code = _kept(file)
    if code is None:
        code = compiled(architecture)[0]
        _keep(file, code)
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


def _file(architecture: str) -> Path:
    """Where the code for an architecture is kept: one file for each version of all that it is made from."""
    made_from = f"{architecture} {_OPTIONS}".encode() + TEXT.read_bytes()
    user = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or f"{user}/ast3").expanduser()
    return folder / f"kernels-{hashlib.sha256(made_from).hexdigest()[:32]}.cubin"


def _kept(file: Path) -> bytes | None:
    """The code in a file that begins with its digest."""
    try:
        kept = file.read_bytes()
    except OSError:
        return None
    digest, code = kept[:_DIGEST_BYTES], kept[_DIGEST_BYTES:]
    return code if hashlib.sha256(code).digest() == digest else None


def _keep(file: Path, code: bytes) -> None:
    """Writes such a file at once and whole, or not at all."""
    new = file.with_name(f"{file.name}.{os.getpid()}")
    with suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            new.write_bytes(hashlib.sha256(code).digest() + code)
            new.replace(file)
        finally:
            new.unlink(missing_ok=True)
