"""Adam with L2 in the gradient, an exact bound on its norm, and eyes: what it saw is kept for the trace."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

# The clipped norm is summed in float32 again, over millions of values: aim this much below the bound.
CLIP_MARGIN = 5e-7


def squared_norms(values: Sequence[Any]) -> list[Any]:
    """Sum of squares of each array."""
    return [ops.sum(ops.square(value)) for value in values]


class ObservedAdam(keras.optimizers.Adam):
    """Adam (Kingma & Ba, arXiv:1412.6980) over the mean gradient of a fair cycle.

    The gradient of the L2 penalty, `l2 * w` for every kernel, is added before clipping. (Decoupled decay would be
    multiplied by the learning rate: 4e-5 × 1e-4 does nothing.) `passes` backward passes make one update.

    After each call: `option_gradients` (options,) holds the squared norm of the loss gradient that reached each
    option in the last backward pass (without L2, which reaches all); `global_norms` (2,) the norm of the whole
    gradient before and after clipping, at the last update.
    """

    def __init__(
        self, learning_rate: float, l2: float, clip_norm: float, option_of: Sequence[int | None], passes: int = 1
    ) -> None:
        """option_of: for each trainable variable, the index of its option in `option_gradients`, or None."""
        super().__init__(learning_rate=learning_rate, gradient_accumulation_steps=passes if passes > 1 else None)
        self.l2 = l2
        self.clip_norm = clip_norm
        self.option_of = list(option_of)

    def build(self, variables: list[Any]) -> None:
        """Create Adam's variables and the observed ones."""
        if len(variables) != len(self.option_of):
            raise ValueError(f"option_of has {len(self.option_of)} entries for {len(variables)} variables")
        super().build(variables)
        options = {option for option in self.option_of if option is not None}
        self.option_gradients = self.add_variable(shape=(len(options),), name="option_gradients")
        self.global_norms = self.add_variable(shape=(2,), name="global_norms")

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Observe the gradient of one backward pass, then let Keras accumulate or update."""
        grads = list(grads)
        if not self.built:
            raise ValueError("build the optimizer on the model's trainable variables first")
        if len(grads) != len(self.option_of) or any(gradient is None for gradient in grads):
            raise ValueError("every trainable variable must receive a gradient")
        membership = np.zeros((len(grads), self.option_gradients.shape[0]), np.float32)
        for row, option in enumerate(self.option_of):
            if option is not None:
                membership[row, option] = 1.0
        self.option_gradients.assign(ops.matmul(ops.stack(squared_norms(grads)), membership))
        super().apply(grads, trainable_variables)

    def _clip_gradients(self, grads: list[Any]) -> list[Any]:
        """Keras calls this once per update, with the accumulated mean gradient."""
        total = [
            gradient + self.l2 * variable if "kernel" in variable.name else gradient
            for gradient, variable in zip(grads, self._trainable_variables, strict=True)
        ]
        before = ops.sqrt(sum(squared_norms(total)))
        scale = ops.minimum(1.0, self.clip_norm * (1.0 - CLIP_MARGIN) / ops.maximum(before, 1e-30))
        clipped = [gradient * scale for gradient in total]
        self.global_norms.assign(ops.stack([before, ops.sqrt(sum(squared_norms(clipped)))]))
        return clipped
