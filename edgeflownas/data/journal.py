"""The journal of an index build, from which the next build continues after an interruption."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any

from edgeflownas.artifacts import canonical_json, load_schema, schema_check
from edgeflownas.data.inspection import Entry, file_state, same_files
from edgeflownas.data.samples import Sample
from edgeflownas.errors import UserError, make_folder, writing

JOURNAL_FILE = "data_index.partial.jsonl"


class Journal:
    """JSON lines: first what the entries depend on, then one usable sample each, as `[split, entry]`.

    An entry is reused only while the sizes and times of its files are those with which it was inspected.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Read what is there; nothing of it under other settings.

        Raises:
            UserError: the file is there and cannot be read.
        """
        self._path = path
        self._head = canonical_json(settings)
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            lines = []
        except OSError as error:
            raise UserError(f"{path}: cannot read the file: {error.strerror}") from error
        self._continues = bool(lines) and lines[0] == self._head
        self._known = dict(_entries(lines[1:])) if self._continues else {}
        self._file: IO[str] | None = None

    @property
    def count(self) -> int:
        """How many samples an earlier build had inspected."""
        return len(self._known)

    def known(self, split: str, sample: Sample) -> Entry | None:
        """The entry of a sample that was inspected before and has not changed since."""
        entry = self._known.get((split, sample.name))
        unchanged = entry is not None and same_files(entry, [file_state(path) for path in sample.files])
        return entry if unchanged else None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep the file open for `add`.

        Raises:
            CannotWrite: the system refuses.
        """
        make_folder(self._path.parent)
        with writing(self._path):
            self._file = open(self._path, "a" if self._continues else "w", encoding="utf-8")  # noqa: SIM115
        with self._file:
            self._note(["\n" if self._continues else f"{self._head}\n"])
            yield

    def add(self, split: str, entries: Iterable[Entry]) -> None:
        """Write down new entries. A bad sample is inspected again each time: its owner may have fixed it."""
        new = (entry for entry in entries if "reason" not in entry and self._known.get((split, entry["name"])) != entry)
        # All that a kill can cost is what has not been handed over yet; the last line may lack its end.
        self._note([f"{canonical_json([split, entry])}\n" for entry in new])

    def _note(self, lines: list[str]) -> None:
        assert self._file is not None, "add() is for within writing()"
        with writing(self._path):
            self._file.writelines(lines)
            self._file.flush()

    def remove(self) -> None:
        """Delete the file: the index is complete."""
        self._path.unlink(missing_ok=True)


def _entries(lines: list[str]) -> Iterator[tuple[tuple[str, str], Entry]]:
    """The entries of complete lines; the sample of a line that a kill cut short is inspected again."""
    for line in lines:
        try:
            split, entry = json.loads(line)
        except (ValueError, TypeError):
            continue
        if isinstance(split, str) and _fits()(entry):
            yield (split, entry["name"]), entry


@cache
def _fits() -> Callable[[Any], bool]:
    definitions = load_schema("data_index.schema.json")["$defs"]
    return schema_check({**definitions["sample"], "$defs": definitions})
