"""The report that closes an attempt, passed or not: as JSON (the verdict's own shape), Markdown and on the terminal."""

import fcntl
import itertools
import shlex
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import write_json, write_text
from edgeflownas.errors import UserError
from edgeflownas.gates.criteria import warnings
from edgeflownas.gates.lifecycle.attempts import Attempt, latest_attempt
from edgeflownas.gates.lifecycle.recorder import command_line, now
from edgeflownas.gates.registry import DEFAULT_TARGET, GATES, LONG_RUN, STAGES
from edgeflownas.processes import is_alive
from edgeflownas.provenance import git_words

# Flags of Snakemake that are meant for a single call, without and with arguments.
_ONE_OFF = frozenset({"-f", "--force", "-F", "--forceall", "-t", "--touch", "--no-hooks", "-k", "--keep-going"})
_ONE_OFF_LISTS = frozenset(
    {"-R", "--forcerun", "-U", "--until", "-O", "--omit-from", "-P", "--prioritize", "--allowed-rules", "--batch"}
)
# Criterion, observed, expected: on a terminal of 124 columns, and how many of them are gaps and the mark.
_COLUMNS, _GAPS = (54, 32, 32), 6


def close_attempt(
    attempt: Attempt,
    status: str,
    why: Sequence[str],
    criteria: Sequence[dict[str, Any]] = (),
    artifacts: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Write `report.json` and `report.md` of an attempt and return the report."""
    start = attempt.start
    title = next((gate.title for gate in GATES if gate.name == attempt.gate), "long run")
    report = {
        "gate": attempt.gate,
        "title": title,
        "status": status,
        "attempt": attempt.number,
        "trigger": start["trigger"],
        "why": list(why),
        "changes": start["changes"],
        "started": start["started"],
        "ended": now(),
        "criteria": list(criteria),
        "commands": [_summary(record) for record in attempt.commands()],
        "artifacts": list(artifacts),
        "digests": start["digests"],
        "config": start["config"],
        "before": start["before"],
        "provenance": start["provenance"],
    }
    write_text(attempt.folder / "report.md", report_markdown(report, attempt.folder))
    write_json(attempt.folder / "report.json", report, schema="verdict.schema.json")
    return report


def close_failed(attempt: Attempt) -> dict[str, Any] | None:
    """Close an attempt of which a command failed or was interrupted; None if none was, or while others still run.

    Commands that run side by side are let finish, and the one that ends last closes the attempt; only one does where
    several end at once.
    """
    with open(attempt.folder / "start.json", "r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        records = attempt.commands()
        reasons = [words for record in records for words in _why_ended(record)]
        running = any(record["status"] == "running" and is_alive(record["process"]) for record in records)
        if not reasons or running or (attempt.folder / "report.json").is_file():
            return None
        failed = any(record["status"] == "failed" for record in records)
        return close_attempt(attempt, "failed" if failed else "interrupted", reasons)


def _why_ended(record: Mapping[str, Any]) -> list[str]:
    """Why a command's end is that of its gate; nothing where it is not."""
    if record["status"] == "interrupted":
        return [f"{record['name']} was interrupted"]
    if record["status"] != "failed":
        return []
    if record["exit_code"] == record["expected_exit"]:
        faults: list[str] = record["log_faults"]
        return faults
    return [f"{record['name']} ended with exit code {record['exit_code']}, expected {record['expected_exit']}"]


def _summary(record: dict[str, Any]) -> dict[str, Any]:
    keys = ("name", "argv", "status", "expected_exit", "started", "log")
    late = ("exit_code", "seconds", "peak_memory_mb")
    return {key: record[key] for key in keys} | {key: record.get(key) for key in late} | {"log_tail": _lines(record)}


def _lines(record: dict[str, Any]) -> list[str]:
    tail: list[str] = record.get("log_tail", [])
    return tail


def table_head() -> str:
    """The head of a table of criteria on the terminal."""
    return _row(" ", ("criterion", "observed", "expected"))


def table_row(finding: Mapping[str, Any]) -> str:
    """A criterion with what was observed and expected, side by side, a mark in front."""
    return _row(_mark(finding), (finding["sentence"], finding["observed"], finding["expected"]))


def _mark(finding: Mapping[str, Any]) -> str:
    return "✗" if not finding["passed"] else "!" if "warning" in finding else "✓"


def _row(mark: str, cells: Sequence[str]) -> str:
    # Logs have no width: they get that of the widest table.
    usable = min(shutil.get_terminal_size((sum(_COLUMNS) + _GAPS, 0)).columns, sum(_COLUMNS) + _GAPS) - _GAPS
    widths = [max(usable * width // sum(_COLUMNS), 8) for width in _COLUMNS]
    wrapped = [textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, widths, strict=True)]
    lines = [
        "  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip()
        for parts in itertools.zip_longest(*wrapped, fillvalue="")
    ]
    return f"{mark} " + "\n  ".join(lines)


def failure_text(report: dict[str, Any], folder: Path) -> str:
    """What a person needs after a failure, the most important last, where the terminal ends: the last lines of the
    commands behind it, then why, how to repeat them alone, their logs, the report and what to do next.
    """
    lines = []
    for record in commands_at_fault(report):
        lines += [f"last lines of {record['log']}:", *(f"  {line}" for line in record["log_tail"]), ""]
    lines.append(f"{report['gate']} {report['status']} (attempt {report['attempt']})")
    lines += [f"  because {reason}" for reason in report["why"]]
    for record in commands_at_fault(report):
        lines += [f"repeat {record['name']} alone: {command_line(record['argv'])}", f"log: {record['log']}"]
    lines += [f"report: {folder / 'report.md'}", f"next: {next_step(report)}"]
    return "\n".join(lines)


def failures_since(started: str, output_dir: Path) -> list[str]:
    """What a person needs about each gate, or long run, that did not pass since `started` (UTC, ISO 8601)."""
    failures = []
    for stage in STAGES:
        attempt = latest_attempt(output_dir, stage)
        try:
            report = attempt.report if attempt else None
        except UserError as error:
            failures.append(str(error))
            continue
        if attempt and report and report["status"] != "passed" and report["ended"] >= started:
            failures.append(failure_text(report, attempt.folder))
    return failures


def in_short(lines: Sequence[str], shown: int) -> str:
    """The first lines, joined, and how many more there are."""
    return "; ".join([*lines[:shown], *([f"and {len(lines) - shown} more"] if len(lines) > shown else [])])


def commands_at_fault(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The commands that failed or were interrupted or, if there are none, those whose results failed a criterion."""
    ended_badly = [record for record in report["commands"] if record["status"] in ("failed", "interrupted")]
    if ended_badly:
        return ended_badly
    judged = {name for finding in report["criteria"] if not finding["passed"] for name in finding.get("commands", ())}
    return [record for record in report["commands"] if record["name"] in judged]


def next_step(report: dict[str, Any]) -> str:
    """What to type after the fix, and what that runs again."""
    typed = shlex.join(_lasting_words(report["provenance"].get("invocation") or f"snakemake {report['gate']}"))
    if report["gate"] == LONG_RUN:
        return f"`{typed}`; it continues from the last checkpoint"
    if report["status"] == "interrupted":
        return f"`{typed}`; it runs all of {report['gate']} again, and no earlier gate that is up to date"
    return f"fix it, then `{typed}`; it runs all of {report['gate']} again, and no earlier gate that is up to date"


def next_command(gate: str, invocation: str | None) -> str | None:
    """What to type after a gate passed; None if the typed command continues by itself, or if it was the last one.

    Args:
        gate: the gate that passed.
        invocation: what was typed to run it; None outside Snakemake.
    """
    if gate == STAGES[-1]:
        return None
    following = STAGES[STAGES.index(gate) + 1]
    words = _lasting_words(invocation or f"snakemake {gate}")
    targets = [word for word in words if word in STAGES] or [DEFAULT_TARGET]
    if max(STAGES.index(target) for target in targets) > STAGES.index(gate):
        return None
    kept = [word for word in words[1:] if word not in STAGES]
    return shlex.join([words[0], following, *kept])


def _lasting_words(invocation: str) -> list[str]:
    """The words of a Snakemake call that hold for the next one, too; not what was forced, or left out, this once."""
    kept, skipping = [], False
    for word in shlex.split(invocation):
        if word.startswith("-"):
            skipping = word in _ONE_OFF_LISTS
            if skipping or word in _ONE_OFF or word.partition("=")[0] in _ONE_OFF_LISTS:
                continue
        if not skipping:
            kept.append(word)
    return kept


def report_markdown(report: dict[str, Any], folder: Path) -> str:
    """The report for people: state, what changed, criteria, commands, artifacts."""
    lines = [f"# {report['gate']}, {report['title']}: {report['status']} (attempt {report['attempt']})", ""]
    lines += [f"- because {reason}" for reason in report["why"]]
    lines += _markdown_changes(report["changes"])
    if report["criteria"]:
        lines += ["", "## Criteria", "", "| | criterion | observed | expected |", "|---|---|---|---|"]
        for finding in report["criteria"]:
            cells = (finding["sentence"], finding["observed"], finding["expected"])
            lines.append(f"| {_mark(finding)} | {' | '.join(cell.replace('|', '/') for cell in cells)} |")
        lines += ["", *(f"- warning: {words}" for words in warnings(report["criteria"]))]
    lines += ["", "## Commands", ""]
    for record in report["commands"]:
        end = (
            "not ended"
            if record["exit_code"] is None
            else f"exit {record['exit_code']}, {record['seconds']} s, {record['peak_memory_mb']} MiB"
        )
        lines += [f"- **{record['name']}**: {record['status']} ({end}), log `{record['log']}`", ""]
        lines += [f"      {command_line(record['argv'])}", ""]
    if report["artifacts"]:
        lines += ["## Artifacts", "", "| path | bytes | sha256 | schema |", "|---|---|---|---|"]
        for item in report["artifacts"]:
            lines.append(f"| {item['path']} | {item['bytes']} | {item['sha256']} | {item['schema'] or ''} |")
    lines += ["", *_markdown_provenance(report)]
    if report["status"] != "passed":
        lines += ["", "## What to do", "", "```", failure_text(report, folder), "```"]
    return "\n".join(lines) + "\n"


def _markdown_changes(changes: Sequence[str] | None) -> list[str]:
    if changes is None:
        return ["- the first attempt"]
    if not changes:
        return ["- nothing changed since the previous attempt: same code, config, data, versions and host"]
    return ["- changed since the previous attempt:", *(f"    - {change}" for change in changes)]


def _markdown_provenance(report: dict[str, Any]) -> list[str]:
    provenance = report["provenance"]
    git = provenance["git"]
    return [
        "## Provenance",
        "",
        f"- {report['started']} to {report['ended']}, by {provenance['user']} on {provenance['host']['name']}",
        f"- typed: `{provenance.get('invocation') or 'not under Snakemake'}`",
        f"- {git_words(git)}{' (see dirty.diff)' if git['dirty'] else ''}",
        f"- config {report['config']['path']}, hash {report['config']['hash']}",
        f"- digests: {', '.join(f'{name} {digest}' for name, digest in report['digests'].items() if digest)}",
        f"- Python {provenance['versions'].get('python')}, {provenance['host']['system']}",
        "- everything else (all versions, CPU, memory, GPU, digests of source files): start.json and config.json",
    ]
