"""Artifacts: strict JSON in both directions, and whole files or none."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from edgeflownas.artifacts import parse_json, read_json, write_atomic, write_json
from edgeflownas.errors import UserError
from edgeflownas.runs.records import read_trace


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_no_artifact_is_written_with_a_number_that_is_none(tmp_path: Path, bad: float) -> None:
    path = tmp_path / "artifact.json"
    write_json(path, {"epe": 1.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"epe": [bad]})
    assert read_json(path) == {"epe": 1.0}
    assert [file.name for file in tmp_path.iterdir()] == ["artifact.json"]


@pytest.mark.parametrize(
    "text",
    [
        *("NaN", '{"epe": NaN}', "[Infinity]", "[-Infinity]", "1e999", "[-1e999]"),
        *("", "{", "{'a': 1}", "[1,]", "9" * 5000, "[" * 100_000, '"\udcff"'),
    ],
)
def test_what_is_not_strict_json_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "artifact.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"artifact\.json: not valid JSON"):
        read_json(path)


def test_a_trace_line_that_is_not_strict_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text('{"step": NaN}\n')
    with pytest.raises(UserError, match=r"trace\.jsonl line 1: not valid JSON \(NaN is no number of JSON\)"):
        read_trace(path)


def test_numbers_of_json_are_read() -> None:
    assert parse_json("[1, -2.5, 1e-4, 1E300, 123456789012345678901234567890]", "text") == [
        *(1, -2.5, 1e-4, 1e300, 123456789012345678901234567890)
    ]


def test_a_writer_killed_at_any_moment_leaves_the_old_artifact_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "artifact.bin"
    old, new = b"old" * 1000, b"new" * 1000
    path.write_bytes(old)
    fork = multiprocessing.get_context("fork")
    for kill_after in range(4):
        writer = fork.Process(target=_write_and_die, args=(path, new, kill_after))
        writer.start()
        writer.join()
        assert writer.exitcode == -signal.SIGKILL
        assert path.read_bytes() == old
    write_atomic(path, lambda file: file.write(new) and None)
    assert path.read_bytes() == new


def _write_and_die(path: Path, content: bytes, kill_after: int) -> None:
    """Write as everybody does, and die after so many thirds of the content, the last time before the rename."""
    third = len(content) // 3

    def write(file) -> None:
        for part in range(3):
            if part == kill_after:
                os.kill(os.getpid(), signal.SIGKILL)
            file.write(content[part * third : (part + 1) * third])
            file.flush()

    os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
    write_atomic(path, write)
