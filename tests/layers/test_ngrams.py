"""The bag of n-grams against a plain loop, its padding, and heads that learn alone."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq.layers.ngrams import AverageHeads, NgramBag

pytestmark = pytest.mark.numeric

FACTORS = (31_337, 7_919, 15_731, 24_593)


def _expected(layer: NgramBag, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    tables = [np.asarray(vectors) for vectors in layer.vectors]
    rows = []
    for ids, length in zip(tokens.tolist(), lengths.tolist(), strict=True):
        total, count = np.zeros(layer.dim), 0
        for run, table in enumerate(tables, start=1):
            for start in range(length - run + 1):
                parts = ids[start : start + run]
                bucket = sum(
                    part % layer.buckets * factor
                    for part, factor in zip(parts, FACTORS, strict=False)
                )
                total += table[parts[0] if run == 1 else bucket % layer.buckets]
                count += 1
        rows.append(total / np.sqrt(max(count, 1)))
    return np.array(rows)


@pytest.mark.parametrize("ngrams", [1, 2, 3, 4])
@pytest.mark.parametrize("buckets", [16, 2**20 - 3, 2**20])
def test_it_adds_up_what_a_plain_loop_does(ngrams: int, buckets: int) -> None:
    random = np.random.default_rng(ngrams)
    layer = NgramBag(2_000_000, ngrams, dim=1, buckets=buckets)
    tokens = random.integers(0, 2_000_000, size=(6, 9)).astype("int32")
    lengths = np.array([9, 5, 3, 2, 1, 0], "int32")
    found = layer(tokens, lengths)
    np.testing.assert_allclose(found, _expected(layer, tokens, lengths), atol=1e-6)
    np.testing.assert_array_equal(np.asarray(found)[5], np.zeros(1))


def test_padding_counts_for_nothing_whatever_it_holds() -> None:
    layer = NgramBag(50, 3, dim=4, buckets=64)
    tokens = np.array([[3, 7, 7, 2], [4, 4, 0, 0]], "int32")
    lengths = np.array([4, 2], "int32")
    short = np.asarray(layer(tokens, lengths))
    for filler in (0, 49, 2**31 - 1, -5):
        wide = np.full((2, 30), filler, "int32")
        for row, length in enumerate(lengths):
            wide[row, :length] = tokens[row, :length]
        np.testing.assert_allclose(layer(wide, lengths), short, atol=1e-7)


def test_dropout_leaves_out_whole_tokens_and_keeps_the_mean() -> None:
    layer = NgramBag(40, 1, dim=2, dropout=0.5)
    tokens = np.zeros((4000, 1), "int32")
    lengths = np.ones(4000, "int32")
    whole = np.asarray(layer(tokens, lengths))[0]
    dropped = np.asarray(layer(tokens, lengths, training=True))
    out = (dropped == 0).all(axis=1)
    assert 0.45 < out.mean() < 0.55
    np.testing.assert_allclose(dropped[~out], np.tile(2 * whole, (sum(~out), 1)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ngrams": 5}, "`ngrams` must be at most 4"),
        ({"buckets": 2**20 + 1}, "ngram_buckets=1048577"),
        ({"dim": 0}, "ngram_dim=0"),
        ({"dropout": 1.0}, "ngram_dropout=1.0"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NgramBag(100, **arguments)


def test_heads_are_averaged_and_learn_by_themselves() -> None:
    random = np.random.default_rng(0)
    heads = [random.normal(size=(5, 3)).astype("float32") for _ in range(2)]
    softmax = [np.exp(h) / np.exp(h).sum(axis=1, keepdims=True) for h in heads]
    layer = AverageHeads()
    np.testing.assert_allclose(layer(heads), np.mean(softmax, axis=0), rtol=1e-5)
    target = np.array([0, 2, 1, 1, 0])
    trained = np.asarray(layer(heads, training=True))
    loss = -np.log(trained[np.arange(5), target])
    alone = [-np.log(p[np.arange(5), target]) for p in softmax]
    np.testing.assert_allclose(loss, np.mean(alone, axis=0), rtol=1e-5)


def test_a_head_that_is_sure_and_wrong_still_learns() -> None:
    logits = [np.array([[200.0, -200.0]], "float32")] * 2
    trained = AverageHeads()(logits, training=True)
    assert np.isfinite(np.asarray(ops.log(ops.maximum(trained, 1e-30)))).all()
    restored = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(NgramBag(9, 3, 4, 8, 0.1))
    )
    assert restored.get_config()["buckets"] == 8
