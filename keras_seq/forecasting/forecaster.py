"""Forecaster: a long frame in, forecasts with intervals out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import keras
import numpy as np
import pandas as pd

from keras_seq.errors import check_choice, check_integer, suggests_names, warn
from keras_seq.forecasting import fitting, saving
from keras_seq.forecasting.arguments import (
    check_gaps,
    check_logarithms,
    check_panel,
    check_stateful,
    choose_scalings,
    network_arguments,
    resolve_calendar,
    resolve_lookbacks,
    resolve_nonnegative,
    resolve_season,
    warn_of_missing_end,
)
from keras_seq.forecasting.backtest import check_windows, cut_folds, rolling_origin
from keras_seq.forecasting.ensemble import build_member, combine
from keras_seq.forecasting.features import CovariateEncoder, calendar_features
from keras_seq.forecasting.forecast_columns import check_column_names
from keras_seq.forecasting.frames import join_actuals, level_quantiles, path_frame
from keras_seq.forecasting.lag_copy import find_lag_copy
from keras_seq.forecasting.members import (
    calibrate_members,
    can_validate,
    set_spreads,
    train_members,
    window_sources,
)
from keras_seq.forecasting.nonnegative import bends
from keras_seq.forecasting.panel import Columns, Panel, make_panel
from keras_seq.forecasting.prediction import draw_paths, forecast_panel
from keras_seq.forecasting.scores import score, score_backtest, seasonal_naive
from keras_seq.forecasting.streams import read_states
from keras_seq.forecasting.windows import Split, WindowSource, WindowSpec, split_origins
from keras_seq.layers.quantiles import check_quantiles
from keras_seq.layers.scaling import SCALINGS
from keras_seq.numpy_runtime.scaling import is_centered
from keras_seq.training.checkpoint import Checkpoint
from keras_seq.training.ensemble import join_histories
from keras_seq.training.estimator import SequenceEstimator

if TYPE_CHECKING:
    from keras_seq.streaming import ForecastSession

# What networks were built with in files from before there was anything else to name.
_FORMER_ARGS = {"decoder": "direct", "decoder_units": 16}


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
        calendar: Which places the network is told besides the values: of `"day"`
            (hour), `"week"` (weekday) and `"year"` (day of the year, or month).
            `"auto"`: of those longer than a step the ones that the training rows go
            through twice, for what was seen once would be learned by heart.
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
        scaling: `"standard"`, `"robust"` (by median and median distance from it, which
            outliers do not move; not if `stateful`), `"mean_abs"`, `"log"`, `"none"`,
            or `"auto"`: standard, and of an `ensemble` the first and every second
            network after it in logarithms, where all values are positive and the
            largest of the usual series is a quarter above its least (`scaling_` is
            then `"mixed"`): the two err differently.
        nonnegative: Whether forecasts are kept from falling below zero: under the
            lowest tenth of their window, or half its mean, they are bent towards zero,
            which they reach only where values are zero. `"auto"`: where no training
            value is negative, and never if `stateful` (`nonnegative_`). Forecasts in
            logarithms are positive by themselves.
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
        decoder: `"direct"` reads step by step; `"segment"` reads and forecasts segments
            (SegRNN, Lin et al. 2023), so that long lookbacks are learned from;
            `"auto"`: segments from a lookback of 96 steps on, or where
            `segment_length` is given.
        segment_length: Steps in a segment; `"auto"`: a season, halved or doubled until
            the lookback has 4 to 16 segments.
        decoder_units: Features of each step ahead, from which its quantiles are read.
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
            freq_, season_length_, lookback_, calendar_, scaling_, nonnegative_,
            quantiles_: What was resolved.

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
        calendar: Sequence[str] | str = "auto",
        cell: str = "gru",
        units: int | Sequence[int] = 64,
        num_layers: int = 1,
        quantiles: Sequence[float] = (0.1, 0.5, 0.9),
        point: str = "median",
        conformal: bool = False,
        scaling: str = "auto",
        nonnegative: bool | str = "auto",
        dropout: float = 0.1,
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
        self.calendar = calendar
        self.cell = cell
        self.units = units
        self.num_layers = num_layers
        self.quantiles = quantiles
        self.point = point
        self.conformal = conformal
        self.scaling = scaling
        self.nonnegative = nonnegative
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.normalization = normalization
        self.residual = residual
        self.activation = activation
        self.forget_bias = forget_bias
        self.memory_steps = memory_steps
        self.num_heads = num_heads
        self.conv_filters = conv_filters
        self.conv_width = conv_width
        self.decoder = decoder
        self.segment_length = segment_length
        self.decoder_units = decoder_units
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

        The last tenth of each series, at least one horizon, decides from which linear
        forecast to start (see `keras_seq.forecasting.linear_start`) and how many steps
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
        limit = 1000 if self.max_steps == "auto" else self.max_steps
        limit = check_integer("max_steps", limit, 1)
        sources = window_sources(self, panel)
        check_gaps(self, sources)
        held_out = split_origins(panel.observed_lengths, self._spec, validation=True)
        train = partial(
            train_members,
            self,
            sources,
            callbacks=callbacks,
            verbose=verbose,
            checkpoint=checkpoint,
        )
        if can_validate(sources):
            model = self._learn(train, limit, sources, held_out, verbose)
        else:  # series are too short to hold some of them back, or have large gaps
            held_out = split_origins(panel.lengths, self._spec, validation=False)
            best = [min(limit, fitting.SHORT_SERIES_STEPS)] * len(sources)
            members, histories = train(best, "fit", validation=False)
            model = combine(members, self.jit)
            self.validation_: dict[str, float] = {}
            self._calibration = fitting.learn_calibration(model, sources[0], held_out)
            self._remember(histories, best)
        if self.conformal:
            self._warn_of_few_errors()
        self._tail = panel.tail(max(self.lookback_, self.season_length_))
        self.model_ = model
        self._stream = None
        if self.stateful:  # `predict` reads the last step of each series again
            self._stream = replace(
                read_states(model, sources[0], panel.lengths - 1),
                after=self._tail.lengths - 1,
            )
        return self

    def _learn(
        self,
        train: Callable[..., tuple[list[keras.Model], list[pd.DataFrame]]],
        limit: int,
        sources: list[WindowSource],
        held_out: Split,
        verbose: int | str,
    ) -> keras.Model:
        """Trains for as long as validation improves; then on everything for as long.

        Args:
            train: `train_members` for this panel.
            limit: Most steps.
            sources: Windows of each network.
            held_out: What is held back of those of the first.
            verbose: 0 is silent.
        """
        source, season = sources[0], self.season_length_
        members, histories = train([limit] * len(sources), "fit", validation=True)
        best = [fitting.choose_step(history) for history in histories]
        self._remember(histories, best)
        model = combine(members, self.jit)
        self.validation_ = fitting.validate(model, source, held_out, season)
        spreads = calibrate_members(members, sources)
        self._calibration = fitting.learn_calibration(model, source, held_out)
        if verbose:
            print(fitting.verdict(self.validation_))
        copied = find_lag_copy(model, source, held_out, season, self.seed)
        if copied:
            warn(copied)
        if not self.refit_full:
            return model
        members, _ = train(best, "refit", validation=False)
        set_spreads(members, spreads)
        return combine(members, self.jit)

    def _remember(self, histories: list[pd.DataFrame], best: list[int]) -> None:
        self.history_ = join_histories(histories)
        self.best_step_ = best[0] if len(best) == 1 else best

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
        check_column_names(self.quantiles_)
        check_panel(self, panel)
        warn_of_missing_end(self, panel)
        self.freq_ = panel.grid.freq
        self.season_length_ = resolve_season(self, panel)
        check_stateful(self)
        lookbacks = resolve_lookbacks(self, panel, self.season_length_)
        self.lookback_ = lookbacks[0]
        check_logarithms(self, panel)
        scalings = choose_scalings(self.scaling, len(lookbacks), panel)
        self.scaling_ = scalings[0] if len(set(scalings)) == 1 else "mixed"
        self.nonnegative_ = resolve_nonnegative(self, panel)
        self._encoder = None
        self.calendar_: tuple[str, ...] = ()
        self._settle()
        end = split_origins(panel.observed_lengths, self._spec, validation=True).end
        self.calendar_ = resolve_calendar(self, panel, end)
        self._encoder = CovariateEncoder.learn(panel, end)
        self._settle()
        calendar = calendar_features(
            panel.grid.stamps(0, 1), self.freq_, self.calendar_
        )
        self._builder_args = network_arguments(
            self, lookbacks, scalings, calendar.shape[1]
        )

    def _member_args(self) -> list[dict[str, Any]]:
        """Arguments of `build_member` for each network."""
        return self._builder_args.get("members", [self._builder_args])

    def _build_model(self, **arguments: Any) -> keras.Model:
        if arguments.get("stateful"):
            return build_member(arguments)
        # Not added to the arguments kept, of which snapshots of sessions have a digest.
        several = arguments.get("members", [arguments])
        members = [build_member({**_FORMER_ARGS, **own}) for own in several]
        return combine(members, arguments["jit"])

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
        pairs = level_quantiles(
            () if level is None else level, self.quantiles_, not self._calibrated
        )
        if self._calibrated and pairs:
            bounds = [bound for pair in pairs.values() for bound in pair]
            self._calibration.warn_of_tails(bounds)
        panel = self._tail if history is None else self._panel(history, fitted=True)
        panel = self._look_ahead(panel, future, horizon)
        frame = forecast_panel(self, panel, horizon, pairs)
        return self._columns.rename(frame)

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
        part, as errors of a random walk. Beyond the fitted horizon each part of a path
        goes on from where the one before it ended. Paths of different series are
        independent, so a total over series would spread too little where series
        share shocks.

        Args:
            num_paths: Paths of each series.
            history: As in `predict`.
            future: As in `predict`.
            horizon: As in `predict`.
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
        if horizon is not None:
            check_integer("horizon", horizon, 1)
        panel = self._tail if history is None else self._panel(history, fitted=True)
        panel = self._look_ahead(panel, future, horizon)
        paths = draw_paths(self, panel, num_paths, seed, horizon)
        return self._columns.rename(path_frame(panel, paths))

    def _warn_of_few_errors(self) -> None:
        if self._calibration.usable:
            self._calibration.warn_of_tails(self.quantiles_)
        else:
            warn(
                "conformal=True has too little held back to calibrate with: values of "
                "a series must span more than two horizons. The quantiles are the "
                "network's."
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
        frame = forecast_panel(self, past)
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
            num_windows: Number of cutoffs; the last one leaves one horizon before the
                last value of any series.
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
        check_windows(ours, self.quantiles_)
        table = score_backtest(
            ours,
            panel,
            season_length=resolve_season(self, panel),
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
        for frame in cut_folds(df, self._panel(df), self._columns, count, self.horizon):
            yield (frame,), {}

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
        last `lookback_` values and reads them again. Covariates come as columns of the
        rows, those of the steps to forecast as `session.step(rows, future=frame)`.

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
            ValueError: If an argument breaks a rule.
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
        forecasts = forecast_panel(self, self._look_ahead(panel, future))
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
    def _calibrated(self) -> bool:
        """Whether quantiles are those of held-back errors."""
        return self.conformal and self._calibration.usable

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
        return saving.get_state(self)

    def _set_state(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        saving.set_state(self, state, arrays)

    def _settle(self) -> None:
        """Sets what follows from other learned attributes."""
        self._spec = WindowSpec(
            self.lookback_,
            self.horizon,
            is_centered(self.scaling_),
            self._encoder,
            self.calendar_,
            bends(self.nonnegative_, self.scaling_),
        )
