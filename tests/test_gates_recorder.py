"""The recorder keeps what a command did, passes signals on, and is never outlived by its command."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeflownas.errors import CannotWrite
from edgeflownas.gates.lifecycle.attempts import Attempt, next_attempt
from edgeflownas.gates.lifecycle.recorder import command_line, record_command
from edgeflownas.processes import is_alive, this_process

# Runs the recorder in a process of its own, on the command that follows.
RECORD = """
import sys
from pathlib import Path
from edgeflownas.gates.lifecycle.attempts import Attempt
from edgeflownas.gates.lifecycle.recorder import record_command
extra_log = Path(sys.argv[2]) if sys.argv[2] else None
print(record_command(Attempt("gate1", 1, Path(sys.argv[1])), "work", sys.argv[3:], 0, False, extra_log)["status"])
"""


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    """An attempt's empty folder."""
    return next_attempt(tmp_path, "gate1")


def python(*words: str) -> list[str]:
    """A command line of this Python."""
    return [sys.executable, "-c", *words]


def test_record_holds_exit_code_output_time_and_memory(attempt: Attempt, tmp_path: Path) -> None:
    copy = tmp_path / "copy.log"
    words = "import sys; print('to stdout'); print('to stderr', file=sys.stderr); sys.exit(7)"
    record = record_command(attempt, "work", python(words), 0, quiet=True, extra_log=copy)
    assert (record["status"], record["exit_code"]) == ("failed", 7)
    assert sorted(attempt.log("work").splitlines()) == ["to stderr", "to stdout"]
    assert copy.read_text() == attempt.log("work")
    assert record["log_tail"] == attempt.log("work").splitlines()
    assert record["seconds"] > 0
    assert record["peak_memory_mb"] > 1
    assert attempt.command("work") == record


def test_expected_exit_code_is_done(attempt: Attempt) -> None:
    assert record_command(attempt, "work", python("exit(2)"), 2, True, None)["status"] == "done"


def test_exit_code_3_is_an_interruption(attempt: Attempt) -> None:
    assert record_command(attempt, "work", python("exit(3)"), 0, True, None)["status"] == "interrupted"


def test_missing_program_fails_with_its_name(attempt: Attempt) -> None:
    record = record_command(attempt, "work", ["no-such-program"], 0, True, None)
    assert (record["status"], record["exit_code"]) == ("failed", 127)
    assert "no-such-program" in attempt.log("work")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
@pytest.mark.parametrize("exit_code", [0, 7])
def test_a_full_disk_stops_no_command_and_is_told(attempt: Attempt, exit_code: int) -> None:
    # More than a pipe holds: a command whose output nobody took would stop for ever.
    words = python(f"print('x' * 300_000); exit({exit_code})")
    recorder = subprocess.run(
        [*python(RECORD), str(attempt.folder), "/dev/full", *words],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    assert recorder.stdout.splitlines() == ["x" * 300_000, "failed"]
    record = attempt.command("work")
    assert record["exit_code"] == exit_code
    fault = "/dev/full: the log ends here, because it cannot be written: No space left on device"
    assert (record["log_faults"], record["log_tail"][-1]) == ([fault], fault)
    assert attempt.log("work") == "x" * 300_000 + "\n"


def test_a_terminal_that_closes_costs_the_log_nothing(attempt: Attempt) -> None:
    words = python("import time; time.sleep(1); print('one', flush=True); print('x' * 300_000)")
    quiet_record = RECORD.replace("print(", "len(")
    with subprocess.Popen([*python(quiet_record), str(attempt.folder), "", *words], stdout=subprocess.PIPE) as recorder:
        assert recorder.stdout is not None
        recorder.stdout.close()
    assert attempt.log("work") == "one\n" + "x" * 300_000 + "\n"
    assert attempt.command("work")["status"] == "done"


def test_a_log_that_cannot_be_opened_is_told_in_one_line(attempt: Attempt) -> None:
    attempt.log_path("work").mkdir()
    with pytest.raises(CannotWrite, match=r"work\.log: cannot be written: Is a directory"):
        record_command(attempt, "work", python("pass"), 0, True, None)


def test_only_the_last_lines_are_kept_in_the_record(attempt: Attempt) -> None:
    record = record_command(attempt, "work", python("for i in range(100): print(i)"), 0, True, None)
    assert record["log_tail"] == [str(i) for i in range(80, 100)]


def begin(attempt: Attempt, words: str) -> subprocess.Popen[str]:
    """Record a Python line in another process, and wait until that line runs."""
    command = [*python(RECORD), str(attempt.folder), "", *python(words)]
    recorder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    # Its output comes in pieces: the line is there once its end is.
    wait_until(lambda: attempt.log_path("work").exists() and "\n" in attempt.log("work"))
    assert attempt.log("work").startswith("ready")
    return recorder


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what comes at once on an idle machine, and some time on a busy one."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_signal_reaches_the_command_which_may_finish(attempt: Attempt) -> None:
    words = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(3)); "
        "print('ready'); time.sleep(60)"
    )
    recorder = begin(attempt, words)
    recorder.send_signal(signal.SIGTERM)
    recorder.send_signal(signal.SIGTERM)
    # An unbuffered command may end between a line and its line break.
    assert recorder.communicate(timeout=120)[0].endswith("interrupted\n")
    assert attempt.command("work")["exit_code"] in (3, 128 + signal.SIGTERM)


