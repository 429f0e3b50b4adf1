"""Keras networks as plain functions of NumPy arrays, a call of which costs little."""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_seq.streaming.rows import Array

# Rows at a time: more would only take more memory.
MOST_ROWS = 1024


def pad_batch(array: Array, size: int) -> Array:
    """Repeats the first row until there are `size`: any row will do."""
    missing = size - len(array)
    return np.concatenate([array, np.repeat(array[:1], missing, axis=0)])


def in_batches(
    run: Callable[[dict[str, Array]], Array], inputs: dict[str, Array]
) -> Array:
    """Runs at most `MOST_ROWS` rows at a time, padded to a power of two.

    A network compiles once for each shape, so that there are eleven at most.
    """
    count = len(next(iter(inputs.values())))
    parts = []
    for start in range(0, count, MOST_ROWS):
        rows = min(count - start, MOST_ROWS)
        size = 1 << (rows - 1).bit_length()
        batch = {
            name: pad_batch(array[start : start + rows], size)
            for name, array in inputs.items()
        }
        parts.append(run(batch)[:rows])
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def keras_forward(model: Any) -> Callable[[dict[str, Array]], Array]:
    """A Keras model's answer to a dict of arrays, compiled.

    `model.predict_on_batch` costs milliseconds a call, most of them around the network.

    Args:
        model: A `keras.Model` with a dict of inputs.
    """
    import keras

    if keras.backend.backend() == "tensorflow":
        return _traced_once(model)
    from keras_seq.training.autodiff import compiled

    # What JAX compiles would keep the weights that it was traced with.
    pure = compiled(
        lambda trained, others, batch: model.stateless_call(
            trained, others, batch, training=False
        )[0]
    )

    def answer(batch: dict[str, Array]) -> Array:
        trained = [variable.value for variable in model.trainable_variables]
        others = [variable.value for variable in model.non_trainable_variables]
        return np.asarray(pure(trained, others, batch))

    return lambda inputs: in_batches(answer, inputs)


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

    def answer(inputs: dict[str, Array]) -> Array:
        count = len(next(iter(inputs.values())))
        parts = [
            run(
                {
                    name: array[start : start + MOST_ROWS]
                    for name, array in inputs.items()
                }
            )
            for start in range(0, count, MOST_ROWS)
        ]
        return np.concatenate([part.numpy() for part in parts])

    return answer
