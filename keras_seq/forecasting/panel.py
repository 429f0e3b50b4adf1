"""Panel: a long frame, checked and laid flat on a regular time grid."""

import warnings
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset
from pandas.tseries.offsets import Tick

from keras_seq.errors import check_integer, warn
from keras_seq.forecasting.columns import (
    Columns,
    as_frame,
    check_columns,
    check_target,
    check_time,
    refuse_rows,
)
from keras_seq.forecasting.covariate_columns import read_ahead, read_covariates
from keras_seq.forecasting.covariates import Covariates, Levels
from keras_seq.forecasting.plain_panel import PlainPanel, lay_flat

# Steps that a grid may have whatever is in them, and steps for each row beyond.
_LONGEST_SPAN, _MOST_GAPS = 100_000_000, 1000


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
class Panel(PlainPanel):
    """PlainPanel that pandas frames become and are made of."""

    grid: TimeGrid

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

    def with_future(
        self, frame: Any, columns: Columns, horizon: int, whole: bool = True
    ) -> Self:
        """Adds the future covariates of the steps after each series.

        Args:
            frame: Long frame; columns of id, time and future covariates.
            columns: Names of its columns.
            horizon: Steps to add.
            whole: Whether the frame must hold all of them; else they may be missing.
        """
        if self.covariates is None:
            return self
        ends = (self.first + self.lengths)[:, None]
        rows, levels = read_ahead(
            self.covariates,
            frame,
            columns,
            self.ids,
            pd.Index(self.grid.stamps(0, self.end + horizon)),
            ends + np.arange(horizon),
            whole,
        )
        known = self.covariates.with_future(self.lengths, rows, levels)
        return replace(self, covariates=known)

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
        if self.covariates is not None:
            state["covariates"], beside = self.covariates.get_state()
            arrays.update(beside)
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
            Covariates.from_state(state["covariates"], arrays)
            if "covariates" in state
            else None,
        )


def make_panel(
    frame: pd.DataFrame | pd.Series,
    columns: Columns,
    freq: str | int | None = None,
    levels: Levels | None = None,
) -> Panel:
    """Checks a long frame and lays it on a regular grid.

    Rows may stand in any order; steps without a row become NaN.

    Args:
        frame: One row per series and time step; or a Series with a DatetimeIndex
            (or integer index), which is one series.
        columns: Names of its columns.
        freq: Time step; None infers it.
        levels: What `fit` learned of the covariates' columns; None: by their types.

    Raises:
        ValueError: Naming the column, the rule and the first offending rows.
    """
    frame = as_frame(frame, columns)
    check_columns(frame, columns)
    target = check_target(frame, columns)
    time = check_time(frame[columns.time], columns.time)
    if columns.id is None:
        codes, ids = np.zeros(len(frame), np.int64), np.array(["series"], dtype=object)
    else:
        codes, uniques = pd.factorize(frame[columns.id], sort=True)
        ids = np.asarray(uniques, dtype=object)
        refuse_rows(
            codes < 0, frame, f"column {columns.id!r} must not have missing values"
        )
    stamps = pd.Index(time)
    ticks = stamps.asi8 if hasattr(stamps, "asi8") else time
    if not _in_order(codes, ticks):
        order = np.lexsort((ticks, codes))
        frame, target = frame.iloc[order], target[order]
        codes, stamps = codes[order], stamps[order]
    repeated = (codes[1:] == codes[:-1]) & (stamps[1:] == stamps[:-1])
    refuse_rows(
        np.concatenate([[False], repeated]),
        frame,
        f"each series must have one row per {columns.time!r}; these are repeated",
        columns,
    )
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    bounds = np.append(starts, len(codes))
    grid, positions = _lay_on_grid(frame, stamps, bounds, columns, freq)
    _check_span(frame, positions, columns, grid)
    first, offsets, rows = lay_flat(starts, positions)
    values = np.full(offsets[-1], np.nan)
    values[rows] = target
    beside = read_covariates(frame, columns, starts, offsets, rows, levels)
    return Panel(ids, offsets, values, first, grid, beside)


def cut_frame(frame: pd.DataFrame | pd.Series, columns: Columns, last: Any) -> Any:
    """The rows of a long frame that lie no later than a stamp."""
    frame = as_frame(frame, columns)
    return frame[check_time(frame[columns.time], columns.time) <= last]


