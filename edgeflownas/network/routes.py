"""How the paths of a forward pass go through a choice block's options. A route takes the block's digit position, its
options as functions, and x (P, B, H, W, C) with the paths as leading axis. P is 1 as long as all paths still share
everything. There are three:

- `FairCycle`: all paths of a fair cycle at once, as a static graph. Every option runs the same number of times for any
codes, so the paths are gathered into option order, each option runs on its own, and the results are scattered back: no
branch, no mask, one compilation for every subnet.
- `SwitchedPath`: one path whose code is data; a branch at every block, one compilation.
- `FixedPath`: one path whose code is known when the graph is built: only its options are in the graph.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from keras import ops

from edgeflownas.nas.search_space import ArchCode
from edgeflownas.network.gradients import custom_gradient
from edgeflownas.network.readers import readers

Options = Sequence[Callable[[Any], Any]]


class Route(Protocol):
    """Sends x through the options of the choice block at position `digit` of the arch code."""

    def __call__(self, digit: int, options: Options, x: Any) -> Any:
        """Map x (P or 1, B, H, W, C) to (P, B, H', W', C')."""
        ...


class FairCycle:
    """All paths of a fair cycle. codes: (P, blocks) int, every option equally often in each column."""

    def __init__(self, codes: Any) -> None:
        self.codes = codes

    def __call__(self, digit: int, options: Options, x: Any) -> Any:
        """Run every option once, on the paths that chose it."""
        choices = self.codes[:, digit]
        paths = self.codes.shape[0]
        # Ties keep the order of the paths: an option that serves several paths has their statistics in this order.
        into_option_order = ops.argsort(choices * paths + ops.arange(paths, dtype=choices.dtype))
        back = ops.argsort(into_option_order)
        if x.shape[0] == 1:
            # All paths are still the same here: each option runs once and serves every path that chose it.
            copies = readers(x, len(options))
            results = [
                ops.repeat(option(copy), paths // len(options), axis=0)
                for option, copy in zip(options, copies, strict=True)
            ]
        else:
            groups = ops.split(_permuted(x, into_option_order, back), len(options), axis=0)
            results = [option(group) for option, group in zip(options, groups, strict=True)]
        return _permuted(ops.concatenate(results, axis=0), back, into_option_order)


def _permuted(x: Any, order: Any, inverse: Any) -> Any:
    """x[order]. Backends do not know that `order` is a permutation, and would sum the gradient by segments."""

    @custom_gradient
    def permute(x: Any) -> Any:
        return ops.take(x, order, axis=0), lambda upstream: ops.take(upstream, inverse, axis=0)

    return permute(x)


class SwitchedPath:
    """One path. code: (blocks,) int tensor."""

    def __init__(self, code: Any) -> None:
        self.code = code

    def __call__(self, digit: int, options: Options, x: Any) -> Any:
        """Run the option that the code's data chooses."""
        return ops.switch(self.code[digit], list(options), x)


class FixedPath:
    """One path with a code that is part of the graph."""

    def __init__(self, code: ArchCode) -> None:
        self.code = code

    def __call__(self, digit: int, options: Options, x: Any) -> Any:
        """Run the only option."""
        return options[self.code[digit]](x)
