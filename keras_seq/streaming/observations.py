"""What a session of series is given: one value a key, or many rows."""

from collections.abc import Hashable, Mapping, Sequence
from datetime import UTC, datetime
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keras_seq.forecasting.names import Columns
from keras_seq.numpy_runtime.clock import Clock
from keras_seq.streaming.rows import Array, Key, check_keys

if TYPE_CHECKING:
    from keras_seq.streaming.covariate_rows import CovariateReader, RowCovariates

# Key of the one series of a forecaster without `id_col`.
ONLY = "series"


class Rows(NamedTuple):
    """Observations, row by row.

    Attributes:
        keys: Each once.
        codes: int64, `(rows,)`: the key of each row.
        values: float64, `(rows,)`.
        positions: int64, `(rows,)`, on the clock; None: each key's next.
        covariates: Of the rows as they were given; None where there are none.
        source: int64, `(rows,)`: which of those each row is; None: in their order.
    """

    keys: list[Key]
    codes: Array
    values: Array
    positions: Array | None
    covariates: "RowCovariates | None" = None
    source: Array | None = None


def read_rows(
    data: Any,
    ds: Any,
    names: Columns,
    clock: Clock,
    reader: "CovariateReader | None" = None,
) -> Rows:
    """Reads what `ForecastSession.step` was given.

    Args:
        data: A mapping of keys to numbers, a bare number, a long frame, or a mapping of
            its columns.
        ds: One stamp for all keys of a mapping of keys; None: each key's next.
        names: Of the columns.
        clock: Of the stamps.
        reader: Of covariates; None where there are none.

    Raises:
        TypeError, ValueError: If it breaks a rule; what does is named.
    """
    if isinstance(data, Real) and not isinstance(data, bool):
        if names.id is not None:
            raise TypeError(
                "`step` takes {key: number} where series have names, as in column "
                f"{names.id!r}. Received: {data!r}"
            )
        data = {ONLY: data}
    if isinstance(data, Mapping) and not _are_columns(data, names):
        return _read_values(data, ds, clock)
    if ds is not None:
        raise ValueError(
            "`ds` belongs to a mapping of keys to numbers; rows have their own stamps "
            f"in column {names.time!r}. Received: ds={ds!r}"
        )
    return _read_columns(data, names, clock, reader)


def _are_columns(data: Mapping[Any, Any], names: Columns) -> bool:
    return all(
        name in data
        and hasattr(data[name], "__len__")
        and not isinstance(data[name], str)
        for name in names.names()
    )


def _read_values(data: Mapping[Any, Any], ds: Any, clock: Clock) -> Rows:
    keys = check_keys(list(data), "step")
    values = _as_numbers(list(data.values()), "step")
    positions = None
    if ds is not None:
        stamps = np.asarray([_as_stamp(ds, clock)])
        if stamps.ndim != 1:
            raise ValueError(
                "`ds` must be one stamp, of all keys; rows with stamps of their own "
                f"are given as a frame. Received: ds={ds!r}"
            )
        positions = np.repeat(clock.positions(stamps), len(keys))
    return Rows(keys, np.arange(len(keys)), values, positions)


def _read_columns(
    data: Any, names: Columns, clock: Clock, reader: "CovariateReader | None"
) -> Rows:
    data = as_table(data, names)
    for name, role in names.roles().items():
        if name not in data:
            raise ValueError(
                f"The rows have no column {name!r} ({role}). Received: the columns "
                f"{[str(column) for column in data]}"
            )
    values = _as_numbers(data[names.target], names.target)
    ids, positions = read_keys(data, names, clock)
    if len(ids) != len(values):
        raise ValueError(
            "The columns must have as many rows as each other. Received: "
            f"{len(ids)} and {len(values)} of {names.names()}"
        )
    numbers: dict[Key, int] = {}
    codes = np.array([numbers.setdefault(key, len(numbers)) for key in ids], np.int64)
    keys = list(numbers)
    covariates = None if reader is None else reader.read(data, codes, keys)
    return Rows(keys, codes, values, positions, covariates)


