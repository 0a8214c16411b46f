"""The network as data: its stages in order, for a search space and a base width. Imports nothing heavy.

Every stage has options; a stage that is no choice block of the space has exactly one. The Keras model
(`network/flow_network.py`) and the cost model (`network/cost.py`) both walk this list, so they cannot disagree.
"""

from dataclasses import dataclass, replace

from edgeflownas.errors import UserError
from edgeflownas.nas.search_space import SearchSpace
from edgeflownas.network.kinds import KINDS, Convolution

INPUT_CHANNELS = 6
FLOW_CHANNELS = 4
"""u, v and one uncertainty logit for each."""


@dataclass(frozen=True)
class Stage:
    """One place in the network.

    kind: what its options are, by its name in `kinds.KINDS`.
    scale: how often the output is halved against the input. One more than the stage before means stride 2; less
        means that a bilinear resize to that scale's size comes first.
    head: the stage reads the trunk and emits flow, without batch norm; the trunk continues past it. Every other
        convolution stage ends in batch norm and ReLU, shared by its options.
    digit: position of the stage's digit in an arch code, None where there is nothing to choose.
    """

    name: str
    kind: str
    options: tuple[int, ...]
    filters_in: int
    filters_out: int
    scale: int
    head: bool = False
    digit: int | None = None

    def convolutions(self, option: int) -> dict[str, Convolution]:
        """The convolutions of one option in order, by their kernels' names without `.kernel`."""
        found = KINDS[self.kind].convolutions(self.options[option], self.filters_in, self.filters_out)
        return {self.option_name(option) + place: convolution for place, convolution in found.items()}

    def option_name(self, option: int) -> str:
        """The prefix of the names of an option's weights."""
        return f"{self.name}.option{option}"

    def option_norms(self, option: int) -> int:
        """Number of batch norms (each over `filters_out` channels) inside an option."""
        return KINDS[self.kind].norms(self.options[option])

    @property
    def shared_norms(self) -> int:
        """Number of batch norms after the options, which all of them share: 1 or 0."""
        return int(KINDS[self.kind].place == "kernel" and not self.head)


def size_at(scale: int, height: int, width: int) -> tuple[int, int]:
    """Height and width after `scale` convolutions of stride 2 with 'same' padding: 45 -> 23 -> 12."""
    for _ in range(scale):
        height, width = -(-height // 2), -(-width // 2)
    return height, width


def network_stages(space: SearchSpace, init_neurons: int) -> tuple[Stage, ...]:
    """The stages in order of execution.

    Raises:
        UserError: a choice block names no stage of the network, or has another kind than that stage.
    """
    w = init_neurons
    # A stage that is no choice in the space has the one option given here.
    skeleton = (
        Stage("E0", "kernel", (7,), INPUT_CHANNELS, w, 1),
        Stage("E1", "kernel", (5,), w, 2 * w, 2),
        Stage("EB0", "depth", (1,), 2 * w, 2 * w, 2),
        Stage("Down1", "kernel", (3,), 2 * w, 4 * w, 3),
        Stage("EB1", "depth", (1,), 4 * w, 4 * w, 3),
        Stage("Down2", "kernel", (3,), 4 * w, 8 * w, 4),
        Stage("DB0", "depth", (1,), 8 * w, 8 * w, 4),
        Stage("Up1", "kernel", (3,), 8 * w, 4 * w, 3),
        Stage("DB1", "depth", (1,), 4 * w, 4 * w, 3),
        Stage("Up2", "kernel", (3,), 4 * w, 2 * w, 2),
        Stage("H0Out", "kernel", (7,), 2 * w, FLOW_CHANNELS, 2, head=True),
        Stage("H1", "kernel", (5,), 2 * w, w, 1),
        Stage("H1Out", "kernel", (7,), w, FLOW_CHANNELS, 1, head=True),
        Stage("H2", "kernel", (7,), w, w // 2, 0),
        Stage("H2Out", "kernel", (7,), w // 2, FLOW_CHANNELS, 0, head=True),
    )
    stages = {stage.name: stage for stage in skeleton}
    for digit, block in enumerate(space.blocks):
        stage = stages.get(block.name)
        if stage is None:
            raise UserError(f"search space {space.name}: {block.name} is no stage of the network ({', '.join(stages)})")
        if stage.kind != KINDS[block.kind].place:
            raise UserError(f"search space {space.name}: {block.name} is of kind {stage.kind}, not {block.kind}")
        stages[block.name] = replace(stage, kind=block.kind, options=block.options, digit=digit)
    return tuple(stages.values())
