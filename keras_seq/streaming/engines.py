"""Keras networks as plain functions of NumPy arrays, a call of which costs little."""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_seq.streaming.rows import Array

# Rows at a time: more would only take more memory, and in NumPy leave the cache.
MOST_ROWS, _NUMPY_ROWS = 1024, 256


def pad_batch(array: Array, size: int) -> Array:
    """Repeats the first row until there are `size`: any row will do."""
    missing = size - len(array)
    return np.concatenate([array, np.repeat(array[:1], missing, axis=0)])


def padded(run: Callable[[dict[str, Array]], Array]) -> Any:
    """Runs a batch padded to a power of two.

    A network compiles once for each shape, so that there are eleven at most.
    """

    def answer(inputs: dict[str, Array]) -> Array:
        count = len(next(iter(inputs.values())))
        size = 1 << (count - 1).bit_length()
        batch = {name: pad_batch(array, size) for name, array in inputs.items()}
        return run(batch)[:count]

    return answer


def in_parts(
    run: Callable[[dict[str, Array]], Array], inputs: dict[str, Array], most: int
) -> Array:
    """Runs so many rows at a time."""
    count = len(next(iter(inputs.values())))
    if count <= most:
        return run(inputs)
    parts = [
        run({name: array[start : start + most] for name, array in inputs.items()})
        for start in range(0, count, most)
    ]
    return np.concatenate(parts)


def numpy_forward(network: Any) -> Callable[[dict[str, Array]], Array]:
    """A NumPy network's answer, so many rows at a time that they stay in the cache.

    Args:
        network: From a dict of arrays to an array.
    """
    return lambda inputs: in_parts(network, inputs, _NUMPY_ROWS)


def keras_forward(model: Any) -> Callable[[dict[str, Array]], Array]:
    """A Keras model's answer to a dict of arrays, compiled.

    `model.predict_on_batch` costs milliseconds a call, most of them around the network.

    Args:
        model: A `keras.Model` with a dict of inputs.
    """
    import keras

    from keras_seq.training.autodiff import compiled_call

    if keras.backend.backend() == "tensorflow":
        run = _traced_once(model)
    elif keras.backend.backend() == "jax":
        run = padded(compiled_call(model))
    else:
        run = model.predict_on_batch
    return lambda inputs: in_parts(run, inputs, MOST_ROWS)


def _traced_once(model: Any) -> Callable[[dict[str, Array]], Array]:
    """Of TensorFlow, which needs no shapes: any number of rows is one trace."""
    import tensorflow as tf

    shapes = {
        name: tf.TensorSpec([None, *given.shape[1:]], given.dtype)
        for name, given in model.input.items()
    }
    run = tf.function(
        lambda inputs: model(inputs, training=False),
        input_signature=[shapes],
        autograph=False,
    )
    return lambda inputs: run(inputs).numpy()
