"""The stepper of a stateful forecaster: the state of each key goes on, step by step."""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_seq.numpy_runtime.clock import Clock
from keras_seq.streaming.calendar import CalendarTable
from keras_seq.streaming.covariates import CovariateMemory
from keras_seq.streaming.engines import pad_batch
from keras_seq.streaming.rows import Array, State

# A step of many streams: states, changed in place; values, float32; whether to
# forecast; and `future`, the calendar and covariates from this step on, of each row or
# one for all, `past`, of this step, `static` and `static_ids`, where there are any. It
# returns forecasts, location and scale.
Advance = Callable[
    [State, Array, bool, dict[str, Array]], tuple[Array, Array, Array] | None
]
# From the network's answer, its location, scale and shift to the outputs.
Finish = Callable[[Array, Array, Array, Array], Array]


class StatefulStepper:
    """Keeps the recurrent state, the running scale and the last values of each key.

    Args:
        context: Last values that the network sees at once.
        horizon: Steps that it forecasts.
        widths: Numbers of each state, by name.
        clock: Of the positions.
        centered: Whether the first value of a key is subtracted from all of its values,
            in float64, before they become float32.
        advance: The network.
        finish: What becomes of its answer, float64 in the unit of the values.
        fingerprint: Of weights and arguments.
        memory: Of covariates, of one step; None without any.
    """

    windowed = False

    def __init__(
        self,
        *,
        context: int,
        horizon: int,
        widths: dict[str, int],
        clock: Clock,
        centered: bool | None,
        advance: Advance,
        finish: Finish,
        fingerprint: str,
        memory: CovariateMemory | None = None,
    ):
        self.lookback, self.horizon = context, horizon
        self.centered, self.advance, self.finish = centered, advance, finish
        self.fingerprint, self.memory = fingerprint, memory
        self.arrays: dict[str, tuple[tuple[int, ...], Any]] = {
            name: ((width,), np.float32) for name, width in widths.items()
        }
        self.arrays["shift"] = (), np.float64  # NaN before the first value
        self._calendar = CalendarTable(clock, 0, horizon)

    def cold(self, count: int) -> State:
        """States of streams that begin."""
        state = {
            name: np.zeros((count, *shape), dtype)
            for name, (shape, dtype) in self.arrays.items()
        }
        state["shift"][:] = np.nan
        return state

    def step(
        self, state: State, values: Array, positions: Array, forecast: bool
    ) -> Array | None:
        """As in `Stepper`."""
        kept = state["shift"]
        unknown = np.isnan(kept)
        if unknown.any():
            first = values[unknown]
            kept[unknown] = first if self.centered else 0.0 * first
        shift = kept.copy()  # NaN, and so are forecasts, before the first value
        # Keys mostly stand at the same step, which has one calendar for all.
        together = len(positions) > 1 and bool((positions == positions[0]).all())
        calendar = self._calendar(positions[:1] if together else positions)
        inputs = {} if calendar is None else {"future": calendar}
        if self.memory is not None:
            inputs = self.memory.inputs(state, positions, calendar)
            if "past" in inputs:
                inputs["past"] = inputs["past"][:, 0]
        told = self.advance(
            state, (values - shift).astype(np.float32), forecast, inputs
        )
        if told is None:
            return None
        raw, location, scale = told
        raw = raw.astype(np.float64) + shift[:, None, None]
        return self.finish(raw, location, scale, shift)


def keras_stream(model: Any) -> Advance:
    """A Keras network's step, compiled by XLA; rows are padded to a power of two."""
    from keras_seq.training.autodiff import compiled_call

    run = compiled_call(model, xla=True)

    def advance(
        state: State, values: Array, forecast: bool, beside: dict[str, Array]
    ) -> tuple[Array, Array, Array] | None:
        count = len(values)
        names = list(model.state_widths)
        inputs: dict[str, Array] = {
            "target": values[:, None],
            "length": np.ones(count, np.int32),
            "at": np.zeros((count, 1), np.int32),
            **{name: state[name] for name in names},
            **beside,
        }
        if "past" in beside:
            inputs["past"] = beside["past"][:, None]
        if "future" in beside:
            future = beside["future"]
            inputs["future"] = np.broadcast_to(future, (count, *future.shape[1:]))
        size = 1 << (count - 1).bit_length()
        if size > count:
            inputs = {name: pad_batch(array, size) for name, array in inputs.items()}
        outputs = run(inputs)
        for name in names:
            state[name][...] = outputs[name][:count]
        if not forecast:
            return None
        return tuple(
            outputs[name][:count, 0] for name in ("forecast", "location", "scale")
        )

    return advance
