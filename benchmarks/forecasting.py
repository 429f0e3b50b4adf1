"""Scores one default Forecaster on public sets, beside statsforecast where installed.

Takes a folder with `m3`, `m1` (columns `unique_id`, `period`, `part`, `t`, `y`),
`aus_retail` and `household_power` (`ds`, `y`) and `etth1` (`date` and a column for each
channel), all `.parquet`. Test parts are scored and nothing is chosen by them.

- M3 and M1: the published test parts; sMAPE over all points, as in their tables.
- Australian retail: the last 24 months. Household power, gaps inside: the last 28 days,
  forecast day by day from one fit; the statistical peers are fitted anew each day, on
  the last `--hours-seen` hours, gaps filled by the last value.
- ETTh1: fitted on the first 12 months, four more left out, every window of the next
  four scored (standardised by the first 12; all channels through one network). It is
  judged by squared error, so `point="mean"`: the defaults otherwise, and arguments that
  the four months left out chose.

The 80 % and 95 % intervals are those of `conformal=True`. With `--results` every fit is
a line of a file, and the same call again does those that are missing.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from series import Row, forecast_peer, measure, split_competition, split_end

from keras_seq import Forecaster, runtime
from keras_seq.demo import describe_hardware

# period: horizon and season of the competition
M1 = {"YEARLY": (6, 1), "QUARTERLY": (8, 4), "MONTHLY": (18, 12)}
COMPETITIONS = {"m3": {**M1, "OTHER": (8, 1)}, "m1": M1}
QUANTILES = (0.025, 0.1, 0.5, 0.9, 0.975)
OURS: dict[str, dict[str, Any]] = {
    "default": {},
    "log": {"scaling": "log"},
    "ensemble": {"ensemble": 5},
    "log ensemble": {"scaling": "log", "ensemble": 5},
}
PEERS = ("AutoETS", "DynamicOptimizedTheta")
# Lookback and horizon of ETTh1; the split of its papers, in hours.
ETTH1 = ((96, 96), (96, 336), (720, 96))
TRAINED, LEFT_OUT, TESTED = 8640, 2880, 2880
# Its series are standardised already and judged by squared error. Chosen on the months
# left out, at 96 -> 96.
FOR_ETTH1: dict[str, dict[str, Any]] = {
    "default": {},
    "for squared error": {
        "scaling": "none",
        "season_length": 1,
        "quantiles": (0.5,),
        "dropout": 0.3,
        "max_steps": 300,
    },
}
WINDOWS = 28


def score_end(
    model: str,
    train: pd.DataFrame,
    test: pd.DataFrame,
    season: int,
    horizon: int,
    **arguments: Any,
) -> Row:
    """One fit of ours or of a peer, one forecast from the end of the training part."""
    started = time.perf_counter()
    if model in OURS:
        forecaster = Forecaster(
            horizon=horizon,
            season_length=season,
            quantiles=QUANTILES,
            conformal=True,
            **arguments,
        )
        forecasts = forecaster.fit(train, verbose=0).predict(level=[80, 95])
    else:
        freq = 1 if train["ds"].dtype.kind == "i" else "MS"
        forecasts = forecast_peer(model, train, freq, season, horizon)
    seconds = time.perf_counter() - started
    both = test.merge(forecasts, on=["unique_id", "ds"], how="left", validate="1:1")
    return {**measure(both, train, season), "seconds": seconds}


def score_days(
    model: str, frame: pd.DataFrame, hours_seen: int, **arguments: Any
) -> Row:
    """Household power: 28 days, each forecast from the evening before."""
    hours = pd.date_range(frame["ds"].min(), frame["ds"].max(), freq="h")
    frame = frame.set_index("ds").reindex(hours).rename_axis("ds").reset_index()
    past, test = split_end(frame.assign(unique_id="power"), 24 * WINDOWS)
    started = time.perf_counter()
    if model in OURS:
        forecaster = Forecaster(
            horizon=24, quantiles=QUANTILES, conformal=True, **arguments
        ).fit(past, verbose=0)
    days = []
    for day in range(WINDOWS):
        recent = pd.concat([past, test[: 24 * day]])[-hours_seen:]
        if model in OURS:
            found = forecaster.predict(recent, level=[80, 95])
        else:
            filled = recent.assign(y=recent["y"].ffill().bfill())
            found = forecast_peer(model, filled, "h", 24, 24)
        actual = test[24 * day : 24 * (day + 1)]
        days.append(actual.merge(found, on=["unique_id", "ds"], validate="1:1"))
    seconds = time.perf_counter() - started
    return {**measure(pd.concat(days), past, 24), "seconds": seconds}


def score_etth1(
    path: Path, lookback: int, horizon: int, seed: int, **arguments: Any
) -> Row:
    """Mean squared and absolute error of every test window."""
    frame = pd.read_parquet(path).set_index("date")
    past = frame[:TRAINED]
    frame = (frame - past.mean()) / past.std(ddof=0)
    long = frame[:TRAINED].rename_axis("ds").reset_index()
    long = long.melt("ds", var_name="unique_id", value_name="y")
    forecaster = Forecaster(
        horizon=horizon, lookback=lookback, point="mean", seed=seed, **arguments
    )
    started = time.perf_counter()
    forecaster.fit(long, verbose=0)
    seconds = time.perf_counter() - started
    values = frame.to_numpy()
    first = TRAINED + LEFT_OUT
    origins = np.arange(first, first + TESTED - horizon + 1)
    squared = absolute = 0.0
    for part in np.array_split(origins, 16):
        # Each window is a series of its own, which the forecaster has never seen.
        steps = part[:, None] + np.arange(-lookback, 0)
        ids = np.arange(len(part) * values.shape[1]).repeat(lookback)
        stamps = np.tile(
            frame.index.to_numpy()[steps][:, None], (1, values.shape[1], 1)
        )
        window = values[steps].swapaxes(1, 2)
        history = {"unique_id": ids, "ds": stamps.ravel(), "y": window.ravel()}
        found = forecaster.predict(pd.DataFrame(history))
        shape = len(part), values.shape[1], horizon
        ahead = values[part[:, None] + np.arange(horizon)].swapaxes(1, 2)
        error = found.sort_values(["unique_id", "ds"])["y_hat"].to_numpy()
        error = error.reshape(shape) - ahead
        squared += float(np.square(error).sum())
        absolute += float(np.abs(error).sum())
    count = len(origins) * values.shape[1] * horizon
    return {
        "points": count,
        "mse": squared / count,
        "mae": absolute / count,
        "seconds": seconds,
    }


def jobs(options: argparse.Namespace) -> Iterator[tuple[Row, Callable[[], Row]]]:
    """What is to be done: its name, and a function that does it."""
    for name, score in splits(options):
        for model, seed, own in options.runs:
            yield (
                {"set": name, "model": model, "seed": seed},
                partial(score, model, **own),
            )
    if "etth1" in options.sets:
        path = options.data / "etth1.parquet"
        for lookback, horizon in ETTH1:
            name = f"etth1 {lookback} -> {horizon}"
            for (model, own), seed in product(FOR_ETTH1.items(), range(options.seeds)):
                yield (
                    {"set": name, "model": model, "seed": seed},
                    partial(score_etth1, path, lookback, horizon, seed, **own),
                )


def splits(options: argparse.Namespace) -> Iterator[tuple[str, Callable[..., Row]]]:
    """The sets that ours and the peers share, each with what scores a model on it."""
    for name, periods in COMPETITIONS.items():
        if name in options.sets:
            frame = pd.read_parquet(options.data / f"{name}.parquet")
            for period, (horizon, season) in periods.items():
                train, test = split_competition(frame, period)
                about = {"season": season, "horizon": horizon}
                score = partial(score_end, train=train, test=test, **about)
                yield f"{name} {period.lower()}", score
    if "aus_retail" in options.sets:
        frame = pd.read_parquet(options.data / "aus_retail.parquet")
        train, test = split_end(frame, 24)
        about = {"season": 12, "horizon": 24}
        yield "aus_retail", partial(score_end, train=train, test=test, **about)
    if "household_power" in options.sets:
        frame = pd.read_parquet(options.data / "household_power.parquet")
        hours_seen = options.hours_seen
        yield "household_power", partial(score_days, frame=frame, hours_seen=hours_seen)


def tabulate(rows: list[Row]) -> pd.DataFrame:
    """Means over seeds; of M3 and M1 a line for all points together."""
    frame = pd.DataFrame(rows)
    for name, periods in COMPETITIONS.items():
        parts = frame[frame["set"].str.startswith(f"{name} ")]
        counts = parts.groupby(["model", "seed"])["set"].transform("size")
        whole = parts[counts == len(periods)]
        figures = ["smape", "mase", "inside 80", "inside 95"]
        for (model, seed), group in whole.groupby(["model", "seed"]):
            means = {
                key: np.average(group[key], weights=group["points"])
                for key in figures
                if key in group
            }
            total = {"points": group["points"].sum(), "seconds": group["seconds"].sum()}
            row = {"set": f"{name} all", "model": model, "seed": seed, **total, **means}
            frame = pd.concat([frame, pd.DataFrame([row])], ignore_index=True)
    grouped = frame.groupby(["set", "model"], sort=False)
    table = grouped.mean(numeric_only=True).drop(columns="seed")
    table.insert(0, "seeds", grouped.size())
    return table.dropna(axis="columns", how="all").round(3).reset_index()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sets = ("m3", "m1", "aus_retail", "household_power", "etth1")
    parser.add_argument("data", type=Path, help="folder with the sets")
    parser.add_argument("--sets", nargs="+", choices=sets, default=sets)
    models = [*OURS, *PEERS]
    parser.add_argument("--models", nargs="+", choices=models, default=models)
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument(
        "--hours-seen", type=int, default=1344, help="of household power"
    )
    parser.add_argument("--results", type=Path, help="file of JSON lines to go on with")
    options = parser.parse_args()
    try:
        import statsforecast

        print(f"statsforecast {statsforecast.__version__}")
    except ImportError:
        print("statsforecast is not installed: no peers")
        options.models = [name for name in options.models if name in OURS]
    options.runs = [
        (model, seed, {"seed": seed, **OURS[model]} if model in OURS else {})
        for model in options.models
        for seed in range(options.seeds if model == "default" else 1)
    ]
    print(f"{describe_hardware()}, keras {runtime.describe()['keras_version']}")
    rows: list[Row] = []
    if options.results and options.results.exists():
        lines = options.results.read_text().splitlines()
        rows = [json.loads(line) for line in lines]
    done = {(row["set"], row["model"], row["seed"]) for row in rows}
    for about, run in jobs(options):
        if tuple(about.values()) in done:
            continue
        rows.append({**about, **run()})
        print(
            *(
                f"{k} {v:.4g}" if isinstance(v, float) else v
                for k, v in rows[-1].items()
            ),
            sep="  ",
            flush=True,
        )
        if options.results:
            with options.results.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    print(tabulate(rows).to_string(index=False))


if __name__ == "__main__":
    main()
