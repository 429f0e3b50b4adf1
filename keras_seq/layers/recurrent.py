"""RecurrentEncoder: stacked, optionally bidirectional SimpleRNN, LSTM or GRU."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_seq.errors import check_choice, check_integer, check_rate
from keras_seq.layers.padding import (
    last_valid_step,
    reverse_valid_steps,
    valid_steps,
    zero_padding,
)

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
        dropout: Rate between layers, one mask per sequence (Gal & Ghahramani 2016).
        recurrent_dropout: Rate on the recurrent state; costs the fused kernels.
        activation: Of the cell; anything but `"tanh"` costs the fused kernels.
        forget_bias: Initial bias of the LSTM's forget gate (Jozefowicz et al. 2015).
        return_state: Whether to return the final states as well.

    Call arguments:
        inputs: `(batch, time, features)`.
        lengths: int32, `(batch,)`, valid steps of each row, 0 to time; None: all.
        training: Whether dropout is active.

    Returns:
        `(batch, time, units)`, twice the units if bidirectional, zeros at padding.
        With `return_state`, also a list with one tensor `(batch, units)` for each
        layer, direction (forward, backward) and part (`h`, and for LSTM `c`), in
        this order: the state after the last valid step, zeros for rows of length 0.

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
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        activation: str = "tanh",
        forget_bias: float = 1.0,
        return_state: bool = False,
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
        self.units = check_units(units, num_layers)
        self.cell = cell
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.activation = activation
        self.forget_bias = forget_bias
        self.return_state = return_state
        self.forward = [self._make_layer("forward", i) for i in range(num_layers)]
        self.backward = [
            self._make_layer("backward", i) for i in range(num_layers * bidirectional)
        ]
        # One mask per sequence: the same units are dropped at every step.
        self.dropouts = [
            keras.layers.Dropout(
                dropout, noise_shape=(None, 1, None), name=f"dropout_{i}"
            )
            for i in range(1, num_layers)
        ]

    def _make_layer(self, direction: str, index: int) -> keras.layers.Layer:
        options: dict[str, Any] = {}
        if self.cell == "lstm":
            options["unit_forget_bias"] = False
            options["bias_initializer"] = ForgetBias(self.forget_bias)
        return CELLS[self.cell](
            self.units[index],
            activation=self.activation,
            recurrent_dropout=self.recurrent_dropout,
            return_sequences=True,
            dtype=self.dtype_policy,
            name=f"{direction}_{index}",
            **options,
        )

    def build(self, inputs_shape: Any, lengths_shape: Any = None) -> None:
        features = inputs_shape[-1]
        for index, units in enumerate(self.units):
            for direction in (self.forward, self.backward):
                if direction:
                    direction[index].build((*inputs_shape[:-1], features))
            features = units * (2 if self.bidirectional else 1)
        self.built = True

    def call(
        self, inputs: Tensor, lengths: Tensor | None = None, training: Any = None
    ) -> Tensor:
        sequence, states = inputs, []
        if lengths is not None:
            lengths = ops.cast(lengths, "int32")
            # A NaN in the padding would otherwise reach the weights' gradients.
            sequence = zero_padding(sequence, lengths)
        for index in range(self.num_layers):
            if index:
                sequence = self.dropouts[index - 1](sequence, training=training)
            outputs = []
            for layers, flip in ((self.forward, False), (self.backward, True)):
                if layers:
                    output, state = self._run(
                        layers[index], sequence, lengths, flip, training
                    )
                    outputs.append(output)
                    states.extend(state)
            sequence = ops.concatenate(outputs, axis=-1) if flip else outputs[0]
        if lengths is not None:
            sequence = zero_padding(sequence, lengths)
        return (sequence, states) if self.return_state else sequence

    def _run(
        self,
        layer: keras.layers.Layer,
        sequence: Tensor,
        lengths: Tensor | None,
        flip: bool,
        training: Any,
    ) -> tuple[Tensor, list[Tensor]]:
        """One layer in one direction: its output sequence and final state."""

        def turn(x: Tensor) -> Tensor:
            if not flip:
                return x
            return (
                ops.flip(x, 1) if lengths is None else reverse_valid_steps(x, lengths)
            )

        inputs = turn(sequence)
        hidden = layer(inputs, training=training)  # (batch, time, units)
        state = []
        if self.return_state:
            state.append(
                hidden[:, -1] if lengths is None else last_valid_step(hidden, lengths)
            )
            if self.cell == "lstm":
                state.append(final_cell_state(layer.cell, inputs, hidden, lengths))
        return turn(hidden), state

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "cell": self.cell,
            "num_layers": self.num_layers,
            "bidirectional": self.bidirectional,
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "activation": self.activation,
            "forget_bias": self.forget_bias,
            "return_state": self.return_state,
        }


def final_cell_state(
    cell: Any, inputs: Tensor, hidden: Tensor, lengths: Tensor | None
) -> Tensor:
    """Recovers an LSTM's `c` after each row's last valid step.

    Keras returns the sequence of `h` only, and the `c` of its last step, which has
    run over the padding. Given every `h`, the gates follow from `(x[t], h[t-1])`, and
    `c[t] = f[t] * c[t-1] + i[t] * g[t]` is an elementwise scan; past a row's end it
    is held by `f = 1`, `i = 0`. Exact, and so is its gradient.

    Args:
        cell: `keras.layers.LSTMCell`, built.
        inputs: `(batch, time, features)`.
        hidden: The layer's output, `(batch, time, units)`.
        lengths: int32, `(batch,)`; None: all steps are valid.

    Returns:
        `(batch, units)`.
    """
    previous = ops.pad(hidden[:, :-1], ((0, 0), (1, 0), (0, 0)))  # h[t-1], h[-1] = 0
    gates = (
        ops.matmul(inputs, cell.kernel)
        + ops.matmul(previous, cell.recurrent_kernel)
        + cell.bias
    )  # (batch, time, 4 * units)
    i, f, g, _ = ops.split(gates, 4, axis=-1)
    i, f = cell.recurrent_activation(i), cell.recurrent_activation(f)
    update = i * cell.activation(g)
    if lengths is not None:
        valid = valid_steps(hidden, lengths)
        f = ops.where(valid, f, ops.ones((), f.dtype))
        update = ops.where(valid, update, ops.zeros((), update.dtype))

    def step(c: Tensor, gate_and_update: tuple[Tensor, Tensor]) -> tuple[Tensor, None]:
        forget, new = gate_and_update
        return forget * c + new, None

    time_major = [ops.transpose(x, (1, 0, 2)) for x in (f, update)]
    c, _ = ops.scan(step, ops.zeros_like(update[:, 0]), tuple(time_major))
    return c
