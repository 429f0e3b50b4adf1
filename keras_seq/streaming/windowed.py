"""The stepper of a forecaster that sees windows: the last values of each key."""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_seq.forecasting.nonnegative import bend, find_knees
from keras_seq.forecasting.windows import window_shift
from keras_seq.numpy_runtime.clock import Clock
from keras_seq.streaming.calendar import CalendarTable
from keras_seq.streaming.covariates import CovariateMemory
from keras_seq.streaming.rows import Array, State

Forward = Callable[[dict[str, Array]], Array]
# From the network's answer, windows (float32, `(batch, lookback)`) and their shift to
# the outputs.
Finish = Callable[[Array, Array, Array], Array]


class WindowedStepper:
    """Keeps the last `lookback` values of each key, and forecasts from them.

    Values stay float64 in a ring: the value of grid position p is at p % lookback.

    Args:
        lookback: Steps that the network sees.
        horizon: Steps that it forecasts.
        clock: Of the positions.
        centered: As in `window_shift`.
        nonnegative: Whether outputs are bent where they would fall below zero.
        forward: The network: `target`, `(batch, lookback)`, and `future`, `(batch,
            lookback + horizon, num_features)`, if there is a calendar, and covariates,
            to `(batch, horizon, outputs)`; float32.
        fingerprint: Of weights and arguments.
        finish: What becomes of the network's answer, float64 in the unit of the values,
            `(batch, horizon, outputs)`; None: nothing.
    """

    windowed = True

    def __init__(
        self,
        *,
        lookback: int,
        horizon: int,
        clock: Clock,
        centered: bool | None,
        nonnegative: bool,
        forward: Forward,
        fingerprint: str,
        finish: Finish | None = None,
        memory: CovariateMemory | None = None,
    ):
        self.lookback, self.horizon, self.clock = lookback, horizon, clock
        self.centered, self.nonnegative = centered, nonnegative
        self.forward, self.finish = forward, finish
        self.fingerprint, self.memory = fingerprint, memory
        self.arrays: dict[str, tuple[tuple[int, ...], Any]] = {
            "window": ((lookback,), np.float64)
        }
        self._calendar = CalendarTable(clock, 1 - lookback, horizon)

    def cold(self, count: int) -> State:
        """Windows without a value."""
        return {"window": np.full((count, self.lookback), np.nan)}

    def step(
        self, state: State, values: Array, positions: Array, forecast: bool
    ) -> Array | None:
        """As in `Stepper`."""
        window = state["window"]
        rows = np.arange(len(values))
        window[rows, positions % self.lookback] = values
        if not forecast:
            return None
        steps = positions[:, None] + np.arange(1, self.lookback + 1)
        past = window[rows[:, None], steps % self.lookback]  # oldest first
        shift = window_shift(past, self.centered)
        target = (past - shift[:, None]).astype(np.float32)
        inputs = {"target": target}
        calendar = self._calendar(positions)
        if self.memory is not None:
            inputs |= self.memory.inputs(state, positions, calendar)
        elif calendar is not None:
            inputs["future"] = calendar
        raw = self.forward(inputs).astype(np.float64) + shift[:, None, None]
        told = raw if self.finish is None else self.finish(raw, target, shift)
        return bend(told, find_knees(past)) if self.nonnegative else told
