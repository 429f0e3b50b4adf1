"""build_stream_forecaster: the network that forecasts at every step of a stream."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_seq.errors import check_choice, check_integer, suggests_names
from keras_seq.forecasting.model import StreamModel
from keras_seq.forecasting.parts import (
    check_forecast,
    check_season,
    compile_forecaster,
    covariate_inputs,
    decode,
    describe_series,
    zero_missing,
)
from keras_seq.layers.positions import EveryStep, KnownAhead, PerPosition, TakeSteps
from keras_seq.layers.quantiles import QuantileHead, check_quantiles
from keras_seq.layers.recurrent import CELLS, RecurrentEncoder
from keras_seq.layers.scaling import WindowUnscaler
from keras_seq.layers.stream import KeepStates, LaneStates, StreamScaler
from keras_seq.training.distribution import check_ignored
from keras_seq.training.optimizer import resolve_clipping
from keras_seq.training.runtime import dtype_policy, seeded

Tensor = Any

# Features of each step ahead. A quarter of those of windows: they are computed at every
# step of every stream, and would cost more than the recurrence.
_DECODER_UNITS = 16


@suggests_names
def build_stream_forecaster(
    *,
    horizon: int,
    context: int,
    cell: str = "gru",
    units: int | Sequence[int] = 64,
    num_layers: int = 1,
    num_past: int = 0,
    num_future: int = 0,
    num_calendar: int = 0,
    num_static: int = 0,
    static_cardinalities: Sequence[int] = (),
    quantiles: Sequence[float] = (0.5,),
    point: str = "median",
    scaling: str = "mean_abs",
    season_length: int = 1,
    dropout: float = 0.0,
    normalization: str | None = None,
    residual: bool = False,
    activation: str = "tanh",
    forget_bias: float = 1.0,
    memory_steps: int | None = None,
    chunk_length: int | None = None,
    batch_size: int | None = None,
    learning_rate: float = 1e-3,
    decay_steps: int | None = None,
    global_clipnorm: float | str | None = "auto",
    clipnorm: float | None = None,
    clipvalue: float | None = None,
    precision: str | None = None,
    jit: bool | str = "auto",
    seed: int | None = None,
) -> keras.Model:
    """Builds a recurrent network that forecasts from each step of a stream.

    The recurrence reads a series from its first step on, chunk by chunk, and its state
    goes with it. Each step is scaled by the steps up to it alone (`StreamScaler`), so
    there is a forecast, and in training a loss, at every step (forking sequences, Wen
    et al. 2017). As in `build_forecaster` a forecast starts from that of the season
    before and a linear map of the last values.

    There are two forms with the same weights. With `batch_size` it is one to train: it
    keeps the states of its rows, the lanes, from batch to batch. Without, states come
    and go as inputs and outputs.

    Args:
        horizon: Steps to forecast.
        context: Last values that the linear map sees; they are part of the state. The
            running scale forgets about as fast.
        cell: `"rnn"` (`"simple_rnn"`), `"lstm"` or `"gru"`.
        units: Hidden size, or one per layer.
        num_layers: Layers of the encoder.
        num_past: Covariates known only up to now.
        num_future: Covariates known in advance, such as the calendar.
        num_calendar: How many of these, the first ones, repeat with the season.
        num_static: Numbers that belong to a series.
        static_cardinalities: How many ids each category that belongs to a series has.
        quantiles: What to forecast; increasing, within (0, 1).
        point: `"median"` or `"mean"`, as for `build_forecaster`.
        scaling: `"mean_abs"`, `"standard"`, `"log"` (positive series) or `"none"`.
        season_length: Steps in a season; 1 for none. Up to `context`.
        dropout: Rate between layers and before the decoder.
        normalization: Of each recurrent layer's outputs: `"layer"`, `"batch"` or None.
        residual: Whether each recurrent layer after the first adds its inputs.
        activation: Of the cell; anything but `"tanh"` costs the fast paths.
        forget_bias: Initial bias of the LSTM's forget gate.
        memory_steps: In its place, of LSTM and GRU: the longest time, in steps, that
            units keep their state at first (`keras_seq.layers.ChronoBias`); for cues
            far back. None: none is set.
        chunk_length: Steps of a chunk in training; needed with `batch_size`.
        batch_size: Lanes whose states are kept; None: states are inputs and outputs.
        learning_rate: Of Adam.
        decay_steps: Steps over which the learning rate falls to zero along a cosine;
            None keeps it constant.
        global_clipnorm: Limit of the norm of all gradients together; `"auto"` is 1.0
            if no other clip is given. The three exclude each other.
        clipnorm: Limit of the norm of each variable's gradient.
        clipvalue: Limit of each element of the gradient.
        precision: As for `build_forecaster`.
        jit: Whether XLA compiles each step; `"auto"`: on JAX, not on TensorFlow.
        seed: Of the initial weights; None draws one.

    Returns:
        A compiled model. Its inputs are a dict: `target`, `(batch, time)`, NaN is
        missing; `length`, int32, `(batch,)`, valid steps; `past`, `(batch, time,
        num_past)`; `future`, `(batch, time + horizon, num_future)`; `static`, `(batch,
        num_static)`; `static_ids`, int32, `(batch, len(static_cardinalities))`; parts
        of width 0 are left out. To train also `reset`, bool, `(batch,)`, rows that
        begin anew; else `at`, int32, `(batch, positions)`, the steps of the chunk to
        forecast from, and the states, each `(batch, width)`, all zeros for what begins:
        `state_stream`, with the last values and the running scale, `state_known`, with
        the last season of covariates known ahead, and `state_0` and so on, those of the
        recurrence in the order of `RecurrentEncoder`.
        Its outputs are a dict: `forecast`, `(batch, positions, horizon, outputs)`, in
        the unit of `target`, in training at all steps; `location` and `scale`, `(batch,
        positions, 1)`; and the new states under their names.

    Raises:
        ValueError: If an argument is out of its range.
    """
    check_integer("context", context, 1)
    check_forecast(
        horizon=horizon,
        widths={
            "num_past": num_past,
            "num_future": num_future,
            "num_calendar": num_calendar,
            "num_static": num_static,
        },
        static_cardinalities=static_cardinalities,
        point=point,
        scaling=scaling,
        stateful=True,
        dropout=dropout,
        learning_rate=learning_rate,
    )
    check_season(season_length, "context", context)
    _check_calendar(num_calendar, num_future)
    check_choice("cell", cell, CELLS)
    time = None
    if batch_size is not None:
        check_integer("batch_size", batch_size, 1)
        time = check_integer("chunk_length", chunk_length, 1)
    check_ignored()
    clipping = resolve_clipping(global_clipnorm, clipnorm, clipvalue)
    levels = check_quantiles(sorted({*check_quantiles(quantiles), 0.5}))
    with seeded(seed), dtype_policy(precision):
        encoder = RecurrentEncoder(
            units,
            cell=cell,
            num_layers=num_layers,
            residual=residual,
            normalization=normalization,
            dropout=dropout,
            activation=activation,
            forget_bias=forget_bias,
            memory_steps=memory_steps,
            return_state=True,
            name="encoder",
        )
        scaler = StreamScaler(
            scaling, context=context, season_length=season_length, name="scaler"
        )
        widths = _state_widths(
            scaler, encoder, season_length * (num_future - num_calendar)
        )
        inputs = {
            "target": keras.Input((time,), name="target"),
            "length": keras.Input((), dtype="int32", name="length"),
            **covariate_inputs(
                time,
                horizon,
                num_past=num_past,
                num_future=num_future,
                num_static=num_static,
                static_cardinalities=static_cardinalities,
            ),
        }
        if batch_size is None:
            inputs["at"] = at = keras.Input((None,), dtype="int32", name="at")
            states = {
                name: keras.Input((width,), dtype="float32", name=name)
                for name, width in widths.items()
            }
            inputs |= states
        else:
            inputs["reset"] = keras.Input((), dtype="bool", name="reset")
            lanes = LaneStates(widths, batch_size=batch_size, name="lanes")
            states = dict(zip(widths, lanes(inputs["reset"]), strict=True))
            at = EveryStep(name="every_step")(inputs["target"])
        outputs, new = _forecast_stream(
            inputs,
            states,
            at,
            scaler,
            encoder,
            QuantileHead(levels, dtype="float32", name="quantiles"),
            horizon=horizon,
            season_length=season_length,
            dropout=dropout,
            num_calendar=num_calendar,
            static_cardinalities=static_cardinalities,
            mean=point == "mean",
        )
        if batch_size is None:
            outputs = {**outputs, **new}
        else:
            keep = KeepStates(lanes, name="keep")
            kept = keep(outputs["scale"], [new[name] for name in widths])
            outputs = {**outputs, "scale": kept}
        model = StreamModel(inputs, outputs, name="forecaster")
    return compile_forecaster(
        model,
        learning_rate=learning_rate,
        decay_steps=decay_steps,
        clipping=clipping,
        jit=jit,
    )


def _check_calendar(num_calendar: int, num_future: int) -> None:
    if num_calendar > num_future:
        raise ValueError(
            "`num_calendar` must not exceed `num_future`, of which it is a part. "
            f"Received: {num_calendar=}, {num_future=}"
        )


def _state_widths(
    scaler: StreamScaler, encoder: RecurrentEncoder, known: int
) -> dict[str, int]:
    """Numbers of each state of one stream, by name.

    Args:
        scaler: Of the stream.
        encoder: The recurrence.
        known: Numbers kept of what is known ahead.
    """
    widths = {"state_stream": scaler.state_width}
    if known:
        widths["state_known"] = known
    recurrent = enumerate(encoder.state_units)
    return {**widths, **{f"state_{index}": width for index, width in recurrent}}


def _forecast_stream(
    inputs: dict[str, Tensor],
    states: dict[str, Tensor],
    at: Tensor,
    scaler: StreamScaler,
    encoder: RecurrentEncoder,
    head: QuantileHead,
    *,
    horizon: int,
    season_length: int,
    dropout: float,
    num_calendar: int,
    static_cardinalities: Sequence[int],
    mean: bool,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The network itself: outputs by name, and new states by name."""
    length = inputs["length"]
    new: dict[str, Tensor] = {}
    steps, windows, noise, location, scale, new["state_stream"] = scaler(
        inputs["target"], length, states["state_stream"], at
    )
    parts = [steps]  # each (batch, time, width)
    ahead = before = None
    if "future" in inputs:
        known = zero_missing(inputs["future"])
        parts.append(known[:, :-horizon])
        look = KnownAhead(horizon, season_length, num_calendar, name="known_ahead")
        if "state_known" in states:
            ahead, before, new["state_known"] = look(
                known, at, length, states["state_known"]
            )
        else:
            ahead = look(known, at, length)
    if "past" in inputs:
        parts.append(zero_missing(inputs["past"]))
    static = describe_series(inputs, static_cardinalities)
    for told in static:
        parts.append(told[:, None] + ops.zeros_like(steps[..., :1]))
    recurrent = [states[name] for name in states if name[6:].isdigit()]
    encoded, after = encoder(
        ops.concatenate(parts, axis=-1), length, initial_state=recurrent
    )
    new.update({f"state_{i}": ops.cast(x, "float32") for i, x in enumerate(after)})
    take = TakeSteps(name="take")
    forecast = decode(
        _rows(take(encoded, at)),
        _rows(windows),
        _rows(noise),
        [_rows(take(told, at)) for told in static],
        _rows(ahead),
        _rows(before),
        head,
        horizon=horizon,
        season_length=season_length,
        dropout=dropout,
        segment=None,
        decoder_units=_DECODER_UNITS,
        mean=mean,
    )
    unscaler = WindowUnscaler(scaler.scaling, name="unscaler")
    forecast = unscaler(forecast, _rows(location), _rows(scale))
    outputs = {"forecast": PerPosition(name="per_position")(forecast, at)}
    return {**outputs, "location": location, "scale": scale}, new


def _rows(values: Tensor | None) -> Tensor | None:
    """A row for each position: `(batch, positions, ...)` -> `(rows, ...)`."""
    if values is None:
        return None
    return ops.reshape(values, (-1, *values.shape[2:]))
