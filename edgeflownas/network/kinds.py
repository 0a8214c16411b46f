"""The kinds of choice block, each one class: its options, convolutions, layers, labels and cost.

Everything that the project knows about a kind is here. A new one is a class with these methods, an entry in `KINDS`,
and its name in `schemas/search_space.schema.json`. Imports no Keras: only `layers` and `run` are for the Keras model.
"""

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Convolution:
    """A bias-free 'same' convolution: kernel × kernel, filters_in -> filters_out."""

    kernel: int
    filters_in: int
    filters_out: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the weights: (kernel, kernel, filters_in, filters_out)."""
        return (self.kernel, self.kernel, self.filters_in, self.filters_out)


@dataclass(frozen=True)
class Build:
    """How the layers of an option are built.

    strides: of its first convolution.
    seed: of its initial kernels.
    precision: Keras's dtype policy of its convolutions.
    gain: by how much its initial kernels are larger than He's.
    folds: whether its output may come folded (`layers.Conv`).
    """

    strides: int
    seed: int
    precision: str
    gain: float
    folds: bool


class Graph(Protocol):
    """The graph of one subnet alone, as export and cost estimates build it (`deploy.subnet`).

    Weights go by their names in the network. What the methods take and return is the graph's own.
    """

    def conv(self, x: Any, name: str, convolution: Convolution, strides: int = 1) -> Any:
        """A convolution with the weights `<name>.kernel`."""
        ...

    def norm(self, x: Any, name: str) -> Any:
        """A batch norm with the weights `<name>.gamma` and `<name>.beta`."""
        ...

    def relu(self, x: Any, name: str) -> Any:
        """A ReLU."""
        ...

    def add(self, x: Any, y: Any, name: str) -> Any:
        """The sum of two arrays of one shape."""
        ...

    def resize(self, x: Any, size: tuple[int, int], name: str, merges: bool = False) -> Any:
        """A bilinear resize, as `layers.resize_bilinear`; if it `merges`, it may become part of what comes next."""
        ...


class Kind(Protocol):
    """A kind of choice block; `value` is one of a block's options, as the search space gives it.

    place: the kind of stage at which it can be used: 'depth' keeps the size of what comes in, and has its batch norms
        inside; 'kernel' may change it, and a batch norm and ReLU that all options share follow it, but for a head.
    """

    place: str

    def label(self, value: int) -> str:
        """The option in words: '2 residual blocks', 'conv 5x5'."""
        ...

    def short(self, value: int) -> str:
        """The option in a table: '2', '5x5'."""
        ...

    def convolutions(self, value: int, filters_in: int, filters_out: int) -> dict[str, Convolution]:
        """The option's convolutions in order, by what their kernels' names have after the option's."""
        ...

    def norms(self, value: int) -> int:
        """Number of batch norms inside the option, over `filters_out` channels each."""
        ...

    def layers(self, value: int, filters_in: int, filters_out: int, name: str, build: Build) -> list[Any]:
        """The option's Keras layers; their weights' names begin with `name`."""
        ...

    def run(self, layers: list[Any], x: Any, size: tuple[int, int] | None, statistics: Any) -> Any:
        """Send x (P, B, H, W, C) through the option's layers, resized to `size` first if that is given."""
        ...

    def emit(self, graph: Graph, value: int, filters_in: int, filters_out: int, name: str, strides: int, x: Any) -> Any:
        """Add the option's operations to a graph of one subnet, x being what comes in, already resized."""
        ...


class Depth:
    """A row of residual blocks; an option is their number."""

    place = "depth"

    def label(self, value: int) -> str:
        """'2 residual blocks'."""
        return f"{value} residual block{'' if value == 1 else 's'}"

    def short(self, value: int) -> str:
        """'2'."""
        return str(value)

    def convolutions(self, value: int, filters_in: int, filters_out: int) -> dict[str, Convolution]:
        """Two of 3 × 3 per block."""
        places = (f".block{block}.conv{half}" for block in range(value) for half in (0, 1))
        return dict.fromkeys(places, Convolution(3, filters_in, filters_out))

    def norms(self, value: int) -> int:
        """One per convolution."""
        return 2 * value

    def layers(self, value: int, filters_in: int, filters_out: int, name: str, build: Build) -> list[Any]:
        """The blocks."""
        from edgeflownas.network.layers import ResidualBlock

        spec = Convolution(3, filters_in, filters_out)
        return [ResidualBlock(spec, build.seed, f"{name}.block{index}", build.precision) for index in range(value)]

    def run(self, layers: list[Any], x: Any, size: tuple[int, int] | None, statistics: Any) -> Any:
        """One block after another; the size does not change."""
        for layer in layers:
            x = layer(x, statistics=statistics)
        return x

    def emit(self, graph: Graph, value: int, filters_in: int, filters_out: int, name: str, strides: int, x: Any) -> Any:
        """One block after another, as `layers.ResidualBlock`."""
        spec = Convolution(3, filters_in, filters_out)
        for block in (f"{name}.block{index}" for index in range(value)):
            y = graph.norm(graph.conv(x, f"{block}.conv0", spec), f"{block}.norm0")
            y = graph.conv(graph.relu(y, f"{block}.conv0"), f"{block}.conv1", spec)
            x = graph.relu(graph.add(x, graph.norm(y, f"{block}.norm1"), f"{block}.sum"), f"{block}.relu")
        return x


class Kernel:
    """One convolution; an option is the size of its kernel."""

    place = "kernel"

    def label(self, value: int) -> str:
        """'conv 5x5'."""
        return f"conv {value}x{value}"

    def short(self, value: int) -> str:
        """'5x5'."""
        return f"{value}x{value}"

    def convolutions(self, value: int, filters_in: int, filters_out: int) -> dict[str, Convolution]:
        """The one."""
        return {"": Convolution(value, filters_in, filters_out)}

    def norms(self, value: int) -> int:
        """None of its own."""
        return 0

    def layers(self, value: int, filters_in: int, filters_out: int, name: str, build: Build) -> list[Any]:
        """The convolution."""
        from edgeflownas.network.layers import Conv

        spec = Convolution(value, filters_in, filters_out)
        return [Conv(spec, build.strides, build.seed, name, build.precision, build.gain, build.folds)]

    def run(self, layers: list[Any], x: Any, size: tuple[int, int] | None, statistics: Any) -> Any:
        """Resize and convolve."""
        return layers[0](x, size=size)

    def emit(self, graph: Graph, value: int, filters_in: int, filters_out: int, name: str, strides: int, x: Any) -> Any:
        """The convolution."""
        return graph.conv(x, name, Convolution(value, filters_in, filters_out), strides)


KINDS: dict[str, Kind] = {"depth": Depth(), "kernel": Kernel()}
