"""TextClassifier with several labels per text: from lists to lists."""

import numpy as np
import pytest
from sklearn import metrics
from sklearn.base import clone, is_classifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

import keras_seq
from keras_seq import TextClassifier
from keras_seq.text.baseline import fit_linear, linear_probabilities
from keras_seq.text.corpus import Corpus, split_stratified, stratified_folds
from keras_seq.text.preprocessing import TextPreprocessor
from keras_seq.text.thresholds import choose_thresholds

PLAIN = {
    "cell": "rnn",
    "units": 8,
    "embedding_dim": 8,
    "bidirectional": False,
    "max_length": 8,
    "batch_size": 16,
    "learning_rate": 0.02,
    "epochs": 12,
    "dropout": 0.1,
    "patience": 12,
    "multi_label": True,
}
WORDS = {"art": 0.5, "biology": 0.3, "chess": 0.1}


def make_texts(count=160, seed=0):
    """A text has the labels whose words it holds, among filler; a third have none."""
    random = np.random.default_rng(seed)
    texts, labels = [], []
    for _ in range(count):
        own = [word for word, share in WORDS.items() if random.random() < share]
        words = [*random.choice(list("stuvwxyz"), 3), *own]
        texts.append(" ".join(random.permutation(words)))
        labels.append(own)
    return texts, labels


def matrix(lists, classes):
    """0 and 1, cell by cell."""
    return np.array([[int(c in labels) for c in classes] for labels in lists])


@pytest.fixture(scope="module")
def fitted():
    return TextClassifier(**PLAIN).fit(*make_texts(), verbose=0)


@pytest.mark.numeric
def test_learns_each_label(fitted):
    texts, labels = make_texts(100, seed=1)
    assert fitted.classes_.tolist() == ["art", "biology", "chess"]
    scores = fitted.evaluate(texts, labels)
    assert scores["f1_micro"] > 0.9
    assert scores["f1_micro"] > scores["baselines"]["majority"]["f1_micro"]
    assert scores["baselines"]["tfidf_logreg"]["f1_micro"] > 0.9
    assert scores["n"] == 100 and "ece_uncalibrated" in fitted.validation_


@pytest.mark.numeric
def test_answers_are_lists_by_threshold(fitted):
    texts, labels = make_texts(50, seed=2)
    probabilities = fitted.predict_proba(texts)
    assert probabilities.shape == (50, 3) and probabilities.dtype == np.float32
    assert not np.allclose(probabilities.sum(axis=1), 1)
    expected = [
        [
            c
            for c, p, t in zip(fitted.classes_, row, fitted.thresholds_, strict=True)
            if p >= t
        ]
        for row in probabilities
    ]
    predicted = fitted.predict(texts)
    assert predicted == expected
    assert {type(label) for given in predicted for label in given} == {str}
    scores = fitted.evaluate(texts, labels)
    true, given = (matrix(lists, fitted.classes_) for lists in (labels, predicted))
    expected = metrics.f1_score(true, given, average="micro", zero_division=0.0)
    assert scores["f1_micro"] == pytest.approx(expected)
    assert scores["subset_accuracy"] == pytest.approx((true == given).all(1).mean())


@pytest.mark.numeric
def test_save_and_load(fitted, tmp_path):
    texts, labels = make_texts(30, seed=3)
    fitted.save(tmp_path / "clf.kseq")
    twin = keras_seq.load(tmp_path / "clf.kseq")
    np.testing.assert_array_equal(twin.thresholds_, fitted.thresholds_)
    np.testing.assert_allclose(
        twin.predict_proba(texts), fitted.predict_proba(texts), atol=1e-6
    )
    assert twin.predict(texts) == fitted.predict(texts)
    after, before = twin.evaluate(texts, labels), fitted.evaluate(texts, labels)
    assert after["baselines"]["majority"] == before["baselines"]["majority"]
    assert after["baselines"]["tfidf_logreg"]["on"] == "validation"
    assert twin.get_params() == fitted.get_params() == clone(fitted).get_params()


def test_plot_counts_labels(fitted):
    texts, labels = make_texts(30, seed=4)
    right = np.mean(
        [a == b for a, b in zip(fitted.predict(texts), labels, strict=True)]
    )
    ax = fitted.plot(texts, labels)
    assert ax.get_title() == f"All labels right in {right:.1%} of 30 texts"
    found, missed, _ = ([bar.get_width() for bar in kind] for kind in ax.containers)
    true = matrix(labels, fitted.classes_)
    np.testing.assert_array_equal(np.add(found, missed), true.sum(axis=0))


@pytest.mark.slow
def test_scikit_learn_folds_lists_of_labels(fitted):
    texts, labels = make_texts(160, seed=1)
    assert not is_classifier(fitted)  # whose folds would be stratified by one label
    scores = cross_val_score(clone(fitted).set_params(epochs=1), texts, labels, cv=2)
    assert ((0 <= scores) & (scores <= 1)).all()
    assert (
        fitted.score(texts, labels)
        == (fitted.evaluate(texts, labels)["subset_accuracy"])
    )


@pytest.mark.filterwarnings("ignore:60 of the 60 texts")
def test_sets_of_numbers_weights_and_given_validation():
    texts, labels = make_texts(60)
    ids = {word: index * 10 for index, word in enumerate(WORDS)}
    sets = [{ids[label] for label in own} for own in labels]
    wrong = [{0, 10, 20} - own for own in sets]
    options = {**PLAIN, "epochs": 12, "patience": 12, "ngrams": 0, "baseline": False}
    clf = TextClassifier(**options, calibration=None).fit(
        texts + texts,
        sets + wrong,
        validation_data=(texts, sets),
        sample_weight=[1.0] * 60 + [0.0] * 60,
        verbose=0,
    )
    assert clf.temperature_ == 1.0
    assert clf.validation_["f1_micro"] > 0.9
    predicted = clf.predict(texts)
    assert all(type(label) is int for given in predicted for label in given)
    best = clf.history_["val_log_loss"].min()
    assert clf.validation_["log_loss"] == pytest.approx(best, rel=1e-4)
    shares = matrix(sets, clf.classes_).mean(axis=0)
    np.testing.assert_allclose(clf._baselines.majority, shares)


