"""The short form: every mutant still applies and says what it is, and one is seen to be caught."""

import subprocess

import pytest

from tests.mutants.campaign import HERE, ROOT, copy_tree, judge

PATCHES = sorted(HERE.glob("*.patch"))


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_a_mutant_applies_and_says_what_is_broken(patch):
    applied = subprocess.run(["git", "apply", "--check", patch], cwd=ROOT, capture_output=True, text=True)
    assert applied.returncode == 0, f"refresh {patch.name}: {applied.stderr}"
    sentence, _, _ = patch.read_text().partition("\n\n")
    assert sentence.endswith(".")


def test_a_mutant_is_caught(tmp_path):
    copy_tree(tmp_path)
    assert "test_core" in judge(tmp_path, HERE / "fold-attempt-forgotten.patch").caught
