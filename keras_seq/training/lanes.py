"""Lanes: long sequences side by side, chunk after chunk, for carried state."""

import heapq
from dataclasses import dataclass

import numpy as np

from keras_seq.hashing import derive_seed


@dataclass(frozen=True)
class Chunk:
    """What the lanes read at once; row i goes on where row i of the chunk before ended.

    Attributes:
        sequence: int64, `(lanes,)`: which sequence each lane reads.
        first: int64, `(lanes,)`: its first step of this chunk.
        length: int32, `(lanes,)`: its steps, up to the length of a chunk; 0: it waits.
        reset: bool, `(lanes,)`: whether its state must be emptied before.
    """

    sequence: np.ndarray
    first: np.ndarray
    length: np.ndarray
    reset: np.ndarray


class Lanes:
    """An endless plan of chunks for truncated backpropagation through time.

    Each lane reads one sequence after another, from the first step to the last, and its
    state is emptied just where it passes to the next. Lanes are of about equal length:
    the longest sequence goes to the lane that has least so far. Where a few sequences
    are longer than a fair share of a lane, they are cut, and each part begins with an
    empty state. The end of a sequence fills no whole chunk; the rest is not read.

    When all lanes have read everything, another pass begins: its order within lanes
    and the places where chunks begin are others, so that gradients do not always end at
    the same steps. Both follow from the seed and the number of the pass.

    Args:
        lengths: Steps of each sequence; those of 0 are not read.
        count: Number of lanes, the rows of a batch.
        chunk_length: Steps of a chunk.
        seed: Of order and beginnings.
    """

    def __init__(
        self, lengths: np.ndarray, count: int, chunk_length: int, seed: int = 0
    ):
        self.count = count
        self.chunk_length = chunk_length
        self.seed = seed
        self._sequence, self._begin, self._steps = _cut(lengths, count, chunk_length)
        # As many chunks as a part may take, wherever its first one ends.
        most = np.where(
            self._steps <= chunk_length, 1, 1 - (1 - self._steps) // chunk_length
        )
        self._lane = _balance(most, count)
        filled = np.bincount(self._lane, weights=most, minlength=count)
        self.num_chunks = int(filled.max(initial=0))  # of a pass
        self._pass: tuple[int, np.ndarray, np.ndarray, np.ndarray] | None = None

    def __getitem__(self, number: int) -> Chunk:
        """The chunk of a number, which counts on from pass to pass."""
        turn, index = divmod(number, self.num_chunks)
        if self._pass is None or self._pass[0] != turn:
            self._pass = turn, *self._plan(turn)
        _, part, first, length = (self._pass[0], *(x[index] for x in self._pass[1:]))
        begin = self._begin[part]
        return Chunk(
            self._sequence[part],
            begin + first,
            length,
            # A pass begins with empty states, also in lanes that wait.
            (first == 0) | (index == 0),
        )

    def _plan(self, turn: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Part, first step within it and length, each `(num_chunks, lanes)`."""
        random = np.random.default_rng(derive_seed(self.seed, turn, "lanes"))
        size, steps = self.chunk_length, self._steps
        opening = np.where(
            steps > size, random.integers(1, size + 1, len(steps)), steps
        )
        chunks = 1 - (opening - steps) // size
        order = np.lexsort((random.random(len(steps)), self._lane))
        parts = np.repeat(order, chunks[order])  # lane after lane
        lanes = self._lane[parts]
        start = np.searchsorted(lanes, np.arange(self.count))
        row = np.arange(len(parts)) - start[lanes]
        ends = np.cumsum(chunks[order])
        within = np.arange(len(parts)) - np.repeat(ends - chunks[order], chunks[order])
        first = np.where(within > 0, opening[parts] + (within - 1) * size, 0)
        limit = np.where(within > 0, size, opening[parts])
        table = [
            np.zeros((self.num_chunks, self.count), dtype)
            for dtype in (np.int64, np.int64, np.int32)
        ]
        for array, values in zip(
            table, (parts, first, np.minimum(limit, steps[parts] - first)), strict=True
        ):
            array[row, lanes] = values
        return table[0], table[1], table[2]


def _cut(
    lengths: np.ndarray, count: int, chunk_length: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parts of sequences, none longer than a fair share of a lane.

    Returns:
        Sequence, first step and number of steps of each part.
    """
    lengths = np.asarray(lengths, np.int64)
    share = max(-(-int(lengths.sum()) // count), 4 * chunk_length)
    parts = -(-lengths // share)
    sequence = np.repeat(np.arange(len(lengths)), parts)
    ends = np.cumsum(parts)
    number = np.arange(len(sequence)) - np.repeat(ends - parts, parts)
    even = -(-lengths // np.maximum(parts, 1))  # parts of a sequence are equally long
    begin = number * even[sequence]
    return sequence, begin, np.minimum(even[sequence], lengths[sequence] - begin)


def _balance(sizes: np.ndarray, count: int) -> np.ndarray:
    """The lane of each part: largest first, to the lane that has least so far."""
    lane = np.zeros(len(sizes), np.int64)
    heap = [(0, index) for index in range(count)]
    for part in np.argsort(-sizes, kind="stable"):
        least, index = heapq.heappop(heap)
        lane[part] = index
        heapq.heappush(heap, (least + int(sizes[part]), index))
    return lane
