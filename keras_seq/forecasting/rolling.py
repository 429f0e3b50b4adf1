"""roll: forecasts beyond the horizon that a network knows, by going on from its own."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from keras_seq.errors import name_some, warn
from keras_seq.forecasting.intervals import accumulate, all_positive
from keras_seq.forecasting.plain_panel import PlainPanel

Part = TypeVar("Part")


def roll(
    panel: PlainPanel,
    forecast_once: Callable[[Any], tuple[np.ndarray, np.ndarray]],
    *,
    step: int,
    horizon: int,
    middle: int,
    log: bool,
    nonnegative: bool,
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
        nonnegative: Whether forecasts do not fall below zero.

    Returns:
        The point forecast, `(num_series, horizon)`, and quantiles on a last axis.
    """
    points, parts = roll_parts(panel, forecast_once, step=step, horizon=horizon)
    log = log and all_positive(parts)
    values = accumulate(parts, middle, log, nonnegative)[:, :horizon]
    return np.concatenate(points, axis=1)[:, :horizon], values


def roll_parts(
    panel: PlainPanel,
    forecast_once: Callable[[Any], tuple[np.ndarray, Part]],
    *,
    step: int,
    horizon: int,
) -> tuple[list[np.ndarray], list[Part]]:
    """As `roll`, but leaves the forecasts apart, each of `step` steps.

    Args:
        panel: As of `roll`, and so the others.
        forecast_once: From histories to the point forecast and whatever is asked for.
        step: Steps of one forecast.
        horizon: Steps in all.

    Returns:
        Point forecasts, `(num_series, step)` each, and what was asked for beside each;
        NaN where there is nothing to forecast from, of which is warned.
    """
    points: list[np.ndarray] = []
    parts: list[Part] = []
    for start in range(0, horizon, step):
        if start:
            panel = panel.extended(points[-1])
        point, part = forecast_once(panel)
        if not start:
            _warn_of_unseen(panel, point)
        points.append(point)
        parts.append(part)
    return points, parts


def _warn_of_unseen(panel: PlainPanel, point: np.ndarray) -> None:
    known = np.add.reduceat(np.isfinite(panel.values), panel.offsets[:-1], dtype=int)
    found = [
        (
            np.isnan(point).all(axis=1),
            "have no value among the last steps that the network sees (`lookback_`; if "
            "stateful, none at all), so that their forecasts are NaN",
        ),
        (
            known == 1,
            "have a single value, which tells nothing of how much they change: their "
            "intervals are far too narrow",
        ),
    ]
    for which, told in found:
        ids = panel.ids[which]
        if len(ids):
            warn(f"{len(ids)} series {told}: {name_some(ids)}")
