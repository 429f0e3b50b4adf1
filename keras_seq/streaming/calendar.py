"""CalendarTable: the calendar around steps, computed once and looked up."""

import numpy as np

from keras_seq.numpy_runtime.clock import Clock
from keras_seq.streaming.rows import Array

# Steps that are kept; a range beyond that is computed anew.
_KEPT = 1 << 16
_AHEAD = 256


class CalendarTable:
    """What networks see of the calendar from some steps before to some after.

    Args:
        clock: Of the positions.
        first: The first step, relative to a position.
        last: The last one.
    """

    def __init__(self, clock: Clock, first: int, last: int):
        self.clock = clock
        self._offsets = np.arange(first, last + 1)
        one = np.zeros(1, np.int64)
        self._has_any = clock.features(one).shape[-1] > 0
        self._kept: tuple[int, Array] = 0, np.zeros((0, 0), np.float32)

    def __call__(self, positions: Array) -> Array | None:
        """float32, `(batch, steps, num_features)`; None where there is no calendar.

        Args:
            positions: int64, `(batch,)`.
        """
        if not self._has_any:
            return None
        offsets = self._offsets
        if len(positions) == 1:  # a slice will do
            first, table = self._kept
            begin = int(positions[0]) + int(offsets[0]) - first
            if 0 <= begin <= len(table) - len(offsets):
                return table[None, begin : begin + len(offsets)]
        low = int(positions.min()) + int(offsets[0])
        high = int(positions.max()) + int(offsets[-1]) + 1
        if high - low > _KEPT:
            return self.clock.features(positions[:, None] + offsets)
        first, table = self._kept
        if low < first or high > first + len(table):
            first, table = low, self.clock.features(np.arange(low, high + _AHEAD))
            self._kept = first, table  # at once, since threads may read it
        return table[positions[:, None] + offsets - first]
