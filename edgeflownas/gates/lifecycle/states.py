"""The states of the gates and of the long run: never run, running, interrupted, failed, damaged, stale or passed.

A verdict alone proves nothing. It is valid while the attempt behind it is the last one, its artifacts are as
published, and the code, config, data and versions of packages it was given for are the ones of now.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edgeflownas import processes
from edgeflownas.artifacts import read_json, sha256_file
from edgeflownas.config import Config, differences, resolve_config
from edgeflownas.errors import UserError
from edgeflownas.gates.gate import Gate
from edgeflownas.gates.lifecycle.attempts import Attempt, latest_attempt, next_number
from edgeflownas.gates.lifecycle.digests import (
    computing_now,
    gate_digests,
    long_run_digest,
    relevant_config,
    relevant_source,
    relevant_source_of,
    relevant_versions,
    source_files,
)
from edgeflownas.gates.registry import GATES, LONG_RUN, STAGES
from edgeflownas.nas.search_space import result_values
from edgeflownas.source_code import changed_files

NEVER_RUN = "never run"
DAMAGED = "damaged"
# Digests of larger artifacts are recomputed by `verify` and when the next gate starts, not every time.
SMALL_FILE_BYTES = 1 << 20


@dataclass(frozen=True)
class StageState:
    """The state of a gate or of the long run, the reasons for it, and the attempt it comes from."""

    name: str
    title: str
    state: str
    why: tuple[str, ...]
    attempt: Attempt | None
    report: dict[str, Any] | None


@dataclass(frozen=True)
class GateState(StageState):
    """The state of a gate."""

    gate: Gate
    next_number: int

    @property
    def trigger(self) -> int:
        """A number that changes when the gate must run again, and only then: it names the folder of the done files.

        So a gate that must run again has none of them, whatever Snakemake remembers of earlier calls.
        """
        if self.state == "passed" and self.report is not None:
            trigger: int = self.report["trigger"]
            return trigger
        return self.next_number


def verdict_path(output_dir: Path, gate: str) -> Path:
    """The path of a gate's verdict after it passed."""
    return output_dir / "gates" / f"{gate}.json"


def gate_states(output_dir: Path, config: Config | None = None, thorough: bool = False) -> list[GateState]:
    """The states of all gates, given the current code, data and config.

    Without `config`, each gate is held against the config file and overrides of its own last attempt, as they read
    now. `thorough` recomputes the digests of large artifacts too.
    """
    files = source_files()
    return [_gate_state(gate, output_dir, config, files, thorough) for gate in GATES]


def long_run_state(output_dir: Path, config: Config | None = None) -> StageState:
    """The state of the long run: never run, running, interrupted, failed, damaged, stale (and why) or passed.

    It is stale if its result is gone, or if it was made with another configuration than `config`, where one is given.
    """
    attempt = latest_attempt(output_dir, LONG_RUN)
    state, why, report = _found(attempt, partial(_state_of_long_run, output_dir=output_dir, config=config))
    return StageState(LONG_RUN, "long run", state, why, attempt, report)


def _found(
    attempt: Attempt | None, state_of: Callable[[Attempt, dict[str, Any] | None], tuple[str, tuple[str, ...]]]
) -> tuple[str, tuple[str, ...], dict[str, Any] | None]:
    """State, why, and the latest attempt's report; `state_of` an attempt and its report says the first two."""
    if attempt is None:
        return NEVER_RUN, (), None
    try:
        report = attempt.report
        return *state_of(attempt, report), report
    except (UserError, KeyError, TypeError) as error:
        # Its records are not what we wrote: the stage must run again, and the others are as they are.
        return DAMAGED, (str(error),), None


def _state_of_long_run(
    attempt: Attempt, report: dict[str, Any] | None, output_dir: Path, config: Config | None
) -> tuple[str, tuple[str, ...]]:
    if report is None or report["status"] != "passed":
        return _state_without_verdict(attempt, report)
    why = []
    if config is not None:
        why = [f"config {change}" for change in differences(report["config"]["values"], result_values(config))]
    if long_run_digest(output_dir) is None:
        why.append(f"{output_dir / 'runs' / LONG_RUN / 'train_manifest.json'} is gone")
    return "stale" if why else "passed", tuple(why)


def stage_states(output_dir: Path, config: Config | None = None, thorough: bool = False) -> list[StageState]:
    """The states of all gates and of the long run, in the order in which they run; see `gate_states`."""
    states: dict[str, StageState] = {state.name: state for state in gate_states(output_dir, config, thorough)}
    states[LONG_RUN] = long_run_state(output_dir, config)
    return [states[name] for name in STAGES]


