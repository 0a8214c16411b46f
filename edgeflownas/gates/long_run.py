"""The long run after gate 4: refused unless all gates stand; recorded like a gate, and resumed, never restarted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import sha256_of
from edgeflownas.config import Config
from edgeflownas.errors import UserError
from edgeflownas.gates.attempts import Attempt, latest_attempt, next_attempt
from edgeflownas.gates.cluster import CUT_SHORT, job_state
from edgeflownas.gates.digests import data_digest, source_files
from edgeflownas.gates.gate import GATES, LONG_RUN
from edgeflownas.gates.starting import close_interrupted, refuse_beside_living, write_start
from edgeflownas.gates.states import gate_states, require_standing


def start_long_run(output_dir: Path, config_path: Path | None, overrides: Mapping[str, Any], config: Config) -> Attempt:
    """Begin, or continue, the long run: one attempt per time that it is started.

    Raises:
        UserError: a gate does not stand, or the run is still going.
    """
    refuse_beside_living(output_dir, LONG_RUN)
    require_standing(gate_states(output_dir, config, thorough=True), len(GATES) + 1, doing="the long run")
    close_interrupted(output_dir, LONG_RUN)
    previous = latest_attempt(output_dir, LONG_RUN)
    attempt = next_attempt(output_dir, LONG_RUN)
    files = source_files()
    values = config.result_values()
    facts = {
        "trigger": attempt.number,
        "config": {
            "path": None if config_path is None else str(config_path),
            "overrides": dict(overrides),
            "hash": config.hash,
            "values": values,
        },
        "digests": {"code": sha256_of(files), "config": config.hash, "data": data_digest(output_dir)},
        "source_files": files,
        "before": None,
    }
    write_start(attempt, facts, config, previous)
    return attempt


def require_cut_short(output_dir: Path) -> None:
    """Refuse to submit the long run again by itself, unless Slurm cut its last job short.

    Raises:
        UserError: with how the last job ended.
    """
    attempt = latest_attempt(output_dir, LONG_RUN)
    if attempt is None or not (attempt.folder / "start.json").is_file():
        raise UserError("the long run did not begin: see slurm_logs/rule_long_run/")
    report = attempt.report
    owner = attempt.start["owner"]
    job = owner["slurm_job_id"] if owner else None
    reason = reason_to_stop(report["status"] if report else None, job, job_state(job) if job else None)
    if reason:
        raise UserError(f"{LONG_RUN} attempt {attempt.number} {reason}; it is not submitted again by itself")


def reason_to_stop(status: str | None, job: str | None, state: str | None) -> str | None:
    """Why the long run should not go on by itself after an attempt; None if it should.

    What failed would fail again, and what a person cancelled should stay so. `status` is the attempt's (None if it
    could not write its report), `state` is how Slurm says that its job ended (None if Slurm has forgotten).
    """
    if status == "failed":
        return "failed"
    if job is None:
        return "was interrupted"
    return None if state is None or state in CUT_SHORT else f"ended with Slurm job {job} {state}"
