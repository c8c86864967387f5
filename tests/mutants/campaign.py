"""`tests/mutants/run`: each patch beside this file is a bug that somebody could write; the quick tests must see each.

A patch begins with a sentence that says what is broken, and why one could write it.  It is applied to a copy of the tree,
the tests run there until one is red, and a mutant that survives is a hole in the tests: exit status 1.  The copy without
any mutant must be green first.  A patch that does not apply is out of date and fails the run: refresh it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
JOBS = 2
LIMIT_SECONDS = 400
PYTEST = ("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0")
TESTS = (
    "tests/ast3d/test_core.py",
    "tests/ast3d/test_tampering.py",
    "tests/ast3d/test_codec.py",
    "tests/ast3d/test_decide.py",
    "tests/common/test_files.py",
    "tests/ast3d/test_helpers.py",
    "tests/ast3d/test_survivors.py",
    "tests/ast3d/test_claims.py",
    "tests/ast3d/test_fence.py",
    "tests/ast3d/test_shared.py",
    "tests/common/relog",
    "tests/common/test_powercut.py",
    "tests/simulate/test_damage.py::test_ten_thousand_images",  # what tests the checker itself proves nothing here
)
GUARD_TESTS = ("tests/protect/test_judge.py", "tests/protect/test_starts.py", "tests/protect/test_simulation.py")
MEMORY = ((*PYTEST, *TESTS), ("-m", "tests.mutants.histories", "150"))  # what kills fastest comes first
GUARD = ((*PYTEST, *GUARD_TESTS),)
CLUSTER_TESTS = ("tests/ha/test_plan.py", "tests/ha/test_scenarios.py")
CLUSTER = ((*PYTEST, *CLUSTER_TESTS), ("-m", "tests.mutants.clusters", "300"))

Steps = tuple[tuple[str, ...], ...]  # arguments of Python, one after the other


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: `caught` names the test, empty if none; `problem`: it could not be judged.

    Tests that take too long have seen nothing: the machine may be busy.
    """

    name: str
    caught: str
    seconds: float
    problem: str = ""


def copy_tree(target: Path) -> None:
    """The files that git tracks, as they are now."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        source, copy = ROOT / name, target / name
        if source.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy)


def python(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """This very Python, importing the copy: PYTHONPATH comes before what is installed."""
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=tree, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS
    )


def judge(snapshot: Path, patch: Path | None, tests: Steps = ()) -> Verdict:
    """Run the tests on a copy of the snapshot with this patch, or `tests` on one with none."""
    began = time.monotonic()
    name = patch.stem if patch else "no mutant"
    with tempfile.TemporaryDirectory(prefix="ast3-mutant-") as folder:
        tree = Path(folder)
        shutil.copytree(snapshot, tree, dirs_exist_ok=True)
        if patch:
            applied = subprocess.run(["git", "apply", patch], cwd=tree, capture_output=True, text=True)
            if applied.returncode:
                return Verdict(name, "", 0.0, f"refresh {patch.name}: it does not apply: {applied.stderr.strip()}")
        where = python(tree, "-c", "import ast3d.core; print(ast3d.core.__file__)").stdout.strip()
        if not where.startswith(str(tree)):
            return Verdict(name, "", 0.0, f"the tests would import {where or 'nothing'} instead of the copy")
        caught = ""
        for step in steps(patch) if patch else tests:
            try:
                result = python(tree, *step)
            except subprocess.TimeoutExpired:
                return Verdict(name, "", time.monotonic() - began, f"no end after {LIMIT_SECONDS} s")
            if "Timeout (>" in result.stdout + result.stderr:
                return Verdict(name, "", time.monotonic() - began, "a test had no end")
            if caught := red(result):
                break
    return Verdict(name, caught, time.monotonic() - began)


def steps(patch: Path) -> Steps:
    """The tests that must see it: those of protectd and of ha are their own, for they share nothing with the rest."""
    said = patch.read_text()
    return GUARD if "+++ b/protectd/" in said else CLUSTER if "+++ b/ha/" in said else MEMORY


def red(result: subprocess.CompletedProcess[str]) -> str:
    """The test that failed, empty if none did."""
    if result.returncode == 0:
        return ""
    lines = [line for line in result.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return (lines or (result.stdout + result.stderr).splitlines() or ["it ended without a word"])[-1].split(" - ")[0]


def main() -> int:
    """-> 0 all were caught."""
    parser = argparse.ArgumentParser(prog="tests/mutants/run", description=__doc__)
    parser.add_argument("names", nargs="*", help="of mutants; all if none is named")
    names = parser.parse_args().names
    patches = [patch for patch in sorted(HERE.glob("*.patch")) if not names or patch.stem in names]
    with tempfile.TemporaryDirectory(prefix="ast3-healthy-") as folder:
        snapshot = Path(folder)
        copy_tree(snapshot)
        return judge_all(snapshot, patches)


def judge_all(snapshot: Path, patches: list[Path]) -> int:
    """All of one snapshot, which is green: somebody may be at work in the tree, and would be taken for a catch."""
    healthy = judge(snapshot, None, tuple(dict.fromkeys(step for patch in patches for step in steps(patch))))
    if healthy.caught or healthy.problem:
        print(f"without any mutant the tests are red: {healthy.caught or healthy.problem}")
        return 1
    print(f"without any mutant: green after {healthy.seconds:.0f} s", flush=True)
    with ThreadPoolExecutor(JOBS) as pool:
        verdicts = []
        for verdict in pool.map(lambda patch: judge(snapshot, patch), patches):
            verdicts.append(verdict)
            outcome = (verdict.problem or verdict.caught or "SURVIVED")[:100]
            print(f"{verdict.name:36} | {outcome:100} | {verdict.seconds:5.1f}", flush=True)
    caught = sum(bool(verdict.caught) for verdict in verdicts)
    print(f"mutants: n={len(verdicts)}, caught {caught}")
    return 0 if verdicts and caught == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
