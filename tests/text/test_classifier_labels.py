"""TextClassifier: class weights, smoothed labels, calibrated probabilities."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone

import keras_seq
from keras_seq import TextClassifier

# Quick to trace.
PLAIN = {
    "cell": "rnn",
    "units": 6,
    "embedding_dim": 8,
    "bidirectional": False,
    "max_length": 8,
    "batch_size": 16,
    "epochs": 2,
    "refit_full": False,
    "baseline": False,
}


def make_texts(count=80, seed=0, rare=0.2):
    """One word tells the label, mostly; `rare` is the share of "yes"."""
    random = np.random.default_rng(seed)
    texts, labels = [], []
    for _ in range(count):
        yes = random.random() < rare
        word = ("good" if yes else "bad") if random.random() < 0.8 else "odd"
        texts.append(" ".join([word, *random.choice(list("stuvwxyz"), 4)]))
        labels.append("yes" if yes else "no")
    return texts, labels


@pytest.fixture(scope="module")
def calibrated():
    """A network that was asked for far less certainty than there is."""
    options = {"learning_rate": 0.02, "epochs": 6, "dropout": 0.0, "refit_full": True}
    clf = TextClassifier(
        **{**PLAIN, **options}, label_smoothing=0.6, validation_split=0.4
    )
    return clf.fit(*make_texts(200), verbose=0)


@pytest.mark.numeric
def test_probabilities_are_calibrated_and_answers_stay(calibrated, tmp_path):
    texts, labels = make_texts(60, seed=1)
    clf = calibrated
    assert clf.temperature_ < 1.0
    raw = clf._raw_probabilities(clf.preprocessor_.transform(texts)).astype(float)
    powers = raw ** (1 / clf.temperature_)
    expected = powers / powers.sum(axis=1, keepdims=True)
    found = clf.predict_proba(texts)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(clf.predict(texts), clf.classes_[raw.argmax(axis=1)])
    assert 0 <= clf.validation_["ece"] <= 1
    assert clf.validation_["ece"] != clf.validation_["ece_uncalibrated"]
    scores = clf.evaluate(texts, labels)
    own = found[np.arange(60), [["no", "yes"].index(label) for label in labels]]
    assert scores["log_loss"] == pytest.approx(-np.log(own).mean(), rel=1e-5)
    clf.save(tmp_path / "clf.kseq")
    twin = keras_seq.load(tmp_path / "clf.kseq")
    assert twin.temperature_ == clf.temperature_
    np.testing.assert_allclose(twin.predict_proba(texts), found, atol=1e-6)


@pytest.mark.numeric
def test_without_calibration_the_network_speaks():
    texts, labels = make_texts()
    clf = TextClassifier(**PLAIN, calibration=None, ngrams=0, label_smoothing=0.1)
    clf.fit(texts, labels, verbose=0)
    assert clf.temperature_ == 1.0
    assert clf.validation_["ece"] == clf.validation_["ece_uncalibrated"]
    np.testing.assert_array_equal(
        clf.predict_proba(texts),
        clf._raw_probabilities(clf.preprocessor_.transform(texts)),
    )
    # The smoothed loss is another; what is monitored and scored is not smoothed.
    history = clf.history_
    assert (history["val_loss"] != history["val_log_loss"]).all()
    assert clf.validation_["log_loss"] == pytest.approx(
        history["val_log_loss"].min(), rel=1e-4
    )


@pytest.mark.slow
@pytest.mark.numeric
def test_class_weights_multiply_sample_weights():
    """A dict of class weights trains as the same weights by row do, bit for bit."""
    texts, labels = make_texts()
    held = make_texts(30, seed=2)
    rows = np.linspace(0.5, 1.5, len(texts)).astype(np.float32)
    by_row = rows * np.where(np.array(labels) == "yes", np.float32(4.0), 1.0)
    fits = [
        TextClassifier(**PLAIN, class_weight=by_class).fit(
            texts, labels, validation_data=held, sample_weight=weights, verbose=0
        )
        for by_class, weights in [({"yes": 4.0}, rows), (None, by_row), (None, rows)]
    ]
    losses = [fit.history_["loss"].to_numpy() for fit in fits]
    np.testing.assert_array_equal(losses[0], losses[1])
    assert not np.allclose(losses[0], losses[2])
    # Early stopping weighs the classes of the validation part as well; scores do not.
    monitored = [fit.history_["val_log_loss"].to_numpy() for fit in fits]
    assert not np.allclose(monitored[0], monitored[1])
    own = fits[0].predict_proba(held[0])
    right = own[np.arange(30), [["no", "yes"].index(label) for label in held[1]]]
    expected = -np.log(right).mean()
    assert fits[0].validation_["log_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@pytest.mark.numeric
def test_balanced_weights_find_the_rare_class(tmp_path):
    texts, labels = make_texts(300, rare=0.06)
    unseen, truth = make_texts(200, seed=3, rare=0.5)
    unclear = [text for text in unseen if text.startswith("odd")]
    options = {**PLAIN, "learning_rate": 0.01, "epochs": 4, "baseline": True}
    given = []
    for class_weight in (None, "balanced"):
        clf = TextClassifier(**options, class_weight=class_weight)
        clf.fit(texts, labels, verbose=0)
        given.append(clf.predict_proba(unclear)[:, 1].mean())
    assert given[1] > 2 * given[0]
    # The linear baseline has the same weights, or it would answer another question.
    linear = clf.evaluate(unseen, truth)["baselines"]["tfidf_logreg"]
    assert linear["f1_per_class"]["yes"] > 0.5
    assert clone(clf).get_params() == clf.get_params()
    clf.save(tmp_path / "clf.kseq")
    assert keras_seq.load(tmp_path / "clf.kseq").class_weight == "balanced"


@pytest.mark.parametrize("kind", [str, int, np.int64, bool])
def test_class_weight_of_any_label_survives_a_save(kind, tmp_path):
    texts, labels = make_texts(40, rare=0.5)
    typed = [kind(int(label == "yes")) for label in labels]
    clf = TextClassifier(**{**PLAIN, "epochs": 1}, class_weight={kind(1): 2.0})
    clf.fit(texts, typed, verbose=0, checkpoint=tmp_path / "folder")
    clf.save(tmp_path / "clf.kseq")
    twin = TextClassifier.load(tmp_path / "clf.kseq")
    assert twin.get_params() == clf.get_params()
    assert clone(clf).get_params() == clf.get_params()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_weight": {"maybe": 2.0}}, "`class_weight` must be among the classes"),
        ({"class_weight": "balance"}, "Did you mean 'balanced'"),
        ({"label_smoothing": 1}, r"`label_smoothing` must be a number in \[0, 1\)"),
        ({"calibration": "temprature"}, "Did you mean 'temperature'"),
    ],
)
def test_bad_arguments(arguments, message):
    with warnings.catch_warnings(), pytest.raises(ValueError, match=message):
        TextClassifier(**PLAIN, **arguments).fit(*make_texts(40), verbose=0)
