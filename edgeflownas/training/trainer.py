"""The training loop: fair cycles, evaluation after every epoch, checkpoints, early stopping, exact resume.

Order, crops and arch codes are functions of the step, and everything else is in the checkpoint, so a run that was
stopped anywhere continues with the same bits. An epoch is saved before it is evaluated, and evaluation changes nothing:
a run that is stopped during the evaluation loses only that, and evaluates first when resumed.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgeflownas.config import Config
from edgeflownas.console.printer import Printer
from edgeflownas.data.prefetch import prefetch
from edgeflownas.errors import CheckFailed
from edgeflownas.nas.arch_codec import format_code
from edgeflownas.nas.eval_pool import eval_pool
from edgeflownas.nas.fair_sampler import SAMPLERS, add_counts, empty_counts
from edgeflownas.nas.search_space import SearchSpace
from edgeflownas.network.flow_network import network_of
from edgeflownas.runs.checkpoints import Checkpoint, save_checkpoint
from edgeflownas.runs.epoch_row import epoch_row, further_row
from edgeflownas.runs.flow_samples import FlowSamples, save_flow_samples
from edgeflownas.runs.initial_checkpoint import InitialWeights
from edgeflownas.runs.monitor import RunLength, RunMonitor
from edgeflownas.runs.nonfinite import epes_in_words, in_words, nonfinite_finding, without_nonfinite
from edgeflownas.runs.observers import Observer, RecordsWriter
from edgeflownas.runs.pool_names import pool_names
from edgeflownas.runs.records import COMPLETED
from edgeflownas.runs.recovery import find_checkpoint
from edgeflownas.runs.run_directory import RunDirectory
from edgeflownas.runs.segments import continued, first_segment
from edgeflownas.runs.state import RunState
from edgeflownas.runs.timing import PhaseTimer
from edgeflownas.source_code import training_source
from edgeflownas.stopping import Stopped, StopRequest
from edgeflownas.training.distribution import replicas_of
from edgeflownas.training.evaluation import Evaluator, pool_summary
from edgeflownas.training.flow_samples import take_flow_samples
from edgeflownas.training.run_data import RunData
from edgeflownas.training.schedule import learning_rate
from edgeflownas.training.settings import RunLimits, TrainSettings
from edgeflownas.training.supernet_model import TrainingModel
from edgeflownas.training.tensorboard import TensorBoardObserver
from edgeflownas.training.weights import checkpoint_arrays, restore_optimizer, restore_weights


class Trainer:
    """One run: a network, its data, its state and its directory."""

    def __init__(
        self,
        config: Config,
        space: SearchSpace,
        data: RunData,
        run: RunDirectory,
        printer: Printer,
        stop: StopRequest,
        device: Mapping[str, Any],
        identity: Mapping[str, Any],
    ) -> None:
        """identity: what `run_identity` gives, which a checkpoint must agree in to be continued."""
        self.config = config
        self._identity = dict(identity)
        self.settings = settings = config.view(TrainSettings)
        self.space = space
        self.data = data
        self.run = run
        self.print = printer.print
        self.stop = stop
        self.replicas = replicas_of(config)
        with self.replicas.scope():
            self.network = network_of(config, space)
            self.model = TrainingModel(
                self.network,
                execution=settings.execution,
                learning_rate=settings.lr,
                weight_decay=settings.weight_decay,
                grad_clip=settings.grad_clip,
                decoupled_weight_decay=settings.decoupled_weight_decay,
                scaled_head_rate=settings.scaled_head_rate,
                uncertainty_loss=settings.uncertainty_loss,
                replicas=self.replicas,
            )
        self.evaluator = Evaluator(self.network, settings.init_neurons, settings.flow_scale)
        self.pool = eval_pool(space)
        self.pool_names = pool_names(space)
        self.state = RunState(counts=empty_counts(space))
        self.steps_per_epoch = data.steps_per_epoch
        self.limits = RunLimits(settings, self.steps_per_epoch)
        self._source = training_source()
        self.segments = [first_segment(settings.precision, keras.backend.backend(), device, self._source)]
        self._last_saved: tuple[int, int] | None = None
        self._phase_timer = PhaseTimer()
        length = RunLength(settings.num_epochs, self.steps_per_epoch, self.limits.last_step)
        self._records = RecordsWriter(run, data.val_samples, data.further)
        self.observers: list[Observer] = [
            self._records,
            RunMonitor(run.progress, length, self.pool_names, settings.grad_clip, printer),
        ]
        if settings.tensorboard:
            self.observers.append(TensorBoardObserver(run.tensorboard, self._flow_samples))

    def resume(self) -> None:
        """Load the last checkpoint, or the newest whole one if that is damaged.

        Raises:
            UserError: all are damaged, or were written under a config, data or source that would give other results.
        """
        checkpoint = find_checkpoint(self.run, self._identity, self.print, self._continue_segments)
        restore_weights(self.network, checkpoint.arrays, str(checkpoint.path))
        restore_optimizer(self.model.optimizer, checkpoint.arrays, str(checkpoint.path))
        self.state = RunState.from_header(checkpoint.header["progress"])
        if checkpoint.path == self.run.last:
            self._last_saved = self.state.place
        self.run.cut_trace(self.state.global_step)
        self._records.epoch(self.state)
        self.print(f"resumed at step {self.state.global_step}")

    def begin_with(self, initial: InitialWeights) -> None:
        """Begin a new run with the weights of another one; everything else is as in any new run.

        Raises:
            UserError: a weight is missing or of another shape.
        """
        restore_weights(self.network, initial.arrays, initial.facts["path"])
        self.state.initial = dict(initial.facts)

    def _continue_segments(self, checkpoint: Checkpoint) -> None:
        self.segments = continued(checkpoint, self.segments[0], self._source, self.settings.accept_changed_code)

    def train(self) -> str:
        """Run to the end, and leave `flow_samples.npz` if it is the run's own.

        Returns:
            Why it stopped: num_epochs, max_epochs, max_steps, early_stop or interrupted.
        """
        try:
            for observer in self.observers:
                observer.starting(self.state)
            reason = self._train()
            if reason in COMPLETED:
                save_flow_samples(self.run.flow_samples, self._flow_samples())
        except Stopped:
            self._save_last()
            return "interrupted"
        return reason

    def _train(self) -> str:
        if self.state.initial is not None and "subnets" not in self.state.initial:
            self._evaluate_beginning(self.state.initial)
        if self.state.awaits_evaluation(self.steps_per_epoch):
            self._evaluate_epoch()
        self.stop.check()
        steps = range(self.state.global_step, self.limits.last_step)
        batches = prefetch(self.data.train_batch, steps, workers=self.settings.workers)
        self._enter("waiting")
        for step, batch in zip(steps, batches, strict=True):
            if reason := self.limits.reason_to_stop(self.state):
                return reason
            self._enter("training")
            self._train_step(step, batch)
            if self.state.awaits_evaluation(self.steps_per_epoch):
                self._save_last()
                self._evaluate_epoch()
            elif self.limits.checkpoint_is_due(self.state):
                self._save_last()
            self.stop.check()
            self._enter("waiting")
        if self.state.global_step % self.steps_per_epoch:
            self._save_last()
        return self.limits.reason_to_stop(self.state) or "num_epochs"

    def _enter(self, phase: str) -> None:
        self._phase_timer.enter(phase, self.state.epoch_seconds)

    def _train_step(self, step: int, batch: tuple[np.ndarray, np.ndarray]) -> None:
        self.run.check_claim()
        codes = SAMPLERS[self.settings.supernet_mode](self.space, self.settings.seed, step)
        lr = self._learning_rate(step)
        observed = self.model.train_cycle(*batch, codes, lr)
        is_finite = observed["forward"] == len(codes) and np.isfinite(observed["global_grad_norm_before"])
        if is_finite:
            add_counts(self.state.counts, codes, self.space)
            self.state.record_step(observed)
        else:
            self._skip_or_stop(step, codes, observed)
        if self.settings.debug_trace:
            line = {
                "step": step,
                "epoch": step // self.steps_per_epoch + 1,
                "codes": [format_code(code) for code in codes],
                **without_nonfinite(observed),
                "lr": lr,
            }
            self.run.append_trace(line)
        if is_finite:
            for observer in self.observers:
                observer.step(self.state, observed, lr)

    def _learning_rate(self, step: int) -> float:
        return learning_rate(step, self.limits.total_steps, self.settings.lr, self.settings.warmup_steps)

    def _skip_or_stop(self, step: int, codes: np.ndarray, observed: Mapping[str, Any]) -> None:
        """Record a step that is not finite; the optimizer left weights and moments unchanged.

        Raises:
            CheckFailed: unless `train.on_nonfinite` is skip and `train.max_skipped_steps` is not reached. The last
                checkpoint then is the state before the step.
        """
        finding = nonfinite_finding(step, codes, observed, self.data.train_sample_names(step))
        self.run.write_nonfinite([*self.state.skipped, finding])
        what = in_words(finding)
        allowed = self.settings.max_skipped_steps if self.settings.on_nonfinite == "skip" else 0
        if len(self.state.skipped) < allowed:
            self.state.record_skip(finding)
            self.print(f"{what}: skipped, {len(self.state.skipped)} of at most {allowed}")
            return
        self._save_last()
        resume = "--resume --set train.on_nonfinite=skip continues without this update"
        remedy = f"train.max_skipped_steps {allowed} is used up" if allowed else resume
        raise CheckFailed(
            f"{what}. The weights are those before the step, in {self.run.last}; details in {self.run.nonfinite}; "
            f"{remedy}"
        )

    def _evaluate_epoch(self) -> None:
        """Evaluate the epoch that was trained and saved, and save the results.

        Raises:
            Stopped: before anything was recorded; the last checkpoint then holds the epoch trained and not evaluated.
            CheckFailed: there is nothing to evaluate, or an EPE is not finite.
        """
        state = self.state
        if not state.epoch_losses:
            raise CheckFailed(f"epoch {state.epochs_done + 1}: every step was skipped; see {self.run.nonfinite}")
        self._enter("recalibration")
        validation = (self.data.validation(name) for name in (None, *self.data.further))
        recalibration = self.data.recalibration()
        results, *further = self.evaluator.evaluate_on(self.pool, recalibration, validation, watch=self._judging)
        summary, *summaries = map(pool_summary, (results, *further))
        for one, (mean_epe, _, _) in zip((results, *further), (summary, *summaries), strict=True):
            if not np.isfinite(mean_epe):
                raise CheckFailed(f"epoch {state.epochs_done + 1}: {epes_in_words(one, self.run.previous)}")
        zero_flow_epe, *zero_flow_epes = self._zero_flow_epes
        self._enter("saving")
        improved = state.note_evaluation(summary[0], self.pool_names, self.settings.early_stop_min_delta)
        lr = self._learning_rate(state.global_step - 1)
        for name, own, zero, one in zip(self.data.further, summaries, zero_flow_epes, further, strict=True):
            state.note_further(name, further_row(state, self.pool_names, own, zero, one), one)
        row = epoch_row(state, self.settings.grad_clip, self.steps_per_epoch, lr, summary, zero_flow_epe, results)
        state.finish_epoch(row, results)
        # Best before last: a run killed between the two evaluates the epoch again and writes the same best again.
        if improved:
            self._save(self.run.best)
        self._save_last()
        for observer in self.observers:
            observer.epoch(state)

    def _evaluate_beginning(self, initial: dict[str, Any]) -> None:
        """Evaluate the weights that the run begins with, as an epoch is evaluated, and save the result.

        Raises:
            Stopped: before anything was recorded; a resumed run then does it first.
            CheckFailed: an EPE is not finite.
        """
        batches = self.data.recalibration(), self.data.validation()
        results = self.evaluator.evaluate(self.pool, *batches, watch=lambda where: self.stop.check())
        mean, *_ = pool_summary(results)
        if not np.isfinite(mean):
            raise CheckFailed(f"{initial['path']}: its weights give an EPE that is not finite; begin with others")
        initial |= {self.pool_names.mean_epe: mean, "subnets": results}
        self._save_last()
        self.print(f"begins with the weights of {initial['path']}: mean EPE {mean:.4f} px before the first step")

    def _judging(self, where: dict[str, Any]) -> None:
        self._enter(where["part"])
        for observer in self.observers:
            observer.judging(self.state, where)
        self.stop.check()

    def _flow_samples(self) -> FlowSamples:
        """What the pool's first cycle predicts, with the weights of now, for a few validation samples."""
        origin = {
            "checkpoint": self.run.last.name,
            "epoch": self.state.epochs_done,
            "global_step": self.state.global_step,
            "config_hash": self.config.hash,
        }
        count, cycle = self.settings.flow_samples, self.pool[0]
        return take_flow_samples(self.evaluator, self.data, cycle, count, origin, lambda _: self.stop.check())

    @cached_property
    def _zero_flow_epes(self) -> list[float]:
        # The validation samples are the same in every epoch: read them for this once.
        return [
            self.evaluator.zero_flow_epe(self.stop.between(self.data.validation(name)))
            for name in (None, *self.data.further)
        ]

    def _save_last(self) -> None:
        """Write the last checkpoint, unless it is of this place already, which would only lose the one before."""
        if self._last_saved != self.state.place:
            self._save(self.run.last)
            self._last_saved = self.state.place

    def _save(self, path: Path) -> None:
        self._enter("saving")
        self.run.check_claim()
        header = {
            "epoch": self.state.epochs_done,
            "global_step": self.state.global_step,
            "config_hash": self.config.hash,
            "best": self.state.best,
            "identity": self._identity,
            "segments": self.segments,
            "source_files": self._source,
            "progress": self.state.to_header(),
        }
        arrays = checkpoint_arrays(self.network, self.model.optimizer)
        save_checkpoint(path, header, arrays, keep=self.run.previous if path == self.run.last else None)

    @contextmanager
    def told_when_it_fails(self) -> Iterator[None]:
        """Let those who watch know that the run failed, and why."""
        try:
            yield
        except BaseException as error:
            self.ended(f"failed: {error or type(error).__name__}")
            raise

    def ended(self, reason: str) -> None:
        """Let those who watch know why the run is over."""
        for observer in self.observers:
            observer.ended(self.state, reason)
