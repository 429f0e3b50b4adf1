"""recurrence: one recurrent layer over right-padded rows, with its own gradient."""

from typing import Any

from keras import ops

from keras_seq.layers.cells import CELL_MATHS, Weights
from keras_seq.layers.loops import PackedBlocks, TimeMajor
from keras_seq.layers.padding import last_valid_step

Tensor = Any


def recurrence(
    cell: str,
    inputs: Tensor,
    weights: Weights,
    *,
    lengths: Tensor | None = None,
    initial_state: list[Tensor] | None = None,
    reverse: bool = False,
    return_state: bool = False,
    packed: bool = False,
) -> tuple[Tensor, list[Tensor]]:
    """Runs a recurrence with a hand-written backward pass.

    The inputs are projected at all steps in one product before the loop, and the
    gradients of the weights are formed in one product after the loop back; gates are
    computed again for it instead of kept. Exact, like differentiating the loop.

    Args:
        cell: `"rnn"`, `"lstm"` or `"gru"`; activations are Keras's defaults.
        inputs: `(batch, time, features)`.
        weights: In Keras's layout.
        lengths: int32, `(batch,)`, 0 to time; None: all steps are valid.
        initial_state: `h` (and `c`), each `(batch, units)`; None: zeros.
        reverse: Whether rows run backward from their last valid step.
        return_state: Whether the last states are wanted.
        packed: Whether padding is left out; TensorFlow without XLA only.

    Returns:
        `(batch, time, units)`, zeros at padding, and with `return_state` the states
        after the last valid step of each row, each `(batch, units)`; of rows of
        length 0 the initial ones. Else an empty list.
    """
    maths = CELL_MATHS[cell]
    if initial_state is None:
        shape = (ops.shape(inputs)[0], weights.recurrent.shape[0])
        initial_state = [ops.zeros(shape, inputs.dtype)] * maths.num_states
    loop = (PackedBlocks if packed else TimeMajor)(inputs, lengths, reverse)

    @ops.custom_gradient
    def run(
        inputs: Tensor,
        kernel: Tensor,
        recurrent: Tensor,
        bias: Tensor,
        *initial: Tensor,
    ) -> Any:
        cell = maths(Weights(kernel, recurrent, bias))
        rows = loop.gather(inputs)
        projected = cell.project(rows)
        started = [loop.sort(state) for state in initial]

        def step(rows: list[Tensor], states: list[Tensor]) -> Any:
            states = cell.step(rows, states)
            return states, states

        states, _ = loop.run(step, projected, started, backward=False)

        def gradient(*upstream: Tensor, **_: Any) -> tuple[Tensor, ...]:
            if isinstance(upstream[0], tuple):  # JAX gives the tuple, TensorFlow parts
                upstream = upstream[0]
            previous = loop.previous(states[0], started[0])
            factors = cell.factors(projected, previous, states)
            transposed = ops.transpose(recurrent)
            num_factors = len(factors)

            def step_back(rows: list[Tensor], carry: list[Tensor]) -> Any:
                given = rows[num_factors:]  # of `h`, and of `c` if it was returned
                total = [a + b for a, b in zip(carry, given, strict=False)]
                total += carry[len(given) :]
                before = cell.backward_step(rows[:num_factors], total, transposed)
                return before, total

            given = [loop.gather_gradient(u) for u in upstream]
            zeros = [ops.zeros_like(state) for state in started]
            totals, first = loop.run(
                step_back, [*factors, *given], zeros, backward=True
            )
            of_inputs, of_states = cell.gates_gradient(factors, totals)
            return (
                loop.scatter(ops.matmul(of_inputs, ops.transpose(kernel))),
                ops.matmul(ops.transpose(rows), of_inputs),
                ops.matmul(ops.transpose(previous), of_states),
                cell.bias_gradient(of_inputs, of_states),
                *(loop.unsort(state) for state in first),
            )

        returned = states if return_state else states[:1]
        return tuple(loop.scatter(state) for state in returned), gradient

    # A copy of a variable is a tensor: TensorFlow would ask for its gradient twice.
    sequences = run(
        *(ops.copy(ops.cast(a, inputs.dtype)) for a in (inputs, *weights)),
        *(ops.copy(ops.cast(a, inputs.dtype)) for a in initial_state),
    )
    if not return_state:
        return sequences[0], []
    return sequences[0], [
        _last(sequence, state, lengths, reverse)
        for sequence, state in zip(sequences, initial_state, strict=True)
    ]


def _last(
    sequence: Tensor, initial: Tensor, lengths: Tensor | None, reverse: bool
) -> Tensor:
    """The state after the last step run; backward, that is step 0."""
    if reverse or lengths is None:
        last = sequence[:, 0 if reverse else -1]
    else:
        last = last_valid_step(sequence, lengths)
    if lengths is None:
        return last
    return ops.where(ops.cast(lengths, "int32")[:, None] > 0, last, initial)