def test_the_linear_baseline_is_one_regression_per_label():
    texts, labels = make_texts(80)
    targets = matrix(labels, WORDS).astype(np.float32)
    targets = np.column_stack([targets, np.zeros(80), np.ones(80)])
    weights = np.random.default_rng(0).random(80).astype(np.float32)
    preprocessor = TextPreprocessor().fit(texts)
    model = fit_linear(Corpus(texts, targets, weights), preprocessor, seed=0)
    found = linear_probabilities(model, texts, 5)
    vectorizer = TfidfVectorizer(
        analyzer=lambda text: _pairs(text.split()), sublinear_tf=True
    )
    features = vectorizer.fit_transform(texts)
    for column in range(3):
        single = LogisticRegression(C=10.0, max_iter=1000)
        single.fit(features, targets[:, column], weights)
        expected = single.predict_proba(features)[:, 1]
        np.testing.assert_allclose(found[:, column], expected, atol=1e-3)
    np.testing.assert_array_equal(found[:, 3:], targets[:, 3:])


def _pairs(tokens):
    return [*tokens, *(f"{a} {b}" for a, b in zip(tokens, tokens[1:], strict=False))]


def test_copies_stay_together_and_rare_labels_on_both_sides():
    texts, labels = make_texts(100)
    texts = [f"{text} n{index}" for index, text in enumerate(texts)]
    targets = matrix(labels, WORDS).astype(np.float32)
    rare = np.zeros((100, 1), np.float32)
    rare[[3, 50]] = 1
    targets = np.concatenate([targets, rare], axis=1)
    corpus = Corpus(texts * 2, np.tile(targets, (2, 1)), np.ones(200, np.float32))
    training, held = split_stratified(corpus, np.arange(4), 0.1, seed=0)
    assert not set(training.texts) & set(held.texts)
    assert len(training.texts) + len(held.texts) == 200
    assert abs(len(held.texts) - 20) <= 6
    assert training.targets[:, 3].any() and held.targets[:, 3].any()


@pytest.mark.filterwarnings("ignore:1 of 4 classes have fewer")
def test_a_label_of_one_text_is_trained_on():
    texts, labels = make_texts(60)
    labels[0] = ["alone", *labels[0]]
    with pytest.warns(UserWarning, match=r"not validated: \['alone'\]"):
        clf = TextClassifier(**{**PLAIN, "epochs": 1}).fit(texts, labels, verbose=0)
    assert clf.classes_.tolist() == ["alone", "art", "biology", "chess"]
    assert clf.thresholds_[0] == 0.5


def test_folds_hold_each_text_once():
    texts, labels = make_texts(60)
    texts = [f"{text} n{index % 50}" for index, text in enumerate(texts)]
    seen = []
    for kept, held in stratified_folds(texts, labels, 3, 0, multi_label=True):
        assert not set(np.take(texts, kept)) & set(np.take(texts, held))
        assert {label for row in kept for label in labels[row]} == set(WORDS)
        seen += held.tolist()
    assert sorted(seen) == list(range(60))
    for (strings, lists), options in TextClassifier(multi_label=True).split_folds(
        2, texts, labels
    ):
        assert len(strings) == len(lists) and isinstance(lists[0], list)
        assert len(options["validation_data"][0]) + len(strings) == 60
    labels[0] = ["alone"]
    with pytest.raises(ValueError, match=r"two distinct texts.*\['alone'\].*folds=3"):
        list(stratified_folds(texts, labels, 3, 0, multi_label=True))


@pytest.mark.parametrize(
    ("arguments", "labels", "error", "message"),
    [
        ({}, ["art"] * 20, TypeError, "since multi_label=True. 20 of 20 rows"),
        ({}, [[]] * 20, ValueError, "at least one label"),
        ({}, [["art"]] * 19, ValueError, "20 texts, 19 labels"),
        (
            {"class_weight": "balanced"},
            [["art"]] * 20,
            ValueError,
            "one label per text",
        ),
        (
            {"multi_label": "yes"},
            [["art"]] * 20,
            ValueError,
            "`multi_label` must be one",
        ),
        ({"multi_label": False}, [["art"]] * 20, TypeError, "give multi_label=True"),
    ],
)
def test_bad_input(arguments, labels, error, message):
    with pytest.raises(error, match=message):
        TextClassifier(**{**PLAIN, **arguments}).fit(
            make_texts(20)[0], labels, verbose=0
        )


def test_too_few_texts():
    with pytest.raises(ValueError, match="too few to hold.*1 distinct texts"):
        TextClassifier(**PLAIN).fit(["a"] * 4, [["x"]] * 4, verbose=0)


@pytest.mark.numeric
@pytest.mark.filterwarnings("ignore:1 of 3 classes have fewer")
def test_thresholds_are_those_of_the_validation_part():
    texts, labels = make_texts(80)
    held = make_texts(40, seed=9)
    clf = TextClassifier(**{**PLAIN, "epochs": 2}, baseline=False)
    clf.fit(texts, labels, validation_data=held, verbose=0)
    probabilities = clf.predict_proba(held[0])
    expected = choose_thresholds(
        probabilities, matrix(held[1], clf.classes_), np.ones(40)
    )
    np.testing.assert_allclose(clf.thresholds_, expected, atol=1e-6)
