"""Networks for tests that compare ways to compute the same."""

from typing import Any

from edgeflownas.nas.search_space import SearchSpace
from edgeflownas.network.flow_network import FlowNetwork


def started_network(space: SearchSpace, width: int, seed: int = 1, rewritten: bool | None = None) -> Any:
    """A network whose residual blocks do something: before training they are the identity.

    With their last scale at 0, no test could tell depths apart, and no gradient would reach their convolutions.
    """
    network = FlowNetwork(space, width, seed=seed, rewritten=rewritten)
    for weight in network.trainable_variables:
        if weight.name.endswith(".norm1.gamma"):
            weight.assign([1.0] * weight.shape[0])
    return network
