"""SequencePooling: one vector per row, from its valid steps only."""

from typing import Any

import keras
from keras import ops

from keras_seq.errors import check_choice
from keras_seq.layers.padding import last_valid_step, valid_steps, zero_padding

Tensor = Any

# Below any score, and finite in float32.
LOWEST = -3e38
POOLINGS = ("last", "mean", "max", "concat", "attention")


@keras.saving.register_keras_serializable("keras_seq")
class SequencePooling(keras.layers.Layer):
    """Pools right-padded rows over their valid steps; rows of length 0 pool to 0.

    Args:
        pooling: `"last"` (of two directions: where each one ends), `"mean"`, `"max"`,
            `"concat"` of the three, or `"attention"`: a mean whose weights are
            learned. With one query `v` (Yang et al. 2016, section 2.2), step `t`
            scores `v . tanh(W h[t] + b)`; a softmax over the valid steps, always
            in float32, makes the scores weights.
        bidirectional: Whether the second half of the features ran backward.

    Call arguments:
        inputs: `(batch, time, features)`.
        lengths: int32, `(batch,)`, valid steps of each row, 0 to time; None: all.

    Returns:
        `(batch, features)`; three times the features for `"concat"`.

    Reference:
        Bahdanau et al., 2015, Neural Machine Translation by Jointly Learning to Align
        and Translate (the additive score); Yang et al., 2016, Hierarchical Attention
        Networks for Document Classification.
    """

    def __init__(
        self, pooling: str = "max", *, bidirectional: bool = False, **kwargs: Any
    ):
        super().__init__(**kwargs)
        check_choice("pooling", pooling, POOLINGS)
        self.pooling = pooling
        self.bidirectional = bidirectional
        self.modes = ("mean", "max", "last") if pooling == "concat" else (pooling,)

    def build(self, inputs_shape: Any, lengths_shape: Any = None) -> None:
        if self.pooling == "attention":
            self.hidden = keras.layers.Dense(
                inputs_shape[-1],
                activation="tanh",
                dtype=self.dtype_policy,
                name="hidden",
            )
            self.query = keras.layers.Dense(
                1, use_bias=False, dtype=self.dtype_policy, name="query"
            )
            self.hidden.build(inputs_shape)
            self.query.build(inputs_shape)
        self.built = True

    def call(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        if lengths is None:
            lengths = ops.sum(ops.ones_like(inputs[..., 0], dtype="int32"), axis=1)
        pooled = [getattr(self, f"_{mode}")(inputs, lengths) for mode in self.modes]
        return ops.concatenate(pooled, axis=-1)

    def _mean(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        total = ops.sum(zero_padding(inputs, lengths), axis=1)
        count = ops.cast(ops.maximum(lengths, 1), inputs.dtype)
        return total / count[:, None]

    def _max(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        lowest = ops.cast(LOWEST if inputs.dtype != "float16" else -6e4, inputs.dtype)
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

    def _attention(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        inputs = zero_padding(inputs, lengths)
        valid = valid_steps(inputs, lengths)  # (batch, time, 1)
        scores = self._scores(inputs, valid)
        weights = ops.where(
            valid, ops.softmax(scores, axis=1), ops.zeros((), scores.dtype)
        )
        pooled = ops.sum(weights * ops.cast(inputs, scores.dtype), axis=1)
        return ops.cast(pooled, inputs.dtype)

    def _scores(self, inputs: Tensor, valid: Tensor) -> Tensor:
        """Of each step, in float32 at least: `(batch, time, 1)`."""
        exact = keras.backend.result_type(inputs.dtype, "float32")
        scores = ops.cast(self.query(self.hidden(inputs)), exact)
        # Finite, so that a row without a valid step has no NaN in its gradient.
        return ops.where(valid, scores, ops.cast(LOWEST, exact))

    def get_config(self) -> dict[str, Any]:
        config = {"pooling": self.pooling, "bidirectional": self.bidirectional}
        return {**super().get_config(), **config}
