"""Tables as mappings of columns: checked, and laid on a regular grid, in NumPy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_seq.errors import did_you_mean
from keras_seq.forecasting.covariates import (
    Covariates,
    Levels,
    find_ahead,
    lay_covariates,
    number_categories,
)
from keras_seq.forecasting.names import Columns
from keras_seq.forecasting.plain_panel import PlainPanel, lay_flat
from keras_seq.numpy_runtime.clock import Clock, parse_rule

Array = np.ndarray[Any, np.dtype[Any]]
Table = Mapping[str, Sequence[Any] | Array]


@dataclass(frozen=True)
class ClockGrid:
    """Regular stamps as `keras_seq.forecasting.panel.TimeGrid`, by a `Clock`."""

    clock: Clock

    @property
    def freq(self) -> str | int:
        """The time step."""
        freq: str | int = self.clock.freq
        return freq

    def stamps(self, first: int, count: int) -> Array:
        """The `count` stamps from position `first` on, which may be negative."""
        return self.clock.stamps(np.arange(first, first + count))


def make_plain_panel(
    table: Table, names: Columns, like: Clock, levels: Levels | None
) -> PlainPanel:
    """Checks a long table and lays it on a grid: `make_panel` without pandas.

    Args:
        table: Columns by name, all of one length, rows in any order. Stamps are whole
            numbers, datetime64, datetimes or ISO strings. NaN and None are missing.
        names: Of its columns.
        like: Time step, and a stamp on it.
        levels: What `fit` learned of the covariates' columns.

    Raises:
        TypeError: If it is no mapping.
        ValueError: Naming the column, the rule and the first offending rows.
    """
    size = _check_columns(table, names)
    target = _numbers(table[names.target], f"column {names.target!r}")
    stamps = _stamps(table[names.time], names.time, like)
    ids, codes = np.array(["series"], dtype=object), np.zeros(size, np.int64)
    if names.id is not None:
        ids, codes = _ids(table[names.id], names.id)
    order = np.lexsort((stamps.astype(np.int64), codes))
    codes, stamps = codes[order], stamps[order]
    again = (codes[1:] == codes[:-1]) & (stamps[1:] == stamps[:-1])
    _refuse(
        order[1:][again],
        table,
        names,
        f"each series must have one row per {names.time!r}; these are repeated",
    )
    clock = _own_clock(stamps.min(), names.time, like)
    positions = _positions(clock, stamps, order, table, names)
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    first, offsets, rows = lay_flat(starts, positions)
    values = np.full(offsets[-1], np.nan)
    values[rows] = target[order]
    beside = _covariates(table, names, order, starts, offsets, rows, levels or {})
    return PlainPanel(ids, offsets, values, first, ClockGrid(clock), beside)


def with_plain_future(
    panel: PlainPanel, table: Table, names: Columns, horizon: int
) -> PlainPanel:
    """Adds the future covariates of the steps after each series.

    Rows of other series and of other steps are not read.

    Args:
        panel: Histories.
        table: Columns of id, time and future covariates.
        names: Of the columns.
        horizon: Steps to add.

    Raises:
        ValueError: Naming the missing series and stamps, or the column.
    """
    if panel.covariates is None:
        return panel
    keys = [name for name in (names.id, names.time) if name is not None]
    needed = [*keys, *names.future]
    _check_mapping(table, "`future`")
    for name in needed:
        if name not in table:
            raise ValueError(
                f"`future` must have the columns {needed}. "
                f"Received: {list(table)}, without {name!r}"
            )
    size = _check_lengths({name: table[name] for name in needed})
    clock = panel.grid.clock
    stamps = _stamps(table[names.time], names.time, clock)
    series = np.zeros(size, np.int64)
    if names.id is not None:
        place = {name: index for index, name in enumerate(panel.ids.tolist())}
        given = np.asarray(table[names.id], dtype=object).tolist()
        series = np.array([place.get(name, -1) for name in given], np.int64)
    known = panel.grid.stamps(0, panel.end + horizon)
    nearest = np.minimum(np.searchsorted(known, stamps), len(known) - 1)
    positions = np.where(known[nearest] == stamps, nearest, -1)
    ends = panel.first + panel.lengths
    steps = np.where(positions < 0, -1, positions - ends[series])
    found, repeated = find_ahead(series, steps, (len(panel.ids), horizon))
    rule = f"`future` must have one row per series and {names.time!r}; these repeat"
    _refuse(np.flatnonzero(repeated), table, Columns(names.id, names.time), rule, keys)
    if (found < 0).any():
        _refuse_missing(found < 0, panel, known)
    rows = np.full((*found.shape, len(names.future)), np.nan, np.float32)
    levels: Levels = {}
    for index, name in enumerate(names.future):
        title = f"column {name!r} (future_covariates)"
        level = panel.covariates.levels[name]
        values, levels[name] = read_column(table[name], title, level)
        rows[..., index] = np.append(values, np.nan)[found]
    known_ahead = panel.covariates.with_future(panel.lengths, rows, levels)
    return PlainPanel(
        panel.ids, panel.offsets, panel.values, panel.first, panel.grid, known_ahead
    )


def _check_mapping(table: Any, name: str) -> None:
    if not isinstance(table, Mapping):
        raise TypeError(
            f"{name} must be a mapping of columns, {{name: values}}, or a pandas "
            f"DataFrame. Received: {type(table).__name__}"
        )


def _check_columns(table: Table, names: Columns) -> int:
    """The number of rows."""
    _check_mapping(table, "The data")
    for name, role in names.roles().items():
        if name not in table:
            known = [str(column) for column in table]
            raise ValueError(
                f"The table has no column {name!r} ({role})."
                f"{did_you_mean(str(name), known)} Its columns are: {', '.join(known)}."
            )
    size = _check_lengths({name: table[name] for name in names.roles()})
    if not size:
        raise ValueError("The table has no rows.")
    return size


def _check_lengths(columns: Table) -> int:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            "The columns of a table must have the same number of rows. "
            f"Received: {lengths}"
        )
    return next(iter(lengths.values()))


def _numbers(column: Any, title: str) -> Array:
    """float64, NaN where missing; raises unless it holds finite numbers."""
    array = np.asarray(column)
    if array.dtype.kind == "O":
        missing = np.array([value is None for value in array.tolist()], bool)
        kept = [value for value in array.tolist() if value is not None]
        inner = np.asarray(kept) if kept else np.zeros(0)
        values = np.full(len(array), np.nan)
        if inner.dtype.kind not in "biuf":
            _refuse_type(array, title)
        values[~missing] = inner
    else:
        if array.dtype.kind not in "biuf":
            _refuse_type(array, title)
        values = array.astype(np.float64)
    if values.ndim != 1 or np.isinf(values).any():
        raise ValueError(
            f"{title[0].upper()}{title[1:]} must be finite or NaN, one number a row. "
            f"Received: shape {values.shape}, {int(np.isinf(values).sum())} infinite"
        )
    return values


def _refuse_type(array: Array, title: str) -> None:
    raise ValueError(
        f"{title[0].upper()}{title[1:]} must hold numbers. Received: {array.dtype} "
        f"with values such as {array[:3].tolist()}"
    )


def _stamps(column: Any, name: str, like: Clock) -> Array:
    """int64, or datetime64 as fine as that of `like`."""
    array = np.asarray(column)
    rule = "whole numbers" if isinstance(like.freq, int) else "timestamps"
    if isinstance(like.freq, int) and array.dtype.kind in "iu":
        return array.astype(np.int64)
    if not isinstance(like.freq, int) and array.dtype.kind in "MUO":
        try:
            found = array if array.dtype.kind == "M" else _parse(array)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"Column {name!r} must hold timestamps: datetime64, datetimes, or ISO "
                f"strings. Received: {array[:3].tolist()} ({error})"
            ) from error
        if np.isnat(found).any():
            raise ValueError(
                f"Column {name!r} must not have missing values. Received: "
                f"{int(np.isnat(found).sum())} of them in {len(found)} rows"
            )
        return found.astype(np.promote_types(found.dtype, like.start.dtype))
    raise ValueError(
        f"Column {name!r} must hold {rule}, as the training data did. Received: "
        f"{array.dtype} with values such as {array[:3].tolist()}"
    )


def _parse(array: Array) -> Array:
    if not len(array):
        return np.zeros(0, "datetime64[s]")
    values = ["NaT" if value is None else value for value in array.tolist()]
    return np.array(values, dtype="datetime64")


def _ids(column: Any, name: str) -> tuple[Array, Array]:
    """Different ids in order, as objects, and the number of each row's."""
    values = np.asarray(column).tolist()
    missing = [row for row, v in enumerate(values) if v is None or v != v]
    if missing:
        raise ValueError(
            f"Column {name!r} must not have missing values. {len(missing)} of "
            f"{len(values)} rows break this, the first: {missing[:5]}"
        )
    ids = sorted(set(values))
    place = {value: index for index, value in enumerate(ids)}
    found = np.empty(len(ids), dtype=object)
    found[:] = ids
    return found, np.array([place[value] for value in values], np.int64)


