"""Evaluating an attempt: criteria, publication, verdict. A gate passes if all its criteria hold."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import write_json
from edgeflownas.config import resolve_config
from edgeflownas.errors import UserError
from edgeflownas.gates.criteria import Criterion, Finding, evaluate_criteria, none_of, reasons
from edgeflownas.gates.gate import Gate
from edgeflownas.gates.lifecycle.attempts import Attempt
from edgeflownas.gates.lifecycle.digests import gate_digests, source_files
from edgeflownas.gates.lifecycle.evidence import Evidence
from edgeflownas.gates.lifecycle.publishing import publish_artifacts
from edgeflownas.gates.lifecycle.reports import close_attempt
from edgeflownas.gates.lifecycle.states import verdict_path


def _commands_done(evidence: Evidence) -> Finding:
    done = {record["name"]: record for record in evidence.attempt.commands()}
    faults, names = [], evidence.gate.command_names(evidence.config)
    for name in names:
        if name not in done:
            faults.append(f"{name} was not run")
        elif done[name]["status"] != "done":
            faults.append(f"{name} ended with exit code {done[name].get('exit_code')}")
    return none_of(faults, f"{len(names)} commands")


def _nothing_moved(evidence: Evidence) -> Finding:
    began = evidence.attempt.start["digests"]
    ended = gate_digests(evidence.gate, source_files(), evidence.config, evidence.output_dir)
    moved = [f"{name} changed while the gate ran" for name in began if began[name] != ended[name]]
    return none_of(moved, "code, config, data index and versions")


COMMON = (
    Criterion("every command ended with the exit code expected of it", _commands_done),
    Criterion("code, config, data and versions are the same at the end as at the start", _nothing_moved),
)


def evaluate_gate(
    gate: Gate, attempt: Attempt, output_dir: Path, decided: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any]:
    """Evaluate an attempt whose commands have run; close it with its report, and publish if it passed.

    `decided` is called with each criterion's finding. The verdict is written last: without it, nothing of this gate
    counts.
    """
    start = attempt.start["config"]
    config = resolve_config(start["path"], start["overrides"])
    evidence = Evidence(gate, attempt, output_dir, config)
    findings = []
    for finding in evaluate_criteria((*COMMON, *gate.criteria), evidence):
        finding["commands"] = gate.command_names(config, finding["commands"])
        finding["sentence"] = evidence.pool_names.renamed(finding["sentence"])
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
