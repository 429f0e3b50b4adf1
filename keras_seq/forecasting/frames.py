"""Forecasts as long frames: `unique_id`, `ds`, `y_hat`, one column per quantile."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from keras_seq.errors import check_number
from keras_seq.forecasting.panel import Panel


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
    num_series, horizon, _ = values.shape
    columns = {
        "unique_id": np.repeat(panel.ids, horizon),
        "ds": _stamps_after(panel, horizon),
        "y_hat": point.reshape(-1),
    }
    for index, quantile in enumerate(quantiles):
        columns[f"y_hat_q{quantile:g}"] = values[:, :, index].reshape(-1)
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
        "ds": _stamps_after(panel, horizon)[after.reshape(-1)],
        "y": values.transpose(0, 2, 1).reshape(-1),
    }
    return pd.DataFrame(columns).infer_objects()


def _stamps_after(panel: Panel, horizon: int) -> pd.Index:
    """The stamps of the steps after each series, one series after the other."""
    ends = (panel.first + panel.lengths)[:, None] + np.arange(horizon)
    return panel.grid.stamps(0, panel.end + horizon)[ends.reshape(-1)]


def level_quantiles(
    levels: Sequence[float], quantiles: Sequence[float], trained_only: bool = True
) -> dict[float, tuple[float, float]]:
    """Finds the quantiles that bound each interval.

    Args:
        levels: In percent, within (0, 100).
        quantiles: That were trained.
        trained_only: Whether there are no others; False where `quantiles` are
            calibrated.

    Raises:
        ValueError: If a level is out of its range, or a bound was not trained; the
            message names it.
    """
    if isinstance(levels, str) or not isinstance(levels, Iterable):
        raise ValueError(
            f"`level` must be a list of percentages, such as [80]. Received: {levels!r}"
        )
    pairs = {}
    for level in levels:
        check_number("level", level, above=0, below=100)
        half = level / 200
        bounds = [round(0.5 - half, 10), round(0.5 + half, 10)]
        found = [
            [q for q in quantiles if abs(q - bound) < 1e-6][:1] for bound in bounds
        ]
        absent = [b for b, q in zip(bounds, found, strict=True) if not q]
        if absent and trained_only:
            raise ValueError(
                f"`level`={level:g} needs quantiles that were not trained: add "
                f"{absent} to `quantiles` and fit again, or fit with conformal=True. "
                f"Trained: quantiles={tuple(quantiles)}"
            )
        low, high = (q[0] if q else b for b, q in zip(bounds, found, strict=True))
        pairs[level] = (low, high)
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
