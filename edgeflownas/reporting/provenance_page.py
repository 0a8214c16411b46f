"""`provenance.html`: one self-contained page over all gates and all attempts. Everything shown is escaped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from edgeflownas.reporting.pages import PageLink, render

TEMPLATE = "provenance.html.jinja"
MARKS = {
    "passed": "✓",
    "failed": "✗",
    "stale": "↻",
    "interrupted": "‖",
    "running": "…",
    "never run": "○",
    "damaged": "!",
}
DIFF_LINES = 1500


@dataclass(frozen=True)
class AttemptView:
    """An attempt as its records say: `start.json`, `report.json` (None while unfinished), `commands/*.json`.

    Each command also has its `line`, as one would type it. `repeat` names the commands to repeat after a failure,
    `resolved` is the attempt's `config.json`, `diff` its `dirty.diff`, and `fault` why its records cannot be read.
    `folder` is relative to the page.
    """

    number: int
    folder: str
    start: Mapping[str, Any] | None = None
    report: Mapping[str, Any] | None = None
    commands: Sequence[Mapping[str, Any]] = ()
    resolved: Mapping[str, Any] | None = None
    diff: str | None = None
    repeat: Sequence[str] = ()
    next_step: str | None = None
    fault: str | None = None

    @property
    def seconds(self) -> float | None:
        """From its start to its report."""
        if self.start is None or self.report is None:
            return None
        return _seconds_between(self.start["started"], self.report["ended"])

    @property
    def diff_lines(self) -> list[tuple[str, str]]:
        """The first lines of the diff, each with its kind: added, removed, place or plain."""
        return [(_diff_kind(line), line) for line in (self.diff or "").splitlines()[:DIFF_LINES]]

    @property
    def diff_is_longer(self) -> bool:
        """Whether the page leaves out a part of the diff."""
        return len((self.diff or "").splitlines()) > DIFF_LINES

    @cached_property
    def bars(self) -> dict[str, tuple[float, float]]:
        """Per command that has ended: where its bar begins, and its length, in percent of the time of them all."""
        ended = [record for record in self.commands if record.get("seconds") is not None]
        if not ended:
            return {}
        first = min(record["started"] for record in ended)
        spans = {record["name"]: (_seconds_between(first, record["started"]), record["seconds"]) for record in ended}
        whole = max(begin + length for begin, length in spans.values()) or 1.0
        return {name: (100 * begin / whole, 100 * length / whole) for name, (begin, length) in spans.items()}


@dataclass(frozen=True)
class StageView:
    """A gate, or the long run: its state of now, why, and all its attempts, the first one first."""

    name: str
    title: str
    state: str
    why: Sequence[str]
    attempts: Sequence[AttemptView] = field(default=())

    @property
    def is_gate(self) -> bool:
        """Whether it is a gate, not the long run."""
        return self.name.startswith("gate")

    @property
    def label(self) -> str:
        """Its name for people: `Gate 3` or `Long run`."""
        return f"Gate {self.name[4:]}" if self.is_gate else "Long run"


def render_page(stages: Sequence[StageView], pages: Sequence[PageLink], output_dir: str, drawn: str) -> str:
    """The page as HTML.

    Args:
        stages: the gates and the long run, in order.
        pages: its own and the other pages, for the navigation.
        output_dir: whose records these are; the page lies in it, and its links are relative to it.
        drawn: when its states held, UTC, ISO 8601.
    """
    return render(
        TEMPLATE,
        stages=stages,
        pages=pages,
        output_dir=output_dir,
        drawn=drawn,
        marks=MARKS,
        summary=_summary(stages),
        # If a gate is not up to date, its last attempt is opened; if all are, the last attempt of each.
        all_passed=all(gate.state in ("passed", "never run") for gate in _gates(stages)),
        diff_limit=DIFF_LINES,
    )


def _summary(stages: Sequence[StageView]) -> str:
    gates = _gates(stages)
    others = [f"{gate.label.lower()} is {gate.state}" for gate in gates if gate.state != "passed"]
    if not others:
        return f"All {len(gates)} gates are up to date."
    return f"{len(gates) - len(others)} of {len(gates)} gates are up to date; {', '.join(others)}."


def _gates(stages: Sequence[StageView]) -> list[StageView]:
    return [stage for stage in stages if stage.is_gate]


def _diff_kind(line: str) -> str:
    if line.startswith(("+++", "---", "diff ", "index ", "# ")):
        return "file"
    return {"+": "added", "-": "removed", "@": "place"}.get(line[:1], "plain")


def _seconds_between(first: str, second: str) -> float:
    return (datetime.fromisoformat(second) - datetime.fromisoformat(first)).total_seconds()
