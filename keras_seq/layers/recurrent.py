"""RecurrentEncoder: stacked, optionally bidirectional SimpleRNN, LSTM or GRU."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_seq.errors import check_choice, check_integer, check_rate, warn
from keras_seq.layers.cells import CELL_MATHS
from keras_seq.layers.normalization import SequenceNormalization
from keras_seq.layers.paths import run_layer

Tensor = Any

CELLS = {
    "rnn": keras.layers.SimpleRNN,
    "simple_rnn": keras.layers.SimpleRNN,
    "lstm": keras.layers.LSTM,
    "gru": keras.layers.GRU,
}


def check_units(units: int | Sequence[int], num_layers: int) -> tuple[int, ...]:
    """Returns one entry per layer from an int, or a sequence with `num_layers`."""
    check_integer("num_layers", num_layers, 1)
    if not isinstance(units, Sequence):
        return (check_integer("units", units, 1),) * num_layers
    if len(units) != num_layers:
        raise ValueError(
            f"`units` given as a sequence must have one entry per layer, "
            f"num_layers={num_layers}. Received: units={units!r}"
        )
    return tuple(check_integer("units", entry, 1) for entry in units)


@keras.saving.register_keras_serializable("keras_seq")
class ForgetBias(keras.initializers.Initializer):
    """Bias of an LSTM: `value` for the forget gate, zero for the other three."""

    def __init__(self, value: float = 1.0):
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        quarter = ops.ones((shape[0] // 4,), dtype)
        # Keras orders the gates: input, forget, candidate, output.
        return ops.concatenate([g * quarter for g in (0.0, self.value, 0.0, 0.0)])

    def get_config(self) -> dict[str, Any]:
        return {"value": self.value}


@keras.saving.register_keras_serializable("keras_seq")
class ChronoBias(keras.initializers.Initializer):
    """Bias with which each unit of an LSTM or GRU keeps its state for another time.

    Chrono initialisation (Tallec & Ollivier 2018, section 4): times are drawn evenly
    from 1 to one less than `memory_steps`, and an LSTM takes in as slowly as it
    forgets, so that its state does not overflow.

    Args:
        memory_steps: The longest time, in steps.
        cell: `"lstm"` or `"gru"`.
    """

    def __init__(self, memory_steps: int, cell: str):
        check_choice("cell", cell, ("lstm", "gru"))
        self.memory_steps = check_integer("memory_steps", memory_steps, 3)
        self.cell = cell
        self._times = keras.initializers.RandomUniform(1.0, memory_steps - 1.0)

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        # Keras orders the gates: input, forget, candidate, output; or update, reset,
        # candidate, once for inputs and once for the state.
        parts = 4 if self.cell == "lstm" else 3
        kept = ops.log(self._times((*shape[:-1], shape[-1] // parts), dtype))
        none = ops.zeros_like(kept)
        if self.cell == "lstm":
            return ops.concatenate([-kept, kept, none, none])
        kept = ops.stack([kept[0], none[1]])
        return ops.concatenate([kept, none, none], axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {"memory_steps": self.memory_steps, "cell": self.cell}


@keras.saving.register_keras_serializable("keras_seq")
class RecurrentEncoder(keras.layers.Layer):
    """Runs right-padded rows through a stack of recurrent layers, without a mask.

    Padding comes after the valid steps, so going forward it cannot touch them; going
    backward each row is reversed within its length, run forward and reversed back.
    No mask enters the recurrence, so fused kernels stay eligible on every backend,
    and the result equals masked Keras layers at every valid step.

    Args:
        units: Hidden size, or one per layer.
        cell: `"rnn"` (also `"simple_rnn"`), `"lstm"` or `"gru"`.
        num_layers: Number of stacked layers.
        bidirectional: Whether each layer also runs backward; outputs are concatenated.
        residual: Whether each layer after the first adds its inputs to its outputs
            (Wu et al. 2016, section 3.1); all layers then have equal units.
        normalization: Of each layer's outputs: `"layer"`, `"batch"` (over valid steps
            only) or None.
        dropout: Rate between layers, one mask per sequence (Gal & Ghahramani 2016).
        recurrent_dropout: Rate on the recurrent state; costs the fast paths in
            training.
        activation: Of the cell; anything but `"tanh"` costs the fast paths, which a
            warning says.
        forget_bias: Initial bias of the LSTM's forget gate (Jozefowicz et al. 2015).
        memory_steps: Instead, for LSTM and GRU: the longest time that units keep their
            state at first (`ChronoBias`); None: none is set.
        return_state: Whether to return the final states as well.
        return_causal: Whether to return, last, the deepest sequence that at no step
            has seen a later one: the outputs, or the forward half of the first layer
            if bidirectional.

    Call arguments:
        inputs: `(batch, time, features)`.
        lengths: int32, `(batch,)`, valid steps of each row, 0 to time; None: all.
        initial_state: List in the order of the returned states; None: zeros.
        training: Whether dropout is active.

    Returns:
        `(batch, time, units)`, twice the units if bidirectional, zeros at padding.
        With `return_state`, also a list with one tensor `(batch, units)` for each
        layer, direction (forward, backward) and part (`h`, and for LSTM `c`), in
        this order: the state after the last valid step, the initial one for rows of
        length 0.

    Example:
        >>> encoder = RecurrentEncoder(32, cell="gru", bidirectional=True)
        >>> encoder(keras.ops.ones((2, 5, 3)), lengths=[5, 2]).shape
        TensorShape([2, 5, 64])
    """

    def __init__(
        self,
        units: int | Sequence[int],
        *,
        cell: str = "lstm",
        num_layers: int = 1,
        bidirectional: bool = False,
        residual: bool = False,
        normalization: str | None = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        activation: str = "tanh",
        forget_bias: float = 1.0,
        memory_steps: int | None = None,
        return_state: bool = False,
        return_causal: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_choice("cell", cell, CELLS)
        check_rate("dropout", dropout)
        check_rate("recurrent_dropout", recurrent_dropout)
        if return_state and recurrent_dropout:
            raise ValueError(
                "`return_state` cannot be combined with `recurrent_dropout`, whose "
                f"masks stay inside the cell. Received: {recurrent_dropout=}"
            )
        # What runs a layer; diagnostics put their own in to look inside.
        self._run_layer = run_layer
        self.units = check_units(units, num_layers)
        if memory_steps is not None and cell not in ("lstm", "gru"):
            raise ValueError(
                "`memory_steps` sets gates: `cell` must be 'lstm' or 'gru', or "
                f"`memory_steps` None. Received: {cell=}, {memory_steps=}"
            )
        if residual and len(set(self.units)) > 1:
            raise ValueError(
                "`residual` needs equal `units` in all layers, since outputs are added "
                f"to inputs. Received: units={self.units}"
            )
        if activation != "tanh":
            warn(
                f"activation={activation!r} costs the fast paths: fused kernels and "
                "our own loops compute tanh only. Layers run as plain Keras loops."
            )
        self.cell = cell
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.residual = residual
        self.normalization = normalization
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.activation = activation
        self.forget_bias = forget_bias
        self.memory_steps = memory_steps
        self.return_state = return_state
        self.return_causal = return_causal
        self.forward = [self._make_layer("forward", i) for i in range(num_layers)]
        self.backward = [
            self._make_layer("backward", i) for i in range(num_layers * bidirectional)
        ]
        # One mask per sequence: the same units are dropped at every step.
        self.dropouts = [
            keras.layers.Dropout(
                dropout,
                noise_shape=(None, 1, None),
                dtype=self.dtype_policy,
                name=f"dropout_{i}",
            )
            for i in range(1, num_layers)
        ]
        self.normalizations = [
            SequenceNormalization(
                normalization, dtype=self.dtype_policy, name=f"normalization_{i}"
            )
            for i in range(num_layers)
            if normalization
        ]

    def _make_layer(self, direction: str, index: int) -> keras.layers.Layer:
        options: dict[str, Any] = {}
        if self.cell == "lstm":
            options["unit_forget_bias"] = False
            options["bias_initializer"] = ForgetBias(self.forget_bias)
        if self.memory_steps is not None:
            options["bias_initializer"] = ChronoBias(self.memory_steps, self.cell)
        return CELLS[self.cell](
            self.units[index],
            activation=self.activation,
            recurrent_dropout=self.recurrent_dropout,
            return_sequences=True,
            dtype=self.dtype_policy,
            name=f"{direction}_{index}",
            **options,
        )

    @property
    def state_units(self) -> list[int]:
        """Width of each state, in the order of the returned states."""
        parts = (1 + self.bidirectional) * CELL_MATHS[self.cell].num_states
        return [units for units in self.units for _ in range(parts)]

    def build(self, inputs_shape: Any, *_: Any, **__: Any) -> None:
        features = inputs_shape[-1]
        for index, units in enumerate(self.units):
            for direction in (self.forward, self.backward):
                if direction:
                    direction[index].build((*inputs_shape[:-1], features))
            features = units * (2 if self.bidirectional else 1)
            if self.normalizations:
                self.normalizations[index].build((*inputs_shape[:-1], features))
        self.built = True

    def compute_output_spec(self, inputs: Any, *_: Any, **__: Any) -> Any:
        """Shapes without running the loops, which would be traced for nothing."""

        def spec(*shape: Any) -> keras.KerasTensor:
            return keras.KerasTensor(shape, dtype=self.compute_dtype)

        batch, time = inputs.shape[:2]
        sequence = spec(batch, time, self.units[-1] * (2 if self.bidirectional else 1))
        causal = self.units[0] if self.bidirectional else self.units[-1]
        return self._returned(
            sequence,
            [spec(batch, units) for units in self.state_units],
            spec(batch, time, causal),
        )

    def _returned(self, sequence: Any, states: list[Any], causal: Any) -> Any:
        outputs = [sequence]
        if self.return_state:
            outputs.append(states)
        if self.return_causal:
            outputs.append(causal)
        return tuple(outputs) if len(outputs) > 1 else sequence

    def call(
        self,
        inputs: Tensor,
        lengths: Tensor | None = None,
        initial_state: list[Tensor] | None = None,
        training: Any = None,
    ) -> Any:
        if lengths is not None:
            lengths = ops.cast(lengths, "int32")
        sequence, causal = inputs, None
        states: list[Tensor] = []
        parts = CELL_MATHS[self.cell].num_states
        for index in range(self.num_layers):
            below = sequence
            if index:
                sequence = self.dropouts[index - 1](sequence, training=training)
            outputs = []
            for layers, reverse in ((self.forward, False), (self.backward, True)):
                if layers:
                    initial = None
                    if initial_state is not None:
                        initial = initial_state[len(states) : len(states) + parts]
                    output, state = self._run_layer(
                        layers[index],
                        sequence,
                        lengths,
                        initial,
                        reverse=reverse,
                        return_state=self.return_state,
                        training=training,
                    )
                    outputs.append(output)
                    states.extend(state or [None] * parts)
            if causal is None:
                causal = outputs[0]
            sequence = (
                ops.concatenate(outputs, axis=-1) if self.backward else outputs[0]
            )
            if self.normalizations:
                sequence = self.normalizations[index](
                    sequence, lengths, training=training
                )
            if self.residual and index:
                sequence = sequence + below
        return self._returned(
            sequence, states, causal if self.bidirectional else sequence
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "cell": self.cell,
            "num_layers": self.num_layers,
            "bidirectional": self.bidirectional,
            "residual": self.residual,
            "normalization": self.normalization,
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "activation": self.activation,
            "forget_bias": self.forget_bias,
            "memory_steps": self.memory_steps,
            "return_state": self.return_state,
            "return_causal": self.return_causal,
        }
