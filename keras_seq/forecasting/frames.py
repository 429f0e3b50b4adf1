"""Forecasts as long frames: `unique_id`, `ds`, `y_hat`, one column per quantile."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from keras_seq.forecasting.forecast_columns import (
    forecast_columns,
    level_columns,
    level_quantiles,
    stamps_after,
)
from keras_seq.forecasting.panel import Panel

__all__ = [
    "add_levels",
    "forecast_frame",
    "join_actuals",
    "level_quantiles",
    "path_frame",
]


def forecast_frame(
    panel: Panel, values: np.ndarray, quantiles: Sequence[float], point: np.ndarray
) -> pd.DataFrame:
    """Lays forecasts of the steps after each series out as rows.

    Args:
        panel: The histories, one forecast for each.
        values: float64, `(num_series, horizon, num_quantiles)`.
        quantiles: Of the last axis.
        point: float64, `(num_series, horizon)`: `y_hat`.
    """
    columns = forecast_columns(panel, values, quantiles, point)
    return pd.DataFrame(columns).infer_objects()


def path_frame(panel: Panel, values: np.ndarray) -> pd.DataFrame:
    """Lays sample paths out as rows: `unique_id`, `path`, `ds`, `y`.

    Args:
        panel: The histories.
        values: float64, `(num_series, horizon, num_paths)`.
    """
    num_series, horizon, num_paths = values.shape
    after = np.arange(num_series * horizon).reshape(num_series, 1, horizon)
    after = np.repeat(after, num_paths, axis=1)  # (num_series, num_paths, horizon)
    columns = {
        "unique_id": np.repeat(panel.ids, num_paths * horizon),
        "path": np.tile(np.repeat(np.arange(num_paths), horizon), num_series),
        "ds": stamps_after(panel, horizon)[after.reshape(-1)],
        "y": values.transpose(0, 2, 1).reshape(-1),
    }
    return pd.DataFrame(columns).infer_objects()


def add_levels(
    frame: pd.DataFrame, pairs: dict[float, tuple[float, float]]
) -> pd.DataFrame:
    """Adds `y_hat_lo*` and `y_hat_hi*` columns, copies of their quantiles."""
    return frame.assign(**level_columns(frame, pairs))


def join_actuals(forecasts: pd.DataFrame, actual: pd.DataFrame) -> pd.DataFrame:
    """Sets actual values beside their forecasts.

    Args:
        forecasts: Columns `unique_id`, `ds`, ...
        actual: Columns `unique_id`, `ds`, `y`.

    Raises:
        ValueError: If an actual value has no forecast; the first are shown.
    """
    joined = actual.merge(
        forecasts, on=["unique_id", "ds"], how="left", validate="1:1", indicator="side"
    )
    orphans = joined[joined.pop("side") == "left_only"]
    if len(orphans):
        raise ValueError(
            "`future` must follow `history` within the horizon, series by series. "
            f"{len(orphans)} of {len(joined)} rows do not, the first:\n"
            f"{orphans[['unique_id', 'ds', 'y']].head(5).to_string()}"
        )
    return joined
