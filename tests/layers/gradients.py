"""Gradients by the backend's own differentiation, one way to call on each."""

import keras
import numpy as np


def gradients(function, variables):
    """d function() / d variables as NumPy arrays; `function` returns a scalar."""
    return values_and_gradients(lambda: (function(), None), variables)[1]


def values_and_gradients(function, variables):
    """Of `function() -> (scalar, others)`: the others, and d scalar / d variables.

    Returns:
        Nested NumPy arrays. JAX compiles the whole, which takes less time than to
        compile each of its loops by itself.
    """
    if keras.backend.backend() == "jax":
        import jax

        def stateless(values):
            with keras.StatelessScope(zip(variables, values, strict=True)):
                return function()

        gradient = jax.grad(stateless, has_aux=True)
        run = jax.jit(gradient, compiler_options={"xla_backend_optimization_level": 0})
        found, others = run([v.value for v in variables])
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value, others = function()
        found = tape.gradient(value, [v.value for v in variables])
    as_numpy = keras.tree.map_structure(keras.ops.convert_to_numpy, (others, found))
    return keras.tree.map_structure(np.asarray, as_numpy)
