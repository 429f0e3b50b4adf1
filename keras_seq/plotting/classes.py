"""Figures of classifications: confusion, labels, reliability."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from keras_seq.plotting.axes import (
    colors_of,
    legend_beside,
    many_scripts,
    new_axes,
    plain,
    tidy,
    whole_steps,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Classes up to which a confusion matrix has numbers in it.
_MAX_ANNOTATED = 20
# Bins of a reliability diagram, as of the score `ece`.
_BINS = 15


@many_scripts
def plot_confusion_matrix(
    labels: Sequence[Any],
    predicted: Sequence[Any],
    *,
    classes: Sequence[Any] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws how often each class was taken for each other one.

    A cell holds the count and its share of the true class (its row); the colour is
    the share, so that rare classes are as visible as frequent ones.

    Args:
        labels: True labels.
        predicted: Predicted labels, as many.
        classes: Order of the classes; None: all that occur, sorted.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The axes.

    Raises:
        ValueError: If lengths differ, there are no labels, or a label is missing or not
            in `classes`.
    """
    true, guessed = list(labels), list(predicted)
    if len(true) != len(guessed) or not true:
        raise ValueError(
            "`labels` and `predicted` must be equally long and not empty. Received: "
            f"{len(true)} labels and {len(guessed)} predictions"
        )
    occurring = set(true) | set(guessed)
    if missing := [
        name for name in occurring if pd.api.types.is_scalar(name) and pd.isna(name)
    ]:
        raise ValueError(
            "`labels` and `predicted` must have no missing value. "
            f"Received: {missing[0]!r} among them"
        )
    names = sorted(occurring) if classes is None else list(classes)
    unknown = sorted(occurring - set(names), key=str)
    if unknown:
        raise ValueError(
            f"`classes` must name every label. Missing: {unknown[:5]}. "
            f"Received: classes={names}"
        )
    place = {name: index for index, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, ([place[t] for t in true], [place[g] for g in guessed]), 1)
    accuracy = np.trace(counts) / counts.sum()
    size = min(4 + 0.5 * len(names), 14)
    ax = ax if ax is not None else new_axes(1, (size + 1, size))[0]
    _draw_matrix(ax, counts, [plain(name) for name in names])
    ax.set_title(f"Accuracy {accuracy:.1%} of {len(true):,} examples")
    return ax


