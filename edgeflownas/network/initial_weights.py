"""The initial value of every weight, as a pure function of seed and name. Keras-free, so that gates can compare."""

import hashlib
from collections.abc import Iterator

import numpy as np

from edgeflownas.nas.search_space import SearchSpace
from edgeflownas.network.stages import Stage, network_stages

# Heads start near zero flow and unit uncertainty. At gain 1 the first flows are ± 40 px, and confident: the loss
# starts at 30, the gradient norm at 700, and every step is clipped.
HEAD_GAIN = 0.1

# The scale of a residual block's last batch norm: the block starts as the identity (Goyal et al., arXiv:1706.02677,
# section 5.1). So subnets of any depth start as the same function. At 1, blocks of random weights make each depth
# another function from the first step, and the supernet stays at predicting no motion.
RESIDUAL_SCALE = 0.0


def gain_of(stage: Stage) -> float:
    """By how much a stage's kernels are larger than He's."""
    return HEAD_GAIN if stage.head else 1.0


def initial_kernel(seed: int, name: str, shape: tuple[int, ...], gain: float = 1.0) -> np.ndarray:
    """A kernel before training: normal with variance gain² · 2 / fan_in (He et al., arXiv:1502.01852), float32.

    A pure function of (seed, name) drawn by NumPy, so that every backend starts from the same weights.
    """
    key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "little")
    deviation = gain * np.sqrt(2.0 / np.prod(shape[:-1]))
    values = np.random.Generator(np.random.Philox(key=key)).standard_normal(shape, dtype=np.float32)
    return (deviation * values).astype(np.float32)


def option_kernels(
    space: SearchSpace, init_neurons: int, seed: int
) -> Iterator[tuple[str, int, dict[str, np.ndarray]]]:
    """For each option of each choice block: the block's name, the option, and its initial kernels by name."""
    for stage in network_stages(space, init_neurons):
        if stage.digit is None:
            continue
        for option in range(len(stage.options)):
            kernels = {}
            for place, convolution in stage.convolutions(option).items():
                name = f"{place}.kernel"
                kernels[name] = initial_kernel(seed, name, convolution.shape, gain_of(stage))
            yield stage.name, option, kernels
