"""`provenance.html`: one self-contained page over all gates and all attempts. Everything shown is escaped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

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
    def label(self) -> str:
        """Its name for people: `Gate 3` or `Long run`."""
        return f"Gate {self.name[4:]}" if self.name.startswith("gate") else "Long run"


def render_page(stages: Sequence[StageView], output_dir: str, drawn: str) -> str:
    """The page as HTML.

    Args:
        stages: the gates in order, then the long run.
        output_dir: whose records these are; the page lies in it, and its links are relative to it.
        drawn: when its states held, UTC, ISO 8601.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"moment": _moment, "duration": _duration, "size": _size, "link": quote}
    template = environment.get_template(TEMPLATE)
    return template.render(
        stages=stages,
        output_dir=output_dir,
        drawn=drawn,
        marks=MARKS,
        summary=_summary(stages),
        # Where a gate does not stand, its last attempt is what one came to see; where all do, all of them are.
        all_stand=all(stage.state == "passed" for stage in stages[:-1]),
        diff_limit=DIFF_LINES,
    )


def _summary(stages: Sequence[StageView]) -> str:
    gates = stages[:-1]
    others = [f"{gate.label.lower()} is {gate.state}" for gate in gates if gate.state != "passed"]
    if not others:
        return f"All {len(gates)} gates stand."
    return f"{len(gates) - len(others)} of {len(gates)} gates stand; {', '.join(others)}."


def _diff_kind(line: str) -> str:
    if line.startswith(("+++", "---", "diff ", "index ", "# ")):
        return "file"
    return {"+": "added", "-": "removed", "@": "place"}.get(line[:1], "plain")


def _seconds_between(first: str, second: str) -> float:
    return (datetime.fromisoformat(second) - datetime.fromisoformat(first)).total_seconds()


def _moment(text: str) -> str:
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S")


def _duration(seconds: float | None) -> str:
    """`0.4 s`, `37 s`, `3 min 29 s`, `2 h 05 min`."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _size(count: float) -> str:
    """`813 B`, `9.0 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
