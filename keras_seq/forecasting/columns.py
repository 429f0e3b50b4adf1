"""The columns of a pandas frame, and the checks of what they hold."""

from typing import Any

import numpy as np
import pandas as pd

from keras_seq.errors import did_you_mean
from keras_seq.forecasting.names import Columns

__all__ = [
    "Columns",
    "as_frame",
    "check_columns",
    "check_target",
    "check_time",
    "from_polars",
    "refuse_rows",
]

# What pandas calls numbers in columns of objects.
_NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal")


def as_frame(frame: Any, columns: Columns) -> pd.DataFrame:
    """A pandas frame, made of a Series or of a polars frame where need be."""
    if isinstance(frame, pd.Series):
        name = "series" if frame.name is None else frame.name
        fields = {columns.time: frame.index, columns.target: frame.to_numpy()}
        if columns.id is not None:
            fields = {columns.id: name, **fields}
        return pd.DataFrame(fields)
    frame = from_polars(frame)
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(
            "The data must be a pandas DataFrame in long format, a Series with a "
            f"DatetimeIndex, or a polars DataFrame. Received: {type(frame).__name__}"
        )
    return frame


def from_polars(frame: Any) -> Any:
    """A polars frame as a pandas one; all else as it is. Does not import polars."""
    if type(frame).__module__.partition(".")[0] != "polars":
        return frame
    if hasattr(frame, "collect"):
        raise TypeError(
            "A polars LazyFrame has no rows yet: give frame.collect(). "
            f"Received: {type(frame).__name__}"
        )
    return frame.to_pandas()


def check_columns(frame: pd.DataFrame, columns: Columns) -> None:
    """Raises unless the frame has rows, and every column that is named."""
    for name, role in columns.roles().items():
        if name not in frame:
            known = [str(column) for column in frame.columns]
            raise ValueError(
                f"The frame has no column {name!r} ({role})."
                f"{did_you_mean(str(name), known)} Its columns are: {', '.join(known)}."
            )
        count = list(frame.columns).count(name)
        if count > 1:
            raise ValueError(
                f"The frame must have one column {name!r} ({role}). Received: {count}"
            )
    if not len(frame):
        raise ValueError("The frame has no rows.")


def check_target(frame: pd.DataFrame, columns: Columns) -> np.ndarray:
    """The target as float64, NaN where missing; raises unless it holds numbers."""
    name = columns.target
    column = frame[name]
    if column.dtype == object and pd.api.types.infer_dtype(column) in _NUMBERS:
        column = column.where(column.notna(), np.nan).astype(np.float64)
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_complex_dtype(
        column
    ):
        wrong = pd.to_numeric(column, errors="coerce").isna() & column.notna()
        shown = column[wrong if wrong.any() else column.notna()].head(3).tolist()
        raise ValueError(
            f"Column {name!r} must hold numbers. Received: {column.dtype} with values "
            f"such as {shown}"
        )
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    rule = f"column {name!r} must be finite or NaN"
    refuse_rows(np.isinf(values), frame, rule, columns)
    return values


def check_time(column: pd.Series, name: str) -> Any:
    """Returns a DatetimeIndex or an int64 array."""
    refuse_rows(
        column.isna().to_numpy(),
        column.to_frame(),
        f"column {name!r} must not have missing values",
    )
    if pd.api.types.is_datetime64_any_dtype(column):
        return pd.DatetimeIndex(column)
    if pd.api.types.is_integer_dtype(column):
        return column.to_numpy(dtype=np.int64)
    zones = {str(getattr(v, "tzinfo", "no")) for v in column if hasattr(v, "tzinfo")}
    if len(zones) > 1:
        raise ValueError(
            f"Column {name!r} mixes time zones ({', '.join(sorted(zones))}): bring "
            "them to one with pd.to_datetime(column, utc=True)."
        )
    raise ValueError(
        f"Column {name!r} must hold timestamps or whole numbers (pd.to_datetime makes "
        f"timestamps). Received: {column.dtype} with values such as "
        f"{column.head(3).tolist()}"
    )


def refuse_rows(
    wrong: np.ndarray,
    frame: pd.DataFrame,
    rule: str,
    columns: Columns | None = None,
) -> None:
    """Raises if any row breaks a rule, and shows the first that do."""
    if not wrong.any():
        return
    rows = frame[wrong]
    if columns:
        rows = rows[columns.names()]
    raise ValueError(
        f"{rule[0].upper()}{rule[1:]}. {int(wrong.sum())} of {len(frame)} rows break "
        f"this, the first:\n{rows.head(5).to_string()}"
    )
