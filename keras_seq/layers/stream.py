"""What a network sees of a stream: each step scaled by what came up to it."""

from typing import Any

import keras
from keras import ops

from keras_seq.errors import check_integer
from keras_seq.layers.scaling import WindowScaler, check_scaling
from keras_seq.layers.state import CarriedState

Tensor = Any

# Numbers kept of a stream beside the last values: of what was observed a decayed count,
# mean of |y|, mean, and mean distance from it; of changes since the season before a
# decayed count, mean size, mean size of their changes, and the last of them; and how
# many of the last values are known.
NUM_STATISTICS = 9
# Mean absolute deviations in a standard deviation of a normal distribution.
_DEVIATIONS = 1.2533


@keras.saving.register_keras_serializable("keras_seq")
class StreamScaler(WindowScaler):
    """Scales each step of a stream by statistics of the steps up to it.

    Statistics are means that decay with time, so that old levels are forgotten, and
    go on from chunk to chunk in a state. Beside them the state keeps the last values,
    where a missing one is replaced by that of the season before (by the mean, if there
    is none), for what needs to see them at once.

    Args:
        scaling: As for `WindowScaler`: `"mean_abs"` divides by the mean of |y|,
            `"standard"` subtracts the mean and divides by 1.25 mean distances from it,
            `"log"` takes logarithms and subtracts their mean, `"none"` does nothing.
        context: Number of last values kept.
        season_length: Steps in a season, at most `context`.

    Call arguments:
        target: `(batch, time)`; NaN marks a missing step.
        length: int32, `(batch,)`: valid steps of each row; the others are not read.
        state: `(batch, state_width)`; zeros for streams that begin.
        at: int32, `(batch, positions)`: the steps to look back from.

    Returns:
        `steps`, `(batch, time, 3)`: scaled, observed or not, and the change since the
        season before. At the positions asked for: `windows`, `(batch, positions,
        context)`, the last values, scaled, 0 where there are none; `noise`,
        `(batch, positions, 2)`; `location` and `scale`, `(batch, positions, 1)`, for
        `transform` and `WindowUnscaler`. Then the new state.
    """

    def __init__(
        self,
        scaling: str = "mean_abs",
        *,
        context: int,
        season_length: int = 1,
        **kwargs: Any,
    ):
        super().__init__(check_scaling(scaling, stateful=True), **kwargs)
        self.context = check_integer("context", context, 1)
        self.season_length = check_integer("season_length", season_length, 1)
        # What is a window's length from the end counts a third of what is new.
        self.decay = 1.0 - 1.0 / max(context, 2 * season_length, 8)

    @property
    def state_width(self) -> int:
        """Numbers of the state of one stream."""
        return NUM_STATISTICS + self.context

    def build(  # type: ignore[override]
        self, target_shape: Any, *_: Any, **__: Any
    ) -> None:
        super().build(target_shape)

    def compute_output_spec(
        self, target: Any, length: Any, state: Any, at: Any
    ) -> tuple[Any, ...]:
        batch, time = target.shape
        shapes = [
            (batch, time, 3),
            (*at.shape, self.context),
            (*at.shape, 2),
            (*at.shape, 1),
            (*at.shape, 1),
            (batch, self.state_width),
        ]
        return tuple(keras.KerasTensor(shape, dtype="float32") for shape in shapes)

    def call(  # type: ignore[override]
        self, target: Tensor, length: Tensor, state: Tensor, at: Tensor
    ) -> tuple[Tensor, ...]:
        state = ops.cast(state, "float32")
        old = [state[:, i : i + 1] for i in range(NUM_STATISTICS)]
        kept = state[:, NUM_STATISTICS:]  # (batch, context)
        values, observed = self.split_missing(target)
        if self.scaling == "log":
            values = ops.log(ops.maximum(values, self.floor))
        count, (size, mean) = self._means(
            old[0], [(old[1], ops.abs(values)), (old[2], values)], observed
        )
        away = ops.abs(values - mean)
        _, (deviation,) = self._means(old[0], [(old[3], away)], observed)
        begun = ops.cast(old[8] + ops.cumsum(observed, axis=1) > 0, "float32")
        known = ops.minimum(old[8] + ops.cumsum(begun, axis=1), float(self.context))

        # Whether there was a value a season before: known, counted one step earlier.
        reaches = ops.concatenate([old[8], known[:, :-1]], axis=1) >= self.season_length
        reaches = ops.cast(reaches, "float32")
        filled = self._fill(values, observed, mean, reaches, kept)
        extended = ops.concatenate([kept, filled], axis=1)  # (batch, context + time)
        time = target.shape[1]
        begin = self.context - self.season_length
        before = extended[:, begin : begin + time]
        comparable = observed * reaches
        change = (values - before) * comparable
        previous = ops.concatenate([old[7], change[:, :-1]], axis=1)
        changes, (swing, jump) = self._means(
            old[4],
            [(old[5], ops.abs(change)), (old[6], ops.abs(change - previous))],
            comparable,
        )

        location, scale = self._location_and_scale(size, mean, deviation)
        steps = ops.stack(
            [(values - location) / scale * observed, observed, change / scale], axis=-1
        )
        statistics = ops.stack(
            [count, size, mean, deviation, changes, swing, jump, change, known], axis=-1
        )  # (batch, time, NUM_STATISTICS)
        new_state = self._state_after(statistics, extended, state, length)

        at_location, at_scale, at_swing, at_jump, at_known = (
            _take(x, at)[..., None] for x in (location, scale, swing, jump, known)
        )
        places = at[..., None] + 1 + ops.arange(self.context, dtype=at.dtype)
        windows = _take(extended, places)
        recent = ops.arange(self.context, 0, -1, dtype="float32") <= at_known
        windows = ops.where(recent, (windows - at_location) / at_scale, 0.0)
        noise = ops.concatenate([at_swing, at_jump], axis=-1) / at_scale
        return steps, windows, ops.log(1e-3 + noise), at_location, at_scale, new_state

    def _means(
        self, count: Tensor, pairs: list[tuple[Tensor, Tensor]], weight: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Decayed means, step by step, of values `(batch, time)`, and their count."""
        time = weight.shape[1]
        steps = ops.arange(time, dtype="float32")
        since = steps[None] - steps[:, None]  # from row's step to column's
        fading = ops.where(since >= 0, self.decay ** ops.maximum(since, 0.0), 0.0)
        carried = self.decay ** (steps + 1.0) * count
        total = carried + ops.matmul(weight, fading)
        # After ages without a value the mean stays what it was.
        some = total > 1e-20
        divisor = ops.where(some, total, 1.0)
        means = []
        for before, values in pairs:
            # Relative to the old mean, so that large levels keep their digits.
            away = ops.where(carried > 0, before, 0.0)
            moved = ops.matmul((values - away) * weight, fading)
            means.append(ops.where(some, away + moved / divisor, before))
        return total, means

    def _fill(
        self,
        values: Tensor,
        observed: Tensor,
        mean: Tensor,
        reaches: Tensor,
        kept: Tensor,
    ) -> Tensor:
        """Values, and that of the season before where one is missing, or the mean."""
        own = ops.maximum(observed, 1.0 - reaches)
        values = ops.where(observed > 0, values, mean)
        time, season = values.shape[1], self.season_length
        blocks = -(-time // season)
        rest = blocks * season - time
        padded = [ops.pad(x, ((0, 0), (0, rest))) for x in (values, own)]
        shape = (-1, blocks + 1, season)
        table = ops.concatenate([kept[:, -season:], padded[0]], axis=1)
        flags = ops.concatenate([ops.ones_like(kept[:, -season:]), padded[1]], axis=1)
        table, flags = ops.reshape(table, shape), ops.reshape(flags, shape)
        number = ops.cast(ops.arange(blocks + 1), "float32")[None, :, None]
        latest = ops.where(flags > 0, number, -1.0)
        reach = 1
        while reach <= blocks:  # a running maximum, in as many steps as its logarithm
            earlier = ops.pad(
                latest[:, :-reach], ((0, 0), (reach, 0), (0, 0)), constant_values=-1.0
            )
            latest, reach = ops.maximum(latest, earlier), 2 * reach
        last = ops.cast(latest[:, 1:], "int32")
        found = ops.take_along_axis(table, last, axis=1)
        return ops.reshape(found, (-1, blocks * season))[:, :time]

    def _location_and_scale(
        self, size: Tensor, mean: Tensor, deviation: Tensor
    ) -> tuple[Tensor, Tensor]:
        zero = ops.zeros_like(size)
        if self.scaling == "none":
            return zero, zero + 1.0
        if self.scaling == "mean_abs":
            return zero, ops.maximum(size, self.floor)
        if self.scaling == "log":
            return mean, zero + 1.0
        return mean, ops.maximum(_DEVIATIONS * deviation, self.floor)

    def _state_after(
        self, statistics: Tensor, extended: Tensor, old: Tensor, length: Tensor
    ) -> Tensor:
        """The state after each row's last valid step."""
        length = ops.cast(length, "int32")[:, None]
        last = ops.maximum(length - 1, 0)
        index = ops.repeat(last[..., None], NUM_STATISTICS, axis=2)
        numbers = ops.take_along_axis(statistics, index, axis=1)[:, 0]
        places = length + ops.arange(self.context, dtype="int32")
        values = ops.take_along_axis(extended, places, axis=1)
        return ops.where(length > 0, ops.concatenate([numbers, values], axis=1), old)

    def get_config(self) -> dict[str, Any]:
        config = {"context": self.context, "season_length": self.season_length}
        return {**super().get_config(), **config}


class LaneStates(CarriedState, keras.layers.Layer):
    """The states of the rows of a batch, kept from batch to batch.

    Args:
        widths: Numbers of each state, by name.
        batch_size: Rows whose states are kept.

    Call arguments:
        reset: bool, `(batch,)`: rows that start anew.
        training: Which states are used.

    Returns:
        A list of `(batch, width)`, in the order of `widths`.
    """

    def __init__(self, widths: dict[str, int], *, batch_size: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.widths = dict(widths)
        self.batch_size = check_integer("batch_size", batch_size, 1)

    def build(self, reset_shape: Any) -> None:
        self.add_states(self.widths)
        self.built = True

    def compute_output_spec(self, reset: Any, training: Any = None) -> list[Any]:
        return [
            keras.KerasTensor((reset.shape[0], width), dtype="float32")
            for width in self.widths.values()
        ]

    def call(self, reset: Tensor, training: Any = None) -> list[Tensor]:
        return self.read_states(reset, training, reset)


class KeepStates(keras.layers.Layer):
    """Writes new states back to where `LaneStates` reads them.

    Args:
        states: The layer that keeps them.

    Call arguments:
        outputs: Any tensor, returned as it is.
        new: The states, in the order of `states.widths`.
        training: Which states are replaced.
    """

    def __init__(self, states: LaneStates, **kwargs: Any):
        super().__init__(**kwargs)
        self.states = states

    def call(self, outputs: Tensor, new: list[Tensor], training: Any = None) -> Tensor:
        self.states.write_states(new, training)
        return outputs


def _take(values: Tensor, at: Tensor) -> Tensor:
    """`values[row, at[row, ...]]`: `(batch, time)` -> the shape of `at`."""
    flat = ops.reshape(at, (ops.shape(at)[0], -1))
    found = ops.take_along_axis(values, flat, axis=1)
    return ops.reshape(found, ops.shape(at))
