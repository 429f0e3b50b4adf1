"""The heads of a network are weighted by what they know, on texts held back."""

import keras
import numpy as np
import pytest

from keras_seq import TextClassifier, build_text_classifier
from keras_seq.text.batches import Buckets, pad_rows
from keras_seq.text.preprocessing import TokenRows
from keras_seq.text.shares import HEADS, Say, choose_say, set_say

pytestmark = pytest.mark.numeric


def _buckets(count):
    """Two lengths, and batches that are not full."""
    random = np.random.default_rng(0)
    lengths = random.choice([4, 6], count).astype("int32")
    ids = random.integers(1, 20, lengths.sum(), "int32")
    return Buckets(TokenRows(ids, lengths), [4, 6], batch_size=16)


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_least_log_loss_decides(multi_label):
    model = build_text_classifier(
        num_classes=3, max_tokens=20, units=4, ngrams=2, multi_label=multi_label, seed=0
    )
    for weight in model.trainable_weights:  # outputs that differ
        weight.assign(12 * np.asarray(weight))
    layer = model.get_layer("probabilities")
    random = np.random.default_rng(1)
    targets = random.integers(0, 3, 60)
    if multi_label:
        targets = random.integers(0, 2, (60, 3))
    weights = random.uniform(0.5, 2, 60)
    say = choose_say(model, _buckets(60), targets, weights)
    assert say.shares.sum() == pytest.approx(1)
    assert (say.temperatures > 1).all()  # heads that are sure by chance are made unsure
    set_say(model, [say._replace(shares=np.array([0.5, 0.5]))])
    inputs = pad_rows(_buckets(60).rows, np.arange(60), 6, 60)
    tried = np.linspace(0.25, 0.75, 11)
    objectives = []
    for share in tried:
        layer.shares.assign([share, 1 - share])
        p = np.asarray(model(inputs), "float64")
        if multi_label:
            rows = -np.log(np.where(targets == 1, p, 1 - p)).mean(axis=1)
        else:
            rows = -np.log(p[np.arange(60), targets])
        loss = (rows * weights).sum() / weights.sum()
        objectives.append(60 * loss + 20 * (share - 0.35) ** 2)
    assert say.shares[0] == pytest.approx(tried[np.argmin(objectives)])


def test_each_head_is_divided_by_its_temperature():
    model = build_text_classifier(
        num_classes=3, max_tokens=20, units=4, ngrams=2, seed=0
    )
    before = [np.array(w) for name in HEADS for w in model.get_layer(name).weights]
    set_say(model, [Say(np.array([2.0, 0.5]), np.array([0.3, 0.7], "float32"))])
    after = [np.array(w) for name in HEADS for w in model.get_layer(name).weights]
    for old, new, temperature in zip(before, after, [2, 2, 0.5, 0.5], strict=True):
        np.testing.assert_allclose(new, old / temperature)
    np.testing.assert_allclose(model.get_layer("probabilities").shares, [0.3, 0.7])


@pytest.mark.slow
def test_the_refitted_network_keeps_the_shares(tmp_path):
    words = [f"{a} {b}" for a in "abcdefghij" for b in "klmnopqrst"]
    labels = [text[0] in "abcde" for text in words]
    options = {"units": 2, "embedding_dim": 2, "epochs": 2, "baseline": False}
    clf = TextClassifier(**options).fit(words, labels, verbose=0)
    first = TextClassifier(**options, refit_full=False).fit(words, labels, verbose=0)
    shares = [
        np.asarray(c.model_.get_layer("probabilities").shares) for c in (clf, first)
    ]
    np.testing.assert_array_equal(shares[0], shares[1])
    clf.save(tmp_path / "clf.kseq")
    loaded = TextClassifier.load(tmp_path / "clf.kseq")
    np.testing.assert_allclose(
        loaded.predict_proba(words[:5]), clf.predict_proba(words[:5]), rtol=1e-6
    )
    plain = TextClassifier(ngrams=0, **options).fit(words, labels, verbose=0)
    assert isinstance(plain.model_.get_layer("probabilities"), keras.layers.Dense)
