"""Rolling-origin backtest (Tashman 2000): what would have been forecast, and when."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from keras_seq.errors import name_some, warn
from keras_seq.forecasting.panel import Columns, Panel, cut_frame
from keras_seq.forecasting.prediction import forecast_panel
from keras_seq.forecasting.scores import BASELINES, seasonal_naive

if TYPE_CHECKING:
    from keras_seq.forecasting.forecaster import Forecaster


def rolling_origin(
    forecaster: "Forecaster",
    panel: Panel,
    num_windows: int,
    step_size: int,
    refit: bool,
    verbose: int | str,
) -> pd.DataFrame:
    """Fits clones on the rows before the cutoffs and forecasts after each.

    Each cutoff's panel is cut before anything looks at it, so neither scaling nor
    network can know what follows.

    Returns:
        `unique_id`, `cutoff`, `ds`, `y`, `y_hat`, `y_hat_q*`, `seasonal_naive`,
        `naive`; only steps with an actual value. Warns of series without any.
    """
    horizon = forecaster.horizon
    end = panel.observed_end  # rows of a plan hold nothing to compare with
    last = end - horizon
    cutoffs = last - step_size * np.arange(num_windows - 1, -1, -1)
    if cutoffs[0] < 2:
        raise ValueError(
            f"num_windows={num_windows} at horizon={horizon} and step_size={step_size} "
            f"needs {horizon + step_size * (num_windows - 1) + 2} steps; the data span "
            f"{end}."
        )
    frames: list[pd.DataFrame] = []
    for cutoff in cutoffs:
        past = panel.until(int(cutoff))
        if not frames or refit:
            fitted = clone(forecaster)
            fitted._fit_panel(past, verbose=verbose)
        frame = forecast_panel(fitted, past)
        for name, season in (("seasonal_naive", fitted.season_length_), ("naive", 1)):
            frame[name] = seasonal_naive(past, season, horizon).reshape(-1)
        frame.insert(1, "cutoff", panel.grid.stamps(int(cutoff) - 1, 1)[0])
        frames.append(frame)
    forecasts = pd.concat(frames, ignore_index=True)
    joined = forecasts.merge(panel.observed(), on=["unique_id", "ds"])
    joined.insert(3, "y", joined.pop("y"))
    _warn_of_left_out(panel, joined)
    return joined


def _warn_of_left_out(panel: Panel, joined: pd.DataFrame) -> None:
    left_out = panel.ids[~pd.Index(panel.ids).isin(joined["unique_id"])]
    if len(left_out):
        warn(
            f"{len(left_out)} of {len(panel.ids)} series have no row in the backtest: "
            "cutoffs are the same stamps for all, and these end before the first one, "
            "begin after the last one, or have no value to compare with: "
            f"{name_some(left_out)}"
        )


def check_windows(windows: pd.DataFrame, quantiles: Sequence[float]) -> None:
    """Raises unless a frame is what `rolling_origin` gives for these quantiles."""
    columns = [f"y_hat_q{q:g}" for q in quantiles]
    for name in ("unique_id", "cutoff", "ds", "y", "y_hat", *columns, *BASELINES):
        if name not in windows:
            raise ValueError(
                "`windows` must be what `backtest` of a forecaster with these "
                f"arguments returned. It has no column {name!r}."
            )


def cut_folds(
    df: Any, panel: Panel, columns: Columns, count: int, horizon: int
) -> Iterator[pd.DataFrame]:
    """A frame cut at rolling origins, one horizon apart; the last is the whole of it.

    Args:
        df: Long frame.
        panel: The same, checked.
        columns: Of the frame.
        count: Number of origins.
        horizon: Steps.

    Raises:
        ValueError: If the first would hold too little.
    """
    last = panel.observed_end
    ends = last - horizon * np.arange(count - 1, -1, -1)
    if panel.until(max(int(ends[0]), 0)).lengths.max(initial=0) <= 2 * horizon:
        raise ValueError(
            f"`folds` must leave a series of more than two horizons before the "
            f"first origin. Received: folds={count}, horizon={horizon}, and "
            f"data that span {last} steps"
        )
    for end in ends:
        yield cut_frame(df, columns, panel.grid.stamps(int(end) - 1, 1)[0])
