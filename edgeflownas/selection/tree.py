"""The tree of a search space: subnets share everything before their codes first differ. Imports no Keras.

The trunk branches at every choice block that is no head. Heads read the trunk and add to the flow, so that they
multiply the number of subnets and not the work: each is computed once per trunk node, and a subnet is a sum. Batch-norm
statistics depend on the prefix before a batch norm alone, so recalibration follows the same tree.

The tree is cut into subtrees by the first digits of the trunk. They are what is evaluated in one go, what is kept when
a process is killed, and what shards divide.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgeflownas.nas.search_space import ArchCode, SearchSpace
from edgeflownas.network.cost import option_cost
from edgeflownas.network.stages import INPUT_CHANNELS, Stage, network_stages, size_at

# The least number of subtrees, if the space has so many: enough to lose little when a process is killed, and to divide
# among jobs. The stages before the cut are computed once for each (3% more for the 9-block space than without a cut).
MIN_SUBTREES = 24
FLOAT_BYTES = 4

Options = tuple[int, ...]
"""The options taken at the trunk's stages so far, one for each stage, also where there is no choice."""


@dataclass(frozen=True)
class Step:
    """A stage as the tree passes it. `resize`: whether a bilinear resize to `size`, that of its output, comes first."""

    stage: Stage
    size: tuple[int, int]
    resize: bool


@dataclass(frozen=True)
class Tree:
    """The tree of a search space for one width of the network and one size of its input."""

    space: SearchSpace
    init_neurons: int
    height: int
    width: int

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The stages in order of execution."""
        steps, scale = [], 0
        for stage in network_stages(self.space, self.init_neurons):
            grows = not stage.head and stage.scale < scale
            steps.append(Step(stage, size_at(stage.scale, self.height, self.width), grows))
            if not stage.head:
                scale = stage.scale
        return tuple(steps)

    @cached_property
    def trunk(self) -> tuple[int, ...]:
        """The positions of the trunk's stages among the steps."""
        return tuple(at for at, step in enumerate(self.steps) if not step.stage.head)

    @cached_property
    def heads(self) -> tuple[int, ...]:
        """The positions of the heads among the steps."""
        return tuple(at for at, step in enumerate(self.steps) if step.stage.head)

    @cached_property
    def cut(self) -> int:
        """How many of the trunk's stages a subtree has given options at."""
        subtrees = 1
        for count, at in enumerate(self.trunk):
            if subtrees >= MIN_SUBTREES:
                return count
            subtrees *= len(self.steps[at].stage.options)
        return len(self.trunk)

    @cached_property
    def subtrees(self) -> tuple[Options, ...]:
        """The given options of every subtree."""
        return tuple(itertools.product(*(range(len(self.steps[at].stage.options)) for at in self.trunk[: self.cut])))

    def name_of(self, subtree: Options) -> str:
        """The trunk's digits that a subtree has: `012`; `all` if there is no choice before the cut."""
        digits = [
            str(option)
            for at, option in zip(self.trunk, subtree, strict=False)
            if self.steps[at].stage.digit is not None
        ]
        return ("" if all(len(digit) == 1 for digit in digits) else "-").join(digits) or "all"

    def rows(self, options: Options) -> np.ndarray:
        """The rows, in lexicographic order of codes, of the subnets with these options in the trunk or at its start.

        Returns:
            (trunk options that are left …, options of the first head, of the second, …) int64.
        """
        stages = [self.steps[at].stage for at in (*self.trunk, *self.heads)]
        counts = [len(block.options) for block in self.space.blocks]
        strides = [math.prod(counts[digit + 1 :]) for digit in range(len(counts))]
        rows = np.zeros((), np.int64)
        for place, stage in enumerate(stages):
            stride = 0 if stage.digit is None else strides[stage.digit]
            if place < len(options):
                rows = rows + options[place] * stride
            else:
                rows = rows[..., None] + np.arange(len(stage.options)) * stride
        return rows

    def evaluations(self, at: int) -> int:
        """How often each option of a step is computed within a subtree, if it is computed there at all.

        `at` after the last step: the number of the trunk's leaves.
        """
        return math.prod(len(self.steps[place].stage.options) for place in self.trunk[self.cut :] if place < at)

    def options_within(self, at: int, subtree: Options) -> range:
        """The options of a step that are computed within a subtree."""
        if at in self.trunk[: self.cut]:
            option = subtree[self.trunk.index(at)]
            return range(option, option + 1)
        return range(len(self.steps[at].stage.options))

    def nodes(self) -> int:
        """How many options are computed for all subtrees: recalibration computes the trunk's, validation all."""
        return sum(count for _, _, count in self._computed())

    def macs(self, recalibration_samples: int, validation_samples: int) -> int:
        """Multiply-accumulates of all convolutions that are computed for all subtrees."""
        total = 0
        for at, option, count in self._computed():
            stage = self.steps[at].stage
            samples = validation_samples + (0 if stage.head else recalibration_samples)
            total += samples * count * option_cost(stage, option, self.height, self.width)[1]
        return total

    def _computed(self) -> Iterator[tuple[int, int, int]]:
        """Step, option, and how often it is computed in one of the subtrees."""
        for subtree in self.subtrees:
            for at in range(len(self.steps)):
                for option in self.options_within(at, subtree):
                    yield at, option, self.evaluations(at)

    def bytes_kept(self, samples: int) -> int:
        """Memory of the activations kept on the way from the root to a leaf, for so many samples at a time."""
        pixels = self.height * self.width
        kept = pixels * INPUT_CHANNELS
        for step in self.steps:
            if step.stage.head:
                kept += 2 * pixels * len(step.stage.options)
            else:
                kept += step.size[0] * step.size[1] * step.stage.filters_out
        return kept * samples * FLOAT_BYTES

    def code_of(self, row: int) -> ArchCode:
        """The arch code of a row."""
        digits = np.unravel_index(row, [len(block.options) for block in self.space.blocks])
        return tuple(int(digit) for digit in digits)
