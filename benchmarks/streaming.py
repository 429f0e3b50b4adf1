"""Times sessions beside calling the network: one step of one series, and of many.

A network of the default size forecasts hourly series whose values are random: how fast
it answers does not depend on what it learned. Measured are the time of a step of one
key (median and 99th percentile), that of a call with many keys, and what memory a key
takes beside the arrays of its state. Beside them `Model.predict` and `predict_on_batch`
of the same network, which are given finished windows, and `Forecaster.predict`, which
is given the history.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import psutil

from keras_seq import Forecaster
from keras_seq.demo import describe_hardware
from keras_seq.forecasting.fitting import model_inputs
from keras_seq.forecasting.windows import WindowSource
from keras_seq.streaming import open_session
from keras_seq.streaming.observations import Rows

ENGINES = ("numpy", "keras")


def fit(lookback: int, horizon: int) -> Forecaster:
    """A forecaster whose network is not trained, but of its usual size."""
    length = 4 * (lookback + horizon)
    stamps = pd.date_range("2024-01-01", periods=length, freq="h")
    random = np.random.default_rng(0)
    frame = pd.concat(
        pd.DataFrame({"unique_id": name, "ds": stamps, "y": random.normal(size=length)})
        for name in ("a", "b")
    )
    forecaster = Forecaster(
        horizon=horizon, lookback=lookback, freq="h", max_steps=1, refit_full=False
    )
    return forecaster.fit(frame, verbose=0)


def measure(call: Callable[[], object], times: int) -> tuple[float, float]:
    """Median and 99th percentile in milliseconds, after calls that may compile."""
    for _ in range(3):
        call()
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return 1e3 * float(np.median(seconds)), 1e3 * float(np.quantile(seconds, 0.99))


def time_sessions(forecaster: Forecaster, keys: int, times: int) -> None:
    """One line per engine and number of keys."""
    random = np.random.default_rng(0)
    names = [f"series_{i:08d}" for i in range(keys)]
    for engine in ENGINES:
        for count in dict.fromkeys((1, keys)):
            session = open_session(forecaster, engine=engine)
            values = dict(zip(names[:count], random.normal(size=count), strict=True))
            repeats = times if count == 1 else max(times // 30, 5)
            found = measure(partial(session.step, values), repeats)
            show(f"session, {engine}", count, *found)


def time_network(forecaster: Forecaster, keys: int, times: int) -> None:
    """The same network by Keras's own ways, and by `Forecaster.predict`."""
    source = WindowSource(forecaster._tail, forecaster._spec)
    model = forecaster.model_
    for count in dict.fromkeys((1, keys)):
        series = np.zeros(count, np.int64)
        inputs = model_inputs(source.gather(series, forecaster._tail.lengths[series]))
        repeats = max(times // (5 if count == 1 else 60), 5)
        found = measure(partial(model.predict, inputs, verbose=0), repeats)
        show("Model.predict", count, *found)
        found = measure(partial(model.predict_on_batch, inputs), repeats)
        show("predict_on_batch", count, *found)
    history = forecaster._tail.to_frame().query("unique_id == 'a'")
    found = measure(partial(forecaster.predict, history), max(times // 10, 5))
    show("Forecaster.predict", 1, *found)


def show_memory(forecaster: Forecaster, count: int) -> None:
    """Resident memory of each of so many keys, and that of their arrays."""
    session = open_session(forecaster)
    before = psutil.Process().memory_info().rss
    for first in range(0, count, 10_000):
        keys = [f"series_{i:08d}" for i in range(first, min(first + 10_000, count))]
        size = len(keys)
        rows = Rows(keys, np.arange(size), np.ones(size), np.zeros(size, np.int64))
        session.learn(rows)
    used = psutil.Process().memory_info().rss - before
    arrays = session.stepper.arrays.values()
    own = 8 + sum(int(np.prod(s)) * np.dtype(dtype).itemsize for s, dtype in arrays)
    print(
        f"memory of {count} keys: {used / count:.0f} bytes each, of which {own} are "
        "the arrays of its state"
    )


def show(name: str, keys: int, middle: float, slow: float) -> None:
    """One line."""
    each = f"   {1e3 * middle / keys:.1f} us a key" if keys > 1 else ""
    times = f"median {middle:9.3f} ms   p99 {slow:9.3f} ms"
    print(
        f"{name:20s}{keys:8d} keys   {times}{each}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lookback", type=int, default=48, help="steps of the window")
    parser.add_argument("--horizon", type=int, default=24, help="steps to forecast")
    parser.add_argument("--keys", type=int, default=10_000, help="keys of a large call")
    parser.add_argument("--times", type=int, default=300, help="steps to time")
    parser.add_argument(
        "--memory-keys", type=int, default=200_000, help="keys to measure memory with"
    )
    chosen = parser.parse_args()
    for name in ("lookback", "horizon", "keys", "times", "memory_keys"):
        if getattr(chosen, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    print(describe_hardware())
    forecaster = fit(chosen.lookback, chosen.horizon)
    time_sessions(forecaster, chosen.keys, chosen.times)
    time_network(forecaster, chosen.keys, chosen.times)
    show_memory(forecaster, chosen.memory_keys)


if __name__ == "__main__":
    main()
