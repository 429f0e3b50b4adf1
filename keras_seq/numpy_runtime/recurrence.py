"""Recurrent layers, step by step and over whole rows.

Weights are in Keras's layout, one list `[kernel, recurrent_kernel, bias]` for each
layer and direction, with `gates` blocks of `units` columns side by side:

    cell     gates, in this order               kernel   recurrent kernel   bias
    "rnn"    one                                (d, u)   (u, u)             (u,)
    "lstm"   input, forget, candidate, output   (d, 4u)  (u, 4u)            (4u,)
    "gru"    update, reset, candidate           (d, 3u)  (u, 3u)            (2, 3u)

All is computed in the dtype of the inputs: float32 is fast, float64 a yardstick.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_seq.errors import check_choice
from keras_seq.numpy_runtime.cells import ACTIVATIONS, CELLS, Cell, Weights

Array = np.ndarray[Any, np.dtype[Any]]


def step(
    cell: str,
    weights: Weights,
    x: Array,
    state: Sequence[Array],
    *,
    activation: str = "tanh",
) -> list[Array]:
    """Advances a layer by one time step.

    Args:
        cell: `"rnn"` (`"simple_rnn"`), `"lstm"` or `"gru"`.
        weights: Kernel, recurrent kernel and bias, in Keras's layout.
        x: `(batch, features)`.
        state: `[h]`, for an LSTM `[h, c]`; each `(batch, units)`.
        activation: `"tanh"`, `"relu"`, `"sigmoid"` or `"linear"`.

    Returns:
        The new state, in the order of `state`. Its first part, `h`, is the output.
    """
    x, weights = _check(cell, weights, x, activation)
    prepared = CELLS[cell](weights, activation)
    return prepared.advance(prepared.project(x), state)


def run(
    cell: str,
    weights: Weights,
    inputs: Array,
    lengths: Array | None = None,
    initial_state: Sequence[Array] | None = None,
    *,
    go_backwards: bool = False,
    activation: str = "tanh",
) -> tuple[Array, list[Array]]:
    """Runs one layer in one direction over right-padded rows.

    Only valid steps are computed. What the padding holds is never read.

    Args:
        cell: `"rnn"` (`"simple_rnn"`), `"lstm"` or `"gru"`.
        weights: Kernel, recurrent kernel and bias, in Keras's layout.
        inputs: Floating point, `(batch, time, features)`.
        lengths: Whole numbers, `(batch,)`, valid steps of each row; None: all.
        initial_state: `[h]`, for an LSTM `[h, c]`, each `(batch, units)`; None: zeros.
        go_backwards: Whether each row is read from its last valid step to its first.
        activation: `"tanh"`, `"relu"`, `"sigmoid"` or `"linear"`.

    Returns:
        The outputs, `(batch, time, units)`, each at the step it belongs to (in both
        directions) and zero at padding; and the final state, in the order of
        `initial_state`. A row of length 0 keeps its initial state.

    Raises:
        ValueError: If an argument is out of its range or has another shape.
    """
    inputs, weights = _check(cell, weights, inputs, activation)
    batch, time, _ = inputs.shape
    lengths = _check_lengths(lengths, batch, time)
    prepared = CELLS[cell](weights, activation)
    if initial_state is not None:
        _check_state(initial_state, [(batch, prepared.units)] * prepared.parts)
    return run_cell(prepared, inputs, lengths, initial_state, go_backwards)


def run_cell(
    cell: Cell,
    inputs: Array,
    lengths: Array | None = None,
    initial_state: Sequence[Array] | None = None,
    go_backwards: bool = False,
) -> tuple[Array, list[Array]]:
    """`run` of a prepared cell, without checks of the arguments."""
    batch, time, _ = inputs.shape
    if initial_state is None:
        zeros = np.zeros((batch, cell.units), inputs.dtype)
        initial_state = [zeros] * cell.parts
    state = [np.asarray(part, inputs.dtype) for part in initial_state]
    longest = time
    if lengths is not None and batch:
        longest = int(lengths.max())
        if longest > lengths.min():
            return _run_ragged(cell, inputs, lengths, state, go_backwards)
    outputs = np.zeros((batch, time, cell.units), inputs.dtype)
    projected = cell.project(inputs[:, :longest])  # (batch, time, gates * units)
    for step in range(longest)[:: -1 if go_backwards else 1]:
        state = cell.advance(projected[:, step], state)
        outputs[:, step] = state[0]
    return outputs, state


def _run_ragged(
    cell: Cell,
    inputs: Array,
    lengths: Array,
    state: Sequence[Array],
    go_backwards: bool,
) -> tuple[Array, list[Array]]:
    """Runs rows of different lengths, of which only valid steps are computed.

    Rows are sorted by length, longest first, so that the rows still running at a step
    are the first ones, and the valid steps of all rows are packed into one array, so
    that one product projects them all.
    """
    order = np.argsort(-lengths, kind="stable")  # longest row first
    running = lengths[order] > np.arange(inputs.shape[1])[:, None]  # (time, batch)
    steps, ranks = np.nonzero(running)  # (valid steps,), one time step after another
    rows = order[ranks]
    if go_backwards:
        steps = lengths[rows] - 1 - steps
    projected = cell.project(inputs[rows, steps])  # (valid, gates * units)
    state = [part[order] for part in state]
    packed = np.empty((len(rows), cell.units), inputs.dtype)
    start = 0
    for count in np.count_nonzero(running, axis=1).tolist():
        stop = start + count
        current = [part[:count] for part in state]
        new = cell.advance(projected[start:stop], current)
        for part, value in zip(state, new, strict=True):
            part[:count] = value
        packed[start:stop] = new[0]
        start = stop

    outputs = np.zeros((*inputs.shape[:2], cell.units), inputs.dtype)
    outputs[rows, steps] = packed
    back = np.argsort(order)
    return outputs, [part[back] for part in state]


def run_encoder(
    cell: str,
    forward: Sequence[Weights],
    inputs: Array,
    lengths: Array | None = None,
    initial_state: Sequence[Array] | None = None,
    *,
    backward: Sequence[Weights] = (),
    activation: str = "tanh",
) -> tuple[Array, list[Array]]:
    """Runs a stack of layers, in one direction or in both, over right-padded rows.

    Args:
        cell: `"rnn"` (`"simple_rnn"`), `"lstm"` or `"gru"`.
        forward: The weights of each layer.
        inputs: Floating point, `(batch, time, features)`.
        lengths: Whole numbers, `(batch,)`, valid steps of each row; None: all.
        initial_state: One array `(batch, units)` for each layer, direction (forward,
            backward) and part (`h`, and for an LSTM `c`), in this order; None: zeros.
        backward: The weights of each layer's backward direction; empty: there is
            none. The outputs of both directions are joined before the next layer.
        activation: `"tanh"`, `"relu"`, `"sigmoid"` or `"linear"`.

    Returns:
        The last layer's outputs, `(batch, time, units)`, twice the units with both
        directions, zero at padding; and the final states in the order of
        `initial_state`.

    Raises:
        ValueError: If an argument is out of its range or has another shape.
    """
    check_choice("cell", cell, CELLS)
    if backward and len(backward) != len(forward):
        raise ValueError(
            "`backward` must be empty or hold one entry per layer, like `forward`. "
            f"Received: {len(backward)} entries, and {len(forward)} in `forward`"
        )
    directions = [(forward, False)] + [(backward, True)] * bool(backward)
    parts, sequence = CELLS[cell].parts, inputs
    if initial_state is not None:
        widths = [
            np.shape(d[i][1])[0] for i in range(len(forward)) for d, _ in directions
        ]
        shapes = [(len(inputs), width) for width in widths for _ in range(parts)]
        _check_state(initial_state, shapes)
    states: list[Array] = []
    for index in range(len(forward)):
        outputs = []
        for layers, go_backwards in directions:
            start = None
            if initial_state is not None:
                start = initial_state[len(states) : len(states) + parts]
            output, state = run(
                cell,
                layers[index],
                sequence,
                lengths,
                start,
                go_backwards=go_backwards,
                activation=activation,
            )
            outputs.append(output)
            states.extend(state)
        sequence = np.concatenate(outputs, axis=-1)
    return sequence, states


def _check(
    cell: str, weights: Weights, inputs: Array, activation: str
) -> tuple[Array, list[Array]]:
    """Returns inputs and weights as arrays of one dtype, or raises."""
    check_choice("cell", cell, CELLS)
    check_choice("activation", activation, ACTIVATIONS)
    inputs = np.asarray(inputs)
    if not np.issubdtype(inputs.dtype, np.floating):
        raise ValueError(
            "Inputs must be floating point, since their dtype is what is computed "
            f"in. Received: dtype={inputs.dtype}"
        )
    weights = [np.asarray(weight, inputs.dtype) for weight in weights]
    shapes = [weight.shape for weight in weights]
    features, units, gates = inputs.shape[-1], shapes[1][0], CELLS[cell].gates
    columns = (gates * units,)
    bias = (2, *columns) if cell == "gru" else columns
    if shapes != [(features, *columns), (units, *columns), bias]:
        raise ValueError(
            f"`weights` of cell={cell!r} must be a kernel (features, {gates} * units),"
            f" a recurrent kernel (units, {gates} * units) and a bias {bias} for "
            f"{features} features and {units} units. Received: shapes={shapes}"
        )
    return inputs, weights


def _check_lengths(lengths: Array | None, batch: int, time: int) -> Array:
    if lengths is None:
        return np.full(batch, time)
    lengths = np.asarray(lengths)
    whole = lengths.shape == (batch,) and np.issubdtype(lengths.dtype, np.integer)
    if not whole or (batch and not 0 <= lengths.min() <= lengths.max() <= time):
        raise ValueError(
            f"`lengths` must hold one whole number from 0 to time={time} for each of "
            f"{batch} rows. Received: lengths={lengths!r}"
        )
    return lengths.astype(np.int64)


def _check_state(state: Sequence[Array], shapes: list[tuple[int, int]]) -> None:
    received = [np.shape(part) for part in state]
    if received != shapes:
        raise ValueError(
            f"`initial_state` must hold arrays of the shapes {shapes}. "
            f"Received: shapes={received}"
        )
