"""Faults under a running training, made for real: a disk that fills up, folders that close or vanish, bad numbers."""

import contextlib
import ctypes
import errno
import os
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgeflownas.artifacts import read_json
from edgeflownas.config import resolve_config
from edgeflownas.data.flow_files import read_flow, write_flow
from edgeflownas.errors import EXIT_INTERRUPTED, run_command
from edgeflownas.runs.checkpoints import load_checkpoint, read_header, save_checkpoint
from edgeflownas.runs.manifest_checks import manifest_faults
from edgeflownas.runs.records import read_history, read_trace
from edgeflownas.runs.run_directory import RunDirectory
from edgeflownas.runs.timing import PHASES
from edgeflownas.stopping import SIGNALS
from edgeflownas.train_supernet import main
from tests.chaos.comparison import differences_between
from tests.spaces import small_space
from tests.tiny import TINY, tiny_flags

SIX_STEPS = ("--set", "train.checkpoint_every_steps=2", "--max_steps", "6")


def exit_code_and_words(capsys, flags: list[str]) -> tuple[int, str]:
    """The exit code of a training, and the one line that it leaves on stderr."""
    with pytest.raises(SystemExit) as end:
        run_command(lambda: main(flags))
    words = capsys.readouterr().err.strip()
    assert "\n" not in words
    return int(end.value.code or 0), words


@pytest.fixture(scope="module")
def flags_of(synthetic_root, tmp_path_factory):
    """Flags of a traced training of a small space in a run directory."""
    space = small_space(tmp_path_factory.mktemp("space"))

    def flags_of(run: Path, *more: str, data: Path = synthetic_root) -> list[str]:
        return tiny_flags(data, run, "--debug_trace", "--set", f"network.search_space={space}", *more)

    return flags_of


@pytest.fixture(scope="module")
def whole_run(flags_of, tmp_path_factory):
    """Six steps in one go, the fifth of which ends an epoch."""
    run = tmp_path_factory.mktemp("run") / "whole"
    assert main(flags_of(run, *SIX_STEPS)) == 0
    return run


@dataclass(frozen=True)
class Fault:
    """Something that happens to the folder of a run, its cure, and what the system calls it."""

    strike: Callable[[], object]
    mend: Callable[[], object]
    words: str


def mounted(*arguments: str | Path) -> None:
    """Mount something, or skip the test where that is not allowed."""
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")


def full_disk(folder: Path) -> Fault:
    mounted("-t", "tmpfs", "-o", "size=64m", "tmpfs", folder)

    def fill() -> None:
        with open(folder / "filler", "wb", buffering=0) as file:
            for size in (2**20, 2**10, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"x" * size)

    return Fault(fill, (folder / "filler").unlink, os.strerror(errno.ENOSPC))


def limited_files(folder: Path) -> Fault:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    return Fault(
        lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard)),
        lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard)),
        os.strerror(errno.EFBIG),
    )


def read_only(folder: Path) -> Fault:
    """A read-only mount of the folder over itself: what is open for writing elsewhere does not hinder it."""

    def strike() -> None:
        mounted("--bind", folder, folder)
        mounted("-o", "remount,bind,ro", folder)

    mounted("-t", "tmpfs", "tmpfs", folder)
    return Fault(strike, lambda: subprocess.run(["umount", folder], check=True), os.strerror(errno.EROFS))


def closed(folder: Path) -> Fault:
    checkpoints = folder / "run" / "checkpoints"
    return Fault(lambda: checkpoints.chmod(0o555), lambda: checkpoints.chmod(0o755), os.strerror(errno.EACCES))


FAULTS = [full_disk, limited_files, read_only, closed]


@contextmanager
def permissions_matter() -> Iterator[None]:
    """Root writes where nobody may, by CAP_DAC_OVERRIDE; this thread does without it for a while."""
    libc = ctypes.CDLL(None, use_errno=True)
    version_and_thread = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()
    assert libc.capget(version_and_thread, sets) == 0
    effective = sets[0]
    sets[0] = effective & ~(1 << 1)
    assert libc.capset(version_and_thread, sets) == 0, os.strerror(ctypes.get_errno())
    yield
    sets[0] = effective
    assert libc.capset(version_and_thread, sets) == 0


@contextmanager
def once_there(path: Path, strike: Callable[[], object]) -> Iterator[None]:
    """Call `strike` from another thread when `path` appears, while the block runs."""
    over = threading.Event()

    def watch() -> None:
        while not path.exists():
            if over.wait(0.005):
                return
        strike()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture
