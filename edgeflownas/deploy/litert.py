"""Running LiteRT files as the reference says: with its reference kernels, and with quantisation as the file has it."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from edgeflownas.deploy.settings import as_chip_input, as_floats
from edgeflownas.deploy.subnet import resize_matrix


@dataclass(frozen=True)
class Tensor:
    """An input or output of a file: (1, H, W, C). A quantised value q stands for scale × (q − zero_point)."""

    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int

    def real(self, values: np.ndarray) -> np.ndarray:
        """What raw values stand for, float32."""
        if self.dtype == "float32":
            return values
        return ((values.astype(np.int32) - self.zero_point) * np.float64(self.scale)).astype(np.float32)


class LiteModel:
    """A LiteRT file of a subnet.

    Quantised files run with LiteRT's reference kernels, to which the chip's results are bound; its optimised ones round
    otherwise (by up to 13 steps of the output, measured). Float files run with the optimised ones, without XNNPACK,
    whose results are three times as far from the reference.
    """

    def __init__(self, path: Path, workers: int = 1) -> None:
        """Args:
        path: the file.
        workers: how many inputs are computed at a time.
        """
        self._interpreters: SimpleQueue[Any] = SimpleQueue()
        self._workers = workers
        for _ in range(workers):
            interpreter = _interpreter(path)
            self._interpreters.put(interpreter)
        self.input = _tensor(interpreter.get_input_details()[0])
        # Coarse to fine, whatever their order in the file.
        details = sorted(interpreter.get_output_details(), key=lambda found: int(np.prod(found["shape"])))
        self.outputs = [_tensor(found) for found in details]
        self._input_index = interpreter.get_input_details()[0]["index"]
        self._output_indices = [found["index"] for found in details]

    def run(self, frames: np.ndarray) -> list[np.ndarray]:
        """The raw outputs, coarse to fine, for frames (H, W, 6) uint8; each (h, w, 2)."""
        return self.run_raw(
            as_floats(frames) if self.input.dtype == "float32" else as_chip_input(frames, self.input.dtype)
        )

    def run_raw(self, taken: np.ndarray) -> list[np.ndarray]:
        """`run` for frames (H, W, 6) of the file's own type."""
        interpreter = self._interpreters.get()
        try:
            interpreter.set_tensor(self._input_index, taken[None])
            interpreter.invoke()
            return [interpreter.get_tensor(index)[0] for index in self._output_indices]
        finally:
            self._interpreters.put(interpreter)

    def run_all(self, frames: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
        """`run` for many, in their order."""
        with ThreadPoolExecutor(self._workers) as pool:
            yield from pool.map(self.run, frames)

    def flow(self, outputs: Sequence[np.ndarray]) -> np.ndarray:
        """The flow (H, W, 2) float32, pixels, that raw outputs stand for; heads are summed as the host does it."""
        return summed([tensor.real(values) for tensor, values in zip(self.outputs, outputs, strict=True)])


def summed(heads: Sequence[np.ndarray]) -> np.ndarray:
    """The flow of heads (h, w, 2), coarse to fine: each sum is resized bilinearly and the next one added."""
    flow = heads[0]
    for head in heads[1:]:
        rows, columns = (resize_matrix(*sizes) for sizes in zip(flow.shape[:2], head.shape[:2], strict=True))
        flow = np.einsum("hwc,hH,wW->HWc", flow, rows, columns, optimize=True).astype(np.float32) + head
    return flow


def _interpreter(path: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    def opened(kernels: Any) -> Any:
        return Interpreter(str(path), experimental_op_resolver_type=kernels, num_threads=1)

    interpreter = opened(OpResolverType.BUILTIN_REF)
    # Only the file's input says which kernels are wanted.
    if interpreter.get_input_details()[0]["dtype"] is np.float32:
        interpreter = opened(OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    interpreter.allocate_tensors()
    return interpreter


def _tensor(details: dict[str, Any]) -> Tensor:
    scale, zero_point = details["quantization"]
    shape = tuple(int(length) for length in details["shape"])
    return Tensor(shape, np.dtype(details["dtype"]).name, float(scale), int(zero_point))
