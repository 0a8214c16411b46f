"""Drawing `provenance.html`: the content of the gates' records, passed to the page as plain data."""

import os
import sys
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import read_json, write_text
from edgeflownas.errors import UserError, one_line
from edgeflownas.gates.lifecycle.attempts import Attempt, attempts
from edgeflownas.gates.lifecycle.recorder import command_line, now
from edgeflownas.gates.lifecycle.reports import commands_at_fault, next_step
from edgeflownas.gates.lifecycle.states import StageState, stage_states
from edgeflownas.gates.registry import LONG_RUN, STAGES
from edgeflownas.reporting.pages import PROVENANCE, page_links
from edgeflownas.reporting.provenance_page import AttemptView, StageView, render_page


def write_page(output_dir: Path) -> Path:
    """Write the page of all gates and attempts in their current state; returns its path."""
    states = stage_states(output_dir)
    # Nothing comes of the long run, or of what is after it, while this is so.
    blocked = [state.name for state in states[: STAGES.index(LONG_RUN)] if state.state != "passed"]
    stages = [
        StageView(
            state.name,
            state.title,
            state.state,
            _refused(state, blocked) if state.name == LONG_RUN else state.why,
            _attempt_views(output_dir, state.name),
        )
        for state in states
    ]
    path = output_dir / PROVENANCE
    write_text(path, render_page(stages, page_links(output_dir, path, output_dir), str(output_dir), now()))
    return path


def draw_page(output_dir: Path) -> None:
    """`write_page` for the end of other actions: if the page cannot be drawn, there is a warning, and nothing fails."""
    try:
        write_page(output_dir)
    except Exception as error:
        print(
            f"warning: {output_dir / PROVENANCE} could not be drawn: {one_line(error) or repr(error)}",
            file=sys.stderr,
            flush=True,
        )


def _refused(state: StageState, blocked: list[str]) -> tuple[str, ...]:
    """Why the long run is in its state, and why it cannot be started, if so."""
    if state.state == "running" or not blocked:
        return state.why
    return (*state.why, f"refused while {', '.join(blocked)} is not up to date")


def _attempt_views(output_dir: Path, gate: str) -> list[AttemptView]:
    return [_attempt_view(attempt, output_dir) for attempt in attempts(output_dir, gate)]


def _attempt_view(attempt: Attempt, output_dir: Path) -> AttemptView:
    """An attempt's records; one that cannot be read shows the reason instead, and the others remain visible."""
    folder = Path(os.path.relpath(attempt.folder, output_dir)).as_posix()
    try:
        start, report = attempt.start, attempt.report
        records = attempt.commands()
        commands = [record | {"line": command_line(record["argv"])} for record in records]
        resolved: dict[str, Any] | None = None
        if (attempt.folder / "config.json").is_file():
            resolved = read_json(attempt.folder / "config.json", schema="resolved_config.schema.json")
    except (UserError, KeyError, TypeError) as error:
        return AttemptView(attempt.number, folder, fault=str(error))
    diff = attempt.folder / "dirty.diff"
    return AttemptView(
        attempt.number,
        folder,
        start=start,
        report=report,
        commands=commands,
        resolved=resolved,
        diff=diff.read_text(encoding="utf-8", errors="replace") if diff.is_file() else None,
        repeat=[record["name"] for record in commands_at_fault(report)] if report else [],
        next_step=next_step(report) if report and report["status"] != "passed" else None,
    )
