"""Times TextClassifier beside the plain Keras way, on short texts and on long ones.

The plain way pads every text to one limit with `keras.layers.TextVectorization`, masks
what is padded, and runs Bidirectional(LSTM(64)) over it. Takes a folder with
`subj.parquet` and `imdb.parquet` (text, label). Both train with the same embedding,
units, batch, vocabulary and limit, on the same texts; rounds alternate. Then: how long
each takes to the plain way's best validation accuracy, ours with its defaults; how many
raw texts a second each labels; how long one text takes.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from keras_seq import TextClassifier
from keras_seq.demo import describe_hardware

Pair = tuple[list[str], np.ndarray]
# File, texts, tokens kept of each.
SETS = {"short": ("subj.parquet", 10_000, 128), "long": ("imdb.parquet", 8_000, 400)}
MAX_TOKENS = 20_000
BATCH = 64


def load(folder: Path, name: str) -> tuple[Pair, Pair]:
    """Texts to train on, and a tenth to validate on."""
    file, count, _ = SETS[name]
    frame = pd.read_parquet(folder / file).sample(frac=1, random_state=0)[:count]
    texts, labels = frame["text"].tolist(), pd.factorize(frame["label"])[0]
    held = len(texts) // 10
    return (texts[held:], labels[held:]), (texts[:held], labels[:held])


class Clock(keras.callbacks.Callback):
    """Seconds of training at the end of each epoch, validation left out."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[float] = []
        self.accuracy: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.started = time.perf_counter()
        self.validated = 0.0

    def on_test_begin(self, logs: Any = None) -> None:
        self.test_started = time.perf_counter()

    def on_test_end(self, logs: Any = None) -> None:
        self.validated += time.perf_counter() - self.test_started

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        seconds = time.perf_counter() - self.started - self.validated
        self.epochs.append(seconds)
        self.accuracy.append((logs or {})["val_accuracy"])


class Plain:
    """TextVectorization, padding, masks, Bidirectional(LSTM(64))."""

    def __init__(self, limit: int, seed: int):
        keras.utils.set_random_seed(seed)
        self.vectorize = keras.layers.TextVectorization(
            MAX_TOKENS, output_sequence_length=limit
        )
        self.model = keras.Sequential(
            [
                keras.layers.Embedding(MAX_TOKENS, 128, mask_zero=True),
                keras.layers.Bidirectional(keras.layers.LSTM(64)),
                keras.layers.Dense(2, activation="softmax"),
            ]
        )
        self.model.compile(
            "adam", "sparse_categorical_crossentropy", metrics=["accuracy"]
        )

    def fit(self, training: Pair, held: Pair, epochs: int) -> Clock:
        clock = Clock()
        self.vectorize.adapt(training[0])
        self.model.fit(
            self._ids(training[0]),
            training[1],
            batch_size=BATCH,
            epochs=epochs,
            validation_data=(self._ids(held[0]), held[1]),
            callbacks=[clock],
            verbose=0,
        )
        return clock

    def _ids(self, texts: list[str]) -> np.ndarray:
        return np.asarray(self.vectorize(np.array(texts)[:, None]))

    def predict(self, texts: list[str]) -> np.ndarray:
        ids = self._ids(texts)
        return self.model.predict(ids, batch_size=256, verbose=0).argmax(axis=1)


def train_ours(
    training: Pair, held: Pair, **arguments: Any
) -> tuple[TextClassifier, Clock]:
    """One fit with a clock."""
    clock = Clock()
    classifier = TextClassifier(baseline=False, **arguments)
    classifier.fit(*training, validation_data=held, callbacks=[clock], verbose=0)
    return classifier, clock


def seconds_to(clock: Clock, accuracy: float) -> float | None:
    """Training seconds until the validation accuracy is reached; None: it never is."""
    total = 0.0
    for seconds, reached in zip(clock.epochs, clock.accuracy, strict=True):
        total += seconds
        if reached >= accuracy:
            return total
    return None


def measure(folder: Path, name: str, rounds: int, epochs: int) -> None:
    limit = SETS[name][2]
    training, held = load(folder, name)
    same = {
        "max_tokens": MAX_TOKENS,
        "max_length": limit,
        "batch_size": BATCH,
        "ngrams": 0,
        "pooling": "last",
        "dropout": 0.0,
        "calibration": None,
        "patience": 99,
    }
    rows: dict[str, list[float]] = {"plain": [], "same": [], "default": []}
    best: dict[str, list[float]] = {"plain": [], "same": [], "default": []}
    reach = []
    for seed in range(rounds):
        plain = Plain(limit, seed)
        theirs = plain.fit(training, held, epochs)
        _, equal = train_ours(training, held, epochs=epochs, seed=seed, **same)
        ours, full = train_ours(training, held, seed=seed, max_length=limit)
        for label, clock in (("plain", theirs), ("same", equal), ("default", full)):
            # The first epoch also compiles.
            rows[label].append(statistics.median(clock.epochs[1:] or clock.epochs))
            best[label].append(max(clock.accuracy))
        target = max(theirs.accuracy)
        reach.append((seconds_to(theirs, target), seconds_to(full, target)))
    median = {label: statistics.median(values) for label, values in rows.items()}
    print(f"\n{name}: {len(training[0]):,} texts, at most {limit} tokens")
    for label, told in (
        ("plain", "plain Keras, padded and masked"),
        ("same", "ours, same network"),
        ("default", "ours, defaults"),
    ):
        print(
            f"  {told:32s} epoch {median[label]:6.2f} s, "
            f"{median['plain'] / median[label]:5.2f} times as fast; best validation "
            f"accuracy {100 * statistics.fmean(best[label]):.2f} %"
        )
    for seed, (theirs_s, ours_s) in enumerate(reach):
        told = "never" if ours_s is None else f"{ours_s:.1f} s"
        print(
            f"  seed {seed}: plain's best accuracy, plain {theirs_s:.1f} s, ours {told}"
        )
    measure_prediction({"plain": plain.predict, "ours": ours.predict}, held[0])


def measure_prediction(ways: dict[str, Callable[[list[str]], Any]], texts: Any) -> None:
    """Prints raw texts a second, five times each in turn, and how long one takes."""
    speed: dict[str, list[float]] = {label: [] for label in ways}
    for _ in range(5):
        for label, predict in ways.items():
            started = time.perf_counter()
            predict(texts)
            speed[label].append(len(texts) / (time.perf_counter() - started))
    one = [texts[0][:100]]
    for label, predict in ways.items():
        times = []
        for _ in range(203):
            started = time.perf_counter()
            predict(one)
            times.append(1000 * (time.perf_counter() - started))
        each = np.array(times[3:])  # those before warm up
        print(
            f"  predict, {label:6s} {statistics.median(speed[label]):8.0f} texts/s; "
            f"one text {np.median(each):.1f} ms, 99 % within "
            f"{np.quantile(each, 0.99):.1f} ms"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with the sets")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--rounds", type=int, default=3, help="seeds from 0")
    parser.add_argument("--epochs", type=int, default=5, help="of the plain way")
    options = parser.parse_args()
    print(describe_hardware())
    for name in options.sets:
        measure(options.data, name, options.rounds, options.epochs)


if __name__ == "__main__":
    main()
