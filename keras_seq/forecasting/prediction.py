"""What a fitted forecaster answers: quantiles and intervals, sample paths."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from keras_seq.forecasting.fitting import forecast, forecast_scaled
from keras_seq.forecasting.frames import add_levels, forecast_frame
from keras_seq.forecasting.intervals import (
    ScaledForecasts,
    accumulate,
    all_positive,
    draw_shares,
    interpolate_quantiles,
)
from keras_seq.forecasting.panel import Panel
from keras_seq.forecasting.rolling import roll, roll_parts
from keras_seq.forecasting.streams import StreamStates
from keras_seq.forecasting.windows import WindowSource

if TYPE_CHECKING:
    from keras_seq.forecasting.forecaster import Forecaster

# Quantiles close enough to stand for a whole distribution, closer in its tails: the
# outermost are beyond those of ten thousand paths.
_FINE = 1 / (1 + np.exp(-np.linspace(-17.0, 17.0, 137)))


def forecast_panel(
    forecaster: "Forecaster",
    panel: Panel,
    horizon: int | None = None,
    levels: dict[float, tuple[float, float]] | None = None,
) -> pd.DataFrame:
    """Forecasts the steps after each series.

    Args:
        forecaster: Fitted.
        panel: Histories, with what is known ahead of the steps to forecast.
        horizon: Steps; None: those that were fitted.
        levels: Intervals to name, in percent, with the quantiles of each.

    Returns:
        Columns as those of `Forecaster.predict`, named `unique_id` and `ds`.
    """
    fitted = forecaster.quantiles_
    shown = fitted
    if forecaster._calibrated:
        bounds = {bound for pair in (levels or {}).values() for bound in pair}
        shown = tuple(sorted({*shown, *bounds}))
    start = _where_streams_stand(forecaster, panel)
    point, values = roll(
        panel,
        lambda seen: _forecast_once(forecaster, seen, shown, start),
        step=forecaster.horizon,
        horizon=horizon or forecaster.horizon,
        middle=shown.index(0.5),
        log=forecaster.scaling_ == "log",
        nonnegative=forecaster._spec.nonnegative,
    )
    frame = forecast_frame(panel, values, shown, point)
    frame = add_levels(frame, levels or {})
    extra = [f"y_hat_q{q:g}" for q in shown if q not in fitted]
    return frame.drop(columns=extra)


def draw_paths(
    forecaster: "Forecaster",
    panel: Panel,
    num_paths: int,
    seed: int,
    horizon: int | None = None,
) -> np.ndarray:
    """Sample paths of the steps after each series, as `Forecaster.simulate` says.

    Args:
        forecaster: Fitted.
        panel: Histories, with what is known ahead.
        num_paths: Of each series.
        seed: Of the draws.
        horizon: Steps; None: those that were fitted.

    Returns:
        float64, `(num_series, horizon, num_paths)`, in the unit of the target.
    """
    step, horizon = forecaster.horizon, horizon or forecaster.horizon
    start = _where_streams_stand(forecaster, panel)
    _, forecasts = roll_parts(
        panel,
        lambda seen: _scaled_once(forecaster, seen, start),
        step=step,
        horizon=horizon,
    )
    about = forecaster._calibration.correlation(), num_paths, panel.ids, seed
    if len(forecasts) == 1:
        shares = draw_shares(*about)
        return _quantiles(forecaster, forecasts[0], shares)[:, :horizon]
    levels = np.union1d(_FINE, forecaster.quantiles_)
    parts = [_quantiles(forecaster, each, levels) for each in forecasts]
    log = forecaster.scaling_ == "log" and all_positive(parts)
    middle = int(np.searchsorted(levels, 0.5))
    values = accumulate(parts, middle, log, forecaster._spec.nonnegative)
    alone = np.concatenate(parts, axis=1)
    low, high = alone[..., 0], alone[..., -1]
    shares = draw_shares(*about, np.log(high / low) if log else high - low)
    first = _quantiles(forecaster, forecasts[0], shares[:, :step])
    beyond = interpolate_quantiles(values[:, step:], levels, shares[:, step:])
    return np.concatenate([first, beyond], axis=1)[:, :horizon]


def _where_streams_stand(forecaster: "Forecaster", panel: Panel) -> StreamStates | None:
    """The end of the training data goes on from what was read before it."""
    return forecaster._stream if panel.ids is forecaster._tail.ids else None


def _forecast_once(
    forecaster: "Forecaster",
    panel: Panel,
    quantiles: tuple[float, ...],
    start: StreamStates | None,
) -> tuple[np.ndarray, np.ndarray]:
    """The point forecast, `(num_series, horizon)`, and quantiles on a last axis."""
    if forecaster._calibrated:
        point, scaled = _scaled_once(forecaster, panel, start)
        return point, _quantiles(forecaster, scaled, np.array(quantiles))
    values = forecast(*_asked(forecaster, panel, start))
    point = values[..., forecaster.model_.point_index]
    return point, values[..., : len(quantiles)]


def _scaled_once(
    forecaster: "Forecaster", panel: Panel, start: StreamStates | None
) -> tuple[np.ndarray, ScaledForecasts]:
    """The point forecast, `(num_series, horizon)`, and all of it scaled."""
    values, scaled = forecast_scaled(*_asked(forecaster, panel, start))
    return values[..., forecaster.model_.point_index], scaled


def _quantiles(
    forecaster: "Forecaster", scaled: ScaledForecasts, shares: np.ndarray
) -> np.ndarray:
    """Any quantiles, in the unit of the target: `(num_series, horizon, num_shares)`.

    Args:
        forecaster: Fitted.
        scaled: Its forecasts.
        shares: Which; broadcasts to the result.
    """
    if forecaster._calibrated:
        return scaled.unscale(forecaster._calibration.quantiles(scaled, shares))
    shares = np.broadcast_to(shares, (*scaled.median.shape, shares.shape[-1]))
    return scaled.unscale(scaled.interpolate(shares))


def _asked(
    forecaster: "Forecaster", panel: Panel, start: StreamStates | None
) -> tuple[Any, ...]:
    """Arguments of `forecast`: the windows at the end of each series."""
    source = WindowSource(panel, forecaster._spec)
    return (
        forecaster.model_,
        source,
        np.arange(len(panel.ids)),
        panel.lengths,
        start,
    )
