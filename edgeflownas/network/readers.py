"""Several readers of one tensor, whose gradients are summed in a fixed order.

TensorFlow adds what flows back from three and more readers with one `AddN`, which begins with whichever buffer is
free at that moment: the last bit of the sum depended on the threads. A sum of two has only one order.
"""

from typing import Any

from keras import ops


def readers(x: Any, count: int) -> list[Any]:
    """x once for each of `count` readers; going back, their gradients are added two at a time, the last ones first."""
    copies = []
    for _ in range(count - 1):
        copies.append(ops.copy(x))
        x = ops.copy(x)
    return [*copies, x]
