"""Scores against scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics

from keras_seq.text.scores import classification_scores, multi_label_scores, verdict

pytestmark = pytest.mark.numeric


def make_multi(seed=0, count=60):
    random = np.random.default_rng(seed)
    probabilities = random.random((count, 4)).astype(np.float32)
    targets = (random.random((count, 4)) < probabilities).astype(np.float32)
    targets[:, 3] = 0  # a label that no text has
    return targets, probabilities


def test_multi_label_scores_are_scikit_learn_s():
    targets, probabilities = make_multi()
    thresholds = np.array([0.3, 0.5, 0.7, 2.0])
    classes = np.array([3, 5, 7, 9])
    found = multi_label_scores(targets, probabilities, thresholds, classes)
    given = (probabilities >= thresholds).astype(int)
    options = {"zero_division": 0.0}
    f1 = metrics.f1_score(targets, given, average=None, **options)
    assert found["f1_per_class"] == pytest.approx(dict(zip("3579", f1, strict=True)))
    for average in ("micro", "macro"):
        expected = metrics.f1_score(targets, given, average=average, **options)
        assert found[f"f1_{average}"] == pytest.approx(expected)
    accuracy = metrics.accuracy_score(targets, given)
    assert found["subset_accuracy"] == pytest.approx(accuracy)
    assert found["hamming_loss"] == pytest.approx(metrics.hamming_loss(targets, given))
    columns = [
        metrics.log_loss(
            targets[:, j], probabilities[:, j].astype(float), labels=[0, 1]
        )
        for j in range(4)
    ]
    assert found["log_loss"] == pytest.approx(np.mean(columns))


def test_certain_and_wrong_is_finite():
    targets, probabilities = np.array([[1, 0]]), np.array([[0.0, 1.0]], np.float32)
    found = multi_label_scores(targets, probabilities, np.full(2, 0.5), np.arange(2))
    assert np.isfinite(found["log_loss"]) and found["log_loss"] > 30
    assert found["ece"] == 1.0 and found["hamming_loss"] == 1.0


def test_single_label_scores_have_the_calibration_error():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    targets = np.array([0, 1, 1, 1])
    found = classification_scores(targets, probabilities, np.array(["a", "b"]))
    assert found["ece"] == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)
    assert found["accuracy"] == 0.75


@pytest.mark.parametrize(
    ("name", "shown"), [("accuracy", "accuracy"), ("f1_micro", "micro F1")]
)
def test_verdict_names_the_best_baseline(name, shown):
    rivals = {"majority": {name: 0.2}, "tfidf_logreg": {name: 0.7}}
    text = verdict({name: 0.6, "n": 5, "baselines": rivals})
    assert text == f"{shown} 0.6000, NO BETTER than tfidf_logreg's 0.7000 (5 texts)"
