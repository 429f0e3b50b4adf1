"""A cue thousands of steps back: a stateful forecaster beside one that sees a window.

Each series begins with a cue, +1 or -1, then is 0 but for noise, except at steps where
it repeats the cue; a covariate known ahead marks these and the first. In training most
waits between them are short, 5 to 60 steps, the others of any length up to `--longest`:
gradients reach back through a chunk alone, and what is learned there has to hold for
the others. Scored are new series with a single wait, the longest: the share whose cue
is forecast with the right sign (half of them by chance), and the mean absolute error (1
where nothing is known). Both networks start with gates that keep up to `--memory-
steps`.
"""

import argparse
import time

import numpy as np
import pandas as pd

from keras_seq import Forecaster
from keras_seq.demo import describe_hardware

# Share of the waits that are short.
SHORT = 0.8


def make_series(waits: list[list[int]], random: np.random.Generator) -> pd.DataFrame:
    """One series for each list of waits; `cue` is a column for the scores alone."""
    frames = []
    for index, mine in enumerate(waits):
        cue = random.choice([-1.0, 1.0])
        places = np.cumsum(mine) + 1
        count = int(places[-1]) + 1
        y, asked = 0.05 * random.normal(size=count), np.zeros(count)
        y[0] = y[places] = cue
        asked[0] = asked[places] = 1.0
        frames.append(
            pd.DataFrame(
                {
                    "unique_id": f"s{index:05d}",
                    "ds": np.arange(count),
                    "y": y,
                    "asked": asked,
                    "cue": cue,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--longest", type=int, default=2000, help="steps of a wait")
    parser.add_argument("--series", type=int, default=100, help="series to train on")
    parser.add_argument("--scored", type=int, default=100, help="series to score")
    parser.add_argument("--chunk-length", type=int, default=100, help="of the stateful")
    parser.add_argument("--lookback", type=int, default=100, help="of the windowed")
    parser.add_argument("--steps", type=int, default=1000, help="of training")
    parser.add_argument("--memory-steps", type=int, default=200, help="of the gates")
    parser.add_argument("--seed", type=int, default=0, help="of data and networks")
    chosen = parser.parse_args()
    random = np.random.default_rng(chosen.seed)
    waits: list[list[int]] = []
    for _ in range(chosen.series):
        waits.append([])
        while sum(waits[-1]) < chosen.longest:
            between = (5, 60) if random.random() < SHORT else (60, chosen.longest)
            waits[-1].append(int(np.exp(random.uniform(*np.log(between)))))
    history = make_series(waits, random)
    test = make_series([[chosen.longest]] * chosen.scored, random)
    last = test.groupby("unique_id")["ds"].transform("max") == test["ds"]
    future, cues = test[last].drop(columns="y"), test[last]["cue"].to_numpy()
    shared = {
        "horizon": 1,
        "freq": 1,
        "cell": "lstm",
        "units": 32,
        "scaling": "none",
        "future_covariates": ["asked"],
        "memory_steps": chosen.memory_steps,
        "point": "mean",
        "learning_rate": 0.01,
        "max_steps": chosen.steps,
        "patience": 1000,
        "refit_full": False,
        "seed": chosen.seed,
    }
    ways = {
        "windowed": {"lookback": chosen.lookback, "decoder": "direct"},
        "stateful": {
            **{"stateful": True, "chunk_length": chosen.chunk_length},
            **{"lookback": 2, "batch_size": 32},
        },
    }
    print(describe_hardware())
    for name, own in ways.items():
        started = time.perf_counter()
        forecaster = Forecaster(**shared, **own).fit(
            history.drop(columns="cue"), verbose=0
        )
        seconds = time.perf_counter() - started
        told = forecaster.predict(test[~last].drop(columns="cue"), future)
        forecast = told["y_hat"].to_numpy()
        right = float((np.sign(forecast) == cues).mean())
        error = float(np.abs(forecast - cues).mean())
        print(
            f"{name:9s} right sign {right:6.1%}   error {error:.3f}   {seconds:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
