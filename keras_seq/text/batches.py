"""Batches of texts: bucketed by length, right-padded, always full."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_seq.text.padding import pad_rows
from keras_seq.text.preprocessing import TokenRows
from keras_seq.training.fit import Batches
from keras_seq.training.runtime import derive_seed


class Buckets:
    """Groups rows by the length they are padded to.

    Args:
        rows: Texts as ids.
        bucket_lengths: Increasing; no row is longer than the last.
        batch_size: Rows of a batch.
    """

    def __init__(self, rows: TokenRows, bucket_lengths: Sequence[int], batch_size: int):
        self.rows = rows
        self.starts = rows.starts
        self.batch_size = batch_size
        bucket = np.searchsorted(bucket_lengths, rows.lengths)
        if (bucket == len(bucket_lengths)).any():
            raise ValueError(
                f"No row may be longer than the last of {list(bucket_lengths)}. "
                f"Received: a row of {rows.lengths.max()} tokens"
            )
        self.members = [
            (width, np.flatnonzero(bucket == index))
            for index, width in enumerate(bucket_lengths)
            if (bucket == index).any()
        ]

    @property
    def num_batches(self) -> int:
        """Batches that hold all rows."""
        return sum(-(-len(rows) // self.batch_size) for _, rows in self.members)

    def plan(self, random: np.random.Generator | None = None) -> list[tuple[Any, ...]]:
        """Width and rows of every batch; in random order if a generator is given."""
        batches = []
        for width, rows in self.members:
            if random is not None:
                rows = random.permutation(rows)
            parts = range(0, len(rows), self.batch_size)
            batches += [(width, rows[i : i + self.batch_size]) for i in parts]
        if random is not None:
            batches = [batches[i] for i in random.permutation(len(batches))]
        return _vary_first_two(batches)

    def inputs(self, width: int, chosen: np.ndarray) -> dict[str, np.ndarray]:
        """One batch of the plan as the model takes it."""
        return pad_rows(self.rows, chosen, width, self.batch_size, self.starts)

    def loss_shares(self, width: int, chosen: np.ndarray) -> np.ndarray | float:
        """How much of each chosen row's loss is asked for in one batch of the plan."""
        return 1.0


def _vary_first_two(
    batches: list[tuple[int, np.ndarray]],
) -> list[tuple[int, np.ndarray]]:
    """Brings batches of different width to the front, where there are any.

    On TensorFlow, Keras takes an axis as fixed if it is the same in batches 0 and 1.
    """
    for index in range(1, len(batches)):
        if batches[index][0] != batches[0][0]:
            batches[1], batches[index] = batches[index], batches[1]
            break
    return batches


def shuffled_steps(
    buckets: Buckets, seed: int, name: str
) -> Callable[[int, int], tuple[Any, ...]]:
    """What a batch holds by (epoch, step), drawn anew from (seed, epoch, name)."""
    plans: dict[int, list[tuple[Any, ...]]] = {}

    def get_step(epoch: int, step: int) -> tuple[Any, ...]:
        if epoch not in plans:
            for old in [e for e in plans if e < epoch - 1]:
                del plans[old]
            random = np.random.default_rng(derive_seed(seed, epoch, name))
            plans[epoch] = buckets.plan(random)
        return plans[epoch][step]

    return get_step


def training_batches(
    buckets: Buckets, targets: np.ndarray, weights: np.ndarray, seed: int
) -> Batches:
    """Endless batches, shuffled anew by (seed, epoch)."""
    get_step = shuffled_steps(buckets, seed, "texts")

    def get_batch(epoch: int, step: int) -> tuple[Any, ...]:
        return _labelled(buckets, get_step(epoch, step), targets, weights)

    return Batches(buckets.num_batches, get_batch, endless=True)


def validation_batches(
    buckets: Buckets, targets: np.ndarray, weights: np.ndarray
) -> Batches:
    """Every row once, in order of length."""
    plan = buckets.plan()

    def get_batch(_: int, step: int) -> tuple[Any, ...]:
        return _labelled(buckets, plan[step], targets, weights)

    return Batches(buckets.num_batches, get_batch)


def prediction_batches(
    buckets: Buckets,
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Row numbers and inputs, batch by batch."""
    for step in buckets.plan():
        yield step[1], buckets.inputs(*step)


def predict_rows(model: keras.Model, buckets: Buckets) -> list[np.ndarray]:
    """What a model says of all rows: float32, `(num_rows, ...)`, for each output."""
    count = len(buckets.rows.lengths)
    outputs = model.outputs
    found = [np.zeros((count, *output.shape[1:]), np.float32) for output in outputs]
    for rows, inputs in prediction_batches(buckets):
        answers = model.predict_on_batch(inputs)
        if len(outputs) == 1:
            answers = [answers]
        for result, answer in zip(found, answers, strict=True):
            result[rows] = np.asarray(answer)[: len(rows)]
    return found


def _labelled(
    buckets: Buckets,
    step: tuple[Any, ...],
    targets: np.ndarray,
    weights: np.ndarray,
) -> tuple[Any, ...]:
    chosen = step[1]
    target = np.zeros((buckets.batch_size, *targets.shape[1:]), targets.dtype)
    target[: len(chosen)] = targets[chosen]
    weight = np.zeros(buckets.batch_size, np.float32)  # 0 for the rows that fill up
    weight[: len(chosen)] = weights[chosen] * buckets.loss_shares(*step)
    return buckets.inputs(*step), target, weight
