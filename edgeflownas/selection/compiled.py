"""A function of backend tensors, compiled by the backend: once for each shape of its arguments."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from edgeflownas.training.supernet_model import jit_compile


def compiled(function: Callable[..., Any], variables: Sequence[Any] = ()) -> Callable[..., Any]:
    """`function`, which may read Keras `variables`, compiled; arrays and tensors in, tensors out.

    Keras itself compiles whole models, and returns NumPy arrays: a copy of every activation of the tree.
    """
    if keras.backend.backend() == "jax":
        import jax

        @jax.jit
        def run(values: list[Any], *arguments: Any) -> Any:
            # Read directly, the weights would become constants of the program.
            with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
                return function(*arguments)

        return lambda *arguments: run([variable.value for variable in variables], *arguments)
    import tensorflow as tf

    compiled_by_tensorflow: Callable[..., Any] = tf.function(function, autograph=False, jit_compile=jit_compile())
    return compiled_by_tensorflow