def _in_order(codes: np.ndarray, ticks: np.ndarray) -> bool:
    """Whether rows stand series by series, each in order of time."""
    later, same = codes[1:] > codes[:-1], codes[1:] == codes[:-1]
    return bool((later | (same & (ticks[1:] >= ticks[:-1]))).all())


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
        step = _integer_step(stamps.to_numpy(), bounds, columns.time, freq)
        positions, remainder = np.divmod(stamps.to_numpy() - start, step)
        off = remainder != 0
        grid = TimeGrid(step, int(start))
    else:
        offset = _frequency(stamps, bounds, columns.time, freq)
        grid = TimeGrid(offset, start)
        positions, off = _positions(stamps, start, offset)
    refuse_rows(
        off,
        frame,
        f"freq={grid.freq!r} does not fit the stamps in {columns.time!r}",
        columns,
    )
    return grid, positions


def _check_span(
    frame: pd.DataFrame, positions: np.ndarray, columns: Columns, grid: TimeGrid
) -> None:
    """Raises where a wild stamp would fill the memory with missing steps."""
    steps = int(positions.max()) + 1
    if steps > max(_LONGEST_SPAN, _MOST_GAPS * len(positions)):
        ends = frame.iloc[[int(positions.argmin()), int(positions.argmax())]]
        raise ValueError(
            f"Column {columns.time!r} must not span {steps} steps of {grid.freq!r} "
            f"with {len(positions)} rows. Received, as first and last:\n"
            f"{ends[columns.names()].to_string()}"
        )


def _positions(
    stamps: pd.DatetimeIndex, start: pd.Timestamp, freq: str
) -> tuple[np.ndarray, np.ndarray]:
    """Where stamps stand on a grid, int64, and which do not lie on it."""
    span = to_offset(freq)
    if isinstance(span, Tick):  # a fixed span, in any time zone
        step = pd.Timedelta(span) / pd.Timedelta(1, stamps.unit)
        if step >= 1 and step.is_integer():
            positions, remainder = np.divmod(stamps.asi8 - stamps.asi8.min(), int(step))
            return positions, remainder != 0
    index = pd.date_range(start, stamps.max(), freq=freq, unit=stamps.unit)
    positions = index.get_indexer(stamps)
    return positions, positions < 0


def _integer_step(stamps: np.ndarray, bounds: np.ndarray, name: str, freq: Any) -> int:
    if isinstance(freq, str):
        raise ValueError(
            f"Column {name!r} must hold timestamps, since the time step is {freq!r}. "
            f"Received: whole numbers such as {stamps[:3].tolist()}"
        )
    if freq is not None:
        return check_integer("freq", freq, 1)
    steps = np.delete(np.diff(stamps), bounds[1:-1] - 1)  # within series
    common = int(np.gcd.reduce(steps)) if len(steps) else 1
    if common > 1:
        raise ValueError(
            f"`freq` must be given where no rows of a series are 1 apart: the steps in "
            f"column {name!r} are multiples of {common}, so freq={common}, or freq=1 "
            "if the steps between are missing. Received: freq=None"
        )
    return 1


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
    # A stretch of working days without a gap is as one of days.
    weeks = stamps.max() - stamps.min() >= pd.Timedelta(days=14)
    working = bool(weeks and (stamps.day_of_week < 5).all())
    found = {
        inferred
        for i in longest
        if (inferred := _infer(stamps[bounds[i] : bounds[i + 1]], working)) is not None
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


def _infer(stamps: pd.DatetimeIndex, working: bool) -> str | None:
    """The frequency of one series, from its longest stretch if it has gaps.

    Args:
        stamps: In order.
        working: Whether days are working days.
    """
    if len(stamps) < 3:
        return None
    whole = _infer_regular(stamps, working)
    if whole is not None:
        return whole
    steps = np.diff(stamps.asi8)
    gaps = np.flatnonzero(steps > 1.5 * np.median(steps)) + 1
    edges = np.concatenate([[0], gaps, [len(stamps)]])
    widest = int(np.argmax(np.diff(edges)))
    stretch = stamps[edges[widest] : edges[widest + 1]]
    inferred = _infer_regular(stretch, working) if len(stretch) >= 3 else None
    if inferred is not None:
        warn(
            f"freq={inferred!r} was inferred from a stretch without gaps; steps "
            "between are taken as missing. Give `freq` to be sure."
        )
    return inferred


def _infer_regular(stamps: pd.DatetimeIndex, working: bool) -> str | None:
    with warnings.catch_warnings():
        # pandas 3.1 announces that an offset will replace the string; both will do.
        warnings.simplefilter("ignore", DeprecationWarning)
        inferred = pd.infer_freq(stamps)
    if inferred == "D" and working:
        return "B"
    return None if inferred is None else to_offset(inferred).freqstr
