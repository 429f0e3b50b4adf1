"""SequencePooling: one vector per row, from its valid steps only."""

from typing import Any

import keras
from keras import ops

from keras_seq.errors import check_choice
from keras_seq.layers.padding import last_valid_step, valid_steps, zero_padding

Tensor = Any

POOLINGS = ("last", "mean", "max", "concat")


@keras.saving.register_keras_serializable("keras_seq")
class SequencePooling(keras.layers.Layer):
    """Pools right-padded rows over their valid steps; rows of length 0 pool to 0.

    Args:
        pooling: `"last"` (of two directions: where each one ends), `"mean"`, `"max"`,
            or `"concat"` of the three.
        bidirectional: Whether the second half of the features ran backward.

    Call arguments:
        inputs: `(batch, time, features)`.
        lengths: int32, `(batch,)`.

    Returns:
        `(batch, features)`; three times the features for `"concat"`.
    """

    def __init__(
        self, pooling: str = "max", *, bidirectional: bool = False, **kwargs: Any
    ):
        super().__init__(**kwargs)
        check_choice("pooling", pooling, POOLINGS)
        self.pooling = pooling
        self.bidirectional = bidirectional

    def call(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        modes = ("mean", "max", "last") if self.pooling == "concat" else (self.pooling,)
        pooled = [getattr(self, f"_{mode}")(inputs, lengths) for mode in modes]
        return ops.concatenate(pooled, axis=-1)

    def _mean(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        total = ops.sum(zero_padding(inputs, lengths), axis=1)
        count = ops.cast(ops.maximum(lengths, 1), inputs.dtype)
        return total / count[:, None]

    def _max(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        lowest = ops.cast(-3e38 if inputs.dtype != "float16" else -6e4, inputs.dtype)
        shown = ops.where(valid_steps(inputs, lengths), inputs, lowest)
        largest = ops.max(shown, axis=1)
        return ops.where(lengths[:, None] > 0, largest, ops.zeros((), inputs.dtype))

    def _last(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        last = last_valid_step(inputs, lengths)
        if not self.bidirectional:
            return last
        half = inputs.shape[-1] // 2  # the backward direction ends at step 0
        first = zero_padding(inputs, lengths)[:, 0, half:]
        return ops.concatenate([last[:, :half], first], axis=-1)

    def get_config(self) -> dict[str, Any]:
        config = {"pooling": self.pooling, "bidirectional": self.bidirectional}
        return {**super().get_config(), **config}
