"""Attempts at a gate: one folder each, never deleted, and not declared to Snakemake (which would delete it).

`<output_dir>/gates/<gate>/attempts/NNNN/` holds `start.json` (written first), `commands/NN_NAME.json` and
`logs/NAME.log` per command, `dirty.diff`, and at the end `report.json` and `report.md`. An attempt without a report
is still running, or was interrupted: its owner's life decides. A folder without records is no attempt: whoever made it
was killed before anything ran. Its number is never given again, nor that of an attempt that was put aside.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeflownas import processes
from edgeflownas.artifacts import read_json, write_json
from edgeflownas.errors import UserError, writing


@dataclass(frozen=True)
class Attempt:
    """One attempt's folder."""

    gate: str
    number: int
    folder: Path

    @property
    def start(self) -> dict[str, Any]:
        """What was known when it started: owner, config, digests, provenance."""
        value: dict[str, Any] = read_json(self.folder / "start.json", schema="attempt_start.schema.json")
        return value

    @property
    def report(self) -> dict[str, Any] | None:
        """Its report; None while it is unfinished."""
        path = self.folder / "report.json"
        if not path.is_file():
            return None
        value: dict[str, Any] = read_json(path, schema="verdict.schema.json")
        return value

    @property
    def is_closed(self) -> bool:
        """Whether it has a report, readable or not."""
        return (self.folder / "report.json").is_file()

    def commands(self) -> list[dict[str, Any]]:
        """The records of its commands, in the order in which they were started."""
        return [read_json(path) for path in sorted((self.folder / "commands").glob("*.json"))]

    def command(self, name: str) -> dict[str, Any]:
        """The record of one command.

        Raises:
            UserError: it was not run in this attempt.
        """
        for record in self.commands():
            if record["name"] == name:
                return record
        raise UserError(f"{self.gate} attempt {self.number}: the command {name} was not run")

    def write_command(self, record: dict[str, Any]) -> None:
        """Write or replace a command's record; a new one gets the next number."""
        folder = self.folder / "commands"
        for path in sorted(folder.glob("*.json")):
            if path.stem.partition("_")[2] == record["name"]:
                break
        else:
            path = folder / f"{_highest_number(folder) + 1:02d}_{record['name']}.json"
        write_json(path, record)

    def log_path(self, name: str) -> Path:
        """Where the output of a command goes."""
        return self.folder / "logs" / f"{name}.log"

    def log(self, name: str) -> str:
        """The output of a command.

        Raises:
            UserError: there is none.
        """
        try:
            return self.log_path(name).read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise UserError(f"{self.log_path(name)}: {error.strerror}") from error

    def living_owner(self) -> dict[str, Any] | None:
        """The process or Slurm job that is, or may be, working on this unfinished attempt; None if there is none.

        Raises:
            UserError: its records cannot be read.
        """
        if self.is_closed:
            return None
        try:
            owners = [record["process"] for record in self.commands() if record["status"] == "running"]
            owners.append(self.start["owner"])
        except UserError as error:
            raise UserError(
                f"{error}; if nothing works on {self.gate} attempt {self.number} any more, `python -m "
                f"edgeflownas.gates abandon {self.gate} --output_dir {self.folder.parents[3]}` puts it aside"
            ) from error
        return next(filter(None, map(processes.living, owners)), None)


def attempts(output_dir: Path, gate: str) -> list[Attempt]:
    """All attempts at a gate, the first one first."""
    folder = output_dir / "gates" / gate / "attempts"
    begun = [path for path in folder.glob("[0-9]*") if path.name.isdigit() and any(path.glob("**/*.json"))]
    return [Attempt(gate, number, folder / f"{number:04d}") for number in sorted(int(path.name) for path in begun)]


def next_number(output_dir: Path, gate: str) -> int:
    """The number of the next attempt at a gate: above that of every folder of earlier attempts."""
    folder = output_dir / "gates" / gate
    return 1 + max(_highest_number(folder / "attempts"), _highest_number(folder / "done"))


def remove_done_files(output_dir: Path, gate: str, before: int) -> None:
    """Remove the done files of a gate's earlier attempts. Their numbers stay taken: this attempt's is above them."""
    folders = (output_dir / "gates" / gate / "done").glob("[0-9]*")
    for folder in (path for path in folders if path.name.isdigit() and int(path.name) < before):
        # One that stays does no harm.
        shutil.rmtree(folder, ignore_errors=True)


def _highest_number(folder: Path) -> int:
    """The highest number that a name in `folder` begins with; 0 if there is none."""
    begun = (re.match(r"\d+", path.name) for path in folder.glob("[0-9]*"))
    return max((int(found.group()) for found in begun if found), default=0)


def latest_attempt(output_dir: Path, gate: str) -> Attempt | None:
    """The last attempt at a gate; None if it was never run."""
    return next(reversed(attempts(output_dir, gate)), None)


def open_attempt(output_dir: Path, gate: str) -> Attempt:
    """The attempt at a gate that has started and not ended.

    Raises:
        UserError: there is none.
    """
    attempt = latest_attempt(output_dir, gate)
    if attempt is None or attempt.is_closed:
        raise UserError(
            f"{gate} has no attempt under way: run `snakemake {gate}`, or start one with "
            f"`python -m edgeflownas.gates start {gate}`"
        )
    return attempt


def next_attempt(output_dir: Path, gate: str, number: int | None = None) -> Attempt:
    """Make the folder of the next attempt; two callers never get the same.

    `number` is the one that was foreseen for it, whose done files may have their folder already: it, or one above.
    """
    attempts_folder = output_dir / "gates" / gate / "attempts"
    number = max(number, _highest_number(attempts_folder) + 1) if number else next_number(output_dir, gate)
    folder = attempts_folder / f"{number:04d}"
    with writing(folder):
        try:
            folder.mkdir(parents=True)
        except FileExistsError as error:
            raise UserError(f"{gate}: attempt {number} was started by another process at this moment") from error
        for name in ("commands", "logs"):
            (folder / name).mkdir()
    return Attempt(gate, number, folder)


def living_attempts(output_dir: Path) -> Iterator[tuple[Attempt, dict[str, Any]]]:
    """Every unfinished attempt that a process or Slurm job still works on, and that owner."""
    for folder in sorted((output_dir / "gates").glob("*/attempts")):
        attempt = latest_attempt(output_dir, folder.parent.name)
        owner = attempt.living_owner() if attempt else None
        if attempt and owner:
            yield attempt, owner
