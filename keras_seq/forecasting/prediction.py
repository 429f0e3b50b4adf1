"""What a fitted forecaster answers: quantiles and intervals, sample paths."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from keras_seq.forecasting.fitting import forecast, forecast_scaled
from keras_seq.forecasting.frames import add_levels, forecast_frame
from keras_seq.forecasting.intervals import draw_shares
from keras_seq.forecasting.panel import Panel
from keras_seq.forecasting.rolling import roll
from keras_seq.forecasting.streams import StreamStates
from keras_seq.forecasting.windows import WindowSource

if TYPE_CHECKING:
    from keras_seq.forecasting.forecaster import Forecaster


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
    )
    frame = forecast_frame(panel, values, shown, point)
    frame = add_levels(frame, levels or {})
    extra = [f"y_hat_q{q:g}" for q in shown if q not in fitted]
    return frame.drop(columns=extra)


def draw_paths(
    forecaster: "Forecaster", panel: Panel, num_paths: int, seed: int
) -> np.ndarray:
    """Sample paths of the steps after each series, as `Forecaster.simulate` says.

    Args:
        forecaster: Fitted.
        panel: Histories, with what is known ahead.
        num_paths: Of each series.
        seed: Of the draws.

    Returns:
        float64, `(num_series, horizon, num_paths)`, in the unit of the target.
    """
    start = _where_streams_stand(forecaster, panel)
    source = WindowSource(panel, forecaster._spec)
    series = np.arange(len(panel.ids))
    _, scaled = forecast_scaled(forecaster.model_, source, series, panel.lengths, start)
    calibration = forecaster._calibration
    shares = draw_shares(calibration.correlation(), num_paths, panel.ids, seed)
    if forecaster._calibrated:
        return scaled.unscale(calibration.quantiles(scaled, shares))
    return scaled.unscale(scaled.interpolate(shares))


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
    source = WindowSource(panel, forecaster._spec)
    series = np.arange(len(panel.ids))
    model = forecaster.model_
    asked = model, source, series, panel.lengths, start
    if not forecaster._calibrated:
        values = forecast(*asked)
        return values[..., model.point_index], values[..., : len(quantiles)]
    values, scaled = forecast_scaled(*asked)
    calibrated = forecaster._calibration.quantiles(scaled, np.array(quantiles))
    return values[..., model.point_index], scaled.unscale(calibrated)
