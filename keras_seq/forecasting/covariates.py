"""Covariates of a panel as they are in its frame, laid flat beside its values."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from keras_seq.errors import warn

# What is stored of a column is relative to this: the categories that codes number, or
# a number that is subtracted, since float32 holds 7 digits.
Levels = dict[str, list[Any] | float]


@dataclass(frozen=True)
class Covariates:
    """Columns beside a panel's values; NaN is missing.

    Attributes:
        names: Of the columns of each array below.
        levels: Of each column: a float, subtracted from its numbers, or a list, in
            which its codes count.
        static: float64, `(num_series, num_static)`.
        past: float32, `(steps, num_past)`; rows are those of the panel's values.
        future: float32, `(known_steps, num_future)`.
        offsets: int64, `(num_series + 1,)`; series i is
            `future[offsets[i]:offsets[i + 1]]` and may reach beyond its values.
    """

    names: dict[str, list[str]]
    levels: Levels
    static: np.ndarray
    past: np.ndarray
    future: np.ndarray
    offsets: np.ndarray

    def part(self, kept: np.ndarray, low: np.ndarray, flat: np.ndarray) -> Self:
        """What belongs to a part of the panel, and all that is known ahead of it.

        Args:
            kept: bool, `(num_series,)`: which series.
            low: int64, `(num_series,)`: steps left out at their beginning.
            flat: Rows of the panel's values.
        """
        known = (np.diff(self.offsets) - low)[kept]
        offsets, rows = ranges((self.offsets[:-1] + low)[kept], known)
        return replace(
            self,
            static=self.static[kept],
            past=self.past[flat],
            future=self.future[rows],
            offsets=offsets,
        )

    def with_future(self, ends: np.ndarray, rows: np.ndarray, levels: Levels) -> Self:
        """Puts values after each series in place of what is known ahead of it.

        Args:
            ends: int64, `(num_series,)`: lengths of the series.
            rows: float32, `(num_series, steps, num_future)`.
            levels: Of the columns, with the categories that are new.
        """
        steps = rows.shape[1]
        offsets, _ = ranges(self.offsets[:-1], ends + steps)
        future = np.empty((offsets[-1], rows.shape[2]), np.float32)
        _, old = ranges(self.offsets[:-1], ends)
        _, new = ranges(offsets[:-1], ends)
        future[new] = self.future[old]
        _, ahead = ranges(offsets[1:] - steps, np.full_like(ends, steps))
        future[ahead] = rows.reshape(-1, rows.shape[2])
        merged = {**self.levels, **levels}
        return replace(self, future=future, offsets=offsets, levels=merged)

    def stretched(self, rows: np.ndarray, count: int) -> Self:
        """Lays past covariates out among more rows, which know nothing of them.

        Args:
            rows: int64, `(steps,)`: where each row is now.
            count: Rows there are now.
        """
        past = np.full((count, self.past.shape[1]), np.nan, np.float32)
        past[rows] = self.past
        return replace(self, past=past)

    def get_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON-able values and arrays that `from_state` takes."""
        state = {"names": self.names, "levels": list(self.levels.items())}
        names = ("static", "past", "future", "offsets")
        return state, {f"tail/covariates/{n}": getattr(self, n) for n in names}

    @classmethod
    def from_state(cls, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """Rebuilds them from `get_state`."""
        names = ("static", "past", "future", "offsets")
        parts = {name: arrays[f"tail/covariates/{name}"] for name in names}
        return cls(state["names"], dict(state["levels"]), **parts)


def ranges(starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers `starts[i]`, `starts[i] + 1`, ... end to end, and where each i begins."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return offsets, np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])


def lay_covariates(
    names: dict[str, list[str]],
    read: Callable[[str, str], tuple[np.ndarray, list[Any] | float]],
    refuse_varying: Callable[[str], None],
    starts: np.ndarray,
    offsets: np.ndarray,
    rows: np.ndarray,
) -> Covariates:
    """Lays columns out beside a panel's values.

    Args:
        names: Of the columns, by their kind.
        read: Called with the kind and name of each: its values, float64, one for each
            row of a table that is sorted by series and time, and what they are
            relative to.
        refuse_varying: Called with a name where a static column is not constant.
        starts: int64, `(num_series,)`: the first row of each series in the table.
        offsets: Of the panel.
        rows: int64: where each row of the table is in the panel.
    """
    found: Levels = {}
    past = np.full((offsets[-1], len(names["past"])), np.nan, np.float32)
    future = np.full((offsets[-1], len(names["future"])), np.nan, np.float32)
    static = np.empty((len(starts), len(names["static"])))
    for kind, array in (("static", static), ("past", past), ("future", future)):
        for index, name in enumerate(names[kind]):
            values, found[name] = read(kind, name)
            if kind == "static":
                array[:, index] = np.fmin.reduceat(values, starts)
                if (np.fmax.reduceat(values, starts) > array[:, index]).any():
                    refuse_varying(name)
            else:
                array[rows, index] = values
    return Covariates(names, found, static, past, future, offsets)


def find_ahead(
    series: np.ndarray, steps: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Which rows of a table are the steps after each series.

    Args:
        series: int64: of each row; negative where it is none of the panel.
        steps: int64: of each row, from the first step after its series on.
        shape: `(num_series, steps)`, of those in question.

    Returns:
        int64, of that shape, row numbers, -1 where there is none; and bool, for each
        row, whether another stands for the same step.
    """
    inside = (series >= 0) & (steps >= 0) & (steps < shape[1])
    found = np.full(shape, -1)
    chosen = np.flatnonzero(inside)
    found[series[chosen], steps[chosen]] = chosen
    repeated = np.zeros(len(series), bool)
    repeated[chosen] = found[series[chosen], steps[chosen]] != chosen
    return found, repeated


def number_categories(
    values: list[Any], level: list[Any] | None, title: str
) -> tuple[list[int], list[Any]]:
    """Codes of categories, from 0 on: those that are known first, then new ones.

    Args:
        values: Different ones, none missing.
        level: The known ones.
        title: Names the column in messages.
    """
    known = {value: code for code, value in enumerate(level or ())}
    # New categories come with new series; text in the place of numbers is a slip.
    kinds, seen = ({isinstance(v, str) for v in given} for given in (values, known))
    if kinds and seen and not kinds & seen:
        warn(
            f"{title[0].upper()}{title[1:]} must hold text where `fit` saw text, and "
            "numbers where it saw numbers: all are taken as unknown. "
            f"`fit` saw {list(known)[:3]}. Received: {values[:3]}"
        )
    for value in values:
        if not isinstance(value, str | int | float):
            raise ValueError(
                f"{title[0].upper()}{title[1:]} must have categories that are "
                f"strings or numbers. Received: {value!r}"
            )
        known.setdefault(value, len(known))
    return [known[value] for value in values], list(known)
