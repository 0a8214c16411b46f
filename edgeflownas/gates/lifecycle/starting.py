"""Starting and abandoning attempts: none starts while another is running, or after a stale gate."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from edgeflownas import processes
from edgeflownas.artifacts import put_aside, sha256_file, write_json, write_text
from edgeflownas.config import Config, differences
from edgeflownas.devices import backend_name
from edgeflownas.errors import CannotWrite, UserError, writing
from edgeflownas.gates.gate import Gate
from edgeflownas.gates.lifecycle.attempts import Attempt, attempts, latest_attempt, next_attempt, remove_done_files
from edgeflownas.gates.lifecycle.digests import gate_digests, relevant_config, relevant_source, source_files
from edgeflownas.gates.lifecycle.owner import owner_from_environment, typed_invocation
from edgeflownas.gates.lifecycle.recorder import now
from edgeflownas.gates.lifecycle.reports import close_attempt
from edgeflownas.gates.lifecycle.states import gate_states, require_long_run, require_up_to_date, verdict_path
from edgeflownas.gates.registry import STAGES
from edgeflownas.gates.requirements import require_passable
from edgeflownas.locks import LockHeld, take_lock
from edgeflownas.provenance import collect_provenance, dirty_diff
from edgeflownas.source_code import changed_files

# Slurm kills what has not ended 30 s after it was asked to (KillWait).
KILL_WAIT_S = 40.0


def start_gate(
    gate: Gate,
    output_dir: Path,
    config_path: Path | None,
    overrides: Mapping[str, Any],
    config: Config,
    trigger: int | None,
) -> Attempt:
    """Start the next attempt at a gate: close an interrupted one, withdraw the old verdict, empty its run folders.

    Raises:
        UserError: an earlier gate is not up to date, the long run before it has not passed, no attempt can pass with
        the config, a needed data index is missing, or an attempt still runs.
    """
    refuse_beside_living(output_dir, gate.name)
    require_up_to_date(gate_states(output_dir, config, thorough=True), gate.name)
    if gate.after_long_run:
        require_long_run(output_dir, config, doing=gate.name)
    require_passable([gate], config, output_dir / "data_index.json")
    if gate.uses_data and not (output_dir / "data_index.json").is_file():
        raise UserError(f"{gate.name} is refused: {output_dir / 'data_index.json'} is missing; run `snakemake data`")
    close_interrupted(output_dir, gate.name)
    attempt = next_attempt(output_dir, gate.name, trigger)
    files = source_files()
    write_start(
        attempt,
        {
            "trigger": attempt.number if trigger is None else trigger,
            "config": {
                "path": None if config_path is None else str(config_path),
                "overrides": dict(overrides),
                "hash": config.hash,
                "values": relevant_config(gate, config),
            },
            "digests": gate_digests(gate, files, config, output_dir),
            "source_files": files,
            "depends_on": [*relevant_source(gate, files)],
            "before": _verdict_before(gate, output_dir),
        },
        config,
        previous=_attempt_before(output_dir, attempt),
    )
    with writing(verdict_path(output_dir, gate.name)):
        verdict_path(output_dir, gate.name).unlink(missing_ok=True)
    for name in gate.run_directories:
        _set_aside(output_dir / "runs" / name)
    remove_done_files(output_dir, gate.name, before=attempt.number if trigger is None else trigger)
    return attempt


def start_lock(output_dir: Path, name: str) -> IO[str]:
    """Make this process the only one that starts an attempt at `name`, until the returned file is closed.

    Raises:
        UserError: another one is doing so; says which.
    """
    path = output_dir / "gates" / name / ".lock"
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            return take_lock(path, processes.describe(processes.this_process()))
    except LockHeld as holder:
        raise UserError(f"{name} is being started by {holder} at this moment") from None


def write_start(attempt: Attempt, facts: dict[str, Any], config: Config, previous: Attempt | None) -> None:
    """Write `start.json`, with what changed since the previous attempt, the resolved `config.json` and `dirty.diff`."""
    provenance = collect_provenance() | {"backend": backend_name(), "invocation": typed_invocation()}
    start = {
        "gate": attempt.gate,
        "attempt": attempt.number,
        "started": now(),
        "owner": owner_from_environment(),
        **facts,
        "provenance": provenance,
    }
    start["changes"] = None if previous is None else _changes_since(previous, start)
    write_json(attempt.folder / "start.json", start, schema="attempt_start.schema.json")
    write_json(attempt.folder / "config.json", config.resolved(), schema="resolved_config.schema.json")
    if provenance["git"]["dirty"]:
        write_text(attempt.folder / "dirty.diff", dirty_diff(shown=facts["source_files"]))


def _changes_since(previous: Attempt, start: Mapping[str, Any]) -> list[str]:
    try:
        return changes_since(previous.start, start)
    except UserError as error:
        return [f"unknown: {error}"]


def changes_since(before: Mapping[str, Any], start: Mapping[str, Any]) -> list[str]:
    """What differs between two starts: config, source, data, git, host, versions; one line each."""
    changes = [f"config {line}" for line in differences(before["config"]["values"], start["config"]["values"])]
    changes += [f"code {line}" for line in changed_files(before["source_files"], start["source_files"])]
    if before["digests"]["data"] != start["digests"]["data"]:
        changes.append("data_index.json changed")
    old, new = before["provenance"], start["provenance"]
    changes += [f"git {line}" for line in differences(old["git"], new["git"])]
    changes += [f"host {line}" for line in differences(old["host"], new["host"])]
    changes += [f"version of {line}" for line in differences(old["versions"], new["versions"])]
    if old.get("backend") != new["backend"]:
        changes.append(f"backend {old.get('backend')} -> {new['backend']}")
    changes += [f"environment {line}" for line in differences(old.get("environment", {}), new.get("environment", {}))]
    return changes


def refuse_beside_living(output_dir: Path, name: str) -> None:
    """Refuse while another process is still working on the latest attempt of `name`.

    Raises:
        UserError: with host and process or Slurm job.
    """
    attempt = latest_attempt(output_dir, name)
    owner = attempt.living_owner() if attempt else None
    if attempt is None or owner is None or is_ours(owner):
        return
    raise UserError(
        f"{name} attempt {attempt.number} is still running ({processes.describe(owner)}): wait for it or end it; if it "
        f"is gone for certain, `python -m edgeflownas.gates abandon {name} --output_dir {output_dir}` says so"
    )


def is_ours(owner: Mapping[str, Any]) -> bool:
    """Whether that owner is the Snakemake run, or the Slurm job, that this process belongs to."""
    ours = owner_from_environment()
    if owner["slurm_job_id"] is not None:
        return bool(owner["slurm_job_id"] == os.environ.get("SLURM_JOB_ID"))
    return ours is not None and ours == dict(owner)


def close_interrupted(output_dir: Path, name: str) -> None:
    """Give an unfinished attempt, whose owner is gone, the report that it was interrupted.

    One whose records cannot be read is put aside under another name.
    """
    attempt = latest_attempt(output_dir, name)
    if attempt is None or attempt.is_closed:
        return
    try:
        for record in attempt.commands():
            if record["status"] == "running":
                attempt.write_command(record | {"status": "interrupted"})
        close_attempt(attempt, "interrupted", ["it ended without a report: its processes are gone"])
    except UserError:
        with writing(attempt.folder):
            put_aside(attempt.folder, "damaged")


def close_ended(output_dir: Path, started: str, patience_s: float = KILL_WAIT_S) -> None:
    """Close the attempts started since `started` (UTC, ISO 8601) whose Slurm jobs are over, but that have no report.

    A cancelled job may still be writing it: that is waited for, `patience_s` seconds at most.
    """
    deadline = time.monotonic() + patience_s
    for name in STAGES:
        attempt = latest_attempt(output_dir, name)
        try:
            if attempt is None or attempt.is_closed or attempt.start["started"] < started:
                continue
            while _others_work_on(attempt) and time.monotonic() < deadline:
                time.sleep(0.5)
            if not _others_work_on(attempt):
                close_interrupted(output_dir, name)
        except (UserError, CannotWrite):
            # Records that cannot be read or closed: the next start puts them aside, or says why it cannot.
            continue


def _others_work_on(attempt: Attempt) -> bool:
    """Whether a process or Slurm job works on an attempt besides the Snakemake run that this process belongs to."""
    owner = attempt.living_owner()
    return owner is not None and not is_ours(owner)


def _attempt_before(output_dir: Path, attempt: Attempt) -> Attempt | None:
    earlier = [other for other in attempts(output_dir, attempt.gate) if other.number < attempt.number]
    return earlier[-1] if earlier else None


def _verdict_before(gate: Gate, output_dir: Path) -> dict[str, Any] | None:
    """The verdict on what comes right before the gate; a gate's is the report of the attempt behind it, as is."""
    position = STAGES.index(gate.name)
    if position == 0:
        return None
    before = STAGES[position - 1]
    attempt = latest_attempt(output_dir, before)
    if attempt is None:
        raise UserError(f"{before} was never run")
    return {
        "gate": before,
        "attempt": attempt.number,
        "sha256": sha256_file(attempt.folder / "report.json"),
    }


def _set_aside(run: Path) -> None:
    """Make room for a run; the run of the previous attempt is kept next to it, older ones are deleted."""
    import shutil

    previous = run.with_name(f"{run.name}.previous")
    if run.exists():
        with writing(run):
            if previous.exists():
                shutil.rmtree(previous)
            run.rename(previous)
