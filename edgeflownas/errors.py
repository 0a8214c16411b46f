"""The package's one exception for mistakes that the user can mend, and how commands end on it."""

import io
import sys
from collections.abc import Callable
from typing import NoReturn

EXIT_DONE = 0
EXIT_CHECK_FAILED = 1
EXIT_WRONG_USE = 2
EXIT_INTERRUPTED = 3


class UserError(Exception):
    """A mistake in what the user gave: says what was expected, what was found, where, and what to do.

    Its text is one line that any terminal shows as it is, whatever the names and values in it: control characters and
    bytes that are no text appear escaped.
    """

    def __str__(self) -> str:
        text = super().__str__()
        return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)


class CheckFailed(Exception):
    """What was asked for was done and came out wrong: the message is the finding, the exit code 1."""


def run_command(main: Callable[[], int]) -> NoReturn:
    """Exit with what `main` returns.

    A UserError becomes one line on stderr and exit code 2, a CheckFailed one line and 1, Ctrl-C one line and 3. Any
    other exception is a bug and keeps its trace.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A locale that has no ± or × must not end a training.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = EXIT_WRONG_USE
    except CheckFailed as failure:
        print(f"failed: {failure}", file=sys.stderr)
        code = EXIT_CHECK_FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = EXIT_INTERRUPTED
    sys.exit(code)
