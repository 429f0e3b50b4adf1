"""ForecastSession: forecasts of many series as their values come in."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from keras_seq.errors import check_choice
from keras_seq.forecasting.names import Columns
from keras_seq.numpy_runtime.clock import Clock
from keras_seq.streaming.covariates import CovariateCall, CovariateMemory
from keras_seq.streaming.keyed import BLOCK, KeyedSession
from keras_seq.streaming.observations import Rows, read_rows
from keras_seq.streaming.planning import LARGEST, Plan, make_plan, settle, sort_rows
from keras_seq.streaming.rows import Array, Key, State

# Where a key stands: the grid position of its last value.
_POSITION = "session/position"


class Stepper(Protocol):
    """What advances states by values and forecasts from them; it owns no key.

    Attributes:
        arrays: Shape and dtype of each array that is kept for a key.
        fingerprint: Of weights and arguments.
        horizon: Steps that it forecasts.
        lookback: Steps that it sees at once.
        windowed: Whether nothing older than `lookback` steps matters. A state is then
            not advanced over steps that it would have forgotten.
    """

    arrays: dict[str, tuple[tuple[int, ...], Any]]
    fingerprint: str
    horizon: int
    lookback: int
    windowed: bool

    def cold(self, count: int) -> State:
        """States of keys never seen, each `(count, ...)`."""

    def step(
        self, state: State, values: Array, positions: Array, forecast: bool
    ) -> Array | None:
        """Advances states by a step.

        Args:
            state: Arrays `(count, ...)`, changed in place.
            values: float64, `(count,)`; NaN is missing.
            positions: int64, `(count,)`: of the values on the clock. Those of a key
                follow each other without a gap.
            forecast: Whether to forecast what comes after.

        Returns:
            float64, `(count, horizon, outputs)`, in the unit of the values; None where
            `forecast` is False.
        """


@dataclass(frozen=True)
class StreamForecast:
    """What a session answers.

    Attributes:
        keys: As they were given.
        values: float64, `(keys, horizon, outputs)`; NaN of a key whose values were all
            skipped as late.
        outputs: Columns of the last axis: `y_hat`, then `y_hat_q0.1` and so on.
        positions: int64, `(keys,)`: of each key's last value on the clock.
    """

    keys: list[Key]
    values: Array
    outputs: tuple[str, ...]
    positions: Array
    _clock: Clock = field(repr=False)
    _names: Columns = field(repr=False)

    @property
    def ds(self) -> Array:
        """Stamps of the forecasts, `(keys, horizon)`; in UTC if there is a zone."""
        ahead = np.arange(1, self.values.shape[1] + 1)
        return self._clock.stamps(self.positions[:, None] + ahead)

    def to_frame(self) -> Any:
        """The same as a frame, in the form of `Forecaster.predict`."""
        import pandas as pd

        count, horizon, _ = self.values.shape
        stamps: Any = self.ds.reshape(-1)
        if self._clock.tz is not None:
            stamps = pd.DatetimeIndex(stamps, tz="UTC").tz_convert(self._clock.tz)
        columns: dict[str, Any] = {}
        if self._names.id is not None:
            ids = np.fromiter(self.keys, object, count)
            columns[self._names.id] = np.repeat(ids, horizon)
        columns[self._names.time] = stamps
        for index, name in enumerate(self.outputs):
            columns[name] = self.values[:, :, index].reshape(-1)
        return pd.DataFrame(columns).infer_objects()


class ForecastSession(KeyedSession):
    """Takes values of any series as they come, and forecasts what follows.

    Each key keeps its own state, of a size that does not grow; any set of keys may come
    in a call. Steps between a key's values are missing, and so are NaN and infinite
    values. Several threads may use a session: calls wait for each other.

    Args:
        stepper: The model.
        clock: Of the stamps.
        start: Position of the first value of a key that comes without a stamp before
            any key has one: one step after the training data.
        outputs: Columns of the stepper's last axis.
        names: Of a long frame's columns.
        on_late: What to do about stamps at or before a key's last one, and about those
            repeated within a call: `"error"`, or `"skip"`, which counts them.
        memory: Of covariates, the same that the stepper reads; None without any.
        options: `max_keys`, `on_full` and `spill` of `KeyedStates`.

    Attributes:
        num_missing: NaN values that came.
        num_invalid: Infinite ones, or larger than float32 holds.
        num_late: Values that were skipped.

    Example:
        >>> session = forecaster.stream()                              # doctest: +SKIP
        >>> out = session.step({"store_1": 12.0, "store_2": 8.1})      # doctest: +SKIP
        >>> out.values.shape                                           # doctest: +SKIP
        (2, 12, 4)
    """

    _counters = ("num_missing", "num_invalid", "num_late")

    num_missing: int
    num_invalid: int
    num_late: int

    def __init__(
        self,
        stepper: Stepper,
        clock: Clock,
        *,
        start: int = 0,
        outputs: Sequence[str] = ("y_hat",),
        names: Columns | None = None,
        on_late: str = "error",
        memory: CovariateMemory | None = None,
        **options: Any,
    ):
        check_choice("on_late", on_late, ("error", "skip"))
        counted = {"freq": clock.freq, "start": str(clock.start), "tz": clock.tz}
        arrays = {**stepper.arrays, _POSITION: ((), np.int64)}
        if memory is not None:
            arrays |= memory.arrays
        super().__init__("series", stepper.fingerprint, arrays, counted, **options)
        self.stepper, self.clock, self.memory = stepper, clock, memory
        self.outputs = tuple(outputs)
        self.names = names or Columns()
        self.on_late = on_late
        self._start = start
        self._reached: int | None = None  # the latest position of any key

    def step(self, data: Any, ds: Any = None, *, future: Any = None) -> StreamForecast:
        """Takes values in, and forecasts what comes after them.

        Args:
            data: `{key: number}`, one step of each key; a bare number where there is
                one series; or a long frame, or a mapping of its columns to arrays, of
                any number of rows for each key, in any order. Where there are
                covariates, the rows have columns of past ones, of future ones unless
                all of their steps were told ahead, and of static ones unless all of
                their keys are known.
            ds: Stamp of all values of `{key: number}`. None: one step after the last of
                each key; of a new key, the latest stamp that any key has (this call's
                included), else the step after the training data. Strings and NumPy's
                stamps are in UTC if the training data have a time zone.
            future: Future covariates of the steps to forecast, a long frame of ids,
                stamps and their columns, or a mapping of these; other rows are not
                used. A step that was told need not be told again; if it is, the newer
                value counts, unless it is missing.

        Returns:
            The forecasts after each key's last value.

        Raises:
            TypeError, ValueError: If the input breaks a rule, or a stamp is late;
                nothing has changed then.
        """
        with self._lock:
            plain = ds is None and future is None and self.memory is None
            if plain and type(data) is dict and len(data) == 1:
                answer = self._step_known(*next(iter(data.items())))
                if answer is not None:
                    return answer
            reader = None if self.memory is None else self.memory.reader
            if future is not None and (reader is None or not reader.columns.future):
                raise ValueError(
                    "`future` must be left out, since the Forecaster was fitted "
                    "without `future_covariates`. Received: "
                    f"{type(future).__name__}"
                )
            rows = read_rows(data, ds, self.names, self.clock, reader)
            return self._take(rows, True, future)

    def _step_known(self, key: Any, value: Any) -> StreamForecast | None:
        """One usual value of one key in memory: the same answer in a third of the time.

        Returns:
            None where it is anything else; nothing has changed then.
        """
        number = isinstance(value, float) or type(value) is int
        if type(key) not in (str, int) or not number or abs(value) > LARGEST:
            return None
        state = self._store.use(key)
        if state is None:
            return None
        position = state[_POSITION] + 1
        values = np.array([value], np.float64)
        told = np.asarray(self.stepper.step(state, values, position, True))
        state[_POSITION][0] = position[0]
        self.num_missing += int(value != value)  # NumPy's own would not be JSON
        if self._reached is None or self._reached < position[0]:
            self._reached = int(position[0])
        return StreamForecast(
            [key], told, self.outputs, position, self.clock, self.names
        )

    def learn(self, rows: Rows) -> None:
        """Starts keys from a history, without forecasts.

        A key that comes without a stamp before any other call stands one step after it.
        """
        with self._lock:
            self._take(rows, False)
            if self._reached is not None:
                self._start, self._reached = self._reached + 1, None

    def place(self, keys: Sequence[Key], state: State, positions: Array) -> None:
        """Puts keys into given states.

        Args:
            keys: All different.
            state: The stepper's arrays, `(keys, ...)`.
            positions: int64, `(keys,)`: of the last value that each has read.
        """
        with self._lock:
            whole = {**state, _POSITION: positions}
            if self.memory is not None:
                whole |= self.memory.cold(len(keys))
            self._store.write(keys, whole, self._store.find(keys))

    def stamp(self, key: Key) -> Any:
        """The stamp of a key's last value; in UTC if there is a time zone.

        Raises:
            KeyError: If the key is not known.
        """
        with self._lock:
            state, known = self._store.read([key], names=(_POSITION,))
            if not known[0]:
                raise KeyError(key)
            return self.clock.stamps(state[_POSITION])[0]

    def _take(self, rows: Rows, forecast: bool, future: Any = None) -> StreamForecast:
        slots = self._store.find(rows.keys)
        names = [_POSITION, *(self.memory.arrays if self.memory is not None else ())]
        state, known = self._store.read(rows.keys, slots, names=names)
        last = state.pop(_POSITION)
        rows = settle(rows, last, known, self._reached, self._start)
        skip = self.on_late == "skip"
        rows, late = sort_rows(rows, last, known, skip, self.clock)
        lookback = None
        if getattr(self.stepper, "windowed", False):
            lookback = self.stepper.lookback
        plan, missing, invalid = make_plan(rows, last, known, lookback)
        told = None
        if self.memory is not None:
            told = CovariateCall(
                self.memory,
                *(rows, plan, last, known, state, future, forecast, self.clock),
            )
        values = self._run(plan, slots, forecast, told)
        self.num_late += late
        self.num_missing += missing
        self.num_invalid += invalid
        if len(plan.order):
            latest = int(plan.last[plan.order].max())
            if self._reached is None or self._reached < latest:
                self._reached = latest
        return StreamForecast(
            plan.keys, values, self.outputs, plan.last, self.clock, self.names
        )

    def _run(
        self, plan: Plan, found: Array, forecast: bool, told: CovariateCall | None
    ) -> Array:
        """Advances all keys of a plan, a block of them at a time."""
        shape = len(plan.keys), self.stepper.horizon, len(self.outputs)
        answers = np.full(shape if forecast else (0, *shape[1:]), np.nan)
        size = min(BLOCK, self._store.max_keys or BLOCK)
        moved = [*self.stepper.arrays, _POSITION]  # `told` has all else
        for first in range(0, len(plan.order), size):
            chosen = plan.order[first : first + size]
            keys = [plan.keys[i] for i in chosen.tolist()]
            slots = found[chosen]
            if first and self._store.max_keys is not None:
                # Some may have made room for those of the block before.
                slots = self._store.find(keys)
            state, known = self._store.read(keys, slots, names=moved)
            # A key of this call may have been dropped for another one of it.
            cold = np.flatnonzero(plan.cold[chosen] | ~known)
            for name, fresh in self.stepper.cold(len(cold)).items():
                state[name][cold] = fresh
            if told is not None:
                state |= told.state(chosen)
            found_here = self._advance(plan, chosen, state, forecast, told)
            state[_POSITION][:] = plan.last[chosen]
            self._store.write(keys, state, slots)
            if forecast:
                answers[chosen] = found_here
        return answers

    def _advance(
        self,
        plan: Plan,
        chosen: Array,
        state: State,
        forecast: bool,
        told: CovariateCall | None,
    ) -> Array | None:
        """Runs keys wave by wave: those that take the most steps stand first."""
        begin, rows = plan.begin[chosen], plan.starts[chosen].copy()
        steps = plan.last[chosen] - begin + 1  # falling
        answers = None
        if forecast:
            shape = len(chosen), self.stepper.horizon, len(self.outputs)
            answers = np.empty(shape)
        for wave in range(int(steps[0])):
            running = int(np.searchsorted(-steps, -wave))  # steps > wave
            staying = int(np.searchsorted(-steps, -wave - 1))
            positions = begin[:running] + wave
            here = plan.positions[rows[:running]] == positions
            values = np.where(here, plan.values[rows[:running]], np.nan)
            if told is not None:
                told.advance(state, chosen[:running], rows[:running], here, positions)
            rows[:running] += here
            for part, last in (
                (slice(0, staying), False),
                (slice(staying, running), forecast),
            ):
                if part.start == part.stop:
                    continue
                own = {name: array[part] for name, array in state.items()}
                found = self.stepper.step(own, values[part], positions[part], last)
                if answers is not None and last:
                    answers[part] = found
        return answers

    def _get_state(self) -> dict[str, Any]:
        own = {"start": self._start, "reached": self._reached}
        return {**super()._get_state(), **own}

    def _set_state(self, state: dict[str, Any]) -> None:
        super()._set_state(state)
        self._start, self._reached = state["start"], state["reached"]
