"""Adam over one flat vector, with L2 in the gradient and clipping; what it observed is kept for the trace.

Keras's own Adam builds some 60 operations for each of the 181 weights, which took more than half of the time to
trace a training step. One vector needs as many operations as one weight.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

# The clipped norm is summed in float32 again, over millions of values: aim this much below the bound.
CLIP_MARGIN = 5e-7

# The kernel for which `train.lr` is meant, in taps: 3×3.
REFERENCE_AREA = 9


def head_rate(kernel: Sequence[int]) -> float:
    """By what a head's learning rate is multiplied, so that its flow moves as far per step whatever its kernel's size.

    Adam moves every weight by about the learning rate, so without this the output moves by as much more as the kernel
    has more taps; no batch norm follows that would take it back. Adam's rate of an output layer goes with 1 / fan-in
    (Yang & Hu et al., arXiv:2203.03466).

    Args:
        kernel: its shape, (height, width, channels in, channels out).
    """
    return REFERENCE_AREA / (kernel[0] * kernel[1])


class FlatAdam(keras.optimizers.Optimizer):
    """Adam (Kingma & Ba, arXiv:1412.6980) over the mean gradient of a fair cycle.

    The gradient of the L2 penalty, `weight_decay * w` for every kernel, is added before clipping. `decoupled` decay
    (AdamW, Loshchilov & Hutter, arXiv:1711.05101) takes `lr * weight_decay * w` off instead: 4e-5 × 1e-4 does nothing.
    `passes` backward passes make one update, and `iterations` counts updates.

    `rates` holds a factor of the learning rate for each variable (`head_rate`).

    A gradient that is not finite leaves weights, moments and `iterations` unchanged; `global_norms` shows it.

    After each call: `option_gradients` (options,) holds the squared norm of the loss gradient that reached each
    option in the last backward pass (without L2, which reaches all); `global_norms` (2,) the norm of the whole
    gradient before and after clipping, at the last update. `weightless` (options,) marks the options without weights,
    which no gradient can reach.
    """

    def __init__(
        self,
        learning_rate: float,
        weight_decay: float,
        clip_norm: float,
        option_of: Sequence[int | None],
        options: int,
        passes: int = 1,
        decoupled: bool = False,
        rates: Sequence[float] | None = None,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
    ) -> None:
        """option_of: for each trainable variable, the index of its option in `option_gradients`, or None.

        options: how many options there are, those without weights (a skip) included.
        rates: for each trainable variable, what the learning rate is multiplied by; None is 1 for all.
        """
        super().__init__(learning_rate=learning_rate)
        self.weight_decay = weight_decay
        self.decoupled = decoupled
        self.clip_norm = clip_norm
        self.option_of = list(option_of)
        self.options = options
        self.passes = passes
        self.rates = [1.0] * len(self.option_of) if rates is None else list(rates)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def facts(self) -> dict[str, Any]:
        """Its name and constants, as in the manifest."""
        constants = {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
        return {"name": "Adam", **constants, "smallest_rate": min(self.rates)}

    def build(self, variables: list[Any]) -> None:
        """Create the moments (one flat vector each, in the order of `variables`) and the observed values."""
        if not len(variables) == len(self.option_of) == len(self.rates):
            entries = f"option_of has {len(self.option_of)} entries and rates {len(self.rates)}"
            raise ValueError(f"{entries} for {len(variables)} variables")
        super().build(variables)
        self._sizes = [int(np.prod(variable.shape)) for variable in variables]
        length = sum(self._sizes)
        self._spans = self._option_spans()
        self.weightless = np.array([not spans for spans in self._spans], dtype=bool)
        self.moment_1 = self.add_variable(shape=(length,), name="moment_1")
        self.moment_2 = self.add_variable(shape=(length,), name="moment_2")
        self.option_gradients = self.add_variable(shape=(len(self._spans),), name="option_gradients")
        self.global_norms = self.add_variable(shape=(2,), name="global_norms")
        if self.passes > 1:
            self.passes_done = self.add_variable(shape=(), dtype="int32", name="passes_done")
            self.accumulated = self.add_variable(shape=(length,), name="accumulated")

    def _option_spans(self) -> list[list[tuple[int, int]]]:
        """Per option, the stretches of the flat vector that its variables fill; none where it has no weights."""
        ends = np.cumsum(self._sizes).tolist()
        spans: list[list[tuple[int, int]]] = [[] for _ in range(self.options)]
        for option, size, end in zip(self.option_of, self._sizes, ends, strict=True):
            if option is None:
                continue
            mine = spans[option]
            if mine and mine[-1][1] == end - size:
                mine[-1] = (mine[-1][0], end)
            else:
                mine.append((end - size, end))
        return spans

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Take the gradient of one backward pass; after `passes` of them, update the variables."""
        self.apply_flat(self.flat(grads))

    def flat(self, grads: Any) -> Any:
        """The gradients of all variables as one vector."""
        grads = list(grads)
        if len(grads) != len(self._sizes) or any(gradient is None for gradient in grads):
            raise ValueError("every trainable variable must receive a gradient")
        return _flat(grads)

    def apply_flat(self, gradient: Any) -> None:
        """`apply`, with the gradients as one vector."""
        self.option_gradients.assign(
            ops.stack(
                [
                    sum((_squared_norm(gradient[start:end]) for start, end in spans), np.float32(0.0))
                    for spans in self._spans
                ]
            )
        )
        if self.passes == 1:
            self._update(gradient)
            return
        total = self.accumulated + gradient
        # A branch that returns values, because JAX cannot assign variables within one.
        state = [self._iterations, self.moment_1, self.moment_2, self.global_norms, *self._trainable_variables]
        is_last = ops.equal(self.passes_done, self.passes - 1)
        outcome = ops.cond(
            is_last,
            lambda: [*self._step(total / self.passes), ops.zeros_like(total)],
            lambda: [*(ops.convert_to_tensor(variable) for variable in state), total],
        )
        for variable, value in zip([*state, self.accumulated], outcome, strict=True):
            variable.assign(value)
        self.passes_done.assign(ops.where(is_last, 0, ops.convert_to_tensor(self.passes_done) + 1))

    def _update(self, gradient: Any) -> None:
        state = [self._iterations, self.moment_1, self.moment_2, self.global_norms, *self._trainable_variables]
        for variable, value in zip(state, self._step(gradient), strict=True):
            variable.assign(value)

    def _step(self, gradient: Any) -> list[Any]:
        """New values of iterations, both moments, the norms and all variables after one update."""
        weights = [ops.convert_to_tensor(variable) for variable in self._trainable_variables]
        decayed = [
            weight if "kernel" in variable.name else np.zeros(weight.shape, np.float32)
            for variable, weight in zip(self._trainable_variables, weights, strict=True)
        ]
        decay = self.weight_decay * _flat(decayed)
        if not self.decoupled:
            gradient = gradient + decay
        before = ops.sqrt(_squared_norm(gradient))
        is_finite = ops.isfinite(before)
        # One branch here and factors of 0 below: a choice per element, of millions, took a hundredth of the step.
        factor = ops.minimum(1.0, self.clip_norm * (1.0 - CLIP_MARGIN) / ops.maximum(before, 1e-30))
        clipped = ops.cond(is_finite, lambda: gradient * factor, lambda: ops.zeros_like(gradient))
        after = ops.where(is_finite, ops.sqrt(_squared_norm(clipped)), before)

        iterations = self._iterations + ops.cast(is_finite, self._iterations.dtype)
        count = ops.cast(ops.maximum(iterations, 1), "float32")
        old_1, old_2 = ops.convert_to_tensor(self.moment_1), ops.convert_to_tensor(self.moment_2)
        moment_1 = old_1 + (clipped - old_1) * ops.where(is_finite, 1.0 - self.beta_1, 0.0)
        moment_2 = old_2 + (ops.square(clipped) - old_2) * ops.where(is_finite, 1.0 - self.beta_2, 0.0)
        corrections = ops.sqrt(1.0 - ops.power(self.beta_2, count)) / (1.0 - ops.power(self.beta_1, count))
        rate = ops.where(is_finite, self.learning_rate * corrections, 0.0)
        change = moment_1 * rate / (ops.sqrt(moment_2) + self.epsilon)
        if self.decoupled:
            change = change + decay * ops.where(is_finite, self.learning_rate, 0.0)
        changes = ops.split(change, np.cumsum(self._sizes)[:-1].tolist())
        updated = [
            weight - _shaped(part if factor == 1.0 else part * factor, weight.shape)
            for weight, part, factor in zip(weights, changes, self.rates, strict=True)
        ]
        return [iterations, moment_1, moment_2, ops.stack([before, after]), *updated]


def _flat(values: Sequence[Any]) -> Any:
    return ops.concatenate([_shaped(value, (-1,)) for value in values])


def _shaped(value: Any, shape: tuple[int, ...]) -> Any:
    # Most weights are vectors already, and a graph with fewer operations starts sooner.
    return value if len(value.shape) == len(shape) == 1 else ops.reshape(value, shape)


def _squared_norm(value: Any) -> Any:
    return ops.sum(ops.square(value))
