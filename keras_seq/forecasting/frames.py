"""Forecasts as long frames: `unique_id`, `ds`, `y_hat`, one column per quantile."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from keras_seq.errors import check_number
from keras_seq.forecasting.panel import Panel


def forecast_frame(
    panel: Panel, values: np.ndarray, quantiles: Sequence[float]
) -> pd.DataFrame:
    """Lays forecasts of the steps after each series out as rows.

    Args:
        panel: The histories, one forecast for each.
        values: float64, `(num_series, horizon, num_quantiles)`.
        quantiles: Of the last axis; 0.5 is among them.
    """
    num_series, horizon, _ = values.shape
    ends = (panel.first + panel.lengths)[:, None] + np.arange(horizon)
    stamps = panel.grid.stamps(0, panel.end + horizon)
    columns = {
        "unique_id": np.repeat(panel.ids, horizon),
        "ds": stamps[ends.reshape(-1)],
        "y_hat": values[:, :, list(quantiles).index(0.5)].reshape(-1),
    }
    for index, quantile in enumerate(quantiles):
        columns[f"y_hat_q{quantile:g}"] = values[:, :, index].reshape(-1)
    return pd.DataFrame(columns).infer_objects()


def level_quantiles(
    levels: Sequence[float], quantiles: Sequence[float]
) -> dict[float, tuple[float, float]]:
    """Finds the quantiles that bound each interval.

    Args:
        levels: In percent, within (0, 100).
        quantiles: That were trained.

    Raises:
        ValueError: If a bound was not trained; the message names it.
    """
    pairs = {}
    for level in levels:
        check_number("level", level, above=0, below=100)
        half = level / 200
        bounds = [round(0.5 - half, 10), round(0.5 + half, 10)]
        found = [
            [q for q in quantiles if abs(q - bound) < 1e-6][:1] for bound in bounds
        ]
        absent = [b for b, q in zip(bounds, found, strict=True) if not q]
        if absent:
            raise ValueError(
                f"`level`={level:g} needs quantiles that were not trained: add "
                f"{absent} to `quantiles` and fit again. "
                f"Trained: quantiles={tuple(quantiles)}"
            )
        pairs[level] = (found[0][0], found[1][0])
    return pairs


def add_levels(
    frame: pd.DataFrame, pairs: dict[float, tuple[float, float]]
) -> pd.DataFrame:
    """Adds `y_hat_lo*` and `y_hat_hi*` columns, copies of their quantiles."""
    named = {}
    for level, (low, high) in pairs.items():
        named[f"y_hat_lo{level:g}"] = frame[f"y_hat_q{low:g}"]
        named[f"y_hat_hi{level:g}"] = frame[f"y_hat_q{high:g}"]
    return frame.assign(**named)


def join_actuals(forecasts: pd.DataFrame, actual: pd.DataFrame) -> pd.DataFrame:
    """Sets actual values beside their forecasts.

    Args:
        forecasts: Columns `unique_id`, `ds`, ...
        actual: Columns `unique_id`, `ds`, `y`.

    Raises:
        ValueError: If an actual value has no forecast; the first are shown.
    """
    joined = actual.merge(
        forecasts, on=["unique_id", "ds"], how="left", validate="one_to_one"
    )
    orphans = joined[joined["y_hat"].isna()]
    if len(orphans):
        raise ValueError(
            "`future` must follow `history` within the horizon, series by series. "
            f"{len(orphans)} of {len(joined)} rows do not, the first:\n"
            f"{orphans[['unique_id', 'ds', 'y']].head(5).to_string()}"
        )
    return joined
