"""What all tests share."""

import os
from pathlib import Path

# As in a worker, and before numpy is loaded: on shared cores threads wait for each other ten times longer than they work.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["PATH"] += ":/usr/sbin:/sbin"  # mkfs and mount, for the tests that cut the power

import pytest
from hypothesis import settings

# CI tries the same examples each time, so that it judges the change; by hand and in the long run new ones are tried.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real frames with known truth."""
    folder = Path(os.environ.get("AST3_TESTDATA", ROOT.parent / "shared" / "data"))
    if not (folder / "MANIFEST.md").exists():
        pytest.skip(f"no real frames: {folder} is absent; name their folder in AST3_TESTDATA")
    return folder