def place(tmp_path) -> Iterator[Path]:
    """A folder on which something may be mounted."""
    yield tmp_path
    while os.path.ismount(tmp_path):
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("make", FAULTS)
def test_what_cannot_be_written_ends_in_one_line_and_the_run_continues_with_the_same_bits(
    whole_run, flags_of, place, capsys, make
):
    fault = make(place)
    run = RunDirectory(place / "run")
    flags = flags_of(run.path, *SIX_STEPS)
    try:
        with permissions_matter(), once_there(run.last, fault.strike):
            code, words = exit_code_and_words(capsys, flags)
    finally:
        fault.mend()
    assert code == 2
    assert words.startswith(f"error: {run.path}")
    assert words.endswith(f": {fault.words}; {run.last} is whole: fix this, then continue with --resume")
    # The fault strikes beside the run, so any of its saves may be the last: two within the epoch, one at its end.
    assert load_checkpoint(run.last).header["global_step"] in (2, 4, 5)
    assert not list(run.path.rglob("*.tmp"))
    assert main([*flags, "--resume"]) == 0
    assert not differences_between(run.path, whole_run)


@pytest.mark.parametrize("make", [read_only, closed])
def test_a_folder_that_nobody_may_write_to_is_refused_at_the_start(flags_of, place, capsys, make):
    (place / "run" / "checkpoints").mkdir(parents=True)
    fault = make(place)
    fault.strike()
    with permissions_matter():
        code, words = exit_code_and_words(capsys, flags_of(place / "run", "--max_steps", "1"))
    fault.mend()
    assert code == 2
    assert words.startswith(f"error: {place / 'run'}")
    assert f": {fault.words}; give a path" in words


@pytest.mark.slow
def test_a_run_whose_folder_is_deleted_stops_and_does_not_make_it_anew(flags_of, tmp_path, capsys):
    run = RunDirectory(tmp_path / "run")

    def delete() -> None:
        run.path.rename(tmp_path / "gone")
        shutil.rmtree(tmp_path / "gone")

    with once_there(run.last, delete):
        code, words = exit_code_and_words(capsys, flags_of(run.path, *SIX_STEPS))
    assert code == 2
    assert words == f"error: {run.path}: the run directory was deleted or moved during the run, which stops here"
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def unignored(number) -> Iterator[None]:
    """Tests that run in the background may be started with a signal ignored, which a training respects."""
    before = signal.signal(number, signal.SIG_DFL)
    yield
    signal.signal(number, before)


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_lets_the_step_end_writes_a_checkpoint_and_says_how_to_continue(
    whole_run, flags_of, tmp_path, capsys, number, unignored
):
    run = RunDirectory(tmp_path / "run")
    flags = flags_of(run.path, *SIX_STEPS)

    def twice() -> None:
        for _ in range(2):
            os.kill(os.getpid(), number)

    with once_there(run.trace, twice):
        assert main(flags) == EXIT_INTERRUPTED == 3
    assert load_checkpoint(run.last).header["global_step"] == len(read_trace(run.trace)) < 6
    assert read_json(run.manifest)["stopped_because"] == "interrupted"
    assert capsys.readouterr().out.strip().endswith("continue with the same command and --resume")
    assert main([*flags, "--resume"]) == 0
    assert not differences_between(run.path, whole_run)


@pytest.mark.slow
def test_a_clock_that_goes_back_changes_nothing(whole_run, flags_of, tmp_path, monkeypatch):
    now = time.time()
    jumps = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: now - 3600 * next(jumps))
    run = tmp_path / "run"
    assert main(flags_of(run, *SIX_STEPS)) == 0
    assert next(jumps) > 0
    assert not differences_between(run, whole_run)
    for row in read_history(run / "eval_epe_history.csv"):
        phases = [row[f"seconds_{phase}"] for phase in PHASES]
        assert min(phases) >= 0 < min(row["seconds_training"], row["seconds_recalibration"], row["seconds_validation"])
        assert row["seconds"] == pytest.approx(sum(phases), abs=0.01)


# A sample in which everything moves by a million pixels, and a unit of flow in which only its gradient overflows.
BAD_SAMPLE = "0000002"
BAD_UNITS = {"data.max_flow": 1e6, "data.flow_scale": 1e-14}


@pytest.fixture
def bad_data(synthetic_root, tmp_path) -> Path:
    root = tmp_path / "data"
    shutil.copytree(synthetic_root, root)
    path = root / "train" / f"{BAD_SAMPLE}-flow_01.flo"
    write_flow(path, np.full_like(read_flow(path), 1e6))
    return root


def bad_steps(root: Path, run: RunDirectory) -> list[int]:
    """Which of ten steps see the bad sample."""
    from edgeflownas.training.run_data import RunData

    data = RunData(resolve_config(None, {**TINY, "data.root": str(root)}), read_json(run.data_index))
    return [step for step in range(10) if BAD_SAMPLE in data.train_sample_names(step)]


def learned(run: RunDirectory) -> dict[str, bytes]:
    """Weights and moments of the last checkpoint, and the optimizer's count of updates."""
    arrays = load_checkpoint(run.last).arrays
    moments = max(array.size for name, array in arrays.items() if name.startswith("optimizer."))
    return {
        name: array.tobytes()
        for name, array in arrays.items()
        if name.startswith("weights.") or name == "optimizer.0" or array.size == moments
    }


