"""The package's one exception for mistakes that the user can mend, and how commands end on it."""

import sys
from collections.abc import Callable
from typing import NoReturn

EXIT_DONE = 0
EXIT_CHECK_FAILED = 1
EXIT_WRONG_USE = 2
EXIT_INTERRUPTED = 3


class UserError(Exception):
    """A mistake in what the user gave: says what was expected, what was found, where, and what to do."""


def run_command(main: Callable[[], int]) -> NoReturn:
    """Exit with what `main` returns; a UserError becomes one line on stderr and exit code 2.

    Any other exception is a bug and keeps its trace.
    """
    try:
        code = main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = EXIT_WRONG_USE
    sys.exit(code)
