"""What is seen from chosen steps of a stream, and of the steps ahead of them."""

from typing import Any

import keras
from keras import ops

Tensor = Any


@keras.saving.register_keras_serializable("keras_seq")
class EveryStep(keras.layers.Layer):
    """The number of each step: `(batch, time)` -> int32, `(batch, time)`."""

    def compute_output_spec(self, target: Any) -> Any:
        return keras.KerasTensor(target.shape, dtype="int32")

    def call(self, target: Tensor) -> Tensor:
        zeros = ops.cast(ops.zeros_like(target), "int32")
        return zeros + ops.arange(target.shape[1], dtype="int32")


@keras.saving.register_keras_serializable("keras_seq")
class KnownAhead(keras.layers.Layer):
    """What is known of the steps ahead of each position, and of the season before.

    Args:
        horizon: Steps ahead.
        season_length: Steps in a season.
        num_calendar: Features, the first ones, that are not looked for a season before.

    Call arguments:
        future: `(batch, time + horizon, num_future)`.
        at: int32, `(batch, positions)`.
        length: int32, `(batch,)`: valid steps.
        state: `(batch, season_length * (num_future - num_calendar))`, or None where
            there is nothing but a calendar.

    Returns:
        `ahead`, `(batch, positions, horizon, num_future)`; and, with a state, `before`,
        of the steps that the seasonal skip repeats, `(batch, positions, horizon,
        num_future - num_calendar)`, and the new state.
    """

    def __init__(
        self, horizon: int, season_length: int, num_calendar: int, **kwargs: Any
    ):
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})
        self.horizon = horizon
        self.season_length = season_length
        self.num_calendar = num_calendar

    def compute_output_spec(
        self, future: Any, at: Any, length: Any, state: Any = None
    ) -> Any:
        def spec(*shape: Any) -> Any:
            return keras.KerasTensor(shape, dtype="float32")

        ahead = spec(*at.shape, self.horizon, future.shape[-1])
        if state is None:
            return ahead
        width = future.shape[-1] - self.num_calendar
        return ahead, spec(*at.shape, self.horizon, width), spec(*state.shape)

    def call(
        self, future: Tensor, at: Tensor, length: Tensor, state: Tensor | None = None
    ) -> Any:
        steps = at[..., None] + 1 + ops.arange(self.horizon, dtype=at.dtype)
        ahead = gather_steps(future, steps)
        if state is None:
            return ahead
        season = self.season_length
        known = future[..., self.num_calendar :]
        width = known.shape[-1]
        kept = ops.reshape(ops.cast(state, "float32"), (-1, season, width))
        extended = ops.concatenate([kept, known], axis=1)
        phase = ops.arange(self.horizon, dtype=at.dtype) % season
        before = gather_steps(extended, at[..., None] + 1 + phase)
        places = ops.cast(length, "int32")[:, None] + ops.arange(season, dtype="int32")
        after = gather_steps(extended, places)
        return ahead, before, ops.reshape(after, ops.shape(state))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "horizon": self.horizon,
            "season_length": self.season_length,
            "num_calendar": self.num_calendar,
        }


@keras.saving.register_keras_serializable("keras_seq")
class TakeSteps(keras.layers.Layer):
    """Features at positions: `(batch, time, d)` -> `(batch, positions, d)`.

    What belongs to a whole row, `(batch, d)`, is the same at all of them.
    """

    def compute_output_spec(self, values: Any, at: Any) -> Any:
        return keras.KerasTensor((*at.shape, values.shape[-1]), dtype=values.dtype)

    def call(self, values: Tensor, at: Tensor) -> Tensor:
        if len(values.shape) == 2:
            values, at = values[:, None], ops.zeros_like(at)
        return gather_steps(values, at)


@keras.saving.register_keras_serializable("keras_seq")
class PerPosition(keras.layers.Layer):
    """Rows `(batch * positions, ...)` back to `(batch, positions, ...)`."""

    def compute_output_spec(self, rows: Any, at: Any) -> Any:
        return keras.KerasTensor((*at.shape, *rows.shape[1:]), dtype=rows.dtype)

    def call(self, rows: Tensor, at: Tensor) -> Tensor:
        return ops.reshape(rows, (*ops.shape(at), *rows.shape[1:]))


def gather_steps(values: Tensor, at: Tensor) -> Tensor:
    """Rows of features at steps.

    Args:
        values: `(batch, time, features)`.
        at: int32, `(batch, ...)`.

    Returns:
        `(batch, ..., features)`.
    """
    flat = ops.reshape(at, (ops.shape(at)[0], -1))[..., None]
    features = values.shape[-1]
    found = ops.take_along_axis(values, ops.repeat(flat, features, axis=2), axis=1)
    return ops.reshape(found, (*ops.shape(at), features))
