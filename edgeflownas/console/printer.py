"""What a run prints: one line that is updated on a terminal, plain lines with the time anywhere else.

Used by the process that trains and by `edgeflownas.watch`, which prints the same from the run's files.
"""

import shutil
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import IO, Any, Literal

from edgeflownas.console.terminal import is_live

Verbosity = Literal["quiet", "normal", "verbose"]
# Seconds between two updates of the line on a terminal, and between two plain lines.
LIVE_EVERY, PLAIN_EVERY = 0.2, 30.0


class Printer:
    """Prints to one stream; `quiet` prints nothing, `verbose` prints a plain line for every step."""

    def __init__(
        self,
        verbosity: Verbosity = "normal",
        stream: IO[str] | None = None,
        live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._quiet = verbosity == "quiet"
        self._live = (is_live(self._stream) if live is None else live) and verbosity == "normal"
        self._every = 0.0 if verbosity == "verbose" else LIVE_EVERY if self._live else PLAIN_EVERY
        self._clock = clock
        self._due = clock()
        self._line_is_open = False

    def is_due(self) -> bool:
        """Whether a line of progress would be shown now; asked before every step's line is made."""
        return not self._quiet and self._clock() >= self._due

    def progress(self, line: Callable[[], str]) -> None:
        """Show the progress, at a limited rate; `line` is called only if it will be shown."""
        if not self.is_due():
            return
        self._due = self._clock() + self._every
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            self._write(f"\r{line()[:width]}\x1b[K")
            self._line_is_open = True
        else:
            self._write(f"{_now()} {line()}\n")

    def print(self, text: str) -> None:
        """Print a permanent line."""
        if not self._quiet:
            self.end_line()
            self._write(f"{text}\n" if self._live else f"{_now()} {text}\n")

    def end_line(self) -> None:
        """Erase the progress line, so that other output starts at the left."""
        if self._line_is_open:
            self._write("\r\x1b[K")
            self._line_is_open = False

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def judging_line(judging: Mapping[str, Any]) -> str:
    """Which subnets are evaluated, and on what."""
    last = min(judging["subnet"] + judging["at_once"] - 1, judging["subnets"])
    subnets = f"subnets {judging['subnet']} to {last} of {judging['subnets']}"
    return f"evaluating {subnets}, {judging['part']} batch {judging['batch']}"


def _now() -> str:
    return datetime.now().strftime("%Y-%m-%d %H:%M:%S")
