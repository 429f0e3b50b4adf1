"""Corpus: texts with their class ids and weights."""

import warnings
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from keras_seq.text.labels import check_labels, encode_labels, learn_classes
from keras_seq.text.sources import Columns, TextFiles, are_file_names
from keras_seq.text.streaming import StreamedTexts, read_pairs
from keras_seq.text.texts import check_texts
from keras_seq.training.runtime import derive_seed


class Corpus(NamedTuple):
    """Texts, class ids (int32) and weights (float32), row by row."""

    texts: Collection[str]  # a list, or StreamedTexts
    targets: np.ndarray
    weights: np.ndarray

    def take(self, rows: np.ndarray) -> Self:
        """The given rows."""
        texts = self.texts
        if isinstance(texts, StreamedTexts):
            chosen: Collection[str] = texts.take(rows)
        else:
            held = list(texts)
            chosen = [held[row] for row in rows]
        return type(self)(chosen, self.targets[rows], self.weights[rows])

    def text_ids(self) -> np.ndarray:
        """Numbers that are equal for copies of a text, in order of appearance."""
        if isinstance(self.texts, StreamedTexts):
            return self.texts.text_ids()
        return pd.factorize(np.array(self.texts, dtype=object))[0]


def check_input(
    texts: Any,
    labels: Any,
    names: tuple[str, str] = ("texts", "labels"),
    columns: Columns | None = None,
    classes: np.ndarray | None = None,
) -> tuple[Collection[str], list[Any]]:
    """Texts and labels as they were given: in files, or as lists.

    Args:
        texts: Files, or texts.
        labels: Of texts; None beside files, which hold their own.
        names: Of the two arguments.
        columns: How files are read.
        classes: Known ones, by which labels in files are read; None: not known yet.
    """
    files = TextFiles.find(texts, columns or Columns(), labelled=True, name=names[0])
    if files is None:
        if labels is None and are_file_names(texts):
            raise TypeError(
                f"`{names[0]}` is a list of strings, which are texts and need "
                f"`{names[1]}`. In a list of files each is a pathlib.Path: "
                f"[Path({texts[0]!r}), ...]. Received: {names[1]}=None"
            )
        return check_pairs(texts, labels, names)
    if labels is not None:
        raise TypeError(
            f"`{names[1]}` must be None beside files, which hold them in the column "
            f"`label_col` or as names of folders. Received: {type(labels).__name__}"
        )
    return read_pairs(files, classes)


def check_pairs(
    texts: Sequence[str],
    labels: Sequence[Any],
    names: tuple[str, str] = ("texts", "labels"),
) -> tuple[list[str], list[Any]]:
    """Checks texts and labels, and that there are as many of both."""
    strings, values = check_texts(texts, names[0]), check_labels(labels, names[1])
    if len(values) != len(strings):
        raise ValueError(
            f"`{names[0]}` and `{names[1]}` must have the same length. "
            f"Received: {len(strings)} texts, {len(values)} labels"
        )
    return strings, values


def split_stratified(
    corpus: Corpus, classes: np.ndarray, share: float, seed: int
) -> tuple[Corpus, Corpus]:
    """Parts to train and to validate on, each class with about the same share.

    Copies of a text stay together, else validation would ask what training told. A
    class with a single text is trained on and, after a warning, not validated.

    Args:
        corpus: All that may be used.
        classes: Labels by class id.
        share: Of the distinct texts to validate on; at least one of each class is.
        seed: Of the drawing.

    Raises:
        ValueError: If there are too few texts.
    """
    text_id = corpus.text_ids()
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
        warnings.warn(
            "These classes have a single text, which is trained on and not validated: "
            f"{classes[counts < 2].tolist()[:5]}",
            stacklevel=4,
        )
    _, drawn = train_test_split(
        common,
        test_size=size,
        stratify=targets[common],
        random_state=derive_seed(seed, "validation"),
    )
    held = np.isin(text_id, drawn)
    return corpus.take(np.flatnonzero(~held)), corpus.take(np.flatnonzero(held))


def stratified_folds(
    texts: list[str], values: list[Any], count: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Row numbers to train and to validate on, fold by fold; copies stay together.

    Args:
        texts: Strings.
        values: Their labels.
        count: Number of folds.
        seed: Of the drawing.

    Raises:
        ValueError: If a class has fewer distinct texts than there are folds.
    """
    text_id, _ = pd.factorize(np.array(texts, dtype=object))
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
    yield from folds.split(texts, targets, text_id)
