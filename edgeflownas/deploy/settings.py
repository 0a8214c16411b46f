"""Frames as a chip takes them, and what the configuration says about export."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

FEW_CALIBRATION_SAMPLES = 8
"""With fewer, the ranges of activations are those of these samples: on one pair, EPE was 11.5 instead of 3.4 px."""


@dataclass(frozen=True)
class ExportSettings:
    """How a subnet is exported."""

    seed: Annotated[int, "seed"]
    search_space: Annotated[str, "network.search_space"]
    init_neurons: Annotated[int, "network.init_neurons"]
    height: Annotated[int, "network.height"]
    width: Annotated[int, "network.width"]
    flow_scale: Annotated[float, "data.flow_scale"]
    workers: Annotated[int, "data.workers"]
    eval_split: Annotated[str, "eval.split"]
    target: Annotated[str | None, "target"]
    output: Annotated[str, "deploy.output"]
    resize: Annotated[str, "deploy.resize"]
    precision: Annotated[str, "deploy.precision"]
    calibration_samples: Annotated[int, "deploy.calibration_samples"]

    @property
    def quantised_file(self) -> str:
        """`int8.tflite`, for example."""
        return f"{self.precision}.tflite"

    @property
    def compiled_file(self) -> str:
        """`int8_vela.tflite`, for example."""
        return f"{self.precision}_vela.tflite"


def as_bytes(frames: np.ndarray) -> np.ndarray:
    """Frames in [-1, 1] as the bytes 0 to 255 that they were read from, uint8."""
    return np.rint((frames + 1) * 127.5).astype(np.uint8)


def as_floats(frames: np.ndarray) -> np.ndarray:
    """Bytes as the network takes them: float32 in [-1, 1], the inverse of `as_bytes`."""
    return frames.astype(np.float32) / np.float32(127.5) - 1


def as_chip_input(frames: np.ndarray, dtype: str) -> np.ndarray:
    """Bytes as the quantised network takes them: all that the chip's host has to do.

    int8: 128 less. int16: from -32767 to 32767, which a table of 256 entries gives.
    """
    if dtype == "int8":
        return (frames.astype(np.int16) - 128).astype(np.int8)
    return np.rint(as_floats(np.arange(256)) * 32767).astype(np.int16)[frames]
