"""Predicted flow of a few fixed validation samples, kept for pictures: `flow_samples.npz`. Imports no Keras."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from edgeflownas.artifacts import write_atomic
from edgeflownas.errors import UserError
from edgeflownas.runs.checkpoints import READ_ERRORS


@dataclass(frozen=True)
class FlowSamples:
    """N frame pairs with their true flow, and what P subnets predict for them; all in pixels.

    origin: what the predictions are from: `checkpoint`, `epoch`, `global_step`, `config_hash`, `bn_recal_batches`.
    names: (N,) names of the samples.
    codes: (P,) arch codes.
    frames: (N, H, W, 6) uint8, RGB of frame 1, then RGB of frame 2.
    flow: (N, H, W, 2) float32, the true flow, as used in the evaluation; NaN where it is not known.
    predicted: (P, N, H, W, 2) float32.
    uncertainty: (P, N, H, W) float32, the length of the two components' sigmas.
    """

    origin: Mapping[str, Any]
    names: tuple[str, ...]
    codes: tuple[str, ...]
    frames: np.ndarray
    flow: np.ndarray
    predicted: np.ndarray
    uncertainty: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """End-point error of every pixel, (P, N, H, W) float32, pixels; NaN where the flow is not known."""
        return np.linalg.norm(self.predicted - self.flow, axis=-1)

    @property
    def mean_errors(self) -> np.ndarray:
        """Mean end-point error of each subnet on each sample, over the known pixels, (P, N) float32, pixels."""
        return np.asarray(np.nanmean(self.errors, axis=(2, 3)))

    def radius(self, sample: int) -> float:
        """The scale of a sample's true flow, predicted flow and error in pictures: its longest true flow, pixels."""
        return max(1.0, float(np.nanmax(np.linalg.norm(self.flow[sample], axis=-1))))

    def largest_uncertainty(self, sample: int) -> float:
        """The scale of a sample's uncertainty in pictures, the same for all subnets, pixels."""
        return max(1.0, float(self.uncertainty[:, sample].max()))


_ARRAYS = ("frames", "flow", "predicted", "uncertainty")


def select_subnets(parts: Sequence[FlowSamples]) -> FlowSamples:
    """The first subnet of each part; all parts are of the same samples."""
    return replace(
        parts[0],
        codes=tuple(part.codes[0] for part in parts),
        predicted=np.stack([part.predicted[0] for part in parts]),
        uncertainty=np.stack([part.uncertainty[0] for part in parts]),
    )


def save_flow_samples(path: Path, samples: FlowSamples) -> None:
    """Write the samples atomically."""
    header = json.dumps({"origin": dict(samples.origin), "names": samples.names, "codes": samples.codes})
    arrays = {name: getattr(samples, name) for name in _ARRAYS}

    def write(file: BinaryIO) -> None:
        np.savez_compressed(file, allow_pickle=False, header=np.frombuffer(header.encode(), np.uint8), **arrays)

    write_atomic(path, write)


def load_flow_samples(path: Path) -> FlowSamples:
    """Read samples back.

    Raises:
        UserError: missing, damaged, or something else.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            header = json.loads(bytes(archive["header"]))
            arrays = {name: archive[name] for name in _ARRAYS}
            return FlowSamples(header["origin"], tuple(header["names"]), tuple(header["codes"]), **arrays)
    except READ_ERRORS as error:
        raise UserError(f"{path}: damaged, or no flow samples: {error}") from error
