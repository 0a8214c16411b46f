"""When to kill: some time into a step or an evaluation, or between two things that a run does with its files.

The moments of the second kind last milliseconds, and nobody hits them from outside. So the process that is to die
watches itself, through Python's audit events: from the event that opens the window it counts its calls of C functions
(write, flush, fsync, …), and sends itself SIGKILL at the one that was drawn, or at the event that closes the window.
Training knows nothing of it.
"""

import os
import re
import signal
import sys
from dataclasses import dataclass
from random import Random
from typing import Any

# (audit event, what the path in it ends with) that opens and that closes each window.
WINDOWS = {
    "writing a checkpoint": (("open", r"/\.supernet_\w+\.ckpt\.\w+\.tmp"), ("os.rename", r"/supernet_\w+\.ckpt")),
    "keeping the one before": (("os.link", r"/supernet_last\.previous\.ckpt"), ("os.rename", r"/supernet_last\.ckpt")),
    "between best and last": (("os.rename", r"/supernet_best\.ckpt"), ("os.rename", r"/supernet_last\.ckpt")),
    "publishing": (("open", r"/\.fairness_counts\.json\.\w+\.tmp"), ("os.rename", r"/train_manifest\.json")),
    "resuming": (("open", r"/supernet_last\.ckpt"), ("os.rename", r"/eval_pool_12\.json")),
}
TIMED = ("a step", "an evaluation")
# More calls than any window has: a draw beyond its end kills at its end.
MOST_CALLS = 3000


@dataclass(frozen=True)
class Kill:
    """One kill to be made.

    moment: a key of `WINDOWS`, or one of `TIMED`.
    occurrence: at which of the process's windows, steps or evaluations, counted from 1.
    calls: C calls into a window.
    delay: how far into a step or an evaluation, as a fraction of what it typically takes.
    """

    moment: str
    occurrence: int
    calls: int
    delay: float


def draw_kill(moment: str, random: Random) -> Kill:
    """A kill at this moment; small and large numbers of calls are equally likely on a logarithmic scale."""
    occurrence = 1 if moment in ("publishing", "resuming", "an evaluation") else random.randint(1, 2)
    return Kill(moment, occurrence, round(MOST_CALLS ** random.random()), random.random())


def report_steps(pipe: int) -> None:
    """Write a byte into `pipe` whenever this process has made a step, which is when it adds to its trace."""

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and arguments[1] == "a" and str(arguments[0]).endswith("/trace.jsonl"):
            os.write(pipe, b".")

    sys.addaudithook(watch)


def kill_within(kill: Kill) -> None:
    """Make this process kill itself in one of `WINDOWS`."""
    opening, closing = WINDOWS[kill.moment]
    seen = 0
    is_open = False

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal seen
        if event == "c_call":
            seen += 1
            if seen >= kill.calls:
                os.kill(os.getpid(), signal.SIGKILL)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen, is_open
        if event not in ("open", "os.link", "os.rename"):
            return
        path = str(arguments[0] if event == "open" else arguments[1])
        if is_open:
            if event == closing[0] and re.search(f"{closing[1]}$", path):
                os.kill(os.getpid(), signal.SIGKILL)
        elif event == opening[0] and re.search(f"{opening[1]}$", path):
            seen += 1
            if seen == kill.occurrence:
                is_open, seen = True, 0
                sys.setprofile(count)

    sys.addaudithook(watch)
