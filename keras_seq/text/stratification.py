"""Stratified parts of texts that have several labels each."""

from collections.abc import Sequence

import numpy as np


def deal_out(
    targets: np.ndarray, desired: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Deals rows out to parts so that each part has its share of each label.

    The label that the fewest rows left have is dealt out first, each of its rows to
    the part that wants the label most.

    Args:
        targets: 0 and 1, `(n, num_labels)`.
        desired: How many rows with each label a part is to have, and in the last
            column how many rows at all: `(num_parts, num_labels + 1)`.
        random: Of the order, and of ties.

    Returns:
        The part of each row: int64, `(n,)`.

    Reference:
        Sechidis, Tsoumakas & Vlahavas, 2011, algorithm 1.
    """
    has = targets > 0
    wanted = desired.astype(np.float64)
    parts = np.full(len(has), -1)
    left = has.sum(axis=0)
    order = random.permutation(len(has))
    tie = random.random(len(wanted))

    def deal(rows: np.ndarray, label: int) -> None:
        for row in rows:
            # By label, then by rows at all, then by chance.
            part = np.lexsort((tie, wanted[:, -1], wanted[:, label]))[-1]
            parts[row] = part
            labels = np.flatnonzero(has[row])
            wanted[part, labels] -= 1
            wanted[part, -1] -= 1
            left[labels] -= 1

    while left.any():
        label = int(np.where(left > 0, left, len(has) + 1).argmin())
        deal(order[has[order, label] & (parts[order] < 0)], label)
    deal(order[parts[order] < 0], -1)  # rows without labels
    return parts


def split_labels(
    targets: np.ndarray, share: float, random: np.random.Generator
) -> np.ndarray:
    """Which rows to hold back: bool, `(n,)`.

    A label of two rows or more is on both sides wherever the labels that it comes with
    allow that; none is held back only.

    Args:
        targets: 0 and 1, `(n, num_labels)`.
        share: To hold back.
        random: Of the drawing.
    """
    counts = np.append((targets > 0).sum(axis=0), len(targets))
    held = np.where(counts > 1, np.maximum(share * counts, 1.0), 0.0)
    parts = deal_out(targets, np.stack([counts - held, held]), random)
    for label in np.flatnonzero(counts[:-1]):
        rows = np.flatnonzero(targets[:, label] > 0)
        if parts[rows].all():
            parts[rows[0]] = 0
    return parts == 1


def only_in_one(targets: np.ndarray, parts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Labels whose rows are all in one part: their column numbers."""
    found = [
        label
        for label, column in enumerate(targets.T > 0)
        if len(np.unique(np.asarray(parts)[column])) == 1
    ]
    return np.array(found, np.int64)
