"""Segments: many steps read as one, and forecast as one."""

from typing import Any

import keras
from keras import ops

from keras_seq.errors import check_choice, check_integer
from keras_seq.layers.convolution import ConvolutionFront

Tensor = Any

DECODERS = ("auto", "direct", "segment")
# From so many steps on "auto" reads segments.
LONG_LOOKBACK = 96
# Segments that a lookback is cut into where their length is "auto".
FEWEST_SEGMENTS, MOST_SEGMENTS = 4, 16


def choose_segment(
    decoder: str,
    segment_length: int | str,
    *,
    lookback: int,
    season_length: int,
    stateful: bool = False,
) -> int | None:
    """Settles what is left to `"auto"`.

    Args:
        decoder: `"direct"`, `"segment"`, or `"auto"`: segments where their length is
            given, or else where the lookback has 96 steps or more.
        segment_length: Steps, or `"auto"`: a season, halved or doubled until the
            lookback has 4 to 16 segments.
        lookback: Steps of the window.
        season_length: Steps in a season.
        stateful: Whether windows are chunks of a stream, which has no segments.

    Returns:
        Steps in a segment; None for the direct decoder.

    Raises:
        ValueError: If the arguments are out of their range or contradict each other.
    """
    check_choice("decoder", decoder, DECODERS)
    if segment_length != "auto":
        if isinstance(segment_length, str):
            raise ValueError(
                "`segment_length` must be 'auto' or a whole number of at least 1. "
                f"Received: {segment_length=}"
            )
        if check_integer("segment_length", segment_length, 1) > lookback:
            raise ValueError(
                "`segment_length` must not exceed `lookback`. "
                f"Received: {segment_length=}, {lookback=}"
            )
        if decoder == "direct":
            raise ValueError(
                "`segment_length` belongs to decoder='segment': leave it at 'auto'. "
                f"Received: {segment_length=}, {decoder=}"
            )
    asked = decoder == "segment" or segment_length != "auto"
    if asked and stateful:
        raise ValueError(
            "`decoder='segment'` cannot be combined with `stateful`, which reads "
            f"a stream step by step. Received: {decoder=}, {segment_length=}, "
            f"{stateful=}"
        )
    if decoder == "direct" or stateful or not (asked or lookback >= LONG_LOOKBACK):
        return None
    if segment_length == "auto":
        return _usual_length(lookback, season_length)
    return int(segment_length)


def _usual_length(lookback: int, season_length: int) -> int:
    length = season_length
    while length > 1 and count_segments(lookback, length) < FEWEST_SEGMENTS:
        length = -(-length // 2)
    while count_segments(lookback, length) > MOST_SEGMENTS:
        length *= 2
    return length


def count_segments(steps: int, length: int) -> int:
    """Segments of `length` that hold `steps`, one of them perhaps not full."""
    return -(-steps // length)


def cut_segments(steps: Tensor, length: int) -> Tensor:
    """Cuts a sequence into segments; zeros, which say missing, fill up the first.

    Args:
        steps: `(batch, time, features)`.
        length: Steps in a segment.

    Returns:
        `(batch, segments, length * features)`.
    """
    time, features = steps.shape[1:]
    count = count_segments(time, length)
    steps = ops.pad(steps, ((0, 0), (count * length - time, 0), (0, 0)))
    return ops.reshape(steps, (-1, count, length * features))


def embed_segments(
    steps: Tensor,
    static: list[Tensor],
    *,
    length: int,
    units: int,
    conv_filters: int | None,
    conv_width: int,
) -> Tensor:
    """Turns each segment, and what belongs to the series, into one step.

    Args:
        steps: `(batch, time, features)`.
        static: Each `(batch, width)`; may be empty.
        length: Steps in a segment.
        units: Features of a segment.
        conv_filters: Filters of a causal convolution over the steps; None: none.
        conv_width: Steps the convolution sees.

    Returns:
        `(batch, segments, units)`.
    """
    if conv_filters is not None:
        front = ConvolutionFront(conv_filters, conv_width, causal=True, name="front")
        steps = front(steps)
    segments = cut_segments(steps, length)
    if static:
        told = ops.concatenate(static, axis=-1)[:, None]
        told = ops.repeat(told, segments.shape[1], axis=1)
        segments = ops.concatenate([segments, told], axis=-1)
    return keras.layers.Dense(units, activation="relu", name="segments")(segments)


@keras.saving.register_keras_serializable("keras_seq")
class SegmentDecoder(keras.layers.Layer):
    """Decodes one state to all segments of the horizon in parallel.

    Each segment is `Dense(relu(Dense([state, position, known]))`, with the same weights
    for all: what differs is a learned embedding of its position, and what is known
    ahead of its steps. The last segment is cut where the horizon ends.

    Args:
        horizon: Steps to forecast.
        segment_length: Steps in a segment.
        units: Width between the two dense layers.
        features: Features of each step given.

    Call arguments:
        context: `(batch, d)`, the state to decode.
        known: `(batch, horizon, num_known)`, known ahead of each step; None: nothing.

    Returns:
        `(batch, horizon, features)`.

    Reference:
        Lin et al., 2023, SegRNN: Segment Recurrent Neural Network for Long-Term Time
        Series Forecasting, section 4.3, parallel multi-step forecasting. Deviation: a
        dense layer with relu joins state and position, where SegRNN runs one step of
        its cell, so that every cell, depth and self-attention decode alike.
    """

    def __init__(
        self,
        horizon: int,
        segment_length: int,
        units: int,
        features: int,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.horizon = check_integer("horizon", horizon, 1)
        self.segment_length = check_integer("segment_length", segment_length, 1)
        self.units = check_integer("units", units, 1)
        self.features = check_integer("features", features, 1)
        # A horizon within one segment needs no weights beyond its end.
        self.steps = min(segment_length, horizon)
        self.count = count_segments(horizon, self.steps)

    def build(self, context_shape: Any, known_shape: Any = None) -> None:
        policy = {"dtype": self.dtype_policy}
        self.state = keras.layers.Dense(self.units, name="state", **policy)
        self.state.build(context_shape)
        self.positions = self.add_weight(
            shape=(self.count, self.units),
            initializer="glorot_uniform",
            name="positions",
        )
        if known_shape is not None:
            self.known = keras.layers.Dense(
                self.units, use_bias=False, name="known", **policy
            )
            self.known.build((None, self.count, self.steps * known_shape[-1]))
        self.output_dense = keras.layers.Dense(
            self.steps * self.features, name="steps", **policy
        )
        self.output_dense.build((None, self.count, self.units))
        self.built = True

    def call(self, context: Tensor, known: Tensor | None = None) -> Tensor:
        hidden = self.state(context)[:, None] + self.positions
        if known is not None:
            rest = self.count * self.steps - self.horizon
            known = ops.pad(known, ((0, 0), (0, rest), (0, 0)))
            hidden = hidden + self.known(cut_segments(known, self.steps))
        decoded = self.output_dense(ops.relu(hidden))  # (batch, count, steps * d)
        decoded = ops.reshape(decoded, (-1, self.count * self.steps, self.features))
        return decoded[:, : self.horizon]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "horizon": self.horizon,
            "segment_length": self.segment_length,
            "units": self.units,
            "features": self.features,
        }
