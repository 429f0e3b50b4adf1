"""Two orders of running a recurrence over right-padded rows, behind one interface.

`TimeMajor` runs all rows to the longest length, with static shapes, on any backend.
`PackedBlocks` leaves out the padding, which static shapes cannot; TensorFlow only.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

from keras import ops

from keras_seq.layers.padding import reverse_valid_steps, zero_padding

Tensor = Any
Step = Callable[[list[Tensor], list[Tensor]], tuple[list[Tensor], list[Tensor]]]
RunSteps = Callable[..., tuple[list[Tensor], list[Tensor]]]
Block = Callable[
    [list[Tensor], list[Tensor], RunSteps],
    tuple[list[Tensor], list[Tensor], Sequence[Tensor]],
]

# Steps between two looks at which rows have ended. Fewer waste less on padding, more
# spare the loop's own work; 8 and 16 did about equally well.
BLOCK = 8


def scan_steps(step: Callable, carry: Any, by_time: tuple[Tensor, ...]) -> Any:
    """`ops.scan`, also where TensorFlow does not know the number of steps yet.

    keras 3.15 compares the lengths of several inputs by a method that an unknown
    length does not have, so that they are given as one.

    Args:
        step: `step(carry, rows of one time) -> (carry, kept)`.
        carry: Nested tensors.
        by_time: Each `(time, batch, width)`, of one dtype.
    """
    if len(by_time) == 1 or by_time[0].shape[0] is not None:
        return ops.scan(step, carry, by_time)
    ends = list(accumulate(x.shape[-1] for x in by_time))[:-1]

    def split(carry: Any, rows: Tensor) -> Any:
        return step(carry, tuple(ops.split(rows, ends, axis=-1)))

    return ops.scan(split, carry, ops.concatenate(by_time, axis=-1))


class TimeMajor:
    """All rows, step after step.

    Args:
        inputs: `(batch, time, features)`, for its shape.
        lengths: int32, `(batch,)`; None: all steps are valid.
        reverse: Whether rows run backward from their last valid step.
    """

    def __init__(self, inputs: Tensor, lengths: Tensor | None, reverse: bool):
        self.batch, self.time = ops.shape(inputs)[0], ops.shape(inputs)[1]
        self.lengths, self.reverse = lengths, reverse

    def _turn(self, sequence: Tensor) -> Tensor:
        if not self.reverse:
            return sequence
        if self.lengths is None:
            return ops.flip(sequence, 1)
        return reverse_valid_steps(sequence, self.lengths)

    def _gather(self, sequence: Tensor) -> Tensor:
        """`(batch, time, width)` to rows, `(time * batch, width)`, zero at padding."""
        if self.lengths is not None:
            sequence = zero_padding(sequence, self.lengths)
        rows = ops.transpose(self._turn(sequence), (1, 0, 2))
        return ops.reshape(rows, (-1, sequence.shape[-1]))

    def scatter(self, rows: Any) -> Tensor:
        """What `run` kept, to `(batch, time, width)`, zero at padding."""
        rows = ops.reshape(rows, (self.time, self.batch, rows.shape[-1]))
        sequence = self._turn(ops.transpose(rows, (1, 0, 2)))
        if self.lengths is None:
            return sequence
        return zero_padding(sequence, self.lengths)

    def sort(self, state: Tensor) -> Tensor:
        """A state, `(batch, units)`, in the order in which the loop holds rows."""
        return state

    def unsort(self, state: Tensor) -> Tensor:
        return state

    def run(
        self,
        block: Block,
        sequences: list[Tensor],
        carry: list[Tensor],
        *,
        widths: list[int],
        gradients: Sequence[Tensor] = (),
        kept: Sequence[Any] = (),
        sums: Sequence[Tensor] = (),
        backward: bool = False,
    ) -> tuple[list[Tensor], list[Any], list[Tensor]]:
        """Runs `block` over all steps: here all of them are one block.

        Args:
            block: `block(rows, carry, run_steps)` gives the carry, what is kept of
                the block's rows, and what is added to `sums`. The rows, each
                `(rows of the block, width)`, are of sequences, gradients and kept.
                Within it, `run_steps(step, rows, carry, num_kept)` runs `step(rows of
                one step, carry) -> (carry, kept)` over the block's steps, and gives
                the carry and what was kept of them, shaped like the carry.
            sequences: Each `(batch, time, width)`.
            carry: Each `(batch, units)`, sorted.
            widths: Last dimensions of what a block keeps.
            gradients: Like sequences; a step's gradient counts once.
            kept: From a run before.
            sums: Where adding up starts.
            backward: Whether the last step comes first.

        Returns:
            The carry after all steps; what was kept; the sums.
        """
        rows = [*map(self._gather, (*sequences, *gradients)), *kept]
        run_steps = partial(self._run_steps, backward=backward)
        carry, kept, added = block(rows, carry, run_steps)
        return carry, kept, [a + b for a, b in zip(sums, added, strict=True)]

    def _run_steps(
        self,
        step: Step,
        rows: list[Tensor],
        carry: list[Tensor],
        num_kept: int,
        *,
        backward: bool,
    ) -> tuple[list[Tensor], list[Tensor]]:
        by_time = tuple(
            ops.reshape(r, (self.time, self.batch, r.shape[-1])) for r in rows
        )
        if backward:  # `reverse` of keras 3.15's scan does not end on TensorFlow's XLA
            by_time = tuple(ops.flip(r, 0) for r in by_time)

        # keras 3.15 can keep on TensorFlow only what is like the carry, one by one.
        num_carried = len(carry)
        spare = [ops.zeros_like(carry[0])] * (num_kept - num_carried)

        def body(carry: Any, rows: Any) -> Any:
            states, kept = step(list(rows), list(carry[:num_carried]))
            kept = [*kept, *states[len(kept) :]]
            return (*states, *kept[num_carried:]), tuple(kept)

        last, outputs = scan_steps(body, (*carry, *spare), by_time)
        outputs = outputs[:num_kept]
        if backward:
            outputs = [ops.flip(o, 0) for o in outputs]
        outputs = [ops.reshape(o, (-1, o.shape[-1])) for o in outputs]
        return list(last[:num_carried]), outputs


class PackedBlocks:
    """Rows sorted by length and packed without their padding, in blocks of time.

    In block j, steps `BLOCK * j` to `BLOCK * (j + 1)`, only the rows run that reach
    into it: they are the first `counts[j]` of the sorted rows. Within a block the
    packed rows are time-major, so a step's rows are contiguous, and a row that ends
    inside a block repeats its last step, with a gradient of zero. (The packing of
    PyTorch's PackedSequence, by block instead of by step.) A block is small enough
    for the cache, so whatever can be done for many steps at once is done by block.

    Args:
        inputs: `(batch, time, features)`, for its shape.
        lengths: int32, `(batch,)`; None: all steps are valid.
        reverse: Whether rows run backward from their last valid step.
    """

    def __init__(self, inputs: Tensor, lengths: Tensor | None, reverse: bool):
        import tensorflow as tf

        self.batch, time = ops.shape(inputs)[0], ops.shape(inputs)[1]
        if lengths is None:
            lengths = tf.fill([self.batch], time)
        self.order = tf.argsort(lengths, direction="DESCENDING", stable=True)
        self.ranks = tf.math.invert_permutation(self.order)
        ordered = tf.gather(lengths, self.order)
        starts = tf.range(0, time, BLOCK)
        alive = ordered[None, :] > starts[:, None]  # (blocks, batch)
        self.counts = tf.math.count_nonzero(alive, axis=1, dtype=tf.int32)
        self.num_blocks = tf.math.count_nonzero(self.counts, dtype=tf.int32)

        # Where each row of each step comes from, in a flat batch: (steps, batch).
        steps = tf.range(tf.size(starts) * BLOCK)
        last = ordered - 1
        source = last - steps[:, None] if reverse else steps[:, None]
        source = tf.maximum(tf.minimum(source, last), 0)
        self.sources = self.order * time + source
        self.repeated = steps[:, None] > last

        # Where each valid step of the batch went; padding reads a row of zeros.
        firsts = tf.cumsum(tf.gather(self.counts, steps // BLOCK), exclusive=True)
        steps, lengths = tf.range(time), lengths[:, None]
        if reverse:
            firsts = tf.gather(firsts, tf.maximum(lengths - 1 - steps, 0))
        else:
            firsts = firsts[:time]
        places = firsts + self.ranks[:, None]  # (batch, time)
        zeros = BLOCK * tf.reduce_sum(self.counts)
        self.destinations = tf.where(steps < lengths, places, zeros)

    def scatter(self, rows: Any) -> Tensor:
        import tensorflow as tf

        width = rows.element_shape[-1]
        rows = rows.write(self.num_blocks, tf.zeros((1, width), rows.dtype))
        return tf.gather(rows.concat(), self.destinations)

    def sort(self, state: Tensor) -> Tensor:
        return ops.take(state, self.order, axis=0)[: self.counts[0]]

    def unsort(self, state: Tensor) -> Tensor:
        return ops.take(_fit_rows(state, self.batch), self.ranks, axis=0)

    def run(
        self,
        block: Block,
        sequences: list[Tensor],
        carry: list[Tensor],
        *,
        widths: list[int],
        gradients: Sequence[Tensor] = (),
        kept: Sequence[Any] = (),
        sums: Sequence[Tensor] = (),
        backward: bool = False,
    ) -> tuple[list[Tensor], list[Any], list[Tensor]]:
        import tensorflow as tf

        flat = [tf.reshape(s, (-1, s.shape[-1])) for s in (*sequences, *gradients)]

        def body(index: Any, carry: Any, keeping: Any, sums: Any) -> Any:
            count = self.counts[index]
            here = slice(BLOCK * index, BLOCK * (index + 1)), slice(count)
            sources = tf.reshape(self.sources[here], [-1])
            rows = [tf.gather(f, sources) for f in flat]
            if gradients:
                repeated = tf.reshape(self.repeated[here], [-1, 1])
                for position in range(len(sequences), len(rows)):
                    row = rows[position]
                    rows[position] = tf.where(repeated, tf.zeros((), row.dtype), row)
            rows += [array.read(index) for array in kept]
            # Going back, rows join in; going forward, rows drop out.
            carry = [_fit_rows(c, count) if backward else c[:count] for c in carry]
            run_steps = partial(_run_block_steps, count, backward=backward)
            carry, values, added = block(rows, carry, run_steps)
            pairs = zip(keeping, values, strict=True)
            keeping = [array.write(index, value) for array, value in pairs]
            sums = [a + b for a, b in zip(sums, added, strict=True)]
            return index + (-1 if backward else 1), carry, keeping, sums

        def unfinished(index: Any, *_: Any) -> Any:
            return index >= 0 if backward else index < self.num_blocks

        keeping = [
            tf.TensorArray(
                carry[0].dtype,
                self.num_blocks + 1,  # the last for the zeros of `scatter`
                infer_shape=False,
                element_shape=(None, width),
                clear_after_read=False,
            )
            for width in widths
        ]
        first = self.num_blocks - 1 if backward else 0
        _, carry, keeping, total = tf.while_loop(
            unfinished,
            body,
            (first, carry, keeping, list(sums)),
            shape_invariants=(
                tf.TensorShape(()),
                [tf.TensorShape((None, state.shape[-1])) for state in carry],
                [tf.TensorShape(None)] * len(widths),
                [s.shape for s in sums],
            ),
        )
        return carry, keeping, total


def _run_block_steps(
    count: Tensor,
    step: Step,
    rows: list[Tensor],
    carry: list[Tensor],
    num_kept: int,
    *,
    backward: bool,
) -> tuple[list[Tensor], list[Tensor]]:
    """Runs the steps of one block, whose rows are `BLOCK` times `count`."""
    import tensorflow as tf

    by_step = [tf.unstack(tf.reshape(r, (BLOCK, count, r.shape[-1]))) for r in rows]
    kept: list[list[Tensor]] = [[] for _ in range(num_kept)]
    for index in reversed(range(BLOCK)) if backward else range(BLOCK):
        carry, kept_now = step([r[index] for r in by_step], carry)
        for values, value in zip(kept, kept_now, strict=True):
            values.append(value)
    return carry, [tf.concat(v[::-1] if backward else v, axis=0) for v in kept]


def _fit_rows(state: Tensor, count: Tensor) -> Tensor:
    """Cuts to `count` rows, or fills up with zeros."""
    state = state[:count]
    return ops.pad(state, ((0, count - ops.shape(state)[0]), (0, 0)))