def _own_clock(start: Any, name: str, like: Clock) -> Clock:
    """The grid from a table's first stamp on; raises if that lies off the frequency."""
    clock = Clock(like.freq, start)
    if isinstance(like.freq, int):
        return clock
    rule = parse_rule(like.freq).name
    if rule == "W" or "M" in rule or "Q" in rule or "Y" in rule or rule == "B":
        anchor = Clock(rule, like.start.astype("datetime64[D]"))
        try:
            anchor.positions(start.astype("datetime64[D]"))
        except ValueError:
            raise ValueError(
                f"freq={like.freq!r} does not fit the stamps in {name!r}: the first "
                f"is {start}."
            ) from None
    return clock


def _positions(
    clock: Clock, stamps: Array, order: Array, table: Table, names: Columns
) -> Array:
    try:
        return clock.positions(stamps)
    except ValueError:
        wrong = [row for row, stamp in enumerate(stamps) if not _lies_on(clock, stamp)]
        rule = f"freq={clock.freq!r} does not fit the stamps in {names.time!r}"
        _refuse(order[wrong], table, names, rule)
        raise


def _lies_on(clock: Clock, stamp: Any) -> bool:
    try:
        clock.positions(stamp)
    except ValueError:
        return False
    return True


def _refuse(
    rows: Array,
    table: Table,
    names: Columns,
    rule: str,
    shown: Sequence[str] | None = None,
) -> None:
    """Raises if there are rows that break a rule, and shows the first."""
    if not len(rows):
        return
    columns = names.names() if shown is None else shown
    size = len(table[columns[0]])
    first = [
        ", ".join(f"{name}={table[name][row]!s}" for name in columns)
        for row in rows[:5].tolist()
    ]
    raise ValueError(
        f"{rule[0].upper()}{rule[1:]}. {len(rows)} of {size} rows break this, the "
        "first:\n" + "\n".join(first)
    )


