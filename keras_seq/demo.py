"""The demo: both tasks from raw data to judged answers, on the data that ship."""

import json
import platform
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from keras_seq import Forecaster, TextClassifier, datasets, plotting, runtime
from keras_seq.cli.report import format_table

SEED = 0
HORIZON = 12
NUM_WINDOWS = 2
_NEW_TEXTS = ["WINNER!! Reply YES to claim your free prize", "see you at lunch then"]


def run_demo(output: Path) -> dict[str, Any]:
    """Trains, scores, saves, reloads in a fresh process, and draws.

    Args:
        output: Folder for models, predictions and figures; made if missing.

    Returns:
        `hardware`, `seed`, `seconds`, and the rows of the two score tables, `text`
        and `series`; also written to `scores.json`.

    Raises:
        RuntimeError: If a fresh process does not predict what this one does.
    """
    started = time.perf_counter()
    output.mkdir(parents=True, exist_ok=True)
    hardware = describe_hardware()
    print(f"keras_seq demo: default settings, seed {SEED}, {hardware}\n")
    text = _demo_text(output)
    series = _demo_series(output)
    scores = {
        "hardware": hardware,
        "seed": SEED,
        "seconds": round(time.perf_counter() - started, 1),
        "text": text,
        "series": series,
    }
    (output / "scores.json").write_text(json.dumps(scores, indent=1), encoding="utf-8")
    _print_results(scores, output)
    return scores


