"""recurrence: one recurrent layer over right-padded rows, with its own gradient."""

from typing import Any

import keras
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
    gradients of the weights are formed in one product after the loop back. Exact,
    like differentiating the loop.

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
        num_states, units = cell.num_states, recurrent.shape[0]
        # The states, what `cell.step` keeps, and `h` before each step.
        for_gradient = num_states + cell.num_kept + 1

        def run_forward(num_kept: int) -> list[Any]:
            def step(rows: list[Tensor], states: list[Tensor]) -> Any:
                after, kept = cell.step(rows, states)
                return after, [*after, *kept, states[0]][:num_kept]

            def block(rows: list[Tensor], states: list[Tensor], run_steps: Any) -> Any:
                projected = cell.project(rows[0])
                return *run_steps(step, projected, states, num_kept), []

            return loop.run(block, [inputs], started, widths=[units] * num_kept)[1]

        kept = run_forward(for_gradient if differentiable else num_returned)

        def gradient(*upstream: Tensor, **_: Any) -> tuple[Tensor, ...]:
            if isinstance(upstream[0], tuple):  # JAX gives the tuple, TensorFlow parts
                upstream = upstream[0]
            num_given = len(upstream)  # of `h`, and of `c` if it was returned

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
                of_weights = cell.weights_gradient(
                    inputs, previous, of_inputs, of_states
                )
                return carry, [cell.inputs_gradient(of_inputs)], of_weights

            carry, (of_inputs,), of_weights = loop.run(
                block,
                [inputs],
                [ops.zeros_like(state) for state in started],
                widths=[inputs.shape[-1]],
                gradients=upstream,
                # TensorFlow may differentiate what it has traced without a tape.
                kept=kept if differentiable else run_forward(for_gradient),
                sums=[ops.zeros_like(weight) for weight in (kernel, recurrent, bias)],
                backward=True,
            )
            of_initial = [loop.unsort(state) for state in carry]
            return loop.scatter(of_inputs), *of_weights, *of_initial

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
