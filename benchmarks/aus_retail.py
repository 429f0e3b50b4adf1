"""Scores the default Forecaster on Australian retail, beside seasonal naive.

The last 24 months are held out; 12 months are forecast from the training data, and 12
more from the history extended by what came, without training again. The seed decides
the first weights and the order of the windows.
"""

import argparse
import statistics
import time

import pandas as pd

from keras_seq import Forecaster, datasets, runtime
from keras_seq.demo import describe_hardware

HORIZON = 12


def score_seed(seed: int) -> dict[str, float]:
    """Fits and scores with one seed: the means of the two windows."""
    frame = datasets.load_aus_retail()
    first = frame["ds"].max() - pd.DateOffset(months=2 * HORIZON)
    started = time.perf_counter()
    forecaster = Forecaster(horizon=HORIZON, seed=seed)
    forecaster.fit(frame[frame["ds"] <= first], verbose=0)
    seconds = time.perf_counter() - started
    scores = []
    for months in (0, HORIZON):
        cutoff = first + pd.DateOffset(months=months)
        end = cutoff + pd.DateOffset(months=HORIZON)
        future = frame[(frame["ds"] > cutoff) & (frame["ds"] <= end)]
        scores.append(forecaster.evaluate(frame[frame["ds"] <= cutoff], future))
    naive = [window["baselines"]["seasonal_naive"] for window in scores]
    row = {
        name: statistics.fmean(window[key] for window in scores)
        for name, key in (("MASE", "mase"), ("sMAPE, %", "smape"))
    }
    row["inside 80 %"] = statistics.fmean(window["coverage"] for window in scores)
    row["naive MASE"] = statistics.fmean(window["mase"] for window in naive)
    row["below naive, %"] = 100 * (1 - row["MASE"] / row["naive MASE"])
    row["fit, s"] = seconds
    return row


def _print_row(label: str, row: dict[str, float]) -> None:
    cells = [f"{name} {value:.4g}" for name, value in row.items()]
    print(f"{label:8s}" + "   ".join(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    count = parser.parse_args().seeds
    if count < 1:
        parser.error("--seeds must be at least 1")
    print(f"{describe_hardware()}, keras {runtime.describe()['keras_version']}")
    rows = []
    for seed in range(count):
        rows.append(score_seed(seed))
        _print_row(f"seed {seed}", rows[-1])
    mean = {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}
    _print_row("mean", mean)


if __name__ == "__main__":
    main()
