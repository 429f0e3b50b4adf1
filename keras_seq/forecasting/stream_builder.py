"""build_stream_forecaster: the network that forecasts at every step of a stream."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_seq.errors import (
    check_choice,
    check_integer,
    check_number,
    check_rate,
    suggests_names,
)
from keras_seq.forecasting.builder import (
    ForecastModel,
    decode,
    describe_series,
    zero_missing,
)
from keras_seq.layers.quantiles import QuantileHead, check_quantiles
from keras_seq.layers.recurrent import CELLS, RecurrentEncoder
from keras_seq.layers.scaling import SCALINGS, WindowUnscaler
from keras_seq.layers.stream import (
    KeepStates,
    LaneStates,
    StreamScaler,
    gather_steps,
)
from keras_seq.training.autodiff import compiled_call
from keras_seq.training.distribution import check_ignored
from keras_seq.training.optimizer import RecordingAdam, resolve_clipping
from keras_seq.training.runtime import dtype_policy, resolve_jit, seeded

Tensor = Any


@keras.saving.register_keras_serializable("keras_seq")
class StreamModel(ForecastModel):
    """Forecasts with the scale they were made in, and the states after them."""

    def compute_loss(
        self,
        x: Any = None,
        y: Tensor = None,
        y_pred: Any = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        return self.scaled_loss(
            y, y_pred["forecast"], y_pred["location"], y_pred["scale"]
        )

    @property
    def point_index(self) -> int:
        count = len(self.quantiles)
        return count if self.num_outputs > count else self.quantiles.index(0.5)

    @property
    def num_outputs(self) -> int:
        """Numbers of each forecast step: quantiles, and the mean, if there is one."""
        return int(self.output["forecast"].shape[-1])

    @functools.cached_property
    def run(self) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
        """Inputs to outputs, without Keras's overhead and with any number of steps."""
        return compiled_call(self)

    @property
    def state_widths(self) -> dict[str, int]:
        """Numbers of each state of one stream, by the names of inputs and outputs."""
        return {
            name: tensor.shape[-1]
            for name, tensor in self.input.items()
            if name.startswith("state_")
        }


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
    check_integer("horizon", horizon, 1)
    check_integer("context", context, 1)
    for name, number in {
        "num_past": num_past,
        "num_future": num_future,
        "num_calendar": num_calendar,
        "num_static": num_static,
    }.items():
        check_integer(name, number, 0)
    if num_calendar > num_future:
        raise ValueError(
            "`num_calendar` must not exceed `num_future`, of which it is a part. "
            f"Received: {num_calendar=}, {num_future=}"
        )
    check_choice("cell", cell, CELLS)
    check_choice("point", point, ("median", "mean"))
    check_choice("scaling", scaling, SCALINGS)
    check_rate("dropout", dropout)
    check_number("learning_rate", learning_rate, above=0)
    if check_integer("season_length", season_length, 1) > context:
        raise ValueError(
            "`season_length` must not exceed `context`. "
            f"Received: {season_length=}, {context=}"
        )
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
            return_state=True,
            name="encoder",
        )
        scaler = StreamScaler(
            scaling, context=context, season_length=season_length, name="scaler"
        )
        widths = {"state_stream": scaler.state_width}
        if num_future > num_calendar:
            widths["state_known"] = season_length * (num_future - num_calendar)
        for index, width in enumerate(encoder.state_units):
            widths[f"state_{index}"] = width
        inputs = {
            "target": keras.Input((time,), name="target"),
            "length": keras.Input((), dtype="int32", name="length"),
        }
        if num_past:
            inputs["past"] = keras.Input((time, num_past), name="past")
        if num_future:
            ahead = None if time is None else time + horizon
            inputs["future"] = keras.Input((ahead, num_future), name="future")
        if num_static:
            inputs["static"] = keras.Input((num_static,), name="static")
        if static_cardinalities:
            several = (len(static_cardinalities),)
            inputs["static_ids"] = keras.Input(
                several, dtype="int32", name="static_ids"
            )
        if batch_size is None:
            inputs["at"] = keras.Input((None,), dtype="int32", name="at")
            for name, size in widths.items():
                inputs[name] = keras.Input((size,), dtype="float32", name=name)
            states = [inputs[name] for name in widths]
            at = inputs["at"]
        else:
            inputs["reset"] = keras.Input((), dtype="bool", name="reset")
            lanes = LaneStates(widths, batch_size=batch_size, name="lanes")
            states = lanes(inputs["reset"])
            at = EveryStep(name="every_step")(inputs["target"])
        outputs, new = _forecast_stream(
            inputs,
            dict(zip(widths, states, strict=True)),
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
    rate: Any = learning_rate
    if decay_steps is not None:
        check_integer("decay_steps", decay_steps, 1)
        rate = keras.optimizers.schedules.CosineDecay(learning_rate, decay_steps)
    model.compile(RecordingAdam(rate, **clipping), jit_compile=resolve_jit(jit))
    return model


@keras.saving.register_keras_serializable("keras_seq")
class EveryStep(keras.layers.Layer):
    """The number of each step: `(batch, time)` -> int32, `(batch, time)`."""

    def compute_output_spec(self, target: Any) -> Any:
        return keras.KerasTensor(target.shape, dtype="int32")

    def call(self, target: Tensor) -> Tensor:
        zeros = ops.cast(ops.zeros_like(target), "int32")
        return zeros + ops.arange(target.shape[1], dtype="int32")


@keras.saving.register_keras_serializable("keras_seq")
class KnownAhead(keras.layers.Layer):
    """What is known of the steps ahead of each position, and of the season before.

    Args:
        horizon: Steps ahead.
        season_length: Steps in a season.
        num_calendar: Features, the first ones, that are not looked for a season before.

    Call arguments:
        future: `(batch, time + horizon, num_future)`.
        at: int32, `(batch, positions)`.
        length: int32, `(batch,)`: valid steps.
        state: `(batch, season_length * (num_future - num_calendar))`, or None where
            there is nothing but a calendar.

    Returns:
        `ahead`, `(batch, positions, horizon, num_future)`; and, with a state, `before`,
        of the steps that the seasonal skip repeats, `(batch, positions, horizon,
        num_future - num_calendar)`, and the new state.
    """

    def __init__(
        self, horizon: int, season_length: int, num_calendar: int, **kwargs: Any
    ):
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})
        self.horizon = horizon
        self.season_length = season_length
        self.num_calendar = num_calendar

    def compute_output_spec(
        self, future: Any, at: Any, length: Any, state: Any = None
    ) -> Any:
        def spec(*shape: Any) -> Any:
            return keras.KerasTensor(shape, dtype="float32")

        ahead = spec(*at.shape, self.horizon, future.shape[-1])
        if state is None:
            return ahead
        width = future.shape[-1] - self.num_calendar
        return ahead, spec(*at.shape, self.horizon, width), spec(*state.shape)

    def call(
        self, future: Tensor, at: Tensor, length: Tensor, state: Tensor | None = None
    ) -> Any:
        steps = at[..., None] + 1 + ops.arange(self.horizon, dtype=at.dtype)
        ahead = gather_steps(future, steps)
        if state is None:
            return ahead
        season = self.season_length
        known = future[..., self.num_calendar :]
        width = known.shape[-1]
        kept = ops.reshape(ops.cast(state, "float32"), (-1, season, width))
        extended = ops.concatenate([kept, known], axis=1)
        phase = ops.arange(self.horizon, dtype=at.dtype) % season
        before = gather_steps(extended, at[..., None] + 1 + phase)
        places = ops.cast(length, "int32")[:, None] + ops.arange(season, dtype="int32")
        after = gather_steps(extended, places)
        return ahead, before, ops.reshape(after, ops.shape(state))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "horizon": self.horizon,
            "season_length": self.season_length,
            "num_calendar": self.num_calendar,
        }


