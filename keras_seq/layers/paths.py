"""Which way a recurrent layer runs here, and running it that way.

Four ways give the same numbers. `"fused"`: Keras's layer on a GPU kernel (cuDNN);
`"packed"`: our loop without padding, for TensorFlow on CPU; `"hoisted"`: our loop with
static shapes, for XLA and JAX; `"plain"`: Keras's layer as a loop of small steps.
"""

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_seq.layers.cells import Weights
from keras_seq.layers.loops import scan_steps
from keras_seq.layers.padding import (
    last_valid_step,
    reverse_valid_steps,
    valid_steps,
    zero_padding,
)
from keras_seq.layers.recurrence import recurrence

Tensor = Any

# Which layers Keras 3.15 hands to a GPU kernel.
FUSED_CELLS = {
    "tensorflow": (keras.layers.LSTM, keras.layers.GRU),
    "jax": (keras.layers.LSTM,),
}


class Path(NamedTuple):
    """How a layer runs: its name and why; empty `change`: none is faster here."""

    name: str
    why: str
    change: str = ""


def choose_path(layer: keras.layers.Layer, *, training: bool, xla: bool) -> Path:
    """The way `layer` (SimpleRNN, LSTM or GRU) runs on this backend and device.

    Args:
        layer: Built or not.
        training: Whether dropout is active.
        xla: Whether TensorFlow compiles the step by XLA; JAX always does.
    """
    if layer.activation is not keras.activations.tanh:
        name = keras.activations.serialize(layer.activation)
        return Path("plain", f"activation={name!r}", "leave `activation` at 'tanh'")
    dropped = f"recurrent_dropout={layer.recurrent_dropout}"
    instead = "use `dropout`, between layers, instead"
    if training and layer.recurrent_dropout:
        return Path("plain", dropped, instead)
    backend = keras.backend.backend()
    if backend not in ("tensorflow", "jax"):
        return Path("plain", f"backend {backend!r}", "use TensorFlow or JAX")
    if not has_gpu():
        if backend == "jax":
            return Path("hoisted", "JAX needs static shapes")
        if xla:
            return Path("hoisted", "XLA needs static shapes", "jit=False: 'packed'")
        return Path("packed", "TensorFlow without XLA can leave out the padding")
    fused = FUSED_CELLS[backend]
    if not isinstance(layer, fused):
        names = " or ".join(repr(c.__name__.lower()) for c in fused)
        why = f"the GPU kernels of {backend} do not have this cell"
        return Path("hoisted", why, f"cell={names}")
    if layer.recurrent_dropout:  # Keras then leaves the kernel out in inference, too
        return Path("hoisted", dropped, instead)
    if xla and backend == "tensorflow":
        return Path("hoisted", "XLA cannot call the GPU kernel", "jit=False: 'fused'")
    return Path("fused", "GPU kernel")


def has_gpu() -> bool:
    """Whether the backend computes on a GPU; of other backends False."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() == "gpu"
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_logical_devices("GPU"))
    return False


def _compiled_by_xla() -> bool:
    """Whether TensorFlow is tracing for XLA, which needs static shapes."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf
    from tensorflow.python.ops import control_flow_util  # no public name tells it

    return control_flow_util.GraphOrParentsInXlaContext(
        tf.compat.v1.get_default_graph()
    )


def run_layer(
    layer: keras.layers.Layer,
    inputs: Tensor,
    lengths: Tensor | None,
    initial_state: list[Tensor] | None = None,
    *,
    reverse: bool,
    return_state: bool,
    training: Any,
) -> tuple[Tensor, list[Tensor]]:
    """Runs a Keras recurrent layer over right-padded rows, the fastest way here.

    Args:
        layer: SimpleRNN, LSTM or GRU with `return_sequences`, built.
        inputs: `(batch, time, features)`.
        lengths: int32, `(batch,)`; None: all steps are valid.
        initial_state: `h` (and `c`), each `(batch, units)`; None: zeros.
        reverse: Whether rows run backward from their last valid step.
        return_state: Whether the final states are wanted.
        training: Whether dropout is active.

    Returns:
        `(batch, time, units)`, zeros at padding, and a list of the final states,
        empty without `return_state`.
    """
    path = choose_path(layer, training=bool(training), xla=_compiled_by_xla()).name
    if path in ("plain", "fused"):
        return run_keras(
            layer, inputs, lengths, initial_state, reverse, return_state, training
        )
    cell = layer.cell
    return recurrence(
        type(layer).__name__.lower(),
        inputs,
        Weights(cell.kernel, cell.recurrent_kernel, cell.bias),
        lengths=lengths,
        initial_state=initial_state,
        reverse=reverse,
        return_state=return_state,
        packed=path == "packed",
    )


def run_keras(
    layer: keras.layers.Layer,
    inputs: Tensor,
    lengths: Tensor | None,
    initial_state: list[Tensor] | None,
    reverse: bool,
    return_state: bool,
    training: Any,
) -> tuple[Tensor, list[Tensor]]:
    """The same by calling the Keras layer without a mask."""

    def turn(x: Tensor) -> Tensor:
        if not reverse:
            return x
        return ops.flip(x, 1) if lengths is None else reverse_valid_steps(x, lengths)

    if lengths is not None:
        # A NaN in the padding would otherwise reach the weights' gradients.
        inputs = zero_padding(inputs, lengths)
    inputs = turn(inputs)
    # (batch, time, units)
    hidden = layer(inputs, initial_state=initial_state, training=training)
    state = []
    if return_state:
        if lengths is None:
            state.append(hidden[:, -1])
        else:
            state.append(last_valid_step(hidden, lengths))
            if initial_state is not None:
                some = lengths[:, None] > 0
                state[0] = ops.where(some, state[0], initial_state[0])
        if isinstance(layer, keras.layers.LSTM):
            initial = initial_state or [ops.zeros_like(hidden[:, 0])] * 2
            state.append(
                final_cell_state(layer.cell, inputs, hidden, lengths, *initial)
            )
    hidden = turn(hidden)
    return (hidden if lengths is None else zero_padding(hidden, lengths)), state


def final_cell_state(
    cell: Any,
    inputs: Tensor,
    hidden: Tensor,
    lengths: Tensor | None,
    initial_hidden: Tensor,
    initial_cell: Tensor,
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
        initial_hidden: `(batch, units)`.
        initial_cell: `(batch, units)`.

    Returns:
        `(batch, units)`.
    """
    initial_hidden = ops.cast(initial_hidden, hidden.dtype)
    previous = ops.concatenate([initial_hidden[:, None], hidden[:, :-1]], axis=1)
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
    initial_cell = ops.cast(initial_cell, update.dtype)
    c, _ = scan_steps(step, initial_cell, tuple(time_major))
    return c
