"""Panel: a long frame, checked and laid flat on a regular time grid."""

import warnings
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from keras_seq.errors import check_integer, did_you_mean


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a long frame; `id` None means one single series."""

    id: str | None = "unique_id"
    time: str = "ds"
    target: str = "y"

    def names(self) -> list[str]:
        """The columns a frame must have."""
        return [name for name in (self.id, self.time, self.target) if name is not None]

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


@dataclass(frozen=True)
class TimeGrid:
    """Regular stamps: `start`, `start + freq`, ...

    Attributes:
        freq: A pandas frequency string, or a whole number for integer stamps.
        start: Stamp at position 0.
    """

    freq: str | int
    start: Any

    def stamps(self, first: int, count: int) -> Any:
        """The `count` stamps from position `first` on, which may be negative."""
        if isinstance(self.freq, int):
            return pd.Index(self.start + self.freq * np.arange(first, first + count))
        before = pd.date_range(
            end=self.start, periods=max(-first, 0) + 1, freq=self.freq
        )
        after = max(first + count, 0)
        index = pd.date_range(before[0], periods=after + max(-first, 0), freq=self.freq)
        index = index[max(first, 0) : max(first, 0) + count]
        return index.as_unit(self.start.unit)


@dataclass(frozen=True)
class Panel:
    """Many series as one flat array, gaps filled with NaN.

    Attributes:
        ids: `(num_series,)`, sorted.
        offsets: int64, `(num_series + 1,)`; series i is
            `values[offsets[i]:offsets[i + 1]]`.
        values: float64, in the unit of the target column; NaN is missing.
        first: int64, `(num_series,)`: the grid position of each series' first step.
        grid: The stamps all series share.
    """

    ids: np.ndarray
    offsets: np.ndarray
    values: np.ndarray
    first: np.ndarray
    grid: TimeGrid

    @property
    def lengths(self) -> np.ndarray:
        """Steps of each series, gaps included: int64, `(num_series,)`."""
        return np.diff(self.offsets)

    @property
    def end(self) -> int:
        """The grid position just after the last step of any series."""
        return int((self.first + self.lengths).max())

    def last_stamps(self) -> pd.Series:
        """The stamp of each series' last step, indexed by id."""
        stamps = self.grid.stamps(0, self.end)[self.first + self.lengths - 1]
        return pd.Series(stamps, index=pd.Index(self.ids, name="unique_id"))

    def observed(self) -> pd.DataFrame:
        """Back to a long frame: `unique_id`, `ds`, `y` of the steps with a value."""
        frame = self.to_frame()
        return frame[frame["y"].notna()].reset_index(drop=True)

    def to_frame(self) -> pd.DataFrame:
        """Back to a long frame: `unique_id`, `ds`, `y`, gaps as NaN."""
        steps = np.arange(len(self.values)) - np.repeat(self.offsets[:-1], self.lengths)
        positions = np.repeat(self.first, self.lengths) + steps
        return pd.DataFrame(
            {
                "unique_id": np.repeat(self.ids, self.lengths),
                "ds": self.grid.stamps(0, self.end)[positions],
                "y": self.values,
            }
        )

    def until(self, position: int) -> Self:
        """The part before a grid position; series that begin later are left out."""
        kept = np.clip(position - self.first, 0, self.lengths)
        return self._part(np.zeros_like(kept), kept)

    def tail(self, steps: int) -> Self:
        """The last `steps` of each series."""
        return self._part(np.maximum(self.lengths - steps, 0), self.lengths)

    def get_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON-able values and arrays that `from_state` takes."""
        start = self.grid.start
        state = {
            "ids": [getattr(i, "item", lambda i=i: i)() for i in self.ids],
            "freq": self.grid.freq,
            "start": start if isinstance(start, int) else start.isoformat(),
            "unit": None if isinstance(start, int) else start.unit,
            "tz": None if isinstance(start, int) or not start.tz else str(start.tz),
        }
        arrays = {
            "tail/offsets": self.offsets,
            "tail/values": self.values,
            "tail/first": self.first,
        }
        return state, arrays

    @classmethod
    def from_state(cls, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """Rebuilds a panel from `get_state`."""
        start = state["start"]
        if not isinstance(start, int):
            start = pd.Timestamp(start).as_unit(state["unit"])
            start = start.tz_convert(state["tz"]) if state["tz"] else start
        return cls(
            np.array(state["ids"], dtype=object),
            arrays["tail/offsets"],
            arrays["tail/values"],
            arrays["tail/first"],
            TimeGrid(state["freq"], start),
        )

    def _part(self, low: np.ndarray, high: np.ndarray) -> Self:
        """Steps `low[i]:high[i]` of each series; empty ones are left out."""
        kept = high > low
        lengths = (high - low)[kept]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        starts = (self.offsets[:-1] + low)[kept]
        flat = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        first = (self.first + low)[kept]
        return type(self)(self.ids[kept], offsets, self.values[flat], first, self.grid)


def make_panel(
    frame: pd.DataFrame | pd.Series,
    columns: Columns,
    freq: str | int | None = None,
) -> Panel:
    """Checks a long frame and lays it on a regular grid.

    Rows may stand in any order; steps without a row become NaN.

    Args:
        frame: One row per series and time step; or a Series with a DatetimeIndex
            (or integer index), which is one series.
        columns: Names of its columns.
        freq: Time step; None infers it.

    Raises:
        ValueError: Naming the column, the rule and the first offending rows.
    """
    frame = _as_frame(frame, columns)
    _check_columns(frame, columns)
    target = _check_target(frame[columns.target], columns.target)
    time = _check_time(frame[columns.time], columns.time)
    if columns.id is None:
        codes, ids = np.zeros(len(frame), np.int64), np.array(["series"], dtype=object)
    else:
        codes, uniques = pd.factorize(frame[columns.id], sort=True)
        ids = np.asarray(uniques, dtype=object)
        _refuse_rows(
            codes < 0, frame, f"column {columns.id!r} must not have missing values"
        )
    stamps = pd.Index(time)
    order = np.lexsort((stamps.asi8 if hasattr(stamps, "asi8") else time, codes))
    frame, codes, stamps = frame.iloc[order], codes[order], stamps[order]
    repeated = (codes[1:] == codes[:-1]) & (stamps[1:] == stamps[:-1])
    _refuse_rows(
        np.concatenate([[False], repeated]),
        frame,
        f"each series must have one row per {columns.time!r}; these are repeated",
        columns,
    )
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    bounds = np.append(starts, len(codes))
    grid, positions = _lay_on_grid(frame, stamps, bounds, columns, freq)
    first, last = positions[starts], positions[bounds[1:] - 1]
    offsets = np.concatenate([[0], np.cumsum(last - first + 1)])
    values = np.full(offsets[-1], np.nan)
    values[positions - np.repeat(first - offsets[:-1], np.diff(bounds))] = target[order]
    return Panel(ids, offsets, values, first, grid)


def cut_frame(frame: pd.DataFrame | pd.Series, columns: Columns, last: Any) -> Any:
    """The rows of a long frame that lie no later than a stamp."""
    frame = _as_frame(frame, columns)
    return frame[_check_time(frame[columns.time], columns.time) <= last]


def _as_frame(frame: Any, columns: Columns) -> pd.DataFrame:
    if isinstance(frame, pd.Series):
        name = "series" if frame.name is None else frame.name
        fields = {columns.time: frame.index, columns.target: frame.to_numpy()}
        if columns.id is not None:
            fields = {columns.id: name, **fields}
        return pd.DataFrame(fields)
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(
            "The data must be a pandas DataFrame in long format, or a Series with a "
            f"DatetimeIndex. Received: {type(frame).__name__}"
        )
    return frame


def _check_columns(frame: pd.DataFrame, columns: Columns) -> None:
    for role, name in (
        ("id_col", columns.id),
        ("time_col", columns.time),
        ("target_col", columns.target),
    ):
        if name is not None and name not in frame:
            known = [str(column) for column in frame.columns]
            raise ValueError(
                f"The frame has no column {name!r} ({role}).{did_you_mean(name, known)}"
                f" Its columns are: {', '.join(known)}."
            )
    if not len(frame):
        raise ValueError("The frame has no rows.")


def _check_target(column: pd.Series, name: str) -> np.ndarray:
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
    _refuse_rows(
        np.isinf(values), column.to_frame(), f"column {name!r} must be finite or NaN"
    )
    return values


def _check_time(column: pd.Series, name: str) -> Any:
    """Returns a DatetimeIndex or an int64 array."""
    _refuse_rows(
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


def _refuse_rows(
    wrong: np.ndarray,
    frame: pd.DataFrame,
    rule: str,
    columns: Columns | None = None,
) -> None:
    if not wrong.any():
        return
    rows = frame[wrong]
    if columns:
        rows = rows[columns.names()]
    raise ValueError(
        f"{rule[0].upper()}{rule[1:]}. {int(wrong.sum())} of {len(frame)} rows break "
        f"this, the first:\n{rows.head(5).to_string()}"
    )


def _lay_on_grid(
    frame: pd.DataFrame,
    stamps: pd.Index,
    bounds: np.ndarray,
    columns: Columns,
    freq: str | int | None,
) -> tuple[TimeGrid, np.ndarray]:
    """Finds the grid and each row's position on it, int64, `(rows,)`."""
    start = stamps.min()
    if not isinstance(stamps, pd.DatetimeIndex):
        step = check_integer("freq", 1 if freq is None else freq, 1)
        positions, remainder = np.divmod(stamps.to_numpy() - start, step)
        off = remainder != 0
        grid = TimeGrid(step, int(start))
    else:
        offset = _frequency(stamps, bounds, columns.time, freq)
        grid = TimeGrid(offset, start)
        index = pd.date_range(start, stamps.max(), freq=offset, unit=stamps.unit)
        positions = index.get_indexer(stamps)
        off = positions < 0
    _refuse_rows(
        off,
        frame,
        f"freq={grid.freq!r} does not fit the stamps in {columns.time!r}",
        columns,
    )
    return grid, positions


