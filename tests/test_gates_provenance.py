"""An attempt keeps where it came from, in a form that repeats it, and no secret."""

import html
import json
import os
import subprocess
from pathlib import Path

import pytest

from edgeflownas import provenance
from edgeflownas.artifacts import read_json
from edgeflownas.gates.__main__ import main
from edgeflownas.gates.lifecycle import starting
from edgeflownas.gates.lifecycle.owner import INVOCATION_VARIABLE
from edgeflownas.gates.lifecycle.page import write_page
from edgeflownas.gates.lifecycle.reports import close_attempt, in_short
from edgeflownas.gates.lifecycle.starting import start_gate
from edgeflownas.gates.lifecycle.verifying import reproduction
from edgeflownas.gates.registry import find_gate
from tests.handmade_gates import passed_chain
from tests.handmade_runs import OVERRIDES, make_config


def git(root: Path, *words: str) -> str:
    """Run git as nobody in particular."""
    identity = ("-c", "user.name=nobody", "-c", "user.email=nobody@localhost")
    command = ["git", "-C", str(root), *identity, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def dirty(tmp_path: Path) -> Path:
    """A repository with a changed file, two new ones and an ignored one."""
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "-q", "-b", "trunk")
    for name, text in {"a.py": "one\n", "gone.py": "x\n", ".gitignore": "ignored\n"}.items():
        (root / name).write_text(text)
    (root / "binary").write_bytes(bytes(range(256)))
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    (root / "a.py").write_text("two\n")
    (root / "binary").write_bytes(bytes(range(255)))
    (root / "gone.py").unlink()
    (root / "new source ä.py").write_text("new\n")
    (root / "passwords.txt").write_text("hunter2\n")
    (root / "ignored").write_text("hunter2\n")
    return root


def test_dirty_diff_restores_the_source_and_shows_no_other_new_file(dirty: Path, tmp_path: Path) -> None:
    assert provenance.git_state(dirty) == {
        "commit": git(dirty, "rev-parse", "HEAD").strip(),
        "branch": "trunk",
        "dirty": True,
    }
    diff = tmp_path / "dirty.diff"
    diff.write_text(provenance.dirty_diff(dirty, shown={"a.py", "new source ä.py"}))
    assert "hunter2" not in diff.read_text()
    assert "# not in git, not shown: passwords.txt" in diff.read_text()
    git(tmp_path, "clone", "-q", str(dirty), str(tmp_path / "clone"))
    git(tmp_path / "clone", "apply", "--allow-empty", str(diff))
    for name in ("a.py", "binary", "new source ä.py"):
        assert (tmp_path / "clone" / name).read_bytes() == (dirty / name).read_bytes()
    assert not (tmp_path / "clone/gone.py").exists()


def test_new_files_alone_make_a_diff_that_applies(dirty: Path, tmp_path: Path) -> None:
    git(dirty, "checkout", "-q", ".")
    diff = tmp_path / "dirty.diff"
    diff.write_text(provenance.dirty_diff(dirty))
    git(dirty, "apply", "--allow-empty", str(diff))


def start(output_dir: Path) -> Path:
    """Begin an attempt at gate 1; returns its folder."""
    return start_gate(find_gate("gate1"), output_dir, None, OVERRIDES, make_config(), None).folder


def test_attempt_records_where_it_came_from_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURMD_NODENAME", "node4")
    monkeypatch.setenv(INVOCATION_VARIABLE, "snakemake gate4 --profile local")
    folder = start(tmp_path)
    begun = read_json(folder / "start.json", schema="attempt_start.schema.json")
    origin = begun["provenance"]
    assert origin["environment"]["OMP_NUM_THREADS"] == "3"
    assert origin["invocation"] == "snakemake gate4 --profile local"
    assert origin["slurm"] == {"job_id": "17", "node": "node4"}
    assert origin["user"]
    assert origin["host"].keys() == {"name", "system", "os", "cpu", "cores", "memory_mb", "gpus"}
    assert origin["host"]["memory_mb"] > 100
    assert {"python", "numpy", "keras", "snakemake", "jinja2"} <= origin["versions"].keys()
    config = read_json(folder / "config.json", schema="resolved_config.schema.json")
    assert config == {"values": make_config().values, "origins": make_config().origins, "hash": make_config().hash}
    assert config["hash"] == begun["config"]["hash"]
    for file in folder.rglob("*"):
        assert file.is_dir() or "hunter2" not in file.read_text()


def test_changes_name_config_code_data_versions_host_and_environment(tmp_path: Path) -> None:
    folder = start(tmp_path)
    before = json.loads((folder / "start.json").read_text())
    now = json.loads((folder / "start.json").read_text())
    assert starting.changes_since(before, now) == []
    now["config"]["values"]["seed"] = 43
    now["source_files"]["Snakefile"] = "0" * 64
    now["digests"]["data"] = "0" * 64
    now["provenance"]["host"]["name"] = "tuna"
    now["provenance"]["versions"]["numpy"] = "9.9"
    now["provenance"]["environment"] = {"XLA_FLAGS": "x"}
    now["provenance"]["git"]["branch"] = "side"
    changes = starting.changes_since(before, now)
    beginnings = ("config seed:", "code Snakefile: changed", "data_index.json", "git branch:", "host name:")
    for beginning in (*beginnings, "version of numpy:", "environment XLA_FLAGS:"):
        assert sum(change.startswith(beginning) for change in changes) == 1


