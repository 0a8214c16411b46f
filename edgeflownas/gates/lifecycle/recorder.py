"""The one way to run a command and record it: argv, exit code, seconds, peak memory, log.

Signals are passed on to the command, and the command never outlives its recorder.
"""

import ctypes
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from edgeflownas.errors import EXIT_INTERRUPTED, writing
from edgeflownas.gates.lifecycle.attempts import Attempt
from edgeflownas.processes import this_process

TAIL_LINES = 20
# SIGTERM arrives twice from Slurm, and people press Ctrl-C twice: only the third one kills.
SIGNALS_BEFORE_KILL = 3
_PR_SET_PDEATHSIG = 1
_INTERPRETER = re.compile(r"/bin/python[\d.]*$")


def now() -> str:
    """This moment, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def record_command(
    attempt: Attempt, name: str, argv: Sequence[str], expected_exit: int, quiet: bool, extra_log: Path | None
) -> dict[str, Any]:
    """Run `argv`, its output going to the attempt's log, to `extra_log`, and to the terminal unless `quiet`.

    Returns:
        The record, also written to the attempt: its `status` is `done` (the expected exit code, and its logs are
        whole), `failed`, or `interrupted` (a signal reached this recorder, or the command said so by exit code 3).

    Raises:
        CannotWrite: a log, or the record, cannot be written to begin with.
    """
    record: dict[str, Any] = {
        "name": name,
        "argv": list(argv),
        "expected_exit": expected_exit,
        "status": "running",
        "started": now(),
        "process": this_process(),
        "log": str(attempt.log_path(name)),
    }
    begin = time.monotonic()
    logs = [attempt.log_path(name)] + ([extra_log] if extra_log else [])
    with _Forwarding() as signals:
        # Not before signals are caught: a person who sees the record may cancel at once.
        attempt.write_command(record)
        exit_code, peak_mb, faults = _run(argv, logs, quiet, signals)
        tail = [*_tail(attempt.log_path(name)), *faults]
        if signals.received or (exit_code == EXIT_INTERRUPTED and expected_exit != EXIT_INTERRUPTED):
            status = "interrupted"
        else:
            status = "done" if exit_code == expected_exit and not faults else "failed"
        record |= {
            "status": status,
            "exit_code": exit_code,
            "seconds": round(time.monotonic() - begin, 3),
            "peak_memory_mb": peak_mb,
            "ended": now(),
            "log_tail": tail,
            "log_faults": faults,
        }
        # Signals are caught until it is written: one that comes now must not leave a record that says "running".
        attempt.write_command(record)
    return record


def command_line(argv: Sequence[str]) -> str:
    """`argv` as one would type it, with `python` for an interpreter's full path."""
    return shlex.join(["python" if _INTERPRETER.search(word) else word for word in argv])


class _Forwarding:
    """While entered, signals that ask this process to end go to the command instead; `received` lists them."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self._child: subprocess.Popen[bytes] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Forwarding":
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        self._before = {number: signal.signal(number, self._forward) for number in numbers}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def send_to(self, child: subprocess.Popen[bytes]) -> None:
        """Send them to `child`, also the one that came before it was born."""
        self._child = child
        if self.received:
            os.killpg(child.pid, self.received[0])

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)
        if self._child is not None and self._child.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, number if len(self.received) < SIGNALS_BEFORE_KILL else signal.SIGKILL)


class _Output:
    """Where the output of a command goes: its logs, and the terminal unless `quiet`.

    It reads everything, even if it cannot be written: a command whose output nobody reads blocks for ever. `faults`
    says which logs lack something, and why.
    """

    def __init__(self, logs: Sequence[Path], quiet: bool, stack: ExitStack) -> None:
        self.faults: list[str] = []
        self._logs: dict[Path, BinaryIO] = {}
        self._terminal = None if quiet else sys.stdout.buffer
        for log in logs:
            with writing(log):
                log.parent.mkdir(parents=True, exist_ok=True)
                self._logs[log] = stack.enter_context(log.open("wb", buffering=0))

    def take_from(self, source: BinaryIO) -> None:
        """Read everything until its end."""
        while chunk := os.read(source.fileno(), 1 << 16):
            self.take(chunk)

    def take(self, chunk: bytes) -> None:
        """Write a piece of output to wherever it still can be written."""
        for log, file in list(self._logs.items()):
            try:
                _write_whole(file, chunk)
            except (OSError, ValueError) as error:
                del self._logs[log]
                # Closed: the command has ended, and it is a process of its own that still writes.
                if isinstance(error, OSError):
                    self.faults.append(f"{log}: the log ends here, because it cannot be written: {error.strerror}")
        if self._terminal is not None:
            try:
                self._terminal.write(chunk)
                self._terminal.flush()
            except (OSError, ValueError):
                self._terminal = None


def _write_whole(file: BinaryIO, chunk: bytes) -> None:
    # Unbuffered, a file may take only the beginning; the next write then says why.
    rest = memoryview(chunk)
    while rest:
        rest = rest[file.write(rest) :]


def _run(argv: Sequence[str], logs: Sequence[Path], quiet: bool, signals: _Forwarding) -> tuple[int, float, list[str]]:
    """Exit code (128 + signal if one ended it), peak memory in MiB, and what went wrong with its logs."""
    with ExitStack() as stack:
        output = _Output(logs, quiet, stack)
        try:
            child = _spawn(argv)
        except OSError as error:
            output.take(f"{argv[0]}: {error.strerror}\n".encode())
            return 127, 0.0, output.faults
        signals.send_to(child)
        copier = threading.Thread(target=output.take_from, args=(child.stdout,), daemon=True)
        copier.start()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        # A grandchild may hold the pipe open; what the command itself wrote is there at once.
        copier.join(timeout=2.0)
        exit_code = child.returncode if child.returncode >= 0 else 128 - child.returncode
        return exit_code, round(usage.ru_maxrss / 1024, 1), list(output.faults)


def _spawn(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    # A separate session: Ctrl-C on the terminal reaches the command once, through us, not twice.
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _tail(log: Path) -> list[str]:
    """The last lines of a log; of a progress line that overwrites itself, what one sees at the end."""
    text = log.read_bytes()[-20_000:].decode("utf-8", errors="replace")
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")[-TAIL_LINES:]
    return [line.rpartition("\r")[2][:500] for line in lines]
