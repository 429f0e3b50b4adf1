"""Scores of a classification, and what they say beside the baselines'."""

from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, log_loss


def classification_scores(
    targets: np.ndarray, probabilities: np.ndarray, classes: np.ndarray
) -> dict[str, Any]:
    """Scores class probabilities against class ids.

    Args:
        targets: int, `(n,)`.
        probabilities: `(n, num_classes)`.
        classes: Labels by class id.

    Returns:
        `accuracy`, `f1_macro`, `f1_per_class` (label as str: its F1), `log_loss`.
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
    }


def verdict(scores: dict[str, Any]) -> str:
    """One line: the accuracy, and whether it beats the best baseline's."""
    rivals = {name: part["accuracy"] for name, part in scores["baselines"].items()}
    best = max(rivals, key=lambda name: rivals[name])
    relation = "better than" if scores["accuracy"] > rivals[best] else "NO BETTER than"
    return (
        f"accuracy {scores['accuracy']:.4f}, {relation} {best}'s {rivals[best]:.4f} "
        f"({scores['n']} texts)"
    )
