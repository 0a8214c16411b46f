"""The command that follows a run from another terminal or node, by reading its files."""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import read_json
from edgeflownas.console.printer import Printer
from edgeflownas.errors import EXIT_CHECK_FAILED, EXIT_DONE, EXIT_INTERRUPTED, UserError, run_command
from edgeflownas.gates.lifecycle.attempts import living_attempts
from edgeflownas.parsers import add_json_flag, command_parser, print_json
from edgeflownas.processes import describe, is_alive
from edgeflownas.runs.monitor import epoch_line, progress_line
from edgeflownas.runs.pool_names import mean_epe
from edgeflownas.runs.records import read_further_history, read_history
from edgeflownas.runs.run_directory import RunDirectory

READ_EVERY = 2.0
EPOCHS_SHOWN = 5


@dataclass(frozen=True)
class RunStatus:
    """The state of a run, by its files.

    state: `running`; `ended`, as the run itself reported; `gone`, if its process disappeared without reporting an end.
    progress: `progress.json` of the most recently active run; None before the first.
    epochs, further: the rows of its history, and of those of further validation sets, by name.
    gate: the attempt at a gate, or at the long run, under way, with the command that runs; None if there is none.
    """

    run: Path | None
    state: str
    progress: dict[str, Any] | None
    epochs: list[dict[str, Any]]
    further: dict[str, list[dict[str, Any]]]
    gate: dict[str, Any] | None

    @property
    def exit_code(self) -> int:
        """The exit code of the run, as far as the files show."""
        if self.state != "ended" or self.progress is None:
            return EXIT_DONE if self.state == "running" else EXIT_CHECK_FAILED
        reason = self.progress["stopped_because"]
        if reason == "interrupted":
            return EXIT_INTERRUPTED
        return EXIT_CHECK_FAILED if reason.startswith("failed") else EXIT_DONE


def read_status(folder: Path) -> RunStatus:
    """Read a run directory, or a folder where gates publish, and find the most recently active run in it.

    Raises:
        UserError: it is neither, or nothing has started there.
    """
    gate = _gate_under_way(folder)
    run = _latest_run(folder)
    if run is None and gate is None:
        raise UserError(
            f"{folder}: no run has started here; expected a run directory, or the folder where gates publish "
            "(workflow.output_dir)"
        )
    progress = read_json(run.progress, schema="progress.schema.json") if run else None
    if gate or (progress and progress["phase"] != "ended" and is_alive(progress["process"])):
        state = "running"
    else:
        state = "ended" if progress and progress["phase"] == "ended" else "gone"
    epochs = _epochs(run.history, run.history.stat().st_mtime_ns) if run and run.history.is_file() else []
    further = {name: read_further_history(path) for name, path in run.further_histories.items()} if run else {}
    return RunStatus(run.path if run else None, state, progress, epochs, further, gate)


@lru_cache(maxsize=1)
def _epochs(history: Path, changed: int) -> list[dict[str, Any]]:
    """The rows of a history; read again only when it changed, because each row is validated."""
    return read_history(history)


def _latest_run(folder: Path) -> RunDirectory | None:
    runs = [RunDirectory(path) for path in (folder, *folder.glob("runs/*"))]
    begun = [run for run in runs if run.progress.is_file()]
    return max(begun, key=lambda run: run.progress.stat().st_mtime, default=None)


def _gate_under_way(folder: Path) -> dict[str, Any] | None:
    for attempt, owner in living_attempts(folder):
        running = [record["name"] for record in attempt.commands() if record["status"] == "running"]
        command = ", ".join(running) or None
        return {"gate": attempt.gate, "attempt": attempt.number, "command": command, "owner": describe(owner)}
    return None


def _gate_line(gate: dict[str, Any]) -> str:
    doing = f"running {gate['command']}" if gate["command"] else "between two commands"
    return f"{gate['gate']}, attempt {gate['attempt']}: {doing} ({gate['owner']})"


class StatusPrinter:
    """Prints what is new since the last call."""

    def __init__(self, printer: Printer) -> None:
        self._printer = printer
        self._gate: str | None = None
        self._run: Path | None = None
        self._epochs = 0

    def print(self, status: RunStatus) -> None:
        """Print what has changed, and the state of the run."""
        gate = _gate_line(status.gate) if status.gate else None
        if gate and gate != self._gate:
            self._printer.print(gate)
        self._gate = gate
        facts = status.progress
        if facts is None:
            return
        if status.run != self._run or len(status.epochs) < self._epochs:
            self._printer.print(f"{status.run}, {describe(facts['process'])}")
            self._run, self._epochs = status.run, max(0, len(status.epochs) - EPOCHS_SHOWN)
        for row in status.epochs[self._epochs :]:
            best = min(status.epochs[: row["epoch"]], key=mean_epe)
            further = {
                name: rows[row["epoch"] - 1] for name, rows in status.further.items() if len(rows) >= row["epoch"]
            }
            self._printer.print(epoch_line(row, facts["epochs"], best["epoch"], further))
        self._epochs = len(status.epochs)
        if status.state == "running":
            self._printer.progress(lambda: progress_line(facts))
        elif status.state == "ended":
            self._printer.print(progress_line(facts))
        else:
            self._printer.print(
                f"{describe(facts['process'])} is gone and did not say why; last sign of life "
                f"{facts['updated']}; continue with --resume"
            )


def _as_json(status: RunStatus) -> dict[str, Any]:
    return {
        "run": None if status.run is None else str(status.run),
        "state": status.state,
        "progress": status.progress,
        "epochs": status.epochs,
        "further": status.further,
        "gate": status.gate,
    }


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "edgeflownas.watch",
        "Follow a run by reading its files until it ends; exit with the run's exit code.",
        ("outputs/supernet", "outputs/supernet/runs/supernet --once", "outputs/supernet --once --json"),
    )
    parser.add_argument("folder", type=Path, help="a run directory, or the folder where gates publish")
    parser.add_argument("--once", action="store_true", help="print the current state, and exit with 0")
    add_json_flag(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.watch`."""
    arguments = _parser().parse_args(argv)
    if arguments.json and not arguments.once:
        raise UserError("--json goes with --once")
    status = read_status(arguments.folder)
    if arguments.json:
        print_json(_as_json(status))
        return EXIT_DONE
    printer = Printer(live=False) if arguments.once else Printer()
    status_printer = StatusPrinter(printer)
    status_printer.print(status)
    if arguments.once:
        return EXIT_DONE
    try:
        while status.state == "running":
            time.sleep(READ_EVERY)
            status = read_status(arguments.folder)
            status_printer.print(status)
    finally:
        printer.end_line()
    return status.exit_code


if __name__ == "__main__":
    run_command(main)
