"""Corpus: texts with their class ids and weights."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from keras_seq.errors import warn
from keras_seq.text.labels import (
    encode_label_lists,
    encode_labels,
    learn_classes,
    learn_listed_classes,
)
from keras_seq.text.stratification import deal_out, only_in_one, split_labels
from keras_seq.text.streaming import StreamedTexts
from keras_seq.training.runtime import derive_seed


class Corpus(NamedTuple):
    """Texts, targets and weights (float32), row by row.

    Targets are class ids, int32, `(n,)`, or where texts have several labels 0 and 1,
    float32, `(n, num_classes)`.
    """

    texts: list[str] | StreamedTexts
    targets: np.ndarray
    weights: np.ndarray

    def take(self, rows: np.ndarray) -> Self:
        """The given rows."""
        texts = take_texts(self.texts, rows)
        return type(self)(texts, self.targets[rows], self.weights[rows])

    def reweigh(self, by_class: np.ndarray) -> Self:
        """The same with each weight times that of its class, `(num_classes,)`."""
        weights = self.weights * by_class[self.targets].astype(np.float32)
        return self._replace(weights=weights)


def take_texts(
    texts: list[str] | StreamedTexts, rows: np.ndarray
) -> list[str] | StreamedTexts:
    """The given rows, in increasing order where texts are in files."""
    if isinstance(texts, StreamedTexts):
        return texts.take(rows)
    return [texts[row] for row in rows]


def number_texts(texts: list[str] | StreamedTexts) -> np.ndarray:
    """Numbers that are equal for copies of a text, in order of appearance."""
    if isinstance(texts, StreamedTexts):
        return texts.text_ids()
    return pd.factorize(np.array(texts, dtype=object))[0]


def split_stratified(
    corpus: Corpus, classes: np.ndarray, share: float, seed: int
) -> tuple[Corpus, Corpus]:
    """Parts to train and to validate on, each class with about the same share.

    Copies of a text stay together, else validation would ask what training told. A
    class with a single text is trained on and, after a warning, not validated; so is
    one of several labels whose texts the other labels put on one side.

    Args:
        corpus: All that may be used.
        classes: Labels by class id.
        share: Of the distinct texts to validate on; at least one of each class is.
        seed: Of the drawing.

    Raises:
        ValueError: If there are too few texts.
    """
    text_id = number_texts(corpus.texts)
    if corpus.targets.ndim == 2:
        random = np.random.default_rng(derive_seed(seed, "validation"))
        return _split_by_labels(corpus, text_id, classes, share, random)
    _, first = np.unique(text_id, return_index=True)
    targets = corpus.targets[first]  # of each distinct text
    counts = np.bincount(targets, minlength=len(classes))
    common = np.flatnonzero(counts[targets] > 1)
    num_classes = int((counts > 1).sum())
    size = max(round(share * len(targets)), num_classes)
    if num_classes == 0 or size > len(common) - num_classes:
        raise ValueError(
            "`texts` are too few to hold a stratified part back for validation: give "
            f"`validation_data`. Received: {len(targets)} distinct texts of "
            f"{len(classes)} classes"
        )
    if (counts < 2).any():
        warn(
            "These classes have a single text, which is trained on and not validated: "
            f"{classes[counts < 2].tolist()[:5]}"
        )
    _, drawn = train_test_split(
        common,
        test_size=size,
        stratify=targets[common],
        random_state=derive_seed(seed, "validation"),
    )
    rare = _one_of_each_left_out(drawn, targets, common)
    held = np.isin(text_id, np.append(drawn, rare))
    return corpus.take(np.flatnonzero(~held)), corpus.take(np.flatnonzero(held))


def _one_of_each_left_out(
    drawn: np.ndarray, targets: np.ndarray, common: np.ndarray
) -> np.ndarray:
    """A text of each class of which shares drew none."""
    labels, first = np.unique(targets[common], return_index=True)
    return common[first[~np.isin(labels, targets[drawn])]]


def _split_by_labels(
    corpus: Corpus,
    text_id: np.ndarray,
    classes: np.ndarray,
    share: float,
    random: np.random.Generator,
) -> tuple[Corpus, Corpus]:
    targets = _of_distinct_texts(corpus.targets, text_id)
    drawn = split_labels(targets, share, random)
    if not drawn.any() or drawn.all():
        raise ValueError(
            "`texts` are too few to hold a stratified part back for validation: give "
            f"`validation_data`. Received: {len(targets)} distinct texts with "
            f"{len(classes)} labels"
        )
    single = only_in_one(targets, drawn)
    if len(single):
        warn(
            "These labels have a single text, or come with others that have, and are "
            f"trained on and not validated: {classes[single].tolist()[:5]}"
        )
    held = drawn[text_id]
    return corpus.take(np.flatnonzero(~held)), corpus.take(np.flatnonzero(held))


def _of_distinct_texts(targets: np.ndarray, text_id: np.ndarray) -> np.ndarray:
    """The labels that any copy of a text has: `(num_distinct, num_classes)`."""
    joint = np.zeros((text_id.max() + 1, targets.shape[1]), targets.dtype)
    np.maximum.at(joint, text_id, targets)
    return joint


def stratified_folds(
    texts: list[str] | StreamedTexts,
    values: list[Any],
    count: int,
    seed: int,
    multi_label: bool = False,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Row numbers to train and to validate on, fold by fold; copies stay together.

    Args:
        texts: Strings, as a list or in files.
        values: Their labels.
        count: Number of folds.
        seed: Of the drawing.
        multi_label: Whether values are lists of labels.

    Raises:
        ValueError: If a class has fewer distinct texts than there are folds; of several
            labels, if one would be in a single fold and so be learned without it.
    """
    text_id = number_texts(texts)
    if multi_label:
        yield from _label_folds(values, text_id, count, seed)
        return
    classes = learn_classes(values)
    targets = encode_labels(values, classes)
    distinct = pd.Series(text_id).groupby(targets).nunique().to_numpy()
    if distinct.min() < count:
        scarce = classes[distinct.argmin()].item()
        raise ValueError(
            "`folds` must not exceed the number of distinct texts of any class. "
            f"Received: folds={count}, and {distinct.min()} of class {scarce!r}"
        )
    folds = StratifiedGroupKFold(
        count, shuffle=True, random_state=derive_seed(seed, "folds")
    )
    yield from folds.split(targets, targets, text_id)


def _label_folds(
    lists: list[list[Any]], text_id: np.ndarray, count: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    classes = learn_listed_classes(lists)
    targets = _of_distinct_texts(encode_label_lists(lists, classes), text_id)
    if count > len(targets):
        raise ValueError(
            "`folds` must not exceed the number of distinct texts. Received: "
            f"folds={count}, and {len(targets)} distinct texts"
        )
    random = np.random.default_rng(derive_seed(seed, "folds"))
    wanted = np.append(targets.sum(axis=0), len(targets)) / count
    parts = deal_out(targets, np.tile(wanted, (count, 1)), random)
    single = only_in_one(targets, parts)
    if len(single):
        raise ValueError(
            "`folds` needs two distinct texts of each label, so that each is among "
            "those to train on. Too few have these labels: "
            f"{classes[single].tolist()[:5]}. Received: folds={count}"
        )
    for fold in range(count):
        held = parts[text_id] == fold
        yield np.flatnonzero(~held), np.flatnonzero(held)
