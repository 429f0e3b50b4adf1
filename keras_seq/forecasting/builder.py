"""build_forecaster: the forecasting network."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_seq.errors import check_integer, check_number, suggests_names
from keras_seq.forecasting.model import ForecastModel
from keras_seq.forecasting.parts import (
    check_forecast,
    check_season,
    compile_forecaster,
    covariate_inputs,
    decode,
    describe_series,
    tile_season,
    zero_missing,
)
from keras_seq.layers.encoder import check_structure, encode, make_encoder
from keras_seq.layers.next_step import NextValueLoss
from keras_seq.layers.quantiles import QuantileHead, check_quantiles
from keras_seq.layers.scaling import WindowScaler, WindowUnscaler
from keras_seq.layers.segments import choose_segment, cut_segments, embed_segments
from keras_seq.layers.state import RunningScaler
from keras_seq.training.distribution import check_ignored
from keras_seq.training.optimizer import resolve_clipping
from keras_seq.training.runtime import dtype_policy, seeded

Tensor = Any


@suggests_names
def build_forecaster(
    *,
    lookback: int,
    horizon: int,
    cell: str = "gru",
    units: int | Sequence[int] = 64,
    num_layers: int = 1,
    num_past: int = 0,
    num_future: int = 0,
    num_static: int = 0,
    static_cardinalities: Sequence[int] = (),
    quantiles: Sequence[float] = (0.5,),
    point: str = "median",
    scaling: str = "mean_abs",
    season_length: int = 1,
    bidirectional: bool | str = "auto",
    dropout: float = 0.0,
    recurrent_dropout: float = 0.0,
    normalization: str | None = None,
    residual: bool = False,
    activation: str = "tanh",
    forget_bias: float = 1.0,
    memory_steps: int | None = None,
    num_heads: int | str = "auto",
    conv_filters: int | None = None,
    conv_width: int = 3,
    decoder: str = "auto",
    segment_length: int | str = "auto",
    decoder_units: int = 64,
    auxiliary: str | None = None,
    auxiliary_weight: float = 0.1,
    stateful: bool = False,
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
    """Builds and compiles a recurrent network from raw windows to raw forecasts.

    Each window is scaled by its own statistics, read by the recurrent layers, and
    decoded to all horizon steps at once. The forecast starts from the seasonal naive
    one and a linear map of the window; the network learns what they miss.

    Args:
        lookback: Steps of the window.
        horizon: Steps to forecast.
        cell: `"rnn"` (`"simple_rnn"`), `"lstm"`, `"gru"`, or `"transformer"`, a
            causal self-attention encoder in the same place.
        units: Hidden size, or one per layer.
        num_layers: Layers of the encoder.
        num_past: Covariates known only up to now.
        num_future: Covariates known in advance, such as the calendar.
        num_static: Numbers that belong to a series.
        static_cardinalities: How many ids, from 0 on, each category that belongs to a
            series has.
        quantiles: What to forecast; increasing, within (0, 1).
        point: `"median"`, which is the 0.5 quantile, or `"mean"`: one more output,
            trained by squared error. Where values are skewed or mostly zero
            (intermittent demand) the median may be zero; totals need the mean. In
            both cases 0.5 is added to `quantiles` where it is missing.
        scaling: `"mean_abs"`, `"standard"`, `"robust"` (median and median distance from
            it; not with `stateful`), `"log"` (positive series) or `"none"`.
        season_length: Steps in a season; 1 for none. Up to `lookback`.
        bidirectional: `"auto"` or False: the backward direction needs the future.
        dropout: Rate between layers and before the decoder.
        recurrent_dropout: Rate on the recurrent state.
        normalization: Of each recurrent layer's outputs: `"layer"`, `"batch"` or None.
        residual: Whether each recurrent layer after the first adds its inputs.
        activation: Of the cell; anything but `"tanh"` costs the fast paths.
        forget_bias: Initial bias of the LSTM's forget gate.
        memory_steps: In its place, of LSTM and GRU: the longest time, in steps, that
            units keep their state at first (`keras_seq.layers.ChronoBias`); for cues
            far back. None: none is set.
        num_heads: Of a transformer; must divide `units`. `"auto"`: 4, 2 or 1.
        conv_filters: Filters of a causal convolution before the encoder; None: none.
        conv_width: Steps the convolution sees.
        decoder: `"direct"`: the encoder reads step by step, and one dense layer gives
            all steps of the horizon. `"segment"`: it reads segments, each projected
            to `units`, and decodes all segments of the horizon in parallel (SegRNN,
            Lin et al. 2023; see `keras_seq.layers.segments`), for recurrences forget
            over hundreds of steps. `"auto"`: segments where `segment_length` is given
            or the lookback has 96 steps or more and is not `stateful`.
        segment_length: Steps in a segment; `"auto"`: a season, halved or doubled until
            the lookback has 4 to 16 segments. A lookback that is no multiple starts
            with missing steps, a horizon that is none is cut.
        decoder_units: Features of each step of the horizon, from which its quantiles
            are read.
        auxiliary: `"next_step"` trains the encoder to predict each next value of the
            window as well; all those of each next segment where it reads segments.
        auxiliary_weight: Of that loss beside the main one.
        stateful: Whether a batch's rows continue those of the batch before: windows
            are then chunks of a stream, and statistics run on with it. See
            `keras_seq.layers.state`.
        batch_size: Rows whose states are kept; needed by `stateful`.
        learning_rate: Of Adam.
        decay_steps: Steps over which the learning rate falls to zero along a cosine;
            None keeps it constant.
        global_clipnorm: Limit of the norm of all gradients together; `"auto"` is 1.0
            if no other clip is given. The three exclude each other.
        clipnorm: Limit of the norm of each variable's gradient.
        clipvalue: Limit of each element of the gradient.
        precision: `"float32"`, `"mixed_bfloat16"`, `"mixed_float16"` or `"float64"`, in
            which the layers compute; None: as Keras is set. Scaling and output are
            float32.
        jit: Whether XLA compiles each step; `"auto"`: on JAX, not on TensorFlow.
        seed: Of the initial weights; None draws one.

    Returns:
        A compiled model. Its inputs are a dict: `target`, `(batch, lookback)`; `past`,
        `(batch, lookback, num_past)`; `future`, `(batch, lookback + horizon,
        num_future)`; `static`, `(batch, num_static)`; `static_ids`, int32, `(batch,
        len(static_cardinalities))`; parts of width 0 are left out. NaN is missing, and
        covariates should be of order 1: only `target` is scaled. The output is
        `(batch, horizon, num_quantiles)`, in the unit of `target`; with `point="mean"`
        the mean stands last: `(batch, horizon, num_quantiles + 1)`, and
        `model.point_index` is the place of the point forecast. The layer named
        `"scaler"` has a weight `floor`, the least scale.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> model = build_forecaster(lookback=24, horizon=12, quantiles=(0.1, 0.5, 0.9))
        >>> model.output_shape
        (None, 12, 3)
    """
    check_integer("lookback", lookback, 1)
    check_forecast(
        horizon=horizon,
        widths={
            "num_past": num_past,
            "num_future": num_future,
            "num_static": num_static,
        },
        static_cardinalities=static_cardinalities,
        point=point,
        scaling=scaling,
        stateful=stateful,
        dropout=dropout,
        learning_rate=learning_rate,
    )
    check_season(season_length, "lookback", lookback)
    _check_direction(bidirectional)
    check_integer("decoder_units", decoder_units, 1)
    check_number("auxiliary_weight", auxiliary_weight, above=0)
    check_structure(
        cell=cell,
        bidirectional=False,
        auxiliary=auxiliary,
        stateful=stateful,
        batch_size=batch_size,
        conv_filters=conv_filters,
        conv_width=conv_width,
    )
    segment = choose_segment(
        decoder,
        segment_length,
        lookback=lookback,
        season_length=season_length,
        stateful=stateful,
    )
    check_ignored()
    clipping = resolve_clipping(global_clipnorm, clipnorm, clipvalue)
    levels = check_quantiles(sorted({*check_quantiles(quantiles), 0.5}))
    with seeded(seed), dtype_policy(precision):
        inputs = {
            "target": keras.Input((lookback,), name="target"),
            **covariate_inputs(
                lookback,
                horizon,
                num_past=num_past,
                num_future=num_future,
                num_static=num_static,
                static_cardinalities=static_cardinalities,
            ),
        }
        encoder = make_encoder(
            cell=cell,
            units=units,
            num_layers=num_layers,
            bidirectional=False,
            residual=residual,
            normalization=normalization,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            activation=activation,
            forget_bias=forget_bias,
            memory_steps=memory_steps,
            num_heads=num_heads,
            batch_size=batch_size,
        )
        scaler = WindowScaler(scaling, name="scaler")
        if batch_size is not None:
            scaler = RunningScaler(scaling, batch_size=batch_size, name="scaler")
        outputs = _forecast(
            inputs,
            scaler,
            encoder,
            QuantileHead(levels, dtype="float32", name="quantiles"),
            horizon=horizon,
            season_length=season_length,
            dropout=dropout,
            conv_filters=conv_filters,
            conv_width=conv_width,
            segment=segment,
            decoder_units=decoder_units,
            static_cardinalities=static_cardinalities,
            auxiliary_weight=auxiliary_weight if auxiliary else None,
            mean=point == "mean",
        )
        model = ForecastModel(inputs, outputs, name="forecaster")
    return compile_forecaster(
        model,
        learning_rate=learning_rate,
        decay_steps=decay_steps,
        clipping=clipping,
        jit=jit,
    )


def _forecast(
    inputs: dict[str, Tensor],
    scaler: WindowScaler,
    encoder: keras.layers.Layer,
    head: QuantileHead,
    *,
    horizon: int,
    season_length: int,
    dropout: float,
    conv_filters: int | None,
    conv_width: int,
    segment: int | None,
    decoder_units: int,
    static_cardinalities: Sequence[int],
    auxiliary_weight: float | None,
    mean: bool,
) -> Tensor:
    """The network itself: raw windows to `(batch, horizon, outputs)`, raw unit."""
    lookback = inputs["target"].shape[1]
    scaled, observed, location, scale = scaler(inputs["target"])
    change = _seasonal_change(scaled, observed, season_length)
    steps = ops.stack([scaled, observed, change], axis=-1)  # (batch, lookback, 3)
    if "future" in inputs:
        known = zero_missing(inputs["future"])
        # (batch, lookback, 3 + num_future)
        steps = ops.concatenate([steps, known[:, :lookback]], axis=-1)
    if "past" in inputs:
        steps = ops.concatenate([steps, zero_missing(inputs["past"])], axis=-1)
    static = describe_series(inputs, static_cardinalities)
    if segment is not None:
        steps = embed_segments(
            steps,
            static,
            length=segment,
            units=encoder.units[0],
            conv_filters=conv_filters,
            conv_width=conv_width,
        )
        conv_filters = None  # has been applied
    elif static:
        told = ops.repeat(ops.concatenate(static, axis=-1)[:, None], lookback, axis=1)
        steps = ops.concatenate([steps, told], axis=-1)
    encoded, causal = encode(
        steps,
        None,
        encoder,
        conv_filters=conv_filters,
        conv_width=conv_width,
        causal_front=True,
    )
    if auxiliary_weight is not None:
        width = segment or 1
        predicted = keras.layers.Dense(width, name="next_step")(causal)
        values = [cut_segments(x[..., None], width) for x in (scaled, observed)]
        loss = NextValueLoss(auxiliary_weight, name="next_step_loss")
        encoded = loss(encoded, predicted, *values)
    known_ahead = known_before = None
    if "future" in inputs:
        known_ahead = known[:, lookback:]
        known_before = tile_season(known[:, :lookback], season_length, horizon)
    forecast = decode(
        encoded[:, -1],
        scaled,
        log_noise(change),
        static,
        known_ahead,
        known_before,
        head,
        horizon=horizon,
        season_length=season_length,
        dropout=dropout,
        segment=segment,
        decoder_units=decoder_units,
        mean=mean,
    )
    return WindowUnscaler(scaler.scaling, name="unscaler")(forecast, location, scale)


def _check_direction(bidirectional: bool | str) -> None:
    if bidirectional not in (False, "auto"):
        raise ValueError(
            "`bidirectional` must be 'auto' or False for forecasting, since the "
            f"backward direction needs the future. Received: {bidirectional=}"
        )


def log_noise(change: Tensor) -> Tensor:
    """How far seasons differ, and how jumpily: `(batch, lookback)` -> `(batch, 2)`.

    The width of the intervals depends on it, and a recurrence learns averages of
    absolute values slowly.
    """
    jumps = change[:, 1:] - change[:, :-1]
    sizes = [ops.mean(ops.abs(x), axis=1) for x in (change, jumps) if x.shape[1]]
    return ops.log(1e-3 + ops.stack(sizes, axis=-1))


def _seasonal_change(scaled: Tensor, observed: Tensor, season_length: int) -> Tensor:
    """`y[t] - y[t - season]` where both were observed, else 0: `(batch, lookback)`."""
    if season_length >= scaled.shape[1]:
        return ops.zeros_like(scaled)
    now, before = slice(season_length, None), slice(None, -season_length)
    both = observed[:, now] * observed[:, before]
    change = (scaled[:, now] - scaled[:, before]) * both
    return ops.pad(change, ((0, 0), (season_length, 0)))
