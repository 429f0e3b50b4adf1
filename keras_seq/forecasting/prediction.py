"""What a fitted forecaster answers: quantiles and intervals, sample paths."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from keras_seq.forecasting.fitting import forecast, forecast_scaled
from keras_seq.forecasting.frames import add_levels, forecast_frame
from keras_seq.forecasting.intervals import draw_shares, interpolate_quantiles
from keras_seq.forecasting.panel import Panel
from keras_seq.forecasting.rolling import roll
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
    about = forecaster._calibration.correlation(), num_paths, panel.ids, seed
    if horizon <= step:
        return _distribution(forecaster, panel, draw_shares(*about), start)[1][
            :, :horizon
        ]
    levels = np.union1d(_FINE, forecaster.quantiles_)
    middle = int(np.searchsorted(levels, 0.5))
    log = forecaster.scaling_ == "log"
    _, values = roll(
        panel,
        lambda seen: _distribution(forecaster, seen, levels, start),
        step=step,
        horizon=horizon,
        middle=middle,
        log=log,
    )
    shares = draw_shares(*about, _own_spread(values, step, log))
    first = _distribution(forecaster, panel, shares[:, :step], start)[1]
    beyond = interpolate_quantiles(values[:, step:], levels, shares[:, step:])
    return np.concatenate([first, beyond], axis=1)


def _own_spread(values: np.ndarray, step: int, log: bool) -> np.ndarray:
    """How far forecasts that `accumulate` joined stray each by itself.

    Args:
        values: `(num_series, horizon, num_quantiles)`, joined.
        step: Steps of one forecast.
        log: As of `accumulate`.

    Returns:
        `(num_series, horizon)`.
    """
    low, high = values[..., 0], values[..., -1]
    spread = np.log(high / low) if log and (low > 0).all() else high - low
    begin = np.zeros_like(spread)
    for first in range(step, spread.shape[1], step):
        begin[:, first : first + step] = spread[:, first - 1, None]
    return np.sqrt(np.maximum(spread**2 - begin**2, 1e-12 * spread**2))


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
        return _distribution(forecaster, panel, np.array(quantiles), start)
    values = forecast(*_asked(forecaster, panel, start))
    point = values[..., forecaster.model_.point_index]
    return point, values[..., : len(quantiles)]


def _distribution(
    forecaster: "Forecaster",
    panel: Panel,
    shares: np.ndarray,
    start: StreamStates | None,
) -> tuple[np.ndarray, np.ndarray]:
    """As `_forecast_once`, any quantiles: `(num_shares,)`, or by series and step."""
    values, scaled = forecast_scaled(*_asked(forecaster, panel, start))
    point = values[..., forecaster.model_.point_index]
    shares = np.broadcast_to(shares, (*point.shape, shares.shape[-1]))
    if forecaster._calibrated:
        found = forecaster._calibration.quantiles(scaled, shares)
    else:
        found = scaled.interpolate(shares)
    return point, scaled.unscale(found)


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
