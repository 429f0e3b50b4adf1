"""What a session keeps of the covariates of each key, and makes the network see."""

from typing import Any

import numpy as np

from keras_seq.numpy_runtime.clock import Clock
from keras_seq.streaming.covariate_rows import (
    CovariateReader,
    RowCovariates,
    list_steps,
)
from keras_seq.streaming.observations import Rows
from keras_seq.streaming.planning import Plan
from keras_seq.streaming.rows import Array, State

_PAST, _FUTURE = "covariates/past", "covariates/future"
_STATIC, _IDS = "covariates/static", "covariates/static_ids"


class CovariateMemory:
    """Keeps the covariates of each key as numbers for the network.

    Those of the last `seen` steps lie in a ring, those known ahead in one that reaches
    `horizon` steps further: the numbers of grid position p are at p modulo its length.
    In `future` NaN is what was not told, and 0, as for the network, what was told to be
    missing.

    Args:
        reader: Of covariates.
        seen: Steps that the network sees of the past, the newest included.
        horizon: Steps that it forecasts.

    Attributes:
        arrays: Shape and dtype of each array that is kept for a key.
    """

    def __init__(self, reader: CovariateReader, seen: int, horizon: int):
        self.reader, self.seen, self.horizon = reader, seen, horizon
        self._ring = seen + horizon
        widths = reader.widths
        arrays: dict[str, tuple[tuple[int, ...], Any]] = {
            _PAST: ((seen, widths["past"]), np.float32),
            _FUTURE: ((self._ring, widths["future"]), np.float32),
            _STATIC: ((widths["static"],), np.float32),
            _IDS: ((widths["static_ids"],), np.int32),
        }
        self.arrays = {name: own for name, own in arrays.items() if own[0][-1]}

    def cold(self, count: int) -> State:
        """Of keys of which nothing was told."""
        return {
            name: np.full((count, *shape), 0 if name == _IDS else np.nan, dtype)
            for name, (shape, dtype) in self.arrays.items()
        }

    def describe(self, state: State, told: RowCovariates) -> None:
        """Takes in what belongs to a series, where it is not missing."""
        if _STATIC in state and told.static is not None:
            new = told.static
            state[_STATIC][...] = np.where(np.isnan(new), state[_STATIC], new)
        if _IDS in state and told.static_ids is not None:
            new = told.static_ids
            state[_IDS][...] = np.where(new < 0, state[_IDS], new)

    def skip(self, state: State, keys: Array, last: Array, next_: Array) -> None:
        """Moves some keys on to just before `next_`, over steps that are not seen.

        Args:
            state: Arrays `(count, ...)`, changed in place.
            keys: int64, `(some,)`: which of them.
            last: int64, `(some,)`: the position of their newest step.
            next_: int64, `(some,)`: that of the step which comes next.
        """
        if _FUTURE not in state:
            return
        low = (next_ - self.seen)[:, None]
        place = low + (np.arange(self._ring) - low) % self._ring
        ring = state[_FUTURE][keys]
        ring[place > last[:, None] + self.horizon] = np.nan
        state[_FUTURE][keys] = ring

    def advance(
        self, state: State, positions: Array, past: Array | None, future: Array | None
    ) -> None:
        """Takes in one step.

        Args:
            state: Arrays `(count, ...)`, changed in place.
            positions: int64, `(count,)`.
            past: float32, `(count, num_past)`; NaN or None is missing.
            future: float32, `(count, num_future)`, which adds to what was told ahead.
        """
        rows = np.arange(len(positions))
        if _PAST in state:
            state[_PAST][rows, positions % self.seen] = np.nan if past is None else past
        if _FUTURE in state:
            state[_FUTURE][rows, (positions + self.horizon) % self._ring] = np.nan
            if future is not None:
                self._tell(state[_FUTURE], (rows, positions % self._ring), future)

    def look_ahead(
        self, state: State, rows: Array, positions: Array, values: Array, told: Array
    ) -> None:
        """Takes in what is known of the steps after the newest one.

        Args:
            state: Arrays `(count, ...)`, changed in place.
            rows: int64, `(some,)`: which of them.
            positions: int64, `(some,)`: of their newest step.
            values: float32, `(some, horizon, num_future)`; NaN is missing.
            told: bool, `(some, horizon)`.
        """
        which, step = np.nonzero(told)
        place = (positions[which] + 1 + step) % self._ring
        self._tell(state[_FUTURE], (rows[which], place), values[which, step])

    def knows(self, state: State, rows: Array, positions: Array) -> Array:
        """Which steps ahead were told: bool, of the shape of `positions`.

        Args:
            state: Arrays `(count, ...)`.
            rows: int64: which of them; broadcasts with `positions`.
            positions: int64: at most `horizon` steps after the newest one.
        """
        return ~np.isnan(state[_FUTURE][rows, positions % self._ring, 0])

    def inputs(
        self, state: State, positions: Array, calendar: Array | None
    ) -> dict[str, Array]:
        """The network's inputs beside the target.

        Args:
            state: Arrays `(count, ...)`.
            positions: int64, `(count,)`: of the newest step.
            calendar: float32, `(count, seen + horizon, num_features)`, or with one row
                for all; None where there is none.

        Returns:
            `past`, `(count, seen, num_past)`; `future`, `(count, seen + horizon,
            num_future)`, the calendar first; `static` and `static_ids`. NaN is missing;
            parts of width 0 are left out.
        """
        found: dict[str, Array] = {}
        steps = positions[:, None] + np.arange(1 - self.seen, self.horizon + 1)
        rows = np.arange(len(positions))[:, None]
        if _PAST in state:
            places = steps[:, : self.seen] % self.seen
            found["past"] = state[_PAST][rows, places]
        if _FUTURE in state:
            found["future"] = state[_FUTURE][rows, steps % self._ring]
        if calendar is not None:
            shape = len(positions), *calendar.shape[1:]
            parts = [np.broadcast_to(calendar, shape)]
            if "future" in found:
                parts.append(found["future"])
            found["future"] = np.concatenate(parts, axis=-1)
        if _STATIC in state:
            found["static"] = state[_STATIC]
        if _IDS in state:
            found["static_ids"] = state[_IDS]
        return found

    def _tell(self, ring: Array, places: Any, new: Array) -> None:
        """Sets steps of rings: the newest that is not missing counts."""
        known = ring[places]
        known[np.isnan(known)] = 0.0
        ring[places] = np.where(np.isnan(new), known, new)


