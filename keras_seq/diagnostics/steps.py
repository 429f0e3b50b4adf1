"""One recurrent layer, run so that its states can be looked at and emptied."""

from typing import Any

import keras
from keras import ops

from keras_seq.layers.loops import scan_steps
from keras_seq.layers.padding import zero_padding
from keras_seq.layers.paths import run_layer
from keras_seq.training.autodiff import value_and_gradients

Tensor = Any


def pull_states(
    layer: keras.layers.Layer,
    weights: list[Tensor],
    inputs: Tensor,
    valid: Tensor,
    initial: list[Tensor],
    upstream: Tensor,
    *,
    last: bool,
    repeats: int,
) -> list[Tensor]:
    """Norms of vector-Jacobian products with the states after every step.

    A nudge of zero is added to each state after each step; the gradient with respect
    to it is that with respect to the state. The steps are those of Keras's cell, which
    the backend differentiates: nothing of our own backward pass is used.

    Args:
        layer: SimpleRNN, LSTM or GRU, built.
        weights: Values of the cell's weights.
        inputs: `(time, batch, features)`; all rows end at the last step.
        valid: `(time, batch, 1)`; 1, or 0 before a row's first step.
        initial: State before the first step, each `(batch, units)`.
        upstream: The vectors: of `h` at every step, `(time, batch * repeats, units)`,
            or of the last `h`, `(batch * repeats, units)`.
        last: Which of the two.
        repeats: Vectors for each row.

    Returns:
        For each state, `(time, batch * repeats)`.
    """
    inputs, valid = (ops.repeat(x, repeats, axis=1) for x in (inputs, valid))
    initial = [ops.repeat(state, repeats, axis=0) for state in initial]
    shape = (*inputs.shape[:2], layer.units)
    nudges = [ops.zeros(shape, inputs.dtype) for _ in initial]

    def step(states: list[Tensor], rows: tuple[Tensor, ...]) -> Any:
        now, keep, *nudges = rows
        keep = keep > 0
        _, after = layer.cell(now, list(states), training=False)
        after = [
            ops.where(keep, new + nudge, old)
            for new, nudge, old in zip(after, nudges, states, strict=True)
        ]
        return (
            after,
            after,
        )  # keras 3.15 keeps on TensorFlow only what is like the carry

    def objective(nudges: list[Tensor]) -> tuple[Tensor, None]:
        rows = (inputs, valid, *nudges)
        states, kept = scan_steps(step, initial, rows)
        hidden = states[0] if last else kept[0]
        return ops.sum(hidden * upstream), None

    pairs = zip(layer.cell.trainable_variables, weights, strict=True)
    with keras.StatelessScope(pairs):
        gradients = value_and_gradients(objective, nudges)[2]
    return [_norm(gradient) for gradient in gradients]


def _norm(vectors: Tensor) -> Tensor:
    """L2 norm over the last axis, also where squares leave float32's range."""
    vectors = ops.cast(vectors, keras.backend.result_type(vectors.dtype, "float32"))
    largest = ops.max(ops.abs(vectors), axis=-1, keepdims=True)
    scaled = vectors / ops.where(largest > 0, largest, ops.ones_like(largest))
    return largest[..., 0] * ops.sqrt(ops.sum(ops.square(scaled), axis=-1))


def run_emptied(
    layer: keras.layers.Layer,
    inputs: Tensor,
    lengths: Tensor | None,
    output: Tensor,
    lags: Tensor,
    reverse: bool,
) -> Tensor:
    """A layer's outputs if the state after the step at a lag were emptied.

    The later steps run again, as rows of their own; outputs at the step and before it
    stay.

    Args:
        layer: SimpleRNN, LSTM or GRU, built.
        inputs: `(batch, time, features)`, right-padded.
        lengths: int32, `(batch,)`; None: all steps are valid.
        output: What the layer gave, `(batch, time, units)`.
        lags: int32, `(batch,)`.
        reverse: Whether rows run backward from their last valid step.

    Returns:
        `(batch, time, units)`.
    """
    time = inputs.shape[1]
    if lengths is None:
        lengths = ops.full_like(lags, time)
    start = ops.zeros_like(lags) if reverse else ops.maximum(lengths - lags, 0)
    steps = ops.arange(time, dtype="int32")
    later = ops.clip(steps + start[:, None], 0, time - 1)[..., None]
    again, _ = run_layer(
        layer,
        zero_padding(ops.take_along_axis(inputs, later, axis=1), lags),
        ops.minimum(lags, lengths),
        reverse=reverse,
        return_state=False,
        training=False,
    )
    back = ops.clip(steps - start[:, None], 0, time - 1)[..., None]
    again = ops.take_along_axis(again, back, axis=1)
    anew = (steps < lags[:, None]) if reverse else (steps >= start[:, None])
    return ops.where(anew[..., None], again, output)
