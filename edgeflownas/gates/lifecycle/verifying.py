"""Does everything still agree with the verdicts, and how is an attempt repeated?"""

import json
import shlex
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import sha256_file, sha256_of
from edgeflownas.errors import UserError
from edgeflownas.gates.gate import Gate
from edgeflownas.gates.lifecycle.attempts import Attempt, attempts
from edgeflownas.gates.lifecycle.digests import relevant_source_of, relevant_versions
from edgeflownas.gates.lifecycle.recorder import command_line
from edgeflownas.gates.lifecycle.states import NEVER_RUN, artifact_faults, gate_states
from edgeflownas.gates.registry import GATES
from edgeflownas.provenance import git_words
from edgeflownas.runs.manifest_checks import manifest_faults

MANIFEST = "train_manifest.json"


def verify(output_dir: Path) -> list[str]:
    """Recompute every digest in the verdicts; one line per digest that no longer agrees, by gate."""
    faults = []
    for state in gate_states(output_dir, thorough=True):
        if state.gate.after_long_run and state.state == NEVER_RUN:
            # Nobody has to go on after the long run.
            continue
        if state.report is None or state.attempt is None:
            faults.append(": ".join((state.gate.name, state.state, *state.why)))
            continue
        claims = state.why if state.state != "passed" else tuple(artifact_faults(state.report, output_dir, True))
        claims += tuple(_record_faults(state.gate, state.attempt, state.report, output_dir))
        faults += [f"{state.gate.name}: {claim}" for claim in claims]
    manifest = output_dir / MANIFEST
    if manifest.is_file():
        faults += [f"{gate.name}: {fault}" for gate in _publishers(MANIFEST) for fault in manifest_faults(manifest)]
    return faults


def _publishers(path: str) -> list[Gate]:
    return [gate for gate in GATES if path in gate.publishes]


def _record_faults(gate: Gate, attempt: Attempt, report: dict[str, Any], output_dir: Path) -> list[str]:
    """What in an attempt's own records contradicts the digests that its report gives of them."""
    faults = []
    try:
        start = attempt.start
    except UserError as error:
        return [str(error)]
    for key in ("digests", "config", "before", "provenance", "started"):
        if report[key] != start[key]:
            faults.append(f"{key} in report.json of attempt {attempt.number} is not that of its start.json")
    if sha256_of(report["config"]["values"]) != report["digests"]["config"]:
        faults.append(f"the config values of attempt {attempt.number} do not have the digest claimed for them")
    if sha256_of(relevant_source_of(gate, start)) != report["digests"]["code"]:
        faults.append(f"the source files of attempt {attempt.number} do not have the digest claimed for them")
    versions = relevant_versions(gate, start["provenance"], start["config"]["values"])
    if gate.packages and sha256_of(versions) != report["digests"].get("versions"):
        faults.append(f"the versions of attempt {attempt.number} do not have the digest claimed for them")
    before = report["before"]
    if before is not None:
        # A verdict and the report of the attempt behind it are the same bytes.
        former = output_dir / "gates" / before["gate"] / "attempts" / f"{before['attempt']:04d}" / "report.json"
        claim = f"it started on {before['gate']} attempt {before['attempt']}"
        if not former.is_file():
            faults.append(f"{claim}, now gone")
        elif sha256_file(former) != before["sha256"]:
            faults.append(f"{claim}, whose report.json has other bytes now")
    return faults


def reproduction(output_dir: Path, gate: str, number: int | None) -> list[str]:
    """The commit, environment and commands that repeat an attempt: a script to read, or to run in a clone.

    Raises:
        UserError: there is no such attempt.
    """
    known = attempts(output_dir, gate)
    found = [attempt for attempt in known if number in (None, attempt.number)]
    if not found:
        numbers = ", ".join(str(attempt.number) for attempt in known) or "none"
        raise UserError(f"{gate} has no attempt {'' if number is None else number}; there are: {numbers}")
    attempt = found[-1]
    start = attempt.start
    provenance = start["provenance"]
    host, versions = provenance["host"], provenance["versions"]
    lines = [
        f"# {gate} attempt {attempt.number}, {start['started']}, by {provenance['user']} on {host['name']}",
        f"# machine: {json.dumps(host)}",
        f"# config hash {start['config']['hash']}, as resolved then: {attempt.folder / 'config.json'}",
        f"# data digest {start['digests']['data']}",
        "",
        "# commit",
        *_commit(attempt, provenance["git"]),
        "",
        f"# environment: Python {versions.get('python')}; where requirements.lock has changed since, these versions",
        "pip install --require-hashes -r requirements.lock && pip install --no-deps --no-build-isolation -e .",
        f"# {' '.join(f'{name}=={text}' for name, text in versions.items() if name != 'python')}",
        *(f"export {name}={shlex.quote(text)}" for name, text in provenance.get("environment", {}).items()),
    ]
    if provenance.get("invocation"):
        lines += ["", "# the whole gate, with its criteria", provenance["invocation"]]
    return [*lines, "", "# its commands, each alone", *(_command(record) for record in attempt.commands())]


def _commit(attempt: Attempt, git: dict[str, Any]) -> list[str]:
    if not git["commit"]:
        return [f"# {git_words(git)}; start.json holds the digest of every source file"]
    lines = [f"git checkout {git['commit']}"]
    if git["dirty"]:
        lines.append(f"git apply --allow-empty {shlex.quote(str((attempt.folder / 'dirty.diff').absolute()))}")
    return lines


def _command(record: dict[str, Any]) -> str:
    expected = f"  # ends with exit code {record['expected_exit']}" if record["expected_exit"] else ""
    return command_line(record["argv"]) + expected