def _refuse_missing(missing: Array, panel: PlainPanel, stamps: Array) -> None:
    series, steps = np.nonzero(missing)
    ends = (panel.first + panel.lengths)[series] + steps
    first = [
        f"{panel.ids[i]}: {stamps[end]}"
        for i, end in zip(series[:10].tolist(), ends[:10].tolist(), strict=True)
    ]
    raise ValueError(
        "`future` must have a row for each step to forecast of each series; a value "
        f"that is not known may be NaN. {len(series)} steps of "
        f"{len(np.unique(series))} series are missing, the first:\n" + "\n".join(first)
    )


def _covariates(
    table: Table,
    names: Columns,
    order: Array,
    starts: Array,
    offsets: Array,
    rows: Array,
    levels: Levels,
) -> Covariates | None:
    wanted = {kind: list(found) for kind, found in names.covariates.items()}
    if not any(wanted.values()):
        return None

    def read(kind: str, name: str) -> tuple[Array, list[Any] | float]:
        title = f"column {name!r} ({kind}_covariates)"
        values, level = read_column(table[name], title, levels[name])
        return values[order], level

    def refuse(name: str) -> None:
        raise ValueError(
            f"Column {name!r} (static_covariates) must have one value per series."
        )

    return lay_covariates(wanted, read, refuse, starts, offsets, rows)


def read_column(
    column: Any, title: str, level: list[Any] | float
) -> tuple[Array, list[Any] | float]:
    """Numbers less a constant, or codes of categories; and what they count from.

    Args:
        column: Values; NaN and None are missing.
        title: Names the column in messages.
        level: What `fit` learned of it.
    """
    if not isinstance(level, list):
        return _numbers(column, title) - level, level
    values = np.asarray(column, dtype=object).tolist()
    values = [getattr(v, "item", lambda v=v: v)() for v in values]
    present = dict.fromkeys(v for v in values if v is not None and v == v)
    numbers, known = number_categories(list(present), level, title)
    codes = dict(zip(present, numbers, strict=True))
    return np.array([codes.get(v, np.nan) for v in values], np.float64), known
