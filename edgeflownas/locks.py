"""A lock that is released when its owner ends, and that names its owner."""

import fcntl
from pathlib import Path
from typing import IO

from edgeflownas.errors import writing


class LockHeld(Exception):
    """Another process holds the lock; the message names it."""


def take_lock(path: Path, owner: str) -> IO[str]:
    """Lock `path` and write `owner` into it. The lock lasts as long as the returned file is open.

    Raises:
        LockHeld: with what its holder wrote.
        CannotWrite: the file cannot be made.
    """
    with writing(path):
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (open is what holds the lock)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise LockHeld(holder) from None
    with writing(path):
        file.truncate(0)
        file.write(owner)
        file.flush()
    return file
