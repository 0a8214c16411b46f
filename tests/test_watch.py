"""`python -m edgeflownas.watch`: what it says of a run, from its files alone, and how it exits."""

import itertools
import json
import os
import socket
import subprocess
import sys

import pytest

from edgeflownas import watch
from edgeflownas.artifacts import PROJECT_ROOT, read_json
from edgeflownas.console.printer import Printer
from edgeflownas.errors import UserError
from edgeflownas.processes import this_process
from edgeflownas.runs.monitor import RunLength, RunMonitor
from edgeflownas.runs.pool_names import PoolNames
from edgeflownas.runs.state import RunState
from tests.handmade_gates import begun_attempt
from tests.handmade_runs import edit_json, make_config, make_run

EPOCHS = 3


def begin_run(folder, end=None):
    """A run of 5 epochs that has 3 behind it; `end` is why it stopped."""
    make_run(folder, EPOCHS, make_config())
    state = RunState(counts={}, history=[{"mean_epe_12": 4.0}] * EPOCHS, global_step=4 * EPOCHS)
    state.best = {"epoch": 1, "mean_epe_12": 4.0}
    # Ten seconds pass with every look at the clock.
    clock = itertools.count(0, 10).__next__
    monitor = RunMonitor(
        folder / "progress.json", RunLength(5, 4, 20), PoolNames(12), 5.0, Printer("quiet"), clock=clock
    )
    monitor.starting(state)
    state.record_step({"losses": [1.0], "global_grad_norm_before": 2.0})
    monitor.step(state, {"global_grad_norm_before": 2.0}, 1e-4)
    if end:
        monitor.ended(state, end)
    return folder


def watched(capsys, *words):
    """Exit code and lines of the command."""
    code = watch.main([str(word) for word in words])
    return code, capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("end", "code"), [("max_epochs", 0), ("early_stop", 0), ("interrupted", 3), ("failed: a bad step", 1)]
)
def test_it_exits_as_the_run_did(tmp_path, capsys, end, code):
    ended, lines = watched(capsys, begin_run(tmp_path / "run", end))
    assert ended == code
    assert [line[20:35] for line in lines[1:4]] == ["epoch 1/5 done:", "epoch 2/5 done:", "epoch 3/5 done:"]
    assert lines[-1].endswith(f"epoch 4/5 ended: {end}")


def test_a_run_whose_process_is_gone_has_failed(tmp_path, capsys):
    run = begin_run(tmp_path / "run")
    edit_json(run / "progress.json", process=this_process() | {"pid_started": 1, "slurm_job_id": None})
    code, lines = watched(capsys, run)
    assert code == 1
    assert f"process {os.getpid()} on host {socket.gethostname()} is gone and did not say why" in lines[-1]


def test_it_follows_until_the_run_ends(tmp_path, capsys, monkeypatch):
    run = begin_run(tmp_path / "run")
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            edit_json(run / "progress.json", phase="ended", stopped_because="num_epochs")

    monkeypatch.setattr(watch.time, "sleep", sleep)
    code, lines = watched(capsys, run)
    assert (code, len(looks)) == (0, 3)
    # Each epoch is told once, however often one looks.
    assert sum("done: mean EPE" in line for line in lines) == EPOCHS
    assert lines[-1].endswith("ended: num_epochs")


def test_a_folder_of_gates_shows_the_gate_under_way_and_the_run_that_was_last_at_work(tmp_path, capsys):
    begin_run(tmp_path / "runs" / "gate3_trace", end="max_steps")
    begin_run(tmp_path / "runs" / "gate3_epochs")
    os.utime(tmp_path / "runs" / "gate3_trace" / "progress.json", (0, 0))
    attempt = begun_attempt(tmp_path, "gate3")
    attempt.write_command({"name": "epochs", "status": "running", "process": this_process()})
    code, lines = watched(capsys, tmp_path, "--once")
    assert code == 0
    assert lines[0].endswith(f"gate3, attempt 1: running epochs (process {os.getpid()} on host {socket.gethostname()})")
    assert "gate3_epochs" in lines[1]
    assert "epoch 4/5 step 1/4" in lines[-1]


def test_json_for_programs(tmp_path):
    run = begin_run(tmp_path / "run", end="max_epochs")
    command = [sys.executable, "-m", "edgeflownas.watch", str(run), "--once", "--json"]
    text = subprocess.run(command, cwd=PROJECT_ROOT, check=True, capture_output=True, text=True).stdout
    value = json.loads(text)
    assert (value["run"], value["state"], value["gate"]) == (str(run), "ended", None)
    assert value["progress"] == read_json(run / "progress.json")
    assert [row["epoch"] for row in value["epochs"]] == [1, 2, 3]


def test_a_folder_without_a_run_is_refused_with_what_was_expected(tmp_path):
    with pytest.raises(UserError, match="no run has started here; expected a run directory"):
        watch.main([str(tmp_path)])
