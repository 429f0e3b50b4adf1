"""Labels, one per text or several: checked, to class ids and back, the type kept."""

import math
import numbers
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from keras_seq.errors import did_you_mean
from keras_seq.text.texts import is_missing


def check_labels(labels: Sequence[Any], name: str = "labels") -> list[Any]:
    """Returns labels as Python values of one type: str, int or bool.

    Raises:
        TypeError: If they are of another type or mixed.
        ValueError: If any is missing.
    """
    if isinstance(labels, str | bytes) or not hasattr(labels, "__iter__"):
        raise TypeError(f"`{name}` must be a list of labels. Received: {labels!r}")
    values = [_plain(value) for value in labels]
    missing = [row for row, value in enumerate(values) if is_missing(value)]
    if missing:
        raise ValueError(
            f"`{name}` must not have missing values. Received None or NaN in "
            f"{len(missing)} rows, the first: {missing[:5]}"
        )
    kinds = {type(value) for value in values}
    if kinds & {list, tuple, set, frozenset}:
        raise TypeError(
            f"`{name}` must be one label per text; for several give multi_label=True. "
            f"Received: {labels[0] if isinstance(labels, list) else labels!r}, ..."
        )
    if len(kinds) > 1 or not kinds <= {str, int, bool}:
        raise TypeError(
            f"`{name}` must all be str, all int or all bool. Received: "
            f"{sorted(kind.__name__ for kind in kinds)}"
        )
    return values


def learn_classes(values: Sequence[Any], name: str = "labels") -> np.ndarray:
    """The distinct labels in order; needs at least two."""
    classes = _as_array(set(values), name)
    if len(classes) < 2:
        raise ValueError(
            f"`{name}` must hold at least two classes. "
            f"Received only: {classes.tolist()}"
        )
    return classes


def encode_labels(
    values: Sequence[Any], classes: np.ndarray, name: str = "labels"
) -> np.ndarray:
    """Class ids, int32; a label that is none of the classes raises ValueError."""
    known = {value: i for i, value in enumerate(classes.tolist())}
    # True equals 1 in a dict, so the type is looked at as well.
    kind = type(classes[:1].tolist()[0])
    unknown = [v for v in values if v not in known or type(v) is not kind]
    if unknown:
        raise ValueError(
            f"`{name}` must be among the classes seen in `fit`, "
            f"{classes.tolist()[:20]}. Received: {list(dict.fromkeys(unknown))[:5]}"
        )
    return np.array([known[value] for value in values], dtype=np.int32)


def check_label_lists(labels: Sequence[Any], name: str = "labels") -> list[list[Any]]:
    """Returns the labels of each text as a list of str or of int; it may be empty.

    Args:
        labels: Lists, tuples, sets or 1-d arrays.
        name: Of the argument.

    Raises:
        TypeError: If a text has something else, or labels are of other types or mixed.
        ValueError: If a label is missing, or given twice to one text.
    """
    table = isinstance(labels, pd.DataFrame | Mapping)
    if table or (isinstance(labels, np.ndarray) and labels.ndim > 1):
        raise TypeError(
            f"`{name}` must hold a list of labels per text: a table of 0 and 1 has no "
            "names. Pass [[names[j] for j in np.flatnonzero(row)] for row in table]. "
            f"Received: {type(labels).__name__}"
        )
    if isinstance(labels, str | bytes) or not hasattr(labels, "__iter__"):
        raise TypeError(
            f"`{name}` must hold a list of labels per text. Received: {labels!r}"
        )
    # A column of polars has lists of its own kind.
    rows = labels.to_list() if hasattr(labels, "to_list") else list(labels)
    wrong = [row for row, given in enumerate(rows) if not _is_list(given)]
    if wrong:
        shown = {row: rows[row] for row in wrong[:5]}
        raise TypeError(
            f"`{name}` must hold a list of labels per text, [] for none, since "
            f"multi_label=True. {len(wrong)} of {len(rows)} rows break this, the first "
            f"(row: value): {shown}"
        )
    lists = [[_plain(label) for label in given] for given in rows]
    _check_each_list(lists, name)
    return lists


def _is_list(value: Any) -> bool:
    array = isinstance(value, np.ndarray) and value.ndim == 1
    return array or isinstance(value, list | tuple | set | frozenset)


