"""Simulated pairs with their truth, each made once: its folder is named by all that it is made of.

The tools that make and judge them are looked for in $AST3_TOOLS, else in ../shared/tools.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import fitsio
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("sim_pair", "oracle", "score_diff")
BLOCK_PIXELS = 64


class PairError(Exception):
    """A tool is absent, or failed; the message says which and why."""


@dataclass(frozen=True)
class Field:
    """A kind of pair: sim_pair's options, and what else is masked on the science frame.

    masked_share of the pixels, in squares of masked_block.
    """

    name: str
    options: str
    masked_share: float = 0.0
    masked_block: int = BLOCK_PIXELS


def tool(name: str) -> Path:
    """One of the tools."""
    path = Path(os.environ.get("AST3_TOOLS", ROOT.parent / "shared" / "tools")) / f"{name}.py"
    if not path.exists():
        raise PairError(f"{path} is absent: name the folder of the tools in AST3_TOOLS")
    return path


def use(name: str, *words: object) -> str:
    """What a tool prints; PairError with its last words where it fails."""
    # On shared cores threads of linear algebra wait for each other ten times longer than they work.
    threads = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, str(tool(name)), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=threads)
    if done.returncode:
        raise PairError(f"{name}: {(done.stderr.strip() or 'no word').splitlines()[-1]}")
    return done.stdout


def pair(field: Field, seed: int, folder: Path) -> Path:
    """The folder of that pair; made beside its place and renamed, or found there."""
    made_of = "\n".join([field.options, str(field.masked_share), str(field.masked_block), tool("sim_pair").read_text()])
    place = folder / f"{field.name}-{seed}-{hashlib.sha256(made_of.encode()).hexdigest()[:8]}"
    if not place.exists():
        partial = folder / f".{place.name}.{os.getpid()}.partial"
        try:
            use("sim_pair", "--seed", seed, "--out", partial, *field.options.split())
            if field.masked_share:
                _mask_more(partial / "mask_sci.fits", field, seed)
            partial.rename(place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return place


def _mask_more(path: Path, field: Field, seed: int) -> None:
    """Squares at random places of a grid, in a file of its own: the truth's mask stays what it is."""
    mask = fitsio.read(path)
    grid = [-(-n // field.masked_block) for n in mask.shape]
    bad = np.random.default_rng(seed).uniform(size=grid) < field.masked_share
    whole = np.kron(bad, np.ones((field.masked_block, field.masked_block), np.uint8))[: mask.shape[0], : mask.shape[1]]
    fitsio.write(path.with_name("mask_more.fits"), mask | whole)


def masks(place: Path) -> list[str]:
    """The options that give the frames' own masks to `subtract`."""
    more = place / "mask_more.fits"
    mine = more if more.exists() else place / "mask_sci.fits"
    return ["--science-mask", str(mine), "--template-mask", str(place / "mask_ref.fits")]