class CovariateCall:
    """The covariates of one call, checked before anything moves.

    Args:
        memory: What is kept of them.
        rows: Of the call, sorted.
        plan: Of the call.
        last: int64, by key: where it stood before.
        known: bool, by key.
        state: The memory's arrays of all keys; of unknown ones anything. Changed.
        future: What the call tells of the steps to forecast: a long frame, a mapping
            of columns, or None.
        forecast: Whether the call forecasts.
        clock: Of the positions.

    Raises:
        TypeError, ValueError: If the network would have to do without what it needs.
    """

    def __init__(
        self,
        memory: CovariateMemory,
        rows: Rows,
        plan: Plan,
        last: Array,
        known: Array,
        state: State,
        future: Any,
        forecast: bool,
        clock: Clock,
    ):
        self._memory, self._plan, self._state = memory, plan, state
        self._rows, self._last, self._known = rows, last, known
        self._told = rows.covariates or RowCovariates()
        self._clock = clock
        self._ahead: tuple[Array, Array] | None = None
        fresh = np.flatnonzero(~known)
        for name, array in memory.cold(len(fresh)).items():
            state[name][fresh] = array
        self._check_rows()
        if _FUTURE in memory.arrays:
            if self._told.future is None:
                self._check_told()
            if forecast:
                self._read_ahead(future)
        memory.describe(state, self._told)
        passed = np.flatnonzero(known & (plan.begin > last + 1))
        memory.skip(state, passed, last[passed], plan.begin[passed])

    def state(self, chosen: Array) -> State:
        """Copies of the memory's arrays of some keys, int64."""
        return {name: array[chosen] for name, array in self._state.items()}

    def advance(
        self, state: State, chosen: Array, rows: Array, here: Array, positions: Array
    ) -> None:
        """Takes in a step of some keys.

        Args:
            state: Arrays whose first rows are of these keys, changed in place.
            chosen: int64, `(count,)`: the keys.
            rows: int64, `(count,)`: the next row of each, in the order of the plan.
            here: bool, `(count,)`: whether it belongs to this step.
            positions: int64, `(count,)`.
        """
        memory, count = self._memory, len(chosen)
        own = {name: state[name][:count] for name in memory.arrays}
        source = rows if self._rows.source is None else self._rows.source[rows]

        def of_step(told: Array | None) -> Array | None:
            if told is None:
                return None
            return np.where(here[:, None], told[source], np.float32("nan"))

        memory.advance(
            own, positions, of_step(self._told.past), of_step(self._told.future)
        )
        if self._ahead is None:
            return
        ending = np.flatnonzero(positions == self._plan.last[chosen])
        values, told = (array[chosen[ending]] for array in self._ahead)
        memory.look_ahead(own, ending, positions[ending], values, told)

    def _check_rows(self) -> None:
        """Whether the rows have the columns that nothing else could tell."""
        memory, told, moved = self._memory, self._told, self._plan.order
        names = memory.reader.columns
        if not len(moved):
            return
        if _PAST in memory.arrays and told.past is None:
            raise ValueError(
                "Rows must have the past covariates of their steps, which a mapping of "
                "keys to numbers has no place for: give a frame, or a mapping of its "
                f"columns, with {list(names.past)}. Received: keys and numbers alone"
            )
        new = moved[~self._known[moved]]
        if memory.reader.has_static and told.static is None and len(new):
            keys = [self._plan.keys[i] for i in new[:5].tolist()]
            raise ValueError(
                "A key that is new must come with its static covariates: give a frame, "
                f"or a mapping of its columns, with {list(names.static)}; a value that "
                f"is not known may be missing. Received: no such columns for {keys}"
            )

    def _check_told(self) -> None:
        """Whether the steps of rows without future covariates were told ahead."""
        codes, positions = self._rows.codes, self._plan.positions
        needed = np.flatnonzero(positions >= self._plan.begin[codes])
        codes, positions = codes[needed], positions[needed]
        absent = ~self._told_before(codes, positions)
        if absent.any():
            wanted = list(self._memory.reader.columns.future)
            raise ValueError(
                "Rows must have the future covariates of their steps where these were "
                f"not told ahead: give a frame, or a mapping of its columns, with "
                f"{wanted}. Received: no such columns, for "
                + self._describe(codes[absent], positions[absent])
            )

    def _read_ahead(self, future: Any) -> None:
        """Takes in `future`, and checks that all steps to forecast are told."""
        memory, plan = self._memory, self._plan
        reader, horizon, count = memory.reader, memory.horizon, len(plan.keys)
        shape = count, horizon
        values = np.full((*shape, reader.widths["future"]), np.nan, np.float32)
        told, given = np.zeros(shape, bool), "future=None"
        if future is not None:
            given = f"{len(future)} rows" if hasattr(future, "columns") else "columns"
            values, told = reader.read_ahead(
                future, plan.keys, plan.last + 1, horizon, self._clock
            )
        keys = np.repeat(plan.order, horizon)
        positions = plan.last[keys] + 1 + np.tile(np.arange(horizon), len(plan.order))
        known = told[plan.order].reshape(-1) | self._told_before(keys, positions)
        if not known.all():
            raise ValueError(
                "`future` must have a row for each step to forecast of each series, "
                f"unless it was told before, with {list(reader.columns.future)}; a "
                f"value that is not known may be NaN. Received: {given}, without "
                + self._describe(keys[~known], positions[~known])
            )
        self._ahead = values, told

    def _told_before(self, keys: Array, positions: Array) -> Array:
        memory, last = self._memory, self._last[keys]
        ahead = (positions > last) & (positions <= last + memory.horizon)
        known: Array = ahead & self._known[keys]
        return known & memory.knows(self._state, keys, positions)

    def _describe(self, keys: Array, positions: Array) -> str:
        names = [self._plan.keys[key] for key in keys[:10].tolist()]
        return (
            f"{len(keys)} steps of {len(np.unique(keys))} series, the first:\n"
            + list_steps(names, positions[:10], self._clock)
        )
