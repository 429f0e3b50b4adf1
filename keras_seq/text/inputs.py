"""What `fit` and its like are given, texts in lists or in files, checked."""

from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np

from keras_seq.errors import warn
from keras_seq.text.labels import check_label_lists, check_labels
from keras_seq.text.sources import Columns, TextFiles, are_file_names
from keras_seq.text.streaming import StreamedTexts, read_pairs
from keras_seq.text.texts import check_texts

# In memory, or files.
Texts = Sequence[str] | str | PathLike[str] | Sequence[PathLike[str]] | StreamedTexts


def check_input(
    texts: Any,
    labels: Any,
    *,
    names: tuple[str, str] = ("texts", "labels"),
    columns: Columns | None = None,
    classes: np.ndarray | None = None,
    multi_label: bool = False,
) -> tuple[list[str] | StreamedTexts, list[Any]]:
    """Texts and labels, as many of both.

    Args:
        texts: A list, or files.
        labels: Of a list of texts; None beside files, which hold their own.
        names: Of the two arguments.
        columns: How files are read.
        classes: Known ones, by which labels in files are read; None: not known yet.
        multi_label: Whether each text has a list of labels.

    Raises:
        TypeError, ValueError: If the input breaks a rule; the message names the
            argument and the first rows, or file and line.
    """
    columns = columns or Columns()
    if isinstance(texts, StreamedTexts):  # a fold of those that were read before
        return texts, _check_labels(labels, names[1], multi_label)
    files = TextFiles.find(texts, columns, True, multi_label, names[0])
    if files is None:
        if labels is None and are_file_names(texts):
            raise TypeError(
                f"`{names[0]}` is a list of strings, which are texts and need "
                f"`{names[1]}`. In a list of files each is a pathlib.Path: "
                f"[Path({texts[0]!r}), ...]. Received: {names[1]}=None"
            )
        return check_pairs(texts, labels, names, multi_label)
    if labels is not None:
        raise TypeError(
            f"`{names[1]}` must be None beside files, which hold them in the column "
            f"`label_col` or as names of folders. Received: {type(labels).__name__}"
        )
    return read_pairs(files, classes)


def check_validation(
    given: Any, *, columns: Columns, classes: np.ndarray, multi_label: bool
) -> tuple[list[str] | StreamedTexts, list[Any]]:
    """The same for `validation_data`: a pair, or files."""
    names = ("validation_data[0]", "validation_data[1]")
    if are_files(given):
        given, names = (given, None), ("validation_data", "validation_data")
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise ValueError(
            "`validation_data` must be a pair, (texts, labels). "
            f"Received: {type(given).__name__}"
        )
    return check_input(
        given[0],
        given[1],
        names=names,
        columns=columns,
        classes=classes,
        multi_label=multi_label,
    )


def check_unlabelled(texts: Any, columns: Columns) -> list[str] | StreamedTexts:
    """Texts to label: a list, or files; names of files in a list are warned of."""
    if isinstance(texts, StreamedTexts):
        return texts
    files = TextFiles.find(texts, columns, labelled=False)
    if files is not None:
        return StreamedTexts(files)
    columns.refuse()
    if are_file_names(texts):
        warn(
            "A list of strings is texts, and these look like names of files: give "
            f"each as pathlib.Path to read it. Received: {texts!r:.60}"
        )
    return check_texts(texts)


def check_pairs(
    texts: Sequence[str],
    labels: Sequence[Any],
    names: tuple[str, str] = ("texts", "labels"),
    multi_label: bool = False,
) -> tuple[list[str], list[Any]]:
    """Checks texts and labels, and that there are as many of both."""
    strings = check_texts(texts, names[0])
    values = _check_labels(labels, names[1], multi_label)
    if len(values) != len(strings):
        raise ValueError(
            f"`{names[0]}` and `{names[1]}` must have the same length. "
            f"Received: {len(strings)} texts, {len(values)} labels"
        )
    return strings, values


def are_files(given: Any) -> bool:
    """Whether data to validate on are files and no pair of texts and labels."""
    if isinstance(given, list | tuple):
        return bool(given) and all(isinstance(item, PathLike) for item in given)
    return isinstance(given, str | PathLike)


def _check_labels(labels: Any, name: str, multi_label: bool) -> list[Any]:
    check = check_label_lists if multi_label else check_labels
    return check(labels, name)
