"""Which sample comes when, and where it is cropped: pure functions of the seed and the position in the stream.

Training reads one endless stream of samples: pass after pass over the data, each a fresh permutation. Position p of
that stream is element p mod n of pass p div n, whatever the batch size, the epoch length and the number of threads.
"""

from functools import lru_cache

import numpy as np

from edgeflownas.data.streams import Purpose, philox


@lru_cache(maxsize=16)
def permutation(seed: int, pass_index: int, count: int) -> np.ndarray:
    """The order of pass `pass_index` over `count` samples: (count,) int64, read-only."""
    keys = philox(seed, Purpose.ORDER, pass_index).random_raw(count)
    order = np.argsort(keys, kind="stable")
    order.setflags(write=False)
    return order


def sample_at(seed: int, position: int, count: int) -> int:
    """Index of the sample at a position of the training stream: each exactly once in `count` aligned positions."""
    pass_index, within = divmod(position, count)
    return int(permutation(seed, pass_index, count)[within])


def mixed_at(seed: int, position: int, weights: tuple[int, ...]) -> tuple[int, int]:
    """Which of several sets is at a position of a mixed stream, and at which position of the set's own stream.

    In each block as long as the sum of the weights, every set comes as often as its weight says, in an order of the
    block's own.

    Args:
        weights: of the sets, at least 1 each.
    """
    if len(weights) == 1:
        return 0, position
    total = sum(weights)
    block, within = divmod(position, total)
    slots = np.repeat(np.arange(len(weights)), weights)
    order = slots[np.argsort(philox(seed, Purpose.MIXTURE, block).random_raw(total), kind="stable")]
    chosen = int(order[within])
    return chosen, block * weights[chosen] + int(np.count_nonzero(order[:within] == chosen))


def random_crop(seed: int, position: int, size: tuple[int, int], crop: tuple[int, int]) -> tuple[int, int]:
    """Top and left of the crop at a position of the training stream, uniform over all that fit.

    Args:
        size, crop: (height, width), pixels; the crop is no larger than the size.
    """
    vertical, horizontal = philox(seed, Purpose.CROP, position).random_raw(2)
    return int(vertical) % (size[0] - crop[0] + 1), int(horizontal) % (size[1] - crop[1] + 1)


def random_known_crop(seed: int, position: int, known: np.ndarray, crop: tuple[int, int]) -> tuple[int, int]:
    """As `random_crop`; but a crop in which nothing is known is put around a known pixel instead.

    Args:
        known: (H, W) bool, where the sample's flow is known: somewhere.
        crop: (height, width), pixels.
    """
    size = known.shape[0], known.shape[1]
    top, left = random_crop(seed, position, size, crop)
    if known[top : top + crop[0], left : left + crop[1]].any():
        return top, left
    # The third number of the stream whose first two place the crop.
    chosen = philox(seed, Purpose.CROP, position).random_raw(3)[2]
    pixels = np.flatnonzero(known)
    return _around(divmod(int(pixels[int(chosen) % len(pixels)]), size[1]), size, crop)


def central_known_crop(known: np.ndarray, crop: tuple[int, int]) -> tuple[int, int]:
    """As `centre_crop`; but where nothing in it is known, around the known pixel that is closest to the centre.

    Args:
        known: (H, W) bool, where the sample's flow is known: somewhere.
        crop: (height, width), pixels.
    """
    size = known.shape[0], known.shape[1]
    top, left = centre_crop(size, crop)
    if known[top : top + crop[0], left : left + crop[1]].any():
        return top, left
    rows, columns = np.nonzero(known)
    nearest = np.argmin((2 * rows - size[0] + 1) ** 2 + (2 * columns - size[1] + 1) ** 2)
    return _around((int(rows[nearest]), int(columns[nearest])), size, crop)


def _around(pixel: tuple[int, int], size: tuple[int, int], crop: tuple[int, int]) -> tuple[int, int]:
    """Top and left of the crop that has a pixel in its middle, as far as the borders allow."""
    top, left = (min(max(at - side // 2, 0), whole - side) for at, whole, side in zip(pixel, size, crop, strict=True))
    return top, left


def centre_crop(size: tuple[int, int], crop: tuple[int, int]) -> tuple[int, int]:
    """Top and left of the crop in the middle, rounded up and to the left."""
    return (size[0] - crop[0]) // 2, (size[1] - crop[1]) // 2
