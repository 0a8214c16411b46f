"""One subnet alone, as a graph for a chip: walked from the stages, for export and for estimates of its cost.

The uncertainty is dropped, and flow comes out in pixels. Imports no Keras.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgeflownas.nas.search_space import ArchCode, ChoiceBlock, SearchSpace
from edgeflownas.network.initial_weights import gain_of, initial_kernel
from edgeflownas.network.kinds import KINDS, Graph
from edgeflownas.network.stages import Stage, network_stages, size_at

OUTPUTS = ("sum", "heads")
RESIZES = ("exact", "subpixel")
PRECISIONS = ("int8", "int16x8")
FLOW = 2
"""u and v: what remains of a head's channels."""


@dataclass(frozen=True)
class Subnet:
    """One subnet at one input size.

    output: `sum`, the flow at full size, or `heads`, what each scale adds to it; the host then resizes and sums.
    resize: `exact`, or `subpixel`: resizes by 2 before the output heads become part of the convolutions behind them,
        which is exact but for a few pixels at the border.
    precision: of activations on the chip, `int8` or, with int8 weights, int16 (`int16x8`).
    """

    space: SearchSpace
    code: ArchCode
    init_neurons: int
    height: int
    width: int
    output: str
    resize: str = "exact"
    precision: str = "int8"

    def facts(self) -> dict[str, Any]:
        """Everything that decides its graph, as JSON values; `of_facts` is the inverse."""
        blocks = [[block.name, block.kind, list(block.options)] for block in self.space.blocks]
        space = {"name": self.space.name, "blocks": blocks, "reference": list(self.space.reference)}
        return {**vars(self), "space": space, "code": list(self.code)}

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> "Subnet":
        """The subnet that `facts` describes."""
        given = facts["space"]
        blocks = tuple(ChoiceBlock(name, kind, tuple(options)) for name, kind, options in given["blocks"])
        space = SearchSpace(given["name"], blocks, tuple(given["reference"]))
        return cls(**{**facts, "space": space, "code": tuple(facts["code"])})

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The network's stages, whose heads have no channels for the uncertainty."""
        stages = network_stages(self.space, self.init_neurons)
        return tuple(replace(stage, filters_out=FLOW) if stage.head else stage for stage in stages)

    def option(self, stage: Stage) -> int:
        """Which option of a stage it takes."""
        return 0 if stage.digit is None else self.code[stage.digit]

    def size(self, stage: Stage) -> tuple[int, int]:
        """Height and width of a stage's output."""
        return size_at(stage.scale, self.height, self.width)

    def emit(self, graph: Graph, frames: Any) -> list[Any]:
        """Add its operations to a graph, frames (1, H, W, 6) being its input.

        Returns:
            The flow (1, H, W, 2), pixels; or with output `heads` one (1, h, w, 2) per scale, coarse to fine.
        """
        x = frames
        scale = 0
        flows: list[Any] = []
        stages = self.stages
        for stage, following in zip(stages, [*stages[1:], None], strict=True):
            name = stage.option_name(self.option(stage))
            if stage.scale < scale and not stage.head:
                merges = self.resize == "subpixel" and following is not None and following.head
                x = graph.resize(x, self.size(stage), f"{stage.name}.resize", merges)
            strides = 2 if stage.scale > scale else 1
            y = KINDS[stage.kind].emit(
                graph, stage.options[self.option(stage)], stage.filters_in, stage.filters_out, name, strides, x
            )
            if stage.head:
                if flows and self.output == "sum":
                    coarser = graph.resize(flows.pop(), self.size(stage), f"{stage.name}.coarser")
                    # In this order Vela computes the coarser flow first. In the other it keeps arrays of the trunk for
                    # heads that it leaves for later: 2,207 instead of 1,785 KiB of SRAM at 180×240 and width 32.
                    y = graph.add(y, coarser, f"{stage.name}.flow")
                flows.append(y)
                continue
            x = graph.relu(graph.norm(y, f"{stage.name}.norm"), name) if stage.shared_norms else y
            scale = stage.scale
        return flows


@dataclass(frozen=True)
class SubnetWeights:
    """Weights by name (`EB0.option1.block0.conv0.kernel`), and [mean, variance] of its batch norms in order."""

    arrays: Mapping[str, np.ndarray]
    statistics: Sequence[tuple[np.ndarray, np.ndarray]]


def subnet_weights(
    subnet: Subnet, arrays: Mapping[str, np.ndarray], statistics: Sequence[Any], flow_scale: float
) -> SubnetWeights:
    """Take one subnet's weights out of its network's.

    Args:
        subnet: which.
        arrays: weights of the network by name.
        statistics: [mean, variance] of each batch norm that it passes, in order of execution, any shape of C values.
        flow_scale: pixels per unit of flow.
    """
    taken = {}
    for stage in subnet.stages:
        for name in stage.convolutions(subnet.option(stage)):
            kernel = arrays[f"{name}.kernel"]
            taken[f"{name}.kernel"] = kernel[..., :FLOW] * np.float32(flow_scale) if stage.head else kernel
        prefixes = (f"{stage.option_name(subnet.option(stage))}.", f"{stage.name}.norm")
        taken |= {key: value for key, value in arrays.items() if key.startswith(prefixes) and "norm" in key}
    return SubnetWeights(taken, [(np.ravel(mean), np.ravel(variance)) for mean, variance in statistics])


def untrained_weights(subnet: Subnet, seed: int) -> SubnetWeights:
    """He's initial kernels with batch norms that change nothing: enough to know what a subnet costs.

    The last batch norm of a residual block starts at γ = 0 in training; here it is 1, because kernels of zeros would be
    compressed to nothing.
    """
    arrays: dict[str, np.ndarray] = {}
    statistics = []
    for stage in subnet.stages:
        option = subnet.option(stage)
        for name, convolution in stage.convolutions(option).items():
            key = f"{name}.kernel"
            arrays[key] = initial_kernel(seed, key, convolution.shape, gain_of(stage))
        statistics += [_unit(stage.filters_out)] * (stage.option_norms(option) + stage.shared_norms)
    return SubnetWeights(arrays, statistics)


def _unit(channels: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(channels, np.float32), np.ones(channels, np.float32)


def resize_matrix(size: int, target: int) -> np.ndarray:
    """(size, target) float32: column j holds the weights with which output j reads the inputs of a bilinear resize.

    Half-pixel centres and clamped edges, as `layers.resize_bilinear`; each column sums to 1.
    """
    # In float32, as TensorFlow computes them: the network was trained with these.
    scale = np.float32(size) / np.float32(target)
    positions = (np.arange(target, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    positions = np.clip(positions, 0, size - 1)
    lower = np.minimum(np.floor(positions).astype(int), size - 1)
    upper = np.minimum(lower + 1, size - 1)
    matrix = np.zeros((size, target))
    np.add.at(matrix, (lower, np.arange(target)), 1 - (positions - lower))
    np.add.at(matrix, (upper, np.arange(target)), positions - lower)
    return matrix.astype(np.float32)


def doubles(size: tuple[int, int], target: tuple[int, int]) -> bool:
    """Whether a resize is by exactly 2 in both directions: the bilinear resize that the NPU has."""
    return target == (2 * size[0], 2 * size[1])
