"""What both forecasting networks, of windows and of streams, have in common."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_seq.errors import check_choice, check_integer, check_number, check_rate
from keras_seq.layers.quantiles import QuantileHead
from keras_seq.layers.scaling import check_scaling
from keras_seq.layers.segments import SegmentDecoder
from keras_seq.training.optimizer import RecordingAdam
from keras_seq.training.runtime import resolve_jit

Tensor = Any


def check_forecast(
    *,
    horizon: int,
    widths: Mapping[str, int],
    static_cardinalities: Sequence[int],
    point: str,
    scaling: str,
    stateful: bool,
    dropout: float,
    learning_rate: float,
) -> None:
    """Raises ValueError where an argument of a builder is out of its range.

    Args:
        horizon: As of the builders, and so the others.
        widths: Numbers of covariates, by the names of their arguments.
        static_cardinalities: Ids of each category.
        point: `"median"` or `"mean"`.
        scaling: As of `check_scaling`.
        stateful: Whether streams are read.
        dropout: A rate.
        learning_rate: Above 0.
    """
    check_integer("horizon", horizon, 1)
    for name, width in widths.items():
        check_integer(name, width, 0)
    for size in static_cardinalities:
        check_integer("static_cardinalities", size, 1)
    check_choice("point", point, ("median", "mean"))
    check_scaling(scaling, stateful=stateful)
    check_rate("dropout", dropout)
    check_number("learning_rate", learning_rate, above=0)


def check_season(season_length: int, name: str, steps: int) -> None:
    """Raises ValueError unless a season fits into the steps of the argument `name`."""
    if check_integer("season_length", season_length, 1) > steps:
        raise ValueError(
            f"`season_length` must not exceed `{name}`. "
            f"Received: {season_length=}, {name}={steps!r}"
        )


def covariate_inputs(
    time: int | None,
    horizon: int,
    *,
    num_past: int,
    num_future: int,
    num_static: int,
    static_cardinalities: Sequence[int],
) -> dict[str, Tensor]:
    """Inputs beside the target; parts of width 0 are left out.

    Args:
        time: Steps seen; None: any number.
        horizon: Steps that future covariates go beyond them.
        num_past: Covariates known only up to now.
        num_future: Covariates known in advance.
        num_static: Numbers that belong to a series.
        static_cardinalities: Ids of each category that belongs to a series.
    """
    ahead = None if time is None else time + horizon
    inputs = {
        name: keras.Input(shape, name=name)
        for name, shape in {
            "past": (time, num_past),
            "future": (ahead, num_future),
            "static": (num_static,),
        }.items()
        if shape[-1]
    }
    if static_cardinalities:
        shape = (len(static_cardinalities),)
        inputs["static_ids"] = keras.Input(shape, dtype="int32", name="static_ids")
    return inputs


def decode(
    encoded: Tensor,
    scaled: Tensor,
    noise: Tensor,
    static: list[Tensor],
    ahead: Tensor | None,
    before: Tensor | None,
    head: QuantileHead,
    *,
    horizon: int,
    season_length: int,
    dropout: float,
    segment: int | None,
    decoder_units: int,
    mean: bool,
) -> Tensor:
    """From what the encoder says of a window to the forecasts after it, scaled.

    Args:
        encoded: `(rows, units)`.
        scaled: `(rows, lookback)`.
        noise: `(rows, 2)`, of `log_noise`.
        static: What belongs to a series, each `(rows, width)`.
        ahead: `(rows, horizon, num_future)`, known ahead; None: nothing is.
        before: Of the steps that the seasonal skip repeats, `(rows, horizon, width)`;
            the last `width` features of `ahead` are compared with them.
        head: Of the quantiles.
        horizon: Steps to forecast.
        season_length: Steps in a season.
        dropout: Rate before the decoder.
        segment: Steps of a segment; None for a direct decoder.
        decoder_units: Features of each step ahead.
        mean: Whether there is an output for the mean.

    Returns:
        `(rows, horizon, outputs)`.
    """
    units = encoded.shape[-1]
    context = keras.layers.Dropout(dropout, name="dropout")(encoded)
    context = ops.concatenate([context, noise, *static], axis=-1)
    if segment is None:
        decoded = keras.layers.Dense(horizon * decoder_units, name="decoder")(context)
        decoded = ops.reshape(decoded, (-1, horizon, decoder_units))
    else:
        told = [] if ahead is None else [ahead]
        decoded = SegmentDecoder(
            horizon, segment, units, decoder_units, name="decoder"
        )(context, *told)
    if ahead is not None:
        dense = keras.layers.Dense(decoder_units, use_bias=False, name="future_decoder")
        decoded = decoded + dense(ahead)
    linear = keras.layers.Dense(
        horizon, kernel_initializer="zeros", dtype="float32", name="linear"
    )
    center = tile_season(scaled, season_length, horizon) + linear(scaled)
    if ahead is not None and before is not None:
        # The season repeated owes something to its own covariates, as on a holiday.
        effect = keras.layers.Dense(
            1,
            use_bias=False,
            kernel_initializer="zeros",
            dtype="float32",
            name="future_linear",
        )
        center = center + effect(ahead[..., -before.shape[-1] :] - before)[..., 0]
    features = ops.relu(decoded)
    forecast = head(center, features)  # (rows, horizon, quantiles)
    if mean:
        dense = keras.layers.Dense(
            1, kernel_initializer="zeros", dtype="float32", name="mean_head"
        )
        average = center[..., None] + dense(features)
        forecast = ops.concatenate([forecast, average], axis=-1)
    return forecast


def embedding_width(size: int) -> int:
    """Numbers that stand for a category of `size` ids: grows slower than they do."""
    return max(2, min(16, round(1.6 * size**0.5)))


def describe_series(
    inputs: dict[str, Tensor], static_cardinalities: Sequence[int]
) -> list[Tensor]:
    """What belongs to a series, each `(batch, width)`."""
    parts = [zero_missing(inputs["static"])] if "static" in inputs else []
    for index, size in enumerate(static_cardinalities):
        embed = keras.layers.Embedding(
            size, embedding_width(size), name=f"static_{index}"
        )
        parts.append(embed(inputs["static_ids"][:, index]))
    return parts


def zero_missing(values: Tensor) -> Tensor:
    """Covariates, with 0, which is their mean, in place of NaN."""
    return ops.where(ops.isnan(values), ops.zeros_like(values), values)


def tile_season(scaled: Tensor, season_length: int, horizon: int) -> Tensor:
    """Seasonal naive forecast: `(batch, lookback, ...)` -> `(batch, horizon, ...)`.

    A missing step counts as 0, the window's own level where the scaling has one.
    """
    season = scaled[:, -season_length:]
    repeats = -(-horizon // season_length)
    axes = (1,) * (len(season.shape) - 2)
    return ops.tile(season, (1, repeats, *axes))[:, :horizon]


def compile_forecaster(
    model: keras.Model,
    *,
    learning_rate: float,
    decay_steps: int | None,
    clipping: Mapping[str, float],
    jit: bool | str,
) -> keras.Model:
    """Compiles a network whose loss is its own.

    Args:
        model: Of a builder.
        learning_rate: Of Adam.
        decay_steps: Steps over which it falls to zero along a cosine; None: it stays.
        clipping: Of `resolve_clipping`.
        jit: Whether XLA compiles each step.
    """
    rate: Any = learning_rate
    if decay_steps is not None:
        check_integer("decay_steps", decay_steps, 1)
        rate = keras.optimizers.schedules.CosineDecay(learning_rate, decay_steps)
    model.compile(RecordingAdam(rate, **clipping), jit_compile=resolve_jit(jit))
    return model
