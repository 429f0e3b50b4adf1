"""State that is carried from call to call: explicit, saved, reset row by row.

Keras's own `stateful=True` loses its state on JAX, saves it nowhere and lets validation
overwrite it. Here states are non-trainable weights: one set for training and one for
evaluation and prediction, so that neither disturbs the other. A model whose states
come and go as inputs and outputs is `RecurrentEncoder(return_state=True)`, called
with `initial_state`.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_seq.errors import check_choice, check_integer
from keras_seq.layers.padding import last_valid_step, valid_steps, zero_padding
from keras_seq.layers.pooling import LOWEST, SequencePooling
from keras_seq.layers.recurrent import RecurrentEncoder
from keras_seq.layers.scaling import WindowScaler, check_scaling

Tensor = Any

STATE = "state"  # the first part of the names of all state weights


class CarriedState:
    """What layers that carry state share; mixed into a `keras.layers.Layer`.

    A batch may have fewer rows than `batch_size`: it uses and changes the states of
    the first rows, and leaves the others as they are.
    """

    batch_size: int

    def add_states(self, widths: dict[str, int]) -> None:
        """Adds two weights `(batch_size, width)` per name, zeros at first."""
        self._states = {
            mode: [
                self.add_weight(  # type: ignore[attr-defined]
                    shape=(self.batch_size, width),
                    initializer="zeros",
                    trainable=False,
                    # A state is a number to be kept, not one to be rounded.
                    autocast=False,
                    name=f"{STATE}_{mode}_{name}",
                )
                for name, width in widths.items()
            ]
            for mode in ("training", "inference")
        }

    def read_states(
        self, inputs: Tensor, training: Any, reset: Tensor | None = None
    ) -> list[Tensor]:
        """The states of the rows of `inputs`; gradients end here."""
        rows = self._check_rows(inputs)
        states = [
            ops.stop_gradient(ops.convert_to_tensor(state)[:rows])
            for state in self._states["training" if training else "inference"]
        ]
        if reset is None:
            return states
        anew = ops.cast(reset, "bool")[:, None]
        return [ops.where(anew, ops.zeros_like(state), state) for state in states]

    def write_states(self, values: Sequence[Tensor], training: Any) -> None:
        states = self._states["training" if training else "inference"]
        for state, value in zip(states, values, strict=True):
            value = ops.stop_gradient(ops.cast(value, state.dtype))
            if value.shape[0] != self.batch_size:
                rest = ops.convert_to_tensor(state)[ops.shape(value)[0] :]
                value = ops.concatenate([value, rest], axis=0)
            state.assign(ops.reshape(value, state.shape))

    def reset_state(
        self, rows: Sequence[int] | None = None, mode: str | None = None
    ) -> None:
        """Empties states.

        Args:
            rows: Indices of rows of the batch; None: all.
            mode: `"training"` or `"inference"`; None: both.
        """
        check_choice("mode", mode, (None, *self._states))
        for each in self._states if mode is None else (mode,):
            for state in self._states[each]:
                values = np.array(ops.convert_to_numpy(state))
                values[slice(None) if rows is None else np.asarray(rows)] = 0.0
                state.assign(values)

    def _check_rows(self, inputs: Tensor) -> Any:
        rows = inputs.shape[0]
        if rows is not None and rows > self.batch_size:
            raise ValueError(
                "A stateful model takes at most `batch_size` rows at a time, one per "
                f"state. Received: {rows} rows, batch_size={self.batch_size}"
            )
        return ops.shape(inputs)[0]


@keras.saving.register_keras_serializable("keras_seq")
class StatefulEncoder(CarriedState, RecurrentEncoder):
    """RecurrentEncoder that goes on where the call before it ended.

    Row i of a batch continues row i of the batch before, so a long sequence can be
    given in chunks. Gradients end at the chunk's start (truncated backpropagation
    through time). Its trainable weights are those of `RecurrentEncoder`, by name.

    Args:
        units: As for `RecurrentEncoder`.
        batch_size: Rows whose states are kept.
        **options: As for `RecurrentEncoder`; not `bidirectional`, `recurrent_dropout`
            or `return_state`.

    Call arguments:
        inputs: `(batch, time, features)`, at most `batch_size` rows.
        lengths: int32, `(batch,)`; None: all steps are valid. A row of length 0 keeps
            its state.
        reset: bool, `(batch,)`: rows that start anew; None: none does.
        training: Whether dropout is active, and which states are used.

    Returns:
        As `RecurrentEncoder`.
    """

    def __init__(self, units: int | Sequence[int], *, batch_size: int, **options: Any):
        if options.get("bidirectional"):
            raise ValueError(
                "A carried state has no backward direction, which needs the future. "
                "Received: bidirectional=True"
            )
        super().__init__(units, **{**options, "return_state": True})
        self.batch_size = check_integer("batch_size", batch_size, 1)

    def build(self, inputs_shape: Any, *_: Any, **__: Any) -> None:
        super().build(inputs_shape)
        names = [f"{i}" for i in range(len(self.state_units))]
        self.add_states(dict(zip(names, self.state_units, strict=True)))

    def _returned(self, sequence: Any, states: list[Any], causal: Any) -> Any:
        # `call` needs the states; whoever calls this layer does not get them.
        self._new_states = states
        return (sequence, causal) if self.return_causal else sequence

    def call(
        self,
        inputs: Tensor,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
        training: Any = None,
    ) -> Any:
        states = self.read_states(inputs, training, reset)
        outputs = super().call(inputs, lengths, states, training=training)
        self.write_states(self._new_states, training)
        del self._new_states
        return outputs

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "batch_size": self.batch_size}
        return {k: v for k, v in config.items() if k != "return_state"}


@keras.saving.register_keras_serializable("keras_seq")
class RunningPooling(CarriedState, SequencePooling):
    """SequencePooling over all steps since the last reset, chunk by chunk.

    Args:
        pooling: As for `SequencePooling`.
        batch_size: Rows whose states are kept.

    Call arguments:
        inputs: `(batch, time, features)`, at most `batch_size` rows.
        lengths: int32, `(batch,)`; None: all steps are valid.
        reset: bool, `(batch,)`: rows that start anew; None: none does.
        training: Which states are used.

    Returns:
        As `SequencePooling`.
    """

    def __init__(self, pooling: str = "max", *, batch_size: int, **kwargs: Any):
        super().__init__(pooling, **kwargs)
        self.batch_size = check_integer("batch_size", batch_size, 1)

    def build(self, inputs_shape: Any, *_: Any, **__: Any) -> None:
        super().build(inputs_shape)
        widths = {"count": 1}
        for mode in self.modes:
            if mode == "attention":
                widths.update(peak=1, weight=1)
            widths[mode] = inputs_shape[-1]
        self._names = list(widths)
        self.add_states(widths)

    def compute_output_spec(self, inputs: Any, *_: Any, **__: Any) -> Any:
        # JAX could not slice a state to an unknown number of rows.
        shape = (inputs.shape[0], inputs.shape[-1] * len(self.modes))
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def call(
        self,
        inputs: Tensor,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
        training: Any = None,
    ) -> Tensor:
        if lengths is None:
            lengths = ops.sum(ops.ones_like(inputs[..., 0], dtype="int32"), axis=1)
        values = self.read_states(inputs, training, reset)
        states = dict(zip(self._names, values, strict=True))
        # Sums over many chunks need more digits than half precision has.
        steps = ops.cast(zero_padding(inputs, lengths), states["count"].dtype)
        added = ops.cast(lengths, steps.dtype)[:, None]  # (batch, 1)
        pooled = []
        for mode in self.modes:
            pooled.append(getattr(self, f"_run_{mode}")(states, steps, lengths, added))
        states["count"] = states["count"] + added
        self.write_states([states[name] for name in self._names], training)
        return ops.cast(ops.concatenate(pooled, axis=-1), inputs.dtype)

    def _run_mean(self, states: dict, steps: Any, lengths: Any, added: Any) -> Tensor:
        states["mean"] = states["mean"] + ops.sum(steps, axis=1)  # the sum is kept
        return states["mean"] / ops.maximum(states["count"] + added, 1.0)

    def _run_max(self, states: dict, steps: Any, lengths: Any, added: Any) -> Tensor:
        here, before = self._max(steps, lengths), states["max"]
        both = ops.where(states["count"] > 0, ops.maximum(here, before), here)
        states["max"] = ops.where(added > 0, both, before)
        return states["max"]

    def _run_last(self, states: dict, steps: Any, lengths: Any, added: Any) -> Tensor:
        last = last_valid_step(steps, lengths)
        states["last"] = ops.where(added > 0, last, states["last"])
        return states["last"]

    def _run_attention(
        self, states: dict, steps: Any, lengths: Any, added: Any
    ) -> Tensor:
        """The softmax goes on over chunks (Milakov & Gimelshein 2018)."""
        valid = valid_steps(steps, lengths)
        scores = self._scores(ops.cast(steps, self.compute_dtype), valid)
        before = ops.where(states["weight"] > 0, states["peak"], LOWEST)
        peak = ops.maximum(before, ops.max(scores, axis=1))  # (batch, 1)
        peak = ops.stop_gradient(peak)
        shrink = ops.exp(before - peak)
        weights = ops.where(valid, ops.exp(scores - peak[:, None]), 0.0)
        states["peak"] = peak
        states["weight"] = states["weight"] * shrink + ops.sum(weights, axis=1)
        total = states["attention"] * shrink + ops.sum(weights * steps, axis=1)
        states["attention"] = total
        return total / ops.where(states["weight"] > 0, states["weight"], 1.0)

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "batch_size": self.batch_size}
        return {k: v for k, v in config.items() if k != "bidirectional"}


@keras.saving.register_keras_serializable("keras_seq")
class RunningScaler(CarriedState, WindowScaler):
    """WindowScaler over all steps since the last reset, chunk by chunk.

    Each chunk is scaled by statistics of itself and of all chunks before it, merged
    as by Chan et al. (1983), so that the scale settles as a stream goes on.

    Args:
        scaling: As for `WindowScaler`, but for `"robust"`.
        batch_size: Rows whose states are kept.

    Call arguments:
        window: `(batch, lookback)`; NaN marks a missing step.
        training: Which states are used.

    Returns:
        As `WindowScaler`.
    """

    def __init__(self, scaling: str = "mean_abs", *, batch_size: int, **kwargs: Any):
        super().__init__(check_scaling(scaling, stateful=True), **kwargs)
        self.batch_size = check_integer("batch_size", batch_size, 1)

    def build(self, window_shape: Any, *_: Any, **__: Any) -> None:
        super().build(window_shape)
        self.add_states({"count": 1, "size": 1, "mean": 1, "squares": 1})

    def compute_output_spec(self, window: Any, *_: Any, **__: Any) -> Any:
        # JAX could not slice a state to an unknown number of rows.
        shapes = [window.shape] * 2 + [(window.shape[0], 1)] * 2
        return tuple(keras.KerasTensor(shape, dtype="float32") for shape in shapes)

    def call(self, window: Tensor, training: Any = None) -> tuple[Tensor, ...]:
        values, observed = self.split_missing(window)
        states = self.read_states(window, training)
        self.write_states(self._merge(states, values, observed), training)
        location, scale = self.location_and_scale(window, training)
        scaled = self.transform(values, location, scale) * observed
        return scaled, observed, location, scale

    def _merge(
        self, states: list[Tensor], values: Tensor, observed: Tensor
    ) -> list[Tensor]:
        count, size, mean, squares = states

        def total(x: Tensor) -> Tensor:
            return ops.sum(x * observed, axis=1, keepdims=True)

        added = total(ops.ones_like(values))
        some, every = ops.maximum(added, 1.0), ops.maximum(count + added, 1.0)
        mean_here = total(values) / some
        shift = mean_here - mean
        squares_here = total(ops.square(values - mean_here))
        return [
            count + added,
            size + (total(ops.abs(values)) / some - size) * added / every,
            mean + shift * added / every,
            squares + squares_here + ops.square(shift) * count * added / every,
        ]

    def location_and_scale(
        self, window: Tensor, training: Any = None
    ) -> tuple[Tensor, Tensor]:
        """As of the last call."""
        count, size, mean, squares = self.read_states(window, training)
        zero = ops.zeros_like(count)
        if self.scaling == "none":
            return zero, zero + 1.0
        if self.scaling == "mean_abs":
            return zero, ops.maximum(size, self.floor)
        if self.scaling == "log":
            return ops.log(ops.maximum(size, self.floor)), zero + 1.0
        spread = ops.sqrt(squares / ops.maximum(count, 1.0))
        return mean, ops.maximum(spread, self.floor)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "batch_size": self.batch_size}


class ResetStates(keras.callbacks.Callback):
    """Starts every epoch, evaluation and prediction from empty states."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        reset_states(self.model)

    def on_test_begin(self, logs: Any = None) -> None:
        reset_states(self.model, mode="inference")

    on_predict_begin = on_test_begin


