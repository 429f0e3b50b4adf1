"""recurrence: one recurrent layer over right-padded rows, with its own gradient."""

from typing import Any

import keras
from keras import ops

from keras_seq.layers.cells import CELL_MATHS, SimpleRNN, Weights
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

    The inputs of many steps are projected in one product, and so are the gradients of
    the weights formed. Exact, like differentiating the loop.

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
    num_returned = maths.num_states if return_state else 1
    differentiable = _may_be_differentiated()
    loop = (PackedBlocks if packed else TimeMajor)(inputs, lengths, reverse)

    @ops.custom_gradient
    def run(
        inputs: Tensor,
        kernel: Tensor,
        recurrent: Tensor,
        bias: Tensor,
        *initial: Tensor,
    ) -> Any:
        cell = maths(Weights(kernel, recurrent, bias), apart=packed)
        started = [loop.sort(state) for state in initial]
        num_kept = cell.num_for_gradient if differentiable else num_returned
        kept = _run_forward(loop, cell, inputs, started, num_kept)

        def gradient(*upstream: Tensor, **_: Any) -> tuple[Tensor, ...]:
            if isinstance(upstream[0], tuple):  # JAX gives the tuple, TensorFlow parts
                upstream = upstream[0]
            all_kept = kept
            if not differentiable:  # TensorFlow has traced this without a tape
                num_kept = cell.num_for_gradient
                all_kept = _run_forward(loop, cell, inputs, started, num_kept)
            return _run_backward(loop, cell, inputs, started, all_kept, upstream)

        return tuple(loop.scatter(state) for state in kept[:num_returned]), gradient

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


def _run_forward(
    loop: TimeMajor | PackedBlocks,
    cell: SimpleRNN,
    inputs: Tensor,
    initial: list[Tensor],
    num_kept: int,
) -> list[Any]:
    """The states, what `cell.step` keeps, and `h` before each step, as many as asked.

    Args:
        loop: Order of the steps.
        cell: With its weights.
        inputs: `(batch, time, features)`.
        initial: States before the first step, sorted.
        num_kept: How many of them.
    """

    def step(projected: list[Tensor], states: list[Tensor]) -> Any:
        after, kept = cell.step(projected, states)
        return after, [*after, *kept, states[0]][:num_kept]

    def block(rows: list[Tensor], states: list[Tensor], run_steps: Any) -> Any:
        return *run_steps(step, cell.project(rows[0]), states, num_kept), []

    return loop.run(block, [inputs], initial, widths=[cell.units] * num_kept)[1]


def _run_backward(
    loop: TimeMajor | PackedBlocks,
    cell: SimpleRNN,
    inputs: Tensor,
    initial: list[Tensor],
    kept: list[Any],
    upstream: tuple[Tensor, ...],
) -> tuple[Tensor, ...]:
    """Gradients of the inputs, the three weights and the initial states.

    Args:
        loop: That of the run forward.
        cell: With its weights.
        inputs: `(batch, time, features)`.
        initial: States before the first step, sorted.
        kept: All that the run forward can keep.
        upstream: Gradients of `h`, and of `c` if it was returned, each
            `(batch, time, units)`.
    """
    num_given, num_states = len(upstream), cell.num_states

    def step(rows: list[Tensor], carry: list[Tensor]) -> Any:
        total = [*carry]
        for position, given in enumerate(rows[:num_given]):
            total[position] = total[position] + given
        return cell.backward_step(rows[num_given:], total), total

    def block(rows: list[Tensor], carry: list[Tensor], run_steps: Any) -> Any:
        inputs, given = rows[0], rows[1 : 1 + num_given]
        *kept, previous = rows[1 + num_given :]
        states, kept = kept[:num_states], kept[num_states:]
        factors = cell.factors(kept, previous, states)
        carry, totals = run_steps(step, [*given, *factors], carry, num_states)
        of_inputs, of_states = cell.gates_gradient(factors, totals)
        of_weights = cell.weights_gradient(inputs, previous, of_inputs, of_states)
        return carry, [cell.inputs_gradient(of_inputs)], of_weights

    carry, (of_inputs,), of_weights = loop.run(
        block,
        [inputs],
        [ops.zeros_like(state) for state in initial],
        widths=[inputs.shape[-1]],
        gradients=upstream,
        kept=kept,
        sums=[ops.zeros_like(weight) for weight in cell.weights],
        backward=True,
    )
    of_initial = [loop.unsort(state) for state in carry]
    return loop.scatter(of_inputs), *of_weights, *of_initial


def _may_be_differentiated() -> bool:
    """Whether gates are kept for a backward pass.

    XLA drops those that nobody uses; TensorFlow's own loops compute all they are given.
    """
    if keras.backend.backend() != "tensorflow":
        return True
    from tensorflow.python.eager import record  # no public name tells it

    return record.could_possibly_record()


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
