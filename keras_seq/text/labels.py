"""Labels: str, int or bool to class ids and back, the type kept."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_seq.text.texts import is_missing


def check_labels(labels: Sequence[Any], name: str = "labels") -> list[Any]:
    """Returns labels as Python values of one type: str, int or bool.

    Raises:
        TypeError: If they are of another type or mixed.
        ValueError: If any is missing.
    """
    if isinstance(labels, str | bytes) or not hasattr(labels, "__iter__"):
        raise TypeError(f"`{name}` must be a list of labels. Received: {labels!r}")
    values = [v.item() if isinstance(v, np.generic) else v for v in labels]
    missing = [row for row, value in enumerate(values) if is_missing(value)]
    if missing:
        raise ValueError(
            f"`{name}` must not have missing values. Received None or NaN in "
            f"{len(missing)} rows, the first: {missing[:5]}"
        )
    kinds = {type(value) for value in values}
    if len(kinds) > 1 or not kinds <= {str, int, bool}:
        raise TypeError(
            f"`{name}` must all be str, all int or all bool. Received: "
            f"{sorted(kind.__name__ for kind in kinds)}"
        )
    return values


def learn_classes(values: Sequence[Any], name: str = "labels") -> np.ndarray:
    """The distinct labels in order; needs at least two."""
    classes = np.array(sorted(set(values)))
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
