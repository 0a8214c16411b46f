"""How fast a run goes, how long it still takes, and on what its time goes."""

import time
from collections import deque
from collections.abc import Callable

PHASES = ("waiting", "training", "recalibration", "validation", "saving")
"""What a run spends its seconds on: waiting for the input, fair cycles, the two parts of judging, checkpoints."""

# Steps that the rate is taken over: enough to be steady, few enough to follow a change.
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
        """Something else than steps is done from `now` on: judging."""
        self._pause_began, self._last = now, None

    def pause_ends(self, now: float) -> None:
        """Steps go on."""
        if self._pause_began is not None:
            self._pause = now - self._pause_began

    @property
    def steps_per_second(self) -> float | None:
        """None until two steps followed one another."""
        total = sum(self._seconds)
        return len(self._seconds) / total if total > 0 else None

    def seconds_left(self, steps: int, pauses: int) -> float | None:
        """For so many steps and pauses, each pause as long as the last one; None while the rate is not known."""
        rate = self.steps_per_second
        return None if rate is None else steps / rate + pauses * (self._pause or 0.0)


class PhaseTimer:
    """Adds up the seconds of each phase: all time belongs to the phase entered last."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._phase: str | None = None

    def enter(self, phase: str, seconds: dict[str, float]) -> None:
        """A phase begins, or goes on; what the one before took is added to `seconds`."""
        now = self._clock()
        if self._phase is not None:
            seconds[self._phase] += now - self._since
        self._phase, self._since = phase, now
