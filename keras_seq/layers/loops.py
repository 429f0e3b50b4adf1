"""Two orders of running a recurrence over right-padded rows, behind one interface.

`TimeMajor` runs all rows to the longest length, with static shapes, on any backend.
`PackedBlocks` leaves out the padding, which static shapes cannot; TensorFlow only.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

from keras import ops

from keras_seq.layers.padding import reverse_valid_steps, valid_steps, zero_padding

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

    def gather(self, sequence: Tensor) -> Tensor:
        """`(batch, time, width)`, zero at padding, to rows, `(time * batch, width)`."""
        if self.lengths is not None:
            sequence = zero_padding(sequence, self.lengths)
        rows = ops.transpose(self._turn(sequence), (1, 0, 2))
        return ops.reshape(rows, (-1, sequence.shape[-1]))

    def gather_gradient(self, sequence: Tensor) -> Tensor:
        """The same for a gradient: a row's gradient counts once."""
        return self.gather(sequence)

    def scatter(self, rows: Tensor) -> Tensor:
        """Rows back to `(batch, time, width)`, zero at padding."""
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

    def previous(self, rows: Tensor, initial: Tensor) -> Tensor:
        """What stood one step before each row; `initial` before the first."""
        return ops.concatenate([initial, rows[: -self.batch]], axis=0)

    def run(
        self,
        block: Block,
        rows: list[Tensor],
        carry: list[Tensor],
        *,
        widths: Sequence[int],
        sums: Sequence[Tensor] = (),
        backward: bool = False,
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Runs `block` over all steps: here all of them are one block.

        Args:
            block: `block(rows of the block, carry, run_steps)` gives the carry, what
                is kept of the block's rows, and what is added to `sums`. Within it,
                `run_steps(step, rows, carry, num_kept)` runs `step(rows of one step,
                carry) -> (carry, kept)` over the block's steps, and gives the carry
                and what was kept of them; `step` keeps tensors like the carry's.
            rows: Each `(time * batch, width)`.
            carry: Each `(batch, units)`.
            widths: Last dimensions of the tensors that a block keeps.
            sums: Where adding up starts.
            backward: Whether the last step comes first.

        Returns:
            The carry after all steps; what was kept, each `(time * batch, ...)`; the
            sums.
        """
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

        # On TensorFlow, keras 3.15 keeps only what is shaped like the carry.
        num_carried = len(carry)
        spare = [ops.zeros_like(carry[0])] * (num_kept - num_carried)

        def body(carry: Any, rows: Any) -> Any:
            carry, kept = step(list(rows), list(carry[:num_carried]))
            kept = tuple(kept) + tuple(carry[len(kept) :])
            return (*carry, *kept[num_carried:]), kept

        last, kept = scan_steps(body, (*carry, *spare), by_time)
        if backward:
            kept = tuple(ops.flip(k, 0) for k in kept)
        kept = [ops.reshape(k, (-1, k.shape[-1])) for k in kept[:num_kept]]
        return list(last[:num_carried]), kept


class PackedBlocks:
    """Rows sorted by length and packed without their padding, in blocks of time.

    In block j, steps `BLOCK * j` to `BLOCK * (j + 1)`, only the rows run that reach
    into it: they are the first `counts[j]` of the sorted rows. Within a block the
    packed rows are time-major, so a step's rows are contiguous, and a row that ends
    inside a block repeats its last step, with a gradient of zero. (The packing of
    PyTorch's PackedSequence, by block instead of by step.)

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
        ordered = tf.gather(lengths, self.order)
        starts = tf.range(0, time, BLOCK)
        alive = ordered[None, :] > starts[:, None]  # (blocks, batch)
        # One row at least, so that there is something to gather from.
        first = (starts[:, None] == 0) & (tf.range(self.batch)[None, :] == 0)
        alive = tf.cast(alive | first, tf.int32)
        self.counts = tf.reduce_sum(alive, axis=1)
        self.num_blocks = tf.math.count_nonzero(self.counts, dtype=tf.int32)
        self.any_valid = tf.reduce_any(lengths > 0)
        self.valid = valid_steps(inputs, lengths)  # (batch, time, 1)
        self.ranks = tf.math.invert_permutation(self.order)

        # Where each packed row comes from.
        alive = tf.broadcast_to(
            alive[:, None, :], (tf.shape(starts)[0], BLOCK, self.batch)
        )
        places = tf.cast(tf.where(alive > 0), tf.int32)
        block, step_in_block, rank = tf.unstack(places, axis=1)  # (rows,)
        step = BLOCK * block + step_in_block
        self.repeated = (step >= tf.gather(ordered, rank))[:, None]
        last = tf.maximum(tf.gather(ordered, rank) - 1, 0)
        step = tf.maximum(last - step, 0) if reverse else tf.minimum(step, last)
        self.sources = tf.gather(self.order, rank) * time + step

        # Where each valid step of the batch went.
        steps = tf.range(time)
        counts = tf.gather(self.counts, steps // BLOCK)
        offsets = tf.cumsum(self.counts * BLOCK, exclusive=True)
        firsts = tf.gather(offsets, steps // BLOCK) + steps % BLOCK * counts  # (time,)
        if reverse:
            firsts = tf.gather(firsts, tf.maximum(lengths[:, None] - 1 - steps, 0))
        places = firsts + self.ranks[:, None]  # (batch, time)
        self.destinations = tf.where(self.valid[..., 0], places, 0)

        # The step before lies as many rows up as its block holds.
        held = tf.gather(
            self.counts, tf.maximum(block - (1 - tf.sign(step_in_block)), 0)
        )
        self.before = tf.range(tf.shape(rank)[0]) - held

    def gather(self, sequence: Tensor) -> Tensor:
        import tensorflow as tf

        flat = tf.reshape(sequence, (-1, sequence.shape[-1]))
        rows = tf.gather(flat, self.sources)
        # Where all rows are empty, the one that runs would read its padding.
        return tf.cond(self.any_valid, lambda: rows, lambda: tf.zeros_like(rows))

    def gather_gradient(self, sequence: Tensor) -> Tensor:
        rows = self.gather(sequence)
        return ops.where(self.repeated, ops.zeros((), rows.dtype), rows)

    def scatter(self, rows: Tensor) -> Tensor:
        sequence = ops.take(rows, self.destinations, axis=0)
        return ops.where(self.valid, sequence, ops.zeros((), rows.dtype))

    def sort(self, state: Tensor) -> Tensor:
        return ops.take(state, self.order, axis=0)[: self.counts[0]]

    def unsort(self, state: Tensor) -> Tensor:
        return ops.take(_fit_rows(state, self.batch), self.ranks, axis=0)

    def previous(self, rows: Tensor, initial: Tensor) -> Tensor:
        shifted = ops.concatenate([initial, rows], axis=0)
        return ops.take(shifted, self.before + self.counts[0], axis=0)

    def run(
        self,
        block: Block,
        rows: list[Tensor],
        carry: list[Tensor],
        *,
        widths: Sequence[int],
        sums: Sequence[Tensor] = (),
        backward: bool = False,
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        import tensorflow as tf

        def body(index: Any, start: Any, carry: Any, kept: Any, sums: Any) -> Any:
            count = self.counts[index]
            start = start - BLOCK * count if backward else start
            end = start + BLOCK * count
            # Going back, rows join in; going forward, rows drop out.
            carry = [_fit_rows(c, count) if backward else c[:count] for c in carry]
            carry, kept_now, added = block(
                [r[start:end] for r in rows],
                carry,
                partial(_run_block_steps, count, backward=backward),
            )
            kept = [k.write(index, v) for k, v in zip(kept, kept_now, strict=True)]
            sums = [a + b for a, b in zip(sums, added, strict=True)]
            if backward:
                return index - 1, start, carry, kept, sums
            return index + 1, end, carry, kept, sums

        def unfinished(index: Any, *_: Any) -> Any:
            return index >= 0 if backward else index < self.num_blocks

        total = tf.shape(self.sources)[0]
        start = (self.num_blocks - 1, total) if backward else (0, 0)
        kept = [
            tf.TensorArray(
                carry[0].dtype,
                self.num_blocks,
                infer_shape=False,
                element_shape=(None, width),
            )
            for width in widths
        ]
        scalar = tf.TensorShape(())
        _, _, carry, kept, sums = tf.while_loop(
            unfinished,
            body,
            (*start, carry, kept, list(sums)),
            shape_invariants=(
                scalar,
                scalar,
                [tf.TensorShape((None, state.shape[-1])) for state in carry],
                [tf.TensorShape(None)] * len(widths),
                [s.shape for s in sums],
            ),
        )
        return carry, [array.concat() for array in kept], sums


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
