"""Decision thresholds of a classifier with several labels per text."""

import numpy as np


def choose_thresholds(
    probabilities: np.ndarray, targets: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """For each class the threshold with the largest F1.

    Thresholds lie half way between neighbouring probabilities. Of equally good ones it
    is the one nearest 0.5; a class without positives has 0.5.

    Args:
        probabilities: `(n, num_classes)`.
        targets: 0 and 1, `(n, num_classes)`.
        weights: Of the texts, `(n,)`, at least 0.

    Returns:
        float64, `(num_classes,)`; a label is given where its probability is not below.
    """
    columns = zip(probabilities.T, targets.T, strict=True)
    return np.array([_best_threshold(p, y, weights) for p, y in columns])


def decide(probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Which labels each text has: bool, `(n, num_classes)`."""
    return np.asarray(probabilities.astype(np.float64) >= thresholds)


def _best_threshold(
    probabilities: np.ndarray, targets: np.ndarray, weights: np.ndarray
) -> float:
    weights = weights.astype(np.float64)
    positives = weights * (targets > 0)
    if not positives.any():
        return 0.5
    values, place = np.unique(probabilities.astype(np.float64), return_inverse=True)
    lower = np.concatenate([[0.0], values[:-1]])
    # Below each value, so that it and all above are given the label; and 0.5.
    candidates = np.append((lower + values) / 2, 0.5)
    first = np.append(np.arange(len(values)), np.searchsorted(values, 0.5))
    given, right = (
        np.append(np.bincount(place, part)[::-1].cumsum()[::-1], 0.0)[first]
        for part in (weights, positives)
    )
    f1 = 2 * right / (given + positives.sum())
    # Sums in another order differ in their last digits.
    best = candidates[f1 >= f1.max() - 1e-12]
    return float(best[np.abs(best - 0.5).argmin()])
