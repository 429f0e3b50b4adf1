"""The threshold with the largest F1, found by trying all."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from keras_seq.text.thresholds import choose_thresholds, decide

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_is_better(seed):
    random = np.random.default_rng(seed)
    probabilities = random.random((40, 4)).astype(np.float32).round(seed % 2 + 1)
    targets = (random.random((40, 4)) < probabilities).astype(np.float32)
    weights = random.integers(0, 3, 40).astype(np.float32)
    found = choose_thresholds(probabilities, targets, weights)
    given = decide(probabilities, found)
    for column in range(4):
        p, y = probabilities[:, column], targets[:, column]
        options = {"sample_weight": weights, "zero_division": 0.0}
        best = max(
            f1_score(y, p >= threshold, **options) for threshold in [0.5, *np.unique(p)]
        )
        assert f1_score(y, given[:, column], **options) == pytest.approx(best)


def test_halves_and_rules():
    probabilities = np.array([[0.1, 0.9, 0.3], [0.2, 0.8, 0.4], [0.8, 0.1, 0.9]])
    targets = np.array([[0, 0, 0], [1, 0, 0], [1, 0, 1]])
    found = choose_thresholds(probabilities, targets, np.ones(3))
    # Half way; no positives; 0.5 is as good as any other.
    np.testing.assert_allclose(found, [0.15, 0.5, 0.5])


def test_texts_of_weight_zero_are_not_there():
    probabilities = np.array([[0.2], [0.4], [0.9]])
    targets = np.array([[1], [0], [1]])
    found = choose_thresholds(probabilities, targets, np.array([0.0, 1.0, 1.0]))
    np.testing.assert_allclose(found, [0.5])


def test_decides_at_the_threshold():
    given = decide(np.array([[0.5, 0.49]], np.float32), np.array([0.5, 0.5]))
    np.testing.assert_array_equal(given, [[True, False]])
