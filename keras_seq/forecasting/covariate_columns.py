"""Covariates read from the columns of a pandas frame."""

from typing import Any

import numpy as np
import pandas as pd

from keras_seq.forecasting.columns import (
    Columns,
    as_frame,
    check_time,
    refuse_rows,
)
from keras_seq.forecasting.covariates import (
    Covariates,
    Levels,
    find_ahead,
    lay_covariates,
    number_categories,
)


def read_covariates(
    frame: pd.DataFrame,
    columns: Columns,
    starts: np.ndarray,
    offsets: np.ndarray,
    rows: np.ndarray,
    levels: Levels | None = None,
) -> Covariates | None:
    """Takes the covariates out of a frame.

    Args:
        frame: Sorted by series and time.
        columns: Names of its columns.
        starts: int64, `(num_series,)`: the first row of each series in the frame.
        offsets: Of the panel.
        rows: int64, `(len(frame),)`: where each row of the frame is in the panel.
        levels: Those that `fit` learned, which also tell numbers from categories;
            None: by the columns' types.

    Returns:
        None where the columns name no covariates.
    """
    names = {kind: list(found) for kind, found in columns.covariates.items()}
    if not any(names.values()):
        return None
    given: Levels = levels or {}

    def read(kind: str, name: str) -> tuple[np.ndarray, list[Any] | float]:
        title = f"column {name!r} ({kind}_covariates)"
        return read_column(frame[name], title, given.get(name))

    def refuse(name: str) -> None:
        _refuse_varying(frame, columns, name)

    return lay_covariates(names, read, refuse, starts, offsets, rows)


def read_column(
    column: pd.Series, title: str, level: list[Any] | float | None = None
) -> tuple[np.ndarray, list[Any] | float]:
    """Numbers less a constant, or codes of categories.

    Strings and the category type are categories, also of numbers; booleans are
    numbers.

    Args:
        column: Values.
        title: Names the column in messages.
        level: What `read_column` gave for this column before.

    Returns:
        float64, `(len(column),)`, NaN where missing; and what they are relative to.
    """
    inferred = pd.api.types.infer_dtype(column, skipna=True)
    if level is None:
        categorical = inferred in ("string", "categorical")
    else:
        categorical = isinstance(level, list)
    if categorical:
        codes, uniques = pd.factorize(column)
        known = level if isinstance(level, list) else None
        numbers, known = number_categories([*map(_plain, uniques)], known, title)
        return np.array([*numbers, np.nan])[codes], known
    values = _to_numbers(column, title, inferred)
    if level is None:
        finite = np.flatnonzero(np.isfinite(values))
        level = float(values[finite[0]]) if len(finite) else 0.0
    return values - level, level


def read_ahead(
    covariates: Covariates,
    frame: Any,
    columns: Columns,
    ids: np.ndarray,
    stamps: pd.Index,
    positions: np.ndarray,
    whole: bool,
) -> tuple[np.ndarray, Levels]:
    """What a frame knows of the steps after each series.

    Rows of other series and of other steps are not read.

    Args:
        covariates: Of the panel.
        frame: Long frame of ids, stamps and future covariates.
        columns: Names of its columns.
        ids: Of the panel.
        stamps: Those that positions count, in order.
        positions: int64, `(num_series, steps)`: of the steps in question.
        whole: Whether every step must have a row; else it may be missing.

    Returns:
        float32, `(num_series, steps, num_future)`, and the levels of its columns.

    Raises:
        ValueError: Naming the missing series and stamps, or the column.
    """
    frame = as_frame(frame, columns)
    needed = [name for name in (columns.id, columns.time) if name is not None]
    for name in (*needed, *columns.future):
        if name not in frame:
            raise ValueError(
                f"`future` must have the columns {[*needed, *columns.future]}. "
                f"Received: {list(frame.columns)}, without {name!r}"
            )
    time = pd.Index(check_time(frame[columns.time], columns.time))
    series = np.zeros(len(frame), np.int64)
    if columns.id is not None:
        series = pd.Index(ids).get_indexer(pd.Index(frame[columns.id], dtype=object))
    steps = stamps.get_indexer(time) - positions[series, 0]
    found, repeated = find_ahead(series, steps, positions.shape)
    rule = f"`future` must have one row per series and {columns.time!r}; these repeat"
    refuse_rows(repeated, frame[needed], rule)
    if whole and (found < 0).any():
        unknown = len(frame) > 0 and bool((series < 0).all())
        _refuse_missing(found < 0, ids, stamps, positions, time, unknown)
    rows = np.full((*positions.shape, len(columns.future)), np.nan, np.float32)
    levels: Levels = {}
    for index, name in enumerate(columns.future):
        title = f"column {name!r} (future_covariates)"
        values, level = read_column(frame[name], title, covariates.levels[name])
        rows[..., index] = np.append(values, np.nan)[found]  # -1 is missing
        levels[name] = level
    return rows, levels


def _refuse_missing(
    missing: np.ndarray,
    ids: np.ndarray,
    stamps: pd.Index,
    positions: np.ndarray,
    time: pd.Index,
    unknown: bool,
) -> None:
    series, steps = np.nonzero(missing)
    shown = pd.DataFrame(
        {"series": ids[series], "missing": stamps[positions[series, steps]]}
    )
    span = f"{time.min()} to {time.max()}" if len(time) else "no rows"
    span += " of other series alone" * unknown
    raise ValueError(
        "`future` must have a row for each step to forecast of each series; a value "
        f"that is not known may be NaN. Received: {span}, without {len(shown)} steps "
        f"of {len(np.unique(series))} series, the first:\n"
        f"{shown.head(10).to_string(index=False)}"
    )


def _refuse_varying(frame: pd.DataFrame, columns: Columns, name: Any) -> None:
    if columns.id is None:
        values = pd.Series({"(the one series)": frame[name].dropna().unique().tolist()})
    else:
        groups = frame[[columns.id, name]].dropna().groupby(columns.id, sort=True)
        values = groups[name].agg(lambda column: column.unique().tolist())
        values = values[values.map(len) > 1]
    raise ValueError(
        f"Column {name!r} (static_covariates) must have one value per series. "
        f"{len(values)} series break this, the first:\n{values.head(5).to_string()}"
    )


def _to_numbers(column: pd.Series, title: str, inferred: str) -> np.ndarray:
    numeric = pd.api.types.is_numeric_dtype(column)
    if inferred in ("boolean", "decimal", "empty", "integer", "mixed-integer-float"):
        numeric = True
    if not numeric or pd.api.types.is_complex_dtype(column):
        raise ValueError(
            f"{title[0].upper()}{title[1:]} must hold numbers, booleans, strings or "
            f"categories, and the same as in `fit`. Received: {column.dtype} with "
            f"values such as {column.dropna().head(3).tolist()}"
        )
    values = pd.to_numeric(column).to_numpy(dtype=np.float64, na_value=np.nan)
    refuse_rows(np.isinf(values), column.to_frame(), f"{title} must be finite or NaN")
    return values


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python's own, which a file can hold."""
    return value.item() if isinstance(value, np.generic) else value
