"""Running a converter or compiler in a process of its own, whose full disk is told as that of any other write."""

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
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
    environment = _environment(folder)
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        _refuse_place(folder, done.stderr)
    return done


def child_lines(command: Sequence[str], folder: Path, text: str = "") -> Iterator[str]:
    """Run a command, `text` being its input, and take its lines as it prints them.

    It is killed if no more of them are asked for.

    Raises:
        CannotWrite: as `run_child`.
        RuntimeError: it failed for another reason.
    """
    with open(folder / "stderr.txt", "w+", encoding="utf-8", errors="replace") as said:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": said}
        with subprocess.Popen(command, **pipes, text=True, env=_environment(folder)) as child:  # type: ignore[call-overload]
            try:
                with suppress(BrokenPipeError):
                    child.stdin.write(text)
                    child.stdin.close()
                yield from child.stdout
                child.wait()
            finally:
                child.kill()
        if child.returncode != 0:
            said.seek(0)
            stderr = said.read()
            _refuse_place(folder, stderr)
            raise RuntimeError(f"{command[0]} ended with {child.returncode}:\n{stderr[-4000:]}")


def _environment(folder: Path) -> dict[str, str]:
    return os.environ | {"TMPDIR": str(folder)}


def _refuse_place(folder: Path, stderr: str) -> None:
    for number in _OF_THE_PLACE:
        if os.strerror(number) in stderr:
            raise CannotWrite(folder, OSError(number, os.strerror(number)))
