"""Who holds a run directory: one living process, named to the others; a dead one holds nothing."""

import os
import signal
import socket
import subprocess
import sys

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflownas.artifacts import read_json, write_json
from edgeflownas.config import resolve_config
from edgeflownas.errors import UserError
from edgeflownas.runs.run_directory import LOCK, RunDirectory

HOLD = """
import sys
from edgeflownas.runs.run_directory import RunDirectory
with RunDirectory(sys.argv[1]).claimed(fresh=True):
    print("claimed", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds `tmp_path/run`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "claimed\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_with_host_and_pid_of_the_first(holder, tmp_path):
    with (
        pytest.raises(UserError, match=f"{socket.gethostname()} pid {holder.pid} is training in this run directory"),
        RunDirectory(tmp_path / "run").claimed(fresh=False),
    ):
        pass


def test_the_lock_of_a_killed_process_is_stale_and_taken_over(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    lock = tmp_path / "run" / LOCK
    assert lock.read_text().endswith(f"pid {holder.pid}")
    with RunDirectory(tmp_path / "run").claimed(fresh=False):
        assert lock.read_text().endswith(f"pid {os.getpid()}")


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.last.parent.mkdir(parents=True)
    unfinished = run.last.with_name(".supernet_last.ckpt.abcd1234.tmp")
    unfinished.write_bytes(b"half")
    run.last.write_bytes(b"whole")
    with run.claimed(fresh=False):
        assert not unfinished.exists()
        assert run.last.read_bytes() == b"whole"


FINITE = st.floats(allow_nan=False, allow_infinity=False)
COLUMNS = ("epoch", "lr", "epe_000021222")
ROWS = st.tuples(st.integers(1, 10**9), FINITE, FINITE).map(lambda cells: dict(zip(COLUMNS, cells, strict=True)))


@given(st.lists(ROWS, min_size=1, max_size=4))
def test_a_history_has_the_bytes_that_pandas_writes_and_reads_back_the_same(tmp_path_factory, rows):
    run = RunDirectory(tmp_path_factory.getbasetemp() / "history")
    run.write_history(rows)
    assert run.history.read_bytes() == pd.DataFrame(rows).to_csv(index=False).encode()
    cells = [line.split(",") for line in run.history.read_text().splitlines()[1:]]
    assert [[int(epoch), float(lr), float(epe)] for epoch, lr, epe in cells] == [list(row.values()) for row in rows]


def test_no_history_is_written_before_the_first_epoch_ends(tmp_path):
    run = RunDirectory(tmp_path)
    run.write_history([])
    assert not run.history.exists()


def test_the_configuration_of_a_run_of_an_earlier_version_has_todays_keys(tmp_path):
    run, config = RunDirectory(tmp_path), resolve_config(None, {"seed": 7})
    run.write_config(config)
    recorded = read_json(run.config)
    values = {key: value for key, value in recorded["values"].items() if key != "train.distribution"}
    write_json(run.config, recorded | {"values": values | {"learning.size": "laptop"}})
    again = run.read_config({})
    assert (again.hash, again["seed"]) == (config.hash, 7)
    assert again.values.keys() == config.values.keys()


def test_the_gpu_that_a_run_was_trained_on_is_not_asked_for_where_it_is_used(tmp_path):
    """An index of another machine would be refused here, or take a GPU that nobody meant."""
    run = RunDirectory(tmp_path)
    run.write_config(resolve_config(None, {"train.gpu_device": 3, "train.require_gpu": True}))
    config = run.read_config({})
    assert (config["train.gpu_device"], config["train.require_gpu"]) == (None, False)
    assert run.read_config({"train.gpu_device": 1})["train.gpu_device"] == 1


def test_a_folder_that_is_no_run_directory_is_told_so(tmp_path):
    with pytest.raises(UserError, match=r"no run directory: it has no config\.json"):
        RunDirectory(tmp_path).read_config({})
