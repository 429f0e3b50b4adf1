"""Fits a default Forecaster on very many series, and on one very long one.

The series are made: a random walk, a season and noise, each with its own level. Each
size runs in a process of its own. Preparation is all of `fit` before the first training
step; memory is what the process had resident, at most and added, imports and the frame
itself included in the first and not in the second.
"""

import argparse
import json
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pandas as pd
import psutil
from large_text import peak_mb


def make_frame(num_series: int, steps: int, season: int, freq: str) -> pd.DataFrame:
    """Columns `unique_id` (a category), `ds` and `y`."""
    random = np.random.default_rng(0)
    shape = num_series, steps
    level = random.uniform(50, 500, (num_series, 1))
    stride = 0.01 * min(1.0, 72 / steps) ** 0.5  # a long walk goes no farther
    walk = np.cumsum(random.normal(0, stride, shape), axis=1)
    phase = random.uniform(0, 2 * np.pi, (num_series, 1))
    round_ = 2 * np.pi * np.arange(steps) / season
    noise = random.normal(0, 0.05, shape)
    values = level * np.exp(walk + 0.2 * np.sin(round_ + phase) + noise)
    names = [f"s{index:06d}" for index in range(num_series)]
    stamps = pd.date_range("2000-01-01", periods=steps, freq=freq)
    return pd.DataFrame(
        {
            "unique_id": pd.Categorical.from_codes(
                np.repeat(np.arange(num_series, dtype=np.int32), steps), names
            ),
            "ds": np.tile(stamps.to_numpy(), num_series),
            "y": values.ravel(),
        }
    )


def resident_mb() -> float:
    """Memory that this process has resident now."""
    return psutil.Process().memory_info().rss / 2**20


def run(num_series: int, steps: int, season: int, freq: str) -> dict[str, Any]:
    """A fit and a forecast in this process: seconds and MB."""
    import keras

    from keras_seq import Forecaster

    class Clock(keras.callbacks.Callback):
        begin = 0.0

        def on_train_begin(self, logs: Any = None) -> None:
            self.begin = self.begin or time.perf_counter()

    clock = Clock()
    frame = make_frame(num_series, steps, season, freq)
    columns = frame.memory_usage(index=False).sum() / 2**20
    before = resident_mb()
    started = time.perf_counter()
    forecaster = Forecaster(horizon=season)
    forecaster.fit(frame, callbacks=[clock], verbose=0)
    fitted = time.perf_counter()
    added = resident_mb() - before
    forecaster.predict()
    first = time.perf_counter() - fitted
    # Once more: the first call compiles.
    again = time.perf_counter()
    forecaster.predict()
    second = time.perf_counter() - again
    return {
        "series": num_series,
        "steps": steps,
        "columns, MB": columns,
        "preparation, s": clock.begin - started,
        "fit, s": fitted - started,
        "predict, s": first,
        "predict again, s": second,
        "preparation, ms/series": 1e3 * (clock.begin - started) / num_series,
        "predict again, ms/series": 1e3 * second / num_series,
        "added by fit, MB": added,
        "peak, MB": peak_mb(),
        "trained, steps": int(forecaster.history_["step"].max()),
        "mase": forecaster.validation_["mase"],
        "mase of naive": forecaster.validation_["mase_naive"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--series",
        type=int,
        nargs="*",
        default=[1000, 100_000],
        help="numbers of monthly series",
    )
    parser.add_argument("--months", type=int, default=72)
    parser.add_argument(
        "--hours",
        type=int,
        nargs="*",
        default=[20_000, 2_000_000],
        help="lengths of one hourly series",
    )
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        *sizes, freq = options.one
        print(json.dumps(run(*map(int, sizes), freq)))
        return
    sizes = [(count, options.months, 12, "MS") for count in options.series]
    sizes += [(1, hours, 24, "h") for hours in options.hours]
    rows = []
    for size in sizes:
        command = [sys.executable, __file__, "--one", *map(str, size)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
    from keras_seq.demo import describe_hardware

    print(describe_hardware())
    print(pd.DataFrame(rows).T.round(3).to_string())


if __name__ == "__main__":
    main()
