"""Weights and optimizer as the arrays of a checkpoint, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops

from edgeflownas.errors import UserError
from edgeflownas.network.flow_network import FlowNetwork


def checkpoint_arrays(network: FlowNetwork, optimizer: Any) -> dict[str, np.ndarray]:
    """The trainable weights by name, and the variables of the optimizer by number."""
    arrays = {f"weights.{v.name}": ops.convert_to_numpy(v) for v in network.trainable_variables}
    for index, variable in enumerate(optimizer.variables):
        arrays[f"optimizer.{index}"] = ops.convert_to_numpy(variable)
    return arrays


def restore_weights(network: FlowNetwork, arrays: Mapping[str, np.ndarray], where: str) -> None:
    """Load a checkpoint's weights into a network of the same space and width.

    Raises:
        UserError: a weight is missing, left over, or of another shape.
    """
    variables = network.trainable_variables
    names = {f"weights.{variable.name}" for variable in variables}
    extra = sorted(name for name in arrays if name.startswith("weights.") and name not in names)
    if extra:
        raise UserError(f"{where}: has weights of another search space: {', '.join(extra[:3])}")
    for variable in variables:
        _assign(variable, arrays, f"weights.{variable.name}", where)


def restore_optimizer(optimizer: Any, arrays: Mapping[str, np.ndarray], where: str) -> None:
    """Load a checkpoint's optimizer into one of the same space, width and execution.

    Raises:
        UserError: a variable is missing or of another shape.
    """
    for index, variable in enumerate(optimizer.variables):
        _assign(variable, arrays, f"optimizer.{index}", where)


def _assign(variable: Any, arrays: Mapping[str, np.ndarray], name: str, where: str) -> None:
    value = arrays.get(name)
    if value is None:
        raise UserError(f"{where}: has no {name}; it is of another search space or execution")
    if tuple(value.shape) != tuple(variable.shape):
        raise UserError(f"{where}: {name} has shape {value.shape}, expected {tuple(variable.shape)}")
    variable.assign(value)
