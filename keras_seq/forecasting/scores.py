"""The baseline beside every score, and the scores (utilsforecast's definitions)."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from utilsforecast import losses

from keras_seq.errors import check_choice
from keras_seq.forecasting.panel import Panel
from keras_seq.forecasting.plain_panel import PlainPanel
from keras_seq.forecasting.windows import Windows

BASELINES = ("seasonal_naive", "naive")
# Averaged over series, and over cutoffs where there are several.
_MEANS = ("mae", "rmse", "smape", "mase")


def seasonal_naive(panel: Panel, season_length: int, horizon: int) -> np.ndarray:
    """Repeats each series' last season; a missing step takes the season before.

    Args:
        panel: Histories.
        season_length: Steps in a season; 1 repeats the last value.
        horizon: Steps to forecast.

    Returns:
        float64, `(num_series, horizon)`; the last value where a series never showed
        that phase, and NaN where it has none.
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
    newest = panel.offsets[:-1] + np.maximum(panel.observed_lengths - 1, 0)
    season = np.where(np.isnan(season), panel.values[newest, None], season)
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


def naive_scale(panel: PlainPanel, season_length: int, end: np.ndarray) -> np.ndarray:
    """MASE's scale: the mean |y[t] - y[t - season]| of each series before `end`.

    Args:
        panel: Series.
        season_length: Steps in a season.
        end: int64, `(num_series,)`: steps of each series to use.

    Returns:
        float64, `(num_series,)`; NaN where there is no such difference or all are 0.
    """
    steps = np.abs(panel.values[season_length:] - panel.values[:-season_length])
    known = np.isfinite(steps)
    # One more, of no weight, so that each series begins within what is added up.
    steps = np.append(np.where(known, steps, 0.0), 0.0)
    known = np.append(known, False)
    first = np.minimum(panel.offsets[:-1], len(steps) - 1)
    stop = np.clip(panel.offsets[:-1] + end - season_length, first, len(steps) - 1)
    bounds = np.stack([first, stop], axis=1).ravel()
    total = np.add.reduceat(steps, bounds)[::2]
    count = np.add.reduceat(known, bounds, dtype=np.int64)[::2]
    some = (stop > first) & (total > 0)
    return np.where(some, total, np.nan) / np.maximum(count, 1)


def score(
    forecasts: pd.DataFrame,
    panel: Panel,
    *,
    season_length: int,
    quantiles: tuple[float, ...],
) -> dict[str, Any]:
    """Scores forecasts beside the seasonal naive ones.

    Args:
        forecasts: Columns `unique_id`, `ds`, `y`, `y_hat`, `y_hat_q*`,
            `seasonal_naive`.
        panel: The histories, for the scale of MASE.
        season_length: Of MASE's scale (Hyndman & Koehler 2006).
        quantiles: Of the forecasts.

    Returns:
        `mae`, `rmse`, `smape` (200 |e| / (|y| + |y_hat|), in percent), `mase`, each
        the mean over series; `scaled_crps`, as in `score_backtest`; `coverage` of the
        widest interval, a share, beside its nominal `level`; `skill`, 1 - mase / mase
        of seasonal naive; `n` points; and `baselines` with the same scores of
        seasonal naive.
    """
    measured = _measure(forecasts, panel, season_length, quantiles)
    table = _summarize(measured, []).set_index("model").to_dict("index")
    ours, theirs = table["y_hat"], table["seasonal_naive"]
    names = [*_MEANS, "scaled_crps"]
    if quantiles[0] < quantiles[-1]:
        names += ["coverage", "level"]
    scores = {name: float(ours[name]) for name in [*names, "skill"]}
    naive = {name: float(theirs[name]) for name in [*_MEANS, "scaled_crps"]}
    return {**scores, "n": int(ours["n"]), "baselines": {"seasonal_naive": naive}}


