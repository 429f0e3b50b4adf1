"""Times sessions beside calling the network: one step of one series, and of many.

Networks of 64 units forecast hourly series whose values are random: how fast they
answer does not depend on what they learned. One is stateful, the other reads a window
again at each step; "alone" is the NumPy runtime in a process of its own. Measured are
the time of a step of one key (median and 99th percentile), that of a call with many
keys, what memory a key of a stateful GRU of 16 units takes beside the arrays of its
state, and how long a new process takes to load a saved model and answer. Beside them
`Model.predict` and `predict_on_batch` of the network that sees windows, which are given
finished ones, and `Forecaster.predict`, which is given the history.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

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


def fit(lookback: int, horizon: int, **arguments: Any) -> Forecaster:
    """A forecaster whose network is not trained."""
    length = 4 * (lookback + horizon)
    stamps = pd.date_range("2024-01-01", periods=length, freq="h")
    random = np.random.default_rng(0)
    frame = pd.concat(
        pd.DataFrame({"unique_id": name, "ds": stamps, "y": random.normal(size=length)})
        for name in ("a", "b")
    )
    usual = {"freq": "h", "max_steps": 1, "refit_full": False}
    forecaster = Forecaster(
        horizon=horizon, lookback=lookback, **{**usual, **arguments}
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


def time_sessions(kind: str, forecaster: Forecaster, keys: int, times: int) -> None:
    """One line per engine and number of keys."""
    random = np.random.default_rng(0)
    names = [f"series_{i:08d}" for i in range(keys)]
    for engine in ENGINES:
        for count in dict.fromkeys((1, keys)):
            session = open_session(forecaster, engine=engine)
            values = dict(zip(names[:count], random.normal(size=count), strict=True))
            repeats = 10 * times if count == 1 else max(times // 30, 5)
            found = measure(partial(session.step, values), repeats)
            show(f"{kind}, {engine}", count, *found)


def time_alone(forecaster: Forecaster, keys: int, times: int) -> None:
    """Sessions of a saved model in a process that has NumPy alone, as a service has."""
    code = (
        "import sys, time, numpy as np\n"
        "from keras_seq.numpy_runtime import load\n"
        "session = load(sys.argv[1]).stream()\n"
        "count, times = int(sys.argv[2]), int(sys.argv[3])\n"
        "values = {f'series_{i:08d}': float(i % 7) for i in range(count)}\n"
        "seconds = []\n"
        "for i in range(times + 3):\n"
        "    began = time.perf_counter()\n"
        "    session.step(values)\n"
        "    seconds.append(time.perf_counter() - began)\n"
        "print(*np.quantile(seconds[3:], (0.5, 0.99)))"
    )
    with tempfile.TemporaryDirectory() as folder:
        forecaster.save(f"{folder}/model.kseq")
        for count in dict.fromkeys((1, keys)):
            repeats = 10 * times if count == 1 else max(times // 15, 5)
            given = [f"{folder}/model.kseq", str(count), str(repeats)]
            command = [sys.executable, "-c", code, *given]
            told = subprocess.run(command, capture_output=True, check=True)
            middle, slow = (1e3 * float(x) for x in told.stdout.split())
            show("stateful, alone", count, middle, slow)


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
    session.step({"first": 1.0})  # what is made once
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


def time_start(forecaster: Forecaster, repeats: int) -> None:
    """New processes that load a saved model and answer once."""
    code = (
        "import sys, time; began = time.perf_counter()\n"
        "from {package} import load\n"
        "load(sys.argv[1]).stream().step({{'a': 1.0}})\n"
        "print(time.perf_counter() - began)"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/model.kseq"
        forecaster.save(path)
        ways = {"NumPy": "keras_seq.numpy_runtime", "Keras": "keras_seq"}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(repeats):
            for name, package in ways.items():
                command = [sys.executable, "-c", code.format(package=package), path]
                told = subprocess.run(command, capture_output=True, check=True)
                seconds[name].append(float(told.stdout))
    middle = {name: float(np.median(times)) for name, times in seconds.items()}
    print(
        f"new process to first answer: NumPy {middle['NumPy']:.2f} s, Keras "
        f"{middle['Keras']:.2f} s ({middle['Keras'] / middle['NumPy']:.1f} times)"
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
    parser.add_argument("--horizon", type=int, default=12, help="steps to forecast")
    parser.add_argument("--cell", default="lstm", help="rnn, lstm or gru")
    parser.add_argument("--keys", type=int, default=10_000, help="keys of a large call")
    parser.add_argument("--times", type=int, default=300, help="steps to time")
    parser.add_argument(
        "--memory-keys", type=int, default=1_000_000, help="keys to measure memory with"
    )
    parser.add_argument("--starts", type=int, default=3, help="new processes to time")
    chosen = parser.parse_args()
    for name in ("lookback", "horizon", "keys", "times", "memory_keys", "starts"):
        if getattr(chosen, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    print(describe_hardware())
    size = chosen.lookback, chosen.horizon
    windowed = fit(*size, cell=chosen.cell)
    stateful = fit(*size, cell=chosen.cell, stateful=True)
    time_sessions("stateful", stateful, chosen.keys, chosen.times)
    time_alone(stateful, chosen.keys, chosen.times)
    time_sessions("windowed", windowed, chosen.keys, chosen.times)
    time_network(windowed, chosen.keys, chosen.times)
    time_start(stateful, chosen.starts)
    small = fit(24, chosen.horizon, cell="gru", units=16, stateful=True)
    show_memory(small, chosen.memory_keys)


if __name__ == "__main__":
    main()
