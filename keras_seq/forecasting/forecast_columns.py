"""Forecasts as columns: ids, stamps, `y_hat`, one per quantile, bounds of intervals."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_seq.errors import check_number
from keras_seq.forecasting.plain_panel import PlainPanel


def forecast_columns(
    panel: PlainPanel,
    values: np.ndarray,
    quantiles: Sequence[float],
    point: np.ndarray,
) -> dict[str, Any]:
    """Lays forecasts of the steps after each series out as columns.

    Args:
        panel: The histories, one forecast for each.
        values: float64, `(num_series, horizon, num_quantiles)`.
        quantiles: Of the last axis.
        point: float64, `(num_series, horizon)`: `y_hat`.

    Returns:
        `unique_id`, `ds`, `y_hat` and `y_hat_q*`, series after series.
    """
    horizon = values.shape[1]
    columns = {
        "unique_id": np.repeat(panel.ids, horizon),
        "ds": stamps_after(panel, horizon),
        "y_hat": point.reshape(-1),
    }
    for index, quantile in enumerate(quantiles):
        columns[f"y_hat_q{quantile:g}"] = values[:, :, index].reshape(-1)
    return columns


def check_column_names(quantiles: Sequence[float]) -> None:
    """Raises if two quantiles would have one column."""
    if len({f"{quantile:g}" for quantile in quantiles}) < len(quantiles):
        raise ValueError(
            "`quantiles`, with 0.5, must differ in their first six digits, by which "
            f"columns are named. Received: quantiles={tuple(quantiles)}"
        )


def stamps_after(panel: PlainPanel, horizon: int) -> Any:
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


def level_columns(
    columns: Mapping[str, Any] | Any, pairs: dict[float, tuple[float, float]]
) -> dict[str, Any]:
    """`y_hat_lo*` and `y_hat_hi*`: the columns of the quantiles that bound them."""
    named = {}
    for level, (low, high) in pairs.items():
        named[f"y_hat_lo{level:g}"] = columns[f"y_hat_q{low:g}"]
        named[f"y_hat_hi{level:g}"] = columns[f"y_hat_q{high:g}"]
    return named
