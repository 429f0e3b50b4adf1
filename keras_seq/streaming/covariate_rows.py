"""Covariates of rows, of a history and of the steps ahead, as numbers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_seq.forecasting.covariates import find_ahead, ranges
from keras_seq.forecasting.features import CovariateEncoder
from keras_seq.forecasting.names import KINDS, Columns
from keras_seq.numpy_runtime.clock import Clock
from keras_seq.numpy_runtime.tables import read_column
from keras_seq.streaming.observations import as_table, read_keys
from keras_seq.streaming.rows import Array, Key

# From the name of a column to its values and what they are relative to.
Read = Callable[[str], tuple[Array, Any]]


class RowCovariates(NamedTuple):
    """What rows tell of covariates; None where they have no such columns.

    Attributes:
        past: float32, `(rows, num_past)`; NaN is missing.
        future: float32, `(rows, num_future)`, of the steps of the rows.
        static: float32, `(keys, num_static)`.
        static_ids: int32, `(keys, num_ids)`; -1 is missing, 0 a category that `fit` did
            not see.
    """

    past: Array | None = None
    future: Array | None = None
    static: Array | None = None
    static_ids: Array | None = None


class CovariateReader:
    """Reads covariates, in the way that `predict` does.

    Args:
        encoder: What `fit` learned of them.
        columns: Names of a long frame's columns.

    Attributes:
        widths: How many numbers they become: `past`, `future`, `static`, `static_ids`.
    """

    def __init__(self, encoder: CovariateEncoder, columns: Columns):
        self.columns = columns
        self._levels = encoder.levels()
        shown = [column for column in encoder.columns if column.width]
        self._ids = [c for c in shown if c.kind == "static" and c.categories]
        self._numbers = {
            kind: [c for c in shown if c.kind == kind and c not in self._ids]
            for kind in KINDS
        }
        counts = {k: sum(c.width for c in own) for k, own in self._numbers.items()}
        self.widths = {**counts, "static_ids": len(self._ids)}

    @property
    def has_static(self) -> bool:
        """Whether the network is told anything that belongs to a series."""
        return bool(self.widths["static"] or self.widths["static_ids"])

    def read(self, table: Any, codes: Array, keys: Sequence[Key]) -> RowCovariates:
        """Those of a table's rows.

        Args:
            table: A pandas frame, or a mapping of columns.
            codes: int64, `(rows,)`: the key of each row.
            keys: Each once.

        Raises:
            ValueError: If columns are missing, or hold what `predict` would refuse.
        """
        found: dict[str, Array] = {}
        for kind in ("past", "future"):
            if self.widths[kind] and self._has(table, kind, must=kind == "past"):
                read = self._columns(table, kind, len(codes))
                found[kind] = self._encode(kind, read, len(codes))
        if self.has_static and self._has(table, "static"):
            read = self._columns(table, "static", len(codes))

            def of_keys(name: str) -> tuple[Array, Any]:
                values, level = read(name)
                return _one_per_key(values, codes, keys, name), level

            found |= self._encode_static(of_keys, len(keys))
        return RowCovariates(**found)

    def read_panel(self, panel: Any) -> RowCovariates:
        """Those of all steps of a panel, which has covariates."""
        beside = panel.covariates

        def column(kind: str, rows: Any) -> Read:
            def read(name: str) -> tuple[Array, Any]:
                index = beside.names[kind].index(name)
                return getattr(beside, kind)[rows, index], beside.levels[name]

            return read

        _, known = ranges(beside.offsets[:-1], panel.lengths)
        rows = {"past": slice(None), "future": known}
        found = {
            kind: self._encode(kind, column(kind, steps), len(panel.values))
            for kind, steps in rows.items()
            if self.widths[kind]
        }
        if self.has_static:
            every = column("static", slice(None))
            found |= self._encode_static(every, len(panel.ids))
        return RowCovariates(**found)

    def read_ahead(
        self, data: Any, keys: Sequence[Key], first: Array, horizon: int, clock: Clock
    ) -> tuple[Array, Array]:
        """What a table knows of the steps to forecast.

        Rows of other keys and of other steps are not used.

        Args:
            data: Long frame, or mapping of columns, of ids, stamps and future
                covariates.
            keys: Each once.
            first: int64, `(keys,)`: the position of the first step in question.
            horizon: How many steps.
            clock: Of the stamps.

        Returns:
            float32, `(keys, horizon, num_future)`, NaN is missing; and which steps the
            table has, bool, `(keys, horizon)`.

        Raises:
            TypeError, ValueError: If columns are missing, rows are repeated, or hold
                what `predict` would refuse.
        """
        columns = self.columns
        table = as_table(data, columns)
        named = [name for name in (columns.id, columns.time) if name is not None]
        needed = [*named, *columns.future]
        for name in needed:
            if name not in table:
                raise ValueError(
                    f"`future` must have the columns {needed}. Received: "
                    f"{[str(column) for column in table]}, without {name!r}"
                )
        ids, positions = read_keys(table, columns, clock)
        place = {key: index for index, key in enumerate(keys)}
        series = np.array([place.get(key, -1) for key in ids], np.int64)
        found, repeated = find_ahead(
            series, positions - first[series], (len(keys), horizon)
        )
        if repeated.any():
            wrong = np.flatnonzero(repeated)
            raise ValueError(
                f"`future` must have one row per series and {columns.time!r}. Received "
                f"{len(wrong)} that repeat, the first:\n"
                + list_steps([ids[i] for i in wrong[:5]], positions[wrong[:5]], clock)
            )
        read = self._columns(table, "future", len(ids))
        numbers = self._encode("future", read, len(ids))
        nothing = np.full((1, numbers.shape[1]), np.nan, np.float32)
        return np.concatenate([numbers, nothing])[found], found >= 0

    def _has(self, table: Any, kind: str, must: bool = False) -> bool:
        """Whether a table has the columns of a kind; raises if it has but some."""
        wanted = self.columns.covariates[kind]
        absent = [name for name in wanted if name not in table]
        if absent and (must or len(absent) < len(wanted)):
            raise ValueError(
                f"The rows have no column {absent[0]!r} ({kind}_covariates). Received: "
                f"the columns {[str(column) for column in table]}"
            )
        return not absent

    def _columns(self, table: Any, kind: str, count: int) -> Read:
        def read(name: str) -> tuple[Array, Any]:
            title = f"column {name!r} ({kind}_covariates)"
            column, level = table[name], self._levels[name]
            if len(column) != count:
                raise ValueError(
                    "The columns must have as many rows as each other. Received: "
                    f"{len(column)} in {title}, and {count}"
                )
            if isinstance(table, Mapping):
                return read_column(column, title, level)
            from keras_seq.forecasting import covariate_columns  # pandas is here, then

            return covariate_columns.read_column(column, title, level)

        return read

    def _encode(self, kind: str, read: Read, count: int) -> Array:
        """Numbers of a kind: float32, `(count, width)`, NaN where missing."""
        parts = [np.zeros((count, 0), np.float32)]
        for column in self._numbers[kind]:
            values, level = read(column.name)
            if kind != "static":  # as panels have it
                values = values.astype(np.float32)
            numbers = column.encode(values, level)
            parts.append(
                np.where(np.isnan(values)[:, None], np.float32("nan"), numbers)
            )
        return np.concatenate(parts, axis=1)

    def _encode_static(self, read: Read, count: int) -> dict[str, Array]:
        ids = np.zeros((count, len(self._ids)), np.int32)
        for index, column in enumerate(self._ids):
            codes, level = read(column.name)
            ids[:, index] = np.where(np.isnan(codes), -1, column.number(codes, level))
        return {"static": self._encode("static", read, count), "static_ids": ids}


def list_steps(keys: Sequence[Key], positions: Array, clock: Clock) -> str:
    """Keys and stamps, line by line, for messages."""
    stamps = clock.stamps(positions)
    return "\n".join(f"{k!r}: {s}" for k, s in zip(keys, stamps, strict=True))


def _one_per_key(values: Array, codes: Array, keys: Sequence[Key], name: str) -> Array:
    """The one value of each key; NaN where all of its rows miss it."""
    low, high = np.full((2, len(keys)), np.nan)
    np.fmin.at(low, codes, values)
    np.fmax.at(high, codes, values)
    if (high > low).any():
        wrong = [keys[i] for i in np.flatnonzero(high > low)[:5].tolist()]
        raise ValueError(
            f"Column {name!r} (static_covariates) must have one value per series. "
            f"Received: several of {wrong}"
        )
    return low
