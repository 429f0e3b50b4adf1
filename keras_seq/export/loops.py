"""How recurrent layers run in an export: as loops that every runtime has."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from keras_seq.layers.attention import SelfAttentionBlock
from keras_seq.layers.padding import reverse_valid_steps, zero_padding
from keras_seq.layers.paths import run_keras
from keras_seq.layers.recurrent import RecurrentEncoder

Tensor = Any

# Most steps that are written out one after another.
MOST_STEPS = 512


@contextmanager
def portable_loops(model: keras.Model, unroll: bool = False) -> Iterator[None]:
    """Makes the layers of a network take a way that every runtime has.

    GPU kernels and our own loops stay out of what is traced within, whatever devices
    this process has; sums stay sums.

    Args:
        model: The network.
        unroll: Whether steps are written out one after another, as many as there are,
            instead of in a loop.
    """
    import tensorflow as tf

    encoders = [
        layer
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, RecurrentEncoder)
    ]
    blocks = [
        layer
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, SelfAttentionBlock)
    ]
    # Of a batch of one Keras 3.15 takes `(1, steps, 1)` for a bias of channels that
    # come first, and adds it by an operation that LiteRT's converter of TensorFlow
    # 2.21 cannot transpose.
    sums = [
        operation
        for part in model._flatten_layers()
        for operation in getattr(part, "operations", ())
        if type(operation).__name__ == "Add"
    ]
    for operation in sums:
        operation.call = tf.add
    activations = [block.expand.activation for block in blocks]
    for block in blocks:
        block.expand.activation = _gelu
    before = [encoder._run_layer for encoder in encoders]
    for encoder in encoders:
        encoder._run_layer = _run_unrolled if unroll else _run_plain
    try:
        yield
    finally:
        for operation in sums:
            del operation.call
        for encoder, run in zip(encoders, before, strict=True):
            encoder._run_layer = run
        for block, activation in zip(blocks, activations, strict=True):
            block.expand.activation = activation


def _gelu(x: Tensor) -> Tensor:
    """Keras's own is made of `erfc`, which tf2onnx 1.17 does not know."""
    return 0.5 * x * (1.0 + ops.erf(x * 0.5**0.5))


def _run_plain(
    layer: keras.layers.Layer,
    inputs: Tensor,
    lengths: Tensor | None,
    initial_state: list[Tensor] | None = None,
    *,
    reverse: bool,
    return_state: bool,
    training: Any,
) -> tuple[Tensor, list[Tensor]]:
    """Keras's own layer as a loop, of which tf2onnx knows LSTM's as one operator.

    Keras does not give the last states of rows that end early, so a loop of ours does.
    """
    if return_state:
        return _run_steps(
            _loop, layer, inputs, lengths, initial_state, reverse, return_state
        )
    before = getattr(layer, "use_cudnn", None)
    if before is not None:  # LSTM and GRU would choose a GPU kernel where there is one
        layer.use_cudnn = False
    try:
        return run_keras(
            layer, inputs, lengths, initial_state, reverse, return_state, training
        )
    finally:
        if before is not None:
            layer.use_cudnn = before


def _run_unrolled(
    layer: keras.layers.Layer,
    inputs: Tensor,
    lengths: Tensor | None,
    initial_state: list[Tensor] | None = None,
    *,
    reverse: bool,
    return_state: bool,
    training: Any,
) -> tuple[Tensor, list[Tensor]]:
    """The cell of a Keras layer step by step; arguments as of `run_layer`."""
    return _run_steps(
        _unroll, layer, inputs, lengths, initial_state, reverse, return_state
    )


def _run_steps(
    repeat: Callable,
    layer: keras.layers.Layer,
    inputs: Tensor,
    lengths: Tensor | None,
    states: list[Tensor] | None,
    reverse: bool,
    return_state: bool,
) -> tuple[Tensor, list[Tensor]]:
    def turn(x: Tensor) -> Tensor:
        if not reverse:
            return x
        return ops.flip(x, 1) if lengths is None else reverse_valid_steps(x, lengths)

    def step(index: Any, rows: Tensor, states: list[Tensor]) -> Any:
        output, after = layer.cell(rows, states, training=False)
        after = list(after) if isinstance(after, list | tuple) else [after]
        if lengths is not None:  # a row that has ended keeps its states
            valid = lengths[:, None] > index
            after = [
                ops.where(valid, new, old)
                for new, old in zip(after, states, strict=True)
            ]
        return output, after

    sizes = layer.cell.state_size
    sizes = sizes if isinstance(sizes, list | tuple) else [sizes]
    if states is None:
        rows = ops.shape(inputs)[0]
        states = [ops.zeros((rows, size), inputs.dtype) for size in sizes]
    if lengths is not None:
        inputs = zero_padding(inputs, lengths)
    hidden, states = repeat(step, turn(inputs), states)
    hidden = turn(hidden)  # (batch, time, units)
    if lengths is not None:
        hidden = zero_padding(hidden, lengths)
    return hidden, states if return_state else []


def _unroll(step: Callable, inputs: Tensor, states: list[Tensor]) -> Any:
    """As many steps one after another as there are: all of them are in the graph."""
    outputs = []
    for index in range(inputs.shape[1]):
        output, states = step(index, inputs[:, index], states)
        outputs.append(output)
    return ops.stack(outputs, axis=1), states


def _loop(step: Callable, inputs: Tensor, states: list[Tensor]) -> Any:
    """The same in a loop of TensorFlow's."""
    import tensorflow as tf

    by_time = tf.transpose(inputs, (1, 0, 2))  # (time, batch, features)
    count = tf.shape(by_time)[0]
    units = states[0].shape[-1]
    array = tf.TensorArray(inputs.dtype, size=count, element_shape=(None, units))
    # A state may be a constant for the first step, and a batch of any size after.
    shapes = [tf.TensorShape((None, state.shape[-1])) for state in states]

    def body(index: Tensor, array: Any, *states: Tensor) -> Any:
        output, after = step(index, by_time[index], list(states))
        return index + 1, array.write(index, output), *after

    _, array, *states = tf.while_loop(
        lambda index, *_: index < count,
        body,
        (tf.constant(0), array, *states),
        shape_invariants=(tf.TensorShape(()), tf.TensorShape(None), *shapes),
    )
    return tf.transpose(array.stack(), (1, 0, 2)), states