def split_texts(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Holds a fifth of the distinct texts out, so that no test text was trained on."""
    distinct = np.sort(frame["text"].unique())
    shuffled = np.random.default_rng(SEED).permutation(distinct)
    held_out = frame["text"].isin(shuffled[: len(shuffled) // 5])
    return frame[~held_out], frame[held_out]


def describe_hardware() -> str:
    """Processor, cores and backend of this process, for beside a score."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        models = (line.split(": ")[1] for line in lines if "model name" in line)
        name = next(models, name)
    facts = runtime.describe()
    backend = facts["backend"]
    version = facts[f"{backend}_version"]
    return f"{facts['cpu_count']} cores of {name}, {backend} {version}"


def _demo_text(output: Path) -> dict[str, Any]:
    train, test = split_texts(datasets.load_sms_spam())
    print(f"1. SMS spam: {len(train):,} texts to train on, {len(test):,} held out")
    classifier = TextClassifier(seed=SEED)
    classifier.fit(list(train["text"]), list(train["label"]))
    scores = classifier.evaluate(list(test["text"]), list(test["label"]))
    predicted = classifier.predict(list(test["text"]))
    ax = plotting.plot_confusion_matrix(list(test["label"]), list(predicted))
    _save_figure(ax, output / "confusion_matrix.png")
    model, unseen = output / "sms_spam.kseq", output / "texts.csv"
    classifier.save(model)
    test[["text"]].to_csv(unseen, index=False)
    target = output / "predictions.csv"
    _in_a_fresh_process("text", "predict", model, unseen, "--proba", "-o", target)
    again = pd.read_csv(target)[[f"proba_{name}" for name in classifier.classes_]]
    expected = classifier.predict_proba(list(test["text"]))
    _check_same("probabilities", np.abs(again.to_numpy() - expected).max())
    for text, label in zip(_NEW_TEXTS, classifier.predict(_NEW_TEXTS), strict=True):
        print(f"   {text!r} -> {label}")
    print()
    names = {
        "TextClassifier": scores,
        "TF-IDF + logistic regression": scores["baselines"]["tfidf_logreg"],
        "majority class": scores["baselines"]["majority"],
    }
    return {
        name: {
            "accuracy": values["accuracy"],
            "F1 of spam": values["f1_per_class"]["spam"],
            "log loss": values["log_loss"],
        }
        for name, values in names.items()
    }


def _demo_series(output: Path) -> dict[str, Any]:
    frame = datasets.load_aus_retail()
    first = frame["ds"].max() - pd.DateOffset(months=NUM_WINDOWS * HORIZON)
    train = frame[frame["ds"] <= first]
    print(
        f"2. Australian retail: {train['unique_id'].nunique()} series up to "
        f"{first:%B %Y}, the {NUM_WINDOWS * HORIZON} months after held out"
    )
    forecaster = Forecaster(horizon=HORIZON, seed=SEED).fit(train)
    scores, windows = _roll(forecaster, frame, first)
    _draw_forecasts(frame, windows, first, output / "forecasts.png")
    model, target = output / "aus_retail.kseq", output / "forecasts.csv"
    forecaster.save(model)
    _in_a_fresh_process("forecast", "predict", model, "-o", target)
    again = pd.read_csv(target)["y_hat"].to_numpy()
    expected = forecaster.predict()["y_hat"].to_numpy()
    _check_same("forecasts", np.max(np.abs(again - expected) / np.abs(expected)))
    print()
    naive = pd.DataFrame([window["baselines"]["seasonal_naive"] for window in scores])
    own = pd.DataFrame(scores)[[*naive.columns, "coverage"]]
    rows = {"Forecaster": own.mean(), "seasonal naive": naive.mean()}
    return {
        name: {
            "MASE": float(mean["mase"]),
            "below naive": f"{1 - mean['mase'] / naive['mase'].mean():.1%}",
            "sMAPE %": float(mean["smape"]),
            **(
                {"in 80% interval": f"{mean['coverage']:.1%}"}
                if "coverage" in mean
                else {}
            ),
        }
        for name, mean in rows.items()
    }


def _roll(
    forecaster: Forecaster, frame: pd.DataFrame, first: pd.Timestamp
) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """Forecasts each window from all that was known then, with the one network."""
    scores, windows = [], []
    for number in range(NUM_WINDOWS):
        cutoff = first + pd.DateOffset(months=number * HORIZON)
        end = cutoff + pd.DateOffset(months=HORIZON)
        history = frame[frame["ds"] <= cutoff]
        future = frame[(frame["ds"] > cutoff) & (frame["ds"] <= end)]
        scores.append(forecaster.evaluate(history, future))
        windows.append(forecaster.predict(history).assign(cutoff=cutoff))
    return scores, pd.concat(windows, ignore_index=True)


def _draw_forecasts(
    frame: pd.DataFrame, windows: pd.DataFrame, first: pd.Timestamp, path: Path
) -> None:
    """Draws six series, evenly chosen among those that go on to the end."""
    whole = frame.loc[frame["ds"] == frame["ds"].max()].sort_values("unique_id")
    chosen = whole.iloc[np.linspace(0, len(whole) - 1, 6).astype(int)]
    titles = {
        row.unique_id: f"{textwrap.shorten(row.Industry, 44)}\n{row.State}"
        for row in chosen.itertuples()
    }
    named = [
        part[part["unique_id"].isin(titles)].assign(
            series=lambda rows: rows["unique_id"].map(titles)
        )
        for part in (frame, windows)
    ]
    known = named[0]
    axes = plotting.plot_forecasts(
        known[known["ds"] <= first],
        named[1],
        id_col="series",
        actuals=known[known["ds"] > first],
    )
    axes[0].figure.supylabel("turnover, millions of Australian dollars")
    _save_figure(axes[0], path)


def _save_figure(ax: Any, path: Path) -> None:
    ax.figure.savefig(path, dpi=150)


def _in_a_fresh_process(*arguments: Any) -> None:
    print("   loading the saved model in a fresh process")
    command = [sys.executable, "-m", "keras_seq.cli", *map(str, arguments)]
    subprocess.run(command, check=True)


def _check_same(what: str, difference: float) -> None:
    if not difference <= 1e-6:
        raise RuntimeError(
            f"The reloaded model predicts other {what}: they differ by {difference:g}."
        )
    print(f"   it predicts the same {what}")


def _print_results(scores: dict[str, Any], output: Path) -> None:
    print("Held-out texts")
    print(format_table(scores["text"]))
    print("\nHeld-out months, mean of two windows")
    print(format_table(scores["series"]))
    own, *rivals = (row["accuracy"] for row in scores["text"].values())
    if own <= max(rivals):
        print("\nThe network is no more accurate than the best baseline on the texts.")
    own, *rivals = (row["MASE"] for row in scores["series"].values())
    if own >= min(rivals):
        print("\nThe network does not beat seasonal naive on the series.")
    print(f"\n{scores['hardware']}, seed {scores['seed']}, {scores['seconds']:.0f} s")
    print(f"Models, predictions and figures are in {output}/")
