"""Random numbers as pure functions: one Philox stream per (seed, purpose, index), with no state to save."""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream is for, so that no two uses of one seed share numbers. Values never change."""

    ORDER = 1
    CROP = 2
    SCENE_TRAIN = 3
    SCENE_VAL = 4
    AUGMENT = 5
    NOISE = 6
    MIXTURE = 7


def philox(seed: int, purpose: Purpose, index: int) -> np.random.Philox:
    """The bit generator at the start of its stream.

    `random_raw` of it is fixed by the algorithm (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011);
    distributions that numpy builds on top may change between numpy versions.

    Args:
        seed, index: 0 to 2^64 − 1.
    """
    # The index sits in the counter's highest word; a stream only ever advances the lowest.
    return np.random.Philox(
        key=np.array([seed, purpose], dtype=np.uint64), counter=np.array([0, 0, 0, index], dtype=np.uint64)
    )