def _frequency(
    stamps: pd.DatetimeIndex, bounds: np.ndarray, name: str, freq: Any
) -> str:
    if freq is not None:
        if isinstance(freq, int):
            raise ValueError(
                "`freq` must be a pandas frequency such as 'D' where the stamps are "
                f"timestamps. Received: freq={freq!r}"
            )
        try:
            return to_offset(freq).freqstr
        except (ValueError, AttributeError) as error:
            raise ValueError(
                "`freq` must be a pandas frequency such as 'h', 'D', 'W-SUN', 'MS'. "
                f"Received: freq={freq!r}"
            ) from error
    # The longest series tell most; a hundred of them tell enough.
    longest = np.argsort(-np.diff(bounds), kind="stable")[:100]
    found = {
        inferred
        for i in longest
        if (inferred := _infer(stamps[bounds[i] : bounds[i + 1]])) is not None
    }
    if len(found) == 1:
        return found.pop()
    reason = (
        f"the series have different ones ({', '.join(sorted(found))})"
        if found
        else "no series has three rows at equal distances"
    )
    raise ValueError(
        f"The time step of column {name!r} cannot be inferred: {reason}. Give "
        "`freq`, such as 'h', 'D', 'W-SUN', 'MS'."
    )


def _infer(stamps: pd.DatetimeIndex) -> str | None:
    """The frequency of one series, from its longest stretch if it has gaps."""
    if len(stamps) < 3:
        return None
    whole = _infer_regular(stamps)
    if whole is not None:
        return whole
    steps = np.diff(stamps.asi8)
    gaps = np.flatnonzero(steps > 1.5 * np.median(steps)) + 1
    edges = np.concatenate([[0], gaps, [len(stamps)]])
    widest = int(np.argmax(np.diff(edges)))
    stretch = stamps[edges[widest] : edges[widest + 1]]
    inferred = _infer_regular(stretch) if len(stretch) >= 3 else None
    if inferred is not None:
        warnings.warn(
            f"freq={inferred!r} was inferred from a stretch without gaps; steps "
            "between are taken as missing. Give `freq` to be sure.",
            stacklevel=2,
        )
    return inferred


def _infer_regular(stamps: pd.DatetimeIndex) -> str | None:
    with warnings.catch_warnings():
        # pandas 3.1 announces that an offset will replace the string; both will do.
        warnings.simplefilter("ignore", DeprecationWarning)
        inferred = pd.infer_freq(stamps)
    return None if inferred is None else to_offset(inferred).freqstr
