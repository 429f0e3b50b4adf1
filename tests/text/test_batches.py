"""Every row once an epoch, in full batches of few shapes, addressed by epoch."""

import numpy as np
import pytest

from keras_seq.text.batches import (
    Buckets,
    prediction_batches,
    training_batches,
    validation_batches,
)
from keras_seq.text.preprocessing import TokenRows

pytestmark = pytest.mark.numeric


def make_rows(count=50):
    random = np.random.default_rng(0)
    lengths = random.integers(0, 13, size=count).astype(np.int32)
    lengths[0] = 0
    ids = np.arange(1, lengths.sum() + 1, dtype=np.int32)
    return TokenRows(ids, lengths)


@pytest.fixture
def buckets():
    return Buckets(make_rows(), [4, 8, 12], batch_size=8)


def rows_of(batch):
    """The texts a batch holds, as tuples of ids, without the rows that fill it up."""
    inputs, target, weight = batch
    kept = weight > 0
    pairs = zip(inputs["tokens"][kept], inputs["length"][kept], strict=True)
    return [tuple(row[:length]) for row, length in pairs], target[kept]


@pytest.mark.parametrize("kind", ["training", "validation"])
def test_every_row_once_with_its_target(buckets, kind):
    rows = buckets.rows
    targets, weights = np.arange(50, dtype=np.int32), np.ones(50, np.float32)
    if kind == "training":
        batches = training_batches(buckets, targets, weights, seed=0)
    else:
        batches = validation_batches(buckets, targets, weights)
    expected = {
        index: tuple(rows.ids[start : start + length])
        for index, (start, length) in enumerate(
            zip(rows.starts, rows.lengths, strict=True)
        )
    }
    seen = {}
    for step in range(batches.steps_per_epoch):
        inputs, _, weight = batches[step]
        assert inputs["tokens"].shape[0] == 8
        assert inputs["tokens"].shape[1] in (4, 8, 12)
        assert not inputs["length"][weight == 0].any()
        beyond = np.arange(inputs["tokens"].shape[1]) >= inputs["length"][:, None]
        assert not inputs["tokens"][beyond].any()
        texts, found = rows_of(batches[step])
        seen.update(zip(found, texts, strict=True))
    assert seen == expected


def test_order_is_a_function_of_seed_and_epoch(buckets):
    targets, weights = np.arange(50, dtype=np.int32), np.ones(50, np.float32)

    def order(seed, epoch):
        batches = training_batches(buckets, targets, weights, seed)
        steps = batches.steps_per_epoch
        found = [rows_of(batches[epoch * steps + step])[1] for step in range(steps)]
        return np.concatenate(found).tolist()

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)


def test_first_two_batches_differ_in_width(buckets):
    targets, weights = np.arange(50, dtype=np.int32), np.ones(50, np.float32)
    for seed in range(20):
        batches = training_batches(buckets, targets, weights, seed)
        widths = [batches[step][0]["tokens"].shape[1] for step in (0, 1)]
        assert widths[0] != widths[1]


def test_sample_weights_travel_with_their_rows(buckets):
    targets = np.arange(50, dtype=np.int32)
    weights = np.linspace(0.5, 1, 50).astype(np.float32)
    batches = training_batches(buckets, targets, weights, seed=0)
    for step in range(batches.steps_per_epoch):
        _, target, weight = batches[step]
        np.testing.assert_array_equal(weights[target[weight > 0]], weight[weight > 0])


def test_prediction_covers_every_row(buckets):
    found = np.concatenate([rows for rows, _ in prediction_batches(buckets)])
    assert sorted(found) == list(range(50))


def test_a_row_longer_than_the_last_bucket_is_not_lost_in_silence():
    rows = TokenRows(np.ones(9, "int32"), np.array([2, 7], "int32"))
    with pytest.raises(ValueError, match="longer than the last of .* 7 tokens"):
        Buckets(rows, [4, 6], 2)
