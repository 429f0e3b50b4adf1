"""The columns of a long frame, and the checks of what they hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from keras_seq.errors import did_you_mean

KINDS = ("static", "past", "future")  # of covariates


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a long frame; `id` None means one single series.

    The covariates of a series, those known up to the last step, and those known ahead
    are `static`, `past` and `future`.
    """

    id: str | None = "unique_id"
    time: str = "ds"
    target: str = "y"
    static: Sequence[str] = ()
    past: Sequence[str] = ()
    future: Sequence[str] = ()

    def names(self) -> list[str]:
        """The columns of id, time and target."""
        return [name for name in (self.id, self.time, self.target) if name is not None]

    @property
    def covariates(self) -> dict[str, tuple[str, ...]]:
        """Names of the covariates by their kind."""
        return {kind: tuple(getattr(self, kind)) for kind in KINDS}

    def roles(self) -> dict[str, str]:
        """Each column that a frame must have, and the argument that names it.

        Raises:
            ValueError: If a column has two roles, or an argument is not a list.
        """
        named = {"id_col": self.id, "time_col": self.time, "target_col": self.target}
        roles = {name: role for role, name in named.items() if name is not None}
        for kind in KINDS:
            role, names = f"{kind}_covariates", getattr(self, kind)
            if not isinstance(names, list | tuple):
                raise ValueError(
                    f"`{role}` must be a list of column names. Received: "
                    f"{role}={names!r}"
                )
            for name in names:
                if name in roles:
                    raise ValueError(
                        f"`{role}` must name columns that have no other role, each "
                        f"once. Received: {role}={list(names)!r}, where {name!r} is "
                        f"in `{roles[name]}` already"
                    )
                roles[name] = role
        return roles

    def without_covariates(self) -> Self:
        """The columns of id, time and target alone."""
        return type(self)(self.id, self.time, self.target)

    def rename(self, frame: pd.DataFrame) -> pd.DataFrame:
        """From our names, `unique_id`, `ds` and `y`, to the user's."""
        if self.id is None:
            frame = frame.drop(columns="unique_id")
        names = {"unique_id": self.id, "ds": self.time, "y": self.target}
        return frame.rename(columns=names)

    def restore(self, frame: pd.DataFrame) -> pd.DataFrame:
        """From the user's names to ours; undoes `rename`."""
        if self.id is None:
            frame = frame.assign(unique_id="series")
        names = {self.id: "unique_id", self.time: "ds", self.target: "y"}
        return frame.rename(columns=names)


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
    if not len(frame):
        raise ValueError("The frame has no rows.")


def check_target(column: pd.Series, name: str) -> np.ndarray:
    """The target as float64, NaN where missing; raises unless it holds numbers."""
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
    refuse_rows(
        np.isinf(values), column.to_frame(), f"column {name!r} must be finite or NaN"
    )
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
