"""Scores of a classification, and what they say beside the baselines'."""

from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, log_loss

from keras_seq.text.calibration import expected_calibration_error
from keras_seq.text.thresholds import decide


def score_probabilities(
    targets: np.ndarray,
    probabilities: np.ndarray,
    classes: np.ndarray,
    thresholds: np.ndarray | None = None,
) -> dict[str, Any]:
    """`classification_scores`, or `multi_label_scores` where targets are 0 and 1.

    Args:
        targets: Class ids, `(n,)`, or 0 and 1, `(n, num_classes)`.
        probabilities: `(n, num_classes)`.
        classes: Labels by class id.
        thresholds: Of several labels, `(num_classes,)`; None: 0.5.
    """
    if targets.ndim == 1:
        return classification_scores(targets, probabilities, classes)
    if thresholds is None:
        thresholds = np.full(len(classes), 0.5)
    return multi_label_scores(targets, probabilities, thresholds, classes)


def classification_scores(
    targets: np.ndarray, probabilities: np.ndarray, classes: np.ndarray
) -> dict[str, Any]:
    """Scores class probabilities against class ids.

    Args:
        targets: int, `(n,)`.
        probabilities: `(n, num_classes)`.
        classes: Labels by class id.

    Returns:
        `accuracy`, `f1_macro`, `f1_per_class` (label as str: its F1), `log_loss`, and
        `ece` of the likeliest class (`expected_calibration_error`).
    """
    ids = np.arange(len(classes))
    predicted = probabilities.argmax(axis=1)
    f1 = f1_score(targets, predicted, labels=ids, average=None, zero_division=0.0)
    exact = probabilities.astype(np.float64)  # float32 rows sum to one only nearly
    exact /= exact.sum(axis=1, keepdims=True)
    names = [str(label) for label in classes.tolist()]
    return {
        "accuracy": float(accuracy_score(targets, predicted)),
        "f1_macro": float(f1.mean()),
        "f1_per_class": dict(zip(names, f1.tolist(), strict=True)),
        "log_loss": float(log_loss(targets, exact, labels=ids)),
        "ece": expected_calibration_error(exact.max(axis=1), predicted == targets),
    }


def multi_label_scores(
    targets: np.ndarray,
    probabilities: np.ndarray,
    thresholds: np.ndarray,
    classes: np.ndarray,
) -> dict[str, Any]:
    """Scores probabilities of labels against those that texts have.

    Args:
        targets: 0 and 1, `(n, num_classes)`.
        probabilities: `(n, num_classes)`.
        thresholds: `(num_classes,)`; a label is given where its probability is not
            below.
        classes: Labels by column.

    Returns:
        `f1_micro`, `f1_macro`, `f1_per_class` (label as str: its F1),
        `subset_accuracy` (share of texts whose labels are all right and complete),
        `hamming_loss` (share of wrong decisions), `log_loss` (mean over all texts and
        labels), and `ece` of all those decisions' probabilities.
    """
    true = targets > 0
    given = decide(probabilities, thresholds)
    hits = (true & given).sum(axis=0)
    # 2 hits / (labels given + labels there are); 0 where there are none of both.
    both = true.sum(axis=0) + given.sum(axis=0)
    f1 = 2 * hits / np.maximum(both, 1)
    exact = probabilities.astype(np.float64)
    least = np.finfo(np.float64).eps  # as scikit-learn's log_loss
    own = np.clip(np.where(true, exact, 1 - exact), least, 1.0)
    names = [str(label) for label in classes.tolist()]
    return {
        "f1_micro": float(2 * hits.sum() / max(both.sum(), 1)),
        "f1_macro": float(f1.mean()),
        "f1_per_class": dict(zip(names, f1.tolist(), strict=True)),
        "subset_accuracy": float((true == given).all(axis=1).mean()),
        "hamming_loss": float((true != given).mean()),
        "log_loss": float(-np.log(own).mean()),
        "ece": expected_calibration_error(exact, true),
    }


def verdict(scores: dict[str, Any]) -> str:
    """One line: accuracy or micro F1, and whether it beats the best baseline's."""
    name = "accuracy" if "accuracy" in scores else "f1_micro"
    rivals = {rival: part[name] for rival, part in scores["baselines"].items()}
    best = max(rivals, key=lambda rival: rivals[rival])
    relation = "better than" if scores[name] > rivals[best] else "NO BETTER than"
    shown = {"accuracy": "accuracy", "f1_micro": "micro F1"}[name]
    return (
        f"{shown} {scores[name]:.4f}, {relation} {best}'s {rivals[best]:.4f} "
        f"({scores['n']} texts)"
    )