@keras.saving.register_keras_serializable("keras_seq")
class TakeSteps(keras.layers.Layer):
    """Features at positions: `(batch, time, d)` -> `(batch, positions, d)`.

    What belongs to a whole row, `(batch, d)`, is the same at all of them.
    """

    def compute_output_spec(self, values: Any, at: Any) -> Any:
        return keras.KerasTensor((*at.shape, values.shape[-1]), dtype=values.dtype)

    def call(self, values: Tensor, at: Tensor) -> Tensor:
        if len(values.shape) == 2:
            values, at = values[:, None], ops.zeros_like(at)
        return gather_steps(values, at)


@keras.saving.register_keras_serializable("keras_seq")
class PerPosition(keras.layers.Layer):
    """Rows `(batch * positions, ...)` back to `(batch, positions, ...)`."""

    def compute_output_spec(self, rows: Any, at: Any) -> Any:
        return keras.KerasTensor((*at.shape, *rows.shape[1:]), dtype=rows.dtype)

    def call(self, rows: Tensor, at: Tensor) -> Tensor:
        return ops.reshape(rows, (*ops.shape(at), *rows.shape[1:]))


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

    def rows(values: Tensor | None) -> Tensor | None:
        """A row for each position: `(batch, positions, ...)` -> `(rows, ...)`."""
        if values is None:
            return None
        return ops.reshape(values, (-1, *values.shape[2:]))

    forecast = decode(
        rows(take(encoded, at)),
        rows(windows),
        rows(noise),
        [rows(take(told, at)) for told in static],
        rows(ahead),
        rows(before),
        head,
        horizon=horizon,
        season_length=season_length,
        dropout=dropout,
        segment=None,
        mean=mean,
    )
    unscaler = WindowUnscaler(scaler.scaling, name="unscaler")
    forecast = unscaler(forecast, rows(location), rows(scale))
    outputs = {"forecast": PerPosition(name="per_position")(forecast, at)}
    return {**outputs, "location": location, "scale": scale}, new
