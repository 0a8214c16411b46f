"""Trainable parameters and multiply-accumulates, counted from the stages without building a graph."""

import numpy as np

from edgeflownas.nas.search_space import ArchCode, SearchSpace
from edgeflownas.network.stages import Stage, network_stages, size_at


def subnet_cost(space: SearchSpace, code: ArchCode, height: int, width: int, init_neurons: int) -> dict[str, int]:
    """Cost of one subnet on one `height` × `width` input.

    Returns:
        `params`: trainable parameters (kernels, and scale and offset of the batch norms that the subnet passes).
        `macs`: multiply-accumulates of the convolutions, every output pixel counted with the whole kernel.
    """
    params = macs = 0
    for stage in network_stages(space, init_neurons):
        option_params, option_macs = option_cost(stage, 0 if stage.digit is None else code[stage.digit], height, width)
        params += option_params
        macs += option_macs
    return {"params": params, "macs": macs}


def space_costs(space: SearchSpace, height: int, width: int, init_neurons: int) -> dict[str, np.ndarray]:
    """`subnet_cost` of every subnet: `params` and `macs`, each (subnets,) int64, in lexicographic order of codes."""
    counts = [len(block.options) for block in space.blocks]
    totals = np.zeros((2, *counts), np.int64)
    for stage in network_stages(space, init_neurons):
        costs = np.array([option_cost(stage, option, height, width) for option in range(len(stage.options))])
        shape = [1] * len(counts)
        if stage.digit is not None:
            shape[stage.digit] = counts[stage.digit]
        totals += costs.T.reshape(2, *shape)
    return {"params": totals[0].ravel(), "macs": totals[1].ravel()}


def option_cost(stage: Stage, option: int, height: int, width: int) -> tuple[int, int]:
    """Parameters and multiply-accumulates of a stage with one of its options, on a `height` × `width` input."""
    out_height, out_width = size_at(stage.scale, height, width)
    weights = _kernel_weights(stage, option)
    params = weights + 2 * stage.filters_out * (stage.option_norms(option) + stage.shared_norms)
    return params, weights * out_height * out_width


def supernet_params(space: SearchSpace, init_neurons: int) -> int:
    """Trainable parameters of the supernet: every option of every stage, shared batch norms once."""
    params = 0
    for stage in network_stages(space, init_neurons):
        options = range(len(stage.options))
        params += sum(_kernel_weights(stage, option) for option in options)
        params += 2 * stage.filters_out * (sum(stage.option_norms(option) for option in options) + stage.shared_norms)
    return params


def _kernel_weights(stage: Stage, option: int) -> int:
    return sum(c.kernel * c.kernel * c.filters_in * c.filters_out for c in stage.convolutions(option).values())