def reset_states(
    model: keras.Model, rows: Sequence[int] | None = None, mode: str | None = None
) -> None:
    """Empties the states a model carries.

    Args:
        model: Of a builder with `stateful=True`.
        rows: Indices of rows of the batch; None: all.
        mode: `"training"` or `"inference"`; None: both.
    """
    for layer in model.layers:
        if isinstance(layer, CarriedState):
            layer.reset_state(rows, mode)


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copies all weights but states, between stateful and stateless models.

    Args:
        source: Of a builder.
        target: Of the same builder with the same arguments, except `stateful` and
            `batch_size`.

    Raises:
        ValueError: If a weight is missing or has another shape.
    """

    def lasting(model: keras.Model) -> dict[str, Any]:
        return {w.path: w for w in model.weights if f"/{STATE}_" not in w.path}

    given, wanted = lasting(source), lasting(target)
    for path in sorted(given.keys() | wanted.keys()):
        shapes = [tuple(w[path].shape) if path in w else None for w in (given, wanted)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"`source` and `target` must have the same weights. {path!r} has the "
                f"shapes {shapes[0]} and {shapes[1]}"
            )
    for path, weight in wanted.items():
        # By value: JAX gives an array's memory away when its model trains.
        weight.assign(ops.convert_to_numpy(given[path]))
