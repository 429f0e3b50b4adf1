"""Checks of raw texts and weights."""

import sys
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np


def is_missing(value: Any) -> bool:
    """Whether a single value is None, NaN, NaT or pandas' NA."""
    pandas = sys.modules.get("pandas")  # who has a value of its kind has loaded it
    if pandas is None:
        return value is None or (isinstance(value, float) and value != value)
    return bool(pandas.api.types.is_scalar(value) and pandas.isna(value))


def check_texts(texts: Sequence[str], name: str = "texts") -> list[str]:
    """Returns texts as a list of strings.

    Raises:
        TypeError: If it is one string, a table, or holds anything but strings.
        ValueError: If it is empty, or a text is missing (None, NaN).
    """
    if isinstance(texts, str | bytes):
        raise TypeError(
            f"`{name}` must be a list of strings: pass a list, [text], for a single "
            f"one. Received: {texts[:60]!r}"
        )
    # Iterating over a table gives its column names: strings, and never what is meant.
    table = isinstance(texts, Mapping) or type(texts).__name__ == "DataFrame"
    if table or not hasattr(texts, "__iter__"):
        raise TypeError(
            f"`{name}` must be a list, an array or a Series of strings. "
            f"Received: {type(texts).__name__}"
        )
    values = list(texts)
    if not values:
        raise ValueError(f"`{name}` must hold at least one text. Received: none")
    wrong = [row for row, value in enumerate(values) if not isinstance(value, str)]
    if wrong:
        shown = {row: values[row] for row in wrong[:5]}
        if any(isinstance(value, PathLike) for value in shown.values()):
            raise TypeError(
                f"`{name}` must be texts or files, and not both: a list of files must "
                f"hold pathlib.Path only. Received (row: value): {shown}"
            )
        missing = all(is_missing(value) for value in shown.values())
        rule = "must not have missing values" if missing else "must all be strings"
        kind: Any = ValueError if missing else TypeError
        raise kind(
            f"`{name}` {rule}. {len(wrong)} of {len(values)} rows break this, the "
            f"first (row: value): {shown}"
        )
    return values


def check_weights(weights: Sequence[float] | None, count: int) -> np.ndarray:
    """Returns float32 weights, `(count,)`; ones for None."""
    if weights is None:
        return np.ones(count, np.float32)
    array = np.asarray(weights, dtype=np.float32)
    if array.shape != (count,) or not (np.isfinite(array) & (array >= 0)).all():
        raise ValueError(
            f"`sample_weight` must hold {count} finite numbers of at least 0. "
            f"Received: shape {array.shape}, least {array.min(initial=0):g}"
        )
    if not array.any():
        raise ValueError(
            "`sample_weight` must have a weight above 0. Received: zeros only"
        )
    return array
