"""Signals that ask a process to stop: at once, or at a point where the running code allows it.

They are SIGTERM (`kill`, and twice from Slurm), SIGINT (Ctrl-C) and SIGHUP (a terminal that is closed). A signal that
is ignored, as `nohup` ignores SIGHUP, is still ignored. Only the main thread can handle signals; in other threads
nothing changes.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

Item = TypeVar("Item")

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# A signal often comes twice: from Slurm, or from the terminal and from the parent process. Only the third one kills.
SIGNALS_BEFORE_KILL = 3


class Stopped(Exception):
    """The process was asked to stop, and its current work was abandoned."""


class StopRequest:
    """Whether the process was asked to stop."""

    def __init__(self) -> None:
        self.made = False

    def check(self) -> None:
        """Raises: Stopped if it was."""
        if self.made:
            raise Stopped

    def between(self, items: Iterable[Item]) -> Iterator[Item]:
        """Those items; raises Stopped before the next one if it was."""
        for item in items:
            self.check()
            yield item


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Within the block, record signals without interrupting anything."""
    request = StopRequest()

    # No lock in here (as `threading.Event` has one): a second signal interrupts the handler of the first.
    def note(number: int, frame: FrameType | None) -> None:
        request.made = True

    before = _handle(note)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let the first signal raise KeyboardInterrupt in the block, which must be the last thing that the process does.

    After that the second one, which often follows, disturbs nothing, and the third one kills.
    """
    received = 0

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received += 1
        if received == 1:
            raise KeyboardInterrupt
        if received >= SIGNALS_BEFORE_KILL:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    before = _handle(interrupt)
    try:
        yield
    finally:
        if not received:
            for number, handler in before.items():
                signal.signal(number, handler)


def _handle(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """The previous handlers of the signals, by number."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    before = {number: signal.getsignal(number) for number in SIGNALS}
    heard: dict[int, Any] = {number: old for number, old in before.items() if old != signal.SIG_IGN}
    for number in heard:
        signal.signal(number, handler)
    return heard
