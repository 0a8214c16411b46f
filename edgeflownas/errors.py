"""What the user can fix, as exceptions: mistakes, and paths that cannot be written to; and how commands end on them."""

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

# System errors that come from the path and not from a bug, and what to do.
REMEDIES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM), "give a path that you may write to, or ask its owner"),
    errno.EROFS: "give a path on a writable file system",
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free space there, or give another path"),
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or give another path",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "its links are circular: give another path",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "raise the limit on open files (ulimit -n)"),
    errno.EPIPE: "the process that read it has ended",
    **dict.fromkeys((errno.EIO, errno.ESTALE), "check the disk or the network file system, or give another path"),
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
    """The command ran, and its check failed: the message is the finding, the exit code 1."""


class CannotWrite(OSError):
    """An output cannot be written: the text, one line, says what, why, and what to do.

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
    """Make a folder and its parents; it may exist already.

    Raises:
        CannotWrite: it cannot be made.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


def require_writable(path: Path | str) -> Path:
    """The path of a file that will be written later, refused before anything is computed for it.

    Raises:
        CannotWrite: what is there is no file, or the folder that it goes into is no place to write to.
    """
    path = Path(path)
    refuse_no_file(path)
    _require_room(path, path.parent)
    return path


def require_writable_folder(path: Path | str) -> Path:
    """The path of a folder into which files will be written later, refused before anything is computed for them.

    Raises:
        CannotWrite: what is there is no folder, or one that cannot be written to, or it cannot be made.
    """
    path = Path(path)
    _require_room(path, path)
    return path


def refuse_no_file(path: Path) -> None:
    """Refuse to put a file in the place of something else: a folder, or a device such as /dev/null.

    Raises:
        CannotWrite: there is such a thing.
    """
    if os.path.isdir(path):
        raise CannotWrite(path, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
    if os.path.exists(path) and not os.path.isfile(path):
        raise CannotWrite(path, OSError(errno.EINVAL, "it is no regular file"))


def _require_room(path: Path, folder: Path) -> None:
    while not os.path.lexists(folder):
        folder = folder.parent
    if not os.path.isdir(folder):
        what = "it" if folder == path else folder
        raise CannotWrite(path, NotADirectoryError(errno.ENOTDIR, f"{what} is no folder"))
    if not os.access(folder, os.W_OK | os.X_OK):
        number = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
        raise CannotWrite(path, OSError(number, f"{os.strerror(number)} ({folder})"))


def remedy_of(error: OSError) -> str:
    """What to do about a path that the system refuses."""
    return REMEDIES.get(error.errno or 0, "give another path")


def one_line(error: BaseException) -> str | None:
    """The message for a user's mistake or a path that the system refuses; None for a bug, which keeps its trace."""
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
        # A locale without ± or × must not end a run.
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
            # Nobody reads the rest of the output, and Python would try to write it again when it exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"error: {text}", file=sys.stderr)
        code = EXIT_WRONG_USE
    except CheckFailed as failure:
        print(f"failed: {failure}", file=sys.stderr)
        code = EXIT_CHECK_FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = EXIT_INTERRUPTED
        # If it came while Python ran a text (`exec`, as in `dataclass`), Python ends itself by SIGINT instead of with
        # this exit code, unless another text has run since.
        exec("")
    sys.exit(code)
