"""How much SRAM a subnet needs, estimated from its graph, so that it is known before anything is trained.

Vela lets a convolution run a few rows ahead of the next (a cascade), so that its whole output need not lie in memory.
A resize, however, has its whole input and output there, and those of the last stages are the largest arrays of all. So
the peak is that of a resize, whatever the arch code: in the 9-block space all subnets need the same. Against Vela 5.2,
optimised for size, the estimate was within 0.2% in 20 of 21 cases, and a fifth too low in one
(`tests/test_deploy_cost.py`).
"""

from dataclasses import dataclass, replace
from math import prod
from typing import Annotated, Any

from edgeflownas.deploy.subnet import FLOW, Subnet, doubles
from edgeflownas.deploy.targets import Target, load_target
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.network.kinds import Convolution
from edgeflownas.network.stages import INPUT_CHANNELS

# Vela does not cascade through arrays of fewer channels.
_CASCADED_CHANNELS = 8
# Suggested sizes are multiples of this: then every resize is by exactly 2.
_STEP = 16


@dataclass(frozen=True)
class _Array:
    """(height, width, channels); `merging`: a resize that the next convolution takes in, `folded`: what comes of it."""

    shape: tuple[int, int, int]
    merging: bool = False
    folded: bool = False

    @property
    def size(self) -> int:
        return prod(self.shape)


class _Shapes:
    """Follows the arrays, and keeps what each operation holds in memory, bytes."""

    def __init__(self) -> None:
        self.held: dict[str, int] = {}

    def conv(self, x: _Array, name: str, convolution: Convolution, strides: int = 1) -> _Array:
        height, width, _ = x.shape
        out = (-(-height // strides), -(-width // strides), convolution.filters_out)
        folded = x.merging or x.folded
        if not folded and FLOW < out[2] < _CASCADED_CHANNELS:
            self.held[name] = x.size + prod(out)
        return _Array(out, folded=folded)

    def norm(self, x: _Array, name: str) -> _Array:
        return x

    def relu(self, x: _Array, name: str) -> _Array:
        return x

    def add(self, x: _Array, y: _Array, name: str) -> _Array:
        return replace(x, folded=False)

    def resize(self, x: _Array, size: tuple[int, int], name: str, merges: bool = False) -> _Array:
        out = (*size, x.shape[2])
        height, width, channels = x.shape
        doubled = doubles((height, width), size)
        if x.folded:
            self.held[name] = 2 * x.size
        if doubled and merges:
            return _Array(out, merging=True)
        # Vela copies the input into one with a border of a pixel. Other resizes end with a transpose, in and out.
        held = (height + 2) * (width + 2) * channels if doubled else prod(out)
        self.held[name] = max(self.held.get(name, 0), held + prod(out))
        return _Array(out)


def estimated_peak(subnet: Subnet) -> tuple[int, str]:
    """Bytes of SRAM that a subnet needs at least, and the operation that needs them.

    Besides what the operation holds itself, flow of the coarser heads is waiting.
    """
    shapes: Any = _Shapes()
    subnet.emit(shapes, _Array((subnet.height, subnet.width, INPUT_CHANNELS)))
    waiting = _waiting(subnet)
    held = {name: size + waiting[name.partition(".")[0]] for name, size in shapes.held.items()}
    name = max(held, key=lambda found: held[found])
    return held[name] * (2 if subnet.precision == "int16x8" else 1), name


def _waiting(subnet: Subnet) -> dict[str, int]:
    """Bytes of the flow that waits while a stage runs, by the stage's name.

    Heads that the host sums wait as they are; their sum has been resized to the stage already.
    """
    heads: list[int] = []
    found = {}
    for stage in subnet.stages:
        size = prod(subnet.size(stage)) * FLOW
        found[stage.name] = (size if subnet.output == "sum" else sum(heads)) if heads else 0
        if stage.head:
            heads.append(size)
    return found


@dataclass(frozen=True)
class FitSettings:
    """What decides whether a configuration's subnets fit its target."""

    target: Annotated[str | None, "target"]
    search_space: Annotated[str, "network.search_space"]
    init_neurons: Annotated[int, "network.init_neurons"]
    height: Annotated[int, "network.height"]
    width: Annotated[int, "network.width"]
    output: Annotated[str, "deploy.output"]
    resize: Annotated[str, "deploy.resize"]
    precision: Annotated[str, "deploy.precision"]


@dataclass(frozen=True)
class Fit:
    """Whether a configuration can fit its target, as far as its graph tells.

    needed_kib: the estimate; held_by: the operation at the peak.
    """

    target: Target
    subnet: Subnet
    needed_kib: float
    held_by: str

    @property
    def fault(self) -> str | None:
        """What does not fit, and sizes and widths that do; None if it fits."""
        if self.needed_kib <= self.target.sram_kib:
            return None
        return (
            f"at {self.subnet.height}×{self.subnet.width} and network.init_neurons {self.subnet.init_neurons}, every "
            f"subnet needs about {self.needed_kib:,.0f} KiB of SRAM (for {self.held_by}), and target "
            f"{self.target.name} has {self.target.sram_kib:,.0f}; {self._remedy()}"
        )

    def line(self) -> str:
        """The finding in a line."""
        return f"target {self.target.name}: " + (
            self.fault
            or f"fits, about {self.needed_kib:,.0f} of {self.target.sram_kib:,.0f} KiB of SRAM (for {self.held_by})"
        )

    def _remedy(self) -> str:
        fits = []
        if size := smaller_size(self.subnet, self.target.sram_bytes):
            fits.append(f"network.height {size[0]} and network.width {size[1]} fit")
        if width := smaller_width(self.subnet, self.target.sram_bytes):
            fits.append(f"network.init_neurons {width} fits")
        if self.subnet.resize == "exact":
            other = fit(replace(self.subnet, resize="subpixel"), self.target)
            if other.fault is None:
                fits.append(f"deploy.resize subpixel fits with {other.needed_kib:,.0f} KiB")
        return ", or ".join(fits) or "no size and no width fits: choose another target"


def fit_of(settings: FitSettings) -> Fit | None:
    """Whether a configuration's subnets can fit its target; None without a target.

    Raises:
        UserError: the target or the search space cannot be read.
    """
    if settings.target is None:
        return None
    space = load_search_space(settings.search_space)
    size = (settings.init_neurons, settings.height, settings.width)
    subnet = Subnet(space, space.reference, *size, settings.output, settings.resize, settings.precision)
    return fit(subnet, load_target(settings.target))


def fit(subnet: Subnet, target: Target) -> Fit:
    """Whether a subnet can fit a target."""
    needed, name = estimated_peak(subnet)
    return Fit(target, subnet, needed / 1024, name)


def smaller_size(subnet: Subnet, room: int) -> tuple[int, int] | None:
    """The largest input size of about the same shape, in multiples of 16, with which a subnet needs at most `room`
    bytes; None if there is none."""
    for height in range(subnet.height // _STEP * _STEP, 0, -_STEP):
        width = max(round(height * subnet.width / subnet.height / _STEP), 1) * _STEP
        if estimated_peak(replace(subnet, height=height, width=width))[0] <= room:
            return height, width
    return None


def smaller_width(subnet: Subnet, room: int) -> int | None:
    """The largest base width, even and smaller than the subnet's, with which it needs at most `room` bytes."""
    for init_neurons in range((subnet.init_neurons - 1) // 2 * 2, 0, -2):
        if estimated_peak(replace(subnet, init_neurons=init_neurons))[0] <= room:
            return init_neurons
    return None
