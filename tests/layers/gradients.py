"""Gradients by the backend's own differentiation, one way to call on each."""

import keras
import numpy as np


def gradients(function, variables):
    """d function() / d variables as NumPy arrays; `function` returns a scalar."""
    if keras.backend.backend() == "jax":
        import jax

        def stateless(values):
            with keras.StatelessScope(zip(variables, values, strict=True)):
                return function()

        grads = jax.grad(stateless)([v.value for v in variables])
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = function()
        grads = tape.gradient(value, [v.value for v in variables])
    return [np.asarray(keras.ops.convert_to_numpy(g)) for g in grads]
