"""Has every option learned? The kernels of a checkpoint against their initial values. Imports no Keras."""

from collections.abc import Mapping

import numpy as np

from edgeflownas.errors import UserError
from edgeflownas.nas.search_space import SearchSpace
from edgeflownas.network.initial_weights import option_kernels

ROUNDING = 1e-6
"""A relative change below this counts as none."""


def option_weight_changes(
    arrays: Mapping[str, np.ndarray], space: SearchSpace, init_neurons: int, seed: int
) -> dict[str, float]:
    """Per option with kernels (`EB0 option 1`) the smallest relative change of them since the start.

    That is the norm of the difference over the norm of the initial kernel.

    Args:
        arrays: of a checkpoint; weights are `weights.<name>`.

    Raises:
        UserError: a kernel is missing or of another shape.
    """
    smallest = {}
    for block, option, kernels in option_kernels(space, init_neurons, seed):
        changes = []
        for name, initial in kernels.items():
            now = arrays.get(f"weights.{name}")
            if now is None or now.shape != initial.shape:
                raise UserError(f"the checkpoint has no weights.{name} of shape {initial.shape}")
            changes.append(float(np.linalg.norm(now - initial) / np.linalg.norm(initial)))
        if changes:
            smallest[f"{block} option {option}"] = min(changes)
    return smallest
