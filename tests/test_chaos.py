"""Trainings killed at seeded moments; `python -m tests.chaos` does it as often as one likes."""

import subprocess
import sys

import pytest

from edgeflownas.artifacts import PROJECT_ROOT


@pytest.mark.slow
def test_a_training_killed_again_and_again_ends_with_the_bits_of_one_left_alone():
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--kills", "6", "--seed", "2", "--minutes", "30"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("6 of 6 survived")
