"""NumpyForecaster: a saved Forecaster that predicts with NumPy alone."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from os import PathLike
from typing import Any

import numpy as np

from keras_seq.errors import (
    ArtifactError,
    check_choice,
    check_integer,
    suggests_names,
)
from keras_seq.forecasting.covariates import Covariates
from keras_seq.forecasting.features import CovariateEncoder
from keras_seq.forecasting.forecast_columns import (
    forecast_columns,
    level_columns,
    level_quantiles,
)
from keras_seq.forecasting.intervals import Calibration, scale_forecasts
from keras_seq.forecasting.names import Columns
from keras_seq.forecasting.nonnegative import bend, bends, no_knees
from keras_seq.forecasting.plain_panel import PlainPanel
from keras_seq.forecasting.rolling import roll
from keras_seq.forecasting.streams import StreamStates, run_streams
from keras_seq.forecasting.windows import WindowSource, WindowSpec, model_inputs
from keras_seq.numpy_runtime.clock import Clock, calendar_rounds
from keras_seq.numpy_runtime.forecast_network import ForecastNetwork
from keras_seq.numpy_runtime.scaling import is_centered
from keras_seq.numpy_runtime.stream_network import StreamNetwork
from keras_seq.numpy_runtime.tables import (
    ClockGrid,
    make_plain_panel,
    with_plain_future,
)
from keras_seq.numpy_runtime.weights import network_weights

Array = np.ndarray[Any, np.dtype[Any]]

_BATCH = 1024


class NumpyForecaster:
    """Answers as the `Forecaster` that was saved.

    Args:
        manifest: Of the artefact.
        arrays: Of the artefact.

    Attributes:
        network_: The `ForecastNetwork`, or `StreamNetwork` if `stateful`.
        stateful: Whether it reads series as streams.
        columns_: Names of the columns.
        horizon: Steps that the network forecasts at once.
        quantiles_: Of the answers.
        freq_: The time step.
        lookback_: Steps the network sees.
    """

    def __init__(self, manifest: dict[str, Any], arrays: dict[str, Array]):
        params, state = manifest["params"], manifest["state"]
        learned = state["learned"]
        self.stateful: bool = manifest["builder"].get("stateful", False)
        make: Any = StreamNetwork if self.stateful else ForecastNetwork
        self._builder, self._weights = manifest["builder"], network_weights(arrays)
        self.network_ = make(self._builder, self._weights)
        self._stream = StreamStates.from_state(arrays) if self.stateful else None
        self.horizon: int = params["horizon"]
        self.freq_: str | int = learned["freq_"]
        self.lookback_: int = learned["lookback_"]
        self.quantiles_ = self.network_.quantiles
        kinds = ("static", "past", "future")
        self.columns_ = Columns(
            params["id_col"],
            params["time_col"],
            params["target_col"],
            *(params.get(f"{kind}_covariates", ()) for kind in kinds),
        )
        self._encoder = None
        if "covariates" in state:
            self._encoder = CovariateEncoder.from_state(state["covariates"])
        # Files from before it was chosen do not name the calendar, and tell all of it.
        rounds = tuple(learned.get("calendar_", calendar_rounds(self.freq_)))
        self._log = learned["scaling_"] == "log"
        self._spec = WindowSpec(
            self.lookback_,
            self.horizon,
            is_centered(learned["scaling_"]),
            self._encoder,
            rounds,
            # Nor whether forecasts are kept from falling below zero: they were not.
            bends(learned.get("nonnegative_", False), learned["scaling_"]),
        )
        none = np.zeros((0, self.horizon), np.float32)
        self._calibration = Calibration(arrays.get("calibration", none))
        self._calibrated = bool(params.get("conformal")) and self._calibration.usable
        self._tail = state["tail"], arrays
        tail = state["tail"]
        start = tail["start"]
        if not isinstance(start, int):
            if tail["tz"]:  # with its offset, and clocks count in UTC
                aware = datetime.fromisoformat(start)
                start = aware.astimezone(UTC).replace(tzinfo=None)
            start = np.datetime64(start, tail["unit"])
        self._clock = Clock(self.freq_, start, tail["tz"], rounds)
        if not self._clock.plain and find_spec("pandas") is None:
            raise ArtifactError(
                "Time steps and time zones that pandas alone knows need pandas, which "
                f"is not installed. Received: freq={self.freq_!r}, tz={tail['tz']!r}"
            )

    def predict(
        self,
        history: Any = None,
        future: Any = None,
        *,
        horizon: int | None = None,
        level: Sequence[float] | None = None,
    ) -> Any:
        """Forecasts the steps after a history.

        Args:
            history: Columns of ids, stamps, targets and covariates by name, as lists
                or arrays (stamps as whole numbers, datetime64, datetimes or ISO
                strings), of any series, seen in `fit` or not; or a pandas DataFrame.
                None: after the training data.
            future: The same of the future covariates, for each step to forecast.
            horizon: Steps; None: the fitted ones. Of more the network forecasts the
                later ones from its own forecasts.
            level: Intervals to name, in percent: `[80]` gives `y_hat_lo80` and
                `y_hat_hi80`.

        Returns:
            As `Forecaster.predict`, one row per series and step: a dict of arrays, or a
            DataFrame where a DataFrame was given.

        Raises:
            TypeError, ValueError: As `Forecaster.predict`, naming argument, column or
                the first rows that break a rule.
        """
        if horizon is not None:
            check_integer("horizon", horizon, 1)
        pairs = level_quantiles(
            () if level is None else level, self.quantiles_, not self._calibrated
        )
        if self._calibrated and pairs:
            bounds = [bound for pair in pairs.values() for bound in pair]
            self._calibration.warn_of_tails(bounds)
        framed = any(_is_frame(given) for given in (history, future))
        steps = horizon or self.horizon
        panel: Any = self._panel(history, framed)
        if self._check_future(future):
            if isinstance(panel.grid, ClockGrid):
                panel = with_plain_future(panel, future, self.columns_, steps)
            else:
                known = self._as_frame(future)
                panel = panel.with_future(known, self.columns_, steps)
        columns = self._forecast(panel, history, steps, pairs)
        if framed:
            import pandas as pd

            return self.columns_.rename(pd.DataFrame(columns).infer_objects())
        return self._named(columns)

    @suggests_names
    def stream(
        self,
        *,
        history: Any = None,
        on_late: str = "error",
        max_keys: int | None = None,
        on_full: str = "drop",
        spill: str | PathLike[str] | None = None,
    ) -> Any:
        """A session that takes values as they come, as that of `Forecaster.stream`.

        Args:
            history: What keys start from. None: nothing; `"fit"`: the end of the
                training data; or a table of any keys, as `predict` takes it.
            on_late: What to do about late stamps: `"error"` or `"skip"`.
            max_keys: As in `keras_seq.streaming.KeyedStates`, and so the others.
            on_full: As there.
            spill: As there.
        """
        from keras_seq.streaming.opening import Served, serve

        if history is None or isinstance(history, str):
            check_choice("history", history, (None, "fit"))
        else:
            history = self._panel(history, _is_frame(history))
        builder = self._builder
        if not self.stateful and "members" not in builder:
            builder = {"decoder": "direct", **builder}
        served = Served(
            builder=builder,
            weights=self._weights,
            model=None,
            clock=self._clock,
            tail=self._kept_panel(),
            columns=self.columns_,
            encoder=self._encoder,
            quantiles=self.quantiles_,
            point_index=self.network_.point_index,
            centered=self._spec.centered,
            nonnegative=self._spec.nonnegative,
            log=self._log,
            calibration=self._calibration if self._calibrated else None,
            stream=self._stream,
        )
        return serve(
            served,
            engine="numpy",
            history=history,
            on_late=on_late,
            max_keys=max_keys,
            on_full=on_full,
            spill=spill,
        )

    def column_types(self) -> dict[str, type]:
        """What the columns of the training data held: str, int or float.

        Of stamps int, or str for timestamps. Categories that are numbers are those of
        the first one.
        """
        names, tail = self.columns_, self._tail[0]
        types: dict[str, type] = {names.target: float}
        types[names.time] = int if isinstance(self.freq_, int) else str
        if names.id is not None:
            own = {type(name) for name in tail["ids"]}
            types[names.id] = own.pop() if len(own) == 1 else str
        for name, level in (self._encoder.levels() if self._encoder else {}).items():
            types[name] = float
            if isinstance(level, list):
                types[name] = type(level[0]) if level else str
        return types

    def _panel(self, history: Any, framed: bool) -> Any:
        """A history's panel, of pandas where a frame is given or its steps are odd."""
        if framed or not self._clock.plain:
            return self._pandas_panel(history)
        if history is None:
            return self._kept_panel()
        levels = self._encoder.levels() if self._encoder else None
        return make_plain_panel(history, self.columns_, self._clock, levels)

    def _kept_panel(self) -> PlainPanel:
        """The end of the training data."""
        state, arrays = self._tail
        beside = None
        if "covariates" in state:
            beside = Covariates.from_state(state["covariates"], arrays)
        return PlainPanel(
            np.array(state["ids"], dtype=object),
            arrays["tail/offsets"],
            arrays["tail/values"],
            arrays["tail/first"],
            ClockGrid(self._clock),
            beside,
        )

    def _pandas_panel(self, history: Any) -> Any:
        """Where a frame is given, or the time step is one that only pandas knows."""
        from keras_seq.forecasting.panel import Panel, make_panel

        if history is None:
            return Panel.from_state(*self._tail)
        levels = self._encoder.levels() if self._encoder else None
        return make_panel(self._as_frame(history), self.columns_, self.freq_, levels)

    def _as_frame(self, table: Any) -> Any:
        """A mapping of columns as a pandas frame; all else as it is."""
        import pandas as pd

        if not isinstance(table, Mapping):
            return table
        frame, time = pd.DataFrame(dict(table)), self.columns_.time
        if time in frame and not isinstance(self.freq_, int):
            frame[time] = pd.to_datetime(frame[time])
        return frame

    def _check_future(self, future: Any) -> bool:
        """Whether there are future covariates, and whether they are given."""
        wanted = list(self.columns_.future)
        if not wanted and future is not None:
            raise ValueError(
                "`future` must be left out, since this Forecaster was fitted without "
                f"`future_covariates`. Received: {type(future).__name__}"
            )
        if wanted and future is None:
            raise ValueError(
                f"`future` must be given: a table with the columns {wanted} for the "
                "steps to forecast. Received: future=None"
            )
        return bool(wanted)

    def _forecast(
        self,
        panel: Any,
        history: Any,
        steps: int,
        pairs: dict[float, tuple[float, float]],
    ) -> dict[str, Any]:
        shown = self.quantiles_
        if self._calibrated:
            bounds = {bound for pair in pairs.values() for bound in pair}
            shown = tuple(sorted({*shown, *bounds}))
        # The end of the training data goes on from what was read before it.
        start = self._stream if history is None else None
        point, values = roll(
            panel,
            lambda seen: self._forecast_once(seen, shown, start),
            step=self.horizon,
            horizon=steps,
            middle=shown.index(0.5),
            log=self._log,
            nonnegative=self._spec.nonnegative,
        )
        columns = forecast_columns(panel, values, shown, point)
        columns |= level_columns(columns, pairs)
        for quantile in set(shown) - set(self.quantiles_):
            del columns[f"y_hat_q{quantile:g}"]
        return columns

    def _forecast_once(
        self, panel: Any, shown: tuple[float, ...], start: StreamStates | None
    ) -> tuple[Array, Array]:
        """The point forecast, `(num_series, horizon)`, and quantiles on a last axis."""
        source = WindowSource(panel, self._spec)
        series = np.arange(len(panel.ids))
        values, scales, knees = self._run(source, series, start)
        bent = bend(values, knees)
        point = bent[..., self.network_.point_index]
        if not self._calibrated:
            return point, bent[..., : len(shown)]
        scaled = scale_forecasts(
            self.network_, source, series, panel.lengths, values, knees, scales
        )
        calibrated = self._calibration.quantiles(scaled, np.array(shown))
        return point, scaled.unscale(calibrated)

    def _run(
        self, source: WindowSource, series: Array, start: StreamStates | None
    ) -> tuple[Array, Sequence[Array] | None, Array]:
        """Outputs after the last step of each series, not bent; with streams, their
        scales; and the knees."""
        panel = source.panel
        if self.stateful:
            values, *scales = run_streams(
                self.network_, source, series, panel.lengths, start
            )
            return values, scales, no_knees(len(values))
        parts = []
        for first in range(0, len(series), _BATCH):
            chosen = slice(first, first + _BATCH)
            windows = source.gather(series[chosen], panel.lengths[chosen])
            raw = self.network_(model_inputs(windows)).astype(np.float64)
            parts.append((raw + windows.shift[:, None, None], source.knees(windows)))
        outputs, knees = zip(*parts, strict=True)
        return np.concatenate(outputs), None, np.concatenate(knees)

    def _named(self, columns: dict[str, Any]) -> dict[str, Array]:
        """Arrays under the user's names, ids of their own type."""
        ids = columns.pop("unique_id").tolist()
        if len({type(name) for name in ids}) == 1 and isinstance(ids[0], str | int):
            own = np.array(ids)
        else:
            own = np.array(ids, dtype=object)
        first = {} if self.columns_.id is None else {self.columns_.id: own}
        stamps = {self.columns_.time: np.asarray(columns.pop("ds"))}
        return {**first, **stamps, **columns}


def _is_frame(table: Any) -> bool:
    """Of pandas or polars, without importing either."""
    return type(table).__module__.partition(".")[0] in ("pandas", "polars")
