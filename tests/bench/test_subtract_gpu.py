import shutil

import pytest

from bench import subtract_gpu as bench
from photometry.errors import GpuUnavailableError
from photometry.subtraction.gpu import cubin, lend


def test_without_a_gpu_every_row_that_needs_one_says_so(monkeypatch, tmp_path):
    def none():
        raise GpuUnavailableError("no device: the driver sees none")

    monkeypatch.setattr(lend, "_driver", none)
    rows = [bench.tell(*named) for named in bench.takes(tmp_path)[1:]]
    assert {(row.measured, row.met) for row in rows} == {("no GPU here: no device: the driver sees none", None)}
    assert len(rows) == 11


@pytest.mark.skipif(not (shutil.which("nvcc") or shutil.which(cubin.NVCC)), reason="no nvcc here")
def test_registers_and_spills_need_no_gpu(tmp_path):
    row = bench.tell(*bench.takes(tmp_path)[0])
    assert row.met is True
    assert "0 bytes spilled" in row.measured
