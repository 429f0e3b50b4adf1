"""Times Forecaster beside neuralforecast and statsforecast on monthly series.

Takes a folder with `m3.parquet` (columns `unique_id`, `period`, `part`, `t`, `y`). Each
model is fitted on the training part of the monthly series and forecasts the 18 months
of the test part; seconds are those of fit and forecast together, without imports.

- The peers: neuralforecast's LSTM and NHITS with their defaults and a lookback of two
  horizons (1,000 steps), AutoETS and DynamicOptimizedTheta.
- "equal": our network with the LSTM's cell, layers, units, lookback, windows a step
  and steps, trained once, scored every 50 steps on what is held back.
- "default": our defaults, and the same with fewer steps, which tell how soon they get
  to the errors of the others. Each trains twice: validation chooses the steps.

Each runs in a process of its own. Rounds alternate between the models, each with a seed
of its own; medians are printed.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
from series import forecast_peer, measure, split_competition

HORIZON, SEASON = 18, 12
LOOKBACK = 2 * HORIZON
STEPS = 1000
# As neuralforecast 3.3 has them in `LSTM`.
EQUAL = {
    "cell": "lstm",
    "units": 128,
    "num_layers": 2,
    "dropout": 0.0,
    "lookback": LOOKBACK,
    "batch_size": 128,
    "max_steps": STEPS,
    "patience": STEPS,
    "refit_full": False,
}
OURS = {
    "ours, equal": EQUAL,
    **{f"ours, {steps} steps": {"max_steps": steps} for steps in (50, 100, 200, 400)},
    "ours, default": {},
}
NEURAL = ("LSTM", "NHITS")
STATISTICAL = ("AutoETS", "DynamicOptimizedTheta")


def load(name: str, train: pd.DataFrame, seed: int) -> Callable[[], pd.DataFrame]:
    """Imports what a model needs; the result fits and forecasts, column `y_hat`."""
    if name in STATISTICAL:
        return partial(forecast_peer, name, train, 1, SEASON, HORIZON)
    if name in NEURAL:
        from neuralforecast import NeuralForecast, models

        model = getattr(models, name)(
            h=HORIZON,
            input_size=LOOKBACK,
            max_steps=STEPS,
            random_seed=seed,
            start_padding_enabled=True,
            enable_progress_bar=False,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
        )
        peer = NeuralForecast([model], freq=1)

        def run() -> pd.DataFrame:
            peer.fit(train)
            return peer.predict().rename(columns={name: "y_hat"})

        return run
    from keras_seq import Forecaster

    about = {"horizon": HORIZON, "season_length": SEASON, "seed": seed}
    forecaster = Forecaster(**{**about, **OURS[name]})
    return lambda: forecaster.fit(train, verbose=0).predict()


def time_one(path: Path, name: str, seed: int) -> dict[str, float]:
    """Seconds and errors of one model, in this process."""
    train, test = split_competition(pd.read_parquet(path), "MONTHLY")
    run = load(name, train, seed)
    started = time.perf_counter()
    forecasts = run()
    seconds = time.perf_counter() - started
    both = test.merge(forecasts, on=["unique_id", "ds"], validate="1:1")
    scores = measure(both, train, SEASON)
    return {"seconds": seconds, "smape": scores["smape"], "mase": scores["mase"]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder with m3.parquet")
    parser.add_argument("--rounds", type=int, default=3)
    models = [*NEURAL, *STATISTICAL, *OURS]
    parser.add_argument("--models", nargs="+", choices=models, default=models)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    path = options.data / "m3.parquet"
    if options.one is not None:
        print(json.dumps(time_one(path, options.models[0], options.one)))
        return
    for package, peers in (("neuralforecast", NEURAL), ("statsforecast", STATISTICAL)):
        if find_spec(package) is None:
            print(f"{package} is not installed")
            options.models = [name for name in options.models if name not in peers]
    rows = []
    for seed in range(options.rounds):
        for name in options.models:
            command = [sys.executable, __file__, str(options.data), "--one", str(seed)]
            command += ["--models", name]
            done = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True
            )
            rows.append({"model": name, **json.loads(done.stdout.splitlines()[-1])})
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows).groupby("model", sort=False).median().round(2)
    from keras_seq.demo import describe_hardware

    print(describe_hardware())
    print(table.to_string())


if __name__ == "__main__":
    main()