def score_backtest(
    windows: pd.DataFrame,
    panel: Panel,
    *,
    season_length: int,
    quantiles: tuple[float, ...],
    by: str | None = None,
) -> pd.DataFrame:
    """Scores a backtest and its baselines, in a table.

    Args:
        windows: Columns `unique_id`, `cutoff`, `ds`, `y`, `y_hat`, `y_hat_q*`,
            `seasonal_naive`, `naive`.
        panel: The data of the backtest. MASE's scale is that of the rows up to each
            cutoff.
        season_length: Of MASE's scale.
        quantiles: Of the forecasts.
        by: None: one row per model; `"series"` or `"cutoff"`: one for each of those.

    Returns:
        `model` (`y_hat` and the baselines), `n` points, and the means over series and
        cutoffs of `mae`, `rmse`, `smape` (percent) and `mase`; `scaled_crps`, twice
        the mean pinball loss over the quantiles, summed over points, over the sum of
        |y| (Rangapuram et al. 2021; a baseline's quantiles are all its point); the
        share of points within the widest interval, `coverage`, beside its `level`;
        `skill`, 1 - mase / mase of seasonal naive.
    """
    keys = {None: [], "series": ["unique_id"], "cutoff": ["cutoff"]}
    check_choice("by", by, tuple(keys))
    return _summarize(_measure(windows, panel, season_length, quantiles), keys[by])


def _measure(
    forecasts: pd.DataFrame,
    panel: Panel,
    season_length: int,
    quantiles: tuple[float, ...],
) -> pd.DataFrame:
    """Scores of each model in each series, at each cutoff where there are several."""
    models = ["y_hat", *(name for name in BASELINES if name in forecasts)]
    shown = forecasts.dropna(subset=["y", *models])
    if shown.empty:
        raise ValueError(
            "No row has both an actual value and a seasonal naive forecast to score."
        )
    keys = ["unique_id", *(name for name in ("cutoff",) if name in forecasts)]
    columns = [f"y_hat_q{q:g}" for q in quantiles]
    measures = {
        "mae": losses.mae,
        "rmse": losses.rmse,
        "smape": losses.smape,
        "mase": partial(
            losses.mase, seasonality=season_length, train_df=panel.to_frame()
        ),
    }
    tables = {name: measure(shown, models) for name, measure in measures.items()}
    tables["scaled_crps"] = losses.scaled_crps(
        shown,
        {
            name: columns if name == "y_hat" else [name] * len(columns)
            for name in models
        },
        np.array(quantiles),
    )
    measured = pd.concat(
        {
            name: table.set_index(keys)[models].rename_axis(columns="model").stack()
            for name, table in tables.items()
        },
        axis=1,
    ).reset_index()
    measured["smape"] *= 200
    measured["mase"] = measured["mase"].replace(np.inf, np.nan)
    inside = shown["y"].between(shown[columns[0]], shown[columns[-1]])
    counts = shown[keys].assign(n=1, inside=inside, size=shown["y"].abs())
    measured = measured.merge(counts.groupby(keys).sum().reset_index(), on=keys)
    measured["level"] = round(100 * (quantiles[-1] - quantiles[0]), 6)
    measured.loc[measured["model"] != "y_hat", ["inside", "level"]] = np.nan
    return measured


def _summarize(measured: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Means of `_measure` over what `keys` leave open."""
    keys = [*keys, "model"]
    # utilsforecast adds the same to keep a series of zeros finite
    norm = measured["size"] + np.finfo(np.float64).eps
    measured = measured.assign(loss=measured["scaled_crps"] * norm)
    groups = measured.groupby(keys, sort=False)
    table = groups[["n"]].sum().join(groups[list(_MEANS)].mean())
    sums = groups[["loss", "size", "inside"]].sum(min_count=1)
    table["scaled_crps"] = sums["loss"] / sums["size"].where(sums["size"] > 0)
    table["coverage"] = sums["inside"].astype(float) / table["n"]
    table["level"] = groups["level"].first()
    table = table.reset_index()
    naive = table[table["model"] == "seasonal_naive"]
    if keys[:-1]:
        naive = table[keys[:-1]].merge(naive, on=keys[:-1], how="left")
        table["skill"] = 1 - table["mase"] / naive["mase"].to_numpy()
    else:
        table["skill"] = 1 - table["mase"] / naive["mase"].item()
    return table
