"""Where and how a training is started does not matter: path, locale, time zone, hash seed, with or without git."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeflownas.artifacts import PROJECT_ROOT, read_json
from edgeflownas.provenance import git_state
from edgeflownas.train_supernet import main
from tests.chaos.comparison import differences_between
from tests.spaces import small_space
from tests.tiny import tiny_flags

SURROUNDINGS = {
    "LC_ALL": "C",
    # A terminal that has no ±.
    "PYTHONIOENCODING": "ascii",
    "TZ": "Pacific/Chatham",
    "PYTHONHASHSEED": "123",
}


@pytest.mark.slow
def test_a_copy_without_git_under_a_strange_name_in_a_strange_locale_trains_to_the_same_bits(synthetic_root, tmp_path):
    copy = tmp_path / "кора' & $(копия)"
    for name in ("edgeflownas", "schemas", "config"):
        shutil.copytree(PROJECT_ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    flags = ("--debug_trace", "--max_steps", "6", "--set", f"network.search_space={small_space(tmp_path)}")
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHASHSEED")}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "edgeflownas.train_supernet", "--verbose"),
            *tiny_flags(synthetic_root, copy / "Läufe der Woche", *flags),
        ],
        cwd=copy,
        env=environment | SURROUNDINGS,
        capture_output=True,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"mean EPE" in done.stdout

    run = tmp_path / "run"
    assert main(tiny_flags(synthetic_root, run, *flags)) == 0
    assert not differences_between(copy / "Läufe der Woche", run)
    assert read_json(copy / "Läufe der Woche" / "train_manifest.json")["git_commit"] is None


def repository(root: Path) -> str:
    """A git repository with a copy of this package's marker file; its commit."""
    (root / "edgeflownas").mkdir(parents=True)
    (root / "edgeflownas" / "__init__.py").touch()
    git = ("git", "-C", str(root), "-c", "user.name=n", "-c", "user.email=e@x")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"], ["checkout", "-q", "--detach"]):
        subprocess.run([*git, *command], check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def test_a_detached_head_is_a_commit_like_any_other(tmp_path):
    commit = repository(tmp_path)
    assert git_state(tmp_path) == {"commit": commit, "branch": "HEAD", "dirty": False}


def test_a_copy_without_git_within_another_repository_does_not_take_its_commit(tmp_path):
    repository(tmp_path / "other")
    copy = tmp_path / "other" / "copy"
    (copy / "edgeflownas").mkdir(parents=True)
    (copy / "edgeflownas" / "__init__.py").touch()
    why = "the git repository around it tracks none of its files"
    assert git_state(copy) == {"commit": None, "branch": None, "dirty": None, "why": why}