# Sends itself a signal after the command has ended: before its record is put together, or as it is written.
LATE_SIGNAL = """
import os
from edgeflownas.gates.lifecycle import recorder
from edgeflownas.gates.lifecycle.attempts import Attempt
_tail, write_command = recorder._tail, Attempt.write_command

def late_tail(log):
    os.kill(os.getpid(), {number})
    return _tail(log)

def late_write(attempt, record):
    if record["status"] != "running":
        os.kill(os.getpid(), {number})
    write_command(attempt, record)

{change}
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("change", "status"),
    [("recorder._tail = late_tail", "interrupted"), ("Attempt.write_command = late_write", "done")],
    ids=["ended", "written"],
)
def test_a_signal_after_the_command_ended_leaves_no_record_of_a_running_one(
    attempt: Attempt, number: signal.Signals, change: str, status: str
) -> None:
    command = python(LATE_SIGNAL.format(number=int(number), change=change) + RECORD)
    recorder = subprocess.run(
        [*command, str(attempt.folder), "", *python("pass")], stdout=subprocess.PIPE, text=True, check=False
    )
    assert (recorder.returncode, recorder.stdout) == (0, f"{status}\n")
    assert attempt.command("work")["status"] == status


def test_third_signal_ends_a_command_that_does_not_listen(attempt: Attempt) -> None:
    words = "import os, signal, time; signal.signal(2, lambda *_: 0); print(f'ready {os.getpid()}'); time.sleep(600)"
    recorder = begin(attempt, words)
    child = this_process(int(attempt.log("work").split()[1])) | {"slurm_job_id": None}
    sent = 0
    while is_alive(child):
        recorder.send_signal(signal.SIGINT)
        sent += 1
        # On a busy machine two of them may arrive as one; after the third, it is given time to end.
        waiting = time.monotonic() + (0.1 if sent < 3 else 10)
        while is_alive(child) and time.monotonic() < waiting:
            time.sleep(0.02)
    assert sent >= 3
    recorder.communicate(timeout=120)
    assert attempt.command("work")["exit_code"] == 128 + signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal")
def test_command_dies_with_a_killed_recorder(attempt: Attempt) -> None:
    recorder = begin(attempt, "import os, time; print('ready', os.getpid()); time.sleep(60)")
    child = this_process(int(attempt.log("work").split()[1]))
    assert is_alive(child | {"slurm_job_id": None})
    recorder.kill()
    recorder.wait(timeout=120)
    wait_until(lambda: not is_alive(child | {"slurm_job_id": None}))
    assert attempt.command("work")["status"] == "running"


def test_owner_is_recognised_beyond_reuse_of_its_number() -> None:
    me = this_process() | {"slurm_job_id": None}
    assert is_alive(me)
    assert not is_alive(me | {"pid_started": 1})
    assert is_alive(me | {"host": "another host"})
    assert not is_alive(None)


def test_command_line_can_be_typed() -> None:
    assert command_line([sys.executable, "-m", "x", "--root", "a; b"]) == "python -m x --root 'a; b'"


def test_record_file_is_json_in_order_of_start(attempt: Attempt) -> None:
    for name in ("zebra", "ant"):
        record_command(attempt, name, python("pass"), 0, True, None)
    files = sorted((attempt.folder / "commands").iterdir())
    assert [path.name for path in files] == ["01_zebra.json", "02_ant.json"]
    assert [json.loads(path.read_text())["name"] for path in files] == ["zebra", "ant"]
    assert os.listdir(attempt.folder / "logs") != []
