"""When to end a process: some time into a step or an evaluation, or between two things that a run does.

The moments of the second kind last milliseconds, and nobody hits them from outside. So the process that is to end
watches itself, through Python's audit events and profiler: from what opens the window it counts its calls of C
functions (write, flush, fsync, …), and sends itself the signal at the one that was drawn, or at what closes the window.
Training knows nothing of it.
"""

import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from types import FrameType
from typing import Any

from edgeflownas.runs.state import RunState
from edgeflownas.training.evaluation import Evaluator

# Something that a run does: (audit event, what the path in it ends with), or ("call" or "return", a function).
Sign = tuple[str, Any]
START: Sign = ("start", None)
TRACE: Sign = ("open", r"/trace\.jsonl")
LAST_SAVED: Sign = ("os.rename", r"/supernet_last\.ckpt")

# What opens and what closes each window; those of `JUDGING` count from the last step of an epoch.
WINDOWS: dict[str, tuple[Sign, Sign]] = {
    "writing a checkpoint": (("open", r"/\.supernet_\w+\.ckpt\.\w+\.tmp"), ("os.rename", r"/supernet_\w+\.ckpt")),
    "keeping the one before": (("os.link", r"/supernet_last\.previous\.ckpt"), LAST_SAVED),
    "between best and last": (("os.rename", r"/supernet_best\.ckpt"), LAST_SAVED),
    "publishing": (("open", r"/\.fairness_counts\.json\.\w+\.tmp"), ("os.rename", r"/train_manifest\.json")),
    "resuming": (("open", r"/supernet_last\.ckpt"), ("os.rename", r"/eval_pool_12\.json")),
    "before the save": (START, LAST_SAVED),
    "between save and judging": (LAST_SAVED, ("call", Evaluator.recalibrate)),
    "recalibrating": (("call", Evaluator.recalibrate), ("return", Evaluator.recalibrate)),
    "validating": (("call", Evaluator.measure), ("return", Evaluator.measure)),
    "before the row": (("return", Evaluator.measure), ("return", RunState.finish_epoch)),
    "between row and checkpoint": (("return", RunState.finish_epoch), LAST_SAVED),
    "flow samples": (("call", Evaluator.predict), ("return", Evaluator.predict)),
}
# Within the judging of an epoch, in order; from the second one on the last checkpoint holds it.
JUDGING = (
    *("before the save", "between save and judging", "recalibrating", "validating"),
    *("before the row", "between row and checkpoint"),
)
TIMED = ("a step", "an evaluation")
# More calls than any window has: a draw beyond its end strikes at its end.
MOST_CALLS = 3000


@dataclass(frozen=True)
class Kill:
    """One end to be made.

    moment: a key of `WINDOWS`, or one of `TIMED`.
    number: SIGKILL, or SIGTERM, which is sent twice, as Slurm does.
    occurrence: at which of the process's windows, steps or evaluations, counted from 1.
    calls: C calls into a window.
    delay: how far into a step or an evaluation, as a fraction of what it typically takes.
    """

    moment: str
    number: signal.Signals
    occurrence: int
    calls: int
    delay: float

    def send(self, process: int) -> None:
        """Send the signal."""
        for _ in range(1 if self.number == signal.SIGKILL else 2):
            os.kill(process, self.number)


def draw_kill(moment: str, number: signal.Signals, random: Random) -> Kill:
    """A kill at this moment; small and large numbers of calls are equally likely on a logarithmic scale."""
    often = ("a step", "writing a checkpoint", "keeping the one before", "between best and last")
    occurrence = random.randint(1, 2) if moment in often else 1
    return Kill(moment, number, occurrence, round(MOST_CALLS ** random.random()), random.random())


def report_steps(pipe: int) -> None:
    """Write a byte into `pipe` whenever this process has made a step, which is when it adds to its trace."""

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and arguments[1] == "a" and re.search(f"{TRACE[1]}$", str(arguments[0])):
            os.write(pipe, b".")

    sys.addaudithook(watch)


def kill_within(kill: Kill, after_steps: int, struck: Callable[[], object]) -> None:
    """Make this process send itself the signal in one of `WINDOWS`, that is looked for after so many steps.

    `struck` is called just before.
    """
    window = _Window(kill, struck)
    steps = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal steps
        if event not in ("open", "os.link", "os.rename"):
            return
        path = str(arguments[0] if event == "open" else arguments[1])
        if steps < after_steps:
            if event == "open" and arguments[1] == "a" and re.search(f"{TRACE[1]}$", path):
                steps += 1
                if steps == after_steps:
                    window.look_for()
        else:
            window.sees(event, path)

    sys.addaudithook(watch)
    if after_steps == 0:
        window.look_for()


class _Window:
    def __init__(self, kill: Kill, struck: Callable[[], object]) -> None:
        self._kill = kill
        self._struck = struck
        self._opening, self._closing = WINDOWS[kill.moment]
        self._opened = self._calls = 0
        self._is_open = self._is_over = False

    def look_for(self) -> None:
        if self._opening == START:
            self._open()
        elif self._opening[0] in ("call", "return"):
            sys.setprofile(self._profile)

    def sees(self, event: str, what: Any) -> None:
        if self._is_over:
            return
        if self._is_open:
            if _is(self._closing, event, what):
                self._strike()
        elif _is(self._opening, event, what):
            self._opened += 1
            if self._opened == self._kill.occurrence:
                self._open()

    def _open(self) -> None:
        self._is_open = True
        sys.setprofile(self._profile)

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call":
            self._calls += self._is_open
            if self._is_open and self._calls >= self._kill.calls:
                self._strike()
        elif event in ("call", "return"):
            self.sees(event, frame.f_code)

    def _strike(self) -> None:
        self._is_over = True
        sys.setprofile(None)
        self._struck()
        self._kill.send(os.getpid())


def _is(sign: Sign, event: str, what: Any) -> bool:
    if sign[0] != event:
        return False
    return bool(re.search(f"{sign[1]}$", what)) if isinstance(what, str) else sign[1].__code__ is what