@pytest.mark.slow
def test_a_step_that_is_not_finite_is_skipped_without_a_trace_in_the_weights_counted_and_bounded(
    bad_data, flags_of, tmp_path, capsys
):
    run = RunDirectory(tmp_path / "run")
    units = [flag for key, value in BAD_UNITS.items() for flag in ("--set", f"{key}={value!r}")]
    flags = flags_of(run.path, *units, data=bad_data)
    skip = ["--resume", "--set", "train.on_nonfinite=skip"]

    # It stops by default, at the first step with the bad sample.
    code, words = exit_code_and_words(capsys, [*flags, "--max_steps", "10"])
    first, second, *_ = steps = bad_steps(bad_data, run)
    assert code == 1
    assert f"step {first}: loss or gradient is not finite" in words
    assert load_checkpoint(run.last).header["global_step"] == first
    before = learned(run)
    assert len(before) > 50

    # It goes on, and the bad step has changed nothing.
    assert main([*flags, *skip, "--max_steps", str(first + 1)]) == 0
    assert load_checkpoint(run.last).header["global_step"] == first + 1
    assert learned(run) == before

    # The bound counts all skipped steps of the run.
    code, words = exit_code_and_words(
        capsys, [*flags, *skip, "--set", "train.max_skipped_steps=1", "--max_steps", "10"]
    )
    assert code == 1
    assert f"step {second}: " in words
    assert "train.max_skipped_steps 1 is used up" in words

    # To the end: what is counted, and that all files agree about it.
    assert main([*flags, *skip, "--max_steps", "10"]) == 0
    assert [finding["step"] for finding in read_json(run.nonfinite, "nonfinite.schema.json")] == steps
    assert all(BAD_SAMPLE in finding["samples"] for finding in read_json(run.nonfinite))
    trace = read_trace(run.trace)
    assert [line["step"] for line in trace] == list(range(10))
    assert [line["step"] for line in trace if line["optimizer_step"] == 0] == steps
    assert [line["step"] for line in trace if line["global_grad_norm_before"] is None] == steps
    counts = read_json(run.fairness_counts)
    assert counts["cycles"] == 10 - len(steps)
    assert counts["counts"]["EB0"] == [10 - len(steps)] * 2
    history = read_history(run.history)
    assert [row["skipped_steps"] for row in history] == [sum(step // 5 == epoch for step in steps) for epoch in (0, 1)]
    assert read_json(run.manifest)["skipped_steps"] == len(steps)
    assert manifest_faults(run.manifest) == []
    assert any(f"{len(steps)} steps made no update" in fault for fault in manifest_faults(run.manifest, strict=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:invalid value", "ignore:overflow")
def test_weights_that_grew_too_large_to_be_judged_end_the_run_and_those_before_stay(flags_of, tmp_path, capsys):
    run = RunDirectory(tmp_path / "run")
    flags = flags_of(run.path)
    assert main([*flags, "--max_steps", "4"]) == 0
    checkpoint = load_checkpoint(run.last)
    arrays = checkpoint.arrays
    huge = {name: np.float32(1e30) * arrays[name] for name in arrays if name.endswith("kernel")}
    save_checkpoint(run.last, checkpoint.header, arrays | huge)
    content = run.last.read_bytes()
    resume = [*flags, "--resume", "--max_steps", "6", "--set", "train.on_nonfinite=skip"]
    words = set()
    for _ in range(2):  # the second one judges at once, and finds the same
        code, said = exit_code_and_words(capsys, resume)
        assert code == 1
        words.add(said)
    (said,) = words
    assert "epoch 1: the EPE of these subnets is not finite: 0,0,0,0," in said
    assert said.endswith(f"; those before this epoch's last steps are in {run.previous}")
    assert run.previous.read_bytes() == content
    assert read_header(run.last)["epoch"] == 0


@pytest.mark.slow
def test_a_damaged_last_checkpoint_costs_steps_and_no_bits(whole_run, flags_of, tmp_path, capsys):
    run = RunDirectory(tmp_path / "run")
    flags = flags_of(run.path, "--set", "train.checkpoint_every_steps=2")
    assert main([*flags, "--max_steps", "4"]) == 0
    content = bytearray(run.last.read_bytes())
    content[len(content) // 2] ^= 1
    run.last.write_bytes(content)
    assert main([*flags, "--max_steps", "6", "--resume"]) == 0
    said = capsys.readouterr().out
    assert f"{run.last}: damaged checkpoint" in said
    assert (
        "kept as checkpoints/supernet_last.ckpt.damaged.1; continuing from supernet_last.previous.ckpt at step 2"
        in said
    )
    aside = run.last.with_name("supernet_last.ckpt.damaged.1")
    assert aside.read_bytes() == content
    assert read_json(run.manifest)["recoveries"] == 1
    assert "recoveries" in read_json(run.manifest)["files"]
    assert manifest_faults(run.manifest) == []
    aside.unlink()
    run.recoveries.unlink()
    assert differences_between(run.path, whole_run) == [f"{run.recoveries}: recoveries is missing"]
