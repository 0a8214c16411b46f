"""The throughput of a run, the time left, and where its time goes."""

import time
from collections import deque
from collections.abc import Callable

PHASES = ("waiting", "training", "recalibration", "validation", "saving")
"""What a run spends its time on: waiting for input, fair cycles, the two parts of the evaluation, checkpoints."""

# Steps over which the rate is averaged: enough to be steady, few enough to follow a change.
WINDOW = 50


class Throughput:
    """Steps per second over the last steps, from one finished step to the next, without the pauses between.

    The first step of a process builds its graph, and what follows a pause waits for data: neither counts.
    """

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=WINDOW)
        self._last: float | None = None
        self._pause_began: float | None = None
        self._pause: float | None = None

    def step_done(self, now: float) -> None:
        """A step ended at `now`, seconds of a monotonic clock."""
        if self._last is not None:
            self._seconds.append(now - self._last)
        self._last = now

    def pause_begins(self, now: float) -> None:
        """From `now` on something other than steps is done: the evaluation."""
        self._pause_began, self._last = now, None

    def pause_ends(self, now: float) -> None:
        """Steps go on."""
        if self._pause_began is not None:
            self._pause = now - self._pause_began

    @property
    def steps_per_second(self) -> float | None:
        """None until two steps in a row have finished."""
        total = sum(self._seconds)
        return len(self._seconds) / total if total > 0 else None

    def seconds_left(self, steps: int, pauses: int) -> float | None:
        """Seconds for this many steps and pauses, each as long as the last one; None if the rate is unknown."""
        rate = self.steps_per_second
        return None if rate is None else steps / rate + pauses * (self._pause or 0.0)


class PhaseTimer:
    """Adds up the seconds of each phase: all time belongs to the phase entered last."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._phase: str | None = None

    def enter(self, phase: str, seconds: dict[str, float]) -> None:
        """Start or continue a phase; the time of the previous one is added to `seconds`."""
        now = self._clock()
        if self._phase is not None:
            seconds[self._phase] += now - self._since
        self._phase, self._since = phase, now
