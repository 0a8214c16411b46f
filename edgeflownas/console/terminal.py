"""What a stream can show: a line that is written over, colours, or plain text."""

import os
import sys
from collections.abc import Mapping
from typing import IO

GREEN, YELLOW, RED, DIM = "32", "33", "31", "2"


def is_live(stream: IO[str] | None = None, environment: Mapping[str, str] | None = None) -> bool:
    """Whether a person looks at it now: a terminal that moves its cursor, and no Slurm job's log."""
    environment = os.environ if environment is None else environment
    stream = sys.stdout if stream is None else stream
    return stream.isatty() and environment.get("TERM", "dumb") != "dumb" and "SLURM_JOB_ID" not in environment


def painted(text: str, colour: str, stream: IO[str] | None = None, environment: Mapping[str, str] | None = None) -> str:
    """The text in a colour where the stream shows colours; `NO_COLOR` (no-color.org) switches them off."""
    environment = os.environ if environment is None else environment
    if not is_live(stream, environment) or environment.get("NO_COLOR"):
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"
