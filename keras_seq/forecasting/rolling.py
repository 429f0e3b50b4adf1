"""roll: forecasts beyond the horizon that a network knows, by going on from its own."""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_seq.forecasting.intervals import accumulate
from keras_seq.forecasting.plain_panel import PlainPanel


def roll(
    panel: PlainPanel,
    forecast_once: Callable[[Any], tuple[np.ndarray, np.ndarray]],
    *,
    step: int,
    horizon: int,
    middle: int,
    log: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Takes the point forecast for what came, and forecasts from there.

    Args:
        panel: Histories, with what is known ahead of all `horizon` steps.
        forecast_once: From histories to the point forecast, `(num_series, step)`, and
            quantiles on a last axis.
        step: Steps of one forecast.
        horizon: Steps in all.
        middle: Which quantile is the median.
        log: Whether the scaling is logarithmic: where all quantiles are positive,
            distances that add up are then ratios.

    Returns:
        The point forecast, `(num_series, horizon)`, and quantiles on a last axis.
    """
    points: list[np.ndarray] = []
    parts: list[np.ndarray] = []
    for start in range(0, horizon, step):
        if start:
            panel = panel.extended(points[-1])
        point, part = forecast_once(panel)
        points.append(point)
        parts.append(part)
    log = log and all((part > 0).all() for part in parts)
    values = accumulate(parts, middle, log)[:, :horizon]
    return np.concatenate(points, axis=1)[:, :horizon], values
