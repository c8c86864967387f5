"""What the simulated telescope costs: one raw frame of AST3 at its full size, in a process of its own.

python -m bench.measure_skysim
"""

import json
import subprocess
import sys

from bench.table import Row, show

FEWEST_STARS = 38_000  # above 5 sigma
MOST_CPU_SECONDS = 60.0
MOST_GIB = 4.0

_PROGRAM = """
import json, resource, time
import numpy as np
from photometry.instrument import load_instrument
from skysim.detector.chip import chip_of
from skysim.raw import expose
from skysim.settings import FrameSettings

chip, settings = chip_of(load_instrument("ast3")), FrameSettings(ra_deg=120.0, dec_deg=-70.0, satellites=1, patchy_mag=0.1)
began = time.process_time()
frame = expose(chip, settings)
seconds = time.process_time() - began
alpha, _, _ = frame.psf.shape_at(0.5 * chip.shape[1], 0.5 * chip.shape[0], chip.shape)
pixels = np.pi * alpha**2 * 5 / 4  # effective ones of a Moffat profile of exponent 3: pi alpha^2 (2 b - 1) / (b - 1)^2
flux = frame.sources.electrons
noise = np.sqrt(flux + pixels * (frame.sky_electrons + chip.read_noise[0] ** 2))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({"seconds": seconds, "gib": peak, "stars": int((flux > 5 * noise).sum()), "shape": chip.shape}))
"""


def rows() -> list[Row]:
    """CPU seconds (compiled code is cached by a small frame of an earlier run, or the compilation counts), memory, stars."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    ny, nx = found["shape"]
    return [
        Row(f"CPU, one raw frame of {nx} x {ny}", f"< {MOST_CPU_SECONDS:g} s", f"{found['seconds']:.1f} s, n = 1",
            found["seconds"] < MOST_CPU_SECONDS),
        Row("memory at its largest", f"< {MOST_GIB:g} GiB", f"{found['gib']:.2f} GiB, n = 1", found["gib"] < MOST_GIB),
        Row("stars above 5 sigma on it", f">= {FEWEST_STARS:,}", f"{found['stars']:,}", found["stars"] >= FEWEST_STARS),
    ]  # fmt: skip


if __name__ == "__main__":
    print(show(rows()))
