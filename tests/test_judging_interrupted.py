"""An epoch that is being judged when its run is told to stop: nothing of it is lost, and it ends at once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeflownas.artifacts import read_json
from edgeflownas.errors import EXIT_INTERRUPTED
from edgeflownas.runs.checkpoints import load_checkpoint, read_header
from edgeflownas.runs.flow_samples import load_flow_samples
from edgeflownas.runs.manifest_checks import manifest_faults
from edgeflownas.runs.monitor import RunMonitor
from edgeflownas.runs.run_directory import RunDirectory
from edgeflownas.runs.state import RunState
from edgeflownas.stopping import SIGNALS
from edgeflownas.train_supernet import main
from edgeflownas.training import trainer
from edgeflownas.training.evaluation import Evaluator
from tests.chaos.comparison import differences_between
from tests.spaces import small_space
from tests.tiny import TINY, tiny_flags

TWO_EPOCHS = ("--num_epochs", "2", "--lr", "1e-3")
STEPS = TINY["train.steps_per_epoch"]


@pytest.fixture(scope="module")
def flags_of(synthetic_root, tmp_path_factory):
    """Flags of a traced training of a small space in a run directory."""
    space = small_space(tmp_path_factory.mktemp("space"))

    def flags_of(run: Path, *more: str) -> list[str]:
        return tiny_flags(synthetic_root, run, "--debug_trace", "--set", f"network.search_space={space}", *more)

    return flags_of


@pytest.fixture(scope="module")
def whole_run(flags_of, tmp_path_factory):
    """Two epochs in one go, to the run's own end, with its flow samples."""
    run = tmp_path_factory.mktemp("run") / "whole"
    assert main(flags_of(run, *TWO_EPOCHS)) == 0
    return run


def before(owner: object, name: str, is_it: Callable[..., bool]) -> Callable[[pytest.MonkeyPatch], list[str]]:
    """Ask the process to stop, as Slurm does, before `owner.name` is called with what `is_it` wants, once."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> list[str]:
        after: list[str] = []
        original = getattr(owner, name)

        def told(*arguments, **named):
            if after:
                after.append(name)
            elif is_it(*arguments):
                after.append("stop")
                for _ in range(2):
                    signal.raise_signal(signal.SIGTERM)
            return original(*arguments, **named)

        monkeypatch.setattr(owner, name, told)
        return after

    return patch


def judging(part: str, batch: int, subnet: int) -> Callable[[pytest.MonkeyPatch], list[str]]:
    return before(
        RunMonitor,
        "judging",
        lambda _, state, where: (where["part"], where["batch"], where["subnet"]) == (part, batch, subnet),
    )


# When the stop comes: steps and epochs that the last checkpoint then holds.
MOMENTS = {
    "the last step": (before(RunState, "record_step", lambda state, _: state.global_step == STEPS - 1), STEPS, 0),
    "the first batch": (judging("recalibration", 1, 1), STEPS, 0),
    "recalibration": (judging("recalibration", 3, 3), STEPS, 0),
    "validation": (judging("validation", 2, 5), STEPS, 0),
    "zero-flow EPE": (before(Evaluator, "zero_flow_epe", lambda *_: True), STEPS, 0),
    "before the row": (before(RunState, "note_evaluation", lambda *_: True), STEPS, 1),
    "the row": (before(RunState, "finish_epoch", lambda *_: True), STEPS, 1),
    "the last epoch": (
        before(RunMonitor, "judging", lambda _, state, where: state.global_step == 2 * STEPS),
        2 * STEPS,
        1,
    ),
    "flow samples": (before(trainer, "take_flow_samples", lambda *_: True), 2 * STEPS, 2),
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_stop_while_an_epoch_is_judged_keeps_it_and_the_resume_judges_first(
    whole_run, flags_of, tmp_path, monkeypatch, capsys, moment
):
    interrupt, steps, epochs = MOMENTS[moment]
    run = RunDirectory(tmp_path / "run")
    flags = flags_of(run.path, *TWO_EPOCHS)
    with monkeypatch.context() as patched:
        after = interrupt(patched)
        assert main(flags) == EXIT_INTERRUPTED
    assert after == ["stop"]
    header = load_checkpoint(run.last).header
    assert (header["global_step"], header["epoch"]) == (steps, epochs)
    assert read_json(run.manifest)["stopped_because"] == "interrupted"
    assert manifest_faults(run.manifest) == []
    assert capsys.readouterr().out.strip().endswith("continue with the same command and --resume")
    assert main([*flags, "--resume"]) == 0
    assert differences_between(run.path, whole_run) == []


@pytest.mark.slow
def test_a_resume_judges_what_was_trained_before_it_stops_for_a_limit_or_for_good(flags_of, tmp_path, monkeypatch):
    # It stops for good at the second epoch, which is no better than the first by so much.
    early = ("--num_epochs", "9", "--set", "train.early_stop_patience=1", "--set", "train.early_stop_min_delta=10")
    runs = [RunDirectory(tmp_path / name) for name in ("whole", "limited", "stopped")]
    assert main(flags_of(runs[0].path, *early)) == 0
    assert read_json(runs[0].manifest)["stopped_because"] == "early_stop"

    # After the first epoch for a limit, and so again when it is judged by a resume.
    for run, limit in ((runs[1], "1"), (runs[2], "2")):
        flags = flags_of(run.path, *early, "--max_epochs", limit)
        last = int(limit) * STEPS
        with monkeypatch.context() as patched:
            before(RunMonitor, "judging", lambda _, state, where, last=last: state.global_step == last)(patched)
            assert main(flags) == EXIT_INTERRUPTED
        assert (read_header(run.last)["global_step"], read_header(run.last)["epoch"]) == (last, int(limit) - 1)
        assert main([*flags, "--resume"]) == 0
        assert (read_header(run.last)["global_step"], read_header(run.last)["epoch"]) == (last, int(limit))
        expected = "max_epochs" if limit == "1" else "early_stop"
        assert read_json(run.manifest)["stopped_because"] == expected
        assert main([*flags_of(run.path, *early), "--resume"]) == 0
        assert differences_between(run.path, runs[0].path) == []


@pytest.mark.slow
def test_the_two_checkpoints_of_an_epoch_lie_side_by_side(whole_run):
    run = RunDirectory(whole_run)
    trained, judged = load_checkpoint(run.previous), load_checkpoint(run.last)
    assert [checkpoint.header["global_step"] for checkpoint in (trained, judged)] == [2 * STEPS, 2 * STEPS]
    assert [checkpoint.header["epoch"] for checkpoint in (trained, judged)] == [1, 2]
    assert trained.header["sha256"] == judged.header["sha256"]
    assert len(load_flow_samples(run.flow_samples).names) > 0
    assert np.isfinite(load_flow_samples(run.flow_samples).errors).all()


# Says so when it begins to judge, with more batches than it can be done with before the signal.
JUDGES = """
import sys
from edgeflownas.{module} import main
from edgeflownas.errors import run_command
from edgeflownas.training.evaluation import Evaluator
recalibrate = Evaluator.recalibrate
def told(evaluator, cycles, batches, watch=None):
    batches = list(batches)
    def endless():
        while True:
            print("judging", flush=True)
            yield from batches
    return recalibrate(evaluator, cycles, endless(), watch)
