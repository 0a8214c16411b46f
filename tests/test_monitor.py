"""What a run tells while it goes: throughput, lines and progress.json, by a clock that the test turns."""

import io
import re
from pathlib import Path

import pytest

from edgeflownas.artifacts import read_json
from edgeflownas.console.durations import duration
from edgeflownas.console.printer import PLAIN_EVERY, Printer
from edgeflownas.runs.monitor import WRITE_EVERY, RunLength, RunMonitor, progress_line
from edgeflownas.runs.pool_names import PoolNames
from edgeflownas.runs.state import RunState
from edgeflownas.runs.timing import PHASES, WINDOW, PhaseTimer, Throughput

STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")
OBSERVED = {"losses": [1.0, 2.0, 3.0], "global_grad_norm_before": 6.0}


def where(part, batch, subnet):
    """Three of twelve subnets meet a batch."""
    return {"part": part, "batch": batch, "subnet": subnet, "at_once": 3, "subnets": 12}


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Run:
    """A run of 3 epochs of 4 steps, and what it says and writes."""

    def __init__(self, folder, verbosity="normal", live=False, epochs=3, steps_per_epoch=4):
        self.clock, self.stream, self.state = Clock(), io.StringIO(), RunState(counts={})
        self.path = folder / "progress.json"
        printer = Printer(verbosity, self.stream, live=live, clock=self.clock)
        length = RunLength(epochs, steps_per_epoch, epochs * steps_per_epoch)
        self.monitor = RunMonitor(self.path, length, PoolNames(12), 5.0, printer, clock=self.clock)

    def steps(self, count, seconds=2.0):
        for _ in range(count):
            self.clock.now += seconds
            self.state.record_step(OBSERVED)
            self.monitor.step(self.state, OBSERVED, lr=1e-4)

    def epoch(self, epe=4.0, seconds=10.0):
        self.monitor.judging(self.state, where("recalibration", 1, 4))
        self.clock.now += seconds
        self.state.note_evaluation(epe, PoolNames(12), 0.002)
        row = {"epoch": self.state.epochs_done + 1, "mean_epe_12": epe, "std_epe_12": 0.5, "zero_flow_epe": 6.0}
        self.state.finish_epoch(
            row | {"best_mean_epe_12": self.state.best["mean_epe_12"], "fairness_gap": 0, "seconds": 18}, []
        )
        self.monitor.epoch(self.state)

    def facts(self):
        return read_json(self.path, schema="progress.schema.json")

    def lines(self):
        return self.stream.getvalue().splitlines()


def test_every_moment_belongs_to_the_phase_entered_last():
    clock = Clock()
    phase_timer, seconds = PhaseTimer(clock), dict.fromkeys(PHASES, 0.0)
    clock.now += 100
    for phase, took in (("waiting", 1), ("training", 8), ("waiting", 2), ("training", 16), ("saving", 4)):
        phase_timer.enter(phase, seconds)
        clock.now += took
    assert seconds == {"waiting": 3, "training": 24, "recalibration": 0, "validation": 0, "saving": 0}
    following = dict.fromkeys(PHASES, 0.0)
    phase_timer.enter("waiting", following)
    assert following["saving"] == 4


def test_pace_is_of_steps_alone_and_time_left_counts_the_judging():
    throughput = Throughput()
    assert throughput.seconds_left(10, 1) is None
    for now in (60.0, 62.0, 64.0):  # the first step built the graph
        throughput.step_done(now)
    assert throughput.steps_per_second == 0.5
    throughput.pause_begins(64.0)
    throughput.pause_ends(94.0)
    throughput.step_done(100.0)  # waited for data
    throughput.step_done(102.0)
    assert throughput.steps_per_second == 0.5
    assert throughput.seconds_left(steps=10, pauses=2) == 20.0 + 60.0
    for step in range(WINDOW):
        throughput.step_done(103.0 + step)
    assert throughput.steps_per_second == 1.0


def test_plain_lines_have_the_time_no_control_characters_and_a_bearable_rate(tmp_path):
    run = Run(tmp_path)
    run.monitor.starting(run.state)
    run.clock.now += PLAIN_EVERY
    run.steps(4, seconds=PLAIN_EVERY / 2)
    lines = run.lines()
    assert all(STAMP.match(line) for line in lines)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", run.stream.getvalue())
    assert [STAMP.sub("", line)[:18] for line in lines] == [
        "epoch 1/3 starting",
        "epoch 1/3 step 1/4",
        "epoch 1/3 step 3/4",
    ]