def _gate_state(
    gate: Gate, output_dir: Path, config: Config | None, files: dict[str, str], thorough: bool
) -> GateState:
    attempt = latest_attempt(output_dir, gate.name)
    of_gate = partial(_state_of, gate=gate, output_dir=output_dir, config=config, files=files, thorough=thorough)
    state, why, report = _found(attempt, of_gate)
    return GateState(gate.name, gate.title, state, why, attempt, report, gate, next_number(output_dir, gate.name))


def _state_of(
    attempt: Attempt,
    report: dict[str, Any] | None,
    gate: Gate,
    output_dir: Path,
    config: Config | None,
    files: dict[str, str],
    thorough: bool,
) -> tuple[str, tuple[str, ...]]:
    """The state of a gate that was attempted, and why."""
    if report is None or report["status"] != "passed":
        return _state_without_verdict(attempt, report)
    try:
        now = config or resolve_config(report["config"]["path"], report["config"]["overrides"])
        why = _stale_reasons(gate, report, attempt, now, files, output_dir)
    except UserError as error:
        why = [str(error)]
    why += artifact_faults(report, output_dir, thorough)
    return "stale" if why else "passed", tuple(why)


def _state_without_verdict(attempt: Attempt, report: dict[str, Any] | None) -> tuple[str, tuple[str, ...]]:
    """The state of what was attempted and did not pass, or not yet."""
    if report is None:
        owner = attempt.living_owner()
        return ("running", (processes.describe(owner),)) if owner else ("interrupted", ("its owner is gone",))
    return report["status"], tuple(report["why"])


def _stale_reasons(
    gate: Gate, report: dict[str, Any], attempt: Attempt, config: Config, files: dict[str, str], output_dir: Path
) -> list[str]:
    if not verdict_path(output_dir, gate.name).is_file():
        return ["its verdict is gone"]
    if read_json(verdict_path(output_dir, gate.name)) != report:
        return [f"its verdict is not that of attempt {report['attempt']}"]
    digests = gate_digests(gate, files, config, output_dir)
    why = []
    if digests["config"] != report["digests"]["config"]:
        before = report["config"]["values"]
        why += [f"config {change}" for change in differences(before, relevant_config(gate, config))]
    if digests["code"] != report["digests"]["code"]:
        changed = changed_files(relevant_source_of(gate, attempt.start), relevant_source(gate, files))
        why += [f"code {change}" for change in changed]
    if digests["data"] != report["digests"]["data"]:
        why.append("data_index.json changed")
    if digests.get("long_run") != report["digests"].get("long_run"):
        why.append("the long run reached something else since")
    if digests.get("built_on") != report["digests"].get("built_on"):
        why.append("what it takes of the gates before it is something else since")
    if digests["versions"] != report["digests"].get("versions"):
        before = relevant_versions(gate, report["provenance"], report["config"]["values"])
        now = relevant_versions(gate, computing_now(), relevant_config(gate, config))
        why += [f"version of what computes: {change}" for change in differences(before, now)]
    return why


def artifact_faults(report: dict[str, Any], output_dir: Path, thorough: bool) -> list[str]:
    """One sentence per published artifact that is no longer what the report says."""
    faults = []
    for artifact in report["artifacts"]:
        path = output_dir / artifact["path"]
        if not path.is_file():
            faults.append(f"artifact {artifact['path']} is gone")
        elif path.stat().st_size != artifact["bytes"]:
            faults.append(f"artifact {artifact['path']} has {path.stat().st_size} bytes, not {artifact['bytes']}")
        elif (thorough or artifact["bytes"] <= SMALL_FILE_BYTES) and sha256_file(path) != artifact["sha256"]:
            faults.append(f"artifact {artifact['path']} has other bytes than the gate published")
    return faults


def require_up_to_date(states: Iterable[StageState], stage: str) -> None:
    """Refuse a gate, or the long run, unless every gate before it has passed and is not stale.

    Raises:
        UserError: naming the first gate that is not up to date, and why.
    """
    before = STAGES[: STAGES.index(stage)]
    for state in states:
        if state.name in before:
            _require_passed(state, doing="the long run" if stage == LONG_RUN else stage)


def require_long_run(output_dir: Path, config: Config, doing: str) -> None:
    """Refuse unless the long run has passed, with this configuration.

    Raises:
        UserError: with the state of the long run.
    """
    _require_passed(long_run_state(output_dir, config), doing)


def _require_passed(state: StageState, doing: str) -> None:
    if state.state != "passed":
        why = f" ({'; '.join(state.why[:3])})" if state.why else ""
        what = "the long run" if state.name == LONG_RUN else state.name
        raise UserError(f"{doing} is refused: {what} is {state.state}{why}; run `snakemake {state.name}` first")
