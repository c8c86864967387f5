"""The code for a device: compiled once, kept whole, made anew where it is damaged; and the real nvcc takes the text."""

import re
import shutil

import pytest

from photometry.errors import GpuUnavailableError
from photometry.subtraction.gpu import cubin

ARCHITECTURES = ("sm_80", "sm_90")  # A100, H200
MOST_REGISTERS = {"convolve": 136}  # of a thread, for five blocks of 96 threads on a multiprocessor of an H200


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "new" / "cache"))
    return tmp_path / "new" / "cache"


@pytest.fixture
def compiler(monkeypatch):
    """Counts what it compiles."""
    asked = []

    def compiled(architecture):
        asked.append(architecture)
        return b"code for " + architecture.encode() * 99, ""

    monkeypatch.setattr(cubin, "compiled", compiled)
    return asked


def test_code_is_kept_and_a_damaged_file_made_anew(cache, compiler):
    code = cubin.code_for("sm_90")
    (file,) = cache.iterdir()
    assert cache.stat().st_mode & 0o077 == 0
    whole = file.read_bytes()
    assert cubin.code_for("sm_90") == code
    assert compiler == ["sm_90"]
    for damaged in (b"", whole[:-9], whole[:50] + b"?" + whole[51:]):
        file.write_bytes(damaged)
        assert cubin.code_for("sm_90") == code
        assert file.read_bytes() == whole
    assert len(compiler) == 4


@pytest.mark.usefixtures("compiler")
def test_each_architecture_and_each_text_has_its_own(cache, tmp_path, monkeypatch):
    cubin.code_for("sm_80")
    cubin.code_for("sm_90")
    other = tmp_path / "kernels.cu"
    other.write_text("// another text")
    monkeypatch.setattr(cubin, "TEXT", other)
    cubin.code_for("sm_90")
    assert len(list(cache.iterdir())) == 3


def test_without_a_place_for_the_code_it_is_compiled(cache, compiler):
    cache.parent.write_bytes(b"a file where a folder should be")
    assert cubin.code_for("sm_90") == cubin.code_for("sm_90")
    assert len(compiler) == 2


def nvcc(folder, text):
    (folder / "nvcc").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "nvcc").chmod(0o755)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "echo 'kernels.cu(1): error: no' >&2; exit 2",
            r"does not compile kernels\.cu for sm_90: kernels\.cu\(1\): error: no",
        ),
        ("exit 0", "exit status 0"),
        ("exec sleep 9", "was not done after 0.2 s"),
    ],
)
def test_a_compiler_that_fails_is_told_in_one_line(cache, tmp_path, monkeypatch, text, words):
    nvcc(tmp_path, text)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(cubin, "COMPILE_SECONDS", 0.2 if "sleep" in text else 9)
    with pytest.raises(GpuUnavailableError, match=words) as caught:
        cubin.code_for("sm_90")
    assert "\n" not in str(caught.value)
    assert not cache.exists()


@pytest.mark.skipif(
    not (shutil.which("nvcc") or shutil.which(cubin.NVCC)), reason="no nvcc here, which compiles kernels.cu for a GPU"
)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvcc_takes_the_text_and_nothing_spills(architecture):
    code, said = cubin.compiled(architecture)
    assert code.startswith(b"\x7fELF")
    assert "warning" not in said.lower()
    assert re.findall(r"(\d+) bytes spill", said) == ["0"] * said.count("bytes spill")
    for name, most in MOST_REGISTERS.items():
        registers = re.search(rf"entry function '{name}'.*?Used (\d+) registers", said, re.DOTALL)
        assert int(registers[1]) <= most
