"""Training processes that can be killed, forked from one that has imported all they need: importing takes longest."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeflownas.errors import run_command
from edgeflownas.train_supernet import main
from tests.chaos.moments import TIMED, Kill, kill_within, report_steps

EXIT_BUG = 70


@dataclass(frozen=True)
class Ended:
    """How a training process ended; `step_times` are when it had made each of its steps, in seconds of a clock."""

    killed: bool
    exit_code: int
    step_times: list[float]


def train(flags: Sequence[str], log: Path, kill: Kill | None = None, after_steps: int = 0, wait: float = 0.0) -> Ended:
    """Run `train_supernet` in a process of its own, to its end or to its kill.

    Args:
        flags: as typed.
        log: where what it prints is appended.
        kill: None lets it come to its end.
        after_steps: for a kill of `TIMED`: when it has made so many steps, and `wait` more seconds have passed.
        wait: see there.
    """
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reader)
        _be_the_training(flags, log, kill, writer)
    os.close(writer)
    step_times: list[float] = []
    while os.read(reader, 1):
        step_times.append(time.monotonic())
        if kill and kill.moment in TIMED and len(step_times) == after_steps:
            time.sleep(wait)
            os.kill(process, signal.SIGKILL)
    os.close(reader)
    status = os.waitpid(process, 0)[1]
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return Ended(killed, os.waitstatus_to_exitcode(status), step_times)


def _be_the_training(flags: Sequence[str], log: Path, kill: Kill | None, pipe: int) -> None:
    printed = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    try:
        report_steps(pipe)
        if kill and kill.moment not in TIMED:
            kill_within(kill)
        run_command(lambda: main(flags))
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        code = EXIT_BUG
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
