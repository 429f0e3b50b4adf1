"""Forecaster: a long frame in, forecasts with intervals out."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import keras
import numpy as np
import pandas as pd

from keras_seq.errors import (
    check_choice,
    check_integer,
    suggests_names,
)
from keras_seq.forecasting import fitting
from keras_seq.forecasting.backtest import rolling_origin
from keras_seq.forecasting.ensemble import build_member, combine
from keras_seq.forecasting.features import (
    CovariateEncoder,
    calendar_features,
    default_season_length,
)
from keras_seq.forecasting.frames import (
    add_levels,
    forecast_frame,
    join_actuals,
    level_quantiles,
    path_frame,
)
from keras_seq.forecasting.intervals import (
    Calibration,
    draw_shares,
)
from keras_seq.forecasting.lag_copy import find_lag_copy
from keras_seq.forecasting.panel import Columns, Panel, cut_frame, make_panel
from keras_seq.forecasting.rolling import roll
from keras_seq.forecasting.scores import (
    BASELINES,
    score,
    score_backtest,
    seasonal_naive,
)
from keras_seq.forecasting.stream_fitting import train_stream
from keras_seq.forecasting.streams import StreamStates, read_states
from keras_seq.forecasting.windows import (
    WindowSource,
    WindowSpec,
    choose_lookback,
    split_origins,
)
from keras_seq.layers.quantiles import check_quantiles
from keras_seq.layers.recurrent import CELLS
from keras_seq.layers.scaling import LOCATION_INVARIANT, SCALINGS
from keras_seq.layers.segments import choose_segment
from keras_seq.training.checkpoint import Checkpoint
from keras_seq.training.ensemble import join_histories, member_seed
from keras_seq.training.estimator import SequenceEstimator
from keras_seq.training.runtime import resolve_precision

if TYPE_CHECKING:
    from keras_seq.streaming import ForecastSession

# Saved as they are; what follows from them is settled again on load.
_LEARNED = (
    "freq_",
    "season_length_",
    "lookback_",
    "scaling_",
    "best_step_",
    "validation_",
)
# Constructor arguments that the builder takes under the same name.
_BUILDER_ARGS = (
    "horizon",
    "cell",
    "units",
    "num_layers",
    "quantiles",
    "point",
    "dropout",
    "recurrent_dropout",
    "normalization",
    "residual",
    "activation",
    "forget_bias",
    "num_heads",
    "conv_filters",
    "conv_width",
    "auxiliary",
    "auxiliary_weight",
    "learning_rate",
    "global_clipnorm",
    "clipnorm",
    "clipvalue",
    "jit",
    "seed",
)
# What a network that reads series as streams has no part for: left as it is here.
_WINDOWED_ARGS: dict[str, Any] = {
    "recurrent_dropout": 0.0,
    "num_heads": "auto",
    "conv_filters": None,
    "conv_width": 3,
    "auxiliary": None,
    "auxiliary_weight": 0.1,
    "decoder": "auto",
    "segment_length": "auto",
    "ensemble": 1,
    "distribution": None,
}


class Forecaster(SequenceEstimator):
    """Forecasts many series with one recurrent network.

    Scaling happens inside the network, window by window, so nothing has to be
    prepared, series never seen can be forecast, and the future cannot leak.

    Args:
        horizon: Steps to forecast.
        freq: Time step, a pandas frequency; None infers it. A whole number where
            `time_col` holds whole numbers (None: 1).
        season_length: Steps in a season; None: the usual one of `freq`, 1 for
            integer time.
        lookback: Steps the network sees; `"auto"` from season length, horizon and
            the series' lengths.
        cell: `"rnn"`, `"lstm"`, `"gru"`, or `"transformer"` to compare with.
        units: Hidden size, or one per layer.
        num_layers: Layers of the encoder.
        quantiles: What to forecast beside the median; increasing, within (0, 1).
        point: What `y_hat` is: `"median"`, the 0.5 quantile, or `"mean"`, trained by
            squared error beside the quantiles, for totals and for intermittent
            demand, whose median is often zero. How long to train is chosen by the
            quantiles in both cases.
        conformal: Whether `fit` calibrates the quantiles of each horizon step on the
            part it holds back (see `keras_seq.forecasting.intervals.Calibration`);
            `predict` then gives intervals of any `level`. Nothing is trained anew, so
            it may also be set after `fit`. Without a held-back part (every series
            too short) the quantiles stay the network's.
        scaling: `"standard"`, `"mean_abs"`, `"log"`, `"none"`, or `"auto"`.
        dropout: Rate between layers and before the decoder.
        recurrent_dropout: Rate on the recurrent state.
        normalization: Of each recurrent layer's outputs: `"layer"`, `"batch"` or None.
        residual: Whether each recurrent layer after the first adds its inputs.
        activation: Of the cell; anything but `"tanh"` costs the fast paths.
        forget_bias: Initial bias of the LSTM's forget gate.
        num_heads: Of a transformer; must divide `units`. `"auto"`: 4, 2 or 1.
        conv_filters: Filters of a causal convolution before the encoder; None: none.
        conv_width: Steps the convolution sees.
        decoder: `"direct"` reads step by step; `"segment"` reads and forecasts segments
            (SegRNN, Lin et al. 2023), so that long lookbacks are learned from;
            `"auto"`: segments from a lookback of 96 steps on, or where
            `segment_length` is given.
        segment_length: Steps in a segment; `"auto"`: a season, halved or doubled until
            the lookback has 4 to 16 segments.
        auxiliary: `"next_step"` trains to predict each next value as well.
        auxiliary_weight: Of that loss beside the main one.
        stateful: Whether series are read as streams, from the first step to the last
            with the state carried on (truncated backpropagation through time), and
            forecast from every step: for long memories, and for `stream`, which then
            needs no window. Each step is scaled by what came before it; `lookback` is
            how many last values the forecast sees beside the state, and about how long
            the running scale remembers. Windows, segments, convolution, ensembles,
            `recurrent_dropout` and `auxiliary` (every step is forecast anyway) do not
            go with it.
        chunk_length: Steps that gradients reach back in training, if `stateful`;
            `"auto"`: 100, or those of the longest series.
        learning_rate: Of Adam, at the start of its cosine decay.
        global_clipnorm: Limit of the gradient's norm; `"auto"` is 1.0 if no other
            clip is given. The three exclude each other.
        clipnorm: Limit of the norm of each variable's gradient.
        clipvalue: Limit of each element of the gradient.
        max_steps: Upper limit of training steps; `"auto"` is 1,000.
        batch_size: Windows per step; `"auto"` by their number, 32 to 256. If `stateful`
            lanes, series that are read side by side; `"auto"`: 8 to 64.
        patience: Checks of 50 steps without improvement on validation before
            training stops.
        refit_full: Whether to train again on everything, for as many steps as
            validation chose (`best_step_`); else the best weights so far are kept.
        ensemble: Number of networks, which differ in first weights, batches and
            dropout; or the lookback of each. Of each output the median of what they
            say is the forecast. Time and size are as many times those of one.
        precision: `"float32"`, `"mixed_bfloat16"`, `"mixed_float16"` or `"float64"`, in
            which the network computes; None: as Keras is set. Outputs are float32.
        jit: Whether XLA compiles each step; `"auto"`: on JAX, not on TensorFlow.
        distribution: `"auto"` trains on every accelerator, on JAX also those of other
            hosts (see `keras_seq.training.distribution.distributed`); None on one.
        seed: Of weights, batches and dropout. 0 is a seed like any other.
        id_col: Column with the series' names; None: the frame is one series.
        time_col: Column with stamps or whole numbers.
        target_col: Column to forecast.
        static_covariates: Columns that have one value per series.
        past_covariates: Columns known up to the last step of a series.
        future_covariates: Columns known ahead, such as prices or holidays; `predict`
            needs them for the steps to forecast. Of all three, NaN is missing.
            Numbers and booleans are standardised by the training rows; strings and the
            category type, also of numbers, are categories (of past and future ones at
            most 100), and one that `fit` did not see is taken as missing.

    Attributes:
        model_: The Keras model (of `build_forecaster`; of an `ensemble` one whose
            layers `member_1` and so on are such models).
        history_: DataFrame, one row per check: steps, losses, `grad_norm_mean` and
            `grad_norm_max` (L2 norm of all gradients together, before clipping),
            `clipped_fraction` (share of steps that clipping changed), seconds. Of an
            ensemble member by member, counted from 1 in `member`.
        best_step_: Steps of the longest training that validated within 2 % of the
            best; a list of an ensemble's.
        validation_: Scores on the validation part: `pinball` (scaled), `mae`, `mase`,
            and seasonal naive's, `mase_naive`; empty where every series is too short.
            freq_, season_length_, lookback_, scaling_, quantiles_: What was resolved.

    Example:
        >>> f = Forecaster(horizon=12)                                 # doctest: +SKIP
        >>> f.fit(keras_seq.datasets.load_aus_retail()).predict()      # doctest: +SKIP
    """

    @suggests_names
    def __init__(
        self,
        *,
        horizon: int,
        freq: str | int | None = None,
        season_length: int | None = None,
        lookback: int | str = "auto",
        cell: str = "gru",
        units: int | Sequence[int] = 64,
        num_layers: int = 1,
        quantiles: Sequence[float] = (0.1, 0.5, 0.9),
        point: str = "median",
        conformal: bool = False,
        scaling: str = "auto",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        normalization: str | None = None,
        residual: bool = False,
        activation: str = "tanh",
        forget_bias: float = 1.0,
        num_heads: int | str = "auto",
        conv_filters: int | None = None,
        conv_width: int = 3,
        decoder: str = "auto",
        segment_length: int | str = "auto",
        auxiliary: str | None = None,
        auxiliary_weight: float = 0.1,
        stateful: bool = False,
        chunk_length: int | str = "auto",
        learning_rate: float = 4e-3,
        global_clipnorm: float | str | None = "auto",
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        max_steps: int | str = "auto",
        batch_size: int | str = "auto",
        patience: int = 10,
        refit_full: bool = True,
        ensemble: int | Sequence[int] = 1,
        precision: str | None = None,
        jit: bool | str = "auto",
        distribution: str | None = None,
        seed: int = 0,
        id_col: str | None = "unique_id",
        time_col: str = "ds",
        target_col: str = "y",
        static_covariates: Sequence[str] = (),
        past_covariates: Sequence[str] = (),
        future_covariates: Sequence[str] = (),
    ):
        self.horizon = horizon
        self.freq = freq
        self.season_length = season_length
        self.lookback = lookback
        self.cell = cell
        self.units = units
        self.num_layers = num_layers
        self.quantiles = quantiles
        self.point = point
        self.conformal = conformal
        self.scaling = scaling
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.normalization = normalization
        self.residual = residual
        self.activation = activation
        self.forget_bias = forget_bias
        self.num_heads = num_heads
        self.conv_filters = conv_filters
        self.conv_width = conv_width
        self.decoder = decoder
        self.segment_length = segment_length
        self.auxiliary = auxiliary
        self.auxiliary_weight = auxiliary_weight
        self.stateful = stateful
        self.chunk_length = chunk_length
        self.learning_rate = learning_rate
        self.global_clipnorm = global_clipnorm
        self.clipnorm = clipnorm
        self.clipvalue = clipvalue
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.patience = patience
        self.refit_full = refit_full
        self.ensemble = ensemble
        self.precision = precision
        self.jit = jit
        self.distribution = distribution
        self.seed = seed
        self.id_col = id_col
        self.time_col = time_col
        self.target_col = target_col
        self.static_covariates = static_covariates
        self.past_covariates = past_covariates
        self.future_covariates = future_covariates

    def fit(
        self,
        df: pd.DataFrame | pd.Series,
        *,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        verbose: int | str = "auto",
        checkpoint: str | PathLike[str] | Checkpoint | None = None,
    ) -> Self:
        """Trains on a long frame.

        The last tenth of each series, at least one horizon, decides how many steps
        to train; then everything is trained on for as many (`refit_full`). Warns if the
        network only repeats the last value there, where a linear map of the window or
        the season before does better.

        Args:
            df: Long frame of pandas or polars, one row per series and step, in any
                order; or a Series with a DatetimeIndex. Gaps are filled as missing,
                NaN is missing.
            callbacks: Keras callbacks, for both trainings.
            verbose: 0 is silent; otherwise progress with the time left is shown.
            checkpoint: Folder that makes the fit resumable: after each epoch it holds
                all that the fit needs to go on, and the same call again goes on from
                there, to the same weights as if nothing had happened. When the fit
                has ended its files are removed. What `callbacks` remember is not
                kept.

        Raises:
            ValueError: If the frame or an argument breaks a rule; the message names
                the column and the first rows. If `checkpoint` holds another fit.
        """
        panel = self._panel(df)
        kept = Checkpoint.open(checkpoint, self, df)
        self._fit_panel(panel, callbacks, verbose, kept)
        if kept:
            kept.end()
        return self

    def _fit_panel(
        self,
        panel: Panel,
        callbacks: Any = None,
        verbose: int | str = "auto",
        checkpoint: Checkpoint | None = None,
    ) -> Self:
        self.__dict__.pop("model_", None)  # a fit that fails leaves nothing half done
        self._resolve(panel)
        held_out = split_origins(panel.lengths, self._spec, validation=True)
        limit = 1000 if self.max_steps == "auto" else self.max_steps
        limit = check_integer("max_steps", limit, 1)
        lookbacks = [own.get("lookback", self.lookback_) for own in self._member_args()]
        made = {
            steps: WindowSource(panel, replace(self._spec, lookback=steps))
            for steps in set(lookbacks)
        }
        sources = [made[steps] for steps in lookbacks]
        source, count = sources[0], len(sources)
        train_network: Any = partial(fitting.train, distribution=self.distribution)
        if self.stateful:
            train_network = partial(train_stream, chunk_length=self.chunk_length)

        def train(
            steps: list[int], title: str, validation: bool
        ) -> tuple[list[keras.Model], list[pd.DataFrame]]:
            trained = []
            for number, own in enumerate(sources, start=1):
                which = f" member {number} of {count}" if count > 1 else ""
                member = train_network(
                    self._member_args()[number - 1],
                    own,
                    split_origins(panel.lengths, own.spec, validation),
                    steps=steps[number - 1],
                    batch_size=self.batch_size,
                    patience=self.patience,
                    seed=member_seed(self.seed, number),
                    callbacks=callbacks,
                    verbose=verbose,
                    title=f"{title}{which}",
                    checkpoint=checkpoint,
                )
                trained.append(member)
            return [model for model, _ in trained], [past for _, past in trained]

        if len(held_out.series):
            members, histories = train([limit] * count, "fit", validation=True)
            best = [fitting.choose_step(history) for history in histories]
            model = combine(members, self.jit)
            self.validation_ = {
                "pinball": float(histories[0]["val_pinball"].min())
                if count == 1
                else fitting.score_pinball(model, source, held_out),
                **fitting.validate(model, source, held_out, self.season_length_),
            }
            spreads = [
                fitting.calibrate(
                    member, own, split_origins(panel.lengths, own.spec, validation=True)
                )
                for member, own in zip(members, sources, strict=True)
            ]
            self._calibration = fitting.learn_calibration(model, source, held_out)
            if verbose:
                print(fitting.verdict(self.validation_))
            copied = find_lag_copy(
                model, source, held_out, self.season_length_, self.seed
            )
            if copied:
                warnings.warn(copied, stacklevel=3)
            if self.refit_full:
                members, _ = train(best, "refit", validation=False)
                for member, spread in zip(members, spreads, strict=True):
                    member.get_layer("quantiles").spread.assign(spread)
                model = combine(members, self.jit)
        else:  # every series is too short to hold some of it back
            best = [min(limit, fitting.SHORT_SERIES_STEPS)] * count
            members, histories = train(best, "fit", validation=False)
            model = combine(members, self.jit)
            self.validation_ = {}
            self._calibration = fitting.learn_calibration(model, source, held_out)
        self.history_ = join_histories(histories)
        self.best_step_ = best[0] if count == 1 else best
        if self.conformal:
            self._warn_of_few_errors()
        self._tail = panel.tail(max(self.lookback_, self.season_length_))
        self.model_ = model
        self._stream = None
        if self.stateful:  # `predict` reads the last step of each series again
            self._stream = replace(
                read_states(model, source, panel.lengths - 1),
                after=self._tail.lengths - 1,
            )
        return self

    @property
    def fit_end_(self) -> pd.Series:
        """The last stamp of each series in `fit`, indexed by id."""
        self._check_fitted()
        return self._tail.last_stamps()

    def _resolve(self, panel: Panel) -> None:
        """Checks the arguments and settles those left to `"auto"`."""
        check_integer("horizon", self.horizon, 1)
        check_integer("patience", self.patience, 1)
        check_integer("seed", self.seed, 0)
        check_choice("scaling", self.scaling, ("auto", *SCALINGS))
        check_quantiles(self.quantiles)
        longest = int(panel.lengths.max())
        if longest < 2 or not np.isfinite(panel.values).any():
            raise ValueError(
                f"`fit` needs a series with at least two steps in {self.target_col!r}. "
                f"Received: {len(panel.ids)} series, the longest of {longest} steps, "
                f"{int(np.isfinite(panel.values).sum())} values in all"
            )
        self.freq_ = panel.grid.freq
        self.season_length_ = self._resolve_season(panel)
        self._check_stateful()
        self.scaling_ = "standard" if self.scaling == "auto" else self.scaling
        lookbacks = self._resolve_lookbacks(panel)
        self.lookback_ = lookbacks[0]
        self._encoder = None
        self._settle()
        end = split_origins(panel.lengths, self._spec, validation=True).end
        self._encoder = CovariateEncoder.learn(panel, end)
        self._settle()
        widths = self._encoder.widths() if self._encoder else {"num_future": 0}
        calendar = calendar_features(panel.grid.stamps(0, 1), self.freq_)
        shared = {
            **widths,
            **{name: getattr(self, name) for name in _BUILDER_ARGS},
            "precision": resolve_precision(self.precision),
            "scaling": self.scaling_,
            "num_future": calendar.shape[1] + widths["num_future"],
        }
        if self.stateful:
            self._builder_args = self._stream_args(shared, calendar.shape[1])
            return
        members = [{**shared, **self._resolve_network(steps)} for steps in lookbacks]
        if len(members) == 1:
            self._builder_args = members[0]
            return
        for number, own in enumerate(members, start=1):
            own |= {"member": number, "seed": member_seed(self.seed, number)}
        self._builder_args = {"members": members, "jit": self.jit}

    def _resolve_lookbacks(self, panel: Panel) -> list[int]:
        """That of each network, the longest first."""
        if isinstance(self.ensemble, list | tuple):
            if self.lookback != "auto" or not self.ensemble:
                raise ValueError(
                    "`ensemble` as a list must hold lookbacks, and `lookback` be 'auto'"
                    f". Received: ensemble={self.ensemble}, lookback={self.lookback!r}"
                )
            name, lookbacks = "ensemble", list(self.ensemble)
        else:
            count = check_integer("ensemble", self.ensemble, 1)
            if self.lookback == "auto":
                about = self.season_length_, self.horizon, panel.grid.freq
                return [choose_lookback(panel.lengths, *about)] * count
            name, lookbacks = "lookback", [self.lookback] * count
        longest = int(panel.lengths.max())
        for steps in lookbacks:
            if check_integer(name, steps, 1) >= longest:
                raise ValueError(
                    f"`{name}` must leave a step to forecast: the longest series has "
                    f"{longest} steps, so {longest - 1} is the longest usable. "
                    f"Received: {name}={steps}"
                )
        return sorted(map(int, lookbacks), reverse=True)

    def _resolve_network(self, lookback: int) -> dict[str, Any]:
        """What arguments of the builder follow from a lookback."""
        season = self.season_length_ if self.season_length_ <= lookback else 1
        segment = choose_segment(
            self.decoder, self.segment_length, lookback=lookback, season_length=season
        )
        return {
            "lookback": lookback,
            "season_length": season,
            # Settled here, since what "auto" means may change after saving.
            "decoder": "direct" if segment is None else "segment",
            "segment_length": segment or "auto",
        }

    def _check_stateful(self) -> None:
        """Whether the arguments go together with `stateful`."""
        check_choice("stateful", self.stateful, (True, False))
        if self.chunk_length != "auto":
            check_integer("chunk_length", self.chunk_length, 1)
        if not self.stateful:
            return
        check_choice("cell", self.cell, CELLS)  # a transformer has no state
        for name, usual in _WINDOWED_ARGS.items():
            if getattr(self, name) != usual:
                raise ValueError(
                    f"`{name}` does not go with stateful=True: leave it at {usual!r}. "
                    f"Received: {name}={getattr(self, name)!r}"
                )

    def _stream_args(self, shared: dict[str, Any], num_calendar: int) -> dict[str, Any]:
        """Arguments of `build_stream_forecaster`."""
        season = self.season_length_ if self.season_length_ <= self.lookback_ else 1
        return {
            "stateful": True,
            "context": self.lookback_,
            "season_length": season,
            "num_calendar": num_calendar,
            **{k: v for k, v in shared.items() if k not in _WINDOWED_ARGS},
        }

    def _member_args(self) -> list[dict[str, Any]]:
        """Arguments of `build_member` for each network."""
        return self._builder_args.get("members", [self._builder_args])

    def _resolve_season(self, panel: Panel) -> int:
        if self.season_length is None:
            return default_season_length(panel.grid.freq)
        return check_integer("season_length", self.season_length, 1)

    def _build_model(self, **arguments: Any) -> keras.Model:
        if "members" in arguments:
            members = [build_member(own) for own in arguments["members"]]
            return combine(members, arguments["jit"])
        if arguments.get("stateful"):
            return build_member(arguments)
        # Files from before there were segments do not name a decoder.
        return build_member({"decoder": "direct", **arguments})

    def predict(
        self,
        history: pd.DataFrame | pd.Series | None = None,
        future: pd.DataFrame | None = None,
        *,
        horizon: int | None = None,
        level: Sequence[float] | None = None,
    ) -> pd.DataFrame:
        """Forecasts the steps after a history.

        Args:
            history: Long frame of any series, seen in `fit` or not; None: after the
                training data.
            future: Long frame of the future covariates, one row for each step to
                forecast; other rows and columns are not read.
            horizon: Steps; None: the fitted `horizon`. More of them are forecast by
                rolling forward: `y_hat` is taken for what came, and the next steps are
                forecast from there; intervals widen as the errors of the parts add up.
            level: Intervals to name, in percent, each within (0, 100): `[80]` gives
                `y_hat_lo80` and `y_hat_hi80`. Their bounds must be among `quantiles`,
                unless the forecaster is `conformal`.

        Returns:
            One row per series and step: id and time columns, `y_hat`, one
            `y_hat_q*` per quantile, in the unit of the target column.

        Raises:
            ValueError: If `level` or `horizon` is out of its range, or a bound was
                not trained; the message names the quantiles to add. If `future` does
                not hold all steps; the message names the first that are missing.
        """
        self._check_fitted()
        if horizon is not None:
            check_integer("horizon", horizon, 1)
        calibrated = self.conformal and self._calibration.usable
        pairs = level_quantiles(
            () if level is None else level, self.quantiles_, not calibrated
        )
        if calibrated and pairs:
            bounds = [bound for pair in pairs.values() for bound in pair]
            self._calibration.warn_of_tails(bounds)
        panel = self._tail if history is None else self._panel(history, fitted=True)
        panel = self._look_ahead(panel, future, horizon)
        frame = self._forecast_panel(panel, horizon, pairs)
        return self._columns.rename(frame)

    def _forecast_panel(
        self,
        panel: Panel,
        horizon: int | None = None,
        levels: dict[float, tuple[float, float]] | None = None,
    ) -> pd.DataFrame:
        horizon = horizon or self.horizon
        shown = self.quantiles_
        if self.conformal and self._calibration.usable:
            bounds = {bound for pair in (levels or {}).values() for bound in pair}
            shown = tuple(sorted({*shown, *bounds}))
        # The end of the training data goes on from what was read before it.
        start = self._stream if panel.ids is self._tail.ids else None
        point, values = roll(
            panel,
            lambda seen: self._forecast_once(seen, shown, start),
            step=self.horizon,
            horizon=horizon,
            middle=shown.index(0.5),
            log=self.scaling_ == "log",
        )
        frame = forecast_frame(panel, values, shown, point)
        frame = add_levels(frame, levels or {})
        extra = [f"y_hat_q{q:g}" for q in shown if q not in self.quantiles_]
        return frame.drop(columns=extra)

    def _forecast_once(
        self,
        panel: Panel,
        quantiles: tuple[float, ...],
        start: StreamStates | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The point forecast, `(num_series, horizon)`, and quantiles on a last axis."""
        source = WindowSource(panel, self._spec)
        series = np.arange(len(panel.ids))
        asked = self.model_, source, series, panel.lengths, start
        if not (self.conformal and self._calibration.usable):
            values = fitting.forecast(*asked)
            return values[..., self.model_.point_index], values[..., : len(quantiles)]
        values, scaled = fitting.forecast_scaled(*asked)
        point = values[..., self.model_.point_index]
        calibrated = self._calibration.quantiles(scaled, np.array(quantiles))
        return point, scaled.unscale(calibrated)

    def simulate(
        self,
        num_paths: int = 100,
        history: pd.DataFrame | pd.Series | None = None,
        future: pd.DataFrame | None = None,
        *,
        horizon: int | None = None,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Draws sample paths of the steps after a history.

        At each step the paths are distributed as the quantiles of `predict` say:
        between and beyond trained quantiles like a normal distribution, with
        `conformal=True` as the held-back errors. From step to step they go together
        as the held-back errors did (a normal copula of their ranks), so that totals
        and extremes over several steps have the right spread; without a held-back
        part, as errors of a random walk. Paths of different series are independent,
        so a total over series would spread too little where series share shocks.

        Args:
            num_paths: Paths of each series.
            history: As in `predict`.
            future: As in `predict`.
            horizon: Steps, at most the fitted `horizon`; None: all of them.
            seed: Of the draws; the paths of a series do not depend on which others
                are drawn.

        Returns:
            One row per series, path and step: id, `path` (from 0), time, and the
            target column.

        Raises:
            ValueError: If an argument breaks a rule, or only the median was trained
                and there is no `conformal`.
        """
        self._check_fitted()
        check_integer("num_paths", num_paths, 1)
        check_integer("seed", seed, 0)
        horizon = self._check_horizon(horizon)
        panel = self._tail if history is None else self._panel(history, fitted=True)
        panel = self._look_ahead(panel, future, horizon)
        source = WindowSource(panel, self._spec)
        series = np.arange(len(panel.ids))
        start = self._stream if history is None else None
        _, scaled = fitting.forecast_scaled(
            self.model_, source, series, panel.lengths, start
        )
        shares = draw_shares(
            self._calibration.correlation(), num_paths, panel.ids, seed
        )
        if self.conformal and self._calibration.usable:
            paths = self._calibration.quantiles(scaled, shares)
        else:
            paths = scaled.interpolate(shares)
        frame = path_frame(panel, scaled.unscale(paths)[:, :horizon])
        return self._columns.rename(frame)

    def _check_horizon(self, horizon: int | None) -> int:
        """The steps to forecast, at most as many as were fitted."""
        if horizon is None:
            return self.horizon
        if check_integer("horizon", horizon, 1) > self.horizon:
            raise ValueError(
                f"`horizon` must not exceed the fitted one, {self.horizon}. "
                f"Received: {horizon=}"
            )
        return horizon

    def _warn_of_few_errors(self) -> None:
        if self._calibration.usable:
            self._calibration.warn_of_tails(self.quantiles_, stacklevel=4)
        else:
            warnings.warn(
                "conformal=True has too little held back to calibrate with: series "
                "must be longer than two horizons. The quantiles are the network's.",
                stacklevel=4,
            )

    def evaluate(
        self, history: pd.DataFrame | pd.Series, future: pd.DataFrame | pd.Series
    ) -> dict[str, Any]:
        """Scores forecasts after `history` against what came, beside seasonal naive.

        Args:
            history: Long frame up to the forecast origin of each series.
            future: The rows that followed, at most `horizon` steps per series, with
                their future covariates.

        Returns:
            `mae`, `rmse`, `smape`, `mase` (means over series), `scaled_crps` (twice the
            mean pinball loss over the quantiles, over the mean |y|), `coverage` of the
            widest interval beside its `level` in percent, `skill` (1 - mase / mase
            of seasonal naive), `n` points scored, and `baselines`.

        Raises:
            ValueError: If `future` holds rows that `fit` has seen, or rows outside
                of the horizon.
        """
        self._check_fitted()
        past = self._panel(history, fitted=True)
        columns = self._columns
        plain = columns.without_covariates()
        actual = make_panel(future, plain, self.freq_).observed()
        seen = actual[actual["ds"] <= actual["unique_id"].map(self.fit_end_)]
        if len(seen):
            raise ValueError(
                "`future` must lie after `fit_end_`, the last step that `fit` has "
                f"seen: a score of rows trained on says nothing. {len(seen)} rows "
                f"break this, the first:\n{seen.head(5).to_string()}"
            )
        if self.future_covariates:  # steps that are not scored need none
            past = past.with_future(future, columns, self.horizon, whole=False)
        frame = self._forecast_panel(past)
        naive = seasonal_naive(past, self.season_length_, self.horizon)
        frame["seasonal_naive"] = naive.reshape(-1)
        return score(
            join_actuals(frame, actual),
            past,
            season_length=self.season_length_,
            quantiles=self.quantiles_,
        )

    def backtest(
        self,
        df: pd.DataFrame | pd.Series,
        num_windows: int = 3,
        step_size: int | None = None,
        refit: bool = False,
        verbose: int | str = "auto",
    ) -> pd.DataFrame:
        """Forecasts the past from rolling origins, seeing only what came before each.

        Never uses this forecaster's network: a clone is fitted on the rows before the
        first cutoff. Cutoffs are the same stamps for all series, so that no series
        tells of another's future.

        Args:
            df: Long frame, as in `fit`. Future covariates are known after a cutoff as
                they stand there.
            num_windows: Number of cutoffs; the last one leaves one horizon.
            step_size: Steps between cutoffs; None: one horizon.
            refit: Whether to fit a clone before every cutoff.
            verbose: As in `fit`.

        Returns:
            One row per series, cutoff and step that has an actual value: id, `cutoff`
            (last stamp seen), time, target, `y_hat`, `y_hat_q*`, and the baselines:
            `seasonal_naive`, the season before, and `naive`, the last value.
            `score_backtest` scores it.
        """
        check_integer("num_windows", num_windows, 1)
        step_size = self.horizon if step_size is None else step_size
        check_integer("step_size", step_size, 1)
        frame = rolling_origin(
            self, self._panel(df), num_windows, step_size, refit, verbose
        )
        return self._columns.rename(frame)

    def score_backtest(
        self,
        windows: pd.DataFrame,
        df: pd.DataFrame | pd.Series,
        by: str | None = None,
    ) -> pd.DataFrame:
        """Scores what `backtest` returned, beside its baselines.

        Args:
            windows: As `backtest` returned it, or some of its rows.
            df: The frame given to `backtest`: MASE divides by the seasonal changes
                up to each cutoff.
            by: None for one row per model; `"series"` or `"cutoff"` for one row per
                model and series or cutoff.

        Returns:
            Columns as in `keras_seq.forecasting.scores.score_backtest`: `model`,
            `n`, `mae`, `rmse`, `smape`, `mase`, `scaled_crps`, `coverage`, `level`,
            `skill`.

        Raises:
            ValueError: If `windows` lacks a column or `by` is another.
        """
        panel = self._panel(df)
        ours = self._columns.restore(windows)
        quantiles = [f"y_hat_q{q:g}" for q in self.quantiles_]
        for name in ("unique_id", "cutoff", "ds", "y", "y_hat", *quantiles, *BASELINES):
            if name not in ours:
                raise ValueError(
                    "`windows` must be what `backtest` of a forecaster with these "
                    f"arguments returned. It has no column {name!r}."
                )
        table = score_backtest(
            ours,
            panel,
            season_length=self._resolve_season(panel),
            quantiles=self.quantiles_,
            by=by,
        )
        return self._columns.rename(table) if by == "series" else table

    def split_folds(
        self, count: int, df: pd.DataFrame | pd.Series
    ) -> Iterator[tuple[tuple[pd.DataFrame], dict[str, Any]]]:
        """Rolling origins, one horizon apart: what `fit` takes for each.

        Of each frame `fit` itself holds the end back for validation. The last frame
        is the whole of `df`.

        Args:
            count: Number of origins.
            df: Long frame, as in `fit`.
        """
        panel = self._panel(df)
        ends = panel.end - self.horizon * np.arange(count - 1, -1, -1)
        if panel.until(max(int(ends[0]), 0)).lengths.max(initial=0) <= 2 * self.horizon:
            raise ValueError(
                f"`folds` must leave a series of more than two horizons before the "
                f"first origin. Received: folds={count}, horizon={self.horizon}, and "
                f"data that span {panel.end} steps"
            )
        for end in ends:
            last = panel.grid.stamps(int(end) - 1, 1)[0]
            yield (cut_frame(df, self._columns, last),), {}

    def stream(
        self,
        *,
        history: pd.DataFrame | pd.Series | str | None = None,
        engine: str = "auto",
        on_late: str = "error",
        max_keys: int | None = None,
        on_full: str = "drop",
        spill: str | PathLike[str] | None = None,
    ) -> "ForecastSession":
        """Opens a session that takes values as they come and forecasts what follows.

        A `stateful` forecaster carries the state of each key; another one keeps the
        last `lookback_` values and reads them again.

        Args:
            history: What keys start from. None: nothing; `"fit"`: the end of the
                training data; or a long frame of any keys, as `predict` takes it.
            engine: `"numpy"`, which answers soonest; `"keras"`; or `"auto"`: NumPy
                where it can run the network.
            on_late: What to do about stamps at or before a key's last one: `"error"`,
                or `"skip"`, which counts them.
            max_keys: Most keys that are kept; None: any number.
            on_full: What happens to the keys longest unused if there are more:
                `"drop"` forgets them, `"write"` writes them to `spill`, from where they
                come back.
            spill: Folder for `on_full="write"`.

        Returns:
            A `keras_seq.streaming.ForecastSession`; `session.step({"store_1": 12.0})`.

        Raises:
            ValueError: If an argument breaks a rule, or there are covariates.
        """
        from keras_seq.streaming import open_session

        return open_session(
            self,
            history=history,
            engine=engine,
            on_late=on_late,
            max_keys=max_keys,
            on_full=on_full,
            spill=spill,
        )

    def plot(
        self,
        df: pd.DataFrame | None = None,
        future: pd.DataFrame | None = None,
        *,
        ids: Sequence[Any] | None = None,
        axes: Any = None,
    ) -> Any:
        """Draws forecasts with intervals after their history.

        Args:
            df: Long frame to forecast; None: the end of the training data.
            future: Future covariates, as in `predict`.
            ids: Series to draw; None: the first six.
            axes: Matplotlib axes to draw on; None makes them.

        Returns:
            The axes.
        """
        from keras_seq import plotting

        self._check_fitted()
        panel = self._tail if df is None else self._panel(df, fitted=True)
        history = panel.tail(4 * self.horizon + self.lookback_).observed()
        forecasts = self._forecast_panel(self._look_ahead(panel, future))
        columns = self._columns
        return plotting.plot_forecasts(
            columns.rename(history),
            columns.rename(forecasts),
            id_col=columns.id,
            time_col=columns.time,
            target_col=columns.target,
            ids=ids,
            axes=axes,
        )

    @property
    def quantiles_(self) -> tuple[float, ...]:
        """Quantiles of the outputs: those asked for and the median, in order."""
        return tuple(sorted({*(float(q) for q in self.quantiles), 0.5}))

    @property
    def _columns(self) -> Columns:
        return Columns(
            self.id_col,
            self.time_col,
            self.target_col,
            self.static_covariates,
            self.past_covariates,
            self.future_covariates,
        )

    def _panel(self, frame: Any, fitted: bool = False) -> Panel:
        if not fitted:
            return make_panel(frame, self._columns, self.freq)
        levels = self._encoder.levels() if self._encoder else None
        return make_panel(frame, self._columns, self.freq_, levels)

    def _look_ahead(
        self, panel: Panel, future: Any, horizon: int | None = None
    ) -> Panel:
        """Adds the future covariates of the steps to forecast."""
        if not self.future_covariates:
            if future is None:
                return panel
            raise ValueError(
                "`future` must be left out, since this Forecaster was fitted without "
                f"`future_covariates`. Received: {type(future).__name__}"
            )
        if future is None:
            raise ValueError(
                "`future` must be given: a long frame with the columns "
                f"{list(self.future_covariates)} for the steps to forecast. "
                "Received: future=None"
            )
        return panel.with_future(future, self._columns, horizon or self.horizon)

    def _get_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        learned = {name: getattr(self, name) for name in _LEARNED}
        # JSON has no NaN, which is what a score is that nothing could be compared with.
        learned["validation_"] = {
            name: None if np.isnan(value) else value
            for name, value in self.validation_.items()
        }
        history = self.history_.to_dict(orient="list")
        tail, arrays = self._tail.get_state()
        arrays = {**arrays, "calibration": self._calibration.deviations}
        if self._stream is not None:
            arrays |= self._stream.get_state()
        state = {"learned": learned, "history": history, "tail": tail}
        if self._encoder:
            state["covariates"] = self._encoder.get_state()
        return state, arrays

    def _set_state(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        for name in _LEARNED:
            setattr(self, name, state["learned"][name])
        self.validation_ = {
            name: np.nan if value is None else value
            for name, value in self.validation_.items()
        }
        self.history_ = pd.DataFrame(state["history"])
        self._tail = Panel.from_state(state["tail"], arrays)
        self._encoder = None
        if "covariates" in state:
            self._encoder = CovariateEncoder.from_state(state["covariates"])
        none = np.zeros((0, self.horizon), np.float32)  # saved before there was any
        self._calibration = Calibration(arrays.get("calibration", none))
        self._stream = StreamStates.from_state(arrays) if self.stateful else None
        self._settle()

    def _settle(self) -> None:
        """Sets what follows from other learned attributes."""
        self._spec = WindowSpec(
            self.lookback_,
            self.horizon,
            self.scaling_ in LOCATION_INVARIANT,
            self._encoder,
        )
