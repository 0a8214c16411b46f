"""Running a converter or compiler in a process of its own, whose full disk is told as that of any other write."""

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgeflownas.errors import CannotWrite, writing

# What they fail for that is no fault of theirs, as the system words it.
_OF_THE_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENFILE)


@contextmanager
def work_folder() -> Iterator[Path]:
    """A folder for what a child reads and writes, removed afterwards.

    Raises:
        CannotWrite: it cannot be made, or written to.
    """
    with writing(tempfile.gettempdir()), tempfile.TemporaryDirectory(prefix="edgeflownas-") as name:
        yield Path(name)


def run_child(command: Sequence[str], folder: Path, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command to its end, `text` being its input, with what it prints.

    Raises:
        CannotWrite: it failed for lack of space, or another limit of the place where it writes.
    """
    environment = os.environ | {"TMPDIR": str(folder)}
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        for number in _OF_THE_PLACE:
            if os.strerror(number) in done.stderr:
                raise CannotWrite(folder, OSError(number, os.strerror(number)))
    return done
