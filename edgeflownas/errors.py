"""What the user can fix, as exceptions: a mistake, or a place that cannot be written to; and how commands end on it."""

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from edgeflownas.stopping import interruptible

EXIT_DONE = 0
EXIT_CHECK_FAILED = 1
EXIT_WRONG_USE = 2
EXIT_INTERRUPTED = 3

# What the system refuses because of the place and not because of a bug, and what to do.
REMEDIES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM), "give a place that you may use, or ask its owner"),
    errno.EROFS: "give a place on a file system that can be written to",
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free space there, or give another place"),
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or give another place",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "its links lead in a circle: give another place",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "raise the limit on open files (ulimit -n)"),
    errno.EPIPE: "whoever read it has ended",
    **dict.fromkeys((errno.EIO, errno.ESTALE), "look at the disk or the network file system, or give another place"),
}


def printable(text: str) -> str:
    """A text that any terminal shows as one line: control characters and bytes that are no text appear escaped."""
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)


class UserError(Exception):
    """A mistake in what the user gave: says what was expected, what was found, where, and what to do.

    Its text is one line that any terminal shows as it is, whatever the names and values in it: control characters and
    bytes that are no text appear escaped.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class CheckFailed(Exception):
    """What was asked for was done and came out wrong: the message is the finding, the exit code 1."""


class CannotWrite(OSError):
    """Something of ours cannot be written: its text, one line, says what, why, and what to do.

    An OSError and no UserError: a full disk must not be taken for a damaged record or a wrong config.
    """

    def __init__(self, path: Path | str, error: OSError) -> None:
        super().__init__(error.errno, error.strerror or str(error), str(path))

    def __str__(self) -> str:
        return printable(f"{self.filename}: cannot be written: {self.strerror}; {remedy_of(self)}")


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """While something is written at `path`: whatever the system refuses names that path.

    Raises:
        CannotWrite: with path, reason and remedy.
    """
    try:
        yield
    except CannotWrite:
        raise
    except OSError as error:
        raise CannotWrite(path, error) from error


def make_folder(path: Path) -> None:
    """Make a folder and those above it; one that is there is fine.

    Raises:
        CannotWrite: it cannot be made.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


def require_writable(path: Path | str) -> Path:
    """The path of what will be written later, refused before anything is computed for it.

    Raises:
        CannotWrite: what is there, or the folder that it goes into, is no place to write to.
    """
    folder = path = Path(path)
    while not os.path.lexists(folder):
        folder = folder.parent
    if not os.path.isdir(folder):
        if folder != path:
            raise CannotWrite(path, NotADirectoryError(errno.ENOTDIR, f"{folder} is no folder"))
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        number = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
        raise CannotWrite(path, OSError(number, f"{os.strerror(number)} ({folder})"))
    return path


def remedy_of(error: OSError) -> str:
    """What to do about a place that the system refuses."""
    return REMEDIES.get(error.errno or 0, "give another place")


def one_line(error: BaseException) -> str | None:
    """What to tell a user of a mistake, or of a place that the system refuses; None for a bug: it keeps its trace."""
    if isinstance(error, UserError | CannotWrite):
        return str(error)
    if isinstance(error, OSError) and error.errno in REMEDIES:
        return printable(f"{error.filename or 'standard output'}: {error.strerror}; {remedy_of(error)}")
    return None


def run_command(main: Callable[[], int]) -> NoReturn:
    """Exit with what `main` returns.

    A UserError, or a place that the system refuses, becomes one line on stderr and exit code 2, a CheckFailed one line
    and 1, a signal that asks it to stop (`stopping.SIGNALS`) one line and 3. Any other exception is a bug and keeps its
    trace.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A locale that has no ± or × must not end a training.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with interruptible():
            code = main()
            sys.stdout.flush()
    except (UserError, OSError) as error:
        text = one_line(error)
        if text is None:
            raise
        if isinstance(error, OSError) and error.filename is None:
            # Nobody takes what is left of the output, and Python would try once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"error: {text}", file=sys.stderr)
        code = EXIT_WRONG_USE
    except CheckFailed as failure:
        print(f"failed: {failure}", file=sys.stderr)
        code = EXIT_CHECK_FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = EXIT_INTERRUPTED
    sys.exit(code)
