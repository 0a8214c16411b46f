"""TensorBoard logs of a run, for those who want them: scalars of steps and epochs, and pictures of the flow.

TensorFlow's own `tf.summary.scalar` needs the package `tensorboard`. An event file is a TFRecord file of `Event`
messages, and TensorFlow has both, so nothing else is needed to write one.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from edgeflownas.data.flow_colours import flow_colours
from edgeflownas.devices import backend_name
from edgeflownas.errors import REMEDIES, CannotWrite, UserError, make_folder
from edgeflownas.runs.flow_samples import FlowSamples
from edgeflownas.runs.observers import Observer
from edgeflownas.runs.pool_names import names_in
from edgeflownas.runs.records import subnet_epes
from edgeflownas.runs.state import RunState
from edgeflownas.runs.timing import PHASES

FORMAT = "brain.Event:2"


def require_tensorboard() -> None:
    """Check before anything is imported that logs can be written.

    Raises:
        UserError: another backend than TensorFlow.
    """
    if backend_name() != "tensorflow" or find_spec("tensorflow") is None:
        raise UserError(
            "train.tensorboard is set, but its logs are written by TensorFlow, which is not the backend here: set "
            "train.tensorboard to false, or train with KERAS_BACKEND=tensorflow"
        )


class TensorBoardObserver(Observer):
    """Logs a run's steps and epochs; `flow_samples` gives what its weights of now predict."""

    def __init__(self, folder: Path, flow_samples: Callable[[], FlowSamples]) -> None:
        self._folder = folder
        self._flow_samples = flow_samples
        self._log: TensorBoardLog | None = None

    def starting(self, state: RunState) -> None:
        """Open the log."""
        self._log = TensorBoardLog(self._folder, state.global_step)
        if state.history and state.history[-1]["global_step"] == state.global_step:
            # It may not have been logged, and what was logged of this step does not count after a resume.
            self.epoch(state)

    def step(self, state: RunState, observed: Mapping[str, Any], lr: float) -> None:
        """Log the step that was made last."""
        if self._log:
            self._log.add_step(state.global_step - 1, observed, lr)

    def epoch(self, state: RunState) -> None:
        """Log the row of the history, and pictures."""
        if self._log:
            self._log.add_epoch(state.history[-1])
            for name, rows in state.further.items():
                self._log.add_further(name, rows[-1])
            self._log.add_flow(state.global_step, self._flow_samples())

    def ended(self, state: RunState, reason: str) -> None:
        """Close the log, if it was opened."""
        if self._log:
            log, self._log = self._log, None
            log.close()


class TensorBoardLog:
    """One event file in `folder`. A resumed run writes another, before which later steps do not count any more."""

    def __init__(self, folder: Path, first_step: int) -> None:
        import tensorflow as tf

        self._messages = tf.compat.v1
        make_folder(folder)
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._path = folder / name
        self._refusal = tf.errors.OpError
        with self._writing():
            self._file = tf.io.TFRecordWriter(str(self._path))
        self._write(0, file_version=FORMAT)
        self._write(first_step, session_log=self._messages.SessionLog(status=self._messages.SessionLog.START))

    def add_step(self, step: int, observed: Mapping[str, Any], lr: float) -> None:
        """Loss, gradient norm and learning rate of training step `step`."""
        values = {
            "step/loss": float(np.mean(observed["losses"])),
            "step/grad_norm_before": observed["global_grad_norm_before"],
            "step/grad_norm_after": observed["global_grad_norm_after"],
            "step/lr": lr,
        }
        self._add_scalars(step, values)

    def add_epoch(self, row: Mapping[str, Any]) -> None:
        """A row of the history."""
        epes = {f"epe_of_subnet/{digits}": epe for digits, epe in subnet_epes(row).items()}
        pool = names_in(row)
        names = [pool.mean_epe, pool.std_epe, pool.best_mean_epe, "zero_flow_epe", "train_loss", "clip_rate", "seconds"]
        names += [f"seconds_{phase}" for phase in PHASES]
        self._add_scalars(row["global_step"], {f"epoch/{name}": row[name] for name in names} | epes)

    def add_further(self, name: str, row: Mapping[str, Any]) -> None:
        """A row of the history of a further validation set."""
        pool = names_in(row)
        values = {f"further/{name}/{column}": row[column] for column in (pool.mean_epe, pool.std_epe, "zero_flow_epe")}
        self._add_scalars(row["global_step"], values)

    def add_flow(self, step: int, samples: FlowSamples) -> None:
        """One picture per sample: frame 1, true flow and what each subnet predicts, on the true flow's scale."""
        values = []
        for number, name in enumerate(samples.names):
            radius = samples.radius(number)
            flows = [samples.flow[number], *samples.predicted[:, number]]
            tiles = [samples.frames[number, ..., :3], *(flow_colours(flow, radius) for flow in flows)]
            values.append(self._picture(f"flow/{name}", np.concatenate(tiles, axis=1)))
        self._write(step, summary=self._messages.Summary(value=values))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _add_scalars(self, step: int, values: Mapping[str, float]) -> None:
        value = self._messages.Summary.Value
        scalars = [value(tag=tag, simple_value=number) for tag, number in values.items()]
        self._write(step, summary=self._messages.Summary(value=scalars))

    def _picture(self, tag: str, pixels: np.ndarray) -> Any:
        import cv2

        encoded = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()
        height, width = pixels.shape[:2]
        summary = self._messages.Summary
        image = summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encoded)
        return summary.Value(tag=tag, image=image)

    def _write(self, step: int, **content: Any) -> None:
        event = self._messages.Event(wall_time=time.time(), step=step, **content)
        with self._writing():
            self._file.write(event.SerializeToString())
            self._file.flush()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except self._refusal as error:
            # TensorFlow has its own errors for failed writes, and ends their text with the system's message.
            words = error.message.rpartition("; ")[2]
            number = next((number for number in REMEDIES if os.strerror(number) == words), 0)
            raise CannotWrite(self._path, OSError(number, words)) from error
