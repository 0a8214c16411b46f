"""A run writes into its output folder and nowhere else, whatever the config says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeflownas.artifacts import PROJECT_ROOT
from edgeflownas.errors import UserError
from edgeflownas.train_supernet import main
from tests.tiny import tiny_flags

# Runs a command's module and notes every path that Python opens for writing, makes, moves or removes.
WATCHED = """
import os, runpy, sys
noted = open(sys.argv.pop(1), "w")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
def note(event, arguments):
    if event == "open":
        paths = [arguments[0]] if arguments[2] & WRITES else []
    elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod"):
        paths = [arguments[0]]
    elif event in ("os.rename", "os.link", "os.symlink"):
        paths = arguments[:2]
    else:
        return
    for path in paths:
        if isinstance(path, (str, bytes)):
            noted.write(os.path.abspath(os.fsdecode(path)) + "\\n")
            noted.flush()
sys.addaudithook(note)
sys.argv.pop(0)
sys.path.insert(0, os.getcwd())
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def written_by(folder: Path, *command: str) -> tuple[set[Path], subprocess.CompletedProcess[str]]:
    """What `python -m command` touches, run from the project's root; but for what libraries keep for themselves."""
    noted, own = folder / "noted.txt", folder / "home"
    own.mkdir()
    run = subprocess.run(
        [sys.executable, "-B", "-c", WATCHED, str(noted), *command],
        env=os.environ
        | {"HOME": str(own), "TMPDIR": str(own), "XDG_CACHE_HOME": str(own), "XDG_CONFIG_HOME": str(own)},
        capture_output=True,
        text=True,
        check=False,
    )
    touched = {Path(line) for line in noted.read_text().splitlines()}
    # Below the null device nothing can be made: Keras looks there for settings (`devices.py`).
    return {path for path in touched if not path.is_relative_to(own) and not path.is_relative_to(os.devnull)}, run


@pytest.mark.slow
def test_a_run_with_hostile_names_writes_into_its_output_folder_alone(synthetic_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    data = folder / "data; touch pwned $(touch pwned) `touch pwned` <script>\"'"
    folder.mkdir()
    os.symlink(synthetic_root, data)
    output = folder / "out" / "../out" / "run; touch pwned $(touch pwned) <script> ü"
    flags = tiny_flags(data, output, "--max_steps", "1", "--debug_trace")
    before = sorted(folder.rglob("*"))
    touched, run = written_by(tmp_path, "edgeflownas.train_supernet", *flags)
    assert run.returncode == 0, run.stderr
    out = (folder / "out").resolve()
    # Making a folder begins with those above it, which are there.
    assert {path for path in touched if not path.is_relative_to(out)} <= set(out.parents)
    assert len(touched) > 10
    assert sorted(path for path in folder.rglob("*") if not path.is_relative_to(out)) == before
    assert not list(Path.cwd().glob("pwned*"))


def test_a_folder_that_is_no_run_directory_is_not_moved_aside(
    synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    somebodys = tmp_path / "home"
    (somebodys / "letters").mkdir(parents=True)
    with pytest.raises(UserError, match="home: contains files and is no run directory; give a new or an empty folder"):
        main(tiny_flags(synthetic_root, somebodys))
    assert [path.name for path in tmp_path.rglob("*")] == ["home", "letters"]
    monkeypatch.chdir(somebodys / "letters")
    config = ["--config", str(PROJECT_ROOT / "config/config.yaml")]
    for place in (".", "..", str(tmp_path)):
        with pytest.raises(UserError, match="is the current folder, or above it"):
            main([*tiny_flags(synthetic_root, Path(place)), *config])
    assert [path.name for path in tmp_path.rglob("*")] == ["home", "letters"]
