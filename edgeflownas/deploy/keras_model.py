"""A subnet as a plain functional Keras model: no class of this project, batch norm folded into the convolutions."""

import io
import json
import re
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgeflownas.artifacts import write_bytes
from edgeflownas.deploy.children import work_folder
from edgeflownas.deploy.subnet import Subnet, SubnetWeights, doubles, resize_matrix
from edgeflownas.network.kinds import Convolution
from edgeflownas.network.rewritings import cell_taps, resize_taps
from edgeflownas.network.stages import INPUT_CHANNELS
from edgeflownas.network.statistics import BATCH_NORM_EPSILON

_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class _Pending:
    """A convolution that is not in the graph yet, so that a batch norm and a ReLU can still go into it.

    form: `plain`; or, of an array half as high and wide, with a folded result (`rewritings`): `upsampled`, of x resized
    by 2, or `folded`, of x folded.
    """

    x: Any
    name: str
    kernel: np.ndarray
    bias: np.ndarray
    strides: int
    form: str


@dataclass(frozen=True)
class _Resized:
    """A resize by 2 that is not in the graph yet, so that a convolution can take it in."""

    x: Any
    name: str


@dataclass(frozen=True)
class _Folded:
    """An array (1, 2h, 2w, C) as x (1, h, w, 4·C): pixel (2i + a, 2j + b), channel c, is at [i, j, (2a + b)·C + c]."""

    x: Any
    name: str


