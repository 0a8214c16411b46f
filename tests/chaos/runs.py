"""Training processes that can be killed, forked from one that has imported all they need: importing takes longest."""

import os
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeflownas.errors import EXIT_DONE, run_command
from edgeflownas.train_supernet import main
from tests.chaos.moments import TIMED, Kill, kill_within, report_steps

EXIT_BUG = 70
STRUCK = b"!"


@dataclass(frozen=True)
class Ended:
    """How a training process ended.

    struck: whether the signal was sent, and ended it.
    seconds: from the signal to its end.
    step_times: when it had made each of its steps, in seconds of a clock.
    """

    struck: bool
    exit_code: int
    seconds: float
    step_times: list[float]


def train(flags: Sequence[str], log: Path, kill: Kill | None = None, after_steps: int = 0, wait: float = 0.0) -> Ended:
    """Run `train_supernet` in a process of its own, to its end or to its kill.

    Args:
        flags: as typed.
        log: where what it prints is appended.
        kill: None lets it come to its end.
        after_steps: the moment is looked for when it has made so many steps.
        wait: for a kill of `TIMED`: seconds after that.
    """
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reader)
        _be_the_training(flags, log, kill, after_steps, writer)
    os.close(writer)
    step_times: list[float] = []
    struck = None
    while byte := os.read(reader, 1):
        if byte == STRUCK:
            struck = time.monotonic()
            continue
        step_times.append(time.monotonic())
        if kill and kill.moment in TIMED and len(step_times) == after_steps:
            time.sleep(wait)
            struck = time.monotonic()
            kill.send(process)
    os.close(reader)
    exit_code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    ended_it = struck is not None and exit_code != EXIT_DONE
    return Ended(ended_it, exit_code, time.monotonic() - (struck or time.monotonic()), step_times)


def _be_the_training(flags: Sequence[str], log: Path, kill: Kill | None, after_steps: int, pipe: int) -> None:
    printed = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    try:
        report_steps(pipe)
        if kill and kill.moment not in TIMED:
            kill_within(kill, after_steps, lambda: os.write(pipe, STRUCK))
        run_command(lambda: main(flags))
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        code = EXIT_BUG
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
