"""Times Forecaster beside neuralforecast and statsforecast on monthly series.

Takes a folder with `m3.parquet` (columns `unique_id`, `period`, `part`, `t`, `y`). Each
model is fitted on the training part of the monthly series and forecasts the 18 months
of the test part; seconds are those of fit and forecast together.

- The peers: neuralforecast's LSTM and NHITS with their defaults and a lookback of two
  horizons (1,000 steps), AutoETS and DynamicOptimizedTheta.
- "equal": our network with the LSTM's cell, layers, units, lookback, windows a step
  and steps, trained once (its choice of the steps by validation is not used).
- "default": our defaults, and the same with fewer steps, which tell how soon they get
  to the errors of the others. Each trains twice: validation chooses the steps.

Rounds alternate between the models, each with a seed of its own; medians are printed.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from forecasting import forecast_peer, measure, split_competition

from keras_seq import Forecaster
from keras_seq.demo import describe_hardware

HORIZON, SEASON = 18, 12
LOOKBACK = 2 * HORIZON
STEPS = 1000
# Upper limits of the steps of our defaults.
BUDGETS = (50, 100, 200, 400)
# As neuralforecast 3.3 has them in `LSTM`.
EQUAL = {
    "cell": "lstm",
    "units": 128,
    "num_layers": 2,
    "lookback": LOOKBACK,
    "batch_size": 128,
    "max_steps": STEPS,
    "patience": STEPS,
    "refit_full": False,
}

Run = Callable[[pd.DataFrame, int], pd.DataFrame]


def run_ours(train: pd.DataFrame, seed: int, **arguments: object) -> pd.DataFrame:
    """A fit of ours; columns `unique_id`, `ds`, `y_hat`."""
    forecaster = Forecaster(
        horizon=HORIZON, season_length=SEASON, seed=seed, **arguments
    )
    return forecaster.fit(train, verbose=0).predict()


def run_neural(train: pd.DataFrame, seed: int, name: str) -> pd.DataFrame:
    """A model of neuralforecast; columns as of `run_ours`."""
    from neuralforecast import NeuralForecast, models

    quiet = {
        "enable_progress_bar": False,
        "logger": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
    }
    model = getattr(models, name)(
        h=HORIZON,
        input_size=LOOKBACK,
        max_steps=STEPS,
        random_seed=seed,
        start_padding_enabled=True,
        **quiet,
    )
    peer = NeuralForecast([model], freq=1)
    peer.fit(train)
    return peer.predict().rename(columns={name: "y_hat"})


def list_runs() -> dict[str, Run]:
    """What is timed; peers that are not installed are left out."""
    runs: dict[str, Run] = {}
    try:
        import neuralforecast

        print(f"neuralforecast {neuralforecast.__version__}")
        for name in ("LSTM", "NHITS"):
            runs[name] = lambda train, seed, name=name: run_neural(train, seed, name)
    except ImportError:
        print("neuralforecast is not installed")
    try:
        import statsforecast

        print(f"statsforecast {statsforecast.__version__}")
        for name in ("AutoETS", "DynamicOptimizedTheta"):
            runs[name] = lambda train, _, name=name: forecast_peer(
                name, train, 1, SEASON, HORIZON
            )
    except ImportError:
        print("statsforecast is not installed")
    runs["ours, equal"] = lambda train, seed: run_ours(train, seed, **EQUAL)
    for steps in BUDGETS:
        runs[f"ours, at most {steps} steps"] = lambda train, seed, steps=steps: (
            run_ours(train, seed, max_steps=steps)
        )
    runs["ours, default"] = run_ours
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder with m3.parquet")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", help="names of runs to do")
    options = parser.parse_args()
    frame = pd.read_parquet(options.data / "m3.parquet")
    train, test = split_competition(frame, "MONTHLY")
    runs = list_runs()
    if options.only:
        runs = {name: runs[name] for name in options.only}
    rows = []
    for seed in range(options.rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            found = run(train, seed)
            seconds = time.perf_counter() - started
            both = test.merge(found, on=["unique_id", "ds"], validate="1:1")
            scores = measure(both, train, SEASON)
            rows.append({"model": name, "seconds": seconds, **scores})
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows).groupby("model", sort=False)
    print(describe_hardware())
    print(table[["seconds", "smape", "mase"]].median().round(2).to_string())


if __name__ == "__main__":
    main()
