"""Fits a TextClassifier on a file of many texts, beside the same rows as lists.

The file is made of real texts: those of one label are joined to about 300 characters,
and some of their words replaced. Each way runs in a process of its own: `file` gives
`fit` the path, `lists` reads the file with pandas first. Preparation is all before the
first training step, reading included; training is one epoch of a small network, or the
first steps of one, without validation.
"""

import argparse
import csv
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

NETWORK: dict[str, Any] = {
    "cell": "gru",
    "units": 16,
    "embedding_dim": 16,
    "bidirectional": False,
    "batch_size": 256,
    "epochs": 1,
    "refit_full": False,
}
CHARACTERS = 300
PART = 10_000


def write_texts(path: Path, frame: pd.DataFrame, count: int) -> None:
    """Writes so many rows, a part at a time.

    Args:
        path: `*.csv` or `*.csv.gz`.
        frame: Columns `text` and `label`.
        count: Rows to write.
    """
    random = np.random.default_rng(0)
    groups = [(label, list(part)) for label, part in frame.groupby("label")["text"]]
    shares = np.array([len(texts) for _, texts in groups]) / len(frame)
    mean = frame["text"].str.len().mean()
    joined = max(1, round(CHARACTERS / mean))
    words = " ".join(frame["text"].sample(min(2000, len(frame)), random_state=0))
    pool = words.split()
    opened = gzip.open if path.name.endswith(".gz") else open
    with opened(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for begin in range(0, count, PART):
            for group in random.choice(
                len(groups), p=shares, size=min(PART, count - begin)
            ):
                label, texts = groups[group]
                drawn = random.integers(len(texts), size=joined)
                split = " ".join(texts[index] for index in drawn).split()
                for place in random.integers(len(split) or 1, size=len(split) // 10):
                    split[place] = pool[random.integers(len(pool))]
                # A number now and then: words that are seen once are many in real text.
                split.append(str(random.integers(10**6)))
                writer.writerow([" ".join(split), label])


def fit(path: Path, way: str, steps: int | None) -> dict[str, float]:
    """Fits in this process; seconds, rates and MB."""
    import keras

    from keras_seq import TextClassifier

    class Clock(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            self.begin = clocks()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.end, self.steps = clocks(), batch + 1
            self.model.stop_training = self.steps == steps

    clock = Clock()
    start_mb = peak_mb()
    started = clocks()
    classifier = TextClassifier(**NETWORK)
    options: dict[str, Any] = {"callbacks": [clock], "verbose": 0}
    if way == "file":
        classifier.fit(path, **options)
    else:
        frame = pd.read_csv(path, keep_default_na=False)
        texts, labels = frame["text"].tolist(), frame["label"].tolist()
        del frame
        classifier.fit(texts, labels, **options)
    total = clocks() - started
    held = classifier.validation_["n"]
    rows = held / classifier.validation_split
    preparation = clock.begin - started
    training = clock.end - clock.begin
    return {
        "preparation, texts/s": rows / preparation[0],
        "training, texts/s": clock.steps * NETWORK["batch_size"] / training[0],
        "preparation, s": preparation[0],
        "training, s": training[0],
        "fit, s": total[0],
        "preparation, CPU s": preparation[1],
        "training, CPU s": training[1],
        "fit, CPU s": total[1],
        "steps": clock.steps,
        "accuracy": classifier.validation_["accuracy"],
        "peak, MB": peak_mb(),
        "imports, MB": start_mb,
    }


def clocks() -> np.ndarray:
    """Seconds on the wall and of the processors; the latter where others use them."""
    # Of this process and of those that it started to split texts.
    return np.array([time.perf_counter(), sum(os.times()[:4])])


def peak_mb() -> float:
    """The most memory this process had resident."""
    try:
        # Linux; `ru_maxrss` would start at the peak of the process before this one.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (1024**2 if sys.platform == "darwin" else 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="texts to make")
    parser.add_argument(
        "--texts",
        type=Path,
        help="Parquet with columns text and label to make them of; default: SMS spam",
    )
    parser.add_argument("--steps", type=int, help="training steps; default: an epoch")
    parser.add_argument("--gzip", action="store_true", help="compress the file")
    parser.add_argument("--ways", nargs="+", default=["file", "lists"], help="to run")
    parser.add_argument("--fit", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.fit:
        print(json.dumps(fit(Path(given.fit[0]), given.fit[1], given.steps)))
        return
    if given.rows < 1000:
        parser.error("--rows must be at least 1000")
    from keras_seq import datasets
    from keras_seq.demo import describe_hardware

    frame = pd.read_parquet(given.texts) if given.texts else datasets.load_sms_spam()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "texts.csv.gz" if given.gzip else "texts.csv")
        write_texts(path, frame, given.rows)
        size = path.stat().st_size / 1e6
        print(f"{describe_hardware()}; {given.rows} texts, {size:.0f} MB", flush=True)
        for way in given.ways:
            command = [sys.executable, __file__, "--fit", str(path), way]
            command += ["--steps", str(given.steps)] if given.steps else []
            result = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            row = json.loads(result.stdout.splitlines()[-1])
            cells = [f"{name} {value:.5g}" for name, value in row.items()]
            print(f"{way:8s}" + "   ".join(cells), flush=True)


if __name__ == "__main__":
    main()
