"""Scores one set of defaults on seven sets, beside TF-IDF + logistic regression.

Takes a folder with `sst2_{train,dev,test}`, `subj`, `bbc`, `sms_spam`, `waimai`,
`thucnews_{train,dev}` and `imdb`, each `.parquet` with the columns `text` and `label`.
Where a set has no test part a fifth of its distinct texts is held out, the same for
every seed; the seed decides the validation part, the first weights, the order of the
batches and dropout. Variants change constructor arguments; `pretrain` trains on the
set's own training texts before. With `--results` every fit is a line of a file, and the
same call again does those that are missing.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import pandas as pd

from keras_seq import TextClassifier, runtime
from keras_seq.demo import describe_hardware, split_texts

SETS = ("sst2", "subj", "bbc", "sms_spam", "waimai", "thucnews", "imdb")
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "pretrain": {},
    # Levers, each against the default.
    "recurrence alone": {"ngrams": 0},
    "last state": {"pooling": "last"},
    "one direction": {"bidirectional": False},
    "no dropout": {"dropout": 0.0, "ngram_dropout": 0.0},
    "no refit": {"refit_full": False},
    "word dropout": {"word_dropout": 0.1},
    "moving average": {"ema": 0.99},
    "label smoothing": {"label_smoothing": 0.1},
    "next step": {"auxiliary": "next_step"},
    "ensemble": {"ensemble": 3},
    "adversarial": {"adversarial": 0.05},
}
LINEAR = "TF-IDF + LR"
# What the table is made of; the linear model's is told where it ran.
COLUMNS = ("set", "variant", "seed", "accuracy", "linear")


def load(folder: Path, name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The training and the test part of a set."""

    def read(part: str) -> pd.DataFrame:
        return pd.read_parquet(folder / f"{part}.parquet")

    if name == "sst2":
        train = [read("sst2_train"), read("sst2_dev")]
        return pd.concat(train, ignore_index=True), read("sst2_test")
    if name == "thucnews":
        return read("thucnews_train"), read("thucnews_dev")
    return split_texts(read(name))


def score(
    train: pd.DataFrame, test: pd.DataFrame, variant: str, seed: int
) -> dict[str, float]:
    """One fit, scored on the test part."""
    linear = variant == "default"
    classifier = TextClassifier(seed=seed, baseline=linear, **VARIANTS[variant])
    texts, labels = train["text"].tolist(), train["label"].tolist()
    started = time.perf_counter()
    if variant == "pretrain":
        classifier.pretrain(texts, verbose=0)
    classifier.fit(texts, labels, verbose=0)
    seconds = time.perf_counter() - started
    scores = classifier.evaluate(test["text"].tolist(), test["label"].tolist())
    found = {
        "accuracy": 100 * scores["accuracy"],
        "log loss": scores["log_loss"],
        "validation": 100 * classifier.validation_["accuracy"],
        "seconds": seconds,
    }
    if linear:
        beside = scores["baselines"]["tfidf_logreg"]
        found["linear"] = 100 * beside["accuracy"]
        found["linear log loss"] = beside["log_loss"]
    return found


def tabulate(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Mean and spread of the accuracy: a row for each set, a column for each model."""
    frame = pd.DataFrame(rows).reindex(columns=COLUMNS)
    linear = frame.dropna(subset="linear").assign(variant=LINEAR)
    linear["accuracy"] = linear["linear"]
    both = pd.concat([linear, frame], ignore_index=True)
    grouped = both.groupby(["set", "variant"])["accuracy"].agg(["mean", "std", "size"])
    order = [name for name in SETS if name in set(frame["set"])]
    columns = [name for name in (LINEAR, *VARIANTS) if name in set(both["variant"])]
    means = grouped["mean"].unstack().reindex(order)[columns]
    shown = means.map("{:.2f}".format)
    for (name, variant), values in grouped.iterrows():
        if values["size"] > 1 and variant != LINEAR:
            shown.loc[name, variant] += f" ± {values['std']:.2f}"
    shown.loc["mean"] = means.mean().map("{:.2f}".format)
    if LINEAR not in columns:  # it runs beside the default
        return shown
    for variant in columns[1:]:
        gains = means[variant] - means[LINEAR]
        shown[f"{variant} - {LINEAR}"] = [
            *gains.map("{:+.2f}".format),
            f"{gains.mean():+.2f}",
        ]
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with the sets")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument(
        "--variants",
        nargs="+",
        choices=VARIANTS,
        default=["default", "pretrain"],
        metavar="VARIANT",
        help=", ".join(VARIANTS),
    )
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--results", type=Path, help="file of JSON lines to go on with")
    options = parser.parse_args()
    print(f"{describe_hardware()}, keras {runtime.describe()['keras_version']}")
    rows: list[dict[str, Any]] = []
    if options.results and options.results.exists():
        lines = options.results.read_text().splitlines()
        rows = [json.loads(line) for line in lines]
    done = {(row["set"], row["variant"], row["seed"]) for row in rows}
    for seed in range(options.seeds):
        for name in options.sets:
            train, test = load(options.data, name)
            for variant in options.variants:
                if (name, variant, seed) in done:
                    continue
                found = score(train, test, variant, seed)
                rows.append({"set": name, "variant": variant, "seed": seed, **found})
                cells = [f"{key} {value:.4g}" for key, value in found.items()]
                print(f"{name} {variant} seed {seed}:", *cells, sep="  ", flush=True)
                if options.results:
                    with options.results.open("a") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
    print(tabulate(rows).to_string())


if __name__ == "__main__":
    main()
