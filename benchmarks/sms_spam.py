"""Scores the default TextClassifier on SMS spam, beside its baselines.

A fifth of the distinct texts is held out, the same for every seed; the seed decides the
validation part, the first weights, the order of the batches and dropout.
"""

import argparse
import statistics
import time
from typing import Any

from keras_seq import TextClassifier, datasets, runtime
from keras_seq.demo import describe_hardware, split_texts


def score_seed(seed: int) -> dict[str, dict[str, float]]:
    """Fits and scores with one seed: model name to its row of the table."""
    train, test = split_texts(datasets.load_sms_spam())
    started = time.perf_counter()
    classifier = TextClassifier(seed=seed)
    classifier.fit(train["text"], train["label"], verbose=0)
    seconds = time.perf_counter() - started
    scores = classifier.evaluate(test["text"], test["label"])
    rows = {"TextClassifier": scores, **scores["baselines"]}
    table = {name: _row(values) for name, values in rows.items()}
    table["TextClassifier"]["fit, s"] = seconds
    return table


def _row(scores: dict[str, Any]) -> dict[str, float]:
    return {
        "accuracy, %": 100 * scores["accuracy"],
        "F1 of spam": scores["f1_per_class"]["spam"],
        "log loss": scores["log_loss"],
    }


def _print_row(label: str, row: dict[str, float]) -> None:
    cells = [f"{name} {value:.4g}" for name, value in row.items()]
    print(f"{label:28s}" + "   ".join(f"{cell:20s}" for cell in cells).rstrip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    count = parser.parse_args().seeds
    if count < 1:
        parser.error("--seeds must be at least 1")
    print(f"{describe_hardware()}, keras {runtime.describe()['keras_version']}")
    tables = []
    for seed in range(count):
        tables.append(score_seed(seed))
        for name, row in tables[-1].items():
            _print_row(f"seed {seed}  {name}", row)
    for name, first in tables[0].items():
        rows = [table[name] for table in tables]
        mean = {key: statistics.fmean(row[key] for row in rows) for key in first}
        _print_row(f"mean    {name}", mean)


if __name__ == "__main__":
    main()
