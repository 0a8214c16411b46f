"""Does everything still fit what the verdicts claim, and how is an attempt repeated?"""

import shlex
from pathlib import Path

from edgeflownas.errors import UserError
from edgeflownas.gates.attempts import attempts, latest_attempt
from edgeflownas.gates.recorder import command_line
from edgeflownas.gates.states import artifact_faults, gate_states
from edgeflownas.nas.check_manifest import manifest_faults


def verify(output_dir: Path) -> list[str]:
    """Recompute every digest that the verdicts claim; one line per claim that no longer fits, by gate."""
    faults = []
    for state in gate_states(output_dir, thorough=True):
        if state.report is None:
            faults.append(f"{state.gate.name}: {state.state}")
            continue
        claims = state.why if state.state != "passed" else tuple(artifact_faults(state.report, output_dir, True))
        faults += [f"{state.gate.name}: {claim}" for claim in claims]
        before = state.report["before"]
        if before is not None:
            former = latest_attempt(output_dir, before["gate"])
            if former is None or former.number < before["attempt"]:
                faults.append(
                    f"{state.gate.name}: it started on {before['gate']} attempt {before['attempt']}, now gone"
                )
    manifest = output_dir / "train_manifest.json"
    if manifest.is_file():
        faults += [f"gate4: {fault}" for fault in manifest_faults(manifest)]
    return faults


def reproduction(output_dir: Path, gate: str, number: int | None) -> list[str]:
    """The commands, commit and environment that repeat an attempt, as lines to read and type.

    Raises:
        UserError: there is no such attempt.
    """
    found = [attempt for attempt in attempts(output_dir, gate) if number in (None, attempt.number)]
    if not found:
        known = ", ".join(str(attempt.number) for attempt in attempts(output_dir, gate)) or "none"
        raise UserError(f"{gate} has no attempt {'' if number is None else number}; there are: {known}")
    attempt = found[-1]
    start = attempt.start
    git = start["provenance"]["git"]
    lines = [f"# {gate} attempt {attempt.number}, {start['started']}, on {start['provenance']['host']['name']}"]
    if git["commit"]:
        lines.append(f"git checkout {git['commit']}")
        if git["dirty"]:
            lines.append(f"git apply {shlex.quote(str(attempt.folder / 'dirty.diff'))}")
    lines.append("# versions: " + ", ".join(f"{name} {text}" for name, text in start["provenance"]["versions"].items()))
    lines.append(f"# config hash {start['config']['hash']}, data digest {start['digests']['data']}")
    return lines + [command_line(record["argv"]) for record in attempt.commands()]
