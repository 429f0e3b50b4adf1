"""Chunks: every token once and in order, the state carried, the loss where due."""

import numpy as np
import pytest

from keras_seq import build_text_classifier
from keras_seq.layers.state import copy_weights
from keras_seq.text.batches import Buckets, prediction_batches, training_batches
from keras_seq.text.chunks import ChunkedBuckets
from keras_seq.text.preprocessing import TokenRows
from tests.grids import often

pytestmark = pytest.mark.numeric

CHUNK = 8
LENGTHS = np.array([0, 1, 7, 8, 9, 16, 17, 30, 31, 64, 200, 3], "int32")


def make_rows():
    random = np.random.default_rng(0)
    return TokenRows(random.integers(1, 50, LENGTHS.sum()).astype("int32"), LENGTHS)


def make_chunks(loss="last", batch_size=4):
    # Longer rows than any bucket are met in prediction.
    return ChunkedBuckets(make_rows(), [5, 20, 64], batch_size, CHUNK, loss)


def predict(model, buckets):
    result = np.zeros((len(LENGTHS), 3), "float32")
    for rows, inputs in prediction_batches(buckets):
        result[rows] = np.asarray(model.predict_on_batch(inputs))[: len(rows)]
    return result


@pytest.mark.parametrize("cell", often(["rnn", "lstm", "gru"], "lstm"))
@pytest.mark.parametrize("pooling", ["concat", "attention"])
def test_chunks_say_what_whole_texts_say(cell, pooling):
    options = {
        "num_classes": 3,
        "max_tokens": 50,
        "units": 5,
        "num_layers": 2,
        "embedding_dim": 6,
        "cell": cell,
        "pooling": pooling,
        "seed": 1,
    }
    stateful = build_text_classifier(
        **options, stateful=True, batch_size=4, reset_input=True
    )
    stateless = build_text_classifier(**options, bidirectional=False)
    copy_weights(stateful, stateless)
    expected = predict(stateless, Buckets(make_rows(), [200], 12))
    for _ in range(2):  # the second time there are states to be forgotten
        found = predict(stateful, make_chunks())
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("loss", ["last", "every"])
def test_every_text_is_read_once_and_weighs_once(loss):
    chunks = make_chunks(loss)
    targets = np.zeros(len(LENGTHS), "int32")
    weights = np.arange(1.0, 13.0, dtype="float32")
    batches = training_batches(chunks, targets, weights, seed=0)
    assert batches.steps_per_epoch == len(chunks.plan())
    for epoch in range(2):
        plan = chunks.plan(np.random.default_rng(epoch))
        assert len(plan) == batches.steps_per_epoch
        read = {row: [] for row in range(len(LENGTHS))}
        weighed = np.zeros(len(LENGTHS))
        for step in plan:
            inputs, chosen = chunks.inputs(*step), step[1]
            assert inputs["tokens"].shape == (4, CHUNK)
            assert inputs["reset"].tolist() == [step[2] == 0] * 4
            for row, tokens, length in zip(
                chosen, inputs["tokens"], inputs["length"], strict=False
            ):
                read[row] += tokens[:length].tolist()
            weighed[chosen] += weights[chosen] * chunks.loss_shares(*step)
        for row, start in enumerate(chunks.rows.starts):
            text = chunks.rows.ids[start : start + LENGTHS[row]]
            assert read[row] == text.tolist()
        np.testing.assert_allclose(weighed, weights, rtol=1e-6)


def test_the_loss_is_at_the_last_chunk_or_at_all():
    longest = int(np.argmax(LENGTHS))  # 25 chunks
    for loss, expected in (("last", [0.0] * 24 + [1.0]), ("every", [1 / 25] * 25)):
        chunks = make_chunks(loss)
        steps = [step for step in chunks.plan() if longest in step[1]]
        shares = [chunks.loss_shares(*s)[s[1].tolist().index(longest)] for s in steps]
        np.testing.assert_allclose(shares, expected)


def test_it_learns_what_stands_in_the_first_chunk_of_many():
    random = np.random.default_rng(0)
    targets = random.integers(0, 2, 200).astype("int32")
    ids = random.integers(3, 20, (200, 40)).astype("int32")
    ids[:, 3] = 1 + targets  # 36 steps before the end
    rows = TokenRows(ids.ravel(), np.full(200, 40, "int32"))
    chunks = ChunkedBuckets(rows, [40], 20, CHUNK, "every")
    model = build_text_classifier(
        num_classes=2,
        max_tokens=20,
        units=8,
        embedding_dim=8,
        dropout=0.0,
        learning_rate=0.02,
        stateful=True,
        batch_size=20,
        reset_input=True,
        seed=0,
    )
    batches = training_batches(chunks, targets, np.ones(200, "float32"), seed=0)
    steps = 10 * batches.steps_per_epoch
    model.fit(batches, steps_per_epoch=steps, epochs=1, verbose=0, shuffle=False)
    answers = np.zeros(200, "int32")
    for chosen, inputs in prediction_batches(chunks):
        answers[chosen] = np.asarray(model.predict_on_batch(inputs)).argmax(axis=1)
    assert (answers == targets).all()


def test_resets_without_a_state_are_refused():
    with pytest.raises(ValueError, match="`reset_input` belongs to stateful=True"):
        build_text_classifier(num_classes=2, max_tokens=9, reset_input=True)