Evaluator.recalibrate = told
run_command(lambda: main(sys.argv[1:]))
"""


def signalled(module: str, flags: list[str], number: int) -> tuple[int, float, str]:
    """Send a command a signal twice when it is judging; its exit code, the seconds it then took, and all it said."""
    with subprocess.Popen(
        [sys.executable, "-u", "-c", JUDGES.format(module=module), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in SIGNALS],
    ) as process:
        assert process.stdout is not None
        said = ""
        while said.count("judging") < 3:
            said += (line := process.stdout.readline())
            assert line, said
        begin = time.monotonic()
        for _ in range(2):
            os.kill(process.pid, number)
        said += process.stdout.read()
        process.wait()
    return process.returncode, time.monotonic() - begin, said


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
def test_supernet_eval_ends_soon_with_exit_code_3_and_one_line(whole_run, flags_of, tmp_path, number):
    flags = [flag for flag in flags_of(whole_run, "--out", str(tmp_path / "eval.json")) if flag != "--debug_trace"]
    code, seconds, said = signalled("nas.supernet_eval", flags, number)
    assert (code, said.splitlines()[-1]) == (EXIT_INTERRUPTED, "interrupted")
    assert "Traceback" not in said
    assert seconds < 10
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_study_that_judges_ends_soon_with_exit_code_3_and_one_line(whole_run, tmp_path):
    flags = ["--run_dir", str(whole_run), "--out", str(tmp_path / "table.json")]
    code, seconds, said = signalled("studies.recalibration", flags, signal.SIGTERM)
    assert (code, said.splitlines()[-1]) == (EXIT_INTERRUPTED, "interrupted")
    assert "Traceback" not in said
    assert seconds < 10
    assert not list(tmp_path.iterdir())