@many_scripts
def plot_label_counts(
    labels: Sequence[Sequence[Any]],
    predicted: Sequence[Sequence[Any]],
    *,
    classes: Sequence[Any] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws how often each label was found, missed, and given wrongly.

    Args:
        labels: The labels that each text has.
        predicted: Those that it was given, for as many texts.
        classes: Order of the labels; None: all that occur, sorted.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The axes.

    Raises:
        ValueError: If lengths differ, there are no texts, or a label is not in
            `classes`.
    """
    if len(labels) != len(predicted) or not len(labels):
        raise ValueError(
            "`labels` and `predicted` must be equally long and not empty. Received: "
            f"{len(labels)} lists of labels and {len(predicted)} of predictions"
        )
    zipped = zip(labels, predicted, strict=True)
    pairs = [(set(true), set(given)) for true, given in zipped]
    occurring = set().union(*(true | given for true, given in pairs))
    names = sorted(occurring) if classes is None else list(classes)
    unknown = sorted(occurring - set(names), key=str)
    if unknown:
        raise ValueError(
            f"`classes` must name every label. Missing: {unknown[:5]}. "
            f"Received: classes={names}"
        )
    counts = {
        "found": [sum(n in true & given for true, given in pairs) for n in names],
        "missed": [sum(n in true - given for true, given in pairs) for n in names],
        "wrong": [-sum(n in given - true for true, given in pairs) for n in names],
    }
    if ax is None:
        ax = new_axes(1, (6.4, min(1.6 + 0.3 * len(names), 14)))[0]
    places = np.arange(len(names))
    ours = colors_of(ax)
    bars = {
        "found": (ours.main, 1.0),
        "missed": (ours.main, 0.45),
        "wrong": (ours.accent, 1.0),
    }
    for kind, (color, alpha) in bars.items():
        left = counts["found"] if kind == "missed" else None
        ax.barh(places, counts[kind], left=left, color=color, alpha=alpha, label=kind)
    tidy(ax)
    ax.set_yticks(places, [plain(name) for name in names])
    ax.invert_yaxis()
    whole_steps(ax)
    ax.xaxis.set_major_formatter(lambda value, _: f"{abs(value):,.10g}")
    ax.axvline(0, color=ours.ink, linewidth=0.8)
    right = sum(true == given for true, given in pairs) / len(pairs)
    ax.set(
        xlabel="texts", title=f"All labels right in {right:.1%} of {len(pairs):,} texts"
    )
    legend_beside(ax)
    return ax


@many_scripts
def plot_reliability(
    labels: Sequence[Any],
    probabilities: np.ndarray,
    *,
    classes: Sequence[Any],
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws how often answers are right that were given with a probability.

    Answers are parted into 15 bins by the probability of the likeliest class. Where
    bars end on the diagonal, probabilities mean what they say; the expected calibration
    error (Guo et al. 2017) is the mean distance from it. Grey bars at the bottom show
    how many of the answers each bin has, the tallest a fifth of the height.

    Args:
        labels: True labels.
        probabilities: `(n, num_classes)`, as `predict_proba` returns.
        classes: Labels in the order of the columns, `classes_`.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The axes.

    Raises:
        ValueError: If shapes do not fit, there are no labels, a label is not in
            `classes`, or a probability is not from 0 to 1.
    """
    # `classes_` is an array, whose elements print as NumPy's own types.
    true, names = (
        given.tolist() if isinstance(given, np.ndarray) else list(given)
        for given in (labels, classes)
    )
    shares = np.asarray(probabilities)
    if shares.shape != (len(true), len(names)) or not true:
        raise ValueError(
            "`probabilities` must have a row per label and a column per class, and one "
            f"row at least. Received: shape {shares.shape}, {len(true)} labels, "
            f"{len(names)} classes"
        )
    wrong = shares[~((shares >= 0) & (shares <= 1))]  # NaN as well
    if wrong.size:
        raise ValueError(f"`probabilities` must be from 0 to 1. Received: {wrong[0]}")
    unknown = sorted(set(true) - set(names), key=str)
    if unknown:
        raise ValueError(
            f"`classes` must name every label. Missing: {unknown[:5]}. "
            f"Received: classes={names}"
        )
    place = {name: index for index, name in enumerate(names)}
    right = shares.argmax(axis=1) == [place[name] for name in true]
    sure = shares.max(axis=1).astype(np.float64)
    # A bin has its upper end, and the first one 0 as well.
    bins = np.clip(np.ceil(sure * _BINS).astype(int) - 1, 0, _BINS - 1)
    counts = np.bincount(bins, minlength=_BINS)
    shown = np.flatnonzero(counts)
    hits = np.bincount(bins, right, minlength=_BINS)[shown] / counts[shown]
    means = np.bincount(bins, sure, minlength=_BINS)[shown] / counts[shown]
    error = float(np.abs(hits - means) @ counts[shown] / len(true))
    ax = ax if ax is not None else new_axes(1, (6.4, 4.4))[0]
    ours, middles = colors_of(ax), (shown + 0.5) / _BINS
    width = 0.9 / _BINS
    ax.bar(middles, hits, width, color=ours.main, alpha=0.6, label="share right")
    heights = 0.2 * counts[shown] / counts.max()
    ax.bar(middles, heights, width / 3, color=ours.other, label="number of answers")
    ax.plot(means, hits, "o", color=ours.accent, ms=4, label="mean probability")
    ax.plot([0, 1], [0, 1], "--", color=ours.ink, lw=1, label="calibrated")
    tidy(ax)
    ax.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share right")
    ax.set_xlabel("probability of the likeliest class")
    ax.set_title(f"Expected calibration error {error:.3f}, {len(true):,} answers")
    legend_beside(ax)
    return ax


def _draw_matrix(ax: "Axes", counts: np.ndarray, names: list[str]) -> None:
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    colorbar = ax.figure.colorbar(image, ax=ax, shrink=0.8)
    colorbar.set_label("share of the true class")
    colorbar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    places = np.arange(len(names))
    long = max(map(len, names)) > 8 or len(names) > 8
    ax.set_xticks(places, names, rotation=90 if long else 0)
    ax.set_yticks(places, names)
    ax.set(xlabel="predicted class", ylabel="true class")
    if len(names) > _MAX_ANNOTATED:
        return
    for row, column in itertools.product(range(len(names)), repeat=2):
        value = share[row, column]
        ax.text(
            column,
            row,
            f"{counts[row, column]:,}\n{value:.1%}",
            ha="center",
            va="center",
            color="white" if value > 0.5 else "black",
        )
