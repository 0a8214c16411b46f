"""A lock: one holder, named to the others, free when the holder ends in whatever way."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgeflownas.locks import LockHeld, take_lock

HOLD = """
import sys
from pathlib import Path
from edgeflownas.locks import take_lock
lock = take_lock(Path(sys.argv[1]), "node7 pid 4711, a long name that a shorter one replaces whole")
print("held", flush=True)
sys.stdin.read()
"""


def test_one_holds_it_and_is_named_to_the_others_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with take_lock(path, "first"):
        for _ in range(2):
            with pytest.raises(LockHeld, match=r"^first$"):
                take_lock(path, "second")
        assert path.read_text() == "first"
    with take_lock(path, "second"):
        assert path.read_text() == "second"


def test_a_lock_without_a_name_is_another_processs(tmp_path: Path) -> None:
    with take_lock(tmp_path / "lock", ""), pytest.raises(LockHeld, match=r"^another process$"):
        take_lock(tmp_path / "lock", "second")


def test_it_dies_with_a_process_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockHeld, match=r"^node7 pid 4711, a long name that a shorter one replaces whole$"):
            take_lock(path, "us")
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
        with take_lock(path, "us"):
            assert path.read_text() == "us"