def test_reproduce_prints_commit_environment_and_commands(
    tmp_path: Path, dirty: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(INVOCATION_VARIABLE, "snakemake gate1 --profile local")
    monkeypatch.setattr(provenance, "PROJECT_ROOT", dirty)
    monkeypatch.setattr(provenance.git_state, "__defaults__", (dirty,))
    monkeypatch.setattr(provenance.dirty_diff, "__defaults__", (dirty, ()))
    folder = start(tmp_path)
    assert main(["record", "gate1", "help", "--output_dir", str(tmp_path), "--expect", "2", "--", "false"]) == 1
    capsys.readouterr()
    assert main(["reproduce", "gate1", "--attempt", "1", "--output_dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    commit = git(dirty, "rev-parse", "HEAD").strip()
    for line in (
        f"git checkout {commit}",
        f"git apply --allow-empty {folder / 'dirty.diff'}",
        "snakemake gate1 --profile local",
        "false  # ends with exit code 2",
    ):
        assert line in lines
    assert any(line.startswith("# ") and " numpy==" in line for line in lines)
    assert any(line.startswith("pip install --require-hashes -r requirements.lock") for line in lines)
    # It is a script: whatever is not a command is a comment.
    script = "\n".join(lines)
    assert subprocess.run(["bash", "-n", "-c", script], check=False).returncode == 0


@pytest.mark.parametrize(
    ("file", "old", "new", "fault"),
    [
        ("gates/gate2/attempts/0001/start.json", '"seed": ', '"seed": 1', "gate2: config in report.json of attempt 1"),
        ("gates/gate1/attempts/0001/report.json", "no fault", "a fault", "gate2: it started on gate1 attempt 1, whose"),
        ("gates/gate3.json", "passed", "Passed", "gate3: its verdict is not that of attempt 1"),
        ("fair_sampler_check.json", "300", "301", "gate2: artifact fair_sampler_check.json has other bytes"),
        ("gates/gate4/attempts/0001/start.json", '"edgeflownas/config.py": "', "", "start.json"),
    ],
)
def test_verify_names_what_no_longer_fits(
    file: str, old: str, new: str, fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passed_chain(tmp_path)
    assert main(["verify", "--output_dir", str(tmp_path)]) == 0
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new, 1))
    assert main(["verify", "--output_dir", str(tmp_path)]) == 1
    assert fault in capsys.readouterr().out


def test_long_lists_are_shortened_and_counted() -> None:
    assert in_short(["a", "b"], 2) == "a; b"
    assert in_short(["a", "b", "c", "d"], 2) == "a; b; and 2 more"
    assert in_short([], 2) == ""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to somebody else")
def test_a_checkout_of_somebody_else_is_known_all_the_same(dirty: Path) -> None:
    ours = provenance.git_state(dirty)
    diff = provenance.dirty_diff(dirty, shown={"a.py"})
    for path in (dirty, *dirty.rglob("*")):
        os.chown(path, 65534, 65534)
    refused = subprocess.run(["git", "-C", str(dirty), "status"], capture_output=True, text=True)
    assert "dubious ownership" in refused.stderr
    assert ours["commit"]
    assert provenance.git_state(dirty) == ours
    assert provenance.dirty_diff(dirty, shown={"a.py"}) == diff != ""


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo \"fatal: detected dubious ownership in repository at '/x'\" >&2; exit 128", "dubious ownership"),
        ("exit 3", "no reason given"),
        (None, "git cannot be run: No such file or directory"),
    ],
)
def test_why_git_does_not_tell_is_recorded_and_shown(script, why, tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    if script:
        (folder / "git").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "git").chmod(0o755)
    with monkeypatch.context() as place:
        place.setenv("PATH", f"{folder}:/nowhere" if script is None else f"{folder}:{os.environ['PATH']}")
        attempt = start_gate(find_gate("gate1"), tmp_path / "out", None, OVERRIDES, make_config(), None)
    git = attempt.start["provenance"]["git"]
    assert git == {"commit": None, "branch": None, "dirty": None, "why": git["why"]}
    assert why in git["why"]
    report = close_attempt(attempt, "failed", ["a test"])
    assert report["provenance"]["git"] == git
    assert f"- commit not known: {git['why']}\n" in (attempt.folder / "report.md").read_text()
    assert f"not known: {git['why']}" in html.unescape(write_page(tmp_path / "out").read_text())
    assert f"# commit not known: {git['why']}" in "\n".join(reproduction(tmp_path / "out", "gate1", None))


def test_unknown_changes_are_not_called_clean() -> None:
    git = {"commit": "a" * 40, "branch": "trunk", "dirty": None, "why": "index file corrupt"}
    assert provenance.git_words(git) == f"commit {'a' * 40} on trunk, changes not known: index file corrupt"
