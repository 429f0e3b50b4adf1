"""What a call of a session of series will do, checked before anything moves."""

from typing import NamedTuple

import numpy as np

from keras_seq.errors import warn
from keras_seq.numpy_runtime.clock import Clock
from keras_seq.streaming.observations import Rows
from keras_seq.streaming.rows import Array, Key

# Networks compute in float32, where what is larger is infinite.
LARGEST = 1e38


class Plan(NamedTuple):
    """What a call does, checked, before anything moves.

    Attributes:
        keys: As given.
        order: int64: keys that move, those that take the most steps first.
        begin: int64, by key: the first position that is run.
        last: int64, by key: where the key stands afterwards.
        cold: bool, by key: whether it starts from nothing.
        values: float64, of the rows that count, key by key in time order.
        positions: int64, of them.
        starts: int64, by key: where its rows begin.
    """

    keys: list[Key]
    order: Array
    begin: Array
    last: Array
    cold: Array
    values: Array
    positions: Array
    starts: Array


def settle(
    rows: Rows, last: Array, known: Array, reached: int | None, start: int
) -> Rows:
    """Gives rows without a stamp their positions.

    Args:
        rows: Of the call.
        last: int64, by key: the position of its last value, if it is known.
        known: bool, by key.
        reached: The latest position of any key so far.
        start: That of the first value of all.
    """
    if rows.positions is not None:
        return rows
    latest = start if reached is None else reached
    if known.any():
        following = int(last[known].max()) + 1
        latest = following if reached is None else max(reached, following)
    positions = np.where(known, last + 1, latest)
    return rows._replace(positions=positions[rows.codes])


def sort_rows(
    rows: Rows, last: Array, known: Array, skip: bool, clock: Clock
) -> tuple[Rows, int]:
    """Brings rows in order, key by key, and finds those that come too late.

    Args:
        rows: With positions.
        last: int64, by key.
        known: bool, by key.
        skip: Whether late rows are left out; of several with one stamp the first given
            counts.
        clock: Of the stamps, for the message.

    Returns:
        The rows, and how many were left out.

    Raises:
        ValueError: If rows are late and not to be skipped.
    """
    positions, codes = _positions(rows), rows.codes
    order = np.lexsort((positions, codes))
    positions, codes = positions[order], codes[order]
    late = known[codes] & (positions <= last[codes])
    late[1:] |= (codes[1:] == codes[:-1]) & (positions[1:] == positions[:-1])
    count = int(late.sum())
    if count and not skip:
        wrong = np.flatnonzero(late)[:5]
        told = [
            f"{rows.keys[codes[i]]!r} at {clock.stamps(positions[i])}" for i in wrong
        ]
        raise ValueError(
            "Stamps must come after the last one of their key, each once; "
            "on_late='skip' passes over others. Nothing was taken in. Received: "
            f"{count} late or repeated, such as {', '.join(told)}"
        )
    order = order[~late]
    source = order if rows.source is None else rows.source[order]
    return rows._replace(
        codes=codes[~late],
        values=rows.values[order],
        positions=positions[~late],
        source=source,
    ), count


def make_plan(
    rows: Rows, last: Array, known: Array, lookback: int | None
) -> tuple[Plan, int, int]:
    """Settles which steps run.

    Args:
        rows: Of `sort_rows`.
        last: int64, by key.
        known: bool, by key.
        lookback: Steps after which a state is forgotten; None: it never is.

    Returns:
        The plan; how many values are missing, and how many infinite or too large, of
        which one warning tells.
    """
    positions, codes = _positions(rows), rows.codes
    counts = np.bincount(codes, minlength=len(rows.keys))
    starts = np.cumsum(counts) - counts
    moved = np.flatnonzero(counts)
    newest, begin = last.copy(), last + 1
    newest[moved] = positions[starts[moved] + counts[moved] - 1]
    fresh = moved[~known[moved]]
    begin[fresh] = positions[starts[fresh]]
    cold = ~known
    if lookback is not None:
        seen = newest - lookback + 1
        cold = cold | (begin < seen)
        begin = np.maximum(begin, seen)
        passed = positions < begin[codes]
        starts = starts + np.bincount(codes[passed], minlength=len(rows.keys))
    order = moved[np.argsort(begin[moved] - newest[moved], kind="stable")]
    missing = np.isnan(rows.values)
    invalid = ~missing & ~(np.abs(rows.values) <= LARGEST)
    if invalid.any():
        _warn(rows, invalid)
    values = np.where(invalid, np.nan, rows.values)
    plan = Plan(rows.keys, order, begin, newest, cold, values, positions, starts)
    return plan, int(missing.sum()), int(invalid.sum())


def _positions(rows: Rows) -> Array:
    if rows.positions is None:
        raise ValueError("Rows must have positions. Received: None")
    return rows.positions


def _warn(rows: Rows, invalid: Array) -> None:
    codes = np.unique(rows.codes[invalid])
    names = ", ".join(repr(rows.keys[code]) for code in codes[:5])
    more = f" and {len(codes) - 5} more" if len(codes) > 5 else ""
    warn(
        f"Values that are infinite or beyond {LARGEST:g} are taken as missing: "
        f"{int(invalid.sum())} of {names}{more}."
    )