def _check_each_list(lists: list[list[Any]], name: str) -> None:
    kinds: set[type] = set()
    for row, given in enumerate(lists):
        if any(is_missing(label) for label in given):
            raise ValueError(
                f"`{name}` must not have missing labels; [] is a text without any. "
                f"Received None or NaN in row {row}: {given}"
            )
        kinds |= {type(label) for label in given}
        if kinds <= {str, int} and len(set(given)) < len(given):
            raise ValueError(
                f"`{name}` must not give a text one label twice; a row of 0 and 1 is "
                f"no list of labels. Received in row {row}: {given}"
            )
    if len(kinds) > 1 or not kinds <= {str, int}:
        raise TypeError(
            f"`{name}` must hold lists of str, or lists of int. Received: "
            f"{sorted(kind.__name__ for kind in kinds)}"
        )


def learn_listed_classes(
    lists: Sequence[Sequence[Any]], name: str = "labels"
) -> np.ndarray:
    """The distinct labels of all texts in order; needs at least one."""
    distinct = {label for given in lists for label in given}
    if not distinct:
        raise ValueError(f"`{name}` must hold at least one label. Received: none")
    return _as_array(distinct, name)


def _as_array(distinct: Collection[Any], name: str) -> np.ndarray:
    """In order, as NumPy has them, which drops null characters at the end."""
    cut = [label for label in distinct if isinstance(label, str) and label[-1:] == "\0"]
    if cut:
        raise ValueError(
            f"`{name}` must not end in null characters. Received: {cut[0]!r}"
        )
    return np.array(sorted(distinct))


def encode_label_lists(
    lists: Sequence[Sequence[Any]], classes: np.ndarray, name: str = "labels"
) -> np.ndarray:
    """0 and 1, float32, `(n, num_classes)`; an unknown label raises ValueError."""
    counts = [len(given) for given in lists]
    columns = encode_labels([v for given in lists for v in given], classes, name)
    targets = np.zeros((len(lists), len(classes)), np.float32)
    targets[np.repeat(np.arange(len(lists)), counts), columns] = 1.0
    return targets


def encode(
    values: Sequence[Any], classes: np.ndarray, multi_label: bool, name: str = "labels"
) -> np.ndarray:
    """Targets of either kind: of `encode_label_lists`, or of `encode_labels`."""
    if multi_label:
        return encode_label_lists(values, classes, name)
    return encode_labels(values, classes, name)


def check_class_weight(
    class_weight: str | Mapping[Any, float] | None, classes: np.ndarray
) -> None:
    """Raises ValueError unless it is None, "balanced", or weights of known classes."""
    if class_weight is None or (
        isinstance(class_weight, str) and class_weight == "balanced"
    ):
        return
    if not isinstance(class_weight, Mapping):
        hint = ""
        if isinstance(class_weight, str):
            hint = did_you_mean(class_weight, ["balanced"])
        raise ValueError(
            "`class_weight` must be None, 'balanced' or a dict {label: weight}."
            f"{hint} Received: class_weight={class_weight!r}"
        )
    labels = [_plain(label) for label in class_weight]
    encode_labels(labels, classes, "class_weight")
    for label, weight in class_weight.items():
        real = isinstance(weight, numbers.Real) and not isinstance(weight, bool)
        if not real or not 0 < weight < math.inf:
            raise ValueError(
                "`class_weight` must hold finite numbers above 0. "
                f"Received: {weight!r} for the class {label!r}"
            )


def weigh_classes(
    class_weight: str | Mapping[Any, float] | None,
    targets: np.ndarray,
    weights: np.ndarray,
    classes: np.ndarray,
) -> np.ndarray:
    """By how much the weights of a class's texts are multiplied.

    Args:
        class_weight: Checked. `"balanced"` is n / (num_classes * count), where texts
            count with their weights, so that one of weight 2 is as two.
        targets: Class ids of the training texts, `(n,)`.
        weights: Of the training texts, `(n,)`.
        classes: Labels by class id.

    Returns:
        float64, `(num_classes,)`; 1 for classes that `class_weight` leaves out or that
        no training text has.
    """
    if class_weight is None:
        return np.ones(len(classes))
    if isinstance(class_weight, str):
        counts = np.bincount(targets, weights, minlength=len(classes))
        balanced = counts.sum() / (len(classes) * np.maximum(counts, 1e-12))
        return np.where(counts > 0, balanced, 1.0)
    given = {_plain(label): float(weight) for label, weight in class_weight.items()}
    return np.array([given.get(label, 1.0) for label in classes.tolist()])


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python's own."""
    return value.item() if isinstance(value, np.generic) else value
