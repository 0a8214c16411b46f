"""An owner is dead only where that is certain: a Slurm that does not answer says nothing about its jobs."""

import os
from pathlib import Path

import pytest

from edgeflownas import slurm
from edgeflownas.errors import UserError
from edgeflownas.gates.lifecycle.attempts import Attempt, living_attempts
from edgeflownas.gates.lifecycle.long_run import require_cut_short
from edgeflownas.gates.lifecycle.starting import close_ended
from edgeflownas.gates.lifecycle.states import gate_states
from edgeflownas.gates.workflow.plan import lock_output_dir
from edgeflownas.processes import describe, is_alive, living, this_process
from edgeflownas.slurm import SlurmSilent, slurm_job_state
from tests.test_gates_states import CONFIG, start

OWNER = this_process() | {"slurm_job_id": "17", "host": "tuna"}
NO_ANSWER = "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1"
FORGOTTEN = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"


def answer(state: str) -> str:
    """The line of a Slurm that knows the job."""
    return f"echo 'JobId=17 JobName=wrap JobState={state} Reason=None Dependency=(null)'"


@pytest.fixture
def slurm_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Make Slurm's client answer with what a shell script does."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def say(script: str) -> None:
        program = folder / "scontrol"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    return say


@pytest.mark.parametrize(
    ("script", "alive"),
    [
        (answer("RUNNING"), True),
        (answer("PENDING"), True),
        (answer("COMPLETING"), True),
        (answer("SUSPENDED"), True),
        (answer("A_WORD_OF_THE_NEXT_VERSION"), True),
        (answer("COMPLETED"), False),
        (answer("CANCELLED"), False),
        (answer("TIMEOUT"), False),
        (FORGOTTEN, False),
        (NO_ANSWER, True),
        ("exit 1", True),
        ("exit 0", True),
        ("exec sleep 60", True),
    ],
)
def test_a_slurm_job_is_dead_only_when_slurm_says_so(slurm_says, script, alive, monkeypatch) -> None:
    monkeypatch.setattr(slurm, "SLURM_PATIENCE_S", 0.5)
    slurm_says(script)
    assert is_alive(OWNER) == alive


def test_why_it_is_not_known_is_said(slurm_says) -> None:
    slurm_says(NO_ANSWER)
    owner = living(OWNER)
    assert owner is not None
    assert describe(owner) == (
        "Slurm job 17 on host tuna; whether it still runs is not known: scontrol ended with exit code 1: "
        "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
    )
    with pytest.raises(SlurmSilent, match="Unable to contact"):
        slurm_job_state("17")


def test_a_process_of_another_host_counts_as_alive_and_the_words_say_that_nobody_can_tell() -> None:
    owner = living(OWNER | {"slurm_job_id": None})
    assert owner is not None
    assert "whether it still runs is not known: it is on another host" in describe(owner)


@pytest.fixture
def attempt_of_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Attempt:
    """A gate's unfinished attempt that was begun in Slurm job 17."""
    with monkeypatch.context() as job:
        job.setenv("SLURM_JOB_ID", "17")
        return start(tmp_path, "gate1")


def test_nothing_is_started_or_closed_beside_an_attempt_that_may_live(
    slurm_says, attempt_of_a_job, tmp_path: Path
) -> None:
    attempt = attempt_of_a_job
    slurm_says(NO_ANSWER)
    doubt = "Slurm job 17 on host .*; whether it still runs is not known: .*Unable to contact"
    with pytest.raises(UserError, match=f"gate1 attempt 1 is still running .{doubt}.*gates abandon gate1"):
        start(tmp_path, "gate1")
    with pytest.raises(UserError, match=doubt):
        lock_output_dir(tmp_path)
    close_ended(tmp_path, attempt.start["started"], patience_s=0.1)
    assert not attempt.is_closed
    assert gate_states(tmp_path, CONFIG)[0].state == "running"
    assert [found.number for found, _ in living_attempts(tmp_path)] == [1]

    slurm_says(FORGOTTEN)
    assert gate_states(tmp_path, CONFIG)[0].state == "interrupted"
    assert start(tmp_path, "gate1").number == 2


def test_a_long_run_is_not_submitted_again_while_slurm_does_not_say_how_it_ended(
    slurm_says, attempt_of_a_job, tmp_path: Path
) -> None:
    (tmp_path / "gates/gate1").rename(tmp_path / "gates/supernet")
    slurm_says(NO_ANSWER)
    with pytest.raises(UserError, match=r"Slurm does not say how its job 17 did .*it is not submitted again by itself"):
        require_cut_short(tmp_path)
    slurm_says(answer("TIMEOUT"))
    require_cut_short(tmp_path)