def test_a_terminal_has_one_line_that_is_written_over_and_one_that_stays_per_epoch(tmp_path):
    run = Run(tmp_path, live=True)
    run.steps(4)
    run.epoch()
    run.monitor.ended(run.state, "max_epochs")
    text = run.stream.getvalue()
    assert text.count("\n") == 1
    assert text.count("\r") == 4 + 1  # steps, and their line taken away before the epoch's
    assert "\r\x1b[Kepoch 1/3 done: mean EPE 4.0000 ± 0.5000 px (the best so far), zero-flow EPE 6.0000 px, " in text


def test_a_line_of_progress_fits_a_narrow_terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    run = Run(tmp_path, live=True)
    run.steps(3)
    assert {len(part) for part in run.stream.getvalue().split("\r")[1:]} == {39 + len("\x1b[K")}


def test_quiet_says_nothing_and_verbose_a_line_for_every_step(tmp_path):
    quiet, verbose = (Run(tmp_path, verbosity) for verbosity in ("quiet", "verbose"))
    for run in (quiet, verbose):
        run.steps(4, seconds=0.01)
        run.epoch()
    assert quiet.lines() == []
    steps = [line for line in verbose.lines() if " step " in line]
    assert len(steps) == 4


def test_the_line_says_all_that_matters(tmp_path):
    run = Run(tmp_path)
    run.steps(4)
    run.epoch(epe=3.5)
    run.steps(1, seconds=WRITE_EVERY)
    run.steps(1, seconds=WRITE_EVERY)
    # 6 steps to go at (3 × 2 s + 5 s) / 4, and two epochs to judge at 10 s.
    assert progress_line(run.facts()) == (
        "epoch 2/3 step 2/4  0.364 steps/s  36 s left  loss 2.0000  last EPE 3.500 (best 3.500, epoch 1)  lr 0.0001  "
        "grad norm 6  clipped 100%"
    )


def test_progress_json_fits_its_schema_in_every_phase(tmp_path):
    run = Run(tmp_path)
    run.monitor.starting(run.state)
    assert (run.facts()["phase"], run.facts()["epoch"]) == ("starting", 1)
    run.clock.now += WRITE_EVERY
    run.steps(4)
    assert (run.facts()["phase"], run.facts()["loss"], run.facts()["clip_rate"]) == ("training", 2.0, 1.0)
    run.monitor.judging(run.state, where("validation", 2, 10))
    assert progress_line(run.facts()) == "epoch 1/3 evaluating subnets 10 to 12 of 12, validation batch 2"
    run.epoch()
    assert (run.facts()["epoch"], run.facts()["step"], run.facts()["mean_epe_12"]) == (1, 4, 4.0)
    run.steps(2)
    run.monitor.ended(run.state, "interrupted")
    facts = run.facts()
    assert (facts["phase"], facts["epoch"], facts["step"], facts["stopped_because"]) == ("ended", 2, 2, "interrupted")


def test_a_short_epoch_is_told_with_its_own_numbers(tmp_path):
    run = Run(tmp_path, "quiet")
    run.steps(1)
    run.state.epoch_losses = [7.0]
    run.monitor.judging(run.state, where("recalibration", 1, 1))
    assert run.facts()["loss"] == 7.0


def test_progress_json_is_not_written_at_every_step(tmp_path, monkeypatch):
    written = []
    write = Path.write_text
    monkeypatch.setattr(Path, "write_text", lambda path, text, **how: written.append(write(path, text, **how)))
    run = Run(tmp_path, epochs=1, steps_per_epoch=1000)
    run.steps(1000, seconds=WRITE_EVERY / 10)
    assert len(written) == 100


def test_a_full_disk_does_not_end_the_training(tmp_path):
    run = Run(tmp_path / "a file")
    (tmp_path / "a file").write_text("in the way")
    run.steps(2, seconds=WRITE_EVERY)
    assert len(run.lines()) == 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (425, "7 min 05 s"),
        (12_000, "3 h 20 min"),
        (187_200, "2 d 04 h"),
    ],
)
def test_durations_read_well(seconds, words):
    assert duration(seconds) == words
