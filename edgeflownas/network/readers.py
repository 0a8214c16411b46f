"""Several readers of one tensor, whose gradients are summed in a fixed order.

TensorFlow adds the gradients of three or more readers with one `AddN`, which starts with whichever buffer is free at
that moment, so that the last bit of the sum depends on the threads. A sum of two has only one order.
"""

from typing import Any

from keras import ops


def readers(x: Any, count: int) -> list[Any]:
    """x once for each of `count` readers; in the backward pass their gradients are added in pairs, last first."""
    copies = []
    for _ in range(count - 1):
        copies.append(ops.copy(x))
        x = ops.copy(x)
    return [*copies, x]
