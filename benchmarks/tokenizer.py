"""Times TextPreprocessor beside keras.layers.TextVectorization, one thread each.

Each round learns a vocabulary of 20,000 of all texts and turns them into ids, ours and
Keras's in turn: ours by fit and transform, and as a classifier does it, which splits
once. Seconds are the processor's, so that other work on the machine disturbs little.
Ours also normalises by Unicode, and splits unspaced scripts and punctuation; Keras's
drops ASCII punctuation and splits at spaces, or at characters with `--character`.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402
import pandas as pd  # noqa: E402
import tensorflow as tf  # noqa: E402

from keras_seq import datasets  # noqa: E402
from keras_seq.demo import describe_hardware  # noqa: E402
from keras_seq.text import tokenizing  # noqa: E402
from keras_seq.text.preprocessing import TextPreprocessor  # noqa: E402

MAX_TOKENS, BATCH = 20_000, 1024


def ours(texts: list[str], length: int, split: str) -> None:
    preprocessor = make_preprocessor(length, split)
    preprocessor.fit(texts)
    preprocessor.transform(texts)


def ours_once(texts: list[str], length: int, split: str) -> None:
    preprocessor = make_preprocessor(length, split)
    tokens = preprocessor.tokenize(texts)
    preprocessor.learn(tokens)
    preprocessor.encode(tokens)


def make_preprocessor(length: int, split: str) -> TextPreprocessor:
    return TextPreprocessor(
        max_tokens=MAX_TOKENS, max_length=length, min_count=1, split=split
    )


def keras_from(batched: bool) -> Callable[[list[str], int, str], None]:
    def run(texts: list[str], length: int, split: str) -> None:
        layer = keras.layers.TextVectorization(
            max_tokens=MAX_TOKENS,
            split="character" if split == "character" else "whitespace",
            output_sequence_length=length,
        )
        if batched:
            layer.adapt(tf.data.Dataset.from_tensor_slices(texts).batch(BATCH))
        else:
            layer.adapt(texts)
        for start in range(0, len(texts), BATCH):
            layer(tf.constant(texts[start : start + BATCH]))

    return run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "data", nargs="?", help="Parquet with a column `text`; default: SMS spam"
    )
    parser.add_argument("--texts", type=int, help="only the first so many")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--length", type=int, default=256, help="tokens of a text")
    parser.add_argument("--character", action="store_true", help="split at characters")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tokenizing._MOST_PROCESSES = 1
    table = pd.read_parquet(options.data) if options.data else datasets.load_sms_spam()
    texts = table["text"].tolist()[: options.texts]
    split = "character" if options.character else "auto"
    contestants = {
        "TextPreprocessor": ours,
        "TextPreprocessor, once": ours_once,
        "TextVectorization, list": keras_from(batched=False),
        "TextVectorization, dataset": keras_from(batched=True),
    }
    size = sum(map(len, texts))
    print(describe_hardware())
    print(f"{len(texts):,} texts, {size:,} characters, split={split!r}")
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for run in contestants.values():
        run(texts[:100], options.length, split)  # tables and kernels are made once
    for _ in range(options.repeats):
        for name, run in contestants.items():
            started = time.process_time()
            run(texts, options.length, split)
            seconds[name].append(time.process_time() - started)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    keras_best = min(v for name, v in middle.items() if "Vectorization" in name)
    for name, value in middle.items():
        spread = f"{min(seconds[name]):.2f} to {max(seconds[name]):.2f}"
        print(
            f"{name:28s}{value:8.2f} s ({spread}), {1e9 * value / size:7.1f} ns a "
            f"character, {value / keras_best:.2f} of Keras's better"
        )


if __name__ == "__main__":
    main()