class _PlainGraph:
    """Builds the model; values are Keras tensors (1, H, W, C), or what is pending of them.

    The convolution behind a resize by 2 that merges takes it in, and the head behind it computes at half the size, too.
    """

    def __init__(self, weights: SubnetWeights) -> None:
        self._arrays = weights.arrays
        self._statistics = iter(weights.statistics)

    def conv(self, x: Any, name: str, convolution: Convolution, strides: int = 1) -> Any:
        kernel = self._arrays[f"{name}.kernel"].astype(np.float64)
        bias = np.zeros(convolution.filters_out)
        if isinstance(x, _Resized):
            return _Pending(x.x, name, kernel, bias, strides, "upsampled")
        if isinstance(x, _Folded):
            return _Pending(x.x, name, kernel, bias, strides, "folded")
        return _Pending(self.tensor(x), name, kernel, bias, strides, "plain")

    def norm(self, x: Any, name: str) -> Any:
        mean, variance = (values.astype(np.float64) for values in next(self._statistics))
        gamma = self._arrays.get(f"{name}.gamma", np.ones_like(mean))
        scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
        shift = self._arrays.get(f"{name}.beta", np.zeros_like(mean)) - mean * scale
        return replace(x, kernel=x.kernel * scale, bias=x.bias * scale + shift)

    def relu(self, x: Any, name: str) -> Any:
        if isinstance(x, _Pending):
            return self._convolved(x, "relu")
        return keras.layers.ReLU(name=_name(name))(x)

    def add(self, x: Any, y: Any, name: str) -> Any:
        return keras.layers.Add(name=_name(name))([self.tensor(x), self.tensor(y)])

    def resize(self, x: Any, size: tuple[int, int], name: str, merges: bool = False) -> Any:
        x = self.tensor(x)
        if doubles(x.shape[1:3], size):
            resized = _Resized(x, name)
            return resized if merges else self.tensor(resized)
        # Width is brought to the place of the channels, then height, where a 1×1 convolution is a matrix product.
        x = self._resize_last(keras.layers.Permute((1, 3, 2), name=_name(f"{name}.columns"))(x), size[1], f"{name}.x")
        x = self._resize_last(keras.layers.Permute((3, 2, 1), name=_name(f"{name}.rows"))(x), size[0], f"{name}.y")
        return keras.layers.Permute((3, 1, 2), name=_name(f"{name}.back"))(x)

    def tensor(self, x: Any) -> Any:
        """x in the graph."""
        if isinstance(x, _Pending):
            x = self._convolved(x, None)
        if isinstance(x, _Resized):
            return keras.layers.UpSampling2D(2, interpolation="bilinear", name=_name(x.name))(x.x)
        if not isinstance(x, _Folded):
            return x
        # Depth to space, which the NPU does not have, by a transpose; with rows in place of the batch, because it has
        # no such transpose of five dimensions.
        _, height, width, channels = x.x.shape
        y = keras.ops.reshape(x.x, (height, width, 2, channels // 2))
        y = keras.ops.transpose(y, (0, 2, 1, 3))
        return keras.ops.reshape(y, (1, 2 * height, 2 * width, channels // 4))

    def _convolved(self, x: _Pending, activation: str | None) -> Any:
        kernel, bias = x.kernel, x.bias
        size, filters = kernel.shape[0], kernel.shape[-1]
        if x.form == "upsampled":
            taps = resize_taps(size)
            kernel = np.einsum("asd,bte,decf->stcabf", taps, taps, kernel, optimize=True)
        elif x.form == "folded":
            taps = cell_taps(size)
            kernel = np.einsum("apsd,bqte,decf->stpqcabf", taps, taps, kernel, optimize=True)
        if x.form != "plain":
            kernel = kernel.reshape(*kernel.shape[:2], -1, 4 * filters)
            bias = np.tile(bias, 4)
        arrays = [kernel, bias] if bias.any() else [kernel]
        y = self._convolve(x.x, x.name, arrays, x.strides, activation)
        return y if x.form == "plain" else _Folded(y, x.name)

    def _resize_last(self, x: Any, target: int, name: str) -> Any:
        return self._convolve(x, name, [resize_matrix(x.shape[-1], target)[None, None]], 1, None)

    def _convolve(self, x: Any, name: str, arrays: list[np.ndarray], strides: int, activation: str | None) -> Any:
        layer = keras.layers.Conv2D(
            arrays[0].shape[-1],
            arrays[0].shape[:2],
            strides=strides,
            padding="same",
            activation=activation,
            use_bias=len(arrays) > 1,
            kernel_initializer="zeros",
            name=_name(name),
        )
        y = layer(x)
        layer.set_weights([array.astype(np.float32) for array in arrays])
        return y


def plain_model(subnet: Subnet, weights: SubnetWeights) -> Any:
    """The functional model: frames (1, H, W, 6) float32 in [-1, 1] to what `Subnet.emit` returns.

    Batch is 1, as a chip has it. Names of layers do not depend on what was built before.
    """
    frames = keras.Input((subnet.height, subnet.width, INPUT_CHANNELS), batch_size=1, name="frames")
    graph = _PlainGraph(weights)
    outputs = [graph.tensor(flow) for flow in subnet.emit(graph, frames)]
    return keras.Model(frames, outputs[0] if len(outputs) == 1 else outputs, name="subnet")


def save_plain_model(model: Any, path: Path) -> None:
    """Write model.keras, the same bytes for the same model: without times and addresses in memory.

    Raises:
        CannotWrite: the file cannot be written.
    """
    with work_folder() as folder:
        model.save(made := folder / "model.keras")
        content = io.BytesIO()
        with zipfile.ZipFile(made) as old, zipfile.ZipFile(content, "w") as new:
            for name in sorted(old.namelist()):
                data = old.read(name)
                if name == "metadata.json":
                    facts = {key: value for key, value in json.loads(data).items() if key != "date_saved"}
                    data = json.dumps(facts, sort_keys=True).encode()
                elif name == "config.json":
                    data = _numbered(data)
                new.writestr(zipfile.ZipInfo(name, _EPOCH), data)
    write_bytes(path, content.getvalue())


def _numbered(config: bytes) -> bytes:
    """A config in which shared objects are known by number, in order of appearance, and not by address."""
    numbers: dict[bytes, int] = {}

    def number(match: re.Match[bytes]) -> bytes:
        return match[1] + str(numbers.setdefault(match[2], len(numbers))).encode()

    return re.sub(rb'("shared_object_id": )(\d+)', number, config)


def _name(name: str) -> str:
    return name.replace(".", "_")
