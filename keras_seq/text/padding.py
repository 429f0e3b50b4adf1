"""pad_rows: texts of different lengths as one right-padded batch."""

import numpy as np

from keras_seq.text.preprocessing import TokenRows


def pad_rows(
    rows: TokenRows,
    chosen: np.ndarray,
    width: int,
    batch_size: int,
    starts: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Lays the chosen rows out as one full batch.

    Args:
        rows: All texts.
        chosen: int64, at most `batch_size` row numbers.
        width: Steps to pad to; no chosen row is longer.
        batch_size: Rows of the batch; missing ones have length 0.
        starts: Of the rows, where they are at hand; adding up millions of lengths
            takes longer than the batch.

    Returns:
        `tokens`, int32, `(batch_size, width)`, 0 at padding; `length`, int32,
        `(batch_size,)`.
    """
    length = np.zeros(batch_size, np.int32)
    length[: len(chosen)] = rows.lengths[chosen]
    tokens = np.zeros((batch_size, width), np.int32)
    valid = np.arange(width) < length[:, None]  # (batch, time)
    starts = rows.starts if starts is None else starts
    flat = starts[chosen][:, None] + np.arange(width)
    tokens[valid] = rows.ids[flat[valid[: len(chosen)]]]
    return {"tokens": tokens, "length": length}
