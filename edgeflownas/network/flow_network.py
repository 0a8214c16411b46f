"""The network, once: every subnet and the supernet are routes through it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import keras
from keras import ops

from edgeflownas.config import Config
from edgeflownas.devices import gpu_visible
from edgeflownas.nas.search_space import SearchSpace
from edgeflownas.network.initial_weights import gain_of
from edgeflownas.network.kinds import KINDS, Build
from edgeflownas.network.layers import BatchNorm, resize_bilinear, unfolded
from edgeflownas.network.routes import Route
from edgeflownas.network.stages import Stage, network_stages, size_at


class StageLayer(keras.layers.Layer):
    """One stage: its options, and the batch norm and ReLU that they share, if any."""

    def __init__(self, stage: Stage, strides: int, seed: int, precision: str, folds: bool) -> None:
        super().__init__(name=stage.name)
        self.stage = stage
        build = Build(strides, seed, precision, gain_of(stage), folds)
        self._kind = KINDS[stage.kind]
        self.options: list[list[keras.layers.Layer]] = [
            self._kind.layers(value, stage.filters_in, stage.filters_out, stage.option_name(index), build)
            for index, value in enumerate(stage.options)
        ]
        self.norm = BatchNorm(stage.filters_out, f"{stage.name}.norm") if stage.shared_norms else None
        self.built = True

    def call(self, x: Any, size: tuple[int, int] | None, route: Route, statistics: Any) -> Any:
        """Map (P or 1, B, H, W, C) to (P, B, H', W', C'), or the same folded; resized to `size` first if that is given.

        P stays 1 where the stage is no choice.
        """
        if self.stage.digit is None:
            y = self._run_option(0, size, statistics)(x)
        else:
            options = [self._run_option(index, size, statistics) for index in range(len(self.options))]
            y = route(self.stage.digit, options, x)
        return y if self.norm is None else ops.relu(self.norm(y, statistics=statistics))

    def _run_option(self, index: int, size: tuple[int, int] | None, statistics: Any) -> Callable[[Any], Any]:
        return lambda x: self._kind.run(self.options[index], x, size, statistics)


class FlowNetwork(keras.layers.Layer):
    """The weight-sharing network of a search space (design section 3).

    Weights are a pure function of `seed` and do not depend on the backend. Their names are unique and stable
    (`EB0.option1.block0.conv0.kernel`); checkpoints use them as keys. `rewritten` chooses how slow convolutions are
    computed, not their results; the default is on where it was measured to be faster: TensorFlow on a CPU, in float32.
    `precision` is that of the convolutions (`layers.Conv`).
    """

    def __init__(
        self,
        space: SearchSpace,
        init_neurons: int,
        seed: int,
        precision: str = "float32",
        rewritten: bool | None = None,
    ) -> None:
        super().__init__(name="flow_network")
        self.space = space
        self.stage_layers: list[StageLayer] = []
        if rewritten is None:
            on_cpu = keras.backend.backend() == "tensorflow" and not gpu_visible()
            rewritten = on_cpu and precision == "float32"
        scale = 0
        stages = network_stages(space, init_neurons)
        for stage, following in zip(stages, [*stages[1:], None], strict=True):
            strides = 2 if stage.scale > scale else 1
            # Folding pays off if there are few output channels and the array can stay folded up to them: before the
            # output heads.
            folds = rewritten and following is not None and following.head
            self.stage_layers.append(StageLayer(stage, strides, seed, precision, folds))
            scale = stage.scale
        self.built = True

    def call(self, frames: Any, route: Route, statistics: Any) -> list[Any]:
        """Predict flow at three scales, coarse to fine.

        Args:
            frames: (B, H, W, 6) float32 in [-1, 1], two RGB frames.
            route: how the paths choose their options.
            statistics: where the batch norms get mean and variance from.

        Returns:
            One (P, B, h, w, 4) array per scale: u and v divided by `data.flow_scale`, and one uncertainty logit for
            each. Heads are residual: each scale is the upsampled coarser sum plus its own head.
        """
        height, width = frames.shape[1:3]
        x = frames[None]
        scale = 0
        flows: list[Any] = []
        for layer in self.stage_layers:
            size = size_at(layer.stage.scale, height, width)
            if layer.stage.head:
                flow = ops.cast(unfolded(layer(x, size=None, route=route, statistics=statistics)), "float32")
                flows.append(resize_bilinear(flows[-1], *size) + flow if flows else flow)
                continue
            grows = layer.stage.scale < scale
            x = layer(x, size=size if grows else None, route=route, statistics=statistics)
            scale = layer.stage.scale
        return flows

    def option_of(self, variable_name: str) -> tuple[int, int] | None:
        """The (digit, option) that a weight belongs to, or None for a weight that all subnets share."""
        stage, part = self._stage_of(variable_name), variable_name.split(".")[1]
        if stage.digit is None or not part.startswith("option"):
            return None
        return stage.digit, int(part.removeprefix("option"))

    def is_head_kernel(self, variable_name: str) -> bool:
        """Whether a weight is the kernel of a head, which emits flow without batch norm."""
        return self._stage_of(variable_name).head and variable_name.endswith(".kernel")

    def _stage_of(self, variable_name: str) -> Stage:
        name = variable_name.split(".")[0]
        return next(layer.stage for layer in self.stage_layers if layer.stage.name == name)


@dataclass(frozen=True)
class NetworkSettings:
    """What decides a network of a given search space."""

    init_neurons: Annotated[int, "network.init_neurons"]
    seed: Annotated[int, "seed"]
    precision: Annotated[str, "train.precision"]


def network_of(config: Config, space: SearchSpace) -> FlowNetwork:
    """The network that a configuration describes; training, evaluation and checks all build it here."""
    settings = config.view(NetworkSettings)
    return FlowNetwork(space, settings.init_neurons, settings.seed, settings.precision)
