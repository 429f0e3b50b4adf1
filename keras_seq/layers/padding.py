"""Right-padded rows: the few operations that know where a row ends."""

from typing import Any

from keras import ops

Tensor = Any


def valid_steps(sequence: Tensor, lengths: Tensor) -> Tensor:
    """Marks the steps before each row's end: bool, `(batch, time, 1)`."""
    steps = ops.arange(ops.shape(sequence)[1], dtype="int32")
    return ops.expand_dims(steps[None, :] < ops.cast(lengths, "int32")[:, None], -1)


def zero_padding(sequence: Tensor, lengths: Tensor) -> Tensor:
    """Sets padded steps to zero, whatever stands there, NaN and infinity included."""
    return ops.where(
        valid_steps(sequence, lengths), sequence, ops.zeros((), sequence.dtype)
    )


def _gather_steps(sequence: Tensor, steps: Tensor) -> Tensor:
    """Picks `sequence[row, steps[row, k]]`: `(batch, time, d)` -> `(batch, k, d)`."""
    batch, time = ops.shape(sequence)[0], ops.shape(sequence)[1]
    # One flat gather of whole feature vectors; `take_along_axis` would broadcast the
    # indices over the features and gather each number by itself.
    flat = ops.reshape(sequence, (-1, sequence.shape[-1]))  # (batch * time, d)
    rows = ops.arange(batch, dtype="int32")[:, None] * time
    return ops.take(flat, rows + steps, axis=0)


def last_valid_step(sequence: Tensor, lengths: Tensor) -> Tensor:
    """Picks step `length - 1` of each row; zeros for a row of length 0.

    Args:
        sequence: `(batch, time, d)`.
        lengths: int32, `(batch,)`.

    Returns:
        `(batch, d)`.
    """
    lengths = ops.cast(lengths, "int32")[:, None]  # (batch, 1)
    last = _gather_steps(sequence, ops.maximum(lengths - 1, 0))[:, 0]
    return ops.where(lengths > 0, last, ops.zeros((), sequence.dtype))


def reverse_valid_steps(sequence: Tensor, lengths: Tensor) -> Tensor:
    """Reverses each row within its length; the padding stays where it is.

    Args:
        sequence: `(batch, time, d)`.
        lengths: int32, `(batch,)`.

    Returns:
        `(batch, time, d)`. Applied twice, it gives the input back.
    """
    lengths = ops.cast(lengths, "int32")[:, None]  # (batch, 1)
    steps = ops.arange(ops.shape(sequence)[1], dtype="int32")[None, :]  # (1, time)
    return _gather_steps(
        sequence, ops.where(steps < lengths, lengths - 1 - steps, steps)
    )
