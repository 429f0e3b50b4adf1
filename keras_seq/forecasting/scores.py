"""The baseline beside every score, and the scores (utilsforecast's definitions)."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from utilsforecast import losses

from keras_seq.forecasting.panel import Panel
from keras_seq.forecasting.windows import Windows


def seasonal_naive(panel: Panel, season_length: int, horizon: int) -> np.ndarray:
    """Repeats each series' last season; a missing step takes the season before.

    Args:
        panel: Histories.
        season_length: Steps in a season; 1 repeats the last value.
        horizon: Steps to forecast.

    Returns:
        float64, `(num_series, horizon)`; NaN where a series never showed that phase.
    """
    season = np.full((len(panel.ids), season_length), np.nan)
    deepest = -(-int(panel.lengths.max()) // season_length)
    for back in range(1, deepest + 1):
        missing = np.isnan(season)
        if not missing.any():
            break
        steps = panel.lengths[:, None] - back * season_length + np.arange(season_length)
        usable = missing & (steps >= 0)
        flat = panel.offsets[:-1, None] + np.maximum(steps, 0)
        season = np.where(usable, panel.values[flat], season)
    repeats = -(-horizon // season_length)
    return np.tile(season, (1, repeats))[:, :horizon]


def repeat_season(windows: Windows, season_length: int) -> np.ndarray:
    """Seasonal naive forecasts of windows, in the unit of the target column.

    Returns:
        float64, `(batch, horizon)`; NaN where the step a season before is missing.
    """
    horizon = windows.target.shape[1]
    season = windows.past[:, -season_length:]
    repeated = np.tile(season, (1, -(-horizon // season_length)))[:, :horizon]
    return repeated.astype(np.float64) + windows.shift[:, None]


def finite_mean(values: np.ndarray) -> float:
    """The mean of the finite values; NaN, in silence, where there is none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def naive_scale(panel: Panel, season_length: int, end: np.ndarray) -> np.ndarray:
    """MASE's scale: the mean |y[t] - y[t - season]| of each series before `end`.

    Args:
        panel: Series.
        season_length: Steps in a season.
        end: int64, `(num_series,)`: steps of each series to use.

    Returns:
        float64, `(num_series,)`; NaN where there is no such difference or all are 0.
    """
    scale = np.full(len(panel.ids), np.nan)
    for i, start in enumerate(panel.offsets[:-1]):
        values = panel.values[start : start + end[i]]
        steps = np.abs(values[season_length:] - values[:-season_length])
        if np.nansum(steps) > 0:
            scale[i] = np.nanmean(steps)
    return scale


def score(
    forecasts: pd.DataFrame,
    panel: Panel,
    *,
    season_length: int,
    quantiles: tuple[float, ...],
) -> dict[str, Any]:
    """Scores forecasts beside the seasonal naive ones.

    Args:
        forecasts: Columns `unique_id`, `y`, `y_hat`, `y_hat_q*`, `seasonal_naive`.
        panel: The histories, for the scale of MASE.
        season_length: Of MASE's scale (Hyndman & Koehler 2006).
        quantiles: Of the forecasts.

    Returns:
        `mae`, `rmse`, `smape` (200 |e| / (|y| + |y_hat|), in percent), `mase`, each
        the mean over series; `coverage` of the widest interval, a share, beside its
        nominal `level`; `skill`, 1 - mase / mase of seasonal naive; `n` points; and
        `baselines` with the same scores of seasonal naive.
    """
    shown = forecasts.dropna(subset=["y", "y_hat", "seasonal_naive"])
    if shown.empty:
        raise ValueError(
            "No row has both an actual value and a seasonal naive forecast to score."
        )
    train = pd.DataFrame(
        {"unique_id": np.repeat(panel.ids, panel.lengths), "y": panel.values}
    )
    models = ["y_hat", "seasonal_naive"]
    measures = {
        "mae": losses.mae,
        "rmse": losses.rmse,
        "smape": losses.smape,
        "mase": partial(losses.mase, seasonality=season_length, train_df=train),
    }
    means = {
        name: measure(shown, models=models)[models].replace(np.inf, np.nan).mean()
        for name, measure in measures.items()
    }
    means["smape"] = 200 * means["smape"]
    scores = {name: float(mean["y_hat"]) for name, mean in means.items()}
    naive = {name: float(mean["seasonal_naive"]) for name, mean in means.items()}
    low, high = quantiles[0], quantiles[-1]
    if low < high:
        inside = shown["y"].between(shown[f"y_hat_q{low:g}"], shown[f"y_hat_q{high:g}"])
        scores["coverage"] = float(inside.mean())
        scores["level"] = round(100 * (high - low), 6)
    scores["skill"] = 1 - scores["mase"] / naive["mase"]
    return {**scores, "n": len(shown), "baselines": {"seasonal_naive": naive}}
