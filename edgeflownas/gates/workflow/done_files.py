"""What Snakemake sees of a rule's results: an empty done file, in place of the results themselves.

Snakemake deletes what a rule declares: before its job runs, and when the job fails or is refused. So results are not
declared; commands replace them when they have better ones, and Snakemake writes the done file after them. As long as
nothing changed it has one name, and another one as soon as the rule must run again: a call that is refused, or fails,
leaves the old done file and the old results as they were.
"""

import json
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import sha256_of

DONE_VARIABLE = "EDGEFLOWNAS_DONE_FILES"
_NAME = re.compile(r"(\d+)-[0-9a-f]{16}")


class DoneFiles:
    """The done files below `<output_dir>/done/`: the main process names them, and tells its jobs by the environment.

    Args:
        output_dir: where gates publish.
        forced: names of rules, or files, that Snakemake was told to run again.
        everything: it was told so of all rules.
        main: this is the main process, not one of its jobs.
    """

    def __init__(self, output_dir: str, forced: Collection[str], everything: bool, main: bool) -> None:
        self._folder = Path(output_dir) / "done"
        self._forced = forced
        self._everything = everything
        self._names: dict[str, str] = {} if main else json.loads(os.environ.get(DONE_VARIABLE, "{}"))

    def of(self, name: str, decides: Any, result: Path | str | None = None) -> str:
        """The path of a rule's done file.

        Args:
            name: the rule's name; `rule/which` for one that makes several things.
            decides: all that the result depends on besides the rule's inputs, as JSON.
            result: what must be there, and must not have been written later than its done file.
        """
        if name not in self._names:
            self._names[name] = str(self._choose(name, sha256_of(decides)[:16], result))
            os.environ[DONE_VARIABLE] = json.dumps(self._names)
        return self._names[name]

    def _choose(self, name: str, digest: str, result: Path | str | None) -> Path:
        folder = self._folder / name
        names = [path.name for path in folder.glob("*-*") if _NAME.fullmatch(path.name)]
        last = max(names, key=_number, default=None)
        if last and last.endswith(digest) and not self._is_forced(name) and _is_of(folder / last, result):
            return folder / last
        return folder / f"{_number(last) + 1 if last else 1:04d}-{digest}"

    def _is_forced(self, name: str) -> bool:
        rule, within = name.partition("/")[0], f"/done/{name}/"
        return self._everything or any(word == rule or within in word for word in self._forced)


def _number(name: str) -> int:
    return int(name.partition("-")[0])


def _is_of(done: Path, result: Path | str | None) -> bool:
    """Whether a result is there, and was there when its done file was written."""
    if result is None:
        return True
    try:
        return os.stat(result).st_mtime_ns <= done.stat().st_mtime_ns
    except OSError:
        return False
