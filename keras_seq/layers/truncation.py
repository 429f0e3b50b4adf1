"""Truncate: the first and the last steps of rows that are too long."""

from typing import Any

import keras
from keras import ops

from keras_seq.errors import check_integer

Tensor = Any


@keras.saving.register_keras_serializable("keras_seq")
class Truncate(keras.layers.Layer):
    """Leaves out the middle of rows that have more than `longest` steps.

    Args:
        longest: Steps to keep of a row.
        head: How many of them are the row's first; the others are its last.

    Call arguments:
        tokens: `(batch, time)`, right-padded with anything.
        lengths: int32, `(batch,)`, valid steps of each row, 0 to time.

    Returns:
        The same of the shorter rows: `(batch, min(time, longest))` and `(batch,)`.
    """

    def __init__(self, longest: int, head: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.longest = check_integer("longest", longest, 1)
        self.head = check_integer("head", head, 0)

    def call(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        steps = ops.arange(ops.shape(tokens)[1], dtype="int32")[None, : self.longest]
        left_out = ops.maximum(lengths - self.longest, 0)[:, None]  # (batch, 1)
        steps = steps + ops.where(steps < self.head, 0, left_out)
        kept = ops.take_along_axis(tokens, steps, axis=1)
        return kept, ops.minimum(lengths, self.longest)

    def get_config(self) -> dict[str, Any]:
        config = {"longest": self.longest, "head": self.head}
        return {**super().get_config(), **config}
