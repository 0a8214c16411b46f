"""What a run reports while it is running: on its terminal, and in `progress.json`, from which `watch` says the same."""

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgeflownas.console.durations import duration
from edgeflownas.console.printer import Printer, judging_line
from edgeflownas.processes import this_process
from edgeflownas.runs.observers import Observer
from edgeflownas.runs.pool_names import PoolNames, mean_epe, names_in
from edgeflownas.runs.state import RunState
from edgeflownas.runs.timing import Throughput

# Seconds between two writes of progress.json, apart from changes of phase.
WRITE_EVERY = 5.0


@dataclass(frozen=True)
class RunLength:
    """How long a run is: `epochs` of its schedule, steps in each, and the step at which it stops at the latest."""

    epochs: int
    steps_per_epoch: int
    last_step: int


class RunMonitor(Observer):
    """Called at every step, evaluated batch and epoch; does work only if its output would be shown."""

    def __init__(
        self,
        path: Path,
        length: RunLength,
        names: PoolNames,
        grad_clip: float,
        printer: Printer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._length = length
        self._names = names
        self._grad_clip = grad_clip
        self._printer = printer
        self._clock = clock
        self._throughput = Throughput()
        self._write_due = clock()
        self._facts: dict[str, Any] = {
            "phase": "starting",
            "epochs": length.epochs,
            "steps_per_epoch": length.steps_per_epoch,
            "last_step": length.last_step,
            "loss": None,
            "lr": None,
            "grad_norm": None,
            "clip_rate": None,
            "judging": None,
            "stopped_because": None,
            "process": this_process(),
            "started": _now(),
        }

    def starting(self, state: RunState) -> None:
        """The run directory is locked; the first step follows."""
        self._tell(state, at_once=True, phase="starting")

    def step(self, state: RunState, observed: Mapping[str, Any], lr: float) -> None:
        """A training step was made."""
        self._throughput.step_done(self._clock())
        self._facts |= {"grad_norm": observed["global_grad_norm_before"], "lr": lr}
        if self._is_due():
            self._tell(state, phase="training", judging=None)

    def judging(self, state: RunState, where: Mapping[str, Any]) -> None:
        """Some subnets are about to evaluate a batch (`judging` in `progress.json`)."""
        first = self._facts["phase"] != "judging"
        if first:
            self._throughput.pause_begins(self._clock())
        if first or self._is_due():
            self._tell(state, at_once=first, phase="judging", judging=dict(where))

    def epoch(self, state: RunState) -> None:
        """An epoch is evaluated and saved."""
        assert state.best is not None
        self._throughput.pause_ends(self._clock())
        further = {name: rows[-1] for name, rows in state.further.items()}
        self._printer.print(epoch_line(state.history[-1], self._length.epochs, state.best["epoch"], further))
        self._facts |= {"phase": "training", "judging": None}
        self._write(state)

    def ended(self, state: RunState, reason: str) -> None:
        """The run is over, or stopped to be resumed."""
        self._printer.end_line()
        self._facts |= {"phase": "ended", "judging": None, "stopped_because": reason}
        self._write(state)

    def _is_due(self) -> bool:
        return self._printer.is_due() or self._clock() >= self._write_due

    def _tell(self, state: RunState, at_once: bool = False, **facts: Any) -> None:
        self._facts |= facts
        if state.epoch_losses:
            statistics = state.epoch_statistics(self._grad_clip)
            self._facts |= {"loss": statistics["train_loss"], "clip_rate": statistics["clip_rate"]}
        if at_once or self._clock() >= self._write_due:
            self._write(state)
        self._printer.progress(lambda: progress_line(self._now(state)))

    def _now(self, state: RunState) -> dict[str, Any]:
        steps = self._length.steps_per_epoch
        done = state.epochs_done
        # Between two epochs a run is at the end of the finished one.
        epoch = done if done and state.global_step == done * steps else done + 1
        left = self._length.last_step - state.global_step
        evaluations = self._length.last_step // steps - state.global_step // steps
        return {
            **self._facts,
            "epoch": epoch,
            "step": state.global_step - (epoch - 1) * steps,
            "global_step": state.global_step,
            "steps_per_second": self._throughput.steps_per_second,
            "seconds_left": self._throughput.seconds_left(left, evaluations),
            self._names.mean_epe: mean_epe(state.history[-1]) if state.history else None,
            "best": state.best,
            "updated": _now(),
        }

    def _write(self, state: RunState) -> None:
        self._write_due = self._clock() + WRITE_EVERY
        # Training must not end because progress cannot be written: checkpoints report a full disk.
        with contextlib.suppress(OSError):
            # Atomic for readers, but not flushed to disk, which would take longer than everything else: it is not
            # needed after a power cut.
            temporary = self._path.with_name(f".{self._path.name}")
            temporary.write_text(json.dumps(self._now(state), indent=2, allow_nan=False), encoding="utf-8")
            temporary.replace(self._path)


def progress_line(facts: Mapping[str, Any]) -> str:
    """The state of a run in one line; the most important first, because a narrow terminal truncates it."""
    place = f"epoch {facts['epoch']}/{facts['epochs']}"
    if facts["phase"] == "starting":
        return f"{place} starting: building the graph takes half a minute and more"
    if facts["phase"] == "ended":
        return f"{place} ended: {facts['stopped_because']}"
    if facts["judging"]:
        return f"{place} {judging_line(facts['judging'])}"
    parts = [f"{place} step {facts['step']}/{facts['steps_per_epoch']}"]
    if facts["steps_per_second"]:
        parts.append(f"{facts['steps_per_second']:.3g} steps/s")
    if facts["seconds_left"] is not None:
        parts.append(f"{duration(facts['seconds_left'])} left")
    parts.append(f"loss {facts['loss']:.4f}")
    if (last := mean_epe(facts)) is not None:
        best = facts["best"]
        parts.append(f"last EPE {last:.3f} (best {mean_epe(best):.3f}, epoch {best['epoch']})")
    parts += [f"lr {facts['lr']:.3g}", f"grad norm {facts['grad_norm']:.3g}", f"clipped {facts['clip_rate']:.0%}"]
    return "  ".join(parts)


def epoch_line(
    row: Mapping[str, Any], epochs: int, best_epoch: int, further: Mapping[str, Mapping[str, Any]] | None = None
) -> str:
    """An epoch in one line, from its row of `eval_epe_history.csv`, and by name those of further validation sets."""
    names = names_in(row)
    is_best = best_epoch == row["epoch"]
    best = "the best so far" if is_best else f"best {row[names.best_mean_epe]:.4f}, epoch {best_epoch}"
    others = "".join(
        f"{name} {mean_epe(other):.4f} px (zero-flow {other['zero_flow_epe']:.4f}), "
        for name, other in (further or {}).items()
    )
    return (
        f"epoch {row['epoch']}/{epochs} done: mean EPE {mean_epe(row):.4f} ± {row[names.std_epe]:.4f} px ({best}), "
        f"zero-flow EPE {row['zero_flow_epe']:.4f} px, {others}fairness gap {row['fairness_gap']}, "
        f"{duration(row['seconds'])}"
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
