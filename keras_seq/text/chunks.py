"""Long texts chunk by chunk, for networks that carry their state."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_seq.text.batches import Buckets, pad_rows
from keras_seq.text.preprocessing import TokenRows

CHUNK_LOSSES = ("last", "every")


class ChunkedBuckets(Buckets):
    """Buckets whose batches come as chunks of equal length, one after another.

    Texts of about as many chunks go side by side. A text that has ended waits, with
    chunks of length 0 that leave its state as it is, for the longest beside it.

    Args:
        rows: Texts as ids, of any length.
        bucket_lengths: Increasing; longer rows get a bucket of their own.
        batch_size: Rows of a batch.
        chunk_length: Steps of a chunk.
        loss: `"last"`: a text's loss is that at its last chunk. `"every"`: the mean of
            those at all of its chunks.
    """

    def __init__(
        self,
        rows: TokenRows,
        bucket_lengths: Sequence[int],
        batch_size: int,
        chunk_length: int,
        loss: str = "last",
    ):
        longest = int(rows.lengths.max(initial=1))
        whole = {
            -(-length // chunk_length) * chunk_length
            for length in (*bucket_lengths, longest)
        }
        super().__init__(rows, sorted(whole), batch_size)
        self.chunk_length = chunk_length
        self.loss = loss

    @property
    def num_batches(self) -> int:
        """Chunks of batches that hold all rows."""
        return sum(
            -(-len(rows) // self.batch_size) * (width // self.chunk_length)
            for width, rows in self.members
        )

    def plan(self, random: np.random.Generator | None = None) -> list[tuple[Any, ...]]:
        """Width, rows and first step of every chunk, those of a batch in order."""
        return [
            (self.chunk_length, chosen, first)
            for width, chosen in super().plan(random)
            for first in range(0, width, self.chunk_length)
        ]

    def inputs(  # type: ignore[override]
        self, width: int, chosen: np.ndarray, first: int
    ) -> dict[str, np.ndarray]:
        """One chunk; `reset`, bool, `(batch_size,)`, is True for a text's first."""
        left = np.clip(self.rows.lengths[chosen] - first, 0, width)
        chunk = pad_rows(
            TokenRows(self.rows.ids, left),
            np.arange(len(chosen)),
            width,
            self.batch_size,
            self.starts[chosen] + first,
        )
        return {**chunk, "reset": np.full(self.batch_size, first == 0)}

    def loss_shares(  # type: ignore[override]
        self, width: int, chosen: np.ndarray, first: int
    ) -> np.ndarray:
        chunks = np.maximum(-(-self.rows.lengths[chosen] // width), 1)
        number = first // width
        if self.loss == "every":
            return np.where(number < chunks, 1 / chunks, 0.0)
        return np.where(number == chunks - 1, 1.0, 0.0)