def as_table(data: Any, names: Columns) -> Any:
    """A mapping of columns as it is; all else as a pandas frame."""
    if isinstance(data, Mapping):
        return data
    from keras_seq.forecasting.columns import as_frame  # pandas is here, then

    return as_frame(data, names)


def read_keys(table: Any, names: Columns, clock: Clock) -> tuple[list[Key], Array]:
    """The key and the position of each row of a table, which has their columns."""
    positions = clock.positions(_as_stamps(table[names.time], names.time, clock))
    if names.id is None:
        return [ONLY] * len(positions), positions
    column = table[names.id]
    ids = check_keys(
        column.tolist() if hasattr(column, "tolist") else list(column), names.id
    )
    if len(ids) != len(positions):
        raise ValueError(
            "The columns must have as many rows as each other. Received: "
            f"{len(ids)} and {len(positions)} of {[names.id, names.time]}"
        )
    return ids, positions


def _as_numbers(column: Any, name: str) -> Array:
    """float64; what is missing, None or NaN, is NaN."""
    try:
        framed = hasattr(column, "to_numpy")  # of pandas, which has its own missing
        array = column if framed else np.asarray(column)
        kind = array.dtype.kind
        if kind in "OSU" and any(isinstance(v, str | bytes) for v in array.tolist()):
            raise ValueError("strings are no numbers")
        if kind not in "biufO":
            raise ValueError(f"{array.dtype} is no number")
        if framed:
            return column.to_numpy(dtype=np.float64, na_value=np.nan)
        found = array.astype(np.float64)
        if found.ndim != 1:
            raise ValueError("each value must be one number")
    except (TypeError, ValueError, OverflowError) as error:
        shown = list(column)[:3]
        raise ValueError(
            f"`{name}` must hold numbers: {error}. Received: {shown!r}"
        ) from error
    return found


def _as_stamp(stamp: Any, clock: Clock) -> Any:
    """One stamp as NumPy has it, in UTC where the clock has a time zone."""
    if isinstance(clock.freq, int):
        return stamp
    if hasattr(stamp, "to_datetime64"):  # pandas
        if stamp.tzinfo is not None:
            _check_zone(True, clock, stamp)
            return stamp.tz_convert("UTC").tz_localize(None).to_datetime64()
        _check_zone(False, clock, stamp)
        return stamp.to_datetime64()
    if isinstance(stamp, datetime):
        _check_zone(stamp.tzinfo is not None, clock, stamp)
        if stamp.tzinfo is not None:
            stamp = stamp.astimezone(UTC).replace(tzinfo=None)
        return np.datetime64(stamp)
    try:
        return np.datetime64(stamp)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "Stamps must be datetime64, datetimes or ISO strings, as the training data "
            f"have freq={clock.freq!r}. Received: {stamp!r}"
        ) from error


def _as_stamps(column: Any, name: str, clock: Clock) -> Array:
    if not len(column):  # of any type
        return np.zeros(0, np.int64 if isinstance(clock.freq, int) else "M8[s]")
    zone = getattr(getattr(column, "dtype", None), "tz", None)
    if zone is not None:
        _check_zone(True, clock, name)
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    elif hasattr(column, "dt") and not isinstance(clock.freq, int):
        _check_zone(False, clock, name)
    if isinstance(column, np.ndarray) and column.dtype.kind in "UO":
        column = column.tolist()
    if isinstance(column, Sequence):
        column = [_as_stamp(stamp, clock) for stamp in column]
    stamps = np.asarray(column)
    if stamps.dtype.kind in "UO" and not isinstance(clock.freq, int):
        raise ValueError(
            f"`{name}` must hold timestamps. Received: {stamps.dtype} with values such "
            f"as {stamps[:3].tolist()}"
        )
    return stamps


def _check_zone(aware: bool, clock: Clock, received: Hashable) -> None:
    if aware != (clock.tz is not None):
        rule = "have no time zone" if aware else f"be in a time zone, as {clock.tz}"
        raise ValueError(
            f"Stamps must {rule}, as those of the training data. Received: {received!r}"
        )
