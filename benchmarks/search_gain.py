"""What a search gains over the defaults, on test parts that neither has seen.

Takes a folder with `text/sst2_{train,dev,test}.parquet` (text, label),
`series/aus_retail.parquet` (unique_id, ds, y) and `series/m3.parquet` (unique_id, t, y,
period, part). Each search sees the training part alone. Then the default estimator and
the winner are fitted on all of it with several seeds each and scored on the test part.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.base import clone

from keras_seq import Forecaster, TextClassifier, tune
from keras_seq.demo import describe_hardware

Score = Callable[[Any], float]


def sst2(folder: Path) -> tuple[Any, tuple[Any, ...], Score, str]:
    parts = {
        part: pd.read_parquet(folder / f"text/sst2_{part}.parquet")
        for part in ("train", "dev", "test")
    }
    train = pd.concat([parts["train"], parts["dev"]], ignore_index=True)
    data = (train["text"].tolist(), train["label"].tolist())
    test = parts["test"]

    def score(classifier: TextClassifier) -> float:
        found = classifier.evaluate(test["text"].tolist(), test["label"].tolist())
        return 100 * found["accuracy"]

    return TextClassifier(baseline=False), data, score, "accuracy, %"


def aus_retail(folder: Path) -> tuple[Any, tuple[Any, ...], Score, str]:
    frame = pd.read_parquet(folder / "series/aus_retail.parquet")
    frame = frame[["unique_id", "ds", "y"]]
    first = frame["ds"].max() - pd.DateOffset(months=24)

    def score(forecaster: Forecaster) -> float:
        scores = []
        for months in (0, 12):
            cutoff = first + pd.DateOffset(months=months)
            end = cutoff + pd.DateOffset(months=12)
            future = frame[(frame["ds"] > cutoff) & (frame["ds"] <= end)]
            scores.append(forecaster.evaluate(frame[frame["ds"] <= cutoff], future))
        return statistics.fmean(found["mase"] for found in scores)

    return Forecaster(horizon=12), (frame[frame["ds"] <= first],), score, "MASE"


def m3_quarterly(folder: Path) -> tuple[Any, tuple[Any, ...], Score, str]:
    frame = pd.read_parquet(folder / "series/m3.parquet")
    frame = frame[frame["period"] == "QUARTERLY"].rename(columns={"t": "ds"})
    parts = {
        name: part[["unique_id", "ds", "y"]].reset_index(drop=True)
        for name, part in frame.groupby("part")
    }

    def score(forecaster: Forecaster) -> float:
        return forecaster.evaluate(parts["train"], parts["test"])["mase"]

    forecaster = Forecaster(horizon=8, season_length=4)
    return forecaster, (parts["train"],), score, "MASE"


SETS = {"sst2": sst2, "aus_retail": aus_retail, "m3_quarterly": m3_quarterly}


def score_over_seeds(
    estimator: Any, data: tuple[Any, ...], score: Score, seeds: int
) -> list[float]:
    return [
        score(clone(estimator).set_params(seed=seed).fit(*data, verbose=0))
        for seed in range(seeds)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with text/ and series/")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--trials", type=int, default=15)
    parser.add_argument("--algorithm", default="bayesian")
    parser.add_argument("--num-seeds", type=int, default=3, help="in the search")
    parser.add_argument("--seeds", type=int, default=3, help="on the test part")
    parser.add_argument("--executor", type=int, default=2)
    parser.add_argument("--directory", type=Path, help="makes searches resumable")
    options = parser.parse_args()
    print(f"{describe_hardware()}; {options.trials} trials, {options.algorithm}")
    for name in options.sets:
        estimator, data, score, metric = SETS[name](options.data)
        started = time.perf_counter()
        result = tune(
            estimator,
            *data,
            algorithm=options.algorithm,
            max_trials=options.trials,
            num_seeds=options.num_seeds,
            executor=options.executor,
            directory=options.directory and options.directory / name,
        )
        seconds = time.perf_counter() - started
        print(
            f"{name}: validation {result.objective} {result.default_score_:.4f} -> "
            f"{result.best_score_:.4f}, search {seconds:.0f} s, {result.best_params_}"
        )
        for label, params in (("default", {}), ("winner", result.best_params_)):
            tried = clone(estimator).set_params(**params)
            scores = score_over_seeds(tried, data, score, options.seeds)
            spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
            print(
                f"{name} {label:8s} test {metric} {statistics.fmean(scores):.4f} "
                f"(std {spread:.4f}) {[round(s, 4) for s in scores]}",
                flush=True,
            )


if __name__ == "__main__":
    main()
