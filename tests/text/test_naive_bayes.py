"""The start of bag and embedding against counts by a plain loop."""

import keras
import numpy as np
import pytest

from keras_seq.layers.ngrams import NgramBag
from keras_seq.text import naive_bayes
from keras_seq.text.naive_bayes import add_naive_bayes, start_from_naive_bayes
from keras_seq.text.preprocessing import TokenRows

pytestmark = pytest.mark.numeric

BUCKETS = 32


def make(num_classes, dim=4, ngrams=3):
    bag = NgramBag(12, ngrams, dim=dim, buckets=BUCKETS)
    bag.build((None, None))
    head = keras.layers.Dense(num_classes)
    head.build((None, dim))
    return bag, head


def make_rows(count=40):
    random = np.random.default_rng(0)
    lengths = random.integers(0, 7, count).astype("int32")
    return TokenRows(random.integers(1, 12, lengths.sum()).astype("int32"), lengths)


def counts_by_loop(bag, rows, memberships):
    """`(vectors, columns)` of each length of runs, the hash by the layer's formula."""
    factors = (31_337, 7_919, 15_731)
    tables = [np.zeros((v.shape[0], memberships.shape[1])) for v in bag.vectors]
    for start, length, membership in zip(
        rows.starts, rows.lengths, memberships, strict=True
    ):
        ids = rows.ids[start : start + length].tolist()
        for run, table in enumerate(tables, start=1):
            for first in range(length - run + 1):
                parts = ids[first : first + run]
                hashed = sum(
                    p % BUCKETS * f for p, f in zip(parts, factors, strict=False)
                )
                table[parts[0] if run == 1 else hashed % BUCKETS] += membership
    return tables


def ratios_by_loop(table, multi_label):
    own, everything = table[:, :-1], table[:, -1]
    ratios = np.zeros_like(own)
    occurring = [row for row in range(len(table)) if everything[row] > 0]

    def log_share(column, row):
        return np.log((column[row] + 1) / (column[occurring] + 1).sum())

    for row in occurring:
        logs = [log_share(column, row) for column in own.T]
        if multi_label:
            others = [log_share(everything - column, row) for column in own.T]
            ratios[row] = np.array(logs) - others
        else:
            ratios[row] = logs - np.mean(logs)
    return ratios


@pytest.mark.parametrize("chunk", [1_000_000, 10])
@pytest.mark.parametrize("multi_label", [False, True])
def test_a_text_is_scored_by_log_count_ratios(monkeypatch, multi_label, chunk):
    monkeypatch.setattr(naive_bayes, "_CHUNK", chunk)
    rows, (bag, head) = make_rows(), make(num_classes=3)
    random = np.random.default_rng(1)
    weights = random.uniform(0.5, 2.0, 40).astype("float32")
    targets = random.integers(0, 3, 40).astype("int32")
    onehot = np.eye(3)[targets]
    if multi_label:
        onehot = random.integers(0, 2, (40, 3)).astype("float32")
        targets = onehot
    start_from_naive_bayes(bag, head, rows, targets, weights)
    membership = np.column_stack([onehot * weights[:, None], weights])
    expected = [
        0.5 * ratios_by_loop(table, multi_label)
        for table in counts_by_loop(bag, rows, membership)
    ]
    # One token by itself: what the head says of the bag is the token's ratio.
    tokens = np.arange(12, dtype="int32")[:, None]
    scores = head(bag(tokens, np.ones(12, "int32"))) - head.bias
    seen = np.unique(rows.ids)
    random_part = np.asarray(bag.vectors[0])[:, 3:] @ np.asarray(head.kernel)[3:]
    np.testing.assert_allclose(
        np.asarray(scores)[seen], (expected[0] + random_part)[seen], atol=1e-5
    )
    for vectors, ratios in zip(bag.vectors, expected, strict=True):
        np.testing.assert_allclose(np.asarray(vectors)[:, :3], ratios, atol=1e-5)


def test_more_classes_than_dimensions_keep_what_differs_most():
    rows, (bag, head) = make_rows(400), make(num_classes=6, dim=5, ngrams=2)
    targets = np.random.default_rng(2).integers(0, 6, 400).astype("int32")
    weights = np.ones(400, "float32")
    start_from_naive_bayes(bag, head, rows, targets, weights)
    membership = np.column_stack([np.eye(6)[targets], weights])
    for vectors, table in zip(
        bag.vectors, counts_by_loop(bag, rows, membership), strict=True
    ):
        # Six centred columns have five directions: nothing is lost.
        found = np.asarray(vectors) @ np.asarray(head.kernel)
        np.testing.assert_allclose(found, 0.5 * ratios_by_loop(table, False), atol=1e-5)


def test_too_many_classes_start_as_they_were(monkeypatch):
    monkeypatch.setattr(naive_bayes, "_MOST_RATIOS", 10)
    bag, head = make(num_classes=3)
    before = [
        keras.ops.convert_to_numpy(value).copy()
        for value in (*bag.vectors, head.kernel)
    ]
    targets = np.zeros(40, "int32")
    start_from_naive_bayes(bag, head, make_rows(), targets, np.ones(40, "float32"))
    for old, new in zip(before, (*bag.vectors, head.kernel), strict=True):
        np.testing.assert_array_equal(old, np.asarray(new))


@pytest.mark.parametrize("multi_label", [False, True])
def test_vectors_move_by_their_ratios_along_one_direction_a_class(multi_label):
    rows, (bag, _) = make_rows(), make(num_classes=3, ngrams=1)
    random = np.random.default_rng(1)
    weights = random.uniform(0.5, 2.0, 40).astype("float32")
    targets = random.integers(0, 3, 40).astype("int32")
    onehot = np.eye(3)[targets]
    if multi_label:
        targets = onehot = random.integers(0, 2, (40, 3)).astype("float32")
    membership = np.column_stack([onehot * weights[:, None], weights])
    (table,) = counts_by_loop(bag, rows, membership)
    ratios = ratios_by_loop(table, multi_label)
    moves = []
    for seed in (0, 0, 1):
        embedding = keras.layers.Embedding(12, 50)
        embedding.build()
        before = keras.ops.convert_to_numpy(embedding.embeddings).copy()
        add_naive_bayes(embedding, 3, rows, targets, weights, seed)
        moves.append(keras.ops.convert_to_numpy(embedding.embeddings) - before)
    directions = np.linalg.lstsq(ratios, moves[0])[0]
    np.testing.assert_allclose(ratios @ directions, moves[0], atol=1e-6)
    size = np.linalg.norm(moves[0]) / np.linalg.norm(ratios)
    assert 0.15 < size / np.sqrt(50) < 0.25  # fifty numbers of 0.2 each
    unseen = table[:, -1] == 0
    assert unseen.any() and (moves[0][unseen] == 0).all()
    np.testing.assert_allclose(moves[1], moves[0], atol=1e-6)
    assert np.abs(moves[2] - moves[0]).max() > 0.1


def test_an_embedding_of_too_many_classes_stays_as_it_was(monkeypatch):
    monkeypatch.setattr(naive_bayes, "_MOST_RATIOS", 10)
    embedding = keras.layers.Embedding(12, 5)
    embedding.build()
    before = keras.ops.convert_to_numpy(embedding.embeddings).copy()
    targets = np.zeros(40, "int32")
    add_naive_bayes(embedding, 3, make_rows(), targets, np.ones(40, "float32"), 0)
    np.testing.assert_array_equal(before, np.asarray(embedding.embeddings))
