"""What differs between backends: differentiating, compiling, and calling a model."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

Tensor = Any


def check_backend() -> None:
    """Raises unless the backend is TensorFlow or JAX."""
    backend = keras.backend.backend()
    if backend not in ("tensorflow", "jax"):
        raise ValueError(
            "Gradients can be looked into on TensorFlow and JAX only. "
            f"Received: KERAS_BACKEND={backend!r}"
        )


def compiled(function: Callable, xla: bool | None = None) -> Callable:
    """The same function, traced once for all arguments of equal shapes and types.

    Args:
        function: Of tensors.
        xla: Whether TensorFlow compiles it with XLA, as JAX always does: a second or
            more for each shape, for calls that are mostly overhead otherwise.
    """
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, autograph=False, jit_compile=xla)


def compiled_call(model: keras.Model, xla: bool | None = None) -> Callable[[Any], Any]:
    """The model's answer to nested arrays as nested arrays, with little around it.

    Traced once for each shape: Keras's own `predict_on_batch` lets TensorFlow forget
    shapes after the second, and takes milliseconds a call. Weights may change between
    calls; what a call would change of them is not kept. `xla` as in `compiled`.
    """
    if keras.backend.backend() != "jax":
        run = compiled(lambda inputs: model(inputs, training=False), xla)
        # Less around it than `as_numpy` has.
        return lambda inputs: keras.tree.map_structure(
            lambda tensor: tensor.numpy(), run(inputs)
        )
    import jax

    stateless = jax.jit(
        lambda trainable, others, inputs: model.stateless_call(
            trainable, others, inputs, training=False
        )[0]
    )

    def call(inputs: Any) -> Any:
        trainable = [v.value for v in model.trainable_variables]
        others = [v.value for v in model.non_trainable_variables]
        return as_numpy(stateless(trainable, others, inputs))

    return call


def value_and_gradients(
    function: Callable[[Any], tuple[Tensor, Any]], arguments: Any
) -> tuple[Tensor, Any, Any]:
    """Differentiates `function(arguments) -> (scalar, anything else)`.

    Args:
        function: Differentiable by the backend.
        arguments: Nested tensors.

    Returns:
        The scalar; what else the function gave; the gradients, nested like the
        arguments, zeros where the scalar does not depend on one.
    """
    if keras.backend.backend() == "jax":
        import jax

        run = jax.value_and_grad(function, has_aux=True)
        (value, others), gradients = run(arguments)
        return value, others, gradients
    import tensorflow as tf

    with tf.GradientTape() as tape:
        for tensor in keras.tree.flatten(arguments):
            tape.watch(tensor)
        value, others = function(arguments)
    gradients = tape.gradient(value, arguments, unconnected_gradients="zero")
    # An embedding's gradient comes in slices, one for each occurrence of a token.
    dense = keras.tree.map_structure(tf.convert_to_tensor, gradients)
    return value, others, dense


def as_numpy(nested: Any) -> Any:
    """Nested tensors as arrays of at least float32 (half precision has its own)."""

    def convert(tensor: Tensor) -> np.ndarray:
        array = np.asarray(keras.ops.convert_to_numpy(tensor))
        narrow = array.dtype.kind not in "iub" and array.dtype.itemsize < 4
        return array.astype(np.float32) if narrow else array

    return keras.tree.map_structure(convert, nested)
