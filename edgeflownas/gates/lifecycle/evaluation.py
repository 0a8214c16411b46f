"""Judging an attempt: criteria, publication, verdict. A gate passes when all its criteria do, and not otherwise."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import write_json
from edgeflownas.config import resolve_config
from edgeflownas.errors import UserError
from edgeflownas.gates.criteria import COMMON, Criterion, judge_criteria, reasons
from edgeflownas.gates.definitions import gate1, gate2, gate3, gate4
from edgeflownas.gates.gate import Gate
from edgeflownas.gates.lifecycle.attempts import Attempt
from edgeflownas.gates.lifecycle.evidence import Evidence
from edgeflownas.gates.lifecycle.publishing import publish_artifacts
from edgeflownas.gates.lifecycle.reports import close_attempt
from edgeflownas.gates.lifecycle.states import verdict_path

CRITERIA: dict[str, tuple[Criterion[Evidence], ...]] = {
    "gate1": gate1.CRITERIA,
    "gate2": gate2.CRITERIA,
    "gate3": gate3.CRITERIA,
    "gate4": gate4.CRITERIA,
}


def judge_gate(
    gate: Gate, attempt: Attempt, output_dir: Path, decided: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any]:
    """Judge an attempt whose commands have run; close it with its report, and publish if it passed.

    `decided` is told each criterion's finding as it comes. The verdict is written last: while it is missing, nothing
    of this gate counts.
    """
    start = attempt.start["config"]
    config = resolve_config(start["path"], start["overrides"])
    evidence = Evidence(gate, attempt, output_dir, config)
    findings = []
    for finding in judge_criteria((*COMMON, *CRITERIA[gate.name]), evidence):
        if decided:
            decided(finding)
        findings.append(finding)
    why = reasons(findings)
    artifacts: list[dict[str, Any]] = []
    if not why:
        try:
            artifacts = publish_artifacts(evidence)
        except (UserError, OSError) as error:
            why = [f"an artifact could not be published: {error}"]
    report = close_attempt(attempt, "failed" if why else "passed", why, findings, artifacts)
    if not why:
        write_json(verdict_path(output_dir, gate.name), report, schema="verdict.schema.json")
    return report
