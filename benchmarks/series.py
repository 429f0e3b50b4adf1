"""What the benchmarks of forecasting share: parts of sets, peers, scores.

Nothing here needs keras_seq: a peer on PyTorch cannot share a process with TensorFlow.
"""

from typing import Any

import numpy as np
import pandas as pd

Row = dict[str, Any]


def measure(forecasts: pd.DataFrame, past: pd.DataFrame, season: int) -> Row:
    """sMAPE over all points, MASE over series, shares inside; `past` is for MASE."""
    error = (forecasts["y"] - forecasts["y_hat"]).abs()
    size = forecasts["y"].abs() + forecasts["y_hat"].abs()
    scale = past.groupby("unique_id")["y"].apply(lambda y: y.diff(season).abs().mean())
    scaled = error / forecasts["unique_id"].map(scale)
    scaled = scaled.replace(np.inf, np.nan).groupby(forecasts["unique_id"]).mean()
    row = {
        "points": int(error.notna().sum()),
        "smape": float((200 * error / size).where(size > 0, 0.0)[error.notna()].mean()),
        "mase": float(scaled.mean()),
    }
    for level in (80, 95):
        if f"y_hat_lo{level}" in forecasts:
            known = forecasts.dropna(subset="y")
            bounds = known[f"y_hat_lo{level}"], known[f"y_hat_hi{level}"]
            row[f"inside {level}"] = float(100 * known["y"].between(*bounds).mean())
    return row


def split_competition(frame: pd.DataFrame, period: str) -> list[pd.DataFrame]:
    """The training and the test part of one frequency of M1 or M3."""
    frame = frame[frame["period"] == period].rename(columns={"t": "ds"})
    columns = ["unique_id", "ds", "y"]
    return [frame.loc[frame["part"] == part, columns] for part in ("train", "test")]


def split_end(frame: pd.DataFrame, horizon: int) -> list[pd.DataFrame]:
    """All but the last steps of every series, and those."""
    frame = frame[["unique_id", "ds", "y"]].sort_values(["unique_id", "ds"])
    left = frame.groupby("unique_id").cumcount(ascending=False)
    return [frame[left >= horizon], frame[left < horizon]]


def forecast_peer(
    name: str, train: pd.DataFrame, freq: str | int, season: int, horizon: int
) -> pd.DataFrame:
    """A model of statsforecast, fitted on all cores; columns as of `Forecaster`."""
    from statsforecast import StatsForecast, models

    model = getattr(models, name)(season_length=season)
    peer = StatsForecast([model], freq=freq, n_jobs=-1)
    forecasts = peer.forecast(df=train, h=horizon, level=[80, 95])
    bounds = {
        f"{name}-{b}-{n}": f"y_hat_{b}{n}" for b in ("lo", "hi") for n in (80, 95)
    }
    return forecasts.rename(columns={name: "y_hat", **bounds})
