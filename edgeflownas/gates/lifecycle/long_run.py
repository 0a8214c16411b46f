"""The long run after the gates: refused unless all are up to date; recorded like a gate, resumed, never restarted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import sha256_of
from edgeflownas.config import Config
from edgeflownas.errors import UserError
from edgeflownas.gates.criteria import Criterion, Finding, evaluate_criteria, reasons
from edgeflownas.gates.lifecycle.attempts import Attempt, latest_attempt, next_attempt
from edgeflownas.gates.lifecycle.digests import data_digest, source_files
from edgeflownas.gates.lifecycle.evidence import HISTORY
from edgeflownas.gates.lifecycle.reports import close_attempt
from edgeflownas.gates.lifecycle.starting import close_interrupted, refuse_beside_living, write_start
from edgeflownas.gates.lifecycle.states import gate_states, require_up_to_date
from edgeflownas.gates.registry import LONG_RUN
from edgeflownas.nas.search_space import result_values
from edgeflownas.runs.pool_names import mean_epe, names_in
from edgeflownas.runs.records import read_history
from edgeflownas.slurm import CUT_SHORT, SlurmSilent, slurm_job_state


def start_long_run(output_dir: Path, config_path: Path | None, overrides: Mapping[str, Any], config: Config) -> Attempt:
    """Start or continue the long run: one attempt each time.

    Raises:
        UserError: a gate is not up to date, or the run is still going.
    """
    refuse_beside_living(output_dir, LONG_RUN)
    require_up_to_date(gate_states(output_dir, config, thorough=True), LONG_RUN)
    close_interrupted(output_dir, LONG_RUN)
    previous = latest_attempt(output_dir, LONG_RUN)
    attempt = next_attempt(output_dir, LONG_RUN)
    files = source_files()
    values = result_values(config)
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


Epoch = Mapping[str, float]
"""A row of the history."""


def _beats_no_motion(best: Epoch) -> Finding:
    ratio = mean_epe(best) / best["zero_flow_epe"]
    observed = f"{mean_epe(best):.3f} px, {ratio:.3f} of zero flow {best['zero_flow_epe']:.3f} px{_at(best)}"
    return Finding(observed, "below 1 of zero flow", ratio < 1)


def _at(best: Epoch) -> str:
    return f" (epoch {best['epoch']})"


def _subnets_are_told_apart(best: Epoch) -> Finding:
    spread, noise = best[names_in(best).std_epe], best[names_in(best).noise_epe]
    return Finding(
        f"{spread:.4f} px{_at(best)}", f"at least the evaluation's own noise, {noise:.4f} px", spread >= noise > 0
    )


LEARNED: tuple[Criterion[Epoch], ...] = (
    Criterion(
        "at its best epoch the pool beats predicting no motion",
        _beats_no_motion,
        ("train",),
        remedy="It may be too little training: look at train.num_epochs, train.lr, train.early_stop_patience and the "
        "amount of data",
    ),
    Criterion(
        "the spread of the pool is more than a choice of validation samples",
        _subnets_are_told_apart,
        ("train",),
        remedy="It may be too little training (train.num_epochs, train.early_stop_patience) or too few validation "
        "samples (eval.max_samples, data.synthetic.val)",
    ),
)


def evaluate_long_run(attempt: Attempt, output_dir: Path) -> dict[str, Any]:
    """Close the attempt of a run that ended: passed if its best epoch meets the criteria.

    The evaluation's noise is the standard error of a subnet's EPE against the pool's mean over the validation samples
    (`nas.ranking.standard_errors`): subnets that differ by less would change places with other samples.
    """
    findings: list[dict[str, Any]] = []
    try:
        best = min(read_history(output_dir / "runs" / LONG_RUN / HISTORY), key=mean_epe)
        findings = [*evaluate_criteria(LEARNED, best)]
        why = reasons(findings)
    except UserError as error:
        why = [str(error)]
    except ValueError:
        why = ["no epoch was completed, so nothing was evaluated"]
    return close_attempt(attempt, "failed" if why else "passed", why, findings)


def require_cut_short(output_dir: Path) -> None:
    """Refuse to resubmit the long run automatically, unless Slurm cut its last job short.

    Raises:
        UserError: with how the last job ended, or that Slurm does not say it.
    """
    attempt = latest_attempt(output_dir, LONG_RUN)
    if attempt is None or not (attempt.folder / "start.json").is_file():
        raise UserError("the long run did not start: see slurm_logs/rule_long_run/")
    report = attempt.report
    owner = attempt.start["owner"]
    job = owner["slurm_job_id"] if owner else None
    try:
        reason = reason_to_stop(report["status"] if report else None, job, slurm_job_state(job) if job else None)
    except SlurmSilent as silence:
        reason = f"ended, and Slurm does not say how its job {job} did ({silence})"
    if reason:
        raise UserError(f"{LONG_RUN} attempt {attempt.number} {reason}; it is not submitted again by itself")


def reason_to_stop(status: str | None, job: str | None, state: str | None) -> str | None:
    """Why the long run should not continue automatically after an attempt; None if it should.

    What failed would fail again, and what a person cancelled should remain cancelled. `status` is the attempt's (None
    if it could not write its report), `state` is how Slurm says that its job ended (None if Slurm has forgotten).
    """
    if status == "failed":
        return "failed"
    if job is None:
        return "was interrupted"
    return None if state is None or state in CUT_SHORT else f"ended with Slurm job {job} {state}"
