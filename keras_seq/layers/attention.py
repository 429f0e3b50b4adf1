"""SelfAttentionEncoder: a transformer encoder in place of a recurrent one."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_seq.errors import check_integer, check_rate
from keras_seq.layers.padding import valid_steps, zero_padding
from keras_seq.layers.recurrent import check_units

Tensor = Any

# Keras's 1e-3 would halve the scale of activations whose variance is as small.
EPSILON = 1e-5


def resolve_heads(num_heads: int | str, units: int) -> int:
    """Returns the number of heads: for `"auto"` the largest of 4, 2, 1 that fits."""
    if num_heads == "auto":
        return next(heads for heads in (4, 2, 1) if units % heads == 0)
    if isinstance(num_heads, str):
        raise ValueError(
            "`num_heads` must be 'auto' or a whole number of at least 1. "
            f"Received: num_heads={num_heads!r}"
        )
    check_integer("num_heads", num_heads, 1)
    if units % num_heads:
        raise ValueError(
            "`units` must be divisible by `num_heads`, since each head works on an "
            f"equal part of them. Received: units={units}, num_heads={num_heads}"
        )
    return int(num_heads)


def sinusoidal_positions(time: Any, units: int, dtype: str) -> Tensor:
    """Sines and cosines of each step's position: `(time, units)`.

    Column `2i` is `sin(position / 10000 ** (2i / units))`, column `2i + 1` the cosine
    of the same angle; of an odd number of units, the last one is a sine.

    Reference:
        Vaswani et al., 2017, Attention Is All You Need, section 3.5.
    """
    column = ops.arange(units, dtype="int32")
    pair = ops.cast(column // 2 * 2, dtype)
    frequency = ops.exp(pair * (-math.log(10_000.0) / units))
    position = ops.cast(ops.arange(time, dtype="int32"), dtype)
    angle = position[:, None] * frequency[None, :]  # (time, units)
    return ops.where(column % 2 == 0, ops.sin(angle), ops.cos(angle))


@keras.saving.register_keras_serializable("keras_seq")
class SelfAttentionBlock(keras.layers.Layer):
    """Self-attention, then a feed-forward network; each normalises its input first.

    Args:
        units: Features in and out; four times as many inside the feed-forward part.
        num_heads: Attention heads; must divide `units`.
        dropout: Rate on what each part adds to its input.
        causal: Whether a step sees only itself and earlier steps.

    Call arguments:
        inputs: `(batch, time, units)`, finite everywhere.
        visible: bool, `(batch, 1, time)`: the steps that may be attended to, at
            least one per row; None: all.
        training: Whether dropout is active.

    Returns:
        `(batch, time, units)`.
    """

    def __init__(
        self,
        units: int,
        num_heads: int,
        dropout: float = 0.0,
        causal: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.units = check_integer("units", units, 1)
        self.num_heads = resolve_heads(num_heads, units)
        self.dropout = check_rate("dropout", dropout)
        self.causal = causal
        policy = {"dtype": self.dtype_policy}
        self.attention_norm = keras.layers.LayerNormalization(
            epsilon=EPSILON, name="attention_norm", **policy
        )
        # No dropout inside: it would cost the fused kernels, whose softmax is in
        # float32 in every precision; Keras's other path has it in half precision.
        # float16 is too narrow for the scores, and jax 0.10 cannot compile their
        # product in it on a CPU or TPU.
        narrow = self.compute_dtype == "float16"
        self.attention = keras.layers.MultiHeadAttention(
            self.num_heads,
            units // self.num_heads,
            dtype="float32" if narrow else self.dtype_policy,
            name="attention",
        )
        self.feed_forward_norm = keras.layers.LayerNormalization(
            epsilon=EPSILON, name="feed_forward_norm", **policy
        )
        self.expand = keras.layers.Dense(
            4 * units, activation="gelu", name="expand", **policy
        )
        self.contract = keras.layers.Dense(units, name="contract", **policy)
        self.attention_dropout = keras.layers.Dropout(
            dropout, name="attention_dropout", **policy
        )
        self.feed_forward_dropout = keras.layers.Dropout(
            dropout, name="feed_forward_dropout", **policy
        )

    def build(self, inputs_shape: Any, visible_shape: Any = None) -> None:
        self.attention_norm.build(inputs_shape)
        self.attention.build(inputs_shape, inputs_shape)
        self.feed_forward_norm.build(inputs_shape)
        self.expand.build(inputs_shape)
        self.contract.build((*inputs_shape[:-1], 4 * self.units))
        self.built = True

    def call(
        self, inputs: Tensor, visible: Tensor | None = None, training: Any = None
    ) -> Tensor:
        normed = self.attention_norm(inputs)
        attended = self.attention(
            normed, normed, attention_mask=visible, use_causal_mask=self.causal
        )
        attended = ops.cast(attended, self.compute_dtype)
        sequence = inputs + self.attention_dropout(attended, training=training)
        hidden = self.expand(self.feed_forward_norm(sequence))
        added = self.contract(hidden)  # (batch, time, units)
        return sequence + self.feed_forward_dropout(added, training=training)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "num_heads": self.num_heads,
            "dropout": self.dropout,
            "causal": self.causal,
        }


@keras.saving.register_keras_serializable("keras_seq")
class SelfAttentionEncoder(keras.layers.Layer):
    """Runs right-padded rows through a stack of self-attention blocks.

    Inputs are projected to `units` if they have another size, multiplied by the root
    of `units` (Vaswani et al. 2017, section 3.4, so that positions do not drown them)
    and added to sinusoidal positions. Each block normalises before its parts instead
    of after (Xiong et al. 2020), which trains without a warm-up of the learning rate.
    Deviation from Vaswani et al.: gelu for relu, and no dropout on attention weights.

    Args:
        units: Size of every layer; a sequence must repeat it for each layer.
        num_layers: Number of blocks.
        num_heads: Attention heads, a divisor of `units`; `"auto"` takes the largest
            of 4, 2 and 1 that is one.
        dropout: Rate on the first block's input and on what each part adds.
        causal: Whether a step sees only itself and earlier steps.

    Call arguments:
        inputs: `(batch, time, features)`.
        lengths: int32, `(batch,)`, valid steps of each row, 0 to time; None: all.
        training: Whether dropout is active.

    Returns:
        `(batch, time, units)`, zeros at padding.

    Example:
        >>> encoder = SelfAttentionEncoder(32, num_layers=2)
        >>> encoder(keras.ops.ones((2, 5, 3)), lengths=[5, 2]).shape
        TensorShape([2, 5, 32])

    Reference:
        Vaswani et al., 2017, Attention Is All You Need; Xiong et al., 2020, On Layer
        Normalization in the Transformer Architecture.
    """

    def __init__(
        self,
        units: int | Sequence[int],
        *,
        num_layers: int = 1,
        num_heads: int | str = "auto",
        dropout: float = 0.0,
        causal: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.units = check_units(units, num_layers)
        if len(set(self.units)) > 1:
            raise ValueError(
                "`units` must be the same for every layer of self-attention, since "
                f"each layer adds to its input. Received: units={units!r}"
            )
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.dropout = check_rate("dropout", dropout)
        self.causal = causal
        heads = resolve_heads(num_heads, self.units[0])
        policy = {"dtype": self.dtype_policy}
        self.projection = keras.layers.Dense(self.units[0], name="projection", **policy)
        self.input_dropout = keras.layers.Dropout(
            dropout, name="input_dropout", **policy
        )
        self.blocks = [
            SelfAttentionBlock(
                size, heads, dropout, causal, name=f"block_{index}", **policy
            )
            for index, size in enumerate(self.units)
        ]
        self.final_norm = keras.layers.LayerNormalization(
            epsilon=EPSILON, name="final_norm", **policy
        )

    def build(self, inputs_shape: Any, lengths_shape: Any = None) -> None:
        self.projects = inputs_shape[-1] != self.units[0]
        if self.projects:
            self.projection.build(inputs_shape)
        shape = (*inputs_shape[:-1], self.units[0])
        for block in self.blocks:
            block.build(shape)
        self.final_norm.build(shape)
        self.built = True

    def call(
        self, inputs: Tensor, lengths: Tensor | None = None, training: Any = None
    ) -> Tensor:
        sequence, visible = inputs, None
        if lengths is not None:
            lengths = ops.cast(lengths, "int32")
            sequence = zero_padding(sequence, lengths)
            # An empty row sees its first step, which is zero: a softmax over no step
            # at all is NaN in some kernels.
            steps = valid_steps(sequence, ops.maximum(lengths, 1))
            visible = ops.transpose(steps, (0, 2, 1))  # (batch, 1, time)
        if self.projects:
            sequence = self.projection(sequence)  # (batch, time, units)
        sequence = self._add_positions(sequence)
        sequence = self.input_dropout(sequence, training=training)
        for block in self.blocks:
            sequence = block(sequence, visible, training=training)
        sequence = self.final_norm(sequence)
        return sequence if lengths is None else zero_padding(sequence, lengths)

    def _add_positions(self, sequence: Tensor) -> Tensor:
        # bfloat16 has 8 bits: it cannot tell positions beyond 256 apart.
        exact = keras.backend.result_type(self.compute_dtype, "float32")
        positions = sinusoidal_positions(
            ops.shape(sequence)[1], self.units[0], dtype=exact
        )
        scaled = sequence * math.sqrt(self.units[0])
        return scaled + ops.cast(positions, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "dropout": self.dropout,
            "causal": self.causal,
        }
